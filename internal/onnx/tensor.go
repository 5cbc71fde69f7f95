package onnx

import (
	"fmt"
	"slices"
)

// NewTensor is a tensor of the given shape over data, which it keeps. The
// length of data has to be the product of dims; a mismatch is a mistake of the
// caller and panics.
func NewTensor[T Element](dims []int, data []T) *Tensor {
	if Volume(dims) != len(data) {
		panic(fmt.Sprintf("onnx: %d elements for a tensor of shape %v", len(data), dims))
	}
	return &Tensor{Type: DTypeOf(data), Dims: slices.Clone(dims), Data: data}
}

// Scalar is a tensor without dimensions.
func Scalar[T Element](v T) *Tensor { return NewTensor(nil, []T{v}) }

// Vector is a tensor of one dimension over v, which it keeps.
func Vector[T Element](v ...T) *Tensor { return NewTensor([]int{len(v)}, v) }

// Volume is the number of elements of a tensor with these sizes, all of them known.
func Volume(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// Len is the number of elements.
func (t *Tensor) Len() int {
	switch d := t.Data.(type) {
	case []float32:
		return len(d)
	case []float64:
		return len(d)
	case []int8:
		return len(d)
	case []int16:
		return len(d)
	case []int32:
		return len(d)
	case []int64:
		return len(d)
	case []uint8:
		return len(d)
	case []uint16:
		return len(d)
	case []uint32:
		return len(d)
	case []uint64:
		return len(d)
	case []bool:
		return len(d)
	case []string:
		return len(d)
	}
	return 0
}

// Floats is the elements as float32, rounded where float32 is narrower; true
// is 1. For a Float tensor it is Data itself, not a copy. It is nil for strings.
func (t *Tensor) Floats() []float32 {
	if t.Type == Float16 {
		return t.widen()
	}
	switch d := t.Data.(type) {
	case []float32:
		return d
	case []float64:
		return convert[float32](d)
	case []int8:
		return convert[float32](d)
	case []int16:
		return convert[float32](d)
	case []int32:
		return convert[float32](d)
	case []int64:
		return convert[float32](d)
	case []uint8:
		return convert[float32](d)
	case []uint16:
		return convert[float32](d)
	case []uint32:
		return convert[float32](d)
	case []uint64:
		return convert[float32](d)
	case []bool:
		return fromBool[float32](d)
	}
	return nil
}

// Ints is the elements of an integer or bool tensor as int64. For an Int64
// tensor it is Data itself, not a copy. Other types are an error, so that a
// shape is never read from a float tensor by accident.
func (t *Tensor) Ints() ([]int64, error) {
	if t.Type.IsFloat() {
		return nil, fmt.Errorf("a %s tensor where integers are needed", t.Type)
	}
	switch d := t.Data.(type) {
	case []int64:
		return d, nil
	case []int8:
		return convert[int64](d), nil
	case []int16:
		return convert[int64](d), nil
	case []int32:
		return convert[int64](d), nil
	case []uint8:
		return convert[int64](d), nil
	case []uint16:
		return convert[int64](d), nil
	case []uint32:
		return convert[int64](d), nil
	case []uint64:
		return convert[int64](d), nil
	case []bool:
		return fromBool[int64](d), nil
	}
	return nil, fmt.Errorf("a %s tensor where integers are needed", t.Type)
}

type number interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

func convert[To, From number](from []From) []To {
	to := make([]To, len(from))
	for i, v := range from {
		to[i] = To(v)
	}
	return to
}

func fromBool[To number](from []bool) []To {
	to := make([]To, len(from))
	for i, v := range from {
		if v {
			to[i] = 1
		}
	}
	return to
}

// Clone is a copy that shares nothing with t.
func (t *Tensor) Clone() *Tensor {
	if t == nil {
		return nil
	}
	c := &Tensor{Type: t.Type, Dims: slices.Clone(t.Dims)}
	switch d := t.Data.(type) {
	case []float32:
		c.Data = slices.Clone(d)
	case []float64:
		c.Data = slices.Clone(d)
	case []int8:
		c.Data = slices.Clone(d)
	case []int16:
		c.Data = slices.Clone(d)
	case []int32:
		c.Data = slices.Clone(d)
	case []int64:
		c.Data = slices.Clone(d)
	case []uint8:
		c.Data = slices.Clone(d)
	case []uint16:
		c.Data = slices.Clone(d)
	case []uint32:
		c.Data = slices.Clone(d)
	case []uint64:
		c.Data = slices.Clone(d)
	case []bool:
		c.Data = slices.Clone(d)
	case []string:
		c.Data = slices.Clone(d)
	}
	return c
}

// Value describes t under a name.
func (t *Tensor) Value(name string) Value {
	return Value{Name: name, Type: t.Type, Dims: append([]int{}, t.Dims...)}
}

// verify tells whether type, shape and data agree.
func (t *Tensor) verify() error {
	if t == nil {
		return fmt.Errorf("there is no tensor")
	}
	if got := DTypeOf(t.Data); (got != t.Type || got == Undefined) && !(t.Type == Float16 && got == Uint16) {
		return fmt.Errorf("elements are %T but the type is %s", t.Data, t.Type)
	}
	want, err := elements(t.Dims)
	if err != nil {
		return err
	}
	if t.Len() != want {
		return fmt.Errorf("%d elements for shape %v, which has %d", t.Len(), t.Dims, want)
	}
	return nil
}

// Bounds on a tensor's shape, far above what any model has, so that products
// of sizes cannot overflow and a hostile file cannot ask for absurd memory.
const (
	maxRank = 32
	maxDim  = 1<<31 - 1
	// maxElements keeps the bytes of any type within an int64.
	maxElements = 1 << 40
)

// elements is the product of dims, or an error where a size is negative or the
// product, one size of 0 aside, is beyond all reason.
func elements[I int | int64](dims []I) (int, error) {
	if len(dims) > maxRank {
		return 0, fmt.Errorf("%d dimensions, at most %d are read", len(dims), maxRank)
	}
	n, zero := int64(1), false
	for _, dim := range dims {
		d := int64(dim)
		switch {
		case d < 0 || d > maxDim:
			return 0, fmt.Errorf("shape %v has the impossible size %d", dims, d)
		case d == 0:
			zero = true
		case n > maxElements/d:
			return 0, fmt.Errorf("shape %v has more than 2^40 elements", dims)
		default:
			n *= d
		}
	}
	if zero {
		n = 0
	}
	return int(n), nil
}
