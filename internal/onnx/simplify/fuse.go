package simplify

// Activations that exporters spell out as several nodes become one node of
// domain "trtact", which the executor runs in one sweep behind a convolution.
//
// Exporters write the same activation in many ways: x*clip(x+3,0,6)/6 alone has
// the division before, within or behind the product. So a product is first
// taken apart into its factors and one coefficient, and the activation is then
// recognised by these.

import (
	"maps"
	"math"
	"slices"

	"trtact/internal/onnx"
)

// Domain is the domain of the fused nodes: Silu, HardSwish, Mish, and Gelu with
// the attribute approximate ("none" or "tanh"). All take one input and keep its
// shape. They exist in memory only.
const Domain = "trtact"

// Coefficients in a file are rounded: 1/6 as float32, sqrt(2) as 1.4142.
const (
	exactly = 1e-6 // relative, for hard swish
	nearly  = 2e-4 // relative, for GELU's irrational factors
)

// Fuse makes a copy of g for execution in which activations are single nodes.
// Tensors in keep and the graph's outputs stay readable: a pattern that would
// swallow one is left as it is. The copy shares the constants' data with g.
func Fuse(g *onnx.Graph, keep map[string]bool) *onnx.Graph {
	c := &onnx.Graph{
		Name: g.Name, Inputs: slices.Clone(g.Inputs), Outputs: slices.Clone(g.Outputs),
		Init: maps.Clone(g.Init), Info: maps.Clone(g.Info),
	}
	for _, n := range g.Nodes {
		c.Nodes = append(c.Nodes, n.Clone())
	}
	f := &fuser{edit(c), keep}
	for _, n := range f.e.nodes {
		f.node(n)
	}
	f.dropUnread()
	// Fusing only shortens paths, so the order of the nodes holds.
	nodes := c.Nodes[:0]
	for _, n := range f.e.nodes {
		if !f.e.removed[n] {
			nodes = append(nodes, n)
		}
	}
	c.Nodes = nodes
	return c
}

type fuser struct {
	e    *editor
	keep map[string]bool
}

// node turns n into a fused activation if it ends one.
func (f *fuser) node(n *onnx.Node) {
	if n.Domain != "" || len(n.Outputs) != 1 {
		return
	}
	switch n.Op {
	case "HardSwish", "Mish":
		f.become(n, n.Op, n.Inputs[0], nil)
	case "Gelu":
		f.become(n, "Gelu", n.Inputs[0], map[string]onnx.Attr{"approximate": n.Str("approximate", "none")})
	case "Mul", "Div":
		p, ok := f.product(n)
		if !ok || len(p.factors) != 2 {
			return
		}
		for i := range 2 {
			x, gate := p.factors[i], p.factors[1-i]
			if op, attrs := f.activation(p.coefficient, x, gate); op != "" {
				f.become(n, op, x, attrs)
				return
			}
		}
	}
}

// become turns n, the last node of a pattern, into the fused node.
func (f *fuser) become(n *onnx.Node, op, x string, attrs map[string]onnx.Attr) {
	n.Op, n.Domain, n.Attrs = op, Domain, attrs
	f.e.setInputs(n, x)
}

// dropUnread removes the inner nodes of patterns, which nobody reads now, and
// what only they read.
func (f *fuser) dropUnread() {
	for i := len(f.e.nodes) - 1; i >= 0; i-- {
		n := f.e.nodes[i]
		used := false
		for _, name := range n.Outputs {
			used = used || len(f.e.consumers[name]) > 0 || f.e.outputs[name] || f.keep[name] || f.e.captured[name]
		}
		if !used {
			f.e.remove(n)
			for _, name := range n.Outputs {
				delete(f.e.g.Info, name)
			}
		}
	}
	for name := range f.e.g.Init {
		if len(f.e.consumers[name]) == 0 && !f.e.outputs[name] && !f.keep[name] {
			delete(f.e.g.Init, name)
			delete(f.e.g.Info, name)
		}
	}
}

// inside is the node of operator op that makes a tensor which only the pattern
// reads; nil if there is none.
func (f *fuser) inside(name, op string) *onnx.Node {
	n := f.e.producer[name]
	if n == nil || n.Op != op || n.Domain != "" || !f.e.inner(name) || f.keep[name] {
		return nil
	}
	return n
}

// number is a constant of one element.
func (f *fuser) number(name string) (float64, bool) {
	t := f.e.constant(name)
	if t == nil || t.Len() != 1 || !t.Type.IsFloat() {
		return 0, false
	}
	return float64(t.Floats()[0]), true
}

// operand splits the inputs of a two-operand node into a tensor and a number.
func (f *fuser) operand(n *onnx.Node) (x string, v float64, ok bool) {
	if v, ok = f.number(n.Input(1)); ok {
		return n.Inputs[0], v, true
	}
	if v, ok = f.number(n.Input(0)); ok && n.Op != "Div" {
		return n.Inputs[1], v, true
	}
	return "", 0, false
}

// product is a tensor as coefficient * factors[0] * factors[1] * ...
type product struct {
	coefficient float64
	factors     []string
}

// product takes a Mul, a Div by a number, or x to an integer power apart, down
// through inner products. Long products are no activation: false.
func (f *fuser) product(n *onnx.Node) (product, bool) {
	p := product{coefficient: 1}
	return p, f.multiply(&p, n)
}

