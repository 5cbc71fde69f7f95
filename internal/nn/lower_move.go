package nn

import (
	"slices"

	"trtact/internal/compute"
	"trtact/internal/onnx"
)

// Operators that only move data. On row-major tensors they are strided copies;
// along the channel axis of blocked tensors, moves of channels.

func lowerReshape(b *builder, n *onnx.Node) error {
	if n.Op == "Dropout" && (len(n.Outputs) > 1 && n.Outputs[1] != "" || n.Input(2) != "") {
		return errUseHost // the mask is asked for, or training mode may be
	}
	v := b.values[n.Inputs[0]]
	out := b.g.Info[n.Outputs[0]].Dims
	if n.Op == "Identity" || n.Op == "Dropout" || equalDims(v.info.Dims, out) {
		if v.onHost {
			return errUseHost
		}
		same := *v
		b.values[n.Outputs[0]] = &same
		return nil
	}
	src, err := b.in(n.Inputs[0], compute.Plain)
	if err != nil {
		return err
	}
	b.alias(n.Outputs[0], src)
	return nil
}

func lowerTranspose(b *builder, n *onnx.Node) error {
	dims := b.dims(n.Inputs[0])
	perm := toInts(n.IntList("perm"))
	if len(perm) == 0 {
		for i := range dims {
			perm = append(perm, len(dims)-1-i)
		}
	}
	if product(dims) == 0 {
		return errUseHost
	}
	src, err := b.in(n.Inputs[0], compute.Plain)
	if err != nil {
		return err
	}
	from := rowMajor(dims)
	part := compute.CopyPart{}
	for _, p := range perm {
		part.Dims = append(part.Dims, dims[p])
		part.InStride = append(part.InStride, from[p])
	}
	part.OutStride = rowMajor(part.Dims)
	return b.emit(compute.Copy{Parts: []compute.CopyPart{part}}, []*tensor{src}, b.output(n.Outputs[0], compute.Plain))
}

func lowerConcat(b *builder, n *onnx.Node) error {
	out := b.g.Info[n.Outputs[0]].Dims
	axis, ok := axisOf(n.Int("axis", 1), len(out))
	if !ok || slices.Contains(n.Inputs, "") {
		return errUseHost
	}
	blocked := axis == 1 && len(out) >= 3 && len(out) <= 5 &&
		slices.ContainsFunc(n.Inputs, b.isBlocked)
	layout := compute.Plain
	if blocked {
		layout = compute.Blocked
	}
	var parts []piece
	at := 0
	for _, name := range n.Inputs {
		d := b.dims(name)
		if product(d) == 0 {
			continue
		}
		t, err := b.in(name, layout)
		if err != nil {
			return err
		}
		parts = append(parts, piece{t, d, at})
		at += d[axis]
	}
	dst := b.output(n.Outputs[0], layout)
	if parts = b.placeParts(dst, parts, axis); len(parts) == 0 {
		return nil
	}
	var in []*tensor
	var channels compute.Channels
	var plain compute.Copy
	to := rowMajor(out)
	for i, p := range parts {
		in = append(in, p.t)
		channels.Runs = append(channels.Runs, compute.ChannelRun{Input: i, To: p.at, Count: p.dims[axis]})
		plain.Parts = append(plain.Parts, compute.CopyPart{Input: i, Dims: p.dims, InStride: rowMajor(p.dims),
			OutOffset: p.at * to[axis], OutStride: to})
	}
	if blocked {
		return b.emit(channels, in, dst)
	}
	return b.emit(plain, in, dst)
}

// piece is an input of a concatenation: at is where it begins on the axis.
type piece struct {
	t    *tensor
	dims []int
	at   int
}

// placeParts lets those parts be computed where they belong in the output that are one
// piece of memory there, and gives the others, which have to be copied. Several parts may
// be views of one tensor that goes there as a whole.
func (b *builder) placeParts(dst *tensor, parts []piece, axis int) (rest []piece) {
	if b.training != nil || product(dst.desc.Dims[:axis]) != 1 {
		return parts
	}
	stride, block := 4*product(dst.desc.Dims[axis+1:]), 1 // in bytes
	if dst.desc.Layout == compute.Blocked {
		block = b.device.Block()
	}
	for len(parts) > 0 {
		root, bytes, n := parts[0].t.root(), 0, 0
		for n < len(parts) && parts[n].t.root() == root && parts[n].t.shifted() == bytes && parts[n].dims[axis]%block == 0 {
			bytes += stride * parts[n].dims[axis]
			n++
		}
		shift := stride * parts[0].at
		fits := n > 0 && bytes == root.desc.Bytes(b.device.Block()) && parts[0].at%block == 0 && shift == align(shift)
		if fits && root != dst && root.constant == nil && root.home == inArena && root.first >= 0 {
			root.alias, root.shift = dst, shift
			dst.first, dst.last = min(dst.first, root.first), max(dst.last, root.last)
		} else {
			n = 1
			rest = append(rest, parts[0])
		}
		parts = parts[n:]
	}
	return rest
}

