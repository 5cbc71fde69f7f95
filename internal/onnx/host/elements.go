package host

// Element storage of every type: allocation, conversion and moving by index.

import (
	"fmt"
	"math"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

type integer interface {
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

type number interface{ integer | float32 | float64 }

// stored is the type under which elements are held: the half floats are
// widened to Float everywhere.
func stored(t onnx.DType) onnx.DType {
	if t == onnx.Float16 || t == onnx.BFloat16 {
		return onnx.Float
	}
	return t
}

func isFloat(t onnx.DType) bool { return t == onnx.Float || t == onnx.Double }

func isInteger(t onnx.DType) bool {
	switch t {
	case onnx.Int8, onnx.Int16, onnx.Int32, onnx.Int64, onnx.Uint8, onnx.Uint16, onnx.Uint32, onnx.Uint64:
		return true
	}
	return false
}

// typeOf is the element type of a data slice.
func typeOf(data any) onnx.DType {
	switch data.(type) {
	case []float32:
		return onnx.Float
	case []float64:
		return onnx.Double
	case []int8:
		return onnx.Int8
	case []int16:
		return onnx.Int16
	case []int32:
		return onnx.Int32
	case []int64:
		return onnx.Int64
	case []uint8:
		return onnx.Uint8
	case []uint16:
		return onnx.Uint16
	case []uint32:
		return onnx.Uint32
	case []uint64:
		return onnx.Uint64
	case []bool:
		return onnx.Bool
	case []string:
		return onnx.String
	}
	return onnx.Undefined
}

// tensor wraps a data slice.
func tensor(d []int, data any) *onnx.Tensor {
	return &onnx.Tensor{Type: typeOf(data), Dims: dims.Clone(d), Data: data}
}

// reshaped is t under another shape of as many elements.
func reshaped(t *onnx.Tensor, d []int) *onnx.Tensor {
	return &onnx.Tensor{Type: t.Type, Dims: dims.Clone(d), Data: t.Data}
}

func length(data any) int { return (&onnx.Tensor{Data: data}).Len() }

// take picks elements by index; index -1 takes fill's single element.
func take(data any, index []int, fill any) any {
	switch d := data.(type) {
	case []float32:
		return pick(d, index, fill)
	case []float64:
		return pick(d, index, fill)
	case []int8:
		return pick(d, index, fill)
	case []int16:
		return pick(d, index, fill)
	case []int32:
		return pick(d, index, fill)
	case []int64:
		return pick(d, index, fill)
	case []uint8:
		return pick(d, index, fill)
	case []uint16:
		return pick(d, index, fill)
	case []uint32:
		return pick(d, index, fill)
	case []uint64:
		return pick(d, index, fill)
	case []bool:
		return pick(d, index, fill)
	case []string:
		return pick(d, index, fill)
	}
	return nil
}

func pick[T any](src []T, index []int, fill any) []T {
	var outside T
	if f, ok := fill.([]T); ok && len(f) > 0 {
		outside = f[0]
	}
	out := make([]T, len(index))
	for i, at := range index {
		if at < 0 {
			out[i] = outside
		} else {
			out[i] = src[at]
		}
	}
	return out
}

// join concatenates data slices of one type.
func join(parts []any) (any, error) {
	switch parts[0].(type) {
	case []float32:
		return joinOf[float32](parts)
	case []float64:
		return joinOf[float64](parts)
	case []int8:
		return joinOf[int8](parts)
	case []int16:
		return joinOf[int16](parts)
	case []int32:
		return joinOf[int32](parts)
	case []int64:
		return joinOf[int64](parts)
	case []uint8:
		return joinOf[uint8](parts)
	case []uint16:
		return joinOf[uint16](parts)
	case []uint32:
		return joinOf[uint32](parts)
	case []uint64:
		return joinOf[uint64](parts)
	case []bool:
		return joinOf[bool](parts)
	case []string:
		return joinOf[string](parts)
	}
	return nil, fmt.Errorf("unknown element type")
}

func joinOf[T any](parts []any) (any, error) {
	total := 0
	for _, p := range parts {
		d, ok := p.([]T)
		if !ok {
			return nil, fmt.Errorf("inputs differ in type: %s and %s", typeOf(parts[0]), typeOf(p))
		}
		total += len(d)
	}
	out := make([]T, 0, total)
	for _, p := range parts {
		out = append(out, p.([]T)...)
	}
	return out, nil
}

// walk is the source index of every element of a strided view of shape d.
func walk(d, strides []int, offset int) ([]int, error) {
	n, err := dims.Count(d)
	if err != nil {
		return nil, err
	}
	out := make([]int, n)
	if n == 0 {
		return out, nil
	}
	at := make([]int, len(d))
	pos := offset
	for i := range out {
		out[i] = pos
		for a := len(d) - 1; a >= 0; a-- {
			at[a]++
			pos += strides[a]
			if at[a] < d[a] {
				break
			}
			pos -= strides[a] * d[a]
			at[a] = 0
		}
	}
	return out, nil
}

// view copies a strided view of t.
func view(t *onnx.Tensor, d, strides []int, offset int) (*onnx.Tensor, error) {
	index, err := walk(d, strides, offset)
	if err != nil {
		return nil, err
	}
	return tensor(d, take(t.Data, index, nil)), nil
}

// expand broadcasts t to shape d.
func expand(t *onnx.Tensor, d []int) (*onnx.Tensor, error) {
	if dims.Equal(t.Dims, d) {
		return t, nil
	}
	return view(t, d, dims.BroadcastStrides(t.Dims, d), 0)
}

// float64s converts any numeric or bool tensor.
func float64s(t *onnx.Tensor) ([]float64, error) {
	switch d := t.Data.(type) {
	case []float64:
		return d, nil
	case []float32:
		return convert[float64](d), nil
	case []int8:
		return convert[float64](d), nil
	case []int16:
		return convert[float64](d), nil
	case []int32:
		return convert[float64](d), nil
	case []int64:
		return convert[float64](d), nil
	case []uint8:
		return convert[float64](d), nil
	case []uint16:
		return convert[float64](d), nil
	case []uint32:
		return convert[float64](d), nil
	case []uint64:
		return convert[float64](d), nil
	case []bool:
		return numbers[float64](d), nil
	}
	return nil, fmt.Errorf("a number is needed, not %s", t.Type)
}

func convert[To, From number](d []From) []To {
	out := make([]To, len(d))
	for i, v := range d {
		out[i] = To(v)
	}
	return out
}

func numbers[To number](d []bool) []To {
	out := make([]To, len(d))
	for i, v := range d {
		if v {
			out[i] = 1
		}
	}
	return out
}

// fromFloat64 stores float64 values under another numeric type or bool.
// Values out of an integer type's range are clamped to it, NaN becomes 0.
func fromFloat64(t onnx.DType, v []float64) (any, error) {
	switch stored(t) {
	case onnx.Double:
		return v, nil
	case onnx.Float:
		return convert[float32](v), nil
	case onnx.Int8:
		return truncate[int8](v, math.MinInt8, math.MaxInt8), nil
	case onnx.Int16:
		return truncate[int16](v, math.MinInt16, math.MaxInt16), nil
	case onnx.Int32:
		return truncate[int32](v, math.MinInt32, math.MaxInt32), nil
	case onnx.Int64:
		return truncate[int64](v, math.MinInt64, math.MaxInt64), nil
	case onnx.Uint8:
		return truncate[uint8](v, 0, math.MaxUint8), nil
	case onnx.Uint16:
		return truncate[uint16](v, 0, math.MaxUint16), nil
	case onnx.Uint32:
		return truncate[uint32](v, 0, math.MaxUint32), nil
	case onnx.Uint64:
		return truncate[uint64](v, 0, math.MaxUint64), nil
	case onnx.Bool:
		out := make([]bool, len(v))
		for i, x := range v {
			out[i] = x != 0
		}
		return out, nil
	}
	return nil, fmt.Errorf("numbers cannot be stored as %s", t)
}

func truncate[T integer](v []float64, lo, hi T) []T {
	out := make([]T, len(v))
	for i, x := range v {
		switch {
		case x != x:
		case x <= float64(lo):
			out[i] = lo
		case x >= float64(hi):
			out[i] = hi
		default:
			out[i] = T(x)
		}
	}
	return out
}

// fromInt64 stores integers under another type, wrapping as C does.
func fromInt64(t onnx.DType, v []int64) (any, error) {
	switch stored(t) {
	case onnx.Int64:
		return v, nil
	case onnx.Double:
		return convert[float64](v), nil
	case onnx.Float:
		return convert[float32](v), nil
	case onnx.Int8:
		return convert[int8](v), nil
	case onnx.Int16:
		return convert[int16](v), nil
	case onnx.Int32:
		return convert[int32](v), nil
	case onnx.Uint8:
		return convert[uint8](v), nil
	case onnx.Uint16:
		return convert[uint16](v), nil
	case onnx.Uint32:
		return convert[uint32](v), nil
	case onnx.Uint64:
		return convert[uint64](v), nil
	case onnx.Bool:
		out := make([]bool, len(v))
		for i, x := range v {
			out[i] = x != 0
		}
		return out, nil
	}
	return nil, fmt.Errorf("numbers cannot be stored as %s", t)
}

// floats wraps float64 results under type t.
func floats(t onnx.DType, d []int, v []float64) (*onnx.Tensor, error) {
	data, err := fromFloat64(t, v)
	if err != nil {
		return nil, err
	}
	return tensor(d, data), nil
}
