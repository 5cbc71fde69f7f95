package host

// Operators that make constants, tell shapes and change types.

import (
	"fmt"
	"strconv"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

func constant(c *call) ([]*onnx.Tensor, error) {
	for name, value := range c.node.Attrs {
		switch v := value.(type) {
		case *onnx.Tensor:
			if name == "value" {
				return one(v, nil)
			}
		case float32:
			return one(tensor([]int{}, []float32{v}), nil)
		case int64:
			return one(tensor([]int{}, []int64{v}), nil)
		case string:
			return one(tensor([]int{}, []string{v}), nil)
		case []float32:
			return one(tensor([]int{len(v)}, v), nil)
		case []int64:
			return one(tensor([]int{len(v)}, v), nil)
		case []string:
			return one(tensor([]int{len(v)}, v), nil)
		}
	}
	return nil, fmt.Errorf("a constant without a dense value")
}

func constantOfShape(c *call) ([]*onnx.Tensor, error) {
	shape, err := c.input(0)
	if err != nil {
		return nil, err
	}
	list, err := shape.Ints()
	if err != nil {
		return nil, err
	}
	d, err := dims.FromInt64(list)
	if err != nil {
		return nil, err
	}
	value, ok := c.node.Attrs["value"].(*onnx.Tensor)
	if !ok {
		value = tensor([]int{1}, []float32{0})
	}
	if value.Len() != 1 {
		return nil, fmt.Errorf("attribute value has %d elements, one needed", value.Len())
	}
	return one(expand(reshaped(value, []int{}), d))
}

func shapeOf(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	from, to := dims.ShapeRange(c.node, len(t.Dims))
	out := []int64{}
	for _, n := range t.Dims[from:to] {
		out = append(out, int64(n))
	}
	return one(tensor([]int{len(out)}, out), nil)
}

func sizeOf(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	return one(tensor([]int{}, []int64{int64(t.Len())}), nil)
}

func rangeOf(c *call) ([]*onnx.Tensor, error) {
	var v [3]float64
	var t *onnx.Tensor
	for i := range v {
		var err error
		if t, err = c.input(i); err != nil {
			return nil, err
		}
		if v[i], err = c.scalar(i, 0); err != nil {
			return nil, err
		}
	}
	start, limit, delta := v[0], v[1], v[2]
	count, err := dims.Arange(start, limit, delta)
	if err != nil {
		return nil, err
	}
	if isInteger(t.Type) {
		out := make([]int64, count)
		for i := range out {
			out[i] = int64(start) + int64(i)*int64(delta)
		}
		data, err := fromInt64(t.Type, out)
		if err != nil {
			return nil, err
		}
		return one(tensor([]int{len(out)}, data), nil)
	}
	out := make([]float64, count)
	for i := range out {
		out[i] = start + float64(i)*delta
	}
	return one(floats(t.Type, []int{len(out)}, out))
}

func castTo(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	return one(cast(t, onnx.DType(c.node.Int("to", 0))))
}

func castLike(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	like, err := c.input(1)
	if err != nil {
		return nil, err
	}
	return one(cast(t, like.Type))
}

// cast converts elements; floats are cut towards zero.
func cast(t *onnx.Tensor, to onnx.DType) (*onnx.Tensor, error) {
	to = stored(to)
	if to == t.Type {
		return t, nil
	}
	var data any
	var err error
	switch {
	case to == onnx.String:
		data, err = formatted(t)
	case t.Type == onnx.String:
		var v []float64
		if v, err = parsed(t.Data.([]string)); err == nil {
			data, err = fromFloat64(to, v)
		}
	case isFloat(t.Type) || (t.Type == onnx.Uint64 && isFloat(to)):
		var v []float64
		if v, err = float64s(t); err == nil {
			data, err = fromFloat64(to, v)
		}
	default:
		var v []int64
		if v, err = t.Ints(); err == nil {
			data, err = fromInt64(to, v)
		}
	}
	if err != nil {
		return nil, err
	}
	return tensor(t.Dims, data), nil
}

func formatted(t *onnx.Tensor) ([]string, error) {
	out := make([]string, t.Len())
	if isFloat(t.Type) {
		v, err := float64s(t)
		for i := range out {
			out[i] = strconv.FormatFloat(v[i], 'g', -1, map[bool]int{true: 32, false: 64}[t.Type == onnx.Float])
		}
		return out, err
	}
	v, err := t.Ints()
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i] = strconv.FormatInt(v[i], 10)
	}
	return out, nil
}

func parsed(list []string) ([]float64, error) {
	out := make([]float64, len(list))
	for i, s := range list {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number", s)
		}
		out[i] = v
	}
	return out, nil
}

func identity(c *call) ([]*onnx.Tensor, error) { return one(c.input(0)) }

// dropout is the identity outside training; its mask is all true.
func dropout(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	if mode := c.optional(2); mode != nil {
		if on, ok := mode.Data.([]bool); ok && len(on) == 1 && on[0] {
			if ratio, err := c.scalar(1, 0.5); err != nil || ratio != 0 {
				return nil, fmt.Errorf("dropout in training mode: %w", ErrNotHandled)
			}
		}
	}
	if len(c.node.Outputs) < 2 {
		return one(t, nil)
	}
	mask := make([]bool, t.Len())
	for i := range mask {
		mask[i] = true
	}
	return []*onnx.Tensor{t, tensor(t.Dims, mask)}, nil
}
