package host

// Reference loops for convolution and pooling: as plain as the operators'
// definitions, summed in float64, slow. The compute backends are tested against
// them, and so is what rewrites graphs.

import (
	"fmt"
	"math"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// Reference computes a Conv, ConvTranspose, MaxPool, AveragePool,
// GlobalAveragePool or GlobalMaxPool node as Eval does the others.
func Reference(n *onnx.Node, opset int, in []*onnx.Tensor) ([]*onnx.Tensor, error) {
	f := references[n.Op]
	if f == nil || n.Domain != "" {
		return nil, fault.BadInput(fmt.Errorf("%v: there is no reference for this operator", n))
	}
	return run(n, opset, in, f)
}

// HasReference tells whether Reference computes an operator.
func HasReference(op, domain string) bool { return references[op] != nil && domain == "" }

// references is never changed.
var references = map[string]operator{
	"Conv": conv, "ConvTranspose": convTranspose, "MaxPool": maxPool, "AveragePool": averagePool,
	"GlobalAveragePool": globalPool(mean), "GlobalMaxPool": globalPool(largest),
}

// each calls f for every coordinate of a shape, in row-major order, with the
// element's index.
func each(d []int, f func(i int, at []int)) {
	n := 1
	for _, s := range d {
		n *= s
	}
	at := make([]int, len(d))
	for i := 0; i < n; i++ {
		f(i, at)
		for a := len(d) - 1; a >= 0; a-- {
			if at[a]++; at[a] < d[a] {
				break
			}
			at[a] = 0
		}
	}
}

// image reads input i as batch, channels and spatial sizes.
func (c *call) image(i int) (t *onnx.Tensor, v []float64, spatial []int, err error) {
	if t, err = c.input(i); err != nil {
		return
	}
	if len(t.Dims) < 3 {
		return nil, nil, nil, fmt.Errorf("input %d has rank %d, at least 3 needed", i, len(t.Dims))
	}
	v, err = float64s(t)
	return t, v, t.Dims[2:], err
}

// summands is the bias, zeros where there is none.
func (c *call) summands(channels int) ([]float64, error) {
	b := c.optional(2)
	if b == nil {
		return make([]float64, channels), nil
	}
	v, err := float64s(b)
	if err == nil && len(v) != channels {
		err = fmt.Errorf("%d biases for %d channels", len(v), channels)
	}
	return v, err
}

func conv(c *call) ([]*onnx.Tensor, error) {
	x, xv, in, err := c.image(0)
	if err != nil {
		return nil, err
	}
	w, wv, kernel, err := c.image(1)
	if err != nil {
		return nil, err
	}
	window, err := dims.Conv(c.node, in, kernel)
	if err != nil {
		return nil, err
	}
	group := int(c.node.Int("group", 1))
	if len(x.Dims) != len(w.Dims) || group < 1 || w.Dims[1]*group != x.Dims[1] || w.Dims[0]%group != 0 {
		return nil, fmt.Errorf("weights do not fit the input in %d groups", group)
	}
	bias, err := c.summands(w.Dims[0])
	if err != nil {
		return nil, err
	}
	d := append([]int{x.Dims[0], w.Dims[0]}, window.Output...)
	n, err := dims.Count(d)
	if err != nil {
		return nil, err
	}
	out := make([]float64, n)
	xs, ws := dims.Strides(x.Dims), dims.Strides(w.Dims)
	perGroup := w.Dims[0] / group
	each(d, func(i int, at []int) {
		sum := bias[at[1]]
		first := at[1] / perGroup * w.Dims[1]
		each(kernel, func(_ int, k []int) {
			xi, wi, inside := at[0]*xs[0], at[1]*ws[0], true
			for a := range k {
				p := at[a+2]*window.Strides[a] + k[a]*window.Dilations[a] - window.Begin[a]
				inside = inside && p >= 0 && p < in[a]
				xi += p * xs[a+2]
				wi += k[a] * ws[a+2]
			}
			if !inside {
				return
			}
			for ch := 0; ch < w.Dims[1]; ch++ {
				sum += xv[xi+(first+ch)*xs[1]] * wv[wi+ch*ws[1]]
			}
		})
		out[i] = sum
	})
	return one(floats(x.Type, d, out))
}

func convTranspose(c *call) ([]*onnx.Tensor, error) {
	x, xv, in, err := c.image(0)
	if err != nil {
		return nil, err
	}
	w, wv, kernel, err := c.image(1)
	if err != nil {
		return nil, err
	}
	window, err := dims.ConvTranspose(c.node, in, kernel)
	if err != nil {
		return nil, err
	}
	group := int(c.node.Int("group", 1))
	if len(x.Dims) != len(w.Dims) || group < 1 || w.Dims[0] != x.Dims[1] || x.Dims[1]%group != 0 {
		return nil, fmt.Errorf("weights do not fit the input in %d groups", group)
	}
	channels := w.Dims[1] * group
	bias, err := c.summands(channels)
	if err != nil {
		return nil, err
	}
	d := append([]int{x.Dims[0], channels}, window.Output...)
	n, err := dims.Count(d)
	if err != nil {
		return nil, err
	}
	out := make([]float64, n)
	os, ws := dims.Strides(d), dims.Strides(w.Dims)
	each(d, func(i int, at []int) { out[i] = bias[at[1]] })
	perGroup := x.Dims[1] / group
	each(x.Dims, func(i int, at []int) { // every input element adds a kernel to the output
		first := at[1] / perGroup * w.Dims[1]
		each(kernel, func(_ int, k []int) {
			oi, wi, inside := at[0]*os[0], at[1]*ws[0], true
			for a := range k {
				p := at[a+2]*window.Strides[a] + k[a]*window.Dilations[a] - window.Begin[a]
				inside = inside && p >= 0 && p < window.Output[a]
				oi += p * os[a+2]
				wi += k[a] * ws[a+2]
			}
			if !inside {
				return
			}
			for ch := 0; ch < w.Dims[1]; ch++ {
				out[oi+(first+ch)*os[1]] += xv[i] * wv[wi+ch*ws[1]]
			}
		})
	})
	return one(floats(x.Type, d, out))
}

// pooled calls f with the values and input indices that each window sees.
// padded is how many of its places lie in the padding.
func (c *call) pooled(f func(i int, values []float64, index []int, padded int)) (d []int, x *onnx.Tensor, err error) {
	x, xv, in, err := c.image(0)
	if err != nil {
		return nil, nil, err
	}
	window, err := dims.Pool(c.node, in)
	if err != nil {
		return nil, nil, err
	}
	d = append([]int{x.Dims[0], x.Dims[1]}, window.Output...)
	if _, err := dims.Count(d); err != nil {
		return nil, nil, err
	}
	xs := dims.Strides(x.Dims)
	each(d, func(i int, at []int) {
		var values []float64
		var index []int
		padded := 0
		each(window.Kernel, func(_ int, k []int) {
			xi, inside, inPadding := at[0]*xs[0]+at[1]*xs[1], true, true
			for a := range k {
				p := at[a+2]*window.Strides[a] + k[a]*window.Dilations[a] - window.Begin[a]
				inside = inside && p >= 0 && p < in[a]
				inPadding = inPadding && p < in[a]+window.End[a]
				xi += p * xs[a+2]
			}
			switch {
			case inside:
				values, index = append(values, xv[xi]), append(index, xi)
			case inPadding: // what hangs over the padding's end does not count
				padded++
			}
		})
		f(i, values, index, padded)
	})
	return d, x, nil
}

func maxPool(c *call) ([]*onnx.Tensor, error) {
	var out []float64
	var where []int64
	rowMajor := c.node.Int("storage_order", 0) == 0
	d, x, err := c.pooled(func(_ int, values []float64, index []int, _ int) {
		best, at := math.Inf(-1), 0
		for k, v := range values {
			if v > best {
				best, at = v, index[k]
			}
		}
		out, where = append(out, best), append(where, int64(at))
	})
	if err != nil {
		return nil, err
	}
	if !rowMajor { // spatial coordinates counted with the first fastest
		for i, v := range where {
			where[i] = columnMajor(int(v), x.Dims)
		}
	}
	y, err := floats(x.Type, d, out)
	if err != nil {
		return nil, err
	}
	return []*onnx.Tensor{y, tensor(d, where)}, nil
}

// columnMajor renumbers an element index within its image.
func columnMajor(i int, d []int) int64 {
	size := 1
	for _, n := range d[2:] {
		size *= n
	}
	plane, rest := i/size, i%size
	at, step := 0, size
	for a := len(d) - 1; a >= 2; a-- {
		step /= d[a]
		at += rest % d[a] * step
		rest /= d[a]
	}
	return int64(plane*size + at)
}

func averagePool(c *call) ([]*onnx.Tensor, error) {
	var out []float64
	all := c.node.Int("count_include_pad", 0) != 0
	d, x, err := c.pooled(func(_ int, values []float64, _ []int, padded int) {
		sum, n := 0.0, len(values)
		for _, v := range values {
			sum += v
		}
		if all {
			n += padded
		}
		out = append(out, sum/float64(n))
	})
	if err != nil {
		return nil, err
	}
	return one(floats(x.Type, d, out))
}

// globalPool reduces every channel's image to one value.
func globalPool(f func([]float64) float64) operator {
	return func(c *call) ([]*onnx.Tensor, error) {
		x, v, in, err := c.image(0)
		if err != nil {
			return nil, err
		}
		size := 1
		for _, n := range in {
			size *= n
		}
		d := append(dims.Clone(x.Dims[:2]), make([]int, len(in))...)
		for i := range in {
			d[i+2] = 1
		}
		out := make([]float64, x.Dims[0]*x.Dims[1])
		for i := range out {
			out[i] = f(v[i*size : (i+1)*size])
		}
		return one(floats(x.Type, d, out))
	}
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

func largest(v []float64) float64 {
	m := math.Inf(-1)
	for _, x := range v {
		m = math.Max(m, x)
	}
	return m
}
