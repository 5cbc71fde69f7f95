package simplify

// A graph under change: producers and consumers are kept up to date while
// nodes are removed, added and rewired, and the node list is rebuilt once.

import (
	"fmt"
	"slices"

	"trtact/internal/onnx"
)

type editor struct {
	g         *onnx.Graph
	nodes     []*onnx.Node // as they were when the editing began
	producer  map[string]*onnx.Node
	consumers map[string][]*onnx.Node
	outputs   map[string]bool // the graph's
	captured  map[string]bool // read inside subgraphs: never renamed
	names     map[string]bool // of all tensors
	removed   map[*onnx.Node]bool
	added     map[*onnx.Node][]*onnx.Node // nodes to insert before a node
}

func edit(g *onnx.Graph) *editor {
	index := g.Index()
	e := &editor{
		g: g, nodes: g.Nodes, producer: index.Producer, consumers: index.Consumers,
		outputs: map[string]bool{}, captured: map[string]bool{}, names: map[string]bool{},
		removed: map[*onnx.Node]bool{}, added: map[*onnx.Node][]*onnx.Node{},
	}
	for _, v := range g.Inputs {
		e.names[v.Name] = true
	}
	for _, v := range g.Outputs {
		e.outputs[v.Name] = true
	}
	for name := range g.Init {
		e.names[name] = true
	}
	for _, n := range g.Nodes {
		for _, o := range n.Outputs {
			e.names[o] = true
		}
		for _, sub := range n.Subgraphs() {
			for _, name := range sub.Captures() {
				e.captured[name] = true
			}
			forbid(sub, e.names)
		}
	}
	return e
}

// forbid collects the names used inside a subgraph, so that none is made twice.
func forbid(g *onnx.Graph, names map[string]bool) {
	for name := range g.Init {
		names[name] = true
	}
	for _, n := range g.Nodes {
		for _, o := range n.Outputs {
			names[o] = true
		}
		for _, sub := range n.Subgraphs() {
			forbid(sub, names)
		}
	}
}

// name makes a tensor name that is not taken.
func (e *editor) name(base string) string {
	name := base
	for i := 1; e.names[name]; i++ {
		name = fmt.Sprintf("%s_%d", base, i)
	}
	e.names[name] = true
	return name
}

// constant is a constant's value, nil if the tensor is not one.
func (e *editor) constant(name string) *onnx.Tensor {
	if name == "" {
		return nil
	}
	return e.g.Init[name]
}

// addConstant stores a tensor under a new name like base.
func (e *editor) addConstant(base string, t *onnx.Tensor) string {
	name := e.name(base)
	e.g.Init[name] = t
	return name
}

// inner tells whether a tensor is seen by its single reader only: it may be
// changed or dropped together with it.
func (e *editor) inner(name string) bool {
	return len(e.consumers[name]) == 1 && !e.outputs[name] && !e.captured[name]
}

// setInput rewires one input of a node.
func (e *editor) setInput(n *onnx.Node, i int, name string) {
	old := n.Inputs[i]
	n.Inputs[i] = name
	if old != "" && !slices.Contains(n.Inputs, old) && !e.captures(n, old) {
		e.consumers[old] = without(e.consumers[old], n)
	}
	e.read(n, name)
}

func (e *editor) captures(n *onnx.Node, name string) bool {
	return e.captured[name] && slices.Contains(n.Uses(), name)
}

// setInputs rewires all inputs of a node.
func (e *editor) setInputs(n *onnx.Node, names ...string) {
	for _, old := range n.Inputs {
		e.consumers[old] = without(e.consumers[old], n)
	}
	n.Inputs = names
	for _, name := range n.Uses() {
		e.read(n, name)
	}
}

func (e *editor) read(n *onnx.Node, name string) {
	if name != "" && !slices.Contains(e.consumers[name], n) {
		e.consumers[name] = append(e.consumers[name], n)
	}
}

func without(list []*onnx.Node, n *onnx.Node) []*onnx.Node {
	return slices.DeleteFunc(slices.Clone(list), func(m *onnx.Node) bool { return m == n })
}

// setOutput renames one output of a node.
func (e *editor) setOutput(n *onnx.Node, i int, name string) {
	delete(e.producer, n.Outputs[i])
	n.Outputs[i] = name
	e.producer[name] = n
}

// remove takes a node out of the graph.
func (e *editor) remove(n *onnx.Node) {
	e.removed[n] = true
	for _, name := range n.Uses() {
		e.consumers[name] = without(e.consumers[name], n)
	}
	for _, name := range n.Outputs {
		if e.producer[name] == n {
			delete(e.producer, name)
		}
	}
}

// insert adds a node before another.
func (e *editor) insert(before, n *onnx.Node) {
	e.added[before] = append(e.added[before], n)
	for _, name := range n.Uses() {
		e.read(n, name)
	}
	for _, name := range n.Outputs {
		e.names[name] = true
		e.producer[name] = n
	}
}

// moveReaders makes all readers of tensor from read tensor to.
func (e *editor) moveReaders(from, to string) {
	for _, n := range slices.Clone(e.consumers[from]) {
		for i, name := range n.Inputs {
			if name == from {
				e.setInput(n, i, to)
			}
		}
	}
}

// bypass removes a node of which output out equals tensor in. It is refused
// (false) where that would rename an input or output of the graph.
func (e *editor) bypass(n *onnx.Node, in, out string) bool {
	if e.captured[out] {
		return false
	}
	if !e.outputs[out] {
		e.moveReaders(out, in)
		e.remove(n)
		return true
	}
	// The graph's output keeps its name: whoever makes in makes out instead.
	p := e.producer[in]
	if p == nil || e.outputs[in] || e.captured[in] {
		return false
	}
	e.remove(n)
	e.moveReaders(in, out)
	e.setOutput(p, slices.Index(p.Outputs, in), out)
	return true
}

// apply rebuilds the node list.
func (e *editor) apply() error {
	var nodes []*onnx.Node
	for _, n := range e.nodes {
		nodes = append(nodes, e.added[n]...)
		if !e.removed[n] {
			nodes = append(nodes, n)
		}
	}
	e.g.Nodes = nodes
	e.uniqueNames()
	return e.g.Sort()
}

// uniqueNames gives added nodes names of their own where theirs is taken.
func (e *editor) uniqueNames() {
	taken := map[string]bool{}
	for _, n := range e.g.Nodes {
		base := n.Name
		for i := 1; taken[n.Name] || n.Name == ""; i++ {
			n.Name = fmt.Sprintf("%s_%d", base, i)
		}
		taken[n.Name] = true
	}
}
