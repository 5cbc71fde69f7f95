package nn

import (
	"fmt"
	"math"

	"trtact/internal/compute"
	"trtact/internal/onnx"
)

func lowerUnary(b *builder, n *onnx.Node) error {
	act, ok := b.activationOf(n)
	if !ok {
		return errUseHost
	}
	src, err := b.any(n.Inputs[0])
	if err != nil {
		return err
	}
	if b.training != nil {
		if done, err := b.trainedUnary(n, act, src); done || err != nil {
			return err
		}
	}
	return b.emit(compute.Unary{Act: act}, []*tensor{src}, b.output(n.Outputs[0], src.desc.Layout))
}

var binaryKinds = map[string]compute.BinaryKind{
	"Add": compute.Add, "Sub": compute.Sub, "Mul": compute.Mul, "Div": compute.Div,
	"Pow": compute.Pow, "Min": compute.Min, "Max": compute.Max, "PRelu": compute.PRelu,
}

func lowerBinary(b *builder, n *onnx.Node) error {
	if len(n.Inputs) != 2 { // Min and Max of one or many
		return errUseHost
	}
	out := b.g.Info[n.Outputs[0]].Dims
	for _, name := range n.Inputs {
		if v := b.values[name]; v == nil || v.info.Type != onnx.Float || v.info.Dims == nil {
			return errUseHost
		}
		if d := b.dims(name); len(d) > len(out) { // a PRelu's slope
			return fmt.Errorf("input %q of shape %v does not broadcast to %v", name, d, out)
		}
	}
	kind := binaryKinds[n.Op]
	layout := compute.Plain
	if b.isBlocked(n.Inputs[0]) || b.isBlocked(n.Inputs[1]) {
		layout = compute.Blocked
		for _, name := range n.Inputs {
			if !b.fitsBlocked(name, out) {
				layout = compute.Plain
			}
		}
	}
	if x := b.squared(n, kind); x != "" {
		src, err := b.any(x)
		if err != nil {
			return err
		}
		return b.emit(compute.Binary{Kind: compute.Mul}, []*tensor{src, src}, b.output(n.Outputs[0], src.desc.Layout))
	}
	var in []*tensor
	for _, name := range n.Inputs {
		t, err := b.operand(name, out, layout)
		if err != nil {
			return err
		}
		in = append(in, t)
	}
	return b.emit(compute.Binary{Kind: kind}, in, b.output(n.Outputs[0], layout))
}

// squared is x when the node is x^2, which is a product.
func (b *builder) squared(n *onnx.Node, kind compute.BinaryKind) string {
	if kind == compute.Pow && equalDims(b.dims(n.Inputs[0]), b.g.Info[n.Outputs[0]].Dims) {
		if e := b.floats(n.Inputs[1]); len(e) == 1 && e[0] == 2 {
			return n.Inputs[0]
		}
	}
	return ""
}

// fitsBlocked reports whether an operand can take part in a blocked operation
// with that result: of full size, one value per channel, or one value.
func (b *builder) fitsBlocked(name string, out []int) bool {
	v := b.values[name]
	d := v.info.Dims
	if product(d) == 1 || equalDims(d, out) {
		return true
	}
	if v.constant != nil {
		return channelVector(d, out)
	}
	return len(d) == len(out) && d[0] == out[0] && d[1] == out[1] && product(d[2:]) == 1
}

// channelVector reports whether dims broadcast to out as one value per channel.
func channelVector(dims, out []int) bool {
	at := len(dims) - (len(out) - 1) // index of the channel dimension in dims
	return at >= 0 && at < len(dims) && dims[at] == out[1] && product(dims) == out[1]
}

// operand is an input of a binary operation in a layout. A constant is brought
// into the shape that the operation wants.
func (b *builder) operand(name string, out []int, layout compute.Layout) (*tensor, error) {
	v := b.values[name]
	switch {
	case layout == compute.Plain:
		return b.in(name, compute.Plain)
	case product(v.info.Dims) == 1 && !equalDims(v.info.Dims, out):
		return b.in(name, compute.Plain)
	case v.constant != nil && !equalDims(v.info.Dims, out):
		dims := ones(len(out))
		dims[0], dims[1] = out[0], out[1]
		data := make([]float32, 0, out[0]*out[1])
		for range out[0] {
			data = append(data, v.constant.Floats()...)
		}
		return b.constantTensor(dims, compute.Blocked, data), nil
	}
	return b.in(name, compute.Blocked)
}

// lowerBatchNorm is a multiplication and an addition per channel.
func lowerBatchNorm(b *builder, n *onnx.Node) error {
	var p [4][]float32
	for i := range p {
		if p[i] = b.floats(n.Inputs[i+1]); p[i] == nil {
			return errUseHost
		}
	}
	dims := b.dims(n.Inputs[0])
	gamma, beta, mean, variance := p[0], p[1], p[2], p[3]
	if len(dims) < 2 || len(n.Outputs) > 1 && n.Outputs[1] != "" || n.Int("training_mode", 0) != 0 ||
		len(gamma) != dims[1] || len(beta) != dims[1] || len(mean) != dims[1] || len(variance) != dims[1] {
		return errUseHost
	}
	scale, shift := make([]float32, len(gamma)), make([]float32, len(gamma))
	for i := range gamma {
		s := float64(gamma[i]) / math.Sqrt(float64(variance[i])+float64(n.Float("epsilon", 1e-5)))
		scale[i] = float32(s)
		shift[i] = float32(float64(beta[i]) - float64(mean[i])*s)
	}
	src, err := b.any(n.Inputs[0])
	if err != nil {
		return err
	}
	act, result := b.fuseActivation(n.Outputs[0])
	vector := []int{len(gamma)}
	return b.emit(compute.Affine{Act: act}, []*tensor{src, b.constantTensor(vector, compute.Plain, scale),
		b.constantTensor(vector, compute.Plain, shift)}, b.output(result, src.desc.Layout))
}
