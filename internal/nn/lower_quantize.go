package nn

import (
	"fmt"
	"math"

	"trtact/internal/compute"
	"trtact/internal/onnx"
)

// A Q/DQ pair is not computed as it stands. Q gives integers (kept as floats);
// DQ only remembers that its result is integers times scale. A convolution asks
// for the integers; whoever asks for the result gets the product.

// lowerQuantize handles symmetric INT8: constant positive scales, zero points
// absent or zero. Other forms go to the host.
func lowerQuantize(b *builder, n *onnx.Node) error {
	x := b.values[n.Inputs[0]]
	scales, axis, ok := b.symmetric(n)
	if !ok || x.info.Type != onnx.Float || !fitsDevice(x.info.Dims) {
		return errUseHost
	}
	q := &value{name: n.Outputs[0], info: b.g.Info[n.Outputs[0]]}
	if x.constant != nil {
		q.constant = onnx.NewTensor(x.constant.Dims, quantizeConstant(x.constant, scales, axis))
		b.values[q.name] = q
		return nil
	}
	if b.training != nil {
		return b.trainQuantize(n)
	}
	layout := compute.Plain
	if len(scales) == 1 && b.isBlocked(x.name) {
		layout = compute.Blocked
	}
	src, err := b.in(x.name, layout)
	if err != nil {
		return err
	}
	dst := b.newTensor(x.info.Dims, layout)
	b.setTensor(q, dst)
	b.values[q.name] = q
	params := compute.Quantize{Axis: -1, Low: -128, High: 127}
	if len(scales) > 1 {
		params.Axis = axis
	}
	return b.emit(params, []*tensor{src, b.constantTensor([]int{len(scales)}, compute.Plain, scales)}, dst)
}

// symmetric reads the scales of a Q or DQ node; ok is false when the zero point
// or the types are not those of symmetric INT8.
func (b *builder) symmetric(n *onnx.Node) (scales []float32, axis int, ok bool) {
	scales = b.floats(n.Inputs[1])
	if len(scales) == 0 || n.Int("block_size", 0) != 0 {
		return nil, 0, false
	}
	if n.Op == "QuantizeLinear" && b.g.Info[n.Outputs[0]].Type != onnx.Int8 {
		return nil, 0, false
	}
	if zp := n.Input(2); zp != "" {
		zeros := b.ints(zp)
		if len(zeros) != len(scales) {
			return nil, 0, false
		}
		for _, z := range zeros {
			if z != 0 {
				return nil, 0, false
			}
		}
	}
	for _, s := range scales {
		if !(s > 0) || math.IsInf(float64(s), 0) {
			return nil, 0, false
		}
	}
	if len(scales) == 1 {
		return scales, 0, true
	}
	dims := b.g.Info[n.Inputs[0]].Dims
	axis, ok = axisOf(n.Int("axis", 1), len(dims))
	return scales, axis, ok && dims[axis] == len(scales)
}

func quantizeConstant(t *onnx.Tensor, scales []float32, axis int) []int8 {
	x := t.Floats()
	q := make([]int8, len(x))
	inner := 1
	if len(scales) > 1 {
		inner = product(t.Dims[axis+1:])
	}
	for i, v := range x {
		s := scales[i/inner%len(scales)]
		// The quotient is rounded to single precision first, as ONNX's is.
		r := math.RoundToEven(float64(v / s))
		q[i] = int8(math.Min(math.Max(r, -128), 127))
	}
	return q
}

func lowerDequantize(b *builder, n *onnx.Node) error {
	x := b.values[n.Inputs[0]]
	scales, axis, ok := b.symmetric(n)
	if !ok || x.info.Type != onnx.Int8 || !fitsDevice(x.info.Dims) {
		return errUseHost
	}
	v := &value{name: n.Outputs[0], info: b.g.Info[n.Outputs[0]]}
	switch {
	case x.constant != nil:
		ints, err := x.constant.Ints()
		if err != nil {
			return err
		}
		list := make([]float32, len(ints))
		for i, k := range ints {
			list[i] = float32(k)
		}
		v.quantized = &quantized{integers: list, scales: scales, axis: axis}
	case x.onHost:
		return errUseHost
	case b.training != nil && x.scale == nil:
		return fmt.Errorf("integers that are moved before this node cannot be trained through")
	default:
		v.quantized = &quantized{q: x, scales: scales, axis: axis, scale: x.scale}
	}
	b.values[v.name] = v
	return nil
}

// dequantize multiplies out a value that was so far integers and scale.
func (b *builder) dequantize(v *value) error {
	q := v.quantized
	if q.q == nil {
		data := make([]float32, len(q.integers))
		inner := 1
		if len(q.scales) > 1 {
			inner = product(v.info.Dims[q.axis+1:])
		}
		for i, k := range q.integers {
			data[i] = k * q.scales[i/inner%len(q.scales)]
		}
		v.plain = b.constantTensor(v.info.Dims, compute.Plain, data)
		return nil
	}
	layout := compute.Plain
	if len(q.scales) == 1 && q.q.blocked != nil {
		layout = compute.Blocked
	}
	src, err := b.in(q.q.name, layout)
	if err != nil {
		return err
	}
	params := compute.Dequantize{Axis: -1}
	if len(q.scales) > 1 {
		params.Axis = q.axis
	}
	scale := q.scale
	if scale == nil {
		scale = b.constantTensor([]int{len(q.scales)}, compute.Plain, q.scales)
	}
	dst := b.newTensor(v.info.Dims, layout)
	if err := b.emit(params, []*tensor{src, scale}, dst); err != nil {
		return err
	}
	b.setTensor(v, dst)
	return nil
}

// fuseQuantize takes over a QuantizeLinear that is the only reader of name. It
// returns its scale and the name of the integers, or 0 and name.
func (b *builder) fuseQuantize(name string) (float32, string) {
	n := b.only(name)
	if n == nil || b.training != nil || n.Op != "QuantizeLinear" || n.Inputs[0] != name {
		return 0, name
	}
	scales, _, ok := b.symmetric(n)
	if !ok || len(scales) != 1 {
		return 0, name
	}
	b.done[n] = true
	return scales[0], n.Outputs[0]
}
