// Package collective joins the processes of one training: several ranks, each with
// its share of every batch. It adds up what they found and sees to it that they go
// the same way. The communication is MPI's or NCCL's, behind
// csrc/include/trtact/collective.h; both are opened at run time.
package collective

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"trtact/internal/fault"
)

// Launch is what the environment says about the processes that were started
// together.
type Launch struct {
	Rank, Size           int    // of all processes; size 1: this one alone
	LocalRank, LocalSize int    // of those on this machine
	By                   string // the variable that gave the size
	MPI                  bool   // it is an MPI launcher's
	Srun                 bool   // that is srun
	// Master is where rank 0 gives away NCCL's id, "" where nobody says it;
	// Taken: a store of the launcher's own answers there.
	Master string
	Taken  bool
}

// launcher is the variables of one that starts processes.
type launcher struct {
	size, rank, localSize, localRank string
	also, not                        string // the first has to be set as well, the second must not be
	mpi, srun                        bool
	last                             bool // it starts the program itself: size 1 is its word too
}

// launchers stand from the inside out: one may be started by the next, and leaves its
// variables where they are. The first that speaks of more than one process counts.
var launchers = []launcher{
	{size: "WORLD_SIZE", rank: "RANK", localSize: "LOCAL_WORLD_SIZE", localRank: "LOCAL_RANK", also: "TORCHELASTIC_RUN_ID", last: true}, // torchrun
	{size: "OMPI_COMM_WORLD_SIZE", rank: "OMPI_COMM_WORLD_RANK", localSize: "OMPI_COMM_WORLD_LOCAL_SIZE", localRank: "OMPI_COMM_WORLD_LOCAL_RANK", mpi: true},
	{size: "PMI_SIZE", rank: "PMI_RANK", localRank: "SLURM_LOCALID", also: "SLURM_STEP_NUM_TASKS", not: "MPI_LOCALNRANKS", mpi: true, srun: true},
	{size: "PMI_SIZE", rank: "PMI_RANK", localSize: "MPI_LOCALNRANKS", localRank: "MPI_LOCALRANKID", mpi: true}, // MPICH, Intel MPI
	// Open MPI's mpirun sets PMIX_RANK too, and may run inside a step of srun's.
	{size: "SLURM_STEP_NUM_TASKS", rank: "SLURM_PROCID", localRank: "SLURM_LOCALID", also: "PMIX_RANK", not: "OMPI_COMM_WORLD_SIZE", mpi: true, srun: true},
	{size: "WORLD_SIZE", rank: "RANK", localSize: "LOCAL_WORLD_SIZE", localRank: "LOCAL_RANK"},
}

// mostRanks bounds what the environment may say.
const mostRanks = 1 << 16

// environment is the variables of this process.
type environment func(name string) string

// number reads a variable; otherwise is its value where it is not set.
func (getenv environment) number(name string, otherwise, least, most int) (int, error) {
	if name == "" || getenv(name) == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(getenv(name))
	if err != nil || n < least || n > most {
		return 0, fault.Usage(fmt.Errorf("the environment has %s=%q where a number from %d to %d is expected (--collective none takes no notice of it)", name, getenv(name), least, most))
	}
	return n, nil
}

// FromEnv reads the variables of mpirun (Open MPI, MPICH, Intel MPI), of srun with
// PMIx or PMI-2, and those that torchrun sets. Of processes that were started without
// a way to find each other it gives an error, with the rank and size of this one.
func FromEnv(getenv func(string) string) (Launch, error) {
	env := environment(getenv)
	for _, v := range launchers {
		if env(v.size) == "" || v.also != "" && env(v.also) == "" || v.not != "" && env(v.not) != "" {
			continue
		}
		size, err := env.number(v.size, 1, 1, mostRanks)
		if err != nil {
			return Launch{}, err
		}
		if size > 1 {
			return env.launch(v, size)
		}
		if v.last {
			return Launch{Size: 1, LocalSize: 1}, nil
		}
	}
	return env.step()
}

