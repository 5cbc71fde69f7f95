package shape

// Changing the input size of a model.

import (
	"fmt"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// Resize gives the model's images another height, width and batch size (0
// keeps what is declared), infers all shapes and declares the new sizes on the
// graph's inputs and outputs. Images are the inputs of rank 4, NCHW; of other
// inputs only a first dimension that counts images changes.
//
// A model that stores its batch size is changed where that is possible without
// mixing images (batch.go). Many models cannot be resized otherwise: their
// exporter computed box grids once and stored them. Such a model contradicts
// itself at another size; the error names the place, and the model is left as it
// was.
func Resize(m *onnx.Model, h, w, batch int) error {
	was := onnx.Dynamic
	for _, v := range m.Graph.Inputs {
		if len(v.Dims) == 4 {
			was = v.Dims[0]
			break
		}
	}
	inputs := sized(m.Graph.Inputs, h, w, batch, was)
	trial, err := resizeTo(m, inputs, sized(m.Graph.Inputs, h, w, max(1, was), was), max(1, was), batch)
	if err != nil && was < 0 && batch > 1 {
		// Its exporter says that any batch will do, in ways that we do not follow.
		trial, err = trusted(m, inputs, sized(m.Graph.Inputs, h, w, 1, was), batch, err)
	}
	if err != nil && list(inputs) == list(m.Graph.Inputs) { // it contradicts itself as it is
		return err
	}
	if err != nil {
		advice := "sizes are baked into the model, so export it again for the size you need"
		if h%32 != 0 || w%32 != 0 {
			advice = "most detectors want sides that are multiples of 32"
		}
		return fault.BadInput(fmt.Errorf("cannot run with inputs %s (the file has %s): %w; %s", list(inputs), list(m.Graph.Inputs), err, advice))
	}
	*m.Graph = *trial
	Freeze(m)
	return nil
}

// withInputs is a copy of a model for other inputs, with the sizes of its
// outputs free.
func withInputs(m *onnx.Model, inputs []onnx.Value) *onnx.Model {
	c := *m
	c.Graph = ownGraph(m.Graph)
	c.Graph.Inputs, c.Graph.Outputs = inputs, free(m.Graph.Outputs)
	return &c
}

// resizeTo is the model's graph for inputs at batch to; before has the inputs at
// batch from.
func resizeTo(m *onnx.Model, inputs, before []onnx.Value, from, to int) (*onnx.Graph, error) {
	c := withInputs(m, inputs)
	if to == 0 || to == from {
		return c.Graph, Infer(c, nil)
	}
	if err := withBatch(c, before, from, to); err != nil {
		return nil, fault.BadInput(fmt.Errorf("infer shapes%s: %w", of(m), err))
	}
	return c.Graph, nil
}

// trusted is the graph of a model with a free batch as it stands, if only its
// outputs grow with the batch; refused is why its images could not be followed.
func trusted(m *onnx.Model, inputs, single []onnx.Value, batch int, refused error) (*onnx.Graph, error) {
	one, many := withInputs(m, single), withInputs(m, inputs)
	for _, c := range []*onnx.Model{one, many} {
		if Infer(c, nil) != nil {
			return nil, refused
		}
	}
	for _, o := range many.Graph.Outputs {
		if rows(o.Name, one.Graph.Info[o.Name].Dims, many.Graph.Info[o.Name].Dims, 1, batch) != nil {
			return nil, refused
		}
	}
	return many.Graph, nil
}

// sized is the inputs with another height, width and batch, 0 for as it is; was
// is the batch that they have.
func sized(inputs []onnx.Value, h, w, batch, was int) []onnx.Value {
	var out []onnx.Value
	for _, v := range inputs {
		v = v.Clone()
		set := func(i, size int) {
			if size > 0 {
				v.Dims[i] = size
				if v.Symbols != nil {
					v.Symbols[i] = ""
				}
			}
		}
		switch {
		case len(v.Dims) == 4:
			set(0, batch)
			set(2, h)
			set(3, w)
		case len(v.Dims) > 0 && v.Dims[0] == was:
			set(0, batch)
		}
		out = append(out, v)
	}
	return out
}

// free is the outputs with all sizes free.
func free(outputs []onnx.Value) []onnx.Value {
	var out []onnx.Value
	for _, v := range outputs {
		v = v.Clone()
		v.Symbols = nil
		if v.Dims != nil {
			v.Dims = dynamic(len(v.Dims))
		}
		out = append(out, v)
	}
	return out
}

func list(values []onnx.Value) string {
	s := ""
	for i, v := range values {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%s%v", v.Name, v.Dims)
	}
	return s
}

// Freeze declares the inferred sizes on the graph's inputs and outputs, which
// makes a model with free dimensions one of fixed size. Sizes that depend on
// data stay free.
func Freeze(m *onnx.Model) {
	for _, list := range [][]onnx.Value{m.Graph.Inputs, m.Graph.Outputs} {
		for i := range list {
			v, ok := m.Graph.Info[list[i].Name]
			if !ok || v.Dims == nil {
				continue
			}
			list[i].Dims = dims.Clone(v.Dims)
			symbols := list[i].Symbols
			list[i].Symbols = nil
			for k, n := range v.Dims {
				if n < 0 && k < len(symbols) && symbols[k] != "" {
					if list[i].Symbols == nil {
						list[i].Symbols = make([]string, len(v.Dims))
					}
					list[i].Symbols[k] = symbols[k]
				}
			}
		}
	}
}
