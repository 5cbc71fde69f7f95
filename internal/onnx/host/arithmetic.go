package host

// Element-wise operators of two and more inputs, with broadcasting.

import (
	"fmt"
	"math"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// pair holds two operands under one broadcast shape. An index is nil where the
// operand already has that shape.
type pair struct {
	shape  []int
	ia, ib []int
}

func align(a, b []int) (*pair, error) {
	d, err := dims.Broadcast(a, b)
	if err != nil {
		return nil, err
	}
	p := &pair{shape: d}
	if !dims.Equal(a, d) {
		if p.ia, err = walk(d, dims.BroadcastStrides(a, d), 0); err != nil {
			return nil, err
		}
	}
	if !dims.Equal(b, d) {
		if p.ib, err = walk(d, dims.BroadcastStrides(b, d), 0); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// zip applies f to every pair of elements.
func zip[A, B, R any](p *pair, a []A, b []B, f func(A, B) R) []R {
	n := len(a)
	if p.ia != nil {
		n = len(p.ia)
	}
	out := make([]R, n)
	for i := range out {
		x, y := i, i
		if p.ia != nil {
			x = p.ia[i]
		}
		if p.ib != nil {
			y = p.ib[i]
		}
		out[i] = f(a[x], b[y])
	}
	return out
}

// binary is a node of two inputs of one numeric type, by operator name.
func binary(c *call) ([]*onnx.Tensor, error) {
	a, err := c.input(0)
	if err != nil {
		return nil, err
	}
	b, err := c.input(1)
	if err != nil {
		return nil, err
	}
	return one(combine(c.node.Op, a, b, c.node.Int("fmod", 0) != 0))
}

func combine(op string, a, b *onnx.Tensor, fmod bool) (*onnx.Tensor, error) {
	if a.Type != b.Type {
		return nil, fmt.Errorf("inputs differ in type: %s and %s", a.Type, b.Type)
	}
	p, err := align(a.Dims, b.Dims)
	if err != nil {
		return nil, err
	}
	var data any
	switch x := a.Data.(type) {
	case []float32:
		data, err = arithmetic(op, p, x, b.Data.([]float32), floatRest[float32](op, fmod))
	case []float64:
		data, err = arithmetic(op, p, x, b.Data.([]float64), floatRest[float64](op, fmod))
	case []int8:
		data, err = integers(op, p, x, b.Data.([]int8), fmod)
	case []int16:
		data, err = integers(op, p, x, b.Data.([]int16), fmod)
	case []int32:
		data, err = integers(op, p, x, b.Data.([]int32), fmod)
	case []int64:
		data, err = integers(op, p, x, b.Data.([]int64), fmod)
	case []uint8:
		data, err = integers(op, p, x, b.Data.([]uint8), fmod)
	case []uint16:
		data, err = integers(op, p, x, b.Data.([]uint16), fmod)
	case []uint32:
		data, err = integers(op, p, x, b.Data.([]uint32), fmod)
	case []uint64:
		data, err = integers(op, p, x, b.Data.([]uint64), fmod)
	case []bool:
		data, err = logical(op, p, x, b.Data.([]bool))
	case []string:
		if op != "Equal" {
			return nil, fmt.Errorf("%s of strings", op)
		}
		data = zip(p, x, b.Data.([]string), func(a, b string) bool { return a == b })
	}
	if err != nil {
		return nil, err
	}
	return tensor(p.shape, data), nil
}

// floatRest is what differs between floats and integers: remainder.
func floatRest[T float32 | float64](op string, fmod bool) func(a, b T) T {
	if op != "Mod" {
		return nil
	}
	return func(a, b T) T {
		r := math.Mod(float64(a), float64(b))
		if !fmod && r != 0 && (r < 0) != (b < 0) {
			r += float64(b)
		}
		return T(r)
	}
}

// integers adds to arithmetic what only integers have, and refuses division by
// zero.
func integers[T integer](op string, p *pair, a, b []T, fmod bool) (any, error) {
	if op == "Div" || op == "Mod" {
		for _, v := range b {
			if v == 0 {
				return nil, fmt.Errorf("integer division by zero")
			}
		}
	}
	var rest func(a, b T) T
	switch op {
	case "Mod":
		rest = func(a, b T) T {
			r := a % b
			if !fmod && r != 0 && (r < 0) != (b < 0) {
				r += b
			}
			return r
		}
	case "BitwiseAnd":
		rest = func(a, b T) T { return a & b }
	case "BitwiseOr":
		rest = func(a, b T) T { return a | b }
	case "BitwiseXor":
		rest = func(a, b T) T { return a ^ b }
	}
	return arithmetic(op, p, a, b, rest)
}

// arithmetic is one operator on one type; other is the operator that the
// type-dependent callers supply.
func arithmetic[T number](op string, p *pair, a, b []T, other func(a, b T) T) (any, error) {
	switch op {
	case "Add", "Sum", "Mean":
		return zip(p, a, b, func(a, b T) T { return a + b }), nil
	case "Sub":
		return zip(p, a, b, func(a, b T) T { return a - b }), nil
	case "Mul":
		return zip(p, a, b, func(a, b T) T { return a * b }), nil
	case "Div":
		return zip(p, a, b, func(a, b T) T { return a / b }), nil
	case "Min": // a NaN operand wins
		return zip(p, a, b, func(a, b T) T {
			if a < b || a != a {
				return a
			}
			return b
		}), nil
	case "Max":
		return zip(p, a, b, func(a, b T) T {
			if a > b || a != a {
				return a
			}
			return b
		}), nil
	case "PRelu":
		return zip(p, a, b, func(a, b T) T {
			if a < 0 {
				return a * b
			}
			return a
		}), nil
	case "Equal":
		return zip(p, a, b, func(a, b T) bool { return a == b }), nil
	case "Greater":
		return zip(p, a, b, func(a, b T) bool { return a > b }), nil
	case "GreaterOrEqual":
		return zip(p, a, b, func(a, b T) bool { return a >= b }), nil
	case "Less":
		return zip(p, a, b, func(a, b T) bool { return a < b }), nil
	case "LessOrEqual":
		return zip(p, a, b, func(a, b T) bool { return a <= b }), nil
	}
	if other == nil {
		return nil, fmt.Errorf("%s is not defined on %s", op, typeOf(a))
	}
	return zip(p, a, b, other), nil
}

func logical(op string, p *pair, a, b []bool) (any, error) {
	switch op {
	case "And":
		return zip(p, a, b, func(a, b bool) bool { return a && b }), nil
	case "Or":
		return zip(p, a, b, func(a, b bool) bool { return a || b }), nil
	case "Xor":
		return zip(p, a, b, func(a, b bool) bool { return a != b }), nil
	case "Equal":
		return zip(p, a, b, func(a, b bool) bool { return a == b }), nil
	}
	return nil, fmt.Errorf("%s is not defined on bool", op)
}

// variadic is Min, Max, Sum and Mean over any number of inputs.
func variadic(c *call) ([]*onnx.Tensor, error) {
	result, err := c.input(0)
	if err != nil {
		return nil, err
	}
	for i := 1; i < len(c.in); i++ {
		t, err := c.input(i)
		if err != nil {
			return nil, err
		}
		if result, err = combine(c.node.Op, result, t, false); err != nil {
			return nil, err
		}
	}
	if c.node.Op != "Mean" {
		return one(result, nil)
	}
	v, err := float64s(result)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = x / float64(len(c.in))
	}
	return one(floats(result.Type, result.Dims, out))
}

// pow has the type of its base; the exponent may be of another type.
func pow(c *call) ([]*onnx.Tensor, error) {
	a, err := c.input(0)
	if err != nil {
		return nil, err
	}
	b, err := c.input(1)
	if err != nil {
		return nil, err
	}
	p, err := align(a.Dims, b.Dims)
	if err != nil {
		return nil, err
	}
	if isInteger(a.Type) && isInteger(b.Type) {
		x, err := a.Ints()
		if err != nil {
			return nil, err
		}
		y, err := b.Ints()
		if err != nil {
			return nil, err
		}
		data, err := fromInt64(a.Type, zip(p, x, y, powInt))
		if err != nil {
			return nil, err
		}
		return one(tensor(p.shape, data), nil)
	}
	x, err := float64s(a)
	if err != nil {
		return nil, err
	}
	y, err := float64s(b)
	if err != nil {
		return nil, err
	}
	return one(floats(a.Type, p.shape, zip(p, x, y, math.Pow)))
}

// powInt is x**y in wrapping arithmetic; negative powers are cut to 0 or +-1.
func powInt(x, y int64) int64 {
	if y < 0 {
		switch {
		case x == 1 || x == -1 && y%2 == 0:
			return 1
		case x == -1:
			return -1
		}
		return 0
	}
	r := int64(1)
	for ; y > 0; y >>= 1 {
		if y&1 == 1 {
			r *= x
		}
		x *= x
	}
	return r
}

func where(c *call) ([]*onnx.Tensor, error) {
	var in [3]*onnx.Tensor
	for i := range in {
		var err error
		if in[i], err = c.input(i); err != nil {
			return nil, err
		}
	}
	cond, ok := in[0].Data.([]bool)
	if !ok || in[1].Type != in[2].Type {
		return nil, fmt.Errorf("where needs a bool condition and two values of one type")
	}
	d, err := dims.Broadcast(in[0].Dims, in[1].Dims, in[2].Dims)
	if err != nil {
		return nil, err
	}
	var index [3][]int
	for i := range in {
		if index[i], err = walk(d, dims.BroadcastStrides(in[i].Dims, d), 0); err != nil {
			return nil, err
		}
	}
	// The two values lie one behind the other; choose by index.
	data, err := join([]any{in[1].Data, in[2].Data})
	if err != nil {
		return nil, err
	}
	first := in[1].Len()
	chosen := make([]int, len(index[0]))
	for i := range chosen {
		if cond[index[0][i]] {
			chosen[i] = index[1][i]
		} else {
			chosen[i] = first + index[2][i]
		}
	}
	return one(tensor(d, take(data, chosen, nil)), nil)
}

// clip has its bounds as attributes before opset 11, as inputs since.
func clip(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	if c.opset < 11 {
		lo, hi := float64(c.node.Float("min", -math.MaxFloat32)), float64(c.node.Float("max", math.MaxFloat32))
		return mapFloat(t, func(x float64) float64 { return math.Min(math.Max(x, lo), hi) })
	}
	for i, op := range []string{"Max", "Min"} {
		if bound := c.optional(i + 1); bound != nil {
			if bound.Len() != 1 {
				return nil, fmt.Errorf("bound %d has shape %v, a scalar is needed", i+1, bound.Dims)
			}
			if t, err = combine(op, t, reshaped(bound, []int{}), false); err != nil {
				return nil, err
			}
		}
	}
	return one(t, nil)
}
