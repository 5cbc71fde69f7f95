package host

// Matrix products and normalisation.

import (
	"fmt"
	"math"
	"strings"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

func matMul(c *call) ([]*onnx.Tensor, error) {
	a, err := c.input(0)
	if err != nil {
		return nil, err
	}
	b, err := c.input(1)
	if err != nil {
		return nil, err
	}
	if a.Type != b.Type {
		return nil, fmt.Errorf("inputs differ in type: %s and %s", a.Type, b.Type)
	}
	d, err := dims.MatMul(a.Dims, b.Dims)
	if err != nil {
		return nil, err
	}
	if isFloat(a.Type) {
		x, _ := float64s(a)
		y, _ := float64s(b)
		v, err := products(x, y, a.Dims, b.Dims, d)
		if err != nil {
			return nil, err
		}
		return one(floats(a.Type, d, v))
	}
	x, err := a.Ints()
	if err != nil {
		return nil, err
	}
	y, err := b.Ints()
	if err != nil {
		return nil, err
	}
	v, err := products(x, y, a.Dims, b.Dims, d)
	if err != nil {
		return nil, err
	}
	data, err := fromInt64(a.Type, v)
	if err != nil {
		return nil, err
	}
	return one(tensor(d, data), nil)
}

// products multiplies stacks of matrices of shapes a and b; d is the shape of
// the result.
func products[T int64 | float64](x, y []T, a, b, d []int) ([]T, error) {
	m, n := 1, 1
	batch := d
	if len(b) == 1 {
		b = []int{b[0], 1}
	} else {
		n = b[len(b)-1]
		batch = batch[:len(batch)-1]
	}
	if len(a) == 1 {
		a = []int{1, a[0]}
	} else {
		m = a[len(a)-2]
		batch = batch[:len(batch)-1]
	}
	k := a[len(a)-1]
	if _, err := dims.Count(d); err != nil {
		return nil, err
	}
	index := func(of []int) ([]int, error) {
		return walk(batch, dims.BroadcastStrides(of[:len(of)-2], batch), 0)
	}
	ia, err := index(a)
	if err != nil {
		return nil, err
	}
	ib, err := index(b)
	if err != nil {
		return nil, err
	}
	out := make([]T, 0, len(ia)*m*n)
	for s := range ia {
		left, right := x[ia[s]*m*k:], y[ib[s]*k*n:]
		for i := 0; i < m; i++ {
			row := make([]T, n)
			for j := 0; j < k; j++ {
				f := left[i*k+j]
				for l := range row {
					row[l] += f * right[j*n+l]
				}
			}
			out = append(out, row...)
		}
	}
	return out, nil
}

// gemm is alpha*A*B + beta*C with optional transposition.
func gemm(c *call) ([]*onnx.Tensor, error) {
	var op [2]*onnx.Tensor
	for i, name := range []string{"transA", "transB"} {
		t, err := c.input(i)
		if err != nil {
			return nil, err
		}
		if len(t.Dims) != 2 {
			return nil, fmt.Errorf("input %d has rank %d, 2 needed", i, len(t.Dims))
		}
		if c.node.Int(name, 0) != 0 {
			if t, err = permute(t, []int{1, 0}); err != nil {
				return nil, err
			}
		}
		op[i] = t
	}
	d, err := dims.MatMul(op[0].Dims, op[1].Dims)
	if err != nil {
		return nil, err
	}
	x, err := float64s(op[0])
	if err != nil {
		return nil, err
	}
	y, err := float64s(op[1])
	if err != nil {
		return nil, err
	}
	v, err := products(x, y, op[0].Dims, op[1].Dims, d)
	if err != nil {
		return nil, err
	}
	alpha, beta := float64(c.node.Float("alpha", 1)), float64(c.node.Float("beta", 1))
	for i := range v {
		v[i] *= alpha
	}
	if t := c.optional(2); t != nil {
		if full, err := dims.Broadcast(t.Dims, d); err != nil || !dims.Equal(full, d) {
			return nil, fmt.Errorf("summand %v does not broadcast to %v", t.Dims, d)
		}
		z, err := float64s(t)
		if err != nil {
			return nil, err
		}
		index, err := walk(d, dims.BroadcastStrides(t.Dims, d), 0)
		if err != nil {
			return nil, err
		}
		for i, p := range index {
			v[i] += beta * z[p]
		}
	}
	return one(floats(op[0].Type, d, v))
}

// batchNormalization is inference: (x - mean)/sqrt(var + epsilon)*scale + bias.
func batchNormalization(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	if c.node.Int("training_mode", 0) != 0 || c.node.Int("spatial", 1) == 0 {
		return nil, fmt.Errorf("batch normalisation in training mode or for each pixel: %w", ErrNotHandled)
	}
	if len(t.Dims) < 2 {
		return nil, fmt.Errorf("the input has rank %d, at least 2 needed", len(t.Dims))
	}
	var p [4][]float64 // scale, bias, mean, variance
	for i := range p {
		q, err := c.input(i + 1)
		if err != nil {
			return nil, err
		}
		if p[i], err = float64s(q); err != nil {
			return nil, err
		}
		if len(p[i]) != t.Dims[1] {
			return nil, fmt.Errorf("input %d has %d elements for %d channels", i+1, len(p[i]), t.Dims[1])
		}
	}
	v, err := float64s(t)
	if err != nil {
		return nil, err
	}
	epsilon := float64(c.node.Float("epsilon", 1e-5))
	_, size, inner := lines(t.Dims, 1)
	out := make([]float64, len(v))
	for i, x := range v {
		ch := i / inner % size
		out[i] = (x-p[2][ch])/math.Sqrt(p[3][ch]+epsilon)*p[0][ch] + p[1][ch]
	}
	return one(floats(t.Type, t.Dims, out))
}

// maxEinsum bounds the multiplications of an Einsum.
const maxEinsum = 1 << 22

// einsum sums the product of the inputs over every letter that the output
// lacks.
func einsum(c *call) ([]*onnx.Tensor, error) {
	equation := strings.ReplaceAll(c.node.Str("equation", ""), " ", "")
	if strings.Contains(equation, ".") {
		return nil, fmt.Errorf("equation %q with an ellipsis: %w", equation, ErrNotHandled)
	}
	var shapes [][]int
	var data [][]float64
	for i := range c.in {
		t, err := c.input(i)
		if err != nil {
			return nil, err
		}
		v, err := float64s(t)
		if err != nil {
			return nil, err
		}
		shapes, data = append(shapes, t.Dims), append(data, v)
	}
	letters, terms, d, err := dims.Einsum(equation, shapes)
	if err != nil {
		return nil, err
	}
	work, err := dims.Count(letters)
	if err != nil || work > maxEinsum {
		return nil, fmt.Errorf("equation %q has too many terms: %w", equation, ErrNotHandled)
	}
	// Every operand, the output last, as a strided view over all letters.
	views := make([][]int, len(terms))
	for i, term := range terms {
		of := d
		if i < len(shapes) {
			of = shapes[i]
		}
		own, strides := dims.Strides(of), make([]int, len(letters))
		for k, letter := range term {
			strides[letter] += own[k]
		}
		if views[i], err = walk(letters, strides, 0); err != nil {
			return nil, err
		}
	}
	n, err := dims.Count(d)
	if err != nil {
		return nil, err
	}
	out := make([]float64, n)
	to := views[len(views)-1]
	for i := range to {
		p := 1.0
		for k, v := range data {
			p *= v[views[k][i]]
		}
		out[to[i]] += p
	}
	return one(floats(c.in[0].Type, d, out))
}