const maxFactors = 3

func (f *fuser) multiply(p *product, n *onnx.Node) bool {
	if v, ok := f.number(n.Input(1)); ok && n.Op == "Div" {
		p.coefficient /= v
		return f.factor(p, n.Inputs[0])
	}
	if n.Op != "Mul" {
		return false
	}
	for _, name := range n.Inputs {
		if v, ok := f.number(name); ok {
			p.coefficient *= v
		} else if !f.factor(p, name) {
			return false
		}
	}
	return true
}

// factor adds a tensor to a product, taking it apart if it is one itself.
func (f *fuser) factor(p *product, name string) bool {
	for _, op := range []string{"Mul", "Div"} {
		if n := f.inside(name, op); n != nil {
			inner := product{coefficient: 1}
			if f.multiply(&inner, n) && len(p.factors)+len(inner.factors) <= maxFactors {
				p.coefficient *= inner.coefficient
				p.factors = append(p.factors, inner.factors...)
				return true
			}
		}
	}
	if n := f.inside(name, "Pow"); n != nil {
		if v, ok := f.number(n.Input(1)); ok && (v == 2 || v == 3) && len(p.factors)+int(v) <= maxFactors {
			for range int(v) {
				p.factors = append(p.factors, n.Inputs[0])
			}
			return true
		}
	}
	p.factors = append(p.factors, name)
	return len(p.factors) <= maxFactors
}

// closeTo compares a coefficient.
func closeTo(v, want, tolerance float64) bool {
	return math.Abs(v-want) <= tolerance*math.Abs(want)
}

// activation recognises coefficient * x * gate(x).
func (f *fuser) activation(coefficient float64, x, gate string) (op string, attrs map[string]onnx.Attr) {
	if coefficient == 1 {
		if n := f.inside(gate, "Sigmoid"); n != nil && n.Inputs[0] == x {
			return "Silu", nil
		}
		if n := f.inside(gate, "HardSigmoid"); n != nil && n.Inputs[0] == x &&
			closeTo(float64(n.Float("alpha", 0.2)), 1.0/6, exactly) && n.Float("beta", 0.5) == 0.5 {
			return "HardSwish", nil
		}
		if n := f.inside(gate, "Tanh"); n != nil {
			if s := f.inside(n.Inputs[0], "Softplus"); s != nil && s.Inputs[0] == x {
				return "Mish", nil
			}
		}
	}
	if closeTo(coefficient, 1.0/6, exactly) && f.relu6(gate, x) {
		return "HardSwish", nil
	}
	if closeTo(coefficient, 0.5, exactly) {
		if approximate := f.gelu(gate, x); approximate != "" {
			return "Gelu", map[string]onnx.Attr{"approximate": approximate}
		}
	}
	return "", nil
}

// relu6 recognises clip(x+3, 0, 6).
func (f *fuser) relu6(name, x string) bool {
	clip := f.inside(name, "Clip")
	if clip == nil {
		return false
	}
	lo, okLo := f.number(clip.Input(1))
	hi, okHi := f.number(clip.Input(2))
	if clip.Has("max") { // before operator set 11
		lo, hi = float64(clip.Float("min", -math.MaxFloat32)), float64(clip.Float("max", 0))
		okLo, okHi = true, true
	}
	if !okLo || !okHi || lo != 0 || hi != 6 {
		return false
	}
	add := f.inside(clip.Inputs[0], "Add")
	if add == nil {
		return false
	}
	y, v, ok := f.operand(add)
	return ok && y == x && v == 3
}

// gelu recognises 1 + erf(x/sqrt(2)) ("none") and
// 1 + tanh(sqrt(2/pi)*(x + 0.044715*x^3)) ("tanh").
func (f *fuser) gelu(name, x string) (approximate string) {
	add := f.inside(name, "Add")
	if add == nil {
		return ""
	}
	y, v, ok := f.operand(add)
	if !ok || v != 1 {
		return ""
	}
	if erf := f.inside(y, "Erf"); erf != nil {
		p := product{coefficient: 1}
		if f.factor(&p, erf.Inputs[0]) && len(p.factors) == 1 && p.factors[0] == x && closeTo(p.coefficient, 1/math.Sqrt2, nearly) {
			return "none"
		}
	}
	if tanh := f.inside(y, "Tanh"); tanh != nil {
		p := product{coefficient: 1}
		if f.factor(&p, tanh.Inputs[0]) && len(p.factors) == 1 && closeTo(p.coefficient, math.Sqrt(2/math.Pi), nearly) && f.cubic(p.factors[0], x) {
			return "tanh"
		}
	}
	return ""
}

// cubic recognises x + 0.044715*x^3.
func (f *fuser) cubic(name, x string) bool {
	add := f.inside(name, "Add")
	if add == nil {
		return false
	}
	for i := range 2 {
		if add.Inputs[i] != x {
			continue
		}
		p := product{coefficient: 1}
		if f.factor(&p, add.Inputs[1-i]) && len(p.factors) == 3 && p.factors[0] == x && p.factors[1] == x && p.factors[2] == x &&
			closeTo(p.coefficient, 0.044715, nearly) {
			return true
		}
	}
	return false
}
