// A model's inputs and outputs, brought to the form that everything here takes: pictures of
// float32 planes, batch x 3 x height x width, and a batch in front of the outputs.

package job

import (
	"fmt"
	"slices"

	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
)

// floatInput has a picture input of bytes, which the graph normalises itself, take the same
// numbers as float32: TensorRT knows inputs of bytes since 8.6 only, and all that computes
// here starts from float32.
func floatInput(m *onnx.Model) error {
	image := imageInput(m.Graph)
	if image == nil || image.Type != onnx.Uint8 {
		return nil
	}
	image.Type = onnx.Float
	if err := shape.Infer(m, nil); err != nil {
		return fmt.Errorf("input %q is of bytes, and the graph does not take float32 in their place: %w", image.Name, err)
	}
	return nil
}

// planarInput has an input of interleaved pixels, batch x height x width x 3, which the graph
// turns into planes first thing, take planes. What is done to the pixels before, by one number
// or one for each channel, is done to planes then.
func planarInput(g *onnx.Graph) {
	image := imageInput(g)
	if image == nil || image.Dims[3] != 3 || image.Dims[1] == 3 {
		return
	}
	ix := g.Index()
	turned := map[string]*onnx.Tensor{} // constants of a channel each, as they are for planes
	for tensor := image.Name; ; {
		next := ix.Consumers[tensor]
		if len(next) != 1 || slices.ContainsFunc(g.Outputs, func(o onnx.Value) bool { return o.Name == tensor }) {
			return
		}
		n := next[0]
		switch n.Op {
		case "Cast", "Identity":
		case "Sub", "Add", "Mul", "Div":
			for _, in := range n.Inputs {
				t := g.Init[in]
				switch {
				case in == tensor || t != nil && t.Len() == 1:
				case t != nil && t.Len() == 3 && t.Dims[len(t.Dims)-1] == 3 && len(ix.Consumers[in]) == 1:
					turned[in] = &onnx.Tensor{Type: t.Type, Dims: []int{3, 1, 1}, Data: t.Data}
				default:
					return
				}
			}
		case "Transpose":
			if perm, _ := n.Attrs["perm"].([]int64); !slices.Equal(perm, []int64{0, 3, 1, 2}) {
				return
			}
			d := image.Dims
			image.Dims = []int{d[0], d[3], d[1], d[2]}
			for name, t := range turned {
				g.Init[name] = t
			}
			n.Op, n.Attrs = "Identity", nil
			g.Info = map[string]onnx.Value{}
			return
		default:
			return
		}
		tensor = n.Output(0)
	}
}

// batchedOutputs puts a batch of one in front of outputs that are the rows of one picture
// alone.
func batchedOutputs(m *onnx.Model) error {
	g := m.Graph
	image := imageInput(g)
	if image == nil || image.Dims[0] != 1 {
		return nil
	}
	changed := false
	for i := range g.Outputs {
		out := &g.Outputs[i]
		d := g.Info[out.Name].Dims
		if len(d) != 2 || d[0] <= 1 || d[1] <= 1 || !g.Info[out.Name].Type.IsFloat() {
			continue
		}
		rows, wanted := g.FreshName(out.Name+"_rows"), g.FreshName(out.Name+"_dims")
		for _, n := range g.Nodes {
			for k, name := range n.Outputs {
				if name == out.Name {
					n.Outputs[k] = rows
				}
			}
		}
		g.Rewire(out.Name, rows, nil)
		g.Init[wanted] = onnx.Vector(1, int64(d[0]), int64(d[1]))
		g.Nodes = append(g.Nodes, &onnx.Node{Name: g.FreshName(out.Name + "_batched"), Op: "Reshape", Inputs: []string{rows, wanted}, Outputs: []string{out.Name}})
		out.Dims = []int{1, d[0], d[1]}
		delete(g.Info, out.Name)
		changed = true
	}
	if !changed {
		return nil
	}
	return shape.Infer(m, nil)
}
