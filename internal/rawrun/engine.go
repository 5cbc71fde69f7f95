package rawrun

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"trtact/internal/fault"
	"trtact/internal/npy"
	"trtact/internal/onnx"
	"trtact/trt"
)

// RunEngine is Run for the engine that s names; s.Shapes is set here. Outputs of
// float16 and bfloat16 come as float32, and such inputs take it. The time is that of
// the run with its copies and the way to TensorRT's process and back.
func RunEngine(ctx context.Context, s trt.SessionOptions, arrays map[string]*npy.Array) ([]Output, time.Duration, error) {
	stored, err := trt.Read(s.Engine, s.Trust)
	if err != nil {
		return nil, 0, err
	}
	if a := arrays[""]; a != nil {
		if len(arrays) != 1 || len(stored.Artifact.Inputs) != 1 {
			return nil, 0, fault.Usage(fmt.Errorf("an input without a name is for engines that say in their sidecar that they have one input; %s has %s",
				s.Engine, describeTensors(stored.Artifact.Inputs)))
		}
		arrays = map[string]*npy.Array{stored.Artifact.Inputs[0].Name: a}
	}
	s.Shapes = map[string][]int{}
	for name, a := range arrays {
		s.Shapes[name] = a.Shape
	}
	session, err := trt.OpenSession(ctx, s)
	if err != nil {
		return nil, 0, err
	}
	defer session.Close()
	inputs := map[string][]byte{}
	for _, in := range session.Inputs() {
		a := arrays[in.Name]
		if a == nil {
			return nil, 0, fault.Usage(fmt.Errorf("input %q has no array; %s needs %s", in.Name, s.Engine, describeTensors(session.Inputs())))
		}
		data, err := elements(in.Type, a)
		if err != nil {
			return nil, 0, fault.BadInput(fmt.Errorf("input %q of %s: %w", in.Name, s.Engine, err))
		}
		inputs[in.Name] = data
	}
	start := time.Now()
	values, err := session.RunRaw(ctx, inputs)
	if err != nil {
		return nil, 0, err
	}
	spent := time.Since(start)
	var out []Output
	for _, o := range session.Outputs() {
		t, err := tensorOf(values[o.Name])
		if err != nil {
			return nil, 0, fmt.Errorf("output %q of %s: %w", o.Name, s.Engine, err)
		}
		out = append(out, Output{o.Name, t})
	}
	return out, spent, session.Close()
}

// numpyTypes are the engine's types by numpy's names.
var numpyTypes = map[string]string{"fp32": "float32", "fp16": "float32", "bf16": "float32", "int8": "int8", "uint8": "uint8",
	"int32": "int32", "int64": "int64", "bool": "bool"}

// elements are an array's bytes for an input of a type.
func elements(kind string, a *npy.Array) ([]byte, error) {
	want, known := numpyTypes[kind]
	if !known {
		return nil, fmt.Errorf("arrays for elements of type %s are not taken", kind)
	}
	if have := strings.TrimPrefix(fmt.Sprintf("%T", a.Data), "[]"); have != want {
		return nil, fmt.Errorf("its elements are %s, the engine wants %s: save it with array.astype(numpy.%s)", have, want, want)
	}
	if values, floats := a.Data.([]float32); floats {
		return trt.EncodeFloats(kind, values)
	}
	return binary.Append(nil, binary.LittleEndian, a.Data)
}

// tensorOf is a value of the engine's as the graph knows tensors.
func tensorOf(v trt.Value) (*onnx.Tensor, error) {
	read := func(data any) (*onnx.Tensor, error) {
		if err := binary.Read(bytes.NewReader(v.Data), binary.LittleEndian, data); err != nil {
			return nil, err
		}
		return tensor(&npy.Array{Shape: slices.Clone(v.Dims), Data: data})
	}
	count := len(v.Data)
	switch v.Type {
	case "int8":
		return read(make([]int8, count))
	case "uint8":
		return read(make([]uint8, count))
	case "bool":
		return read(make([]bool, count))
	case "int32":
		return read(make([]int32, count/4))
	case "int64":
		return read(make([]int64, count/8))
	}
	values, err := trt.DecodeFloats(v.Type, v.Data)
	if err != nil {
		return nil, err
	}
	return tensor(&npy.Array{Shape: slices.Clone(v.Dims), Data: values})
}

func describeTensors(tensors []trt.Tensor) string {
	if len(tensors) == 0 {
		return "no list of its inputs"
	}
	var list []string
	for _, t := range tensors {
		list = append(list, fmt.Sprintf("%q (%s %v)", t.Name, t.Type, t.Dims))
	}
	return strings.Join(list, ", ")
}
