package simplify

// Per-channel multiplications and additions behind a convolution move into its
// weights and bias: y = k*(Wx + b) + c = (kW)x + (kb + c). The arithmetic is in
// float64 and rounds once.

import (
	"fmt"
	"math"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// linear is a layer that can take a factor and a summand for each output
// channel.
type linear struct {
	node     *onnx.Node
	weight   *onnx.Tensor
	bias     *onnx.Tensor // nil for none
	channels int
	// channel is the output channel of a weight's element.
	channel func(i int) int
	// alpha and beta are Gemm's; 1 for a convolution.
	alpha, beta float64
}

// layer recognises the linear layer that makes a tensor which nobody else reads;
// nil if there is none.
func (e *editor) layer(name string) *linear {
	n := e.producer[name]
	if n == nil || n.Domain != "" || !e.inner(name) {
		return nil
	}
	l := &linear{node: n, weight: e.constant(n.Input(1)), alpha: 1, beta: 1}
	if l.weight == nil || l.weight.Type != onnx.Float {
		return nil
	}
	if n.Input(2) != "" {
		if l.bias = e.constant(n.Input(2)); l.bias == nil {
			return nil
		}
	}
	d := l.weight.Dims
	strides := dims.Strides(d)
	switch n.Op {
	case "Conv":
		if len(d) < 3 {
			return nil
		}
		l.channels = d[0]
		l.channel = func(i int) int { return i / strides[0] }
	case "ConvTranspose": // weights [in, out/group, ...]
		group := int(n.Int("group", 1))
		if len(d) < 3 || group < 1 || d[0]%group != 0 || d[0] == 0 {
			return nil
		}
		l.channels = d[1] * group
		perGroup := d[0] / group
		l.channel = func(i int) int { return i/strides[0]/perGroup*d[1] + i/strides[1]%d[1] }
	case "Gemm":
		if len(d) != 2 {
			return nil
		}
		l.alpha, l.beta = float64(n.Float("alpha", 1)), float64(n.Float("beta", 1))
		axis := 1
		if n.Int("transB", 0) != 0 {
			axis = 0
		}
		l.channels = d[axis]
		l.channel = func(i int) int { return i / strides[axis] % d[axis] }
	default:
		return nil
	}
	// A Gemm's summand may be a scalar or a matrix; only vectors over the
	// channels are handled.
	if l.bias != nil && (l.bias.Type != onnx.Float || !dims.Equal(l.bias.Dims, []int{l.channels})) {
		return nil
	}
	return l
}

// scale gives the layer new weights k*W and the bias k*b + c. false where the
// result cannot be stored as float32.
func (e *editor) scale(l *linear, k, c []float64) bool {
	old := l.weight.Floats()
	w := make([]float32, len(old))
	for i, v := range old {
		w[i] = float32(k[l.channel(i)] * float64(v))
	}
	b := make([]float32, l.channels)
	for i := range b {
		v := 0.0
		if l.bias != nil {
			v = float64(l.bias.Floats()[i]) * l.beta
		}
		b[i] = float32(k[i]*v + c[i])
	}
	for _, list := range [][]float32{w, b} {
		for _, v := range list {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return false
			}
		}
	}
	if l.beta != 1 { // it is in the bias now
		delete(l.node.Attrs, "beta")
	}
	l.weight = onnx.NewTensor(dims.Clone(l.weight.Dims), w)
	l.bias = onnx.NewTensor([]int{l.channels}, b)
	e.store(l.node, 1, l.weight, "weight")
	e.store(l.node, 2, l.bias, "bias")
	return true
}

// store makes t the constant at input i of a node: under the name it had, or a
// new one where others read that constant too.
func (e *editor) store(n *onnx.Node, i int, t *onnx.Tensor, role string) {
	for len(n.Inputs) <= i {
		n.Inputs = append(n.Inputs, "")
	}
	name := n.Inputs[i]
	if name != "" && e.inner(name) && count(n.Inputs, name) == 1 {
		e.g.Init[name] = t
		return
	}
	base := n.Name + "." + role
	if name != "" {
		base = name
	}
	e.setInput(n, i, e.addConstant(base, t))
}

func count(list []string, name string) int {
	n := 0
	for _, s := range list {
		if s == name {
			n++
		}
	}
	return n
}

// foldBatchNorm folds y = gamma*(x - mean)/sqrt(var + epsilon) + beta into the
// layer before it, or turns it to a multiplication and an addition.
func (s *simplifier) foldBatchNorm(e *editor) error {
	for _, n := range e.nodes {
		if n.Op != "BatchNormalization" || n.Domain != "" || n.Int("training_mode", 0) != 0 || n.Int("spatial", 1) == 0 {
			continue
		}
		k, c, err := normalisation(e, n)
		if err != nil {
			return fault.BadInput(fmt.Errorf("%v: %w", n, err))
		}
		if k == nil {
			continue
		}
		if l := e.layer(n.Input(0)); l != nil && l.channels == len(k) && e.scale(l, k, c) {
			e.takeOver(l.node, n)
			s.did(BatchNorm)
			continue
		}
		if rank := len(e.g.Info[n.Input(0)].Dims); rank >= 2 {
			e.alone(n, k, c, rank)
			s.did(BatchNormAlone)
		}
	}
	return nil
}

