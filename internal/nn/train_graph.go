package nn

import (
	"fmt"
	"math"
	"slices"

	"trtact/internal/compute"
	"trtact/internal/onnx"
)

// training is what the builder collects when a graph is to be trained: the
// parameters in one vector, what is derived from them once a step (integers of
// the weights, scales, products of scales), and the steps around the images.
//
// The gradients of a context are a vector like that of the parameters, followed
// by what observers remember, and a second vector for those of the image in work.
type training struct {
	o      TrainOptions
	inputs map[string]*tensor // not nil: gradients of the graph's inputs are asked for, too

	parameterBytes, derivedBytes, gradientBytes int
	freshAt                                     int // where the second vector of gradients begins

	parameters []*parameter
	byName     map[string]*parameter
	// weightValues is where the learned scales and clips begin, as an element of
	// the vector.
	weightValues int

	siteOf  map[string]int // scale constant's name -> which of the scales
	initial []float32      // scales, one for each site or group of them
	fixed   []bool         // a picture's own scale is never trained
	scales  *tensor        // derived
	learned *tensor        // parameters behind them: logarithms or clips; or nil
	seen    []observer

	spreads map[spread]*tensor
	factors map[*tensor]factors // by the product of scales that a layer takes

	before, after []step
	control, norm *tensor

	targets []*tensor // of each loss, row-major
	losses  []*tensor // value and value above the floor
}

// parameter is a constant that is trained.
type parameter struct {
	name     string
	value    *tensor
	data     []float32 // at the start
	weight   bool      // it decays
	scales   []float32 // of a quantised one, at the start
	scale    *tensor   // the same as they are now, derived
	logs     *tensor   // parameters behind scale, when it is learned
	integers *tensor   // of a quantised one, derived
	levels   compute.QuantizeWeights
	// of a quantised one that a single convolution reads:
	whole *tensor // integers times scale, derived
	input *tensor // the scale of what the convolution reads, which the gradient of
	// the integers still lacks when the images are done
	readers int // nodes
}

// observer is the greatest of a site's magnitudes over a context's images.
type observer struct {
	site     string // the scale constant's name
	greatest *tensor
}

// factors are the scales of a layer z = conv(q, wq) * input * weight + bias, one
// for each output channel.
type factors struct {
	input, weight *tensor
	quantised     *parameter // the weights; nil when they are frozen
	site          *tensor    // input as one element
}

type spread struct {
	root     *tensor
	shift    int
	channels int
}

// newIn makes a tensor in one of the buffers whose contents last.
func (t *training) newIn(h home, dims []int) *tensor {
	x := &tensor{desc: compute.Tensor{Dims: dims}, home: h}
	size := map[home]*int{inParameters: &t.parameterBytes, inDerived: &t.derivedBytes, inGradients: &t.gradientBytes}[h]
	x.offset = *size
	*size += align(4 * product(dims))
	return x
}

// gradient is where the gradient of a parameter is summed up.
func gradient(p *tensor) *tensor {
	return &tensor{desc: p.desc, home: inGradients, offset: p.offset}
}

// part is a few elements of a tensor.
func part(of *tensor, from, count int) *tensor {
	return &tensor{desc: compute.Tensor{Dims: []int{count}}, alias: of, shift: 4 * from}
}

func (t *training) parameter(name string, dims []int, data []float32, weight bool) *parameter {
	p := &parameter{name: name, value: t.newIn(inParameters, dims), data: data, weight: weight}
	p.value.trained = true
	p.value.sink = gradient(p.value)
	t.parameters = append(t.parameters, p)
	return p
}

// begin lays out the parameters and scales before the nodes are lowered.
func (t *training) begin(b *builder) error {
	t.byName, t.siteOf = map[string]*parameter{}, map[string]int{}
	t.spreads, t.factors = map[spread]*tensor{}, map[*tensor]factors{}
	for _, n := range b.g.Nodes {
		switch n.Op {
		case "Conv", "ConvTranspose", "Gemm", "MatMul":
			w, q := t.weightOf(b, n.Input(1))
			t.train(b, w, q)
			t.train(b, n.Input(2), nil)
		}
	}
	t.weightValues = t.parameterBytes / 4
	if t.o.LearnedWeightScales {
		for _, p := range slices.Clone(t.parameters) {
			if p.scale == nil {
				continue
			}
			p.logs = t.parameter("", p.scale.desc.Dims, logarithms(p.scales), false).value
			if err := t.emitBefore(b, exponential, []*tensor{p.logs}, p.scale); err != nil {
				return err
			}
		}
	}
	if err := t.findSites(b); err != nil {
		return err
	}
	t.parameterBytes = max(t.parameterBytes, 64) // no vector is empty
	t.gradientBytes = t.parameterBytes
	for name := range t.inputs {
		v := b.values[name]
		if v == nil || v.plain == nil {
			continue
		}
		x := v.plain
		x.trained, x.sink = true, t.newIn(inGradients, x.desc.Dims)
		t.inputs[name] = x.sink
	}
	t.control, t.norm = t.newIn(inDerived, []int{2}), t.newIn(inDerived, []int{2})
	return nil
}

