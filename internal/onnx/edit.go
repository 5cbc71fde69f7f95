package onnx

import (
	"fmt"
	"slices"
	"strconv"
)

// FreshName is a name that no tensor and no node of the graph or its subgraphs
// has: prefix itself where it is free, else prefix_1, prefix_2 and so on.
func (g *Graph) FreshName(prefix string) string {
	taken := map[string]bool{}
	g.collectNames(taken)
	return freshIn(taken, prefix)
}

func freshIn(taken map[string]bool, prefix string) string {
	name := prefix
	for i := 1; name == "" || taken[name]; i++ {
		name = prefix + "_" + strconv.Itoa(i)
	}
	return name
}

func (g *Graph) collectNames(taken map[string]bool) {
	for _, v := range g.Inputs {
		taken[v.Name] = true
	}
	for _, v := range g.Outputs {
		taken[v.Name] = true
	}
	for name := range g.Init {
		taken[name] = true
	}
	for _, n := range g.Nodes {
		taken[n.Name] = true
		for _, name := range n.Inputs {
			taken[name] = true
		}
		for _, name := range n.Outputs {
			taken[name] = true
		}
		for _, sub := range n.Subgraphs() {
			sub.collectNames(taken)
		}
	}
}

// Rewire makes the readers of the tensor old read the tensor new, except those
// for which keep says true; keep may be nil. Reads within subgraphs count as
// reads of the node that holds them. The graph's outputs keep their names. It
// gives back how many nodes have changed.
func (g *Graph) Rewire(old, new string, keep func(*Node) bool) int {
	changed := 0
	for _, n := range g.Nodes {
		if !slices.Contains(n.Uses(), old) || keep != nil && keep(n) {
			continue
		}
		n.rewire(old, new)
		changed++
	}
	return changed
}

func (n *Node) rewire(old, new string) {
	for i, in := range n.Inputs {
		if in == old {
			n.Inputs[i] = new
		}
	}
	for _, sub := range n.Subgraphs() {
		if !slices.Contains(sub.Captures(), old) { // it may have an old of its own
			continue
		}
		for _, inner := range sub.Nodes {
			inner.rewire(old, new)
		}
		for i := range sub.Outputs {
			if sub.Outputs[i].Name == old {
				sub.Outputs[i].Name = new
			}
		}
	}
}

// RemoveDead takes out the nodes that no output depends on, the constants that
// nothing reads and what Info says of either. Inputs stay. It gives back how
// many nodes are gone.
func (g *Graph) RemoveDead() int {
	for _, n := range g.Nodes {
		for _, sub := range n.Subgraphs() {
			sub.RemoveDead()
		}
	}
	needed := make(map[string]bool, len(g.Nodes))
	for _, out := range g.Outputs {
		needed[out.Name] = true
	}
	kept := make([]*Node, 0, len(g.Nodes))
	for _, n := range slices.Backward(g.Nodes) {
		if !slices.ContainsFunc(n.Outputs, func(out string) bool { return needed[out] }) {
			continue
		}
		kept = append(kept, n)
		for _, in := range n.Uses() {
			needed[in] = true
		}
	}
	slices.Reverse(kept)
	removed := len(g.Nodes) - len(kept)
	g.Nodes = kept

	there := make(map[string]bool, len(needed)) // outputs nobody reads included
	for _, n := range g.Nodes {
		for _, out := range n.Outputs {
			there[out] = true
		}
	}
	for _, in := range g.Inputs {
		there[in.Name] = true
	}
	for name := range g.Init {
		if !needed[name] {
			delete(g.Init, name)
		}
	}
	for name := range g.Info {
		if !there[name] && g.Init[name] == nil {
			delete(g.Info, name)
		}
	}
	return removed
}

// Extract cuts the graph so that the named tensors become its outputs, in that
// order: what only other outputs needed goes, inputs included. It is how a tail
// such as non-maximum suppression is cut off. An output's type is taken from
// Info or, without that, followed through the graph; where that fails it is an
// error, and g is as it was.
func (g *Graph) Extract(outputs []string) error {
	if len(outputs) == 0 {
		return fmt.Errorf("cut the graph: no outputs are named")
	}
	known := factsOf(g, nil)
	var values []Value
	for i, name := range outputs {
		if !known.there[name] {
			return fmt.Errorf("cut the graph: there is no tensor %s", quoted(name))
		}
		if slices.Contains(outputs[:i], name) {
			return fmt.Errorf("cut the graph: tensor %s is named twice", quoted(name))
		}
		v, ok := g.Info[name]
		if at := slices.IndexFunc(g.Outputs, func(v Value) bool { return v.Name == name }); !ok && at >= 0 {
			v = g.Outputs[at]
		}
		v = v.Clone()
		v.Name = name
		if v.Type == Undefined {
			v.Type = known.typeOf(name)
		}
		if v.Type == Undefined {
			return fmt.Errorf("cut the graph: the element type of tensor %s is not known, infer shapes first", quoted(name))
		}
		if rank, ok := known.rankOf(name); v.Dims == nil && ok {
			v.Dims = slices.Repeat([]int{Dynamic}, rank)
		}
		values = append(values, v)
	}
	g.Outputs = values
	g.RemoveDead()
	used := make(map[string]bool, len(g.Nodes))
	for _, n := range g.Nodes {
		for _, in := range n.Uses() {
			used[in] = true
		}
	}
	for _, name := range outputs {
		used[name] = true
	}
	g.Inputs = slices.DeleteFunc(g.Inputs, func(v Value) bool {
		if !used[v.Name] {
			delete(g.Info, v.Name)
		}
		return !used[v.Name]
	})
	return nil
}
