package nn

import (
	"fmt"

	"trtact/internal/compute"
	"trtact/internal/onnx"
)

// lowerConv takes the activation that follows into the operator, and, when both
// operands come from Q/DQ pairs, computes on the integers.
func lowerConv(b *builder, n *onnx.Node) error {
	x, w := b.values[n.Inputs[0]], b.values[n.Inputs[1]]
	rank := len(x.info.Dims)
	if rank < 3 || rank > 5 || len(w.info.Dims) != rank || !fitsDevice(w.info.Dims) {
		return errUseHost
	}
	transposed := n.Op == "ConvTranspose"
	out := b.g.Info[n.Outputs[0]].Dims
	params := compute.Conv{Window: b.window(n, w.info.Dims[2:], x.info.Dims, out), Transposed: transposed,
		Groups: int(n.Int("group", 1))}
	if transposed {
		// oneDNN wants the padding at the end that makes the output's size exact.
		for i := range params.Kernel {
			reach := (x.info.Dims[2+i]-1)*params.Stride[i] + (params.Kernel[i]-1)*params.Dilation[i] + 1
			begin, end := transposedPads(n, i, len(params.Kernel), reach, out[2+i])
			if begin < 0 || end <= -params.Stride[i] {
				return errUseHost
			}
			// What output_padding adds beyond the window's reach is no padding for
			// oneDNN: it follows from the output's size.
			params.PadBegin[i], params.PadEnd[i] = begin, max(0, end)
		}
	}
	source, weights, bias, scale, err := b.operands(n, outputChannelAxis(transposed, params.Groups), out[1])
	if err != nil {
		return err
	}
	params.HasBias, params.HasScale = bias != nil, scale != nil
	params.Integers = scale != nil

	var result string
	params.Act, result = b.fuseActivation(n.Outputs[0])
	params.Quantize, result = b.fuseQuantize(result)

	layout := compute.Plain
	if !transposed || params.Groups == 1 {
		layout = compute.Blocked
	}
	inLayout := layout
	if x.info.Dims[1] <= 4 && params.Groups == 1 {
		inLayout = compute.Plain // the first convolution of a network reads pixels
	}
	src, err := b.in(source, inLayout)
	if err != nil {
		return err
	}
	in := []*tensor{src, weights}
	if bias != nil || scale != nil {
		if bias == nil {
			bias = b.constantTensor([]int{out[1]}, compute.Plain, make([]float32, out[1]))
			params.HasBias = true
		}
		in = append(in, bias)
	}
	if scale != nil {
		in = append(in, scale)
	}
	dst := b.resultOf(result, out, layout)
	return b.emit(params, in, dst)
}

// outputChannelAxis is the axis of the weights that per-channel scales must lie
// on, or -1 where the layout has none (a grouped transposed convolution).
func outputChannelAxis(transposed bool, groups int) int {
	switch {
	case !transposed:
		return 0
	case groups == 1:
		return 1
	}
	return -1
}

// operands gives the inputs of a weighted node: integers and the product of
// scales when both operands are quantised (source is then the tensor of
// integers), else floats.
func (b *builder) operands(n *onnx.Node, axis, channels int) (source string, weights, bias, scale *tensor, err error) {
	source = n.Inputs[0]
	x, w := b.values[n.Inputs[0]], b.values[n.Inputs[1]]
	if name := n.Input(2); name != "" {
		if bias, err = b.in(name, compute.Plain); err != nil {
			return
		}
	}
	if x.quantized != nil && x.quantized.q != nil && len(x.quantized.scales) == 1 &&
		w.quantized != nil && (w.quantized.integers != nil || b.training != nil) &&
		(len(w.quantized.scales) == 1 || w.quantized.axis == axis && len(w.quantized.scales) == channels) {
		if b.training != nil {
			source = x.quantized.q.name
			weights, scale, err = b.trainedProduct(x, w, channels)
			return
		}
		product := make([]float32, channels)
		for i := range product {
			product[i] = x.quantized.scales[0] * w.quantized.scales[i%len(w.quantized.scales)]
		}
		source = x.quantized.q.name
		weights = b.constantTensor(w.info.Dims, compute.Plain, w.quantized.integers)
		scale = b.constantTensor([]int{channels}, compute.Plain, product)
		return
	}
	weights, err = b.in(n.Inputs[1], compute.Plain)
	return
}

// resultOf makes the device tensor of a fused operator's result: of the named
// tensor, or of the integers behind it.
func (b *builder) resultOf(name string, dims []int, layout compute.Layout) *tensor {
	t := b.newTensor(dims, layout)
	v := &value{name: name, info: b.g.Info[name]}
	v.info.Dims = dims
	b.setTensor(v, t)
	b.values[name] = v
	return t
}

