package host

// QuantizeLinear and DequantizeLinear, per tensor and per axis.

import (
	"fmt"
	"math"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// grid is the scale and zero point of every slice along an axis.
type grid struct {
	scale []float64
	zero  []float64
	inner int // elements between two of the same slice's neighbours
}

// at is the slice of element i.
func (g *grid) at(i int) int { return i / g.inner % len(g.scale) }

// grid reads inputs 1 and 2.
func (c *call) grid(d []int) (*grid, error) {
	if c.node.Int("block_size", 0) != 0 {
		return nil, fmt.Errorf("blocked quantisation: %w", ErrNotHandled)
	}
	s, err := c.input(1)
	if err != nil {
		return nil, err
	}
	g := &grid{inner: 1}
	if g.scale, err = float64s(s); err != nil {
		return nil, err
	}
	g.zero = make([]float64, len(g.scale))
	if z := c.optional(2); z != nil {
		if g.zero, err = float64s(z); err != nil {
			return nil, err
		}
	}
	if len(g.zero) != len(g.scale) || len(g.scale) == 0 || len(s.Dims) > 1 {
		return nil, fmt.Errorf("%d scales and %d zero points", len(g.scale), len(g.zero))
	}
	if len(g.scale) > 1 {
		axis, err := c.axis("axis", 1, len(d))
		if err != nil {
			return nil, err
		}
		_, size, inner := lines(d, axis)
		if size != len(g.scale) {
			return nil, fmt.Errorf("%d scales for %d slices on axis %d", len(g.scale), size, axis)
		}
		g.inner = inner
	}
	return g, nil
}

// quantizeLinear is round_half_even(x/scale) + zero point, saturated. The
// quotient is rounded to float32 first, as every implementation does.
func quantizeLinear(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	g, err := c.grid(t.Dims)
	if err != nil {
		return nil, err
	}
	v, err := float64s(t)
	if err != nil {
		return nil, err
	}
	to := onnx.Uint8
	if z := c.optional(2); z != nil {
		to = z.Type
	} else if d := c.node.Int("output_dtype", 0); d != 0 {
		to = onnx.DType(d)
	}
	if !isInteger(to) {
		return nil, fmt.Errorf("quantisation to %s", to)
	}
	out := make([]float64, len(v))
	for i, x := range v {
		k := g.at(i)
		out[i] = math.RoundToEven(float64(float32(x)/float32(g.scale[k]))) + g.zero[k]
	}
	return one(floats(to, t.Dims, out))
}

// dequantizeLinear is (x - zero point)*scale.
func dequantizeLinear(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	g, err := c.grid(t.Dims)
	if err != nil {
		return nil, err
	}
	if !isInteger(t.Type) {
		return nil, fmt.Errorf("%s values are not quantised", t.Type)
	}
	v, err := float64s(t)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(v))
	for i, x := range v {
		k := g.at(i)
		out[i] = (x - g.zero[k]) * g.scale[k]
	}
	return one(floats(c.in[1].Type, dims.Clone(t.Dims), out))
}
