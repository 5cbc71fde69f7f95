package nn

import (
	"slices"

	"trtact/internal/compute"
	"trtact/internal/onnx"
)

func lowerPool(b *builder, n *onnx.Node) error {
	in, out := b.dims(n.Inputs[0]), b.g.Info[n.Outputs[0]].Dims
	if len(in) < 3 || len(in) > 5 || len(n.Outputs) > 1 && n.Outputs[1] != "" || product(out) == 0 {
		return errUseHost // the indices of the maxima are not computed here
	}
	params := compute.Pool{Kind: compute.PoolMax}
	params.Window = b.window(n, toInts(n.IntList("kernel_shape")), in, out)
	for i, k := range params.Kernel {
		reach := (k-1)*params.Dilation[i] + 1
		end := (out[2+i]-1)*params.Stride[i] + reach - in[2+i] - params.PadBegin[i]
		// Padding as wide as the window, or an average over the part that
		// ceil_mode adds, is beyond oneDNN.
		if params.PadBegin[i] >= reach || end >= reach {
			return errUseHost
		}
		if n.Op == "AveragePool" && n.Int("count_include_pad", 0) != 0 && end > params.PadEnd[i] {
			return errUseHost
		}
	}
	if n.Op == "AveragePool" {
		params.Kind = compute.PoolAverage
		if n.Int("count_include_pad", 0) != 0 {
			params.Kind = compute.PoolAverageWithPadding
		}
	}
	layout := b.layoutFor(in)
	src, err := b.in(n.Inputs[0], layout)
	if err != nil {
		return err
	}
	return b.emit(params, []*tensor{src}, b.output(n.Outputs[0], layout))
}

func lowerGlobalPool(b *builder, n *onnx.Node) error {
	kind := compute.ReduceMean
	if n.Op == "GlobalMaxPool" {
		kind = compute.ReduceMax
	}
	return b.globalPool(n, kind)
}

func (b *builder) globalPool(n *onnx.Node, kind compute.ReduceKind) error {
	src, err := b.any(n.Inputs[0])
	if err != nil {
		return err
	}
	return b.emit(compute.GlobalPool{Kind: kind}, []*tensor{src}, b.output(n.Outputs[0], src.desc.Layout))
}

var reduceKinds = map[string]compute.ReduceKind{
	"ReduceMean": compute.ReduceMean, "ReduceSum": compute.ReduceSum, "ReduceMax": compute.ReduceMax,
	"ReduceMin": compute.ReduceMin, "ReduceProd": compute.ReduceProd, "ReduceL2": compute.ReduceL2,
}

// lowerReduce handles axes that lie side by side; others go to the host.
func lowerReduce(b *builder, n *onnx.Node) error {
	dims := b.dims(n.Inputs[0])
	axes := n.IntList("axes")
	if name := n.Input(1); name != "" {
		if axes = b.ints(name); axes == nil {
			return errUseHost
		}
	}
	if len(axes) == 0 && n.Int("noop_with_empty_axes", 0) != 0 || product(dims) == 0 {
		return errUseHost
	}
	var list []int
	for _, a := range axes {
		axis, ok := axisOf(a, len(dims))
		if !ok {
			return errUseHost
		}
		list = append(list, axis)
	}
	if len(axes) == 0 {
		for i := range dims {
			list = append(list, i)
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	for i := 1; i < len(list); i++ {
		if list[i] != list[i-1]+1 {
			return errUseHost
		}
	}
	kind := reduceKinds[n.Op]
	if n.Op == "ReduceMean" && len(dims) >= 3 && len(list) == len(dims)-2 && list[0] == 2 && n.Int("keepdims", 1) != 0 {
		return b.globalPool(n, kind)
	}
	params := compute.Reduce{Kind: kind, Outer: 1, Axis: 1, Inner: 1}
	if len(list) > 0 {
		first, last := list[0], list[len(list)-1]
		params = compute.Reduce{Kind: kind, Outer: product(dims[:first]), Axis: product(dims[first : last+1]), Inner: product(dims[last+1:])}
	}
	src, err := b.in(n.Inputs[0], compute.Plain)
	if err != nil {
		return err
	}
	return b.emit(params, []*tensor{src}, b.output(n.Outputs[0], compute.Plain))
}

// lowerSoftmax: before opset 13 the tensor was seen as a matrix, flattened
// around the axis.
func lowerSoftmax(b *builder, n *onnx.Node) error {
	dims := b.dims(n.Inputs[0])
	def := int64(-1)
	if b.opset < 13 {
		def = 1
	}
	axis, ok := axisOf(n.Int("axis", def), len(dims))
	if !ok {
		return errUseHost
	}
	src, err := b.in(n.Inputs[0], compute.Plain)
	if err != nil {
		return err
	}
	dst := b.output(n.Outputs[0], compute.Plain)
	params := compute.Softmax{Axis: axis, Log: n.Op == "LogSoftmax"}
	if b.opset < 13 {
		flat := compute.Tensor{Dims: []int{product(dims[:axis]), product(dims[axis:])}}
		src = &tensor{desc: flat, alias: src}
		dst = &tensor{desc: flat, alias: dst}
		params.Axis = 1
	}
	return b.emit(params, []*tensor{src}, dst)
}
