package collective

import (
	"context"
	"strings"
	"testing"

	"trtact/internal/fault"
)

func env(pairs string) func(string) string {
	set := map[string]string{}
	for _, p := range strings.Fields(pairs) {
		name, value, _ := strings.Cut(p, "=")
		set[name] = value
	}
	return func(name string) string { return set[name] }
}

func TestFromEnv(t *testing.T) {
	for _, c := range []struct {
		env  string
		want Launch
	}{
		{"", Launch{Size: 1, LocalSize: 1}},
		{"SLURM_NTASKS=4 SLURM_PROCID=2", Launch{Size: 1, LocalSize: 1}}, // sbatch, no PMIx
		{"WORLD_SIZE=1 RANK=0", Launch{Size: 1, LocalSize: 1}},
		{"OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=2",
			Launch{Rank: 1, Size: 2, LocalRank: 1, LocalSize: 2, By: "OMPI_COMM_WORLD_SIZE", MPI: true}},
		{"PMI_SIZE=3 PMI_RANK=0 MPI_LOCALNRANKS=3 MPI_LOCALRANKID=0", Launch{Size: 3, LocalSize: 3, By: "PMI_SIZE", MPI: true}},
		{"SLURM_NTASKS=4 SLURM_PROCID=2 SLURM_LOCALID=1 PMIX_RANK=2", Launch{Rank: 2, Size: 4, LocalRank: 1, LocalSize: 1, By: "SLURM_NTASKS", MPI: true}},
		{"WORLD_SIZE=8 RANK=5 LOCAL_RANK=1 LOCAL_WORLD_SIZE=4 MASTER_ADDR=node0", Launch{Rank: 5, Size: 8, LocalRank: 1, LocalSize: 4, By: "WORLD_SIZE", Master: "node0:29500"}},
		{"WORLD_SIZE=2 RANK=0 MASTER_ADDR=::1 MASTER_PORT=1234 TORCHELASTIC_USE_AGENT_STORE=True",
			Launch{Size: 2, LocalSize: 1, By: "WORLD_SIZE", Master: "[::1]:1235", Taken: true}},
	} {
		if got, err := FromEnv(env(c.env)); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", c.env, got, err, c.want)
		}
	}
	for _, c := range []struct{ env, word string }{
		{"WORLD_SIZE=many", "WORLD_SIZE"}, {"WORLD_SIZE=2", "RANK"}, {"WORLD_SIZE=2 RANK=2", "RANK"}, {"WORLD_SIZE=-1 RANK=0", "WORLD_SIZE"},
		{"OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=x", "OMPI_COMM_WORLD_RANK"}, {"WORLD_SIZE=2 RANK=0 MASTER_ADDR=a MASTER_PORT=99999", "MASTER_PORT"},
	} {
		if _, err := FromEnv(env(c.env)); fault.Code(err) != fault.CodeUsage || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v", c.env, err)
		}
	}
}

// TestWrongSetUps: each is one line that says what to do.
func TestWrongSetUps(t *testing.T) {
	t.Setenv("TRTACT_LIB", t.TempDir()) // nothing of ours is there
	mpi := Launch{Size: 2, LocalSize: 2, By: "OMPI_COMM_WORLD_SIZE", MPI: true}
	torch := Launch{Size: 2, LocalSize: 2, By: "WORLD_SIZE"}
	for _, c := range []struct {
		l      Launch
		want   Engine
		device string
		code   int
		words  string
	}{
		{mpi, Auto, "cpu", fault.CodeNoDevice, "libopenmpi-dev"},
		{torch, Auto, "cpu", fault.CodeUsage, "mpirun -n 2"},
		{mpi, NCCL, "cpu", fault.CodeUsage, "--collective mpi"},
		{mpi, Auto, "cuda", fault.CodeNoDevice, "NCCL"},
	} {
		if _, err := Open(context.Background(), c.l, c.want, c.device, 0); fault.Code(err) != c.code || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s by %s on %s: %v", c.want, c.l.By, c.device, err)
		}
	}
}

func TestCores(t *testing.T) {
	alone, one := Launch{Size: 1, LocalSize: 1}.Cores(), Launch{Size: 2, LocalSize: 1 << 10}.Cores()
	if alone < 1 || one != 1 {
		t.Errorf("%d cores alone, %d of a machine with a thousand others", alone, one)
	}
}
