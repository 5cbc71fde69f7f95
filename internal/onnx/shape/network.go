package shape

// Rules of the operators with weights, of pooling and of quantisation.

import (
	"fmt"
	"strings"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// weights checks the ranks of a convolution's input and weights and gives the
// spatial sizes of both.
func (c *call) weights() (in, kernel []int, err error) {
	x, w := c.in[0].Dims, c.in[1].Dims
	if len(x) < 3 || len(w) != len(x) {
		return nil, nil, fmt.Errorf("input and weights need one rank of at least 3")
	}
	kernel = w[2:]
	if !dims.Static(kernel) {
		return nil, nil, fmt.Errorf("the weights' shape %v is not static", w)
	}
	return x[2:], kernel, nil
}

func conv(c *call) ([]result, error) {
	x, w := c.in[0].Dims, c.in[1].Dims
	in, kernel, err := c.weights()
	if err != nil {
		return nil, err
	}
	group := int(c.n.Int("group", 1))
	if group < 1 || (x[1] >= 0 && w[1]*group != x[1]) || w[0]%group != 0 {
		return nil, fmt.Errorf("weights %v in %d groups do not fit %d input channels", w, group, x[1])
	}
	if err := c.bias(w[0]); err != nil {
		return nil, err
	}
	window, err := dims.Conv(c.n, in, kernel)
	if err != nil {
		return nil, err
	}
	return one(c.in[0].Type, append([]int{x[0], w[0]}, window.Output...), nil)
}

func convTranspose(c *call) ([]result, error) {
	x, w := c.in[0].Dims, c.in[1].Dims
	in, kernel, err := c.weights()
	if err != nil {
		return nil, err
	}
	group := int(c.n.Int("group", 1))
	if group < 1 || (x[1] >= 0 && (w[0] != x[1] || x[1]%group != 0)) {
		return nil, fmt.Errorf("weights %v in %d groups do not fit %d input channels", w, group, x[1])
	}
	if err := c.bias(w[1] * group); err != nil {
		return nil, err
	}
	window, err := dims.ConvTranspose(c.n, in, kernel)
	if err != nil {
		return nil, err
	}
	return one(c.in[0].Type, append([]int{x[0], w[1] * group}, window.Output...), nil)
}

// bias checks input 2 against the number of output channels.
func (c *call) bias(channels int) error {
	if len(c.in) > 2 && c.in[2].Name != "" {
		if b := c.in[2].Dims; len(b) != 1 || (b[0] >= 0 && b[0] != channels) {
			return fmt.Errorf("the bias has shape %v, %d channels come out", b, channels)
		}
	}
	return nil
}

func gemm(c *call) ([]result, error) {
	a, b := c.in[0].Dims, c.in[1].Dims
	if len(a) != 2 || len(b) != 2 {
		return nil, fmt.Errorf("both operands need rank 2")
	}
	if c.n.Int("transA", 0) != 0 {
		a = []int{a[1], a[0]}
	}
	if c.n.Int("transB", 0) != 0 {
		b = []int{b[1], b[0]}
	}
	if a[1] >= 0 && b[0] >= 0 && a[1] != b[0] {
		return nil, fmt.Errorf("%d columns against %d rows", a[1], b[0])
	}
	d := []int{a[0], b[1]}
	if len(c.in) > 2 && c.in[2].Name != "" {
		out, err := dims.Broadcast(d, c.in[2].Dims)
		if err != nil || len(out) != 2 || (dims.Static(d) && !dims.Equal(out, d)) {
			return nil, fmt.Errorf("summand %v does not broadcast to the product's %v", c.in[2].Dims, d)
		}
	}
	return one(c.in[0].Type, d, nil)
}

func matMul(c *call) ([]result, error) {
	d, err := dims.MatMul(c.in[0].Dims, c.in[1].Dims)
	return one(c.in[0].Type, d, err)
}

func pool(c *call) ([]result, error) {
	x := c.in[0].Dims
	if len(x) < 3 {
		return nil, fmt.Errorf("the input needs at least rank 3")
	}
	window, err := dims.Pool(c.n, x[2:])
	if err != nil {
		return nil, err
	}
	d := append([]int{x[0], x[1]}, window.Output...)
	return []result{{c.in[0].Type, d}, {onnx.Int64, d}}, nil
}

func globalPool(c *call) ([]result, error) {
	x := c.in[0].Dims
	if len(x) < 3 {
		return nil, fmt.Errorf("the input needs at least rank 3")
	}
	d := dims.Clone(x)
	for i := 2; i < len(d); i++ {
		d[i] = 1
	}
	return one(c.in[0].Type, d, nil)
}

// normalise serves the normalisations whose parameters are vectors over the
// channels.
func normalise(c *call) ([]result, error) {
	x := c.in[0].Dims
	if len(x) < 2 {
		return nil, fmt.Errorf("the input needs at least rank 2")
	}
	for _, v := range c.in[1:] {
		if len(v.Dims) != 1 || (v.Dims[0] >= 0 && x[1] >= 0 && v.Dims[0] != x[1]) {
			return nil, fmt.Errorf("parameter %q has shape %v, there are %d channels", v.Name, v.Dims, x[1])
		}
	}
	// The running statistics are outputs in training mode only.
	out := []result{{c.in[0].Type, x}}
	for range 4 {
		out = append(out, result{c.in[1].Type, []int{x[1]}})
	}
	return out, nil
}

func layerNormalization(c *call) ([]result, error) {
	in := c.in[0]
	axis, err := dims.Axis(c.n.Int("axis", -1), len(in.Dims))
	if err != nil {
		return nil, err
	}
	stat := dims.Clone(in.Dims)
	for i := axis; i < len(stat); i++ {
		stat[i] = 1
	}
	return []result{{in.Type, in.Dims}, {onnx.Float, stat}, {onnx.Float, stat}}, nil
}

func quantize(c *call) ([]result, error) {
	t := onnx.Uint8
	if len(c.in) > 2 && c.in[2].Name != "" {
		t = c.in[2].Type
	} else if d := c.n.Int("output_dtype", 0); d != 0 {
		t = onnx.DType(d)
	}
	return one(t, c.in[0].Dims, c.scale())
}

func dequantize(c *call) ([]result, error) {
	return one(c.in[1].Type, c.in[0].Dims, c.scale())
}

// scale checks that a vector of scales has one for each slice along the axis.
func (c *call) scale() error {
	s := c.in[1].Dims
	if len(s) != 1 || s[0] == 1 || c.n.Int("block_size", 0) != 0 {
		return nil
	}
	axis, err := dims.Axis(c.n.Int("axis", 1), len(c.in[0].Dims))
	if err != nil {
		return err
	}
	if n := c.in[0].Dims[axis]; n >= 0 && s[0] >= 0 && n != s[0] {
		return fmt.Errorf("%d scales for %d slices on axis %d", s[0], n, axis)
	}
	return nil
}

// einsum handles equations of single letters; with an ellipsis the result is
// left open.
func einsum(c *call) ([]result, error) {
	if strings.Contains(c.n.Str("equation", ""), ".") {
		return one(c.in[0].Type, nil, nil)
	}
	_, _, d, err := dims.Einsum(c.equation(), c.shapes())
	return one(c.in[0].Type, d, err)
}

// equation is an Einsum's, without blanks.
func (c *call) equation() string { return strings.ReplaceAll(c.n.Str("equation", ""), " ", "") }
