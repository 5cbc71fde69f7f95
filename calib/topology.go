// What the placement needs to know of a graph: which layers have weights, which
// operators let a quantiser pass, what lies before and behind a node.
package calib

import (
	"slices"

	"trtact/internal/onnx"
)

// layer is a node with constant weights that TensorRT can run in INT8.
type layer struct {
	node   *onnx.Node
	weight string // tensor name
	axis   int    // of the output channels in weight
	in     int    // input channels
	out    int    // output channels
	groups int
	kernel []int // spatial size; nil for Gemm and MatMul
	reason string
}

// isWeighted says whether an operator multiplies by weights.
func isWeighted(op string) bool {
	switch op {
	case "Conv", "ConvTranspose", "Gemm", "MatMul":
		return true
	}
	return false
}

// describeLayer gives the layer of a weighted node. Its reason is set when the
// node has no constant weights of the form that can be quantised.
func describeLayer(g *onnx.Graph, n *onnx.Node) layer {
	l := layer{node: n, weight: n.Input(1), groups: 1}
	w := g.Init[l.weight]
	if w == nil {
		l.reason = "its weights are not constant"
		return l
	}
	if w.Type != onnx.Float {
		l.reason = "its weights are " + w.Type.String()
		return l
	}
	if g.Init[n.Input(0)] != nil {
		l.reason = "its input is constant"
		return l
	}
	switch n.Op {
	case "Conv", "ConvTranspose":
		l.groups = max(1, int(n.Int("group", 1)))
		if len(w.Dims) < 3 {
			l.reason = "its weights have no spatial axis"
			return l
		}
		l.kernel = w.Dims[2:]
		if n.Op == "Conv" {
			l.axis, l.out, l.in = 0, w.Dims[0], w.Dims[1]*l.groups
		} else {
			l.axis, l.in, l.out = 1, w.Dims[0], w.Dims[1]*l.groups
		}
	default: // Gemm, MatMul
		if len(w.Dims) != 2 {
			l.reason = "its weights are not a matrix"
			return l
		}
		l.axis = 1
		if n.Op == "Gemm" {
			if n.Int("transA", 0) != 0 {
				l.reason = "its input is transposed"
				return l
			}
			if n.Int("transB", 0) != 0 {
				l.axis = 0
			}
		}
		l.out, l.in = w.Dims[l.axis], w.Dims[1-l.axis]
	}
	return l
}

// depthwise says whether every input channel has its own filter.
func (l layer) depthwise() bool { return l.groups > 1 && l.groups == l.in }

// dataInputs gives the inputs of an operator that commutes with quantisation,
// the ones that hold data (not shapes or indices); nil for any other operator.
// Such an operator only moves or picks values, so quantising before or after it
// is the same, given one scale.
func dataInputs(g *onnx.Graph, n *onnx.Node) []string {
	if n.Domain != "" && n.Domain != "ai.onnx" {
		return nil
	}
	switch n.Op {
	case "MaxPool":
		if n.Output(1) != "" {
			return nil
		}
	case "Resize":
		if n.Str("mode", "nearest") != "nearest" {
			return nil
		}
	case "Upsample":
		if n.Str("mode", "nearest") != "nearest" {
			return nil
		}
	case "Pad":
		if !zeroPad(g, n) {
			return nil
		}
	case "Slice", "Split", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten",
		"Identity", "DepthToSpace", "SpaceToDepth", "Gather":
	case "Concat":
		return n.Inputs
	default:
		return nil
	}
	return []string{n.Input(0)}
}

// zeroPad says whether a Pad fills with zeros, the one value that every scale
// represents exactly.
func zeroPad(g *onnx.Graph, n *onnx.Node) bool {
	if n.Str("mode", "constant") != "constant" {
		return false
	}
	value := n.Float("value", 0)
	if name := n.Input(2); name != "" {
		t := g.Init[name]
		if t == nil {
			return false
		}
		for _, v := range t.Floats() {
			value = max(value, v, -v)
		}
	}
	return value == 0
}

// isActivation says whether an operator works element by element, as activation
// functions and the parts they are written in do.
func isActivation(op string) bool {
	switch op {
	case "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Clip", "Sigmoid", "HardSigmoid",
		"HardSwish", "Tanh", "Softplus", "Mish", "Gelu", "Erf", "Mul", "Add", "Sub", "Div", "Min", "Max":
		return true
	}
	return false
}

