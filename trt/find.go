package trt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"trtact/internal/fault"
)

// Family is one TensorRT as found here: our shim for it, and its library.
type Family struct {
	Name    string `json:"name"`              // trt8, trt10, trt11, rtx1
	Title   string `json:"title"`             // TensorRT, TensorRT for RTX
	Backend string `json:"backend"`           // BackendTensorRT or BackendRTX
	Shim    string `json:"shim"`              // path of the shim
	Headers string `json:"headers"`           // version the shim was compiled against
	Library string `json:"library,omitempty"` // path of TensorRT's library, "" when not found
	Version string `json:"version,omitempty"` // of that library
	// Targets are the compute capabilities it can build for without a GPU.
	Targets []int `json:"targets,omitempty"`
	// WeakTypes: FP16 and INT8 are options of the build. Else types are taken
	// from the model, and an FP16 engine needs an FP16 model.
	WeakTypes bool `json:"weak_types,omitempty"`
	// CalibrationCache: implicit INT8 by a table of scales is possible.
	CalibrationCache bool `json:"calibration_cache,omitempty"`
	// Can lists what it has of CanTimingCache and so on, TacticSources the sources
	// of kernels that can be chosen.
	Can           []string `json:"can,omitempty"`
	TacticSources []string `json:"tactic_sources,omitempty"`
	CanBuild      bool     `json:"can_build"`
	// Problem is why it cannot build here, one line; "" when it can.
	Problem string `json:"problem,omitempty"`

	code int // exit code that the problem stands for
}

// probeTimeout bounds the question whether a TensorRT can build here. It loads
// gigabytes of libraries from a disk that may be slow.
const probeTimeout = 2 * time.Minute

// Find asks every shim in the places for its TensorRT, each in a child process.
// A shim that crashes is in the list with its Problem. The error is ctx's.
func Find(ctx context.Context, places Places) ([]Family, error) {
	shims := places.shims()
	families := make([]Family, len(shims))
	var wait sync.WaitGroup
	for i, shim := range shims {
		wait.Add(1)
		go func() {
			defer wait.Done()
			families[i] = probe(ctx, shim, places)
		}()
	}
	wait.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("look for TensorRT: %w", err)
	}
	return families, nil
}

func probe(ctx context.Context, shim string, places Places) Family {
	var found *answer
	err := withLog("", func(log string) (err error) {
		j := job{
			Request: request{Action: actionProbe, Shim: shim, Libraries: places.Libraries, Loader: places.Loader},
			what:    "looking for TensorRT",
			timeout: probeTimeout,
			log:     log,
		}
		found, err = j.run(ctx)
		return err
	})
	var f Family
	if found != nil {
		f = found.Family
	}
	if f.Name == "" { // it crashed before it could tell
		f.Name = shimName(shim)
	}
	f.Shim = shim
	f.CanBuild = err == nil
	if err != nil {
		f.Problem, f.code = err.Error(), fault.Code(err)
	}
	return f
}

// Choose is the family that builds for a backend: for BackendAuto TensorRT
// where it can build here, for its speed is measured on the GPU itself, else
// TensorRT for RTX. Targets, too, mean the latter. Without one the error, of
// fault.NoDevice, says what was found and what is missing.
func Choose(families []Family, backend string, targets []int, places Places) (Family, error) {
	usable := slices.Clone(families)
	slices.SortStableFunc(usable, func(a, b Family) int { // TensorRT first, the newest first
		if a.Backend != b.Backend {
			return strings.Compare(b.Backend, a.Backend)
		}
		return compareVersions(b.Version, a.Version)
	})
	var problems []string
	for _, f := range usable {
		switch {
		case (backend == BackendTensorRT || backend == BackendRTX) && f.Backend != backend:
			continue
		case len(targets) > 0 && f.Targets == nil && f.CanBuild:
			continue
		case !f.CanBuild:
			problems = append(problems, fmt.Sprintf("%s: %s", f.Name, f.Problem))
			continue
		}
		return f, nil
	}
	wanted := "TensorRT"
	if backend == BackendRTX || len(targets) > 0 {
		wanted = "TensorRT for RTX"
	}
	switch {
	case len(problems) > 0:
		return Family{}, fault.NoDevice(fmt.Errorf("no %s can build an engine here: %s", wanted, strings.Join(problems, "; ")))
	case len(families) > 0:
		return Family{}, fault.NoDevice(fmt.Errorf("this program was built without %s (it has %s): make setup, then make build; "+
			"with TENSORRT_ROOT for TensorRT of your own", wanted, names(families)))
	}
	return Family{}, noShims(places)
}

func noShims(places Places) error {
	return fault.NoDevice(fmt.Errorf("no TensorRT library of this program (libtrtact_trt_*.so) in %s: make setup, then make build, or set TRTACT_LIB",
		strings.Join(places.Shims, ", ")))
}

// shimName is the family in a shim's file name.
func shimName(path string) string {
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "libtrtact_trt_"), ".so")
}

func names(families []Family) string {
	list := make([]string, len(families))
	for i, f := range families {
		list[i] = f.Name
	}
	return strings.Join(list, ", ")
}

// compareVersions orders versions as 8.6.1 < 10.2.0.
func compareVersions(a, b string) int {
	var x, y [3]int
	fmt.Sscanf(a, "%d.%d.%d", &x[0], &x[1], &x[2]) // what cannot be read counts as 0
	fmt.Sscanf(b, "%d.%d.%d", &y[0], &y[1], &y[2])
	return slices.Compare(x[:], y[:])
}

// loaderPath is LD_LIBRARY_PATH for a child that opens TensorRT from these
// folders: TensorRT opens parts of itself by name alone.
func loaderPath(folders []string) string {
	list := slices.Clone(folders)
	for _, dir := range strings.Split(os.Getenv("LD_LIBRARY_PATH"), ":") {
		if strings.HasPrefix(dir, "/") { // an empty or relative entry means the current folder
			list = append(list, dir)
		}
	}
	return strings.Join(list, ":")
}
