package half

// Pairs of QuantizeLinear and DequantizeLinear. From opset 19 on the scale may
// be float16, and with it what goes in and what comes out. Scales that float16
// does not hold, and opsets before, keep the pair in float32 between casts.

import (
	"fmt"
	"slices"

	"trtact/internal/onnx"
	"trtact/internal/onnx/host"
)

// halfScale tells whether a pair's node can have its scale in float16: a normal
// number there loses at most 2^-11 of it.
func (c *converter) halfScale(n *onnx.Node) bool {
	scale := c.g.Init[n.Input(1)]
	if !c.o.Opset19 || c.m.Opset < 19 || scale == nil || scale.Type != onnx.Float || n.Int("block_size", 0) != 0 {
		return false
	}
	return !slices.ContainsFunc(scale.Floats(), func(s float32) bool { return !(s >= smallestNormal && s <= Largest) })
}

// dequantized is the lean of what a DequantizeLinear gives.
func (c *converter) dequantized(n *onnx.Node) lean {
	out := n.Outputs[0]
	if !c.isFloat(out) || !c.before[n] {
		return onlyFloat
	}
	if scale := c.g.Init[n.Input(1)]; scale != nil {
		const steps = 128 // the largest quantised magnitude of INT8
		for _, s := range scale.Floats() {
			if steps*s > MaxRange {
				c.wide[out] = true
				return onlyFloat
			}
		}
	}
	if c.halfScale(n) {
		return ratherHalf
	}
	return ratherFloat
}

// dequantizers decides, once all readers are decided, which DequantizeLinear
// give float16: those that nobody wants to read as float32.
func (c *converter) dequantizers() {
	for _, n := range c.g.Nodes {
		if !isDequantize(n) {
			continue
		}
		out := n.Outputs[0]
		half, float := 0, 0
		for _, reader := range c.ix.Consumers[out] {
			for i, name := range reader.Inputs {
				switch {
				case name != out:
				case c.half[reader] && converts(reader.Op, i):
					half++
				default:
					float++
				}
			}
			if len(reader.Subgraphs()) > 0 {
				float++
			}
		}
		switch {
		case half == 0:
		case float == 0 && c.lean[out] == ratherHalf && !c.isOutput(out):
			c.half[n] = true
			c.report.Pairs++
		default:
			c.report.CastPairs++
		}
	}
}

func (c *converter) isOutput(name string) bool {
	return slices.ContainsFunc(c.g.Outputs, func(v onnx.Value) bool { return v.Name == name })
}

// quantizers decides in which type each QuantizeLinear takes its input, after
// the types of all tensors are known, and evaluates those of weights in front of
// a DequantizeLinear in float16: rounded from float32, as calibrated, the INT8
// values are what they were, whatever happens to the scale behind them.
func (c *converter) quantizers() error {
	kept := make([]*onnx.Node, 0, len(c.g.Nodes))
	for _, n := range c.g.Nodes {
		if isQuantize(n) && c.g.Init[n.Input(0)] != nil && slices.ContainsFunc(c.ix.Consumers[n.Outputs[0]], func(r *onnx.Node) bool { return c.half[r] }) {
			var in []*onnx.Tensor
			for _, name := range n.Inputs {
				in = append(in, c.g.Init[name])
			}
			if !slices.Contains(in, nil) {
				out, err := host.Eval(n, c.m.Opset, in)
				if err != nil {
					return fmt.Errorf("quantise weights: %w", err)
				}
				c.g.Init[n.Outputs[0]] = out[0]
				continue
			}
		}
		if isQuantize(n) && c.typeOf(n.Input(0)) == onnx.Float16 && c.halfScale(n) {
			c.half[n] = true
		}
		kept = append(kept, n)
	}
	c.g.Nodes = kept
	return nil
}

// scaleIsHalf tells a node in float32 of a pair whose other half is in float16:
// on the border of the graph or where a reader wants float32. Both have to mean
// the same scale.
func (c *converter) scaleIsHalf(n *onnx.Node) bool {
	q := n.Input(0)
	switch {
	case isQuantize(n):
		q = n.Outputs[0]
	case !isDequantize(n):
		return false
	}
	p := c.ix.Producer[q]
	if p == nil || c.g.Init[n.Input(1)] == nil {
		return false
	}
	return c.half[p] || slices.ContainsFunc(c.ix.Consumers[q], func(r *onnx.Node) bool { return c.half[r] })
}
