// Package dims is the arithmetic of tensor shapes that ONNX's operators
// prescribe: what shape comes out of which shapes and attributes.
//
// It stands alone because three parts need the same answers: shape inference,
// the evaluation of nodes on the host and the compute executor. A size may be
// onnx.Dynamic where it depends on the data; functions then say Dynamic for
// what follows from it and go on. Errors are short ("axis 4 is outside rank
// 3"); the caller adds the node and the tensors.
package dims

import (
	"fmt"
	"math"
	"slices"
)

// MaxElements bounds the elements of one tensor, so that a hostile file cannot
// ask for more memory than a machine has. It is far above what a detector
// needs: 1,024 images of 640x640x3 have 1.3e9 elements, one image 1.2e6.
const MaxElements = 1 << 31

// Count is the number of elements of a static shape; an error if a size is
// negative or the product is above MaxElements.
func Count(d []int) (int, error) {
	empty := false
	for _, n := range d {
		if n < 0 {
			return 0, fmt.Errorf("shape %v has a negative or unknown size", d)
		}
		empty = empty || n == 0
	}
	if empty {
		return 0, nil
	}
	count := 1
	for _, n := range d {
		if n > MaxElements/count {
			return 0, fmt.Errorf("shape %v has more than %d elements", d, MaxElements)
		}
		count *= n
	}
	return count, nil
}

// Static tells whether every size is known; a nil shape is of unknown rank and
// not static (a scalar's is empty and not nil).
func Static(d []int) bool {
	if d == nil {
		return false
	}
	for _, n := range d {
		if n < 0 {
			return false
		}
	}
	return true
}

// Equal compares two shapes; nil counts as the scalar's.
func Equal(a, b []int) bool { return slices.Equal(a, b) }

// Strides are the row-major strides of a static shape, in elements.
func Strides(d []int) []int {
	s := make([]int, len(d))
	step := 1
	for i := len(d) - 1; i >= 0; i-- {
		s[i] = step
		step *= d[i]
	}
	return s
}

// Clone copies a shape; never nil.
func Clone(d []int) []int { return append(make([]int, 0, len(d)), d...) }

// FromInt64 turns the sizes of a shape tensor into a shape.
func FromInt64(v []int64) ([]int, error) {
	d := make([]int, len(v))
	for i, n := range v {
		if n < 0 || n > math.MaxInt32*2 {
			return nil, fmt.Errorf("size %d at index %d of a shape is out of range", n, i)
		}
		d[i] = int(n)
	}
	return d, nil
}

// Axis turns a possibly negative axis into 0..rank-1.
func Axis(axis int64, rank int) (int, error) {
	if axis < -int64(rank) || axis >= int64(rank) {
		return 0, fmt.Errorf("axis %d is outside rank %d", axis, rank)
	}
	if axis < 0 {
		axis += int64(rank)
	}
	return int(axis), nil
}

// Axes is Axis for a list; the result is sorted, and doubles are an error.
func Axes(axes []int64, rank int) ([]int, error) {
	out := make([]int, len(axes))
	for i, a := range axes {
		n, err := Axis(a, rank)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	slices.Sort(out)
	for i := 1; i < len(out); i++ {
		if out[i] == out[i-1] {
			return nil, fmt.Errorf("axis %d is given twice", out[i])
		}
	}
	return out, nil
}

// Broadcast is the shape of an element-wise operation over all the given
// shapes, by ONNX's multidirectional (NumPy's) rule.
func Broadcast(shapes ...[]int) ([]int, error) {
	rank := 0
	for _, d := range shapes {
		rank = max(rank, len(d))
	}
	out := make([]int, rank)
	for i := range out {
		out[i] = 1
	}
	for _, d := range shapes {
		for i, n := range d {
			at := i + rank - len(d)
			switch have := out[at]; {
			case n == have || n == 1:
			case have == 1:
				out[at] = n
			case have < 0: // a known size above 1 wins over an unknown one
				out[at] = n
			case n < 0:
			default:
				return nil, fmt.Errorf("shapes %v do not broadcast: size %d against %d", shapes, have, n)
			}
		}
	}
	return out, nil
}

// BroadcastStrides are the strides, 0 along repeated axes, that walk a tensor
// of static shape from as if it had the broadcast shape to.
func BroadcastStrides(from, to []int) []int {
	s := make([]int, len(to))
	own := Strides(from)
	for i := range from {
		if from[i] != 1 {
			s[i+len(to)-len(from)] = own[i]
		}
	}
	return s
}