// launch reads the other variables of the launcher that counts.
func (getenv environment) launch(v launcher, size int) (Launch, error) {
	l := Launch{Size: size, By: v.size, MPI: v.mpi, Srun: v.srun}
	if getenv(v.rank) == "" {
		return Launch{}, fault.Usage(fmt.Errorf("the environment has %s=%d but no %s (--collective none takes no notice of it)", v.size, size, v.rank))
	}
	var err error
	if l.Rank, err = getenv.number(v.rank, 0, 0, size-1); err != nil {
		return Launch{}, err
	}
	if l.LocalRank, err = getenv.number(v.localRank, 0, 0, mostRanks); err != nil {
		return Launch{}, err
	}
	if l.LocalSize, err = getenv.number(v.localSize, 1, 1, mostRanks); err != nil {
		return Launch{}, err
	}
	if v.srun {
		node, err := getenv.number("SLURM_NODEID", 0, 0, mostRanks)
		if err != nil {
			return Launch{}, err
		}
		l.LocalSize = tasksOf(getenv("SLURM_STEP_TASKS_PER_NODE"), node)
	}
	if host, port := getenv("MASTER_ADDR"), 0; host != "" {
		if port, err = getenv.number("MASTER_PORT", 29500, 1, 65535); err != nil {
			return Launch{}, err
		}
		l.Taken = getenv("TORCHELASTIC_USE_AGENT_STORE") == "True"
		l.Master = address(host, port, l.Taken)
	}
	return l, nil
}

// step looks whether srun started several processes as if each were to work alone:
// all would write the same files. A shell that it started (--pty) is alone in its step.
func (getenv environment) step() (Launch, error) {
	alone := Launch{Size: 1, LocalSize: 1}
	size, err := strconv.Atoi(getenv("SLURM_STEP_NUM_TASKS"))
	if err != nil || size < 2 || getenv("SLURM_PTY_PORT") != "" || getenv("OMPI_COMM_WORLD_SIZE") != "" || getenv("PMI_SIZE") != "" {
		return alone, nil
	}
	rank, err := strconv.Atoi(getenv("SLURM_PROCID"))
	if err != nil {
		return alone, nil
	}
	return Launch{Rank: rank, Size: size, By: "SLURM_STEP_NUM_TASKS", Srun: true},
		fault.Usage(fmt.Errorf("srun started %d processes without a way to find each other: %s; --collective none lets each work by itself", size, srunKinds))
}

// srunKinds is what srun has to be told.
const srunKinds = "say `srun --mpi=pmix` for Open MPI and Intel MPI, `srun --mpi=pmi2` for MPICH"

// tasksOf is the number of processes on a node, from Slurm's list: "4(x2),3" are four
// on nodes 0 and 1 and three on node 2. It is 1 where the list says nothing.
func tasksOf(list string, node int) int {
	for _, part := range strings.Split(list, ",") {
		tasks, times, repeated := strings.Cut(part, "(x")
		n, err := strconv.Atoi(tasks)
		nodes := 1
		if err == nil && repeated {
			nodes, err = strconv.Atoi(strings.TrimSuffix(times, ")"))
		}
		if err != nil || n < 1 || nodes < 1 {
			return 1
		}
		if node < nodes {
			return n
		}
		node -= nodes
	}
	return 1
}

// unknown reports whether an MPI has no part in what the launcher speaks. Open MPI
// would end the process with pages of its own where it is started under Slurm by PMI.
func (l Launch) unknown(version string) bool {
	return l.By == "PMI_SIZE" && strings.HasPrefix(version, "Open MPI")
}

// remedy is what to do about a launcher and an MPI that do not belong together.
func (l Launch) remedy() string {
	if l.Srun {
		return srunKinds
	}
	return "use the mpirun that belongs to it, or run `make build` where the other MPI is installed"
}

// Cores is how many of the machine's cores are this process's share: all that it is
// bound to, or a part of them where several processes share them.
func (l Launch) Cores() int {
	return max(1, min(runtime.GOMAXPROCS(0), machineCores()/max(1, l.LocalSize)))
}
