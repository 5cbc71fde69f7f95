// A Q/DQ model taken apart for the other way to INT8: a float model, in which
// TensorRT places the quantisers, and the scales that it is given for them.
//
// Weights stay on their grid: each is replaced by the value that its pair gives, from
// which TensorRT's own per-channel absmax finds the same steps again. So both ways
// have the same arithmetic, and differ in where TensorRT rounds and what it fuses.
package calib

import (
	"fmt"
	"slices"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/host"
)

// Implicit is a model for implicit INT8.
type Implicit struct {
	Model  *onnx.Model // float, without pairs
	Scales Cache
	// Float are the layers with weights that have to stay float, by name: without a
	// word TensorRT would quantise them wherever it knows the scales around them.
	Float []string
}

// MakeImplicit takes the pairs out of a Q/DQ model, which is not changed. ranges are
// the largest magnitudes of tensors as calibration saw them: between two quantised
// layers TensorRT wants the scale of every tensor, also of those that no pair stands
// on (a residual's other branch, what a convolution gives its activation), or it
// computes there in float. nil leaves these out. Pairs with other zero points than 0
// or with more than one scale for an activation are fault.BadInput: implicit
// quantisation knows none.
func MakeImplicit(m *onnx.Model, ranges map[string]float32) (*Implicit, error) {
	out := &Implicit{Model: m.Clone(), Scales: Cache{}}
	g := out.Model.Graph
	ix := g.Index()
	folded := map[*onnx.Node]bool{}
	quantised := map[string]bool{} // tensors that come out of a pair
	for _, n := range g.Nodes {
		if n.Op != "DequantizeLinear" || n.Domain != "" {
			continue
		}
		q := ix.Producer[n.Input(0)]
		if q == nil || q.Op != "QuantizeLinear" || g.Init[q.Input(0)] != nil {
			if err := fold(out.Model, q, n); err != nil {
				return nil, err
			}
			folded[n] = true
			quantised[n.Output(0)] = true
			continue
		}
		scale, err := pairScale(g, q, n)
		if err != nil {
			return nil, err
		}
		out.Scales[q.Input(0)] = max(out.Scales[q.Input(0)], scale)
		quantised[n.Output(0)] = true
		for _, o := range g.Outputs {
			if o.Name == n.Output(0) {
				return nil, badPair(n, "its result is an output of the model")
			}
		}
	}
	if len(out.Scales) == 0 {
		return nil, fault.BadInput(fmt.Errorf("implicit INT8: %s has no QuantizeLinear on an activation", m.Path))
	}
	layers := map[string]bool{}
	for _, n := range g.Nodes {
		if !isWeighted(n.Op) || n.Domain != "" {
			continue
		}
		if layers[n.Name] = quantised[n.Input(0)] && quantised[n.Input(1)]; !layers[n.Name] {
			out.Float = append(out.Float, n.Name)
		}
	}
	var kept []*onnx.Node
	for _, n := range g.Nodes {
		if n.Op == "DequantizeLinear" && n.Domain == "" && !folded[n] {
			g.Rewire(n.Output(0), ix.Producer[n.Input(0)].Input(0), nil)
			continue
		}
		if !folded[n] {
			kept = append(kept, n)
		}
	}
	g.Nodes = kept
	g.RemoveDead()
	out.Scales.spread(g)
	out.Scales.fill(g, ranges, layers)
	return out, nil
}

func badPair(n *onnx.Node, why string) error {
	return fault.BadInput(fmt.Errorf("implicit INT8: node %q (%s): %s; build it with explicit INT8", n.Name, n.Op, why))
}

// pairScale is the one scale of an activation's pair.
func pairScale(g *onnx.Graph, q, dq *onnx.Node) (float32, error) {
	for _, n := range []*onnx.Node{q, dq} {
		if zero := g.Init[n.Input(2)]; n.Input(2) != "" && (zero == nil || !allZero(zero)) {
			return 0, badPair(n, "its zero point is not 0")
		}
		scale := g.Init[n.Input(1)]
		if scale == nil || scale.Type != onnx.Float || scale.Len() != 1 {
			return 0, badPair(n, "it has not one constant float32 scale")
		}
	}
	a, b := g.Init[q.Input(1)].Floats()[0], g.Init[dq.Input(1)].Floats()[0]
	if a != b || !goodScale(a) {
		return 0, badPair(dq, fmt.Sprintf("scales %v and %v: want the same positive number", a, b))
	}
	return a, nil
}

func allZero(t *onnx.Tensor) bool {
	if t.Type != onnx.Int8 && t.Type != onnx.Uint8 {
		return false
	}
	values, err := t.Ints()
	return err == nil && !slices.ContainsFunc(values, func(v int64) bool { return v != 0 })
}

// fold makes the result of a constant's pair a constant; q may be nil, where the
// constant is INT8 already.
func fold(m *onnx.Model, q, dq *onnx.Node) error {
	g := m.Graph
	value := g.Init[dq.Input(0)]
	for _, n := range []*onnx.Node{q, dq} {
		if n == nil {
			continue
		}
		var in []*onnx.Tensor
		for i, name := range n.Inputs {
			t := g.Init[name]
			if n == dq && i == 0 {
				t = value
			}
			if t == nil && name != "" {
				return badPair(n, fmt.Sprintf("its input %q is no constant", name))
			}
			in = append(in, t)
		}
		out, err := host.Eval(n, m.Opset, in)
		if err != nil {
			return fmt.Errorf("implicit INT8: %w", err)
		}
		value = out[0]
	}
	name := dq.Output(0)
	g.Init[name] = value
	g.Info[name] = value.Value(name)
	return nil
}

// fill gives scales by ranges to what lies behind a quantised layer and before a
// tensor with a scale, no other layer being in between.
func (c Cache) fill(g *onnx.Graph, ranges map[string]float32, quantised map[string]bool) {
	ix := g.Index()
	before := map[string]bool{} // leads to a tensor with a scale without passing a layer
	for name := range c {
		before[name] = true
	}
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		if isWeighted(n.Op) {
			continue
		}
		for _, out := range n.Outputs {
			if before[out] {
				for _, in := range n.Inputs {
					before[in] = true
				}
			}
		}
	}
	behind := map[string]bool{}
	for name := range c {
		behind[name] = true
	}
	for _, n := range g.Nodes {
		out := n.Output(0)
		here := quantised[n.Name]
		if !isWeighted(n.Op) {
			for _, in := range n.Inputs {
				here = here || behind[in] && ix.Producer[in] != nil
			}
		}
		if !here {
			continue
		}
		behind[out] = true
		if _, has := c[out]; has || !before[out] {
			continue
		}
		if scale := ranges[out] / QMax; goodScale(scale) {
			c[out] = scale
		}
	}
}