// weightOf follows a weight through its Q/DQ pair; q is the pair's first node, or
// nil. The name is "" when it is no float constant.
func (t *training) weightOf(b *builder, name string) (string, *onnx.Node) {
	if b.g.Init[name] != nil {
		return name, nil
	}
	if dq := b.index.Producer[name]; dq != nil && dq.Op == "DequantizeLinear" {
		if q := b.index.Producer[dq.Input(0)]; q != nil && q.Op == "QuantizeLinear" && b.g.Init[q.Input(0)] != nil {
			return q.Input(0), q
		}
	}
	return "", nil
}

// train makes a parameter of a float constant.
func (t *training) train(b *builder, name string, q *onnx.Node) {
	if p := t.byName[name]; p != nil {
		p.readers++
	}
	c := b.g.Init[name]
	if c == nil || c.Type != onnx.Float || c.Len() == 0 || t.byName[name] != nil || t.o.Frozen != nil && t.o.Frozen(name) {
		return
	}
	p := t.parameter(name, c.Dims, slices.Clone(c.Floats()), len(c.Dims) > 1)
	p.readers = 1
	t.byName[name] = p
	b.values[name] = &value{name: name, info: c.Value(name), plain: p.value}
	if q == nil {
		return
	}
	if scales, axis, ok := b.symmetric(q); ok {
		p.levels = compute.QuantizeWeights{Axis: axis, Low: -127, High: 127, Rounding: t.o.Rounding, Learned: t.o.LearnedWeightScales}
		if len(scales) == 1 {
			p.levels.Axis = -1
		}
		p.scales, p.scale = scales, t.newIn(inDerived, []int{len(scales)})
	}
}

// findSites makes the vector of the activations' scales.
func (t *training) findSites(b *builder) error {
	group := map[string]int{}
	for _, n := range b.g.Nodes {
		if n.Op != "QuantizeLinear" || b.g.Init[n.Input(0)] != nil {
			continue
		}
		scales, _, ok := b.symmetric(n)
		if !ok || len(scales) != 1 {
			return fmt.Errorf("compile: node %q (%s): only symmetric INT8 with one scale can be trained", n.Name, n.Op)
		}
		name := n.Input(1)
		key := name
		if g := t.o.Groups[name]; g != "" {
			key = g
		}
		i, known := group[key]
		if !known {
			i = len(t.initial)
			group[key] = i
			t.initial, t.fixed = append(t.initial, scales[0]), append(t.fixed, false)
		}
		t.siteOf[name] = i
		if slices.ContainsFunc(b.g.Inputs, func(v onnx.Value) bool { return v.Name == n.Input(0) }) {
			t.fixed[i] = true
		}
	}
	if len(t.initial) == 0 {
		return nil
	}
	dims := []int{len(t.initial)}
	t.scales = t.newIn(inDerived, dims)
	switch t.o.Quantizer {
	case LearnedScales:
		logs := t.parameter("", dims, logarithms(t.initial), false).value
		t.learned = logs
		return t.emitBefore(b, exponential, []*tensor{logs}, t.scales)
	case LearnedClips:
		clips := make([]float32, len(t.initial))
		for i, s := range t.initial {
			clips[i] = 127 * s
		}
		t.learned = t.parameter("", dims, clips, false).value
		return t.emitBefore(b, compute.Binary{Kind: compute.Mul},
			[]*tensor{t.learned, b.constantTensor([]int{1}, compute.Plain, []float32{1. / 127})}, t.scales)
	}
	return nil
}

var exponential = compute.Unary{Act: compute.Activation{Kind: compute.Exp}}

// logarithms of scales. Those of dead channels lie at the smallest normal number,
// which they could leave downwards.
func logarithms(scales []float32) []float32 {
	const least = 1e-30
	logs := make([]float32, len(scales))
	for i, s := range scales {
		logs[i] = float32(math.Log(max(float64(s), least)))
	}
	return logs
}

// site is the scale that a QuantizeLinear reads, and whether it is trained.
func (t *training) site(n *onnx.Node) (i int, scale *tensor, trained bool) {
	i = t.siteOf[n.Input(1)]
	return i, part(t.scales, i, 1), t.learned != nil && !t.fixed[i]
}

