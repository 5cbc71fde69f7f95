// Package collective joins the processes of one training: several ranks, each with
// its share of every batch. It adds up what they found and sees to it that they go
// the same way. The communication is MPI's or NCCL's, behind
// csrc/include/trtact/collective.h; both are opened at run time.
package collective

import (
	"fmt"
	"runtime"
	"strconv"

	"trtact/internal/fault"
)

// Launch is what the environment says about the processes that were started
// together.
type Launch struct {
	Rank, Size           int    // of all processes; size 1: this one alone
	LocalRank, LocalSize int    // of those on this machine
	By                   string // the variable that gave the size
	MPI                  bool   // it is an MPI launcher's
	// Master is where rank 0 gives away NCCL's id, "" where nobody says it;
	// Taken: a store of the launcher's own answers there.
	Master string
	Taken  bool
}

// launchers are the variables of those that start processes. The first that speaks
// of more than one process counts.
var launchers = []struct {
	size, rank, localSize, localRank string
	only                             string // it has to be set as well
	mpi                              bool
}{
	{size: "OMPI_COMM_WORLD_SIZE", rank: "OMPI_COMM_WORLD_RANK", localSize: "OMPI_COMM_WORLD_LOCAL_SIZE", localRank: "OMPI_COMM_WORLD_LOCAL_RANK", mpi: true},
	{size: "PMI_SIZE", rank: "PMI_RANK", localSize: "MPI_LOCALNRANKS", localRank: "MPI_LOCALRANKID", mpi: true},
	{size: "SLURM_NTASKS", rank: "SLURM_PROCID", localRank: "SLURM_LOCALID", only: "PMIX_RANK", mpi: true},
	{size: "WORLD_SIZE", rank: "RANK", localSize: "LOCAL_WORLD_SIZE", localRank: "LOCAL_RANK"},
}

// mostRanks bounds what the environment may say.
const mostRanks = 1 << 16

// FromEnv reads the variables of mpirun (Open MPI, MPICH, Intel MPI), of srun with
// PMIx, and those that torchrun sets.
func FromEnv(getenv func(string) string) (Launch, error) {
	number := func(name string, otherwise, least, most int) (int, error) {
		text := getenv(name)
		if name == "" || text == "" {
			return otherwise, nil
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			return 0, fault.Usage(fmt.Errorf("the environment has %s=%q where a number from %d to %d is expected (--collective none takes no notice of it)", name, text, least, most))
		}
		return n, nil
	}
	for _, v := range launchers {
		if getenv(v.size) == "" || v.only != "" && getenv(v.only) == "" {
			continue
		}
		l := Launch{By: v.size, MPI: v.mpi}
		var err error
		if l.Size, err = number(v.size, 1, 1, mostRanks); err != nil {
			return Launch{}, err
		}
		if l.Size == 1 {
			continue
		}
		if getenv(v.rank) == "" {
			return Launch{}, fault.Usage(fmt.Errorf("the environment has %s=%d but no %s (--collective none takes no notice of it)", v.size, l.Size, v.rank))
		}
		if l.Rank, err = number(v.rank, 0, 0, l.Size-1); err != nil {
			return Launch{}, err
		}
		if l.LocalRank, err = number(v.localRank, 0, 0, mostRanks); err != nil {
			return Launch{}, err
		}
		if l.LocalSize, err = number(v.localSize, 1, 1, mostRanks); err != nil {
			return Launch{}, err
		}
		if host, port := getenv("MASTER_ADDR"), 0; host != "" {
			if port, err = number("MASTER_PORT", 29500, 1, 65535); err != nil {
				return Launch{}, err
			}
			l.Taken = getenv("TORCHELASTIC_USE_AGENT_STORE") == "True"
			l.Master = address(host, port, l.Taken)
		}
		return l, nil
	}
	return Launch{Size: 1, LocalSize: 1}, nil
}

// Cores is how many of the machine's cores are this process's share: all that it is
// bound to, or a part of them where several processes share them.
func (l Launch) Cores() int {
	return max(1, min(runtime.GOMAXPROCS(0), machineCores()/max(1, l.LocalSize)))
}
