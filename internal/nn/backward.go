package nn

import (
	"fmt"
	"math"
	"slices"

	"trtact/internal/compute"
)

// backward adds the steps of the backward pass: the forward steps in reverse, each
// turned into its gradients by one case of the switch in step.
type backward struct {
	b *builder
	// parts are the gradients that a tensor's readers have given so far, by the
	// tensor's root.
	parts map[*tensor][]*tensor
	// written are the parameters, by place, whose gradient is where fresh puts it.
	written map[int]bool
}

// differentiate adds the losses and the gradients of everything trained.
func (t *training) differentiate(b *builder) error {
	g := &backward{b: b, parts: map[*tensor][]*tensor{}, written: map[int]bool{}}
	t.freshAt = t.gradientBytes
	t.gradientBytes += t.parameterBytes
	forward := len(b.steps)
	for _, l := range t.o.Losses {
		if err := g.loss(l); err != nil {
			return fmt.Errorf("compile: loss at tensor %q: %w", l.Tensor, err)
		}
	}
	for i := forward - 1; i >= 0; i-- {
		s := b.steps[i]
		if s.op == nil || !slices.ContainsFunc(s.out, func(t *tensor) bool { return g.parts[t.root()] != nil }) {
			continue
		}
		b.node = s.source
		if err := g.step(s); err != nil {
			return fmt.Errorf("compile: gradient of node %q (%s): %w", s.node, s.what, err)
		}
	}
	if len(g.written) == 0 {
		return nil
	}
	vector := func(at int) *tensor {
		return &tensor{desc: compute.Tensor{Dims: []int{t.parameterBytes / 4}}, home: inGradients, offset: at}
	}
	return b.emit(compute.Sum{Accumulate: true}, []*tensor{vector(t.freshAt)}, vector(0))
}

func (g *backward) loss(l LossNode) error {
	b, t := g.b, g.b.training
	student, err := b.any(l.Tensor)
	if err != nil {
		return err
	}
	if !student.root().trained {
		return fmt.Errorf("nothing that is trained changes it")
	}
	target := b.newTensor(student.desc.Dims, compute.Plain)
	target.first = -1
	t.targets = append(t.targets, target)
	teacher := target
	if student.desc.Layout == compute.Blocked {
		teacher = g.like(student)
		if err := b.emit(compute.Reorder{}, []*tensor{target}, teacher); err != nil {
			return err
		}
	}
	value := b.newTensor([]int{2}, compute.Plain)
	t.losses = append(t.losses, value)
	// The loss is a mean over the batch, the gradient a sum.
	p := compute.Loss{Kind: l.Kind, Axis: l.Axis, Temperature: l.Temperature, Weight: l.Weight * float32(t.o.Images)}
	if p.Temperature == 0 {
		p.Temperature = 1
	}
	dx := g.like(student)
	if err := b.emit(p, []*tensor{student, teacher}, value, dx); err != nil {
		return err
	}
	return g.add(student, dx)
}

// like is a new tensor of the same shape and layout.
func (g *backward) like(t *tensor) *tensor { return g.b.newTensor(t.desc.Dims, t.desc.Layout) }

// wants reports whether a tensor's gradient is of use.
func (g *backward) wants(t *tensor) bool { return t.root().trained }

// fresh is where an operator writes its gradient of a parameter: beside those of the
// others, so that one operator adds all of an image's to the earlier ones'. A parameter
// has one such place; what else reads it adds its gradient by itself.
func (g *backward) fresh(t *tensor) *tensor {
	root := t.root()
	if root.sink == nil || root.sink.offset >= g.b.training.parameterBytes || g.written[root.sink.offset] || t.desc.Len() != root.desc.Len() {
		return g.like(t)
	}
	g.written[root.sink.offset] = true
	return &tensor{desc: t.desc, home: inGradients, offset: g.b.training.freshAt + root.sink.offset}
}

// add notes a gradient of t, or adds it to the parameter's.
func (g *backward) add(t, gradient *tensor) error {
	root := t.root()
	if !root.trained || gradient.home == inGradients {
		return nil
	}
	if root.sink != nil {
		to := &tensor{desc: gradient.desc, alias: root.sink, shift: t.shifted()}
		return g.b.emit(compute.Sum{Accumulate: true}, []*tensor{gradient}, to)
	}
	if root != t {
		gradient = &tensor{desc: root.desc, alias: gradient}
	}
	g.parts[root] = append(g.parts[root], gradient)
	return nil
}