// emitBefore adds an operator that runs once a step, before the images.
func (t *training) emitBefore(b *builder, p compute.Params, in []*tensor, out ...*tensor) error {
	return t.emit(b, &t.before, p, in, out)
}

// emitAfter adds an operator that runs once a step, after the images.
func (t *training) emitAfter(b *builder, p compute.Params, in []*tensor, out ...*tensor) error {
	return t.emit(b, &t.after, p, in, out)
}

func (t *training) emit(b *builder, list *[]step, p compute.Params, in, out []*tensor) error {
	s, err := b.newStep(p, b.o.Threads*b.o.Workers, in, out)
	if err == nil {
		*list = append(*list, s)
	}
	return err
}

// spread is a scale for each channel: the tensor itself, or its one element
// repeated.
func (t *training) spread(b *builder, s *tensor, channels int) (*tensor, error) {
	if s.desc.Len() == channels {
		return s, nil
	}
	key := spread{s.root(), s.shifted(), channels}
	if x := t.spreads[key]; x != nil {
		return x, nil
	}
	repeated := make([]float32, channels)
	for i := range repeated {
		repeated[i] = 1
	}
	x := t.newIn(inDerived, []int{channels})
	t.spreads[key] = x
	return x, t.emitBefore(b, compute.Binary{Kind: compute.Mul}, []*tensor{s, b.constantTensor([]int{channels}, compute.Plain, repeated)}, x)
}

// isTrained reports whether a value depends on what is trained.
func (b *builder) isTrained(v *value) bool {
	if v.quantized != nil && v.quantized.q != nil && b.isTrained(v.quantized.q) {
		return true
	}
	for _, t := range []*tensor{v.plain, v.blocked} {
		if t != nil && t.root().trained {
			return true
		}
	}
	return false
}

// end adds the backward pass, and what follows the images: the way back through
// the weights' quantisers and scales.
func (t *training) end(b *builder) error {
	if err := t.differentiate(b); err != nil {
		return err
	}
	for _, l := range t.losses {
		l.last = forever
	}
	for _, p := range t.parameters {
		if p.scale == nil {
			continue
		}
		dw := gradient(p.value)
		if p.input != nil {
			if err := t.emitAfter(b, compute.Binary{Kind: compute.Mul}, []*tensor{dw, p.input}, dw); err != nil {
				return err
			}
		}
		back := compute.QuantizeWeightsBackward{QuantizeWeights: p.levels, PassOutside: t.o.PassOutside,
			GradientScale: float32(1 / math.Sqrt(float64(len(p.data))/float64(p.scale.desc.Len())*float64(p.levels.High)))}
		in := []*tensor{p.value, p.scale, dw}
		if p.logs == nil {
			if err := t.emitAfter(b, back, in, dw); err != nil {
				return err
			}
			continue
		}
		step := t.newIn(inDerived, p.scale.desc.Dims)
		if err := t.emitAfter(b, back, in, dw, step); err != nil {
			return err
		}
		if err := t.emitAfter(b, compute.Binary{Kind: compute.Mul}, []*tensor{step, p.scale}, gradient(p.logs)); err != nil {
			return err
		}
	}
	if t.o.Quantizer == LearnedScales && t.learned != nil {
		d := gradient(t.learned)
		return t.emitAfter(b, compute.Binary{Kind: compute.Mul}, []*tensor{d, t.scales}, d)
	}
	return nil
}

// optimizer is the rule for the whole vector of parameters, or with frozen scales
// for all but them.
func (t *training) optimizer(frozen bool) compute.Optimize {
	o := t.o.Optimizer
	o.Segments = nil
	for _, p := range t.parameters {
		s := compute.Segment{From: p.value.offset / 4, Count: len(p.data), Rate: 1}
		scales := s.From >= t.weightValues
		switch {
		case scales && frozen:
			continue
		case p.value == t.learned:
			o.Segments = append(o.Segments, t.scaleSegments(s.From)...)
			continue
		case scales:
			s.Rate = t.o.ScaleRate
		case p.weight:
			s.Decay = t.o.WeightDecay
		}
		o.Segments = append(o.Segments, s)
	}
	return o
}

// scaleSegments are the activations' learned scales or clips, which begin at an
// element of the vector, without those that stay.
func (t *training) scaleSegments(from int) []compute.Segment {
	var list []compute.Segment
	for i, fixed := range t.fixed {
		if fixed {
			continue
		}
		s := compute.Segment{From: from + i, Count: 1, Rate: t.o.ScaleRate}
		if t.o.Quantizer == LearnedClips {
			s.Decay = t.o.ClipDecay
		}
		if last := len(list) - 1; last >= 0 && list[last].From+list[last].Count == s.From {
			list[last].Count++
			continue
		}
		list = append(list, s)
	}
	return list
}
