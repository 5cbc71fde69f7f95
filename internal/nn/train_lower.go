package nn

import (
	"trtact/internal/compute"
	"trtact/internal/onnx"
)

// Quantisers in training. Weights are put on their grid once a step, before the
// images; activations by an operator that takes the function before them along,
// and leaves what its gradient needs: its input.

// trainQuantize lowers a QuantizeLinear of something that is not constant.
func (b *builder) trainQuantize(n *onnx.Node) error {
	x := b.values[n.Inputs[0]]
	if p := b.training.byName[x.name]; p != nil && p.scale != nil {
		return b.quantizeWeight(n, p)
	}
	layout := compute.Plain
	if b.isBlocked(x.name) {
		layout = compute.Blocked
	}
	src, err := b.in(x.name, layout)
	if err != nil {
		return err
	}
	return b.actQuantize(n, compute.Activation{}, src, nil)
}

func (b *builder) quantizeWeight(n *onnx.Node, p *parameter) error {
	t := b.training
	q := t.newIn(inDerived, p.value.desc.Dims)
	q.trained, q.sink, p.integers = true, p.value.sink, q
	b.values[n.Outputs[0]] = &value{name: n.Outputs[0], info: b.g.Info[n.Outputs[0]], plain: q, scale: p.scale, parameter: p}
	if p.levels.Learned {
		return t.emitBefore(b, p.levels, []*tensor{p.value, p.scale}, q)
	}
	return t.emitBefore(b, p.levels, []*tensor{p.value}, q, p.scale)
}

// actQuantize emits a function with the quantiser n behind it. y is where the
// function's own value goes, nil when nobody else reads it.
func (b *builder) actQuantize(n *onnx.Node, act compute.Activation, src, y *tensor) error {
	t := b.training
	site, scale, trained := t.site(n)
	q := b.newTensor(src.desc.Dims, src.desc.Layout)
	v := &value{name: n.Outputs[0], info: b.g.Info[n.Outputs[0]], scale: scale}
	b.setTensor(v, q)
	b.values[v.name] = v
	params := compute.ActQuantize{Act: act, Low: -128, High: 127, Rounding: t.o.Rounding}
	in, out := []*tensor{src, scale}, []*tensor{q}
	if t.o.Quantizer == LearnedClips && trained {
		params.HasClip = true
		in = append(in, part(t.learned, site, 1))
	}
	if y != nil {
		out = append(out, y)
	}
	if t.o.Quantizer == ObservedScales {
		greatest := t.newIn(inGradients, []int{1})
		t.seen = append(t.seen, observer{n.Input(1), greatest})
		params.HasAbsMax = true
		out = append(out, greatest)
	}
	if err := b.emit(params, in, out...); err != nil {
		return err
	}
	q.trained = q.trained || trained
	return nil
}

// quantizerOf is the QuantizeLinear with one scale among a tensor's readers, and
// whether the tensor is read by others too.
func (b *builder) quantizerOf(name string) (q *onnx.Node, others bool) {
	others = b.keep[name]
	for _, n := range b.index.Consumers[name] {
		if q == nil && n.Op == "QuantizeLinear" && n.Inputs[0] == name {
			if scales, _, ok := b.symmetric(n); ok && len(scales) == 1 {
				q = n
				continue
			}
		}
		others = true
	}
	return q, others
}

// trainedUnary takes the quantiser behind a function along. It reports whether
// there was one.
func (b *builder) trainedUnary(n *onnx.Node, act compute.Activation, src *tensor) (bool, error) {
	q, others := b.quantizerOf(n.Outputs[0])
	if q == nil {
		return false, nil
	}
	var y *tensor
	if others {
		y = b.output(n.Outputs[0], src.desc.Layout)
	}
	b.done[q] = true
	return true, b.actQuantize(q, act, src, y)
}

// trainedProduct gives the operands of a layer whose input and weights are
// quantised, with the product of their scales.
func (b *builder) trainedProduct(x, w *value, channels int) (weights, scale *tensor, err error) {
	t := b.training
	ws := w.quantized.scale
	if q := w.quantized.q; q != nil {
		weights = q.plain
	} else { // frozen
		weights = b.constantTensor(w.info.Dims, compute.Plain, w.quantized.integers)
		repeated := make([]float32, channels)
		for i := range repeated {
			repeated[i] = w.quantized.scales[i%len(w.quantized.scales)]
		}
		ws = b.constantTensor([]int{channels}, compute.Plain, repeated)
	}
	if ws, err = t.spread(b, ws, channels); err != nil {
		return
	}
	xs, err := t.spread(b, x.quantized.scale, channels)
	if err != nil {
		return
	}
	scale = t.newIn(inDerived, []int{channels})
	f := factors{input: xs, weight: ws, site: x.quantized.scale}
	if q := w.quantized.q; q != nil {
		f.quantised = q.parameter
	}
	t.factors[scale] = f
	return weights, scale, t.emitBefore(b, compute.Binary{Kind: compute.Mul}, []*tensor{xs, ws}, scale)
}

// once has the scales of a convolution's gradients applied once a step instead of
// once an image, where its weights have no other reader.
func (t *training) once(b *builder, f factors) (bool, error) {
	p := f.quantised
	if p == nil || p.readers != 1 {
		return false, nil
	}
	p.input = f.site
	p.whole = t.newIn(inDerived, p.value.desc.Dims)
	return true, t.emitBefore(b, compute.Dequantize{Axis: p.levels.Axis}, []*tensor{p.integers, p.scale}, p.whole)
}
