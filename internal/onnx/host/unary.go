package host

// Element-wise operators of one input.

import (
	"fmt"
	"math"
	"slices"

	"trtact/internal/onnx"
)

// mapFloat applies f in float64 and rounds once to the tensor's type; integers
// are allowed where f maps them to integers.
func mapFloat(t *onnx.Tensor, f func(float64) float64) ([]*onnx.Tensor, error) {
	v, err := float64s(t)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = f(x)
	}
	return one(floats(t.Type, t.Dims, out))
}

// pointwise makes an operator of a float function without attributes.
func pointwise(f func(float64) float64) operator {
	return func(c *call) ([]*onnx.Tensor, error) {
		t, err := c.input(0)
		if err != nil {
			return nil, err
		}
		if !isFloat(t.Type) {
			return nil, fmt.Errorf("a float tensor is needed, not %s", t.Type)
		}
		return mapFloat(t, f)
	}
}

// signed makes an operator that integers have too.
func signed(f func(float64) float64, g func(int64) int64) operator {
	return func(c *call) ([]*onnx.Tensor, error) {
		t, err := c.input(0)
		if err != nil {
			return nil, err
		}
		if !isInteger(t.Type) {
			return mapFloat(t, f)
		}
		if u, ok := t.Data.([]uint64); ok { // may be beyond int64
			out := slices.Clone(u)
			if c.node.Op == "Sign" {
				for i, x := range u {
					out[i] = min(x, 1)
				}
			}
			return one(tensor(t.Dims, out), nil)
		}
		v, err := t.Ints()
		if err != nil {
			return nil, err
		}
		out := make([]int64, len(v))
		for i, x := range v {
			out[i] = g(x)
		}
		data, err := fromInt64(t.Type, out)
		if err != nil {
			return nil, err
		}
		return one(tensor(t.Dims, data), nil)
	}
}

// parametric makes an operator of a float function that depends on the
// attributes alpha and beta (or gamma), with their defaults.
func parametric(first string, def1 float32, second string, def2 float32, f func(a, b, x float64) float64) operator {
	return func(c *call) ([]*onnx.Tensor, error) {
		t, err := c.input(0)
		if err != nil {
			return nil, err
		}
		a, b := float64(c.node.Float(first, def1)), float64(c.node.Float(second, def2))
		return mapFloat(t, func(x float64) float64 { return f(a, b, x) })
	}
}

func sigmoid(x float64) float64 {
	if x >= 0 {
		return 1 / (1 + math.Exp(-x))
	}
	e := math.Exp(x)
	return e / (1 + e)
}

// softplus is log(1 + exp(x)) without overflow.
func softplus(x float64) float64 { return math.Max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

func silu(x float64) float64      { return x * sigmoid(x) }
func mish(x float64) float64      { return x * math.Tanh(softplus(x)) }
func hardSwish(x float64) float64 { return x * math.Max(0, math.Min(1, x/6+0.5)) }

// geluErf is the exact Gaussian error linear unit, x times the normal
// distribution function; geluTanh its usual approximation (Hendrycks and
// Gimpel, 2016).
func geluErf(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }
func geluTanh(x float64) float64 {
	return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
}

func gelu(c *call) ([]*onnx.Tensor, error) {
	if c.node.Str("approximate", "none") == "tanh" {
		return pointwise(geluTanh)(c)
	}
	return pointwise(geluErf)(c)
}

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x // zeros and NaN
}

func signInt(x int64) int64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return 0
}

func not(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	v, ok := t.Data.([]bool)
	if !ok {
		return nil, fmt.Errorf("a bool tensor is needed, not %s", t.Type)
	}
	out := make([]bool, len(v))
	for i, x := range v {
		out[i] = !x
	}
	return one(tensor(t.Dims, out), nil)
}
