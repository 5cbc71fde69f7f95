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
// Many models cannot be resized: their exporter computed box grids or reshape
// targets once and stored them. Such a model contradicts itself at another size;
// the error names the place, and the model is left as it was.
func Resize(m *onnx.Model, h, w, batch int) error {
	g := m.Graph
	old := struct {
		inputs, outputs []onnx.Value
		info            map[string]onnx.Value
	}{g.Inputs, g.Outputs, g.Info}
	g.Inputs, g.Outputs = nil, nil

	was, now := onnx.Dynamic, batch
	for _, v := range old.inputs {
		if len(v.Dims) == 4 {
			was = v.Dims[0]
			break
		}
	}
	if now == 0 {
		now = was
	}
	for _, v := range old.inputs {
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
		g.Inputs = append(g.Inputs, v)
	}
	for _, v := range old.outputs {
		v = v.Clone()
		v.Symbols = nil
		if v.Dims != nil {
			v.Dims = dynamic(len(v.Dims))
		}
		g.Outputs = append(g.Outputs, v)
	}
	err := Infer(m, nil)
	if err == nil {
		err = keepsBatch(g, old.outputs, was, now)
	}
	if err != nil {
		wanted := g.Inputs
		g.Inputs, g.Outputs, g.Info = old.inputs, old.outputs, old.info
		advice := "sizes are baked into the model, so export it again for the size you need"
		if h%32 != 0 || w%32 != 0 {
			advice = "most detectors want sides that are multiples of 32"
		}
		return fault.BadInput(fmt.Errorf("cannot run with inputs %s (the file has %s): %w; %s", list(wanted), list(old.inputs), err, advice))
	}
	Freeze(m)
	return nil
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

// keepsBatch refuses a model whose reshapes would silently mix the images of a
// batch: an output that had one row per image has to keep that.
func keepsBatch(g *onnx.Graph, outputs []onnx.Value, was, now int) error {
	if was == now || was < 0 {
		return nil
	}
	for _, o := range outputs {
		got := g.Info[o.Name].Dims
		if len(o.Dims) > 0 && o.Dims[0] == was && len(got) > 0 && got[0] >= 0 && got[0] != now {
			return fmt.Errorf("output %q comes out as %v, without a row for each of %d images", o.Name, got, now)
		}
	}
	return nil
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
