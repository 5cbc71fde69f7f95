package onnx

import (
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Index answers who makes a tensor and who reads it. It is a snapshot: it does
// not follow later changes of the graph.
type Index struct {
	// Producer is the node that makes a tensor; none for inputs and constants.
	Producer map[string]*Node
	// Consumers is the nodes that read a tensor, each once, in the order of
	// the graph. A node whose subgraph reads the tensor is among them.
	Consumers map[string][]*Node
	// Order is each node's place in Graph.Nodes.
	Order map[*Node]int
}

// Index is made in one walk over the graph.
func (g *Graph) Index() *Index {
	ix := &Index{
		Producer:  make(map[string]*Node, len(g.Nodes)),
		Consumers: make(map[string][]*Node, len(g.Nodes)),
		Order:     make(map[*Node]int, len(g.Nodes)),
	}
	for i, n := range g.Nodes {
		ix.Order[n] = i
		for _, out := range n.Outputs {
			if out != "" {
				ix.Producer[out] = n
			}
		}
		for _, in := range n.Uses() {
			ix.Consumers[in] = append(ix.Consumers[in], n)
		}
	}
	return ix
}

// Captures is the names of tensors that a subgraph takes from the graph around
// it, in order of first use.
func (g *Graph) Captures() []string {
	own := make(map[string]bool, len(g.Inputs)+len(g.Init)+len(g.Nodes))
	for _, v := range g.Inputs {
		own[v.Name] = true
	}
	for name := range g.Init {
		own[name] = true
	}
	for _, n := range g.Nodes {
		for _, out := range n.Outputs {
			own[out] = true
		}
	}
	var captured []string
	use := func(name string) {
		if name != "" && !own[name] {
			own[name] = true // listed once
			captured = append(captured, name)
		}
	}
	for _, n := range g.Nodes {
		for _, in := range n.Uses() {
			use(in)
		}
	}
	for _, out := range g.Outputs {
		use(out.Name)
	}
	return captured
}

// Sort puts the nodes in topological order and changes no more of their order
// than that needs. A cycle is an error that names the nodes on it. Subgraphs
// are not touched.
func (g *Graph) Sort() error {
	producer := make(map[string]int, len(g.Nodes))
	for i, n := range g.Nodes {
		for _, out := range n.Outputs {
			if out != "" {
				producer[out] = i
			}
		}
	}
	waits := make([]int, len(g.Nodes)) // producers that have not been placed
	next := make([][]int, len(g.Nodes))
	for i, n := range g.Nodes {
		for _, in := range n.Uses() {
			if p, ok := producer[in]; ok {
				waits[i]++
				next[p] = append(next[p], i)
			}
		}
	}
	var ready intHeap // the earliest of the nodes that could come next
	for i := range g.Nodes {
		if waits[i] == 0 {
			ready = append(ready, i)
		}
	}
	sorted := make([]*Node, 0, len(g.Nodes))
	for len(ready) > 0 {
		i := heap.Pop(&ready).(int)
		sorted = append(sorted, g.Nodes[i])
		for _, j := range next[i] {
			if waits[j]--; waits[j] == 0 {
				heap.Push(&ready, j)
			}
		}
	}
	if len(sorted) < len(g.Nodes) {
		return fmt.Errorf("the graph has a cycle: %s", g.cycle(waits, producer))
	}
	g.Nodes = sorted
	return nil
}

// cycle describes one cycle among the nodes that Sort could not place, going
// from a node to one that it waits for until a node comes up again.
func (g *Graph) cycle(waits []int, producer map[string]int) string {
	at := slices.IndexFunc(waits, func(w int) bool { return w > 0 })
	var path []int
	for !slices.Contains(path, at) {
		path = append(path, at)
		for _, in := range g.Nodes[at].Uses() {
			if p, ok := producer[in]; ok && waits[p] > 0 {
				at = p
				break
			}
		}
		if len(path) > 1<<10 { // long enough to be of no use to a reader
			break
		}
	}
	path = append(path[max(0, slices.Index(path, at)):], at)
	slices.Reverse(path) // the way data flows
	const shown = 6
	var names []string
	for i, p := range path {
		if i == shown {
			names = append(names, "...")
			break
		}
		names = append(names, g.Nodes[p].String())
	}
	return strings.Join(names, " -> ")
}

type intHeap []int

func (h intHeap) Len() int           { return len(h) }
func (h intHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h intHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *intHeap) Push(x any)        { *h = append(*h, x.(int)) }
func (h *intHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

// Clone is a copy that shares nothing with g.
func (g *Graph) Clone() *Graph {
	if g == nil {
		return nil
	}
	c := &Graph{Name: g.Name, Inputs: cloneValues(g.Inputs), Outputs: cloneValues(g.Outputs)}
	for _, n := range g.Nodes {
		c.Nodes = append(c.Nodes, n.Clone())
	}
	if g.Init != nil {
		c.Init = make(map[string]*Tensor, len(g.Init))
	}
	for name, t := range g.Init {
		c.Init[name] = t.Clone()
	}
	if g.Info != nil {
		c.Info = make(map[string]Value, len(g.Info))
	}
	for name, v := range g.Info {
		c.Info[name] = v.Clone()
	}
	return c
}

// Clone is a copy that shares nothing with m.
func (m *Model) Clone() *Model {
	c := *m
	c.Metadata = maps.Clone(m.Metadata)
	c.Domains = maps.Clone(m.Domains)
	c.Graph = m.Graph.Clone()
	return &c
}

// Clone is a copy that shares nothing with v.
func (v Value) Clone() Value {
	v.Dims = slices.Clone(v.Dims)
	v.Symbols = slices.Clone(v.Symbols)
	return v
}

func cloneValues(values []Value) []Value {
	if values == nil {
		return nil
	}
	c := make([]Value, len(values))
	for i, v := range values {
		c[i] = v.Clone()
	}
	return c
}
