// What is quantised one at a time: a layer with weights together with the quantiser
// of its input, or the quantised shortcut of an addition.

package analysis

import (
	"slices"
	"sort"

	"trtact/calib"
	"trtact/internal/onnx"
)

// Unit is the smallest part of a plan that can be applied alone.
type Unit struct {
	Node   string `json:"node"` // the layer, or the addition
	Op     string `json:"op"`
	Tensor string `json:"input"`             // the activation that is quantised for it
	Weight string `json:"weights,omitempty"` // the constant; "" for an addition
	// Position counts the units along the graph, from 0.
	Position int `json:"position"`
	// consumers are the nodes that read quantised tensors: the layer itself, or the
	// Pad in front of it.
	consumers []string
}

// unitsOf lists the units of a plan in the order of the graph.
func unitsOf(g *onnx.Graph, p *calib.Plan) []Unit {
	index := g.Index()
	nodes := map[string]*onnx.Node{}
	for _, n := range g.Nodes {
		nodes[n.Name] = n
	}
	byNode := map[string]*Unit{}
	add := func(name string) *Unit {
		u := byNode[name]
		if u == nil {
			u = &Unit{Node: name, Op: nodes[name].Op}
			byNode[name] = u
		}
		return u
	}
	for _, w := range p.Weights {
		for _, name := range w.Nodes {
			if nodes[name] != nil {
				add(name).Weight = w.Tensor
			}
		}
	}
	for _, s := range p.Sites {
		for _, c := range s.Consumers {
			owners := []string{c}
			if nodes[c] == nil { // Apply says so
				continue
			}
			if nodes[c].Op == "Pad" {
				owners = nil
				for _, reader := range index.Consumers[nodes[c].Output(0)] {
					if byNode[reader.Name] != nil {
						owners = append(owners, reader.Name)
					}
				}
			}
			for _, name := range owners {
				u := add(name)
				u.Tensor = s.Tensor
				u.consumers = append(u.consumers, c)
			}
		}
	}
	list := make([]Unit, 0, len(byNode))
	for _, u := range byNode {
		list = append(list, *u)
	}
	sort.Slice(list, func(a, b int) bool {
		return index.Order[nodes[list[a].Node]] < index.Order[nodes[list[b].Node]]
	})
	for i := range list {
		list[i].Position = i
	}
	return list
}

// only is the part of a plan that concerns some units.
func only(p *calib.Plan, units []Unit) *calib.Plan {
	keep := map[string]bool{}
	consumers := map[string]bool{}
	for _, u := range units {
		keep[u.Node] = true
		for _, c := range u.consumers {
			consumers[c] = true
		}
	}
	return part(p, keep, consumers)
}

// within is the part of a plan whose nodes are in a graph.
func within(p *calib.Plan, nodes map[string]int) *calib.Plan {
	there := map[string]bool{}
	for name := range nodes {
		there[name] = true
	}
	return part(p, there, there)
}

func part(p *calib.Plan, weighted, consumers map[string]bool) *calib.Plan {
	q := p.Clone()
	q.Sites = slices.DeleteFunc(q.Sites, func(s calib.Site) bool {
		return !slices.ContainsFunc(s.Consumers, func(c string) bool { return consumers[c] })
	})
	for i := range q.Sites {
		s := &q.Sites[i]
		s.Consumers = slices.DeleteFunc(s.Consumers, func(c string) bool { return !consumers[c] })
		s.Group = 0 // the scale stays; who else has it does not matter any more
	}
	q.Groups = nil
	q.Weights = slices.DeleteFunc(q.Weights, func(w calib.WeightSite) bool {
		return !slices.ContainsFunc(w.Nodes, func(n string) bool { return weighted[n] })
	})
	for i := range q.Weights {
		w := &q.Weights[i]
		w.Nodes = slices.DeleteFunc(w.Nodes, func(n string) bool { return !weighted[n] })
	}
	q.Biases = slices.DeleteFunc(q.Biases, func(b calib.BiasCorrection) bool { return !weighted[b.Node] })
	return q
}
