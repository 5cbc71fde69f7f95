package trt

// The parent's side of a child process: start it, bound it, and turn every way
// it can end into an answer or one sentence.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"trtact/internal/fault"
)

const (
	actionProbe   = "probe"
	actionBuild   = "build"
	actionSession = "session"
)

// request is what the child reads on its standard input.
type request struct {
	Action    string       `json:"action"`
	Shim      string       `json:"shim"`
	Libraries []string     `json:"libraries"`
	Loader    bool         `json:"loader"`
	Log       string       `json:"log"`    // TensorRT's messages go here
	Answer    string       `json:"answer"` // file to write the answer to
	Model     string       `json:"model,omitempty"`
	Engine    string       `json:"engine,omitempty"`  // file to write the engine to
	Timings   string       `json:"timings,omitempty"` // file to write the timing cache to
	Options   BuildOptions `json:"options"`
	Load      *loading     `json:"load,omitempty"` // the engine of a session
}

// failure is the shim's status and text when a request failed.
type failure struct {
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`
}

// answer is what the child writes.
type answer struct {
	failure
	Family Family `json:"family"`

	Inputs            []Tensor        `json:"inputs,omitempty"`
	Outputs           []Tensor        `json:"outputs,omitempty"`
	Layers            []Layer         `json:"layers,omitempty"`
	Seconds           float64         `json:"seconds,omitempty"`
	PeakRSS           int64           `json:"peak_rss,omitempty"` // bytes, of the child
	Inspection        json.RawMessage `json:"inspection,omitempty"`
	InspectionProblem string          `json:"inspection_problem,omitempty"`

	engine  []byte
	timings []byte
}

// job is one run of a child.
type job struct {
	Request request
	what    string // "building yolov5n.onnx", for messages
	model   []byte
	timeout time.Duration
	log     string // absolute path
}

// run starts the child and waits for it. An answer comes with a nil error, or
// with one when the child could say what it found before it failed.
func (j job) run(ctx context.Context) (*answer, error) {
	dir, err := os.MkdirTemp("", "trtact-child-*")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", j.what, err)
	}
	defer os.RemoveAll(dir)
	r := j.Request
	r.Answer = filepath.Join(dir, "answer.json")
	if j.model != nil {
		r.Model, r.Engine, r.Timings = filepath.Join(dir, "model.onnx"), filepath.Join(dir, "engine"), filepath.Join(dir, "timings")
		if err := os.WriteFile(r.Model, j.model, 0o600); err != nil {
			return nil, fmt.Errorf("%s: %w", j.what, err)
		}
	}
	r.Log = j.log
	log, err := os.OpenFile(j.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", j.what, err)
	}
	defer log.Close()
	input, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", j.what, err)
	}

	limited, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	cmd := childCommand(dir, loaderPath(r.Libraries), log)
	cmd.Stdin = bytes.NewReader(input)
	state, err := runChild(limited, cmd, nil)
	if err == nil {
		err = outcome(ctx, limited, state, j.what, r.Log, j.timeout)
	}
	if err != nil {
		return nil, err
	}
	a := new(answer)
	data, err := readCapped(r.Answer, maxSidecarBytes)
	if err == nil {
		err = json.Unmarshal(data, a)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: the child process left no answer: %w; its log: %s", j.what, err, r.Log)
	}
	if a.Error != "" {
		return a, a.problem(j.what, r.Log)
	}
	if r.Engine != "" {
		if a.engine, err = readCapped(r.Engine, maxEngineBytes); err != nil {
			return nil, fmt.Errorf("%s: read the engine: %w", j.what, err)
		}
		if a.timings, err = readTimings(r.Timings); err != nil {
			return nil, fmt.Errorf("%s: %w", j.what, err)
		}
	}
	return a, nil
}

// logFile is where TensorRT's messages go.
type logFile struct {
	path      string // absolute
	temporary bool
}

// openLog is the log at path, or where none is asked for a temporary file.
func openLog(path string) (logFile, error) {
	if path != "" {
		abs, err := filepath.Abs(path)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(abs), 0o777)
		}
		if err != nil {
			return logFile{}, fmt.Errorf("log %s: %w", path, err)
		}
		return logFile{path: abs}, nil
	}
	temporary, err := os.CreateTemp("", "trtact-tensorrt-*.log")
	if err != nil {
		return logFile{}, fmt.Errorf("make a log: %w", err)
	}
	temporary.Close()
	return logFile{path: temporary.Name(), temporary: true}, nil
}

// discard removes a temporary log, unless err names it.
func (l logFile) discard(err error) {
	if l.temporary && (err == nil || !strings.Contains(err.Error(), l.path)) {
		os.Remove(l.path)
	}
}

// withLog calls f with the absolute path of the log to append to. A temporary
// one stays only when f's error names it.
func withLog(path string, f func(log string) error) error {
	log, err := openLog(path)
	if err != nil {
		return err
	}
	err = f(log.path)
	log.discard(err)
	return err
}

// childVariable is set in the environment of a child, which starts none itself.
const childVariable = "TRTACT_CHILD"

// childCommand runs this program once more, in the folder dir.
func childCommand(dir, loaderPath string, output *os.File) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", ChildCommand) // also when the file was replaced since
	cmd.Args[0] = os.Args[0]
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+loaderPath, childVariable+"=1")
	cmd.Stdout, cmd.Stderr = output, output
	// A group of its own, to be killed as one; and never left behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// runChild runs a childCommand to its end. When ctx ends first, the child and
// all it started are killed. started is called once it runs, or could not be started.
func runChild(ctx context.Context, cmd *exec.Cmd, started func()) (*os.ProcessState, error) {
	// Pdeathsig acts when the thread that started the child ends, so this
	// goroutine keeps its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var err error
	if os.Getenv(childVariable) != "" { // or a program without RunChild would start itself for ever
		err = errors.New("this is one already, and its main function does not call trt.RunChild")
	} else {
		err = cmd.Start()
	}
	if started != nil {
		started()
	}
	if err != nil {
		return nil, fmt.Errorf("start a child process: %w", err)
	}
	done := make(chan struct{})
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		select {
		case <-ctx.Done():
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails only when it has just ended
		case <-done:
		}
	}()
	cmd.Wait() // what matters of its error is in the state
	close(done)
	<-killed
	return cmd.ProcessState, nil
}

// outcome is nil when the child ended as it should; limited is ctx with the
// time limit.
func outcome(ctx, limited context.Context, state *os.ProcessState, what, log string, limit time.Duration) error {
	switch {
	case state.Success():
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: interrupted: %w", what, ctx.Err())
	case limited.Err() != nil:
		return fmt.Errorf("TensorRT took longer than %v while %s and was stopped; its log: %s", limit, what, log)
	}
	return died(state, what, log)
}

// died says how a child ended that did not succeed.
func died(state *os.ProcessState, what, log string) error {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		signal := status.Signal()
		if signal == syscall.SIGKILL {
			return fmt.Errorf("TensorRT was killed while %s, most likely for want of memory; its log: %s", what, log)
		}
		return fmt.Errorf("TensorRT crashed (signal %d, %v) while %s; its log: %s", int(signal), signal, what, log)
	}
	return fmt.Errorf("TensorRT's process ended with %v while %s; its log: %s", state, what, log)
}

// problem is the shim's error as the program's.
func (a *failure) problem(what, log string) error {
	err := errors.New(strings.TrimSpace(a.Error))
	switch a.Status {
	case statusNoLibrary, statusNoDevice:
		return fault.NoDevice(err)
	case statusInvalid:
		return fault.Usage(fmt.Errorf("%s: %w", what, err))
	case statusBadModel:
		return fault.BadInput(fmt.Errorf("%s: %w; its log: %s", what, err, log))
	}
	return fmt.Errorf("%s: %w; its log: %s", what, err, log)
}
