package onnx

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// String names the node for messages: `node "conv1" (Conv)`.
func (n *Node) String() string {
	op := n.Op
	if n.Domain != "" {
		op = n.Domain + "." + op
	}
	if q := quoted(op); q != `"`+op+`"` || strings.ContainsAny(op, " ()") { // not a plain word
		op = q
	}
	return fmt.Sprintf("node %s (%s)", quoted(n.Name), op)
}

// Int is an integer attribute, def where the node has none of that name or it
// is of another kind; reading a model refuses the latter for ONNX's own operators.
// So it is with the accessors that follow.
func (n *Node) Int(name string, def int64) int64 {
	if v, ok := n.Attrs[name].(int64); ok {
		return v
	}
	return def
}

// Float is a floating point attribute.
func (n *Node) Float(name string, def float32) float32 {
	if v, ok := n.Attrs[name].(float32); ok {
		return v
	}
	return def
}

// Str is a string attribute.
func (n *Node) Str(name, def string) string {
	if v, ok := n.Attrs[name].(string); ok {
		return v
	}
	return def
}

// IntList is a list of integers, nil where the node has none. It is the node's
// own list, not a copy.
func (n *Node) IntList(name string) []int64 {
	v, _ := n.Attrs[name].([]int64)
	return v
}

// FloatList is a list of floating point numbers, nil where the node has none.
func (n *Node) FloatList(name string) []float32 {
	v, _ := n.Attrs[name].([]float32)
	return v
}

// Tensor is a tensor attribute, nil where the node has none.
func (n *Node) Tensor(name string) *Tensor {
	v, _ := n.Attrs[name].(*Tensor)
	return v
}

// Has tells whether the node has an attribute of that name.
func (n *Node) Has(name string) bool {
	_, ok := n.Attrs[name]
	return ok
}

// Set gives the node an attribute.
func (n *Node) Set(name string, v Attr) {
	if n.Attrs == nil {
		n.Attrs = map[string]Attr{}
	}
	n.Attrs[name] = v
}

// Input is the name of input i, "" where the node does not have it.
func (n *Node) Input(i int) string {
	if i < 0 || i >= len(n.Inputs) {
		return ""
	}
	return n.Inputs[i]
}

// Output is the name of output i, "" where the node does not have it.
func (n *Node) Output(i int) string {
	if i < 0 || i >= len(n.Outputs) {
		return ""
	}
	return n.Outputs[i]
}

// Subgraphs is the graphs in the node's attributes (bodies of If, Loop, Scan),
// in the order of the attributes' names.
func (n *Node) Subgraphs() []*Graph {
	var graphs []*Graph
	for _, name := range slices.Sorted(maps.Keys(n.Attrs)) {
		if g, ok := n.Attrs[name].(*Graph); ok {
			graphs = append(graphs, g)
		}
	}
	return graphs
}

// Uses is the names of all tensors that the node reads, each once: its inputs
// and what its subgraphs take from the graph around them.
func (n *Node) Uses() []string {
	uses := make([]string, 0, len(n.Inputs))
	seen := make(map[string]bool, len(n.Inputs))
	add := func(name string) {
		if name != "" && !seen[name] {
			seen[name] = true
			uses = append(uses, name)
		}
	}
	for _, name := range n.Inputs {
		add(name)
	}
	for _, g := range n.Subgraphs() {
		for _, name := range g.Captures() {
			add(name)
		}
	}
	return uses
}

// Clone is a copy that shares nothing with n.
func (n *Node) Clone() *Node {
	c := &Node{
		Name: n.Name, Op: n.Op, Domain: n.Domain,
		Inputs: slices.Clone(n.Inputs), Outputs: slices.Clone(n.Outputs),
	}
	if n.Attrs != nil {
		c.Attrs = make(map[string]Attr, len(n.Attrs))
	}
	for name, v := range n.Attrs {
		switch v := v.(type) {
		case []int64:
			c.Attrs[name] = slices.Clone(v)
		case []float32:
			c.Attrs[name] = slices.Clone(v)
		case []string:
			c.Attrs[name] = slices.Clone(v)
		case *Tensor:
			c.Attrs[name] = v.Clone()
		case *Graph:
			c.Attrs[name] = v.Clone()
		default: // numbers and strings are values
			c.Attrs[name] = v
		}
	}
	return c
}
