package dims

// Shapes of the operators that only move elements.

import (
	"fmt"
	"math"

	"trtact/internal/onnx"
)

// Reshape resolves a Reshape's target: 0 copies the input's size (unless
// allowZero), -1 takes what is left.
func Reshape(in []int, target []int64, allowZero bool) ([]int, error) {
	out := make([]int, len(target))
	rest := -1
	for i, n := range target {
		switch {
		case n == -1:
			if rest >= 0 {
				return nil, fmt.Errorf("reshape target %v has two -1", target)
			}
			rest = i
			out[i] = 1
		case n == 0 && !allowZero:
			if i >= len(in) {
				return nil, fmt.Errorf("reshape target %v copies axis %d of a tensor of rank %d", target, i, len(in))
			}
			out[i] = in[i]
		case n < 0 || n > math.MaxInt32*2:
			return nil, fmt.Errorf("reshape target %v has the size %d", target, n)
		default:
			out[i] = int(n)
		}
	}
	if !Static(in) || (len(out) > 0 && !Static(out)) {
		if rest >= 0 {
			out[rest] = reshapeRest(in, out, rest)
		}
		return out, nil
	}
	total, err := Count(in)
	if err != nil {
		return nil, err
	}
	have, err := Count(out)
	if err != nil {
		return nil, err
	}
	if rest >= 0 {
		if have == 0 || total%have != 0 {
			return nil, fmt.Errorf("cannot reshape %v (%d elements) to %v", in, total, target)
		}
		out[rest] = total / have
		have = total
	}
	if have != total {
		return nil, fmt.Errorf("cannot reshape %v (%d elements) to %v (%d elements)", in, total, target, have)
	}
	return out, nil
}

// reshapeRest resolves the -1 of a target although both shapes have unknown
// sizes, where each unknown size of the output is a copy of one of the input.
func reshapeRest(in, out []int, rest int) int {
	unknown, a, b := 0, 1, 1
	for _, n := range in {
		if n < 0 {
			unknown++
		} else {
			a *= n
		}
	}
	for i, n := range out {
		if i == rest {
			continue
		}
		if n < 0 {
			unknown--
		} else {
			b *= n
		}
	}
	if in == nil || unknown != 0 || b == 0 || a%b != 0 {
		return onnx.Dynamic
	}
	return a / b
}

// Flatten is the rank-2 shape of Flatten at an axis in 0..rank.
func Flatten(in []int, axis int64) ([]int, error) {
	if axis < 0 {
		axis += int64(len(in))
	}
	if axis < 0 || axis > int64(len(in)) {
		return nil, fmt.Errorf("axis %d is outside rank %d", axis, len(in))
	}
	return []int{product(in[:axis]), product(in[axis:])}, nil
}

// product multiplies sizes; Dynamic if one is.
func product(d []int) int {
	p := 1
	for _, n := range d {
		if n < 0 {
			return onnx.Dynamic
		}
		p *= n
	}
	return p
}

// Squeeze drops the given axes, all axes of size 1 when axes is nil.
func Squeeze(in []int, axes []int64) ([]int, error) {
	drop := make([]bool, len(in))
	if axes == nil {
		for i, n := range in {
			if n < 0 {
				return nil, nil // the rank depends on an unknown size
			}
			drop[i] = n == 1
		}
	}
	list, err := Axes(axes, len(in))
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		if in[a] != 1 && in[a] >= 0 {
			return nil, fmt.Errorf("cannot squeeze axis %d of shape %v", a, in)
		}
		drop[a] = true
	}
	out := []int{}
	for i, n := range in {
		if !drop[i] {
			out = append(out, n)
		}
	}
	return out, nil
}

// Unsqueeze inserts axes of size 1; axes count in the output's rank.
func Unsqueeze(in []int, axes []int64) ([]int, error) {
	rank := len(in) + len(axes)
	list, err := Axes(axes, rank)
	if err != nil {
		return nil, err
	}
	inserted := make([]bool, rank)
	for _, a := range list {
		inserted[a] = true
	}
	out := make([]int, rank)
	next := 0
	for i := range out {
		out[i] = 1
		if !inserted[i] {
			out[i] = in[next]
			next++
		}
	}
	return out, nil
}

