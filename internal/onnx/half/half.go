// Package half writes float16 into a model: the types that a strongly typed
// TensorRT (11, TensorRT for RTX) takes from the graph, since it
// has no switch that would allow FP16.
//
// What is computed in float16 is decided node by node (decide.go): the layers
// before the detector's heads, as far as their operators, constants and ranges
// allow. What lies behind the heads decodes boxes in pixels, in the thousands,
// where float16 has steps of whole pixels: it stays float32. Then types follow
// from the nodes, and a Cast stands wherever they meet (cast.go).
package half

import (
	"fmt"
	"slices"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
	"trtact/internal/onnx/shape"
)

// Options of Convert. The zero value is right for a detector.
type Options struct {
	// Heads are the tensors up to which float16 goes; everything that they do
	// not depend on stays float32. Empty: the outputs of the last layers with
	// weights before the graph's outputs. The graph's outputs themselves make
	// the decoding float16 too.
	Heads []string
	// Opset19 writes the scales of QuantizeLinear and DequantizeLinear in
	// float16 as well, and raises the model to opset 19, the first that has
	// this. Without it, or for scales that float16 does not hold, a Cast stands
	// on either side of the pair.
	Opset19 bool
	// Ranges are the largest magnitudes of tensors as calibration has seen them.
	// A tensor beyond MaxRange stays float32, and so do its maker and readers.
	Ranges map[string]float32
	// Keep names nodes that stay float32.
	Keep []string
}

const (
	// Largest is the largest finite float16.
	Largest = 65504
	// MaxRange is the largest magnitude seen in calibration that a float16
	// tensor may have: two binary orders are left for images not seen.
	MaxRange = Largest / 4
	// smallestNormal is where float16 begins to lose digits.
	smallestNormal = 1.0 / (1 << 14)
)

// Report says what Convert did.
type Report struct {
	Half   int `json:"half"`   // nodes that compute in float16
	Float  int `json:"float"`  // nodes that compute in float32
	Behind int `json:"behind"` // those of them that the heads do not depend on
	// Kept are the others of them: nodes before the heads that stay float32.
	Kept []Kept `json:"kept,omitempty"`
	// Casts counts the Cast nodes added, Constants those stored in float16.
	Casts     int `json:"casts"`
	Constants int `json:"constants"`
	// Pairs counts the DequantizeLinear that give float16, CastPairs those that
	// give float32 although their readers take float16.
	Pairs     int `json:"pairs"`
	CastPairs int `json:"cast_pairs"`
}

// Kept is a node before the heads that stays float32.
type Kept struct {
	Node   string `json:"node"`
	Op     string `json:"op"`
	Reason string `json:"reason"`
}

// Convert gives a copy of a float32 or Q/DQ model in which everything that may
// be is float16; m is not changed. Tensors keep their names. The sizes of inputs
// have to be known, declared or by shape.Infer.
//
// The copy is made to be saved: what computes with graphs in this program holds
// all of them in float32 and takes the copy only as a file that is loaded again.
func Convert(m *onnx.Model, o Options) (*onnx.Model, Report, error) {
	out := m.Clone()
	c, err := newConverter(out, o)
	if err != nil {
		return nil, Report{}, fmt.Errorf("convert to float16: %w", err)
	}
	c.decideAll()
	c.dequantizers()
	if err := c.write(); err != nil {
		return nil, Report{}, fmt.Errorf("convert to float16: %w", err)
	}
	return out, c.report, nil
}

// Floats names the nodes that Convert would leave in float32 and that compute with
// what they read: not those that only move it. For a TensorRT with weak types, which
// is given the model as it is and told these layer by layer.
func Floats(m *onnx.Model, o Options) ([]string, error) {
	c, err := newConverter(m.Clone(), o)
	if err != nil {
		return nil, fmt.Errorf("choose what stays float32: %w", err)
	}
	c.decideAll()
	var names []string
	for _, n := range c.g.Nodes {
		if !c.half[n] && !isQuantize(n) && !isDequantize(n) && !moves(n) && c.computes(n) {
			names = append(names, n.Name)
		}
	}
	return names, nil
}

