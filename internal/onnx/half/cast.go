package half

// Writing the decision down: types of tensors follow from their makers, and a
// Cast stands between a tensor and a reader that wants the other type. One Cast
// serves all readers.

import (
	"fmt"
	"slices"

	"trtact/internal/onnx"
)

type castKey struct {
	tensor string
	to     onnx.DType
}

// typeOf is a tensor's type after the conversion, as Info has it by now.
func (c *converter) typeOf(name string) onnx.DType { return c.g.Info[name].Type }

func (c *converter) setType(name string, t onnx.DType) {
	v := c.g.Info[name].Clone()
	v.Name, v.Type = name, t
	c.g.Info[name] = v
}

func (c *converter) write() error {
	c.retype()
	if err := c.quantizers(); err != nil {
		return err
	}
	c.outputs()
	for _, n := range c.g.Nodes {
		c.inputsOf(n)
	}
	nodes := slices.Clone(c.after[nil])
	for _, n := range c.g.Nodes {
		nodes = append(append(nodes, n), c.after[n]...)
	}
	c.g.Nodes = nodes
	c.g.RemoveDead()
	return nil
}

// retype gives the tensors their new types.
func (c *converter) retype() {
	for _, n := range c.g.Nodes {
		if !c.half[n] {
			continue
		}
		for _, name := range n.Outputs {
			if c.isFloat(name) {
				c.setType(name, onnx.Float16)
			}
		}
		if n.Op == "Cast" {
			n.Set("to", int64(onnx.Float16))
		}
	}
}

// outputs puts a Cast behind a tensor of the other type that leaves the graph, whose
// outputs stay float32. The output's name is the graph's border, so the tensor takes another.
func (c *converter) outputs() {
	for _, v := range c.g.Outputs {
		n := c.ix.Producer[v.Name]
		if n == nil || v.Type != onnx.Float { // integers, or nothing made here
			continue
		}
		have := c.typeOf(v.Name)
		if have == onnx.Float {
			continue
		}
		inner := c.fresh(v.Name + suffix(have))
		n.Outputs[slices.Index(n.Outputs, v.Name)] = inner
		c.g.Rewire(v.Name, inner, nil)
		c.g.Info[inner] = c.g.Info[v.Name]
		c.setType(inner, have)
		c.setType(v.Name, onnx.Float)
		c.ix.Producer[inner] = n
		c.addCast(inner, v.Name, onnx.Float)
	}
}

func suffix(t onnx.DType) string {
	if t == onnx.Float16 {
		return "_half"
	}
	return "_float"
}

// inputsOf makes a node's inputs of the type that it works in.
func (c *converter) inputsOf(n *onnx.Node) {
	if takesAny(n) {
		return
	}
	for i, name := range n.Inputs {
		want := onnx.Float
		switch {
		case c.half[n] && converts(n.Op, i):
			want = onnx.Float16
		case i == 1 && c.scaleIsHalf(n):
			name = c.rounded(name)
		}
		n.Inputs[i] = c.as(name, want)
	}
	if len(n.Subgraphs()) == 0 {
		return
	}
	for _, name := range n.Uses() { // what its subgraphs read
		if as := c.as(name, onnx.Float); as != name {
			c.g.Rewire(name, as, func(other *onnx.Node) bool { return other != n })
		}
	}
}

// as is a floating point tensor in a type: itself, a constant in float16 or what
// a Cast gives.
func (c *converter) as(name string, want onnx.DType) string {
	have := c.typeOf(name)
	if have == want || have != onnx.Float && have != onnx.Float16 {
		return name
	}
	if t := c.g.Init[name]; t != nil {
		return c.constant(name, t)
	}
	if to, ok := c.casts[castKey{name, want}]; ok {
		return to
	}
	to := c.fresh(name + suffix(want))
	c.g.Info[to] = c.g.Info[name]
	c.setType(to, want)
	c.addCast(name, to, want)
	return to
}

// constant is a constant in float16.
func (c *converter) constant(name string, t *onnx.Tensor) string {
	if to, ok := c.halves[name]; ok {
		return to
	}
	to := c.fresh(name + "_half")
	c.g.Init[to] = t.Float16()
	c.g.Info[to] = c.g.Init[to].Value(to)
	c.halves[name] = to
	c.report.Constants++
	return to
}

// rounded is a constant in float32 with the values that it has in float16.
func (c *converter) rounded(name string) string {
	if to, ok := c.casts[castKey{name, onnx.Float}]; ok {
		return to
	}
	to := c.fresh(name + "_rounded")
	t := c.g.Init[name]
	c.g.Init[to] = onnx.NewTensor(t.Dims, t.Float16().Floats())
	c.g.Info[to] = c.g.Init[to].Value(to)
	c.casts[castKey{name, onnx.Float}] = to
	return to
}

func (c *converter) addCast(from, to string, t onnx.DType) {
	n := &onnx.Node{Name: c.fresh(to + "_cast"), Op: "Cast", Inputs: []string{from}, Outputs: []string{to}}
	n.Set("to", int64(t))
	at := c.ix.Producer[from]
	c.after[at] = append(c.after[at], n)
	c.casts[castKey{from, t}] = to
	c.report.Casts++
}

// fresh is a name for a new tensor or node.
func (c *converter) fresh(want string) string {
	name := c.g.FreshName(want)
	for i := 1; c.names[name]; i++ {
		name = c.g.FreshName(fmt.Sprintf("%s_%d", want, i))
	}
	c.names[name] = true
	return name
}