// sum is the whole gradient of t, nil when nothing gave one.
func (g *backward) sum(t *tensor) (*tensor, error) {
	root := t.root()
	list := g.parts[root]
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > 1 {
		whole := g.like(root)
		if err := g.b.emit(compute.Sum{}, list, whole); err != nil {
			return nil, err
		}
		list = []*tensor{whole}
		g.parts[root] = list
	}
	if t == root {
		return list[0], nil
	}
	return &tensor{desc: t.desc, alias: list[0]}, nil
}

// give emits an operator that makes the gradient of t, when it is wanted.
func (g *backward) give(t *tensor, p compute.Params, in ...*tensor) error {
	if !g.wants(t) {
		return nil
	}
	dx := g.like(t)
	if err := g.b.emit(p, in, dx); err != nil {
		return err
	}
	return g.add(t, dx)
}

// step adds the gradients of one forward step.
func (g *backward) step(s step) error {
	out := s.out[0]
	dy, err := g.sum(out)
	if err != nil {
		return err
	}
	x := s.args[0]
	switch p := s.params.(type) {
	case compute.Conv:
		return g.conv(s, p, dy)
	case compute.MatMul:
		return g.matMul(s, p, dy)
	case compute.ActQuantize:
		return g.actQuantize(s, p, dy)
	case compute.Dequantize:
		return g.add(x, dy) // gradients of integers are those of integers times scale
	case compute.Reorder:
		return g.give(x, compute.Reorder{}, dy)
	case compute.Unary:
		return g.give(x, compute.UnaryBackward(p), x, dy)
	case compute.Affine:
		return g.give(x, compute.AffineBackward(p), x, s.args[1], s.args[2], dy)
	case compute.Binary:
		return g.binary(s, p, dy)
	case compute.Copy:
		return g.copy(s, p, dy)
	case compute.Channels:
		return g.channels(s, p, dy)
	case compute.Pool:
		if p.Kind == compute.PoolMax {
			return g.give(x, compute.PoolBackward{Pool: p}, x, dy)
		}
		return g.give(x, compute.PoolBackward{Pool: p}, dy)
	case compute.GlobalPool:
		if p.Kind == compute.ReduceMax {
			return g.give(x, compute.GlobalPoolBackward(p), x, dy)
		}
		return g.give(x, compute.GlobalPoolBackward(p), dy)
	case compute.Resize:
		return g.give(x, compute.ResizeBackward(p), dy)
	case compute.Softmax:
		return g.give(x, compute.SoftmaxBackward(p), out, dy)
	case compute.Reduce:
		back := compute.ReduceBackward(p)
		switch p.Kind {
		case compute.ReduceMean, compute.ReduceSum:
			return g.give(x, back, dy)
		case compute.ReduceProd:
			return fmt.Errorf("a product over an axis cannot be trained through")
		}
		return g.give(x, back, x, dy)
	}
	return fmt.Errorf("it has no gradient")
}

// conv is z = conv(x, w) * scale + bias. With quantised operands x and w are
// integers and the gradients asked for are those of the operands times their
// scales, so that each needs the other's scale only.
func (g *backward) conv(s step, p compute.Conv, dz *tensor) error {
	x, w := s.args[0], s.args[1]
	p.Act, p.Quantize = compute.Activation{}, 0
	toX, toW := []*tensor{dz, w}, []*tensor{x, dz}
	toData, toWeights := p, p
	if p.HasScale {
		f := g.b.training.factors[s.args[3]]
		once, err := g.b.training.once(g.b, f)
		if err != nil {
			return err
		}
		if once {
			toX[1] = f.quantised.whole
			toData.HasScale, toWeights.HasScale = false, false
		} else {
			toX, toW = append(toX, f.weight), append(toW, f.input)
		}
	}
	if err := g.give(x, compute.ConvBackwardData{Conv: toData}, toX...); err != nil {
		return err
	}
	bias := (*tensor)(nil)
	if p.HasBias && g.wants(s.args[2]) {
		bias = s.args[2]
	}
	if !g.wants(w) && bias == nil {
		return nil
	}
	toWeights.HasBias = bias != nil
	out := []*tensor{g.fresh(w)}
	if bias != nil {
		out = append(out, g.fresh(bias))
	}
	if err := g.b.emit(compute.ConvBackwardWeights{Conv: toWeights}, toW, out...); err != nil {
		return err
	}
	if bias != nil {
		if err := g.add(bias, out[1]); err != nil {
			return err
		}
	}
	return g.add(w, out[0])
}

