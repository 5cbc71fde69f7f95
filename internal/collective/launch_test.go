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
		{"SLURM_NTASKS=4 SLURM_PROCID=0", Launch{Size: 1, LocalSize: 1}},                                            // in a script of sbatch's
		{"SLURM_NTASKS=2 PMIX_RANK=0 OMPI_COMM_WORLD_SIZE=1 OMPI_COMM_WORLD_RANK=0", Launch{Size: 1, LocalSize: 1}}, // mpirun -n 1 in an salloc
		{"SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=1 PMIX_RANK=0 OMPI_COMM_WORLD_SIZE=1 OMPI_COMM_WORLD_RANK=0", Launch{Size: 1, LocalSize: 1}},
		{"SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=0 PMI_SIZE=1 PMI_RANK=0 MPI_LOCALNRANKS=1", Launch{Size: 1, LocalSize: 1}},
		{"SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=0 SLURM_PTY_PORT=1234", Launch{Size: 1, LocalSize: 1}}, // srun -n 4 --pty bash
		{"WORLD_SIZE=1 RANK=0", Launch{Size: 1, LocalSize: 1}},
		{"OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=2",
			Launch{Rank: 1, Size: 2, LocalRank: 1, LocalSize: 2, By: "OMPI_COMM_WORLD_SIZE", MPI: true}},
		{"PMI_SIZE=3 PMI_RANK=0 MPI_LOCALNRANKS=3 MPI_LOCALRANKID=0", Launch{Size: 3, LocalSize: 3, By: "PMI_SIZE", MPI: true}},
		{"SLURM_NTASKS=4 SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=2 SLURM_LOCALID=0 SLURM_NODEID=1 SLURM_STEP_TASKS_PER_NODE=2(x2) PMIX_RANK=2",
			Launch{Rank: 2, Size: 4, LocalSize: 2, By: "SLURM_STEP_NUM_TASKS", MPI: true, Srun: true}},
		{"SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=1 SLURM_LOCALID=1 SLURM_NODEID=0 SLURM_STEP_TASKS_PER_NODE=2 PMI_SIZE=2 PMI_RANK=1", // --mpi=pmi2
			Launch{Rank: 1, Size: 2, LocalRank: 1, LocalSize: 2, By: "PMI_SIZE", MPI: true, Srun: true}},
		{"SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 PMI_SIZE=2 PMI_RANK=1 MPI_LOCALNRANKS=2 MPI_LOCALRANKID=1", // MPICH's mpiexec in an salloc
			Launch{Rank: 1, Size: 2, LocalRank: 1, LocalSize: 2, By: "PMI_SIZE", MPI: true}},
		{"SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=1 PMIX_RANK=1 TORCHELASTIC_RUN_ID=x WORLD_SIZE=8 RANK=5 LOCAL_RANK=1 LOCAL_WORLD_SIZE=4", // torchrun on each of two nodes
			Launch{Rank: 5, Size: 8, LocalRank: 1, LocalSize: 4, By: "WORLD_SIZE"}},
		{"OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1 TORCHELASTIC_RUN_ID=x WORLD_SIZE=1 RANK=0", Launch{Size: 1, LocalSize: 1}},
		{"OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1 WORLD_SIZE=2 RANK=1", Launch{Rank: 1, Size: 2, LocalSize: 1, By: "OMPI_COMM_WORLD_SIZE", MPI: true}},
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
		{"SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=1", "srun --mpi=pmix"}, {"SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=1 PMIX_RANK=1 SLURM_NODEID=x", "SLURM_NODEID"},
		{"OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=x", "OMPI_COMM_WORLD_RANK"}, {"WORLD_SIZE=2 RANK=0 MASTER_ADDR=a MASTER_PORT=99999", "MASTER_PORT"},
	} {
		if _, err := FromEnv(env(c.env)); fault.Code(err) != fault.CodeUsage || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v", c.env, err)
		}
	}
}

func TestTasksOf(t *testing.T) {
	for _, c := range []struct {
		list       string
		node, want int
	}{
		{"2", 0, 2}, {"4(x2),3", 1, 4}, {"4(x2),3", 2, 3}, {"1,16(x3),2", 4, 2}, {"2", 1, 1}, {"", 0, 1}, {"two", 0, 1}, {"2(xx)", 0, 1},
	} {
		if got := tasksOf(c.list, c.node); got != c.want {
			t.Errorf("node %d of %q: %d, want %d", c.node, c.list, got, c.want)
		}
	}
}

func TestUnknown(t *testing.T) {
	for _, c := range []struct {
		l       Launch
		version string
		want    bool
		remedy  string
	}{
		{Launch{By: "PMI_SIZE", Srun: true}, "Open MPI v4.1.4", true, "srun --mpi=pmix"},
		{Launch{By: "PMI_SIZE"}, "Open MPI v5.0.7", true, "mpirun that belongs"},
		{Launch{By: "PMI_SIZE", Srun: true}, "MPICH Version: 4.0.2", false, "srun --mpi=pmi2"},
		{Launch{By: "SLURM_STEP_NUM_TASKS", Srun: true}, "Open MPI v4.1.4", false, "srun --mpi=pmix"},
		{Launch{By: "OMPI_COMM_WORLD_SIZE"}, "Open MPI v4.1.4", false, "mpirun that belongs"},
	} {
		if got := c.l.unknown(c.version); got != c.want || !strings.Contains(c.l.remedy(), c.remedy) {
			t.Errorf("%+v and %s: %v, %s", c.l, c.version, got, c.l.remedy())
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
