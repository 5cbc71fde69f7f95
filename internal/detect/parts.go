// Taking an output apart along its channels. Every family concatenates box,
// objectness and classes at the end, each with operations of its own behind it
// (sigmoid, softmax, grid and stride arithmetic, or nothing); that is as good
// as a signature and does not depend on names or on the exporter's node order.
package detect

import (
	"slices"

	"trtact/internal/onnx"
)

// operations is what happens to a value after the last trained layer.
type operations struct {
	ops map[string]bool
	// grid: something as large as a feature map, or computed, was added.
	grid bool
	// first is the arithmetic operation nearest to the output, "" if none.
	first string
	// measure is what the multiplication or division nearest to the output that is worth
	// one makes of coordinates: shares of the picture, or pixels; "" if there is none.
	measure string
	// between is the nearest sum or difference of two values that both depend
	// on the input, "Add", "Sub" or "".
	between string
}

func (o *operations) has(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return o.ops[n] })
}

func (o *operations) probability() bool { return o.has("Sigmoid", "HardSigmoid", "Softmax") }

// decoded says whether boxes have been placed on the picture.
func (o *operations) decoded() bool { return o.grid || o.has("Exp", "Pow", "ScatterND") }

func (w *walker) note(o *operations, n *onnx.Node) {
	o.ops[n.Op] = true
	if w.swaps(n) {
		o.ops[swapped] = true
	}
	switch n.Op {
	case "Add", "Sub", "Mul", "Div", "Pow", "Exp":
	default:
		return
	}
	if o.first == "" {
		o.first = n.Op
	}
	if o.measure == "" {
		o.measure = w.measure(n)
	}
	if n.Op != "Add" && n.Op != "Sub" {
		return
	}
	if o.between == "" && len(w.variable(n)) > 1 {
		o.between = n.Op
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

// What measure says.
const (
	shares = "shares"
	pixels = "pixels"
)

// measure tells in what coordinates are once a node has multiplied or divided them by
// constants: by the size of a picture, of a grid or of a cell. Smaller factors mean nothing.
func (w *walker) measure(n *onnx.Node) string {
	const least = 3
	for i, in := range n.Inputs {
		t, stored := w.g.Init[in]
		switch {
		case n.Op == "Mul" && w.constant[in] && !stored: // a size that is computed
			return pixels
		case !stored || !t.Type.IsFloat() || t.Len() == 0:
			continue
		}
		v := t.Floats()
		low, high := slices.Min(v), slices.Max(v)
		switch {
		case n.Op == "Mul" && low >= least:
			return pixels
		case n.Op == "Mul" && low > 0 && high <= 1.0/least, n.Op == "Div" && i == 1 && low >= least:
			return shares
		}
	}
	return ""
}

// swapped is among the operations where x and y have changed places.
const swapped = "swapped"

// swaps reports whether a node turns the order of x and y, or of both pairs of a box, round.
func (w *walker) swaps(n *onnx.Node) bool {
	switch n.Op {
	case "Slice":
		return slices.Contains(w.integers(n, 4, "steps"), -1)
	case "Gather":
		at := w.integers(n, 1, "")
		return slices.Equal(at, []int64{1, 0}) || slices.Equal(at, []int64{1, 0, 3, 2})
	}
	return false
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
		if from, to, ok := w.window(n, tensor, axis); ok {
			w.note(&done, n)
			return within(w.partsFrom(w.variable(n)[0], axis, done), from, to)
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

// within is the parts that cover channels from..to, cut to them.
func within(parts []part, from, to int) []part {
	var in []part
	at := 0
	for _, p := range parts {
		low, high := max(at, from), min(at+p.channels, to)
		at += p.channels
		if low < high {
			p.channels = high - low
			in = append(in, p)
		}
	}
	return in
}

// window says which channels of its input a Slice or Split along an axis gives
// as a tensor.
func (w *walker) window(n *onnx.Node, tensor string, axis int) (from, to int, ok bool) {
	source := w.variable(n)
	if len(source) != 1 || source[0] != n.Input(0) {
		return 0, 0, false
	}
	in, out := w.dims(source[0]), w.dims(tensor)
	if len(in) != len(out) || axis >= len(in) {
		return 0, 0, false
	}
	switch n.Op {
	case "Split":
		if !sameAxis(n, axis, len(in)) {
			return 0, 0, false
		}
		for _, o := range n.Outputs {
			if o == tensor {
				return from, from + out[axis], true
			}
			d := w.dims(o)
			if axis >= len(d) {
				return 0, 0, false
			}
			from += d[axis]
		}
	case "Slice":
		starts, axes, steps := w.integers(n, 1, "starts"), w.integers(n, 3, "axes"), w.integers(n, 4, "steps")
		if len(starts) != 1 || len(axes) > 1 || len(steps) == 1 && steps[0] != 1 {
			return 0, 0, false
		}
		at := 0
		if len(axes) == 1 {
			at = int(axes[0])
		}
		if at < 0 {
			at += len(in)
		}
		from = int(starts[0])
		if from < 0 {
			from += in[axis]
		}
		return from, from + out[axis], at == axis && from >= 0 && from+out[axis] <= in[axis]
	}
	return 0, 0, false
}

// integers is a constant input of a node, or the attribute that held the same
// in older operator sets; nil when it is neither.
func (w *walker) integers(n *onnx.Node, input int, attribute string) []int64 {
	if t, ok := w.g.Init[n.Input(input)]; ok {
		v, err := t.Ints()
		if err != nil {
			return nil
		}
		return v
	}
	return n.IntList(attribute)
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
			if in[a] == out[axis] && onnx.Volume(in[:a]) == onnx.Volume(out[:axis]) && onnx.Volume(in[a+1:]) == onnx.Volume(out[axis+1:]) {
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