type converter struct {
	m      *onnx.Model
	g      *onnx.Graph
	o      Options
	ix     *onnx.Index
	before map[*onnx.Node]bool // the heads depend on it
	report Report

	half map[*onnx.Node]bool // computes in float16; a DequantizeLinear: gives it
	lean map[string]lean     // of float32 tensors that are not constants
	wide map[string]bool     // tensors beyond the range of float16
	keep map[string]bool     // nodes that are to stay float32

	casts  map[castKey]string
	after  map[*onnx.Node][]*onnx.Node // casts to put behind a node; nil: in front of all
	names  map[string]bool             // given to new tensors and nodes
	halves map[string]string           // constants in float16, by their name in float32
}

func newConverter(m *onnx.Model, o Options) (*converter, error) {
	g := m.Graph
	quantised := slices.ContainsFunc(g.Nodes, func(n *onnx.Node) bool { return isQuantize(n) || isDequantize(n) })
	if quantised && o.Opset19 && m.Opset < 19 {
		if err := onnx.UpgradeOpset(m, 19); err != nil {
			return nil, err
		}
	}
	sizes := map[string][]int{}
	for _, v := range g.Inputs {
		if d := g.Info[v.Name].Dims; dims.Static(d) {
			sizes[v.Name] = d
		}
	}
	if err := shape.Infer(m, sizes); err != nil {
		return nil, err
	}
	c := &converter{
		m: m, g: g, o: o, ix: g.Index(),
		half: map[*onnx.Node]bool{}, lean: map[string]lean{}, wide: map[string]bool{}, keep: map[string]bool{},
		casts: map[castKey]string{}, after: map[*onnx.Node][]*onnx.Node{}, names: map[string]bool{}, halves: map[string]string{},
	}
	for name, most := range o.Ranges {
		if !(most <= MaxRange) { // not a number neither
			c.wide[name] = true
		}
	}
	for _, name := range o.Keep {
		c.keep[name] = true
	}
	return c, c.findBefore()
}

// findBefore marks the nodes that the heads depend on, and not what lies behind
// one head on the way to another.
func (c *converter) findBefore() error {
	heads := c.o.Heads
	if len(heads) == 0 {
		heads = c.lastLayers()
	}
	behind := map[string]bool{}
	needed := map[string]bool{}
	for _, name := range heads {
		if _, ok := c.g.Info[name]; !ok || c.g.Init[name] != nil {
			return fmt.Errorf("there is no tensor %q, which is named as a head", name)
		}
		behind[name], needed[name] = true, true
	}
	isBehind := map[*onnx.Node]bool{}
	for _, n := range c.g.Nodes {
		if slices.ContainsFunc(n.Uses(), func(t string) bool { return behind[t] }) {
			isBehind[n] = true
			for _, name := range n.Outputs {
				behind[name] = true
			}
		}
	}
	c.before = map[*onnx.Node]bool{}
	for _, n := range slices.Backward(c.g.Nodes) {
		if !slices.ContainsFunc(n.Outputs, func(t string) bool { return needed[t] }) {
			continue
		}
		c.before[n] = !isBehind[n]
		for _, name := range n.Uses() {
			needed[name] = true
		}
	}
	return nil
}

// lastLayers is the outputs of the layers with weights that have no other such
// layer behind them. The fixed projection of a distribution focal loss head,
// with weights 0, 1, 2, ..., belongs to the decoding.
func (c *converter) lastLayers() []string {
	leads := map[string]bool{} // tensors that a layer with weights depends on
	var heads []string
	for _, n := range slices.Backward(c.g.Nodes) {
		after := slices.ContainsFunc(n.Outputs, func(t string) bool { return leads[t] })
		layer := !after && c.hasWeights(n)
		if layer {
			heads = append(heads, n.Outputs[0])
		}
		if after || layer {
			for _, name := range n.Uses() {
				leads[name] = true
			}
		}
	}
	return heads
}

// hasWeights tells a layer with constant weights, quantised or not, which are
// not a projection.
func (c *converter) hasWeights(n *onnx.Node) bool {
	if n.Domain != "" || operators[n.Op] != layer {
		return false
	}
	name := n.Input(1)
	for p := c.ix.Producer[name]; p != nil && (isQuantize(p) || isDequantize(p)); p = c.ix.Producer[name] {
		name = p.Input(0)
	}
	w := c.g.Init[name]
	if w == nil {
		return false
	}
	for i, v := range w.Floats() {
		if v != float32(i) {
			return true
		}
	}
	return w.Len() < 2
}

func isQuantize(n *onnx.Node) bool   { return n.Domain == "" && n.Op == "QuantizeLinear" }
func isDequantize(n *onnx.Node) bool { return n.Domain == "" && n.Op == "DequantizeLinear" }