// takeOver removes n, the only reader of l's output, and lets l make n's.
func (e *editor) takeOver(l, n *onnx.Node) {
	out := n.Outputs[0]
	e.remove(n)
	e.setOutput(l, 0, out)
}

// normalisation is a BatchNormalization's factor and summand for each channel;
// nil where its parameters are not constants.
func normalisation(e *editor, n *onnx.Node) (k, c []float64, err error) {
	var p [4][]float32 // gamma, beta, mean, variance
	for i := range p {
		t := e.constant(n.Input(i + 1))
		if t == nil || t.Type != onnx.Float {
			return nil, nil, nil
		}
		p[i] = t.Floats()
		if len(p[i]) != len(p[0]) {
			return nil, nil, fmt.Errorf("its parameters have %d and %d elements", len(p[0]), len(p[i]))
		}
	}
	epsilon := float64(n.Float("epsilon", 1e-5))
	k, c = make([]float64, len(p[0])), make([]float64, len(p[0]))
	for i := range k {
		variance := float64(p[3][i]) + epsilon
		if !(variance > 0) {
			return nil, nil, fmt.Errorf("channel %d has the variance %g with epsilon %g", i, p[3][i], epsilon)
		}
		k[i] = float64(p[0][i]) / math.Sqrt(variance)
		c[i] = float64(p[1][i]) - k[i]*float64(p[2][i])
	}
	return k, c, nil
}

// alone replaces a BatchNormalization by Mul and Add.
func (e *editor) alone(n *onnx.Node, k, c []float64, rank int) {
	d := make([]int, rank-1) // [C, 1, ...] broadcasts over the batch
	for i := range d {
		d[i] = 1
	}
	d[0] = len(k)
	var factor, summand []float32
	for i := range k {
		factor, summand = append(factor, float32(k[i])), append(summand, float32(c[i]))
	}
	product := e.name(n.Outputs[0] + "_scaled")
	f := e.addConstant(n.Name+".factor", onnx.NewTensor(d, factor))
	a := e.addConstant(n.Name+".summand", onnx.NewTensor(d, summand))
	x, y, name := n.Inputs[0], n.Outputs[0], n.Name
	e.remove(n)
	e.insert(n, &onnx.Node{Name: name + ".mul", Op: "Mul", Inputs: []string{x, f}, Outputs: []string{product}})
	e.insert(n, &onnx.Node{Name: name + ".add", Op: "Add", Inputs: []string{product, a}, Outputs: []string{y}})
}

// foldAffine folds Mul, Div, Add and Sub by a constant for each channel (or one
// for all) into the layer before them.
func (s *simplifier) foldAffine(e *editor) error {
	for _, n := range e.nodes {
		if e.removed[n] || n.Domain != "" {
			continue
		}
		x, t := n.Input(0), e.constant(n.Input(1))
		swapped := false
		switch n.Op {
		case "Mul", "Add":
			if t == nil {
				x, t = n.Input(1), e.constant(n.Input(0))
			}
		case "Div":
		case "Sub":
			if t == nil { // c - y
				x, t, swapped = n.Input(1), e.constant(n.Input(0)), true
			}
		default:
			continue
		}
		l := e.layer(x)
		if l == nil || t == nil || t.Type != onnx.Float {
			continue
		}
		v := perChannel(t, len(l.weight.Dims), l.channels)
		if v == nil {
			continue
		}
		k, c := make([]float64, l.channels), make([]float64, l.channels)
		for i := range k {
			k[i] = 1
			switch n.Op {
			case "Mul":
				k[i] = v[i]
			case "Div":
				k[i] = 1 / v[i]
			case "Add":
				c[i] = v[i]
			case "Sub":
				c[i] = -v[i]
				if swapped {
					k[i], c[i] = -1, v[i]
				}
			}
		}
		if e.scale(l, k, c) {
			e.takeOver(l.node, n)
			s.did(Affine)
		}
	}
	return nil
}

// perChannel spreads a constant that broadcasts over a tensor of the given rank
// along its channels (axis 1) only; nil if it does more than that.
func perChannel(t *onnx.Tensor, rank, channels int) []float64 {
	if len(t.Dims) > rank {
		return nil
	}
	for i, n := range t.Dims {
		axis := i + rank - len(t.Dims)
		if n != 1 && (axis != 1 || n != channels) {
			return nil
		}
	}
	out := make([]float64, channels)
	for i := range out {
		out[i] = float64(t.Floats()[i%t.Len()])
	}
	return out
}