// matMul is z = a b * scale + bias, scale and bias along the columns.
func (g *backward) matMul(s step, p compute.MatMul, dz *tensor) error {
	a, w := s.args[0], s.args[1]
	if p.HasBias {
		if err := g.reduce(s.args[2], dz); err != nil {
			return err
		}
	}
	if p.TransposeA {
		return fmt.Errorf("a product with the transposed first operand cannot be trained through")
	}
	var f factors
	if p.HasScale {
		f = g.b.training.factors[s.args[3]]
	}
	if g.wants(a) {
		dy := dz
		if p.HasScale {
			dy = g.like(dz)
			if err := g.b.emit(compute.Binary{Kind: compute.Mul}, []*tensor{dz, f.weight}, dy); err != nil {
				return err
			}
		}
		full := g.b.newTensor(append(slices.Clone(dz.desc.Dims[:len(dz.desc.Dims)-1]), a.desc.Dims[len(a.desc.Dims)-1]), compute.Plain)
		if err := g.b.emit(compute.MatMul{TransposeB: !p.TransposeB}, []*tensor{dy, w}, full); err != nil {
			return err
		}
		if err := g.reduce(a, full); err != nil {
			return err
		}
	}
	if !g.wants(w) {
		return nil
	}
	// dw = aT dz; where w is stored transposed, dzT a. A batch of a before one
	// matrix w is one tall matrix.
	rows := func(t *tensor) *tensor {
		d := t.desc.Dims
		if len(w.desc.Dims) > 2 || len(d) == 2 {
			return t
		}
		last := d[len(d)-1]
		return &tensor{desc: compute.Tensor{Dims: []int{product(d) / last, last}}, alias: t}
	}
	left, right := rows(a), rows(dz)
	if p.TransposeB {
		left, right = right, left
	}
	dims := slices.Clone(right.desc.Dims)
	if batch := left.desc.Dims[:len(left.desc.Dims)-2]; len(batch) == len(dims)-2 {
		for i, d := range batch {
			dims[i] = max(dims[i], d)
		}
	}
	dims[len(dims)-2] = left.desc.Dims[len(left.desc.Dims)-1]
	dw := g.b.newTensor(dims, compute.Plain)
	if err := g.b.emit(compute.MatMul{TransposeA: true}, []*tensor{left, right}, dw); err != nil {
		return err
	}
	if p.HasScale {
		scaled := g.like(dw)
		one := part(f.input, 0, 1) // all are the same
		if err := g.b.emit(compute.Binary{Kind: compute.Mul}, []*tensor{dw, one}, scaled); err != nil {
			return err
		}
		dw = scaled
	}
	return g.reduce(w, dw)
}

// actQuantize is q, and y, from x; dq may be nil when only y was asked for.
func (g *backward) actQuantize(s step, p compute.ActQuantize, dq *tensor) (err error) {
	t := g.b.training
	x := s.args[0]
	var dy *tensor
	if withY := len(s.out) > 2 || len(s.out) == 2 && !p.HasAbsMax; withY {
		if dy, err = g.sum(s.out[1]); err != nil {
			return err
		}
	}
	if dq == nil {
		return g.give(x, compute.UnaryBackward{Act: p.Act}, x, dy)
	}
	scale := s.args[1]
	learned := t.o.Quantizer == LearnedClips && p.HasClip
	if t.o.Quantizer == LearnedScales {
		learned = !t.fixed[scale.shift/4]
	}
	if !learned && !g.wants(x) {
		return nil
	}
	back := compute.ActQuantizeBackward{ActQuantize: p, HasDY: dy != nil, PassOutside: t.o.PassOutside,
		GradientScale: float32(1 / math.Sqrt(float64(x.desc.Len()/t.o.Images)*float64(p.High)))}
	in := []*tensor{x, scale, dq}
	if p.HasClip {
		in = append(in, s.args[2])
	}
	if dy != nil {
		in = append(in, dy)
	}
	dx := g.like(x)
	if !learned {
		if err := g.b.emit(back, in, dx); err != nil {
			return err
		}
		return g.add(x, dx)
	}
	step := g.b.newTensor([]int{1}, compute.Plain)
	if err := g.b.emit(back, in, dx, step); err != nil {
		return err
	}
	to := part(gradient(t.learned), scale.shift/4, 1)
	if err := g.b.emit(compute.Sum{Accumulate: true}, []*tensor{step}, to); err != nil {
		return err
	}
	return g.add(x, dx)
}

