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
	actionProbe = "probe"
	actionBuild = "build"
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
	Engine    string       `json:"engine,omitempty"` // file to write the engine to
	Options   BuildOptions `json:"options"`
}

// answer is what the child writes.
type answer struct {
	Family Family `json:"family"`
	// Status and Error are the shim's when it failed.
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`

	Inputs            []Tensor        `json:"inputs,omitempty"`
	Outputs           []Tensor        `json:"outputs,omitempty"`
	Layers            []Layer         `json:"layers,omitempty"`
	Seconds           float64         `json:"seconds,omitempty"`
	Inspection        json.RawMessage `json:"inspection,omitempty"`
	InspectionProblem string          `json:"inspection_problem,omitempty"`

	engine []byte
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
		r.Model, r.Engine = filepath.Join(dir, "model.onnx"), filepath.Join(dir, "engine")
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
	state, err := runChild(limited, dir, loaderPath(r.Libraries), input, log)
	if err == nil {
		err = j.outcome(ctx, limited, state, r.Log)
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
	}
	return a, nil
}

// withLog calls f with the absolute path of the log to append to. Where none is
// asked for it is a temporary file, which stays only when f's error names it.
func withLog(path string, f func(log string) error) error {
	if path != "" {
		abs, err := filepath.Abs(path)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(abs), 0o777)
		}
		if err != nil {
			return fmt.Errorf("log %s: %w", path, err)
		}
		return f(abs)
	}
	temporary, err := os.CreateTemp("", "trtact-tensorrt-*.log")
	if err != nil {
		return fmt.Errorf("make a log: %w", err)
	}
	temporary.Close()
	err = f(temporary.Name())
	if err == nil || !strings.Contains(err.Error(), temporary.Name()) {
		os.Remove(temporary.Name())
	}
	return err
}

// runChild runs this program once more with the input on its standard input.
// When ctx ends first, the child and all it started are killed.
func runChild(ctx context.Context, dir, loaderPath string, input []byte, output *os.File) (*os.ProcessState, error) {
	cmd := exec.Command("/proc/self/exe", ChildCommand) // also when the file was replaced since
	cmd.Args[0] = os.Args[0]
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+loaderPath)
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stdout, cmd.Stderr = output, output
	// A group of its own, to be killed as one; and never left behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	// Pdeathsig acts when the thread that started the child ends, so this
	// goroutine keeps its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
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

// outcome is nil when the child ended as it should.
func (j job) outcome(ctx, limited context.Context, state *os.ProcessState, log string) error {
	switch {
	case state.Success():
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: interrupted: %w", j.what, ctx.Err())
	case limited.Err() != nil:
		return fmt.Errorf("TensorRT took longer than %v while %s and was stopped; its log: %s", j.timeout, j.what, log)
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		signal := status.Signal()
		if signal == syscall.SIGKILL {
			return fmt.Errorf("TensorRT was killed while %s, most likely for want of memory; its log: %s", j.what, log)
		}
		return fmt.Errorf("TensorRT crashed (signal %d, %v) while %s; its log: %s", int(signal), signal, j.what, log)
	}
	return fmt.Errorf("TensorRT's process ended with %v while %s; its log: %s", state, j.what, log)
}

// problem is the shim's error as the program's.
func (a *answer) problem(what, log string) error {
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
