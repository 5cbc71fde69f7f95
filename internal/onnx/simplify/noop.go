package simplify

// Nodes that give back their input.

import (
	"math"
	"slices"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// removeNoOps bypasses nodes that have no effect.
func (s *simplifier) removeNoOps(e *editor) error {
	for _, n := range e.nodes {
		if len(n.Inputs) == 0 || len(n.Outputs) == 0 || n.Inputs[0] == "" || n.Domain != "" {
			continue
		}
		in, needsShapes, ok := s.passesThrough(e, n)
		if !ok || slices.ContainsFunc(n.Outputs[1:], func(name string) bool { return e.outputs[name] || len(e.consumers[name]) > 0 }) {
			continue
		}
		if e.bypass(n, in, n.Outputs[0]) {
			s.usedShapes = s.usedShapes || needsShapes
			s.did(NoOp)
		}
	}
	return nil
}

// passesThrough tells which input a node gives back unchanged, and whether that
// is so for the known sizes only.
func (s *simplifier) passesThrough(e *editor, n *onnx.Node) (in string, needsShapes, ok bool) {
	x := n.Inputs[0]
	sameShape := func() bool {
		from, to := s.static(x), s.static(n.Outputs[0])
		return from != nil && to != nil && dims.Equal(from, to)
	}
	switch n.Op {
	case "Identity":
		return x, false, true
	case "Dropout":
		return x, false, !training(e, n)
	case "Concat", "Sum", "Max", "Min", "Mean":
		return x, false, len(n.Inputs) == 1
	case "Cast":
		t := e.g.Info[x].Type
		return x, false, t != onnx.Undefined && t == onnx.DType(n.Int("to", 0))
	case "CastLike":
		t := e.g.Info[x].Type
		return x, false, t != onnx.Undefined && t == e.g.Info[n.Input(1)].Type
	case "Transpose":
		perm := n.IntList("perm")
		return x, false, len(perm) > 0 && slices.IsSorted(perm)
	case "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile":
		return x, true, sameShape()
	case "Slice":
		return x, true, sameShape() && forward(e, n)
	case "Pad":
		return x, true, sameShape() && zeroPads(e, n)
	case "Split":
		return x, true, len(n.Outputs) == 1 && sameShape()
	case "Resize", "Upsample":
		// Without a change of size every coordinate mode but a crop is the identity.
		return x, true, sameShape() && n.Str("coordinate_transformation_mode", "") != "tf_crop_and_resize" && unscaled(e, n)
	case "Clip":
		return x, false, len(n.Inputs) == 1 && s.model.Opset >= 11
	case "Add", "Mul":
		neutral := map[string]float32{"Add": 0, "Mul": 1}[n.Op]
		for i := range 2 {
			if isAll(e.constant(n.Input(1-i)), neutral) && e.constant(n.Input(i)) == nil {
				from, to := s.static(n.Input(i)), s.static(n.Outputs[0])
				return n.Input(i), true, from != nil && to != nil && dims.Equal(from, to)
			}
		}
	case "Sub":
		return x, true, isAll(e.constant(n.Input(1)), 0) && sameShape()
	case "Div", "Pow":
		return x, true, isAll(e.constant(n.Input(1)), 1) && sameShape()
	}
	return "", false, false
}

// training tells that a Dropout may drop: its third input is not known to be
// false.
func training(e *editor, n *onnx.Node) bool {
	if n.Input(2) == "" {
		return false
	}
	t := e.constant(n.Input(2))
	if t == nil {
		return true
	}
	on, ok := t.Data.([]bool)
	return !ok || len(on) != 1 || on[0]
}

// forward tells that a Slice has no negative step, which would turn the order
// round without changing the shape.
func forward(e *editor, n *onnx.Node) bool {
	if n.Input(4) == "" {
		return true
	}
	t := e.constant(n.Input(4))
	if t == nil {
		return false
	}
	steps, err := t.Ints()
	return err == nil && !slices.ContainsFunc(steps, func(v int64) bool { return v < 1 })
}

// zeroPads tells that a Pad adds and cuts nothing; +1 and -1 on one axis would
// keep the shape but move the elements.
func zeroPads(e *editor, n *onnx.Node) bool {
	pads := n.IntList("pads")
	if n.Input(1) != "" {
		t := e.constant(n.Input(1))
		if t == nil {
			return false
		}
		var err error
		if pads, err = t.Ints(); err != nil {
			return false
		}
	}
	return !slices.ContainsFunc(pads, func(v int64) bool { return v != 0 })
}

// unscaled tells that a Resize has sizes, or scales that are all 1: a scale of
// 1.01 may keep the size and still move the samples.
func unscaled(e *editor, n *onnx.Node) bool {
	at := 2
	if n.Op == "Upsample" {
		at = 1
	}
	scales := n.FloatList("scales")
	if name := n.Input(at); name != "" {
		t := e.constant(name)
		if t == nil {
			return false
		}
		scales = t.Floats()
	}
	return !slices.ContainsFunc(scales, func(v float32) bool { return v != 1 })
}

// isAll tells whether every element of a numeric constant is v.
func isAll(t *onnx.Tensor, v float32) bool {
	if t == nil || t.Len() == 0 {
		return false
	}
	for _, x := range t.Floats() {
		if x != v || math.Signbit(float64(x)) != math.Signbit(float64(v)) && v != 0 {
			return false
		}
	}
	return t.Floats() != nil
}
