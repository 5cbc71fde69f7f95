package trt

// The child's side of a session: load one engine, then answer requests until
// standard input ends.

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"trtact/internal/onnx"
)

// answersFD is the child's end of the pipe that answers go through. Standard output
// is the log's: TensorRT may write there.
const answersFD = 3

// failureOf is an error as the parent takes it.
func failureOf(err error) failure {
	var shim *shimError
	switch {
	case err == nil:
		return failure{}
	case errors.As(err, &shim):
		return failure{Status: shim.status, Error: shim.text}
	}
	return failure{Status: statusFailed, Error: err.Error()}
}

// serve is the whole life of a session's child. The error means that there is nobody to
// talk to.
func serve(r request, requests io.Reader) error {
	pipe := os.NewFile(answersFD, "answers")
	if pipe == nil {
		return errors.New("no pipe to answer through")
	}
	defer pipe.Close()
	answers := gob.NewEncoder(pipe)
	if r.Load == nil {
		return errors.New("a session without an engine")
	}

	ready := sessionReady{}
	library, engine, err := load(r, &ready)
	if library != nil {
		defer library.close()
	}
	if err != nil {
		ready.Failure = failureOf(err)
		return answers.Encode(ready)
	}
	defer engine.close()
	ready.Inputs, ready.Outputs = engine.tensors()
	ready.DeviceBytes = engine.deviceBytes()
	for i, t := range ready.Inputs {
		copy(engine.memory(i), randomElements(t))
	}
	if err := answers.Encode(ready); err != nil {
		return err
	}
	inputs := len(ready.Inputs)
	decoder := gob.NewDecoder(requests)
	for {
		var q sessionRequest
		if err := decoder.Decode(&q); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		a := sessionAnswer{}
		a.Failure = failureOf(answerTo(engine, q, inputs, &a))
		if err := answers.Encode(a); err != nil {
			return fmt.Errorf("write an answer: %w", err)
		}
	}
}

// load opens TensorRT, compares it with the one that built the engine, and only
// then shows it the engine.
func load(r request, ready *sessionReady) (*library, *loaded, error) {
	shim, err := openShim(r.Shim)
	if err != nil {
		return nil, nil, err
	}
	ready.Family = shim.family()
	library, err := shim.open(r.Libraries, r.Loader)
	if err != nil {
		return nil, nil, err
	}
	ready.Family.Library, ready.Family.Version = library.path(), library.version()
	if r.Load.Version != "" {
		built := Artifact{Engine: File{Name: r.Load.Name}, Backend: r.Load.Backend, Version: r.Load.Version}
		if err := built.CheckRuntime(ready.Family); err != nil {
			return library, nil, &shimError{statusBadModel, err.Error()}
		}
	}
	data, err := os.ReadFile(r.Load.Engine)
	if err != nil {
		return library, nil, err
	}
	engine, err := library.load(data, *r.Load, r.Log)
	return library, engine, err
}

func answerTo(engine *loaded, q sessionRequest, inputs int, a *sessionAnswer) (err error) {
	switch {
	case q.Run:
		return runOnce(engine, q.Inputs, a)
	case q.Time != nil:
		a.Block, err = engine.time(*q.Time)
		return err
	case q.Profile > 0:
		if a.Layers, err = engine.profile(q.Profile); err != nil {
			return err
		}
		// Without it, origins go by names alone.
		if text, err := engine.inspect(); err == nil {
			a.Inspection = []byte(text)
		}
		return nil
	}
	return errors.New("a request for nothing")
}

func runOnce(engine *loaded, values map[string][]byte, a *sessionAnswer) error {
	inputs, _ := engine.tensors()
	for i, t := range inputs {
		if memory := engine.memory(i); copy(memory, values[t.Name]) != len(memory) {
			return fmt.Errorf("input %q: %d bytes, want %d", t.Name, len(values[t.Name]), len(memory))
		}
	}
	if err := engine.run(); err != nil {
		return err
	}
	_, outputs := engine.tensors()
	a.Outputs = map[string]Value{}
	for i, t := range outputs {
		memory := engine.memory(len(inputs) + i)
		bytes := int(typeBytes(t.Type)) * onnx.Volume(t.Dims)
		if bytes < 0 || bytes > len(memory) {
			return fmt.Errorf("output %q: %s %v does not fit its memory of %d bytes", t.Name, t.Type, t.Dims, len(memory))
		}
		a.Outputs[t.Name] = Value{Type: t.Type, Dims: t.Dims, Data: append([]byte{}, memory[:bytes]...)}
	}
	return nil
}

// randomElements are the values that an engine is timed on before any are given:
// 0 to 1 for floats, all there are for 8 bits; wider integers are 0, since they
// may be positions in a table.
func randomElements(t Tensor) []byte {
	random := rand.New(rand.NewPCG(1, 0))
	values := make([]float32, onnx.Volume(t.Dims))
	switch t.Type {
	case "fp32", "fp16", "bf16":
		for i := range values {
			values[i] = random.Float32()
		}
	case "int8":
		for i := range values {
			values[i] = float32(random.IntN(256) - 128)
		}
	case "uint8":
		for i := range values {
			values[i] = float32(random.IntN(256))
		}
	}
	data, err := EncodeFloats(t.Type, values)
	if err != nil { // a type that is not converted, as fp8: zeros
		return nil
	}
	return data
}
