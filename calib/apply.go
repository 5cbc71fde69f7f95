// Writing a plan into a model: QuantizeLinear and DequantizeLinear pairs (Q/DQ)
// in front of the quantised layers. The result is ordinary ONNX, opset 13 or
// later, in the form TensorRT 8.4 insists on: three inputs each, zero points
// present and 0, scales constant and positive, biases float.
//
// A tensor has one pair, shared by its quantised readers; readers that stay
// float keep reading the float tensor, so that leaving a layer out costs nothing
// elsewhere.
package calib

import (
	"fmt"
	"slices"

	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// WeightForm is how quantised weights are stored.
type WeightForm int

const (
	// FloatWeights keeps float constants with Q and DQ behind them, which every
	// TensorRT from 8.4 on reads. Weights beyond 127 scales are clamped there,
	// since Q alone would let -128 through.
	FloatWeights WeightForm = iota
	// Int8Weights stores INT8 constants with a DQ, a quarter of the size.
	Int8Weights
	// TrainedWeights is FloatWeights with the constants as they are, under their
	// own names: the student that training starts from, which sees to the clamping
	// itself.
	TrainedWeights
)

// minOpset is the first with the axis attribute of QuantizeLinear.
const minOpset = 13

// Apply gives a copy of m quantised as p says; neither is changed. Nodes named
// in p.Skipped stay float even where a site still lists them. Fails with
// fault.BadInput when the plan names what the model does not have.
func Apply(m *onnx.Model, p *Plan, form WeightForm) (*onnx.Model, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("apply plan: %w", err)
	}
	if len(p.Sites) > 0 && !p.Calibrated() {
		return nil, fmt.Errorf("apply plan: its activations have no scales yet; calibrate first")
	}
	if err := p.madeFor(m); err != nil {
		return nil, fault.BadInput(fmt.Errorf("apply plan: %w", err))
	}
	p = p.Clone()
	p.prune()
	p.dropIdlePads(m.Graph)
	p.Equalised = p.ActiveEqualisations(m.Graph)
	out := m.Clone()
	if out.Opset < minOpset {
		if err := onnx.UpgradeOpset(out, minOpset); err != nil {
			return nil, fmt.Errorf("apply plan: raise the model to opset %d: %w", minOpset, err)
		}
	}
	if err := rescale(out, p.Equalised); err != nil {
		return nil, fault.BadInput(fmt.Errorf("apply plan: %w", err))
	}
	if err := addBiases(out.Graph, p.Biases); err != nil {
		return nil, fault.BadInput(fmt.Errorf("apply plan: %w", err))
	}
	w := newWriter(out.Graph, form)
	for i := range p.Sites {
		if err := w.activation(&p.Sites[i]); err != nil {
			return nil, fault.BadInput(fmt.Errorf("apply plan: %w", err))
		}
	}
	for i := range p.Weights {
		if err := w.weights(&p.Weights[i]); err != nil {
			return nil, fault.BadInput(fmt.Errorf("apply plan: %w", err))
		}
	}
	w.finish()
	return out, nil
}

// dropIdlePads takes a Pad out of the sites when no layer behind it is quantised:
// it stood there only for them (a plan names the Pad, since it is the Pad that
// reads the quantised tensor).
func (p *Plan) dropIdlePads(g *onnx.Graph) {
	weighted := map[string]bool{}
	for _, w := range p.Weights {
		for _, n := range w.Nodes {
			weighted[n] = true
		}
	}
	index := g.Index()
	idle := map[string]bool{}
	for _, n := range g.Nodes {
		if n.Op == "Pad" && len(n.Outputs) > 0 && !slices.ContainsFunc(index.Consumers[n.Outputs[0]],
			func(c *onnx.Node) bool { return weighted[c.Name] }) {
			idle[n.Name] = true
		}
	}
	sites := p.Sites[:0]
	for _, s := range p.Sites {
		s.Consumers = slices.DeleteFunc(s.Consumers, func(name string) bool { return idle[name] })
		if len(s.Consumers) > 0 {
			sites = append(sites, s)
		}
	}
	p.Sites = sites
}

// ActiveEqualisations are those that Apply and Bake carry out in g: where some reader is
// quantised, and where the division goes into weights. It costs nothing there, and the
// scales of those weights are of the divided ones.
func (p *Plan) ActiveEqualisations(g *onnx.Graph) []Equalisation {
	p = p.Clone()
	p.prune()
	quantised, ix := p.Layers(), g.Index()
	return slices.DeleteFunc(p.Equalised, func(e Equalisation) bool {
		maker, _ := makerOf(g, ix, e)
		return maker == nil && !slices.ContainsFunc(e.Readers, func(name string) bool { return slices.Contains(quantised, name) })
	})
}