func lowerSplit(b *builder, n *onnx.Node) error {
	dims := b.dims(n.Inputs[0])
	axis, ok := axisOf(n.Int("axis", 0), len(dims))
	if !ok || product(dims) == 0 {
		return errUseHost
	}
	at := 0
	for _, name := range n.Outputs {
		if name == "" {
			return errUseHost
		}
	}
	for _, name := range n.Outputs {
		count := b.g.Info[name].Dims[axis]
		if err := b.slice(n.Inputs[0], name, axis, at, 1); err != nil {
			return err
		}
		at += count
	}
	return nil
}

// slice takes every step-th index from start of one axis, as many as the output
// has.
func (b *builder) slice(input, output string, axis, start, step int) error {
	dims, out := b.dims(input), b.g.Info[output].Dims
	if axis == 1 && step == 1 && b.isBlocked(input) && len(dims) >= 3 {
		src, err := b.in(input, compute.Blocked)
		if err != nil {
			return err
		}
		block := b.device.Block()
		at := 4 * start * product(dims[2:])
		if b.training == nil && dims[0] == 1 && start%block == 0 && out[1]%block == 0 && at == align(at) {
			b.alias(output, src)
			b.values[output].blocked.shift = at
			return nil
		}
		run := compute.ChannelRun{From: start, Count: out[1]}
		return b.emit(compute.Channels{Runs: []compute.ChannelRun{run}}, []*tensor{src}, b.output(output, compute.Blocked))
	}
	src, err := b.in(input, compute.Plain)
	if err != nil {
		return err
	}
	from := rowMajor(dims)
	part := compute.CopyPart{Dims: out, InOffset: start * from[axis], InStride: slices.Clone(from), OutStride: rowMajor(out)}
	part.InStride[axis] *= step
	return b.emit(compute.Copy{Parts: []compute.CopyPart{part}}, []*tensor{src}, b.output(output, compute.Plain))
}

func lowerSlice(b *builder, n *onnx.Node) error {
	dims := b.dims(n.Inputs[0])
	out := b.g.Info[n.Outputs[0]].Dims
	starts, axes, steps := n.IntList("starts"), n.IntList("axes"), []int64(nil)
	if len(n.Inputs) > 1 { // the ends are in the output's shape
		starts, axes, steps = b.ints(n.Input(1)), b.ints(n.Input(3)), b.ints(n.Input(4))
		if starts == nil || b.ints(n.Input(2)) == nil || n.Input(3) != "" && axes == nil || n.Input(4) != "" && steps == nil {
			return errUseHost
		}
	}
	if product(out) == 0 {
		return errUseHost
	}
	from := rowMajor(dims)
	part := compute.CopyPart{Dims: out, InStride: slices.Clone(from), OutStride: rowMajor(out)}
	cut := 0
	axis, start, step := 0, 0, 1
	for i, s := range starts {
		a, ok := i, true
		if axes != nil {
			a, ok = axisOf(axes[i], len(dims))
		}
		if !ok {
			return errUseHost
		}
		axis, step = a, 1
		if steps != nil {
			step = int(steps[i])
		}
		size := int64(dims[a])
		if s < 0 {
			s += size
		}
		if step > 0 {
			s = min(max(s, 0), size)
		} else {
			s = min(max(s, 0), size-1)
		}
		start = int(s)
		part.InOffset += start * from[a]
		part.InStride[a] *= step
		cut++
	}
	if cut == 1 && step > 0 {
		return b.slice(n.Inputs[0], n.Outputs[0], axis, start, step)
	}
	src, err := b.in(n.Inputs[0], compute.Plain)
	if err != nil {
		return err
	}
	return b.emit(compute.Copy{Parts: []compute.CopyPart{part}}, []*tensor{src}, b.output(n.Outputs[0], compute.Plain))
}

