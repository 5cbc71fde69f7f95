// The distillation nodes: the last trained layer before each output. A teacher
// and its quantised student are compared there, because what follows (decode,
// softmax bins, concatenation) has nothing to learn and bends the differences.
package detect

import "trtact/internal/onnx"

// HeadNodes is the names of the tensors that the last trained layers before
// the outputs produce, in the order of the graph: convolutions and matrix
// products by constants from which some way leads to an output without passing
// another one. The projection of distribution bins (weights 0, 1, ... n-1) is
// arithmetic, not a layer, and is passed through. Weights may come from
// QuantizeLinear/DequantizeLinear pairs. Nodes must be in topological order.
func HeadNodes(g *onnx.Graph) []string {
	w := newWalker(g)
	heads := map[*onnx.Node]bool{}
	seen := map[string]bool{}
	var queue []string
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			queue = append(queue, name)
		}
	}
	for _, out := range g.Outputs {
		add(out.Name)
	}
	for ; len(queue) > 0; queue = queue[1:] {
		n := w.ix.Producer[queue[0]]
		switch {
		case n == nil || w.constant[queue[0]]:
		case w.trainable(n):
			heads[n] = true
		default:
			for _, in := range w.variable(n) {
				add(in)
			}
		}
	}
	var names []string
	for _, n := range g.Nodes {
		if heads[n] {
			names = append(names, n.Output(0))
		}
	}
	return names
}