// writer inserts nodes into one graph: Q/DQ pairs, divisions by factors.
type writer struct {
	g     *onnx.Graph
	form  WeightForm
	nodes map[string]*onnx.Node // by name
	taken map[string]bool       // names of tensors and nodes
	// before lists the new nodes to put in front of the first reader.
	before map[*onnx.Node][]*onnx.Node
	// place is each node's position in the old order.
	place map[*onnx.Node]int
	zero  string // the zero point shared by all activations
}

func newWriter(g *onnx.Graph, form WeightForm) *writer {
	w := &writer{
		g: g, form: form,
		nodes:  make(map[string]*onnx.Node, len(g.Nodes)),
		taken:  map[string]bool{},
		before: map[*onnx.Node][]*onnx.Node{},
		place:  make(map[*onnx.Node]int, len(g.Nodes)),
	}
	for i, n := range g.Nodes {
		w.nodes[n.Name] = n
		w.place[n] = i
		w.taken[n.Name] = true
		for _, t := range n.Outputs {
			w.taken[t] = true
		}
		for _, t := range n.Uses() {
			w.taken[t] = true
		}
	}
	for _, v := range g.Inputs {
		w.taken[v.Name] = true
	}
	for name := range g.Init {
		w.taken[name] = true
	}
	if g.Info == nil {
		g.Info = map[string]onnx.Value{}
	}
	return w
}

// fresh gives a name not in use, the wanted one if possible.
func (w *writer) fresh(want string) string {
	name := want
	for i := 2; w.taken[name]; i++ {
		name = fmt.Sprintf("%s_%d", want, i)
	}
	w.taken[name] = true
	return name
}

// constant adds an initialiser.
func (w *writer) constant(want string, t *onnx.Tensor) string {
	name := w.fresh(want)
	w.g.Init[name] = t
	w.g.Info[name] = onnx.Value{Name: name, Type: t.Type, Dims: t.Dims}
	return name
}

// readers finds the named nodes and which of them comes first.
func (w *writer) readers(tensor string, names []string) ([]*onnx.Node, *onnx.Node, error) {
	var list []*onnx.Node
	var first *onnx.Node
	for _, name := range names {
		n := w.nodes[name]
		if n == nil {
			return nil, nil, fmt.Errorf("tensor %q: node %q is not in the model", tensor, name)
		}
		reads := false
		for _, in := range n.Inputs {
			reads = reads || in == tensor
		}
		if !reads {
			return nil, nil, fmt.Errorf("tensor %q: node %q does not read it", tensor, name)
		}
		list = append(list, n)
		if first == nil || w.place[n] < w.place[first] {
			first = n
		}
	}
	return list, first, nil
}

// activation puts one Q/DQ pair behind a tensor.
func (w *writer) activation(s *Site) error {
	if w.g.Init[s.Tensor] != nil {
		return fmt.Errorf("tensor %q is a constant; constants are quantised under weights", s.Tensor)
	}
	list, first, err := w.readers(s.Tensor, s.Consumers)
	if err != nil {
		return err
	}
	if w.zero == "" {
		w.zero = w.constant("zero_point", onnx.Scalar(int8(0)))
	}
	scale := w.constant(s.Tensor+"_scale", onnx.Scalar(s.Scale))
	dq := w.pair(s.Tensor, scale, w.zero, -1, first)
	replaceInput(list, s.Tensor, dq)
	return nil
}