// window reads a node's kernel, strides, dilations and pads.
func (b *builder) window(n *onnx.Node, kernel, in, out []int) compute.Window {
	k := len(kernel)
	w := compute.Window{Kernel: kernel, Stride: toInts(n.IntList("strides")), Dilation: toInts(n.IntList("dilations")),
		PadBegin: make([]int, k), PadEnd: make([]int, k)}
	if len(w.Stride) == 0 {
		w.Stride = ones(k)
	}
	if len(w.Dilation) == 0 {
		w.Dilation = ones(k)
	}
	pads := n.IntList("pads")
	mode := n.Str("auto_pad", "NOTSET")
	for i := range kernel {
		switch mode {
		case "SAME_UPPER", "SAME_LOWER":
			total := max(0, (out[2+i]-1)*w.Stride[i]+(kernel[i]-1)*w.Dilation[i]+1-in[2+i])
			w.PadBegin[i] = total / 2
			if mode == "SAME_LOWER" {
				w.PadBegin[i] = total - total/2
			}
			w.PadEnd[i] = total - w.PadBegin[i]
		case "VALID":
		default:
			if len(pads) == 2*k {
				w.PadBegin[i], w.PadEnd[i] = int(pads[i]), int(pads[k+i])
			}
		}
	}
	return w
}

// transposedPads is ONNX's ConvTranspose rule: reach is the size before
// cropping, out the size asked for.
func transposedPads(n *onnx.Node, i, k, reach, out int) (begin, end int) {
	total := reach - out // output_padding and output_shape are in out already
	pads := n.IntList("pads")
	switch mode := n.Str("auto_pad", "NOTSET"); {
	case n.Has("output_shape") || mode == "SAME_UPPER" || mode == "SAME_LOWER":
		if extra := int64At(n.IntList("output_padding"), i); extra > 0 {
			total += extra
		}
		begin = total / 2
		if mode != "SAME_UPPER" {
			begin = total - total/2
		}
		return begin, reach - out - begin
	case len(pads) == 2*k:
		begin = int(pads[i])
	}
	return begin, total - begin
}

func int64At(list []int64, i int) int {
	if i < len(list) {
		return int(list[i])
	}
	return 0
}

func ones(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = 1
	}
	return list
}

func lowerMatMul(b *builder, n *onnx.Node) error {
	ad, bd := b.dims(n.Inputs[0]), b.dims(n.Inputs[1])
	out := b.g.Info[n.Outputs[0]].Dims
	if len(ad) < 2 || len(bd) < 2 || product(out) == 0 || product(ad) == 0 {
		return errUseHost
	}
	source, weights, _, scale, err := b.operands(n, len(bd)-1, out[len(out)-1])
	if err != nil {
		return err
	}
	return b.matMul(n, compute.MatMul{}, source, weights, nil, scale)
}

// lowerGemm computes alpha A B + beta C when that is a product with a bias for
// each column; other forms go to the host.
func lowerGemm(b *builder, n *onnx.Node) error {
	out := b.g.Info[n.Outputs[0]].Dims
	bias := n.Input(2)
	if n.Float("alpha", 1) != 1 || product(out) == 0 {
		return errUseHost
	}
	if bias != "" {
		d := b.dims(bias)
		row := len(d) >= 1 && d[len(d)-1] == out[1] && product(d) == out[1]
		if !row || n.Float("beta", 1) != 1 {
			return errUseHost
		}
	}
	axis := 1
	if n.Int("transB", 0) != 0 {
		axis = 0
	}
	source, weights, offset, scale, err := b.operands(n, axis, out[1])
	if err != nil {
		return err
	}
	if offset != nil && len(offset.desc.Dims) != 1 {
		flat := &tensor{desc: compute.Tensor{Dims: []int{out[1]}}, alias: offset}
		offset = flat
	}
	params := compute.MatMul{TransposeA: n.Int("transA", 0) != 0, TransposeB: n.Int("transB", 0) != 0}
	return b.matMul(n, params, source, weights, offset, scale)
}

func (b *builder) matMul(n *onnx.Node, params compute.MatMul, source string, weights, bias, scale *tensor) error {
	a, err := b.in(source, compute.Plain)
	if err != nil {
		return err
	}
	out := b.g.Info[n.Outputs[0]].Dims
	columns := out[len(out)-1]
	var result string
	params.Act, result = b.fuseActivation(n.Outputs[0])
	params.HasBias, params.HasScale = bias != nil, scale != nil
	in := []*tensor{a, weights}
	if bias == nil && scale != nil {
		bias = b.constantTensor([]int{columns}, compute.Plain, make([]float32, columns))
		params.HasBias = true
	}
	if bias != nil {
		in = append(in, bias)
	}
	if scale != nil {
		in = append(in, scale)
	}
	dst := b.resultOf(result, out, compute.Plain)
	if err := b.emit(params, in, dst); err != nil {
		return fmt.Errorf("matrix product of %v and %v: %w", a.desc.Dims, weights.desc.Dims, err)
	}
	return nil
}
