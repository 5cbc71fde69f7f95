// trtact doctor: which of the libraries this program can use are on this
// machine, and for each that is not, what is lost and how to get it.

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"trtact/cuda"
	"trtact/internal/collective"
	"trtact/internal/compute"
	"trtact/internal/gpu"
	"trtact/internal/report"
	"trtact/trt"
)

// part is one thing that doctor looks for.
type part struct {
	Name    string `json:"name"`
	Found   bool   `json:"found"`
	Version string `json:"version,omitempty"`
	Path    string `json:"path,omitempty"`
	// Problem is why what is there cannot be used, or not for everything (a
	// TensorRT on a machine without a GPU).
	Problem string `json:"problem,omitempty"`
	For     string `json:"needed_for"`
	Get     string `json:"how_to_get"`
}

type doctorResult struct {
	OK    bool   `json:"ok"` // everything that the program cannot do without is there
	Parts []part `json:"parts"`
}

const cpuBackend = "CPU backend (oneDNN)"

func (s *session) doctorCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "doctor",
		Usage:     "which libraries were found, what for, and how to get the others",
		UsageText: "trtact doctor",
		Category:  groupMachine,
		Description: `Looks for the libraries that trtact can use: where each was found, in which version,
what it is needed for and, where it is missing, how to get it. Only the CPU backend is
needed for everything; without it the exit code is 1. Everything else may be missing: the
commands that need it say so.

Examples:
trtact doctor
trtact doctor --json | jq '.parts[] | select(.found | not) | .name'`,
		Action: func(c *urfave.Context) error {
			if err := takes(c, 0, 0, ""); err != nil {
				return err
			}
			r, err := examine(s.ctx)
			if err != nil {
				return err
			}
			if err := s.print(r, func() error { return s.writeDoctor(r) }); err != nil {
				return err
			}
			if !r.OK {
				return errors.New("the CPU backend is missing, without which nothing can be computed; run `make build`, or set TRTACT_LIB to the folder that holds it")
			}
			return nil
		},
	}
}

func examine(ctx context.Context) (doctorResult, error) {
	cpu := cpuPart()
	engines, err := tensorRTParts(ctx)
	parts := append([]part{cpu, cudaPart()}, engines...)
	return doctorResult{OK: cpu.Found, Parts: append(parts, mpiPart(), ncclPart(), nvmlPart(), driverPart(), runtimePart(), cudnnPart(), cublasPart())}, err
}

// tensorRTParts is a part for every TensorRT that this program was built for,
// and one for each kind that it was not built for.
func tensorRTParts(ctx context.Context) ([]part, error) {
	families, err := trt.Find(ctx, trt.DefaultPlaces())
	if err != nil {
		return nil, err
	}
	var parts []part
	for _, kind := range []struct{ backend, name, needed, get string }{
		{trt.BackendRTX, "TensorRT for RTX", "building engines on a machine without a GPU, for GPUs named by --target",
			"`make setup` fetches it, then `make build`"},
		{trt.BackendTensorRT, "TensorRT", "building engines on the machine with the GPU that runs them",
			"install TensorRT 8.4 or newer with its headers, then `make build TENSORRT_ROOT=DIR`; building needs a GPU"},
	} {
		found := false
		for _, f := range families {
			if f.Backend != kind.backend {
				continue
			}
			found = true
			p := part{Name: kind.name, Found: f.Library != "" && f.Version != "", Version: f.Version, Path: f.Library, For: kind.needed, Get: kind.get}
			if f.Problem != "" {
				p.Problem = f.Problem
			}
			parts = append(parts, p)
		}
		if !found {
			parts = append(parts, part{Name: kind.name, Problem: "this program was built without it", For: kind.needed, Get: kind.get})
		}
	}
	return parts, nil
}

func cpuPart() part {
	p := part{
		Name: cpuBackend,
		For:  "calibration, evaluation, detection and runs of a model on the CPU",
		Get:  "`make build` builds it, with oneDNN; TRTACT_LIB names its folder where it is not beside the program",
	}
	d, err := compute.OpenCPU()
	if err != nil {
		p.Problem = err.Error()
		return p
	}
	defer d.Close()
	p.Found, p.Version, p.Path = true, d.Version(), d.Path()
	return p
}

