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
	w := &walker{g: g, ix: g.Index(), constant: make(map[string]bool, len(g.Init)), steps: 100_000}
	for name := range g.Init {
		w.constant[name] = true
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
			if !(step > 0) || math.Abs(float64(x)-step*float64(i)) > tolerance*math.Max(1, float64(i)) {
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

// operations is what happens to a value after the last trained layer.
type operations struct {
	ops map[string]bool
	// grid: something as large as a feature map, or computed, was added.
	grid bool
	// first is the arithmetic operation nearest to the output, "" if none;
	// between says that both its operands depend on the input.
	first   string
	between bool
}

func (o *operations) has(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return o.ops[n] })
}

func (o *operations) probability() bool { return o.has("Sigmoid", "HardSigmoid", "Softmax") }

// decoded says whether boxes have been placed on the picture.
func (o *operations) decoded() bool { return o.grid || o.has("Exp", "Pow", "ScatterND") }

func (w *walker) note(o *operations, n *onnx.Node) {
	o.ops[n.Op] = true
	switch n.Op {
	case "Add", "Sub", "Mul", "Div", "Pow", "Exp":
	default:
		return
	}
	variable := w.variable(n)
	if o.first == "" {
		o.first, o.between = n.Op, len(variable) > 1
	}
	if n.Op != "Add" && n.Op != "Sub" {
		return
	}
	for _, in := range n.Inputs {
		if !w.constant[in] {
			continue
		}
		t, stored := w.g.Init[in]
		if !stored { // computed from shapes
			o.grid = true
			continue
		}
		extents := 0 // a bias varies along one dimension, a grid is longer than that
		for _, d := range t.Dims {
			if d > 1 {
				extents++
			}
		}
		o.grid = o.grid || extents > 1
	}
}

func (o operations) clone() operations {
	c := o
	c.ops = make(map[string]bool, len(o.ops))
	for k := range o.ops {
		c.ops[k] = true
	}
	return c
}

// part is a run of channels of an output with a history of its own.
type part struct {
	operations
	channels int
	constant bool   // the same for every input
	tensor   string // where the walk ended
}

// parts takes an output apart along its channel axis: back through everything
// that only moves values or changes them one by one, to the concatenations of
// channels. What happened behind that is gathered into each part.
func (w *walker) parts(tensor string, axis int) []part {
	return w.partsFrom(tensor, axis, operations{ops: map[string]bool{}})
}

func (w *walker) partsFrom(tensor string, axis int, done operations) []part {
	for {
		w.steps--
		n := w.ix.Producer[tensor]
		if n == nil || w.steps < 0 || w.constant[tensor] || w.trainable(n) {
			break
		}
		if n.Op == "Concat" {
			if sameAxis(n, axis, len(w.dims(tensor))) {
				var all []part
				for _, in := range n.Inputs {
					all = append(all, w.partsFrom(in, axis, done.clone())...)
				}
				return all
			}
			next := w.variable(n)
			if len(next) == 0 {
				break
			}
			tensor = next[0] // the levels are alike
			continue
		}
		next, at, ok := w.back(n, axis)
		if !ok {
			break
		}
		w.note(&done, n)
		tensor, axis = next, at
	}
	p := part{operations: done, constant: w.constant[tensor], tensor: tensor}
	if d := w.dims(tensor); axis < len(d) {
		p.channels = d[axis]
	}
	w.gather(tensor, &p.operations)
	return []part{p}
}

// gather notes every operation from a tensor back to trained layers.
func (w *walker) gather(tensor string, o *operations) {
	seen := map[string]bool{tensor: true}
	for queue := []string{tensor}; len(queue) > 0; queue = queue[1:] {
		n := w.ix.Producer[queue[0]]
		if n == nil || w.trainable(n) {
			continue
		}
		w.note(o, n)
		for _, in := range w.variable(n) {
			if !seen[in] {
				seen[in] = true
				queue = append(queue, in)
			}
		}
	}
}

// back follows one axis of a node's output to its input, through a node that
// keeps the values along that axis as they lie.
func (w *walker) back(n *onnx.Node, axis int) (tensor string, at int, ok bool) {
	from := w.variable(n)
	if len(from) != 1 || axis < 0 {
		return "", 0, false
	}
	in, out := w.dims(from[0]), w.dims(n.Output(0))
	if in == nil || axis >= len(out) {
		return "", 0, false
	}
	switch n.Op {
	case "Transpose":
		perm := n.IntList("perm")
		if perm == nil {
			return from[0], len(out) - 1 - axis, true
		}
		if axis >= len(perm) || perm[axis] < 0 || int(perm[axis]) >= len(in) {
			return "", 0, false
		}
		return from[0], int(perm[axis]), true
	case "Reshape", "Flatten", "Squeeze", "Unsqueeze":
		for a := range in {
			if in[a] == out[axis] && volume(in[:a]) == volume(out[:axis]) && volume(in[a+1:]) == volume(out[axis+1:]) {
				return from[0], a, true
			}
		}
		return "", 0, false
	case "Split":
		split := int(n.Int("axis", 0))
		if split < 0 {
			split += len(out)
		}
		return from[0], axis, split != axis
	}
	return from[0], axis, slices.Equal(in, out)
}

// lengths is the sizes that were concatenated along an axis of a tensor, nil
// when no concatenation along it is found.
func (w *walker) lengths(tensor string, axis int) []int {
	for range 64 {
		n := w.ix.Producer[tensor]
		if n == nil || w.constant[tensor] {
			return nil
		}
		if n.Op == "Concat" {
			if sameAxis(n, axis, len(w.dims(tensor))) {
				var sizes []int
				for _, in := range n.Inputs {
					d := w.dims(in)
					if axis >= len(d) {
						return nil
					}
					sizes = append(sizes, d[axis])
				}
				return sizes
			}
			next := w.variable(n)
			if len(next) == 0 {
				return nil
			}
			tensor = next[0]
			continue
		}
		next, at, ok := w.back(n, axis)
		if !ok {
			// A slice of other axes keeps this one whole.
			from := w.variable(n)
			if len(from) == 0 {
				return nil
			}
			in, out := w.dims(from[0]), w.dims(tensor)
			if axis >= len(in) || axis >= len(out) || in[axis] != out[axis] {
				return nil
			}
			next, at = from[0], axis
		}
		tensor, axis = next, at
	}
	return nil
}

func sameAxis(n *onnx.Node, axis, rank int) bool {
	a := int(n.Int("axis", 0))
	if a < 0 {
		a += rank
	}
	return a == axis
}

func volume(dims []int) int {
	v := 1
	for _, d := range dims {
		v *= d
	}
	return v
}
