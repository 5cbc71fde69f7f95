// Walking back from the outputs: what stands between the last trained layers
// and the end of a detector tells which family it is of and how much of the
// decoding is already in the graph.
package detect

import (
	"math"
	"slices"

	"trtact/internal/onnx"
)

// walker answers questions about a graph whose shapes are known.
type walker struct {
	g  *onnx.Graph
	ix *onnx.Index
	// constant holds the tensors that no graph input's values reach. A tensor's
	// shape counts as constant: shapes are static here.
	constant map[string]bool
	steps    int // left for parts, which may meet a tensor many times
}

func newWalker(g *onnx.Graph) *walker {
	w := &walker{g: g, ix: g.Index(), constant: make(map[string]bool, len(g.Init)), steps: 10_000}
	for name := range g.Init {
		w.constant[name] = true
	}
	for _, in := range g.Inputs {
		w.constant[in.Name] = fedWith(in.Name, 0, 0) != nil // the same for every picture
	}
	for _, n := range g.Nodes {
		fixed := true
		switch {
		case n.Op == "Shape" || n.Op == "Size":
		case len(n.Subgraphs()) > 0:
			fixed = false
		default:
			for _, in := range n.Inputs {
				fixed = fixed && (in == "" || w.constant[in])
			}
		}
		for _, out := range n.Outputs {
			w.constant[out] = fixed
		}
	}
	return w
}

// dims is the shape of a tensor, nil where unknown or not static.
func (w *walker) dims(name string) []int {
	if t, ok := w.g.Init[name]; ok {
		return t.Dims
	}
	dims := w.g.Info[name].Dims
	if dims == nil {
		for _, v := range slices.Concat(w.g.Outputs, w.g.Inputs) {
			if v.Name == name {
				dims = v.Dims
			}
		}
	}
	if slices.Contains(dims, onnx.Dynamic) {
		return nil
	}
	return dims
}

// variable is the inputs of a node that depend on the graph's inputs.
func (w *walker) variable(n *onnx.Node) []string {
	var names []string
	for _, in := range n.Uses() {
		if in != "" && !w.constant[in] {
			names = append(names, in)
		}
	}
	return names
}

// trainable says whether a node is a layer with weights of its own: a
// convolution or matrix product by a constant, unless that constant is part of
// the decoding.
func (w *walker) trainable(n *onnx.Node) bool {
	if n.Domain != "" {
		return false
	}
	var weights string
	switch n.Op {
	case "Conv", "ConvTranspose", "Gemm":
		weights = n.Input(1)
	case "MatMul":
		weights = n.Input(1)
		if w.constant[n.Input(0)] {
			weights = n.Input(0)
		}
	}
	return weights != "" && w.constant[weights] && !isProjection(w.initialiser(weights))
}

// initialiser follows a constant back to the stored tensor through what leaves
// its values in proportion; nil where it is computed otherwise.
func (w *walker) initialiser(name string) *onnx.Tensor {
	for range 16 {
		if t, ok := w.g.Init[name]; ok {
			return t
		}
		n := w.ix.Producer[name]
		if n == nil {
			return nil
		}
		switch n.Op {
		case "DequantizeLinear", "QuantizeLinear", "Identity", "Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze":
			name = n.Input(0)
		default:
			return nil
		}
	}
	return nil
}

// isProjection recognises constants that belong to the decoding of boxes: the
// expectation over n softmax bins (0, 1, ... n-1, perhaps times a step) and
// the 4x4 matrix that turns centre and size into corners.
func isProjection(t *onnx.Tensor) bool {
	if t == nil || t.Len() > 1024 || t.Type == onnx.String {
		return false
	}
	longest := 0
	for _, d := range t.Dims {
		longest = max(longest, d)
	}
	v := t.Floats()
	if longest == len(v) && len(v) >= 4 {
		step := float64(v[len(v)-1]) / float64(len(v)-1)
		tolerance := 1e-4 * step // float16 keeps small integers exactly
		if !t.Type.IsFloat() {
			tolerance = 0.5 // stored as 8-bit integers
		}
		for i, x := range v {
			allowed := tolerance * math.Max(1, float64(i))
			if len(v) >= 8 {
				allowed = math.Max(allowed, 0.1*step) // what had 8 bits once, dequantised since
			}
			if !(step > 0) || math.Abs(float64(x)-step*float64(i)) > allowed {
				return false
			}
		}
		return true
	}
	if len(v) == 16 && len(t.Dims) == 2 && t.Dims[0] == 4 {
		for _, x := range v {
			if x != 0 && math.Abs(float64(x)) != 0.5 && math.Abs(float64(x)) != 1 {
				return false
			}
		}
		return true
	}
	return false
}

func sameAxis(n *onnx.Node, axis, rank int) bool {
	a := int(n.Int("axis", 0))
	if a < 0 {
		a += rank
	}
	return a == axis
}