func mpiPart() part {
	return collectivePart(collective.MPI, "MPI", "training over several processes on CPUs, started by mpirun",
		"install one with its headers (Debian, Ubuntu: openmpi-bin, libopenmpi-dev), then `make build`")
}

func ncclPart() part {
	return collectivePart(collective.NCCL, "NCCL", "training over several GPUs",
		"package libnccl2 of NVIDIA's package repository, or nvidia-nccl-cu12 of PyPI with its lib folder in LD_LIBRARY_PATH")
}

func collectivePart(e collective.Engine, name, needed, get string) part {
	p := part{Name: name, For: needed, Get: get}
	var err error
	if p.Version, p.Path, err = collective.Version(e); err != nil {
		p.Problem = err.Error()
		return p
	}
	p.Found = true
	return p
}

// cudaPart opens the first GPU, if the backend was built and everything it wants is here.
func cudaPart() part {
	p := part{
		Name: "CUDA backend",
		For:  "calibration, training, evaluation and detection on a GPU",
		Get:  "`make setup-cuda build` builds it; it runs with an NVIDIA driver, cuDNN 8 or 9 and cuBLAS",
	}
	cuda.CuDNN()
	cuda.CuBLAS()
	d, err := compute.OpenCUDA(0)
	if err != nil {
		p.Problem = err.Error()
		return p
	}
	defer d.Close()
	p.Found, p.Version, p.Path = true, d.Version(), d.Path()
	return p
}

func nvmlPart() part {
	p := part{
		Name: "NVIDIA driver (NVML)",
		For:  "trtact gpu; clocks, temperature and power in trtact bench",
		Get:  "install the NVIDIA driver of your distribution (package nvidia-driver or nvidia-driver-NNN)",
	}
	m, err := gpu.Open()
	if err != nil {
		p.Problem = err.Error()
		return p
	}
	defer m.Close()
	r, err := m.Read()
	if err != nil {
		p.Problem = err.Error()
		return p
	}
	var names []string
	for _, g := range r.GPUs {
		names = append(names, g.Name)
	}
	p.Found, p.Version, p.Path = true, r.Driver, strings.Join(names, ", ")
	return p
}

func driverPart() part {
	return libraryPart(cuda.Driver(), "CUDA driver", "building engines with TensorRT proper",
		"comes with the NVIDIA driver (libcuda.so.1); a container needs it passed in by the NVIDIA container toolkit")
}

func runtimePart() part {
	return libraryPart(cuda.Runtime(), "CUDA runtime", "TensorRT proper",
		"package cuda-cudart-12-x of NVIDIA's package repository, or the CUDA toolkit; CUDA_HOME names its folder")
}

func cudnnPart() part {
	return libraryPart(cuda.CuDNN(), "cuDNN", "the CUDA backend's convolutions; TensorRT 8, which uses it for some layers",
		"package libcudnn9-cuda-12 (TensorRT 8: libcudnn8) of NVIDIA's package repository")
}

func cublasPart() part {
	return libraryPart(cuda.CuBLAS(), "cuBLAS", "the CUDA backend's matrix products; cuDNN, which uses it too",
		"package libcublas-12-x of NVIDIA's package repository, or the CUDA toolkit")
}

func libraryPart(l cuda.Library, name, needed, get string) part {
	return part{Name: name, Found: l.Found(), Version: l.Version, Path: l.Path, Problem: l.Problem, For: needed, Get: get}
}

func (s *session) writeDoctor(r doctorResult) error {
	t := report.NewTable("part", "version", "where")
	missing := 0
	for _, p := range r.Parts {
		if p.Found && p.Problem != "" {
			missing++
		}
		switch {
		case p.Found:
			t.Add(p.Name, orDash(p.Version), p.Path)
		case p.Path != "":
			t.Add(p.Name, "unusable", p.Path)
			missing++
		default:
			t.Add(p.Name, "not found", "")
			missing++
		}
	}
	if err := s.table(t); err != nil || missing == 0 {
		return err
	}
	for _, p := range r.Parts {
		if p.Found && p.Problem == "" {
			continue
		}
		fmt.Fprintf(s.out, "\n%s\n", p.Name)
		details := report.NewTable("", "", "") // the empty column indents
		if p.Problem != "" {
			details.Add("", "why", p.Problem)
		}
		details.Add("", "needed for", p.For)
		details.Add("", "get it", p.Get)
		if err := s.table(details); err != nil {
			return err
		}
	}
	return nil
}
