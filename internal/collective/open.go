package collective

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"trtact/internal/compute"
	"trtact/internal/fault"
)

// Engine is what carries the sums.
type Engine string

// The engines. Auto is NCCL for GPUs and MPI for CPUs, and neither where this
// process was started alone.
const (
	Auto Engine = "auto"
	MPI  Engine = "mpi"
	NCCL Engine = "nccl"
	None Engine = "none"
)

// Engines are all that can be asked for.
func Engines() []string { return []string{string(Auto), string(MPI), string(NCCL), string(None)} }

// Alone reports whether this process trains by itself.
func (l Launch) Alone(e Engine) bool { return e == None || e == Auto && l.Size == 1 }

// Open joins the group that this process was started in, for a training on the
// device: "cpu", or "cuda" with its number. It returns when all have joined. What
// stands against it is one line that says what to do.
func Open(ctx context.Context, l Launch, want Engine, device string, number int) (*Group, error) {
	byHand := want != Auto
	if !byHand {
		want = MPI
		if device == "cuda" {
			want = NCCL
		}
	}
	if want == NCCL && device != "cuda" {
		return nil, fault.Usage(fmt.Errorf("NCCL carries sums between GPUs, and this training is on the CPU: use --collective mpi"))
	}
	if want == MPI && l.Size > 1 && !l.MPI && device != "cuda" {
		return nil, fault.Usage(fmt.Errorf("%s says that %d processes were started, but not by an MPI launcher; on CPUs they speak by MPI: start them with `mpirun -n %d`, or one alone with --collective none", l.By, l.Size, l.Size))
	}
	g := &Group{launch: l}
	var err error
	if want == NCCL {
		err = g.openNCCL(ctx, number, byHand)
	} else {
		err = g.openMPI(byHand)
	}
	if err != nil {
		g.Part()
		g.Close()
		return nil, err
	}
	return g, nil
}

// openMPI joins by MPI. byHand: even where the launcher and the MPI seem not to know
// each other, for an Open MPI may have been built with Slurm's PMI.
func (g *Group) openMPI(byHand bool) error {
	l := g.launch
	e, err := findEngine("libtrtact_mpi.so")
	if err != nil {
		return fault.NoDevice(fmt.Errorf("%d processes were started (%s), but MPI cannot be used: %w; install an MPI with its headers (Debian, Ubuntu: libopenmpi-dev, openmpi-bin) and run `make build`, or say --collective none", l.Size, l.By, err))
	}
	if l.unknown(e.version) && !byHand {
		return fault.Usage(fmt.Errorf("%s says that %d processes were started, but by a launcher that %s does not know: %s; --collective mpi tries it all the same", l.By, l.Size, e.version, l.remedy()))
	}
	if g.m, err = e.join(l.Rank, l.Size, 0, id{}); err != nil {
		return err
	}
	if l.MPI && g.m.size() != l.Size {
		return fault.Usage(fmt.Errorf("%s says that %d processes were started, but %s knows of %d: %s", l.By, l.Size, e.version, g.m.size(), l.remedy()))
	}
	return nil
}

// findEngine opens one of this program's own libraries.
func findEngine(name string) (*engine, error) {
	for _, dir := range compute.LibraryDirs() {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return openEngine(path)
		}
	}
	return nil, fmt.Errorf("this program was built without it: there is no %s", name)
}

// Version is what the library of an engine says of itself, and where that lies.
func Version(e Engine) (version, path string, err error) {
	found, err := findEngine("libtrtact_" + string(e) + ".so")
	if err != nil {
		return "", "", err
	}
	return found.version, found.path, nil
}