// weights quantises one constant for some of its readers.
func (w *writer) weights(s *WeightSite) error {
	t := w.g.Init[s.Tensor]
	if t == nil {
		return fmt.Errorf("weights %q are not a constant of the model", s.Tensor)
	}
	list, first, err := w.readers(s.Tensor, s.Nodes)
	if err != nil {
		return err
	}
	data, ok := t.Data.([]float32)
	if !ok {
		return fmt.Errorf("weights %q are %v, not float", s.Tensor, t.Type)
	}
	if s.Axis >= len(t.Dims) || t.Dims[s.Axis] != len(s.Scales) {
		return fmt.Errorf("weights %q have shape %v; the plan has %d scales for axis %d", s.Tensor, t.Dims, len(s.Scales), s.Axis)
	}
	scale := w.constant(s.Tensor+"_scale", onnx.NewTensor([]int{len(s.Scales)}, clone(s.Scales)))
	zero := w.constant(s.Tensor+"_zero_point", onnx.NewTensor([]int{len(s.Scales)}, make([]int8, len(s.Scales))))
	var dq string
	switch w.form {
	case Int8Weights:
		values := make([]int8, len(data))
		channels(t.Dims, s.Axis, func(c, i int) { values[i] = QuantizeWeight(data[i], s.Scales[c]) })
		q := w.constant(s.Tensor+"_q", onnx.NewTensor(clone(t.Dims), values))
		dq = w.dequantize(s.Tensor, q, scale, zero, s.Axis, first)
	case TrainedWeights:
		dq = w.pair(s.Tensor, scale, zero, s.Axis, first)
	default:
		source := s.Tensor
		if clamped, changed := clampWeights(data, t.Dims, s.Axis, s.Scales); changed {
			source = w.constant(s.Tensor+"_clamped", onnx.NewTensor(clone(t.Dims), clamped))
		}
		dq = w.pair(source, scale, zero, s.Axis, first)
	}
	for _, n := range list {
		if n.Inputs[1] != s.Tensor {
			return fmt.Errorf("weights %q are not the second input of node %q", s.Tensor, n.Name)
		}
		n.Inputs[1] = dq
	}
	return nil
}

// clampWeights limits weights to 127 scales where rounding would go beyond.
func clampWeights(data []float32, dims []int, axis int, scales []float32) ([]float32, bool) {
	out := clone(data)
	changed := false
	channels(dims, axis, func(c, i int) {
		if v := data[i] / scales[c]; v < -QMax-0.5 || v > QMax+0.5 {
			out[i] = QMax * scales[c]
			if v < 0 {
				out[i] = -out[i]
			}
			changed = true
		}
	})
	return out, changed
}

// pair adds Q and DQ behind a tensor, axis -1 for one scale over all of it, and
// gives DQ's output.
func (w *writer) pair(tensor, scale, zero string, axis int, first *onnx.Node) string {
	q := &onnx.Node{
		Op:      "QuantizeLinear",
		Inputs:  []string{tensor, scale, zero},
		Outputs: []string{w.fresh(tensor + "_q")},
	}
	q.Name = w.fresh(tensor + "_quantize")
	if axis >= 0 {
		q.Set("axis", int64(axis))
	}
	w.before[first] = append(w.before[first], q)
	w.g.Info[q.Outputs[0]] = onnx.Value{Name: q.Outputs[0], Type: onnx.Int8, Dims: clone(w.g.Info[tensor].Dims)}
	return w.dequantize(tensor, q.Outputs[0], scale, zero, axis, first)
}

func (w *writer) dequantize(tensor, q, scale, zero string, axis int, first *onnx.Node) string {
	dq := &onnx.Node{
		Op:      "DequantizeLinear",
		Inputs:  []string{q, scale, zero},
		Outputs: []string{w.fresh(tensor + "_dq")},
	}
	dq.Name = w.fresh(tensor + "_dequantize")
	if axis >= 0 {
		dq.Set("axis", int64(axis))
	}
	w.before[first] = append(w.before[first], dq)
	info := w.g.Info[tensor].Clone()
	info.Name, info.Type = dq.Outputs[0], onnx.Float
	w.g.Info[dq.Outputs[0]] = info
	return dq.Outputs[0]
}

func replaceInput(list []*onnx.Node, from, to string) {
	for _, n := range list {
		for i, in := range n.Inputs {
			if in == from {
				n.Inputs[i] = to
			}
		}
	}
}

// finish puts the new nodes in front of their readers and drops constants that
// nobody reads any more.
func (w *writer) finish() {
	nodes := make([]*onnx.Node, 0, len(w.g.Nodes)*2)
	for _, n := range w.g.Nodes {
		nodes = append(nodes, w.before[n]...)
		nodes = append(nodes, n)
	}
	w.g.Nodes = nodes
	used := map[string]bool{}
	for _, n := range nodes {
		for _, in := range n.Uses() {
			used[in] = true
		}
	}
	for _, o := range w.g.Outputs {
		used[o.Name] = true
	}
	for name := range w.g.Init {
		if !used[name] {
			delete(w.g.Init, name)
			delete(w.g.Info, name)
		}
	}
}