// activationRoot is the weighted node whose output, through nothing but an
// activation function, is tensor; nil when there is no single one. The depth
// bounds the walk: the longest activation in use (Mish) is written in five nodes.
func activationRoot(g *onnx.Graph, ix *onnx.Index, tensor string, depth int) *onnx.Node {
	n := ix.Producer[tensor]
	if n == nil || depth == 0 {
		return nil
	}
	if isWeighted(n.Op) && g.Init[n.Input(1)] != nil {
		return n
	}
	if !isActivation(n.Op) {
		return nil
	}
	var root *onnx.Node
	for _, in := range n.Inputs {
		if in == "" || g.Init[in] != nil {
			continue
		}
		r := activationRoot(g, ix, in, depth-1)
		if r == nil || root != nil && r != root {
			return nil
		}
		root = r
	}
	return root
}

// activationDepth bounds activationRoot.
const activationDepth = 8

// ancestors gives, for every tensor within limit steps before tensor, the
// smallest number of nodes between the two, itself included with 0.
func ancestors(g *onnx.Graph, ix *onnx.Index, tensor string, limit int) map[string]int {
	distance := map[string]int{tensor: 0}
	queue := []string{tensor}
	for len(queue) > 0 && len(distance) < limit {
		t := queue[0]
		queue = queue[1:]
		n := ix.Producer[t]
		if n == nil {
			continue
		}
		for _, in := range n.Inputs {
			if in == "" || g.Init[in] != nil {
				continue
			}
			if _, seen := distance[in]; !seen {
				distance[in] = distance[t] + 1
				queue = append(queue, in)
			}
		}
	}
	return distance
}

// behind marks every node that depends on one of the given nodes, those excluded.
func behind(g *onnx.Graph, start map[string]bool) map[string]bool {
	tainted := map[string]bool{} // tensors
	after := map[string]bool{}   // nodes
	for _, n := range g.Nodes {  // topological order
		hit := start[n.Name]
		for _, in := range n.Uses() {
			if tainted[in] {
				hit = true
				if !start[n.Name] {
					after[n.Name] = true
				}
			}
		}
		if hit {
			for _, out := range n.Outputs {
				tainted[out] = true
			}
		}
	}
	return after
}

// isProjection says whether a layer is the fixed projection of distribution
// focal loss: one output channel, right behind a Softmax.
func isProjection(g *onnx.Graph, ix *onnx.Index, n *onnx.Node) bool {
	l := describeLayer(g, n)
	if l.reason != "" || l.out != 1 {
		return false
	}
	t := n.Input(0)
	for range activationDepth {
		p := ix.Producer[t]
		switch {
		case p == nil:
			return false
		case p.Op == "Softmax":
			return true
		case dataInputs(g, p) == nil:
			return false
		}
		t = p.Input(0)
	}
	return false
}

// FindHeads names the last weighted layer before each graph output: going back
// from the outputs, the first Conv, ConvTranspose, Gemm or MatMul with constant
// weights on every way that has none of the others behind it. The fixed
// projection of a distribution focal loss head is passed over. Nodes are in
// graph order.
func FindHeads(g *onnx.Graph) []string {
	ix := g.Index()
	reached := map[string]bool{}
	seen := map[string]bool{}
	var stack []string
	for _, o := range g.Outputs {
		stack = append(stack, o.Name)
	}
	for len(stack) > 0 {
		t := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[t] {
			continue
		}
		seen[t] = true
		n := ix.Producer[t]
		if n == nil {
			continue
		}
		if isWeighted(n.Op) && describeLayer(g, n).reason == "" && !isProjection(g, ix, n) {
			reached[n.Name] = true
			continue
		}
		stack = append(stack, n.Uses()...)
	}
	// A layer with another reached layer behind it (the way round a shortcut or
	// past a gate) is not the last one.
	leads := map[string]bool{} // tensors from which a reached layer can be reached
	var heads []string
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		after := false
		for _, out := range n.Outputs {
			after = after || leads[out]
		}
		if reached[n.Name] && !after {
			heads = append(heads, n.Name)
		}
		if after || reached[n.Name] {
			for _, in := range n.Uses() {
				leads[in] = true
			}
		}
	}
	slices.Reverse(heads)
	return heads
}