// lowerGather handles constant indices: a list of slices.
func lowerGather(b *builder, n *onnx.Node) error {
	dims, out := b.dims(n.Inputs[0]), b.g.Info[n.Outputs[0]].Dims
	axis, ok := axisOf(n.Int("axis", 0), len(dims))
	indices := b.ints(n.Inputs[1])
	if !ok || indices == nil || product(out) == 0 || len(indices) > 4096 {
		return errUseHost
	}
	var runs []compute.ChannelRun
	for i, k := range indices {
		from, ok := axisOf(k, dims[axis])
		if !ok {
			return errUseHost // the host reports it
		}
		if last := len(runs) - 1; last >= 0 && runs[last].From+runs[last].Count == from {
			runs[last].Count++
			continue
		}
		runs = append(runs, compute.ChannelRun{From: from, To: i, Count: 1})
	}
	if axis == 1 && b.isBlocked(n.Inputs[0]) && len(b.dims(n.Inputs[1])) == 1 && len(dims) >= 3 {
		src, err := b.in(n.Inputs[0], compute.Blocked)
		if err != nil {
			return err
		}
		return b.emit(compute.Channels{Runs: runs}, []*tensor{src}, b.output(n.Outputs[0], compute.Blocked))
	}
	src, err := b.in(n.Inputs[0], compute.Plain)
	if err != nil {
		return err
	}
	outer, inner := product(dims[:axis]), product(dims[axis+1:])
	var parts []compute.CopyPart
	for _, r := range runs {
		parts = append(parts, compute.CopyPart{Dims: []int{outer, r.Count * inner},
			InOffset: r.From * inner, InStride: []int{dims[axis] * inner, 1},
			OutOffset: r.To * inner, OutStride: []int{len(indices) * inner, 1}})
	}
	return b.emit(compute.Copy{Parts: parts}, []*tensor{src}, b.output(n.Outputs[0], compute.Plain))
}

func lowerExpand(b *builder, n *onnx.Node) error {
	dims, out := b.dims(n.Inputs[0]), b.g.Info[n.Outputs[0]].Dims
	if product(out) == 0 {
		return errUseHost
	}
	src, err := b.in(n.Inputs[0], compute.Plain)
	if err != nil {
		return err
	}
	from := rowMajor(dims)
	part := compute.CopyPart{Dims: out, InStride: make([]int, len(out)), OutStride: rowMajor(out)}
	for i, d := range dims {
		if d != 1 {
			part.InStride[len(out)-len(dims)+i] = from[i]
		}
	}
	return b.emit(compute.Copy{Parts: []compute.CopyPart{part}}, []*tensor{src}, b.output(n.Outputs[0], compute.Plain))
}

// lowerPad handles constant padding that only adds.
func lowerPad(b *builder, n *onnx.Node) error {
	dims, out := b.dims(n.Inputs[0]), b.g.Info[n.Outputs[0]].Dims
	pads, value := n.IntList("pads"), n.Float("value", 0)
	if len(n.Inputs) > 1 {
		pads = b.ints(n.Inputs[1])
		if name := n.Input(2); name != "" {
			v := b.floats(name)
			if len(v) != 1 {
				return errUseHost
			}
			value = v[0]
		}
	}
	if n.Str("mode", "constant") != "constant" || len(pads) != 2*len(dims) || n.Input(3) != "" || product(dims) == 0 {
		return errUseHost
	}
	to := rowMajor(out)
	part := compute.CopyPart{Dims: dims, InStride: rowMajor(dims), OutStride: to}
	for i := range dims {
		if pads[i] < 0 || pads[len(dims)+i] < 0 {
			return errUseHost
		}
		part.OutOffset += int(pads[i]) * to[i]
	}
	src, err := b.in(n.Inputs[0], compute.Plain)
	if err != nil {
		return err
	}
	return b.emit(compute.Copy{Parts: []compute.CopyPart{part}, Fill: true, Value: value}, []*tensor{src}, b.output(n.Outputs[0], compute.Plain))
}

// lowerDepthToSpace moves blocks between channels and space, both ways.
func lowerDepthToSpace(b *builder, n *onnx.Node) error {
	in := b.dims(n.Inputs[0])
	k := int(n.Int("blocksize", 1))
	mode := n.Str("mode", "DCR")
	if len(in) != 4 || k < 1 || mode != "DCR" && mode != "CRD" {
		return errUseHost
	}
	src, err := b.in(n.Inputs[0], compute.Plain)
	if err != nil {
		return err
	}
	// Both are a transposition of a six-dimensional view.
	var view, perm []int
	switch {
	case n.Op == "SpaceToDepth":
		view, perm = []int{in[0], in[1], in[2] / k, k, in[3] / k, k}, []int{0, 3, 5, 1, 2, 4}
	case mode == "DCR":
		view, perm = []int{in[0], k, k, in[1] / (k * k), in[2], in[3]}, []int{0, 3, 4, 1, 5, 2}
	default:
		view, perm = []int{in[0], in[1] / (k * k), k, k, in[2], in[3]}, []int{0, 1, 4, 2, 5, 3}
	}
	from := rowMajor(view)
	part := compute.CopyPart{}
	for _, p := range perm {
		part.Dims = append(part.Dims, view[p])
		part.InStride = append(part.InStride, from[p])
	}
	part.OutStride = rowMajor(part.Dims)
	return b.emit(compute.Copy{Parts: []compute.CopyPart{part}}, []*tensor{src}, b.output(n.Outputs[0], compute.Plain))
}
