package simplify

// Loop nodes that depend on no input of the graph: TensorFlow's converter writes a range so
// for operator sets without Range, and keras-yolo3's grids are made of ranges.

import (
	"slices"

	"trtact/internal/onnx"
	"trtact/internal/onnx/host"
)

// What bounds a loop that is run here: a range over the cells of a row has hundreds of
// trips, each with a number or two.
const (
	maxTrips    = 1 << 14
	maxEvals    = 1 << 18 // nodes, over all trips
	maxElements = 1 << 8  // of a tensor in the body
)

// loops replaces the outputs of such nodes by their values.
func (s *simplifier) loops(e *editor) error {
	for _, n := range e.nodes {
		if n.Op != "Loop" || n.Domain != "" || s.keepsOutput(e, n) {
			continue
		}
		values := s.runLoop(e, n)
		if values == nil {
			continue
		}
		for i, name := range n.Outputs {
			if name != "" {
				e.g.Init[name] = values[i]
			}
		}
		e.remove(n)
		s.did(Folded)
	}
	return nil
}

// runLoop computes a Loop's outputs: what it carries as it ends, and one entry of each trip
// of what it collects. nil where something is not constant, or not evaluated on the host.
func (s *simplifier) runLoop(e *editor, n *onnx.Node) []*onnx.Tensor {
	body, ok := n.Attrs["body"].(*onnx.Graph)
	carried := len(n.Inputs) - 2
	collected := len(n.Outputs) - carried
	if !ok || carried < 0 || collected < 0 || len(body.Inputs) != 2+carried || len(body.Outputs) != 1+len(n.Outputs) {
		return nil
	}
	most := min(maxTrips, maxEvals/max(1, len(body.Nodes)))
	trips := most + 1
	if t := e.constant(n.Input(0)); t != nil {
		v, err := t.Ints()
		if err != nil || len(v) != 1 {
			return nil
		}
		trips = int(min(v[0], int64(most+1)))
	} else if n.Input(0) != "" {
		return nil
	}
	state := []*onnx.Tensor{onnx.Scalar(true)} // the condition, then what is carried
	if n.Input(1) != "" {
		state[0] = e.constant(n.Input(1))
	}
	for _, name := range n.Inputs[2:] {
		state = append(state, e.constant(name))
	}
	series := make([][]*onnx.Tensor, collected)
	for trip := 0; trip < trips; trip++ {
		if slices.Contains(state, nil) || trip == most {
			return nil
		}
		if v, ok := state[0].Data.([]bool); !ok || len(v) != 1 {
			return nil
		} else if !v[0] {
			break
		}
		out := s.runBody(e, body, append([]*onnx.Tensor{onnx.Scalar(int64(trip))}, state...))
		if out == nil {
			return nil
		}
		state = out[:1+carried]
		for i, t := range out[1+carried:] {
			series[i] = append(series[i], t)
		}
	}
	outputs := slices.Clone(state[1:])
	for _, list := range series {
		t := stack(list)
		if t == nil {
			return nil
		}
		outputs = append(outputs, t)
	}
	if slices.Contains(outputs, nil) {
		return nil
	}
	return outputs
}

// runBody computes the outputs of a loop's body for one trip.
func (s *simplifier) runBody(e *editor, body *onnx.Graph, in []*onnx.Tensor) []*onnx.Tensor {
	values := map[string]*onnx.Tensor{}
	for i, v := range body.Inputs {
		values[v.Name] = in[i]
	}
	read := func(name string) *onnx.Tensor {
		for _, from := range []map[string]*onnx.Tensor{values, body.Init, e.g.Init} {
			if t := from[name]; t != nil {
				return t
			}
		}
		return nil
	}
	for _, n := range body.Nodes {
		if !host.Supports(n.Op, n.Domain) || len(n.Subgraphs()) > 0 {
			return nil
		}
		arguments := make([]*onnx.Tensor, len(n.Inputs))
		for i, name := range n.Inputs {
			if arguments[i] = read(name); arguments[i] == nil && name != "" {
				return nil
			}
		}
		if fits, err := s.fits(n, arguments, maxElements); err != nil || !fits {
			return nil
		}
		out, err := host.Eval(n, s.model.Opset, arguments)
		if err != nil {
			return nil
		}
		for i, name := range n.Outputs {
			values[name] = out[i]
		}
	}
	out := make([]*onnx.Tensor, len(body.Outputs))
	for i, v := range body.Outputs {
		if out[i] = read(v.Name); out[i] == nil {
			return nil
		}
	}
	return out
}

// stack puts tensors of one shape on a new first axis; nil where there are none or they differ.
func stack(list []*onnx.Tensor) *onnx.Tensor {
	if len(list) == 0 {
		return nil
	}
	join := &onnx.Node{Op: "Concat", Attrs: map[string]onnx.Attr{"axis": int64(0)}}
	rows := make([]*onnx.Tensor, len(list))
	for i, t := range list {
		rows[i] = &onnx.Tensor{Type: t.Type, Dims: append([]int{1}, t.Dims...), Data: t.Data}
		join.Inputs = append(join.Inputs, "row")
	}
	const opset = 13
	out, err := host.Eval(join, opset, rows)
	if err != nil {
		return nil
	}
	return out[0]
}
