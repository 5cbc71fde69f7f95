// Package rawrun runs any ONNX model once on arrays as they are: no pictures, no
// decoding. The arrays' shapes give the sizes that the model leaves open.
package rawrun

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"trtact/internal/compute"
	"trtact/internal/fault"
	"trtact/internal/nn"
	"trtact/internal/npy"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
)

// Options say what is run and how.
type Options struct {
	// Inputs holds an array for every input of the model, by name; the name ""
	// stands for the only input.
	Inputs map[string]*npy.Array
	// Tensors are inner tensors to return besides the outputs. With any, the
	// graph is run as it is, without simplification, which could remove them.
	Tensors []string
	Threads int // 0: one for each core
}

// Output is one tensor that came out.
type Output struct {
	Name   string
	Tensor *onnx.Tensor
}

// Run loads the model at path, computes it on d and returns the outputs in the
// model's order, then the asked tensors, and how long the run itself took.
// Arrays that do not fit the model are a fault.BadInput, missing and unknown
// names a fault.Usage.
func Run(d *compute.Device, path string, o Options) ([]Output, time.Duration, error) {
	m, err := onnx.Load(path)
	if err != nil {
		return nil, 0, err
	}
	inputs, err := match(m, path, o.Inputs)
	if err != nil {
		return nil, 0, err
	}
	names, err := wanted(m, path, o.Tensors)
	if err != nil {
		return nil, 0, err
	}
	sizes := map[string][]int{}
	for name, t := range inputs {
		sizes[name] = t.Dims
	}
	if err := shape.Infer(m, sizes); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	if len(o.Tensors) == 0 && !quantised(m) {
		if _, err := simplify.Run(m); err != nil {
			return nil, 0, fmt.Errorf("%s: simplify: %w", path, err)
		}
	}
	threads := o.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	n, err := nn.Compile(m, d, nn.Options{Outputs: o.Tensors, Threads: threads, Workers: 1})
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	defer n.Close()
	c, err := n.NewContext()
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	defer c.Close()
	if err := c.SetInputs(inputs); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	start := time.Now()
	if err := c.Run(); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	spent := time.Since(start)
	var out []Output
	for _, name := range names {
		t, err := c.Output(name)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, Output{name, t})
	}
	return out, spent, nil
}

func quantised(m *onnx.Model) bool {
	return slices.ContainsFunc(m.Graph.Nodes, func(n *onnx.Node) bool { return n.Op == "QuantizeLinear" })
}

// match gives every input of the model its array, of the type the model takes.
func match(m *onnx.Model, path string, arrays map[string]*npy.Array) (map[string]*onnx.Tensor, error) {
	if a := arrays[""]; a != nil {
		if len(arrays) != 1 || len(m.Graph.Inputs) != 1 {
			return nil, fault.Usage(fmt.Errorf("an input without a name is for models with one input; %s has %s", path, describe(m.Graph.Inputs)))
		}
		arrays = map[string]*npy.Array{m.Graph.Inputs[0].Name: a}
	}
	for name := range arrays {
		if !slices.ContainsFunc(m.Graph.Inputs, func(v onnx.Value) bool { return v.Name == name }) {
			return nil, fault.Usage(fmt.Errorf("%s has no input %q; it has %s", path, name, describe(m.Graph.Inputs)))
		}
	}
	inputs := map[string]*onnx.Tensor{}
	for _, in := range m.Graph.Inputs {
		a := arrays[in.Name]
		if a == nil {
			return nil, fault.Usage(fmt.Errorf("input %q has no array; %s needs %s", in.Name, path, describe(m.Graph.Inputs)))
		}
		t, err := tensor(a)
		if err == nil && t.Type != in.Type {
			err = fmt.Errorf("its elements are %v, the model wants %v: save it with array.astype(numpy.%v)", t.Type, in.Type, in.Type)
		}
		if err != nil {
			return nil, fault.BadInput(fmt.Errorf("input %q of %s: %w", in.Name, path, err))
		}
		inputs[in.Name] = t
	}
	return inputs, nil
}

// wanted is the names of the tensors to return, each once.
func wanted(m *onnx.Model, path string, more []string) ([]string, error) {
	var names []string
	for _, out := range m.Graph.Outputs {
		names = append(names, out.Name)
	}
	known := m.Graph.Index().Producer
	for _, name := range more {
		if known[name] == nil {
			return nil, fault.Usage(fmt.Errorf("%s has no tensor %q", path, name))
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

func describe(values []onnx.Value) string {
	var list []string
	for _, v := range values {
		list = append(list, fmt.Sprintf("%q (%v %v)", v.Name, v.Type, v.Dims))
	}
	return strings.Join(list, ", ")
}

// tensor is an array as the graph knows it; the data is shared.
func tensor(a *npy.Array) (*onnx.Tensor, error) {
	t := &onnx.Tensor{Type: onnx.DTypeOf(a.Data), Dims: a.Shape, Data: a.Data}
	if t.Type == onnx.Undefined {
		return nil, fmt.Errorf("arrays of %T are not taken", a.Data)
	}
	return t, nil
}