// Permutation is Transpose's perm with its default, checked.
func Permutation(perm []int64, rank int) ([]int, error) {
	out := make([]int, rank)
	if len(perm) == 0 {
		for i := range out {
			out[i] = rank - 1 - i
		}
		return out, nil
	}
	if _, err := Axes(perm, rank); err != nil || len(perm) != rank {
		return nil, fmt.Errorf("perm %v does not permute rank %d", perm, rank)
	}
	for i, p := range perm {
		out[i], _ = Axis(p, rank)
	}
	return out, nil
}

// Reduce is the shape after reducing the given axes (sorted, normalised).
func Reduce(in []int, axes []int, keep bool) []int {
	drop := make([]bool, len(in))
	for _, a := range axes {
		drop[a] = true
	}
	out := []int{}
	for i, n := range in {
		switch {
		case !drop[i]:
			out = append(out, n)
		case keep:
			out = append(out, 1)
		}
	}
	return out
}

// MatMul is NumPy's matmul on shapes: batch axes broadcast, a vector operand
// gets an axis of 1 that is dropped from the result.
func MatMul(a, b []int) ([]int, error) {
	if len(a) == 0 || len(b) == 0 {
		return nil, fmt.Errorf("matrix product of shapes %v and %v: a scalar operand", a, b)
	}
	left, right := a, b
	if len(a) == 1 {
		left = []int{1, a[0]}
	}
	if len(b) == 1 {
		right = []int{b[0], 1}
	}
	m, k := left[len(left)-2], left[len(left)-1]
	k2, n := right[len(right)-2], right[len(right)-1]
	if k != k2 && k >= 0 && k2 >= 0 {
		return nil, fmt.Errorf("matrix product of shapes %v and %v: %d columns against %d rows", a, b, k, k2)
	}
	out, err := Broadcast(left[:len(left)-2], right[:len(right)-2])
	if err != nil {
		return nil, err
	}
	if len(a) > 1 {
		out = append(out, m)
	}
	if len(b) > 1 {
		out = append(out, n)
	}
	return out, nil
}

// ShapeRange is the part [from, to) of a shape that a Shape node gives: all of
// it, or what its attributes start and end (opset 15) name.
func ShapeRange(n *onnx.Node, rank int) (from, to int) {
	bound := func(v int64) int {
		if v < 0 {
			v += int64(rank)
		}
		return int(clamp(v, 0, int64(rank)))
	}
	from, to = bound(n.Int("start", 0)), bound(n.Int("end", math.MaxInt64))
	return from, max(from, to)
}

// DepthToSpace is the shape of DepthToSpace on NCHW.
func DepthToSpace(in []int, block int64) ([]int, error) {
	if len(in) != 4 || block < 1 || block > 1<<15 || (in[1] >= 0 && int64(in[1])%(block*block) != 0) {
		return nil, fmt.Errorf("depth to space with blocks of %d on shape %v", block, in)
	}
	b := int(block)
	out := []int{in[0], in[1] / (b * b), product([]int{in[2], b}), product([]int{in[3], b})}
	if in[1] < 0 {
		out[1] = onnx.Dynamic
	}
	return out, nil
}

// SpaceToDepth is the shape of SpaceToDepth on NCHW.
func SpaceToDepth(in []int, block int64) ([]int, error) {
	if len(in) != 4 || block < 1 || block > 1<<15 {
		return nil, fmt.Errorf("space to depth with blocks of %d on shape %v", block, in)
	}
	b := int(block)
	out := []int{in[0], product([]int{in[1], b * b}), onnx.Dynamic, onnx.Dynamic}
	for i := 2; i < 4; i++ {
		if in[i] >= 0 {
			if in[i]%b != 0 {
				return nil, fmt.Errorf("space to depth with blocks of %d on shape %v", block, in)
			}
			out[i] = in[i] / b
		}
	}
	return out, nil
}

// ReduceAxes are the axes a reduction runs over: the given ones, or all where
// none are given, unless noop says that none means none.
func ReduceAxes(list []int64, rank int, noop bool) ([]int, error) {
	if len(list) > 0 {
		return Axes(list, rank)
	}
	if noop {
		return []int{}, nil
	}
	all := make([]int, rank)
	for i := range all {
		all[i] = i
	}
	return all, nil
}

// Arange is the length of a Range node's output.
func Arange(start, limit, delta float64) (int, error) {
	count := math.Max(0, math.Ceil((limit-start)/delta))
	if !(count <= MaxElements) || delta == 0 {
		return 0, fmt.Errorf("a range from %g to %g by %g", start, limit, delta)
	}
	return int(count), nil
}
