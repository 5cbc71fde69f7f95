// The part of a graph that a change can reach. When one layer is quantised, all that
// does not follow from it keeps the values that the float model gave; those become
// the inputs of a smaller graph, which is all that has to run.

package analysis

import (
	"slices"

	"trtact/internal/onnx"
)

// suffix is a graph that computes heads from tensors of the whole graph.
type suffix struct {
	model *onnx.Model
	// inputs are the tensors it takes over, heads those it computes.
	inputs []string
	heads  []compared
}

// compared is a head with what is added to the suffix for it: an input for what the
// float model gave, and the squared differences as an output. So the comparison runs
// where the head is, and nothing but its sum has to be read.
type compared struct {
	index   int // in Subject.Heads
	name    string
	wanted  string
	squares string
}

// after is the part of a model's graph that changes with the nodes in changed: these
// nodes and all that follow from them, as far as a head depends on it. Nodes and
// constants are shared with the model.
func after(m *onnx.Model, heads []string, changed func(i int, n *onnx.Node) bool) suffix {
	g := m.Graph
	affected := map[string]bool{} // tensors
	var nodes []*onnx.Node
	for i, n := range g.Nodes {
		if changed(i, n) || slices.ContainsFunc(n.Uses(), func(t string) bool { return affected[t] }) {
			nodes = append(nodes, n)
			for _, out := range n.Outputs {
				affected[out] = true
			}
		}
	}
	var s suffix
	needed := map[string]bool{}
	for i, h := range heads {
		if affected[h] {
			s.heads = append(s.heads, compared{index: i, name: h})
			needed[h] = true
		}
	}
	kept := nodes[:0:0]
	for _, n := range slices.Backward(nodes) {
		if slices.ContainsFunc(n.Outputs, func(t string) bool { return needed[t] }) {
			kept = append(kept, n)
			for _, t := range n.Uses() {
				needed[t] = true
			}
		}
	}
	slices.Reverse(kept)
	seen := map[string]bool{}
	part := partial{
		&onnx.Graph{Name: g.Name, Nodes: kept, Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{}},
		map[string]bool{},
	}
	for _, n := range kept {
		part.taken[n.Name] = true
		for _, t := range n.Uses() {
			switch {
			case t == "" || seen[t]:
			case g.Init[t] != nil:
				part.Init[t] = g.Init[t]
			case !affected[t]:
				v := g.Info[t].Clone()
				v.Name = t
				part.Inputs = append(part.Inputs, v)
				s.inputs = append(s.inputs, t)
			}
			seen[t] = true
		}
		for _, t := range n.Outputs {
			seen[t] = true
		}
	}
	for t := range seen {
		part.taken[t] = true
		if v, known := g.Info[t]; known {
			part.Info[t] = v.Clone()
		}
	}
	for i := range s.heads {
		part.compare(&s.heads[i], g.Info[s.heads[i].name])
	}
	model := *m
	model.Graph = part.Graph
	s.model = &model
	return s
}

// partial is a graph being made.
type partial struct {
	*onnx.Graph
	taken map[string]bool // names of tensors and nodes
}

// compare adds the nodes that square the difference of a head to what is wanted.
func (g partial) compare(c *compared, head onnx.Value) {
	named := func(what string) onnx.Value {
		v := head.Clone()
		v.Name = c.name + " " + what
		for g.taken[v.Name] {
			v.Name += "_"
		}
		g.taken[v.Name] = true
		g.Info[v.Name] = v
		return v
	}
	wanted, difference, squares := named("wanted"), named("difference").Name, named("squares")
	c.wanted, c.squares = wanted.Name, squares.Name
	g.Inputs = append(g.Inputs, wanted)
	g.Outputs = append(g.Outputs, squares)
	g.Nodes = append(g.Nodes,
		&onnx.Node{Name: difference, Op: "Sub", Inputs: []string{c.name, c.wanted}, Outputs: []string{difference}},
		&onnx.Node{Name: c.squares, Op: "Mul", Inputs: []string{difference, difference}, Outputs: []string{c.squares}})
}

// bytes is the size of the tensors that a suffix takes over, for one sample, without
// those that are counted already.
func (s suffix) bytes(g *onnx.Graph, counted map[string]bool) int64 {
	var n int64
	for _, t := range s.inputs {
		if !counted[t] {
			n += tensorBytes(g.Info[t])
		}
	}
	return n
}

// tensorBytes is the memory of a kept tensor; elements of every type are counted as
// four bytes, since nearly all are float32.
func tensorBytes(v onnx.Value) int64 {
	n := int64(4)
	for _, d := range v.Dims {
		n *= int64(max(1, d))
	}
	return n
}
