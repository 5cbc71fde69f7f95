// What is rounded together: consecutive layers of the graph with what stands between
// them.

package rounding

import (
	"fmt"
	"slices"

	"trtact/calib"
	"trtact/internal/onnx"
)

// block is a part of a graph: from the tensors that its layers read to those that
// others read of it.
type block struct {
	layers          []string // quantised, by node
	inputs, outputs []string
}

// split divides a graph into blocks of at most so many layers with weights. Of the
// places where a block may end, that is taken where the fewest tensors leave it, and
// of these the last.
func split(g *onnx.Graph, p *calib.Plan, most int) []block {
	quantised := p.Layers()
	skipped := map[string]bool{}
	for _, s := range p.Skipped {
		skipped[s.Node] = true
	}
	quantised = slices.DeleteFunc(quantised, func(n string) bool { return skipped[n] })
	var weighted []int
	for i, n := range g.Nodes {
		if slices.Contains([]string{"Conv", "ConvTranspose", "Gemm", "MatMul"}, n.Op) && g.Init[n.Input(1)] != nil {
			weighted = append(weighted, i)
		}
	}
	ix := g.Index()
	var list []block
	for from := 0; from < len(weighted); {
		var best block
		to := from + 1
		for end := from + 1; end <= min(from+most, len(weighted)); end++ {
			last := weighted[end-1] + 1 // without a layer behind, what follows is decoding
			if end < len(weighted) {
				last = weighted[end]
			}
			b := between(g, ix, quantised, weighted[from], last)
			if best.layers == nil || len(b.outputs) <= len(best.outputs) {
				best, to = b, end
			}
		}
		if len(best.layers) > 0 {
			list = append(list, best)
		}
		from = to
	}
	return list
}

// between is the block of the nodes from..to-1 that follow from the first quantised
// layer among them.
func between(g *onnx.Graph, ix *onnx.Index, quantised []string, from, to int) block {
	var b block
	inside := map[string]bool{} // tensors
	within := map[*onnx.Node]bool{}
	for _, n := range g.Nodes[from:to] {
		layer := slices.Contains(quantised, n.Name)
		if layer {
			b.layers = append(b.layers, n.Name)
		}
		if !layer && !slices.ContainsFunc(n.Uses(), func(t string) bool { return inside[t] }) {
			continue
		}
		within[n] = true
		for _, t := range n.Uses() {
			if t != "" && !inside[t] && g.Init[t] == nil && !slices.Contains(b.inputs, t) {
				b.inputs = append(b.inputs, t)
			}
		}
		for _, t := range n.Outputs {
			inside[t] = true
		}
	}
	for _, n := range g.Nodes[from:to] {
		if !within[n] {
			continue
		}
		for _, t := range n.Outputs {
			leaves := slices.ContainsFunc(ix.Consumers[t], func(c *onnx.Node) bool { return !within[c] }) ||
				slices.ContainsFunc(g.Outputs, func(v onnx.Value) bool { return v.Name == t })
			if leaves {
				b.outputs = append(b.outputs, t)
			}
		}
	}
	return b
}

// cut is the part of a model that makes outputs of inputs.
func cut(m *onnx.Model, inputs, outputs []string) (*onnx.Model, error) {
	g := m.Graph
	needed := map[string]bool{}
	for _, t := range outputs {
		needed[t] = true
	}
	part := &onnx.Graph{Name: g.Name, Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{}}
	for _, n := range slices.Backward(g.Nodes) {
		if !slices.ContainsFunc(n.Outputs, func(t string) bool { return needed[t] && !slices.Contains(inputs, t) }) {
			continue
		}
		part.Nodes = append(part.Nodes, n)
		for _, t := range n.Uses() {
			needed[t] = true
		}
	}
	slices.Reverse(part.Nodes)
	for t := range needed {
		if v, known := g.Info[t]; known {
			part.Info[t] = v.Clone()
		}
		if c := g.Init[t]; c != nil {
			part.Init[t] = c
		}
	}
	value := func(t string) (onnx.Value, error) {
		v, known := g.Info[t]
		if !known {
			return v, fmt.Errorf("the shape of tensor %q is not known", t)
		}
		v = v.Clone()
		v.Name = t
		return v, nil
	}
	for _, ends := range []struct {
		names []string
		list  *[]onnx.Value
	}{{inputs, &part.Inputs}, {outputs, &part.Outputs}} {
		for _, t := range ends.names {
			v, err := value(t)
			if err != nil {
				return nil, err
			}
			*ends.list = append(*ends.list, v)
		}
	}
	model := *m
	model.Graph = part
	return &model, nil
}
