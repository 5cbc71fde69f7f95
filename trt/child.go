package trt

// The child's side: read one request, do it, write one answer.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"trtact/internal/rss"
)

// RunChild is the whole life of a child process: the program's main function
// calls it, and exits with its result, when the first argument is ChildCommand.
// TensorRT's failures are part of the answer; a status other than 0 means that
// there is no answer, for the reason written to stderr.
func RunChild(stdin io.Reader, stderr io.Writer) int {
	if err := runRequest(stdin); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", ChildCommand, err)
		return 1
	}
	return 0
}

func runRequest(stdin io.Reader) error {
	var r request
	if err := json.NewDecoder(stdin).Decode(&r); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	// A crash is the parent's to report: no core file, no Go stack trace.
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("set the limit of core files: %w", err)
	}
	defaultSignals()
	if r.Action == actionSession {
		return serve(r, stdin) // the parent waits for an answer before it writes more
	}

	a, err := perform(r)
	a.failure = failureOf(err)
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return os.WriteFile(r.Answer, data, 0o600)
}

// perform answers a request. What it has found out is in the answer even when
// the error is not nil.
func perform(r request) (answer, error) {
	var a answer
	shim, err := openShim(r.Shim)
	if err != nil {
		return a, err
	}
	a.Family = shim.family()
	library, err := shim.open(r.Libraries, r.Loader)
	if err != nil {
		return a, err
	}
	defer library.close()
	a.Family.Library, a.Family.Version = library.path(), library.version()

	switch r.Action {
	case actionProbe:
		return a, library.probe(r.Log)
	case actionBuild:
		return a, build(library, r, &a)
	}
	return a, fmt.Errorf("unknown action %q", r.Action)
}

func build(library *library, r request, a *answer) error {
	model, err := os.ReadFile(r.Model)
	if err != nil {
		return err
	}
	var timings []byte
	if r.Options.TimingCache != "" {
		if timings, err = readTimings(r.Options.TimingCache); err != nil {
			return err
		}
	}
	start := time.Now()
	built, err := library.build(model, timings, r.Options, r.Log)
	if err != nil {
		return err
	}
	defer built.close()
	a.Seconds = time.Since(start).Seconds()
	a.Inputs, a.Outputs = built.tensors()
	a.Layers = built.layers()
	if r.Options.Detailed {
		if text, err := built.inspect(); err != nil {
			a.InspectionProblem = err.Error()
		} else if json.Valid([]byte(text)) {
			a.Inspection = json.RawMessage(text)
		} else {
			a.InspectionProblem = "TensorRT's inspector gave no valid JSON"
		}
	}
	if timings := built.timings(); len(timings) > 0 {
		if err := os.WriteFile(r.Timings, timings, 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(r.Engine, built.data(), 0o600); err != nil {
		return err
	}
	a.PeakRSS = rss.Peak()
	return nil
}

// readTimings is the timing cache at path, empty when there is none yet.
func readTimings(path string) ([]byte, error) {
	data, err := readCapped(path, maxEngineBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read timing cache: %w", err)
	}
	return data, nil
}