func (g *backward) binary(s step, p compute.Binary, dy *tensor) error {
	a, b := s.args[0], s.args[1]
	switch p.Kind {
	case compute.Add, compute.Sub:
		if err := g.reduce(a, dy); err != nil || !g.wants(b) {
			return err
		}
		if p.Kind == compute.Sub {
			minus := g.like(dy)
			if err := g.b.emit(compute.Unary{Act: compute.Activation{Kind: compute.Neg}}, []*tensor{dy}, minus); err != nil {
				return err
			}
			dy = minus
		}
		return g.reduce(b, dy)
	case compute.Mul:
		if err := g.product(a, b, dy); err != nil {
			return err
		}
		return g.product(b, a, dy)
	}
	for i, t := range []*tensor{a, b} {
		if !g.wants(t) {
			continue
		}
		full := g.like(dy)
		if err := g.b.emit(compute.BinaryBackward{Kind: p.Kind, ByB: i == 1}, []*tensor{a, b, dy}, full); err != nil {
			return err
		}
		if err := g.reduce(t, full); err != nil {
			return err
		}
	}
	return nil
}

// product gives t the gradient dy * other.
func (g *backward) product(t, other, dy *tensor) error {
	if !g.wants(t) {
		return nil
	}
	if !equalDims(t.desc.Dims, dy.desc.Dims) && equalDims(other.desc.Dims, dy.desc.Dims) {
		return g.give(t, compute.SumTo{}, dy, other)
	}
	full := g.like(dy)
	if err := g.b.emit(compute.Binary{Kind: compute.Mul}, []*tensor{dy, other}, full); err != nil {
		return err
	}
	return g.reduce(t, full)
}

// reduce gives t the gradient dy, summed over what t was broadcast along.
func (g *backward) reduce(t, dy *tensor) error {
	switch {
	case !g.wants(t):
		return nil
	case equalDims(t.desc.Dims, dy.desc.Dims) && t.desc.Layout == dy.desc.Layout:
		return g.add(t, dy)
	}
	return g.give(t, compute.SumTo{}, dy)
}

// copy turns strided copies round. Where an element was read more than once, the
// slower general gradient adds up.
func (g *backward) copy(s step, p compute.Copy, dy *tensor) error {
	for i, x := range s.args {
		if !g.wants(x) {
			continue
		}
		var parts []compute.CopyPart
		read := 0
		for _, c := range p.Parts {
			if c.Input == i {
				parts = append(parts, compute.CopyPart{Dims: c.Dims, InOffset: c.OutOffset, InStride: c.OutStride,
					OutOffset: c.InOffset, OutStride: c.InStride})
				read += product(c.Dims)
			}
		}
		var err error
		if len(parts) == 1 && readsOnce(p.Parts, i) {
			err = g.give(x, compute.Copy{Parts: parts, Fill: read < x.desc.Len()}, dy)
		} else {
			err = g.give(x, compute.CopyBackward{Forward: p, Input: i}, dy)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readsOnce reports whether an input's one part reads no element twice: sorted by
// stride, each stride passes over all that smaller ones reach.
func readsOnce(parts []compute.CopyPart, input int) bool {
	for _, c := range parts {
		if c.Input != input {
			continue
		}
		type dim struct{ size, stride int }
		var dims []dim
		for i, n := range c.Dims {
			if n > 1 {
				dims = append(dims, dim{n, max(c.InStride[i], -c.InStride[i])})
			}
		}
		slices.SortFunc(dims, func(a, b dim) int { return a.stride - b.stride })
		reach := 0
		for _, d := range dims {
			if d.stride <= reach {
				return false
			}
			reach += (d.size - 1) * d.stride
		}
	}
	return true
}

// channels turns runs of channels round; runs of one input that overlap become
// gradients of their own.
func (g *backward) channels(s step, p compute.Channels, dy *tensor) error {
	for i, x := range s.args {
		if !g.wants(x) {
			continue
		}
		var runs []compute.ChannelRun
		for _, r := range p.Runs {
			if r.Input == i {
				runs = append(runs, compute.ChannelRun{From: r.To, To: r.From, Count: r.Count})
			}
		}
		slices.SortStableFunc(runs, func(a, b compute.ChannelRun) int { return a.To - b.To })
		for len(runs) > 0 {
			var layer, rest []compute.ChannelRun
			end := 0
			zeros := func(to int) {
				if to > end {
					layer = append(layer, compute.ChannelRun{Input: -1, To: end, Count: to - end})
				}
			}
			for _, r := range runs {
				if r.To < end {
					rest = append(rest, r)
					continue
				}
				zeros(r.To)
				layer = append(layer, r)
				end = r.To + r.Count
			}
			zeros(x.desc.Dims[1])
			if err := g.give(x, compute.Channels{Runs: layer}, dy); err != nil {
				return err
			}
			runs = rest
		}
	}
	return nil
}
