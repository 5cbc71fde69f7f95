// Equalisation of channels. One scale serves all channels of an activation; where
// some are tens of times as large as most, most are rounded to nothing. So the
// channels are divided by factors, and the weights of the convolutions that read
// them multiplied: the float model computes the same. With a scale of its own for
// each output channel, a depthwise convolution takes any factors for nothing; for
// others they are shared between activation and weights (SmoothQuant: Xiao et al.
// 2023, equation 4 with alpha = 1/2; the idea of moving ranges across layers is
// Nagel et al. 2019).
//
// The division costs nothing where it goes into the convolution that makes the
// activation, through ReLU or LeakyReLU. Behind another activation function it is a
// Mul by a constant, which TensorRT fuses with that function; behind a Concat it is
// one for each branch.
package calib

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"trtact/internal/onnx"
)

// Uneven is the ratio of the largest to the median channel from which an
// activation is equalised.
const Uneven = 2.0

// mostUneven bounds the ratio of two factors: a channel that is nearly always zero
// is not blown up to the size of the others.
const mostUneven = 1024

// Equalisable lists the activations of a plan, placed on g, that only convolutions
// with weights of their own read quantised.
func Equalisable(g *onnx.Graph, p *Plan) []string {
	ix, nodes := g.Index(), nodesByName(g)
	var list []string
	for _, s := range p.Sites {
		dims := g.Info[s.Tensor].Dims
		if len(dims) < 3 || ix.Producer[s.Tensor] == nil {
			continue // a graph's input is what its user gives
		}
		fit := func(name string) bool { return checkReader(g, ix, nodes[name], s.Tensor, dims[1]) == "" }
		if !slices.ContainsFunc(s.Consumers, func(name string) bool { return !fit(name) }) {
			list = append(list, s.Tensor)
		}
	}
	return list
}

// checkReader says why a node cannot multiply the channels of tensor in its weights,
// "" when it can.
func checkReader(g *onnx.Graph, ix *onnx.Index, n *onnx.Node, tensor string, channels int) string {
	switch {
	case n == nil:
		return "it is not in the model"
	case n.Op != "Conv" || n.Input(0) != tensor:
		return "it is not a convolution that reads the tensor"
	}
	l := describeLayer(g, n)
	switch {
	case l.reason != "":
		return l.reason
	case l.in != channels:
		return fmt.Sprintf("it has %d input channels, not %d", l.in, channels)
	case len(ix.Consumers[l.weight]) != 1:
		return "it shares its weights with another"
	}
	return ""
}

// Equalise finds the factors for the activations of a plan, placed on g, whose
// channels differ enough. ranges holds, for those that Equalisable lists, the
// magnitude of each channel. g is not changed; Apply carries the factors out.
func Equalise(g *onnx.Graph, p *Plan, ranges map[string][]float32) []Equalisation {
	nodes := nodesByName(g)
	var list []Equalisation
	for _, tensor := range Equalisable(g, p) {
		r := ranges[tensor]
		if unevenness(r) < Uneven {
			continue
		}
		site := p.Sites[slices.IndexFunc(p.Sites, func(s Site) bool { return s.Tensor == tensor })]
		list = append(list, Equalisation{tensor, clone(site.Consumers), factors(g, nodes, site.Consumers, r)})
	}
	return list
}

// unevenness is the largest channel over the median one.
func unevenness(ranges []float32) float64 {
	if len(ranges) == 0 {
		return 1
	}
	sorted := slices.Clone(ranges)
	slices.Sort(sorted)
	largest, median := float64(sorted[len(sorted)-1]), float64(sorted[len(sorted)/2])
	if largest == 0 {
		return 1
	}
	return largest / math.Max(median, largest/mostUneven)
}

// factors are the channels' ranges where only depthwise convolutions read them, else
// the root of range over weight, with a geometric mean of 1.
func factors(g *onnx.Graph, nodes map[string]*onnx.Node, readers []string, ranges []float32) []float32 {
	weights := make([]float32, len(ranges))
	dense := false
	for _, name := range readers {
		if n := nodes[name]; !describeLayer(g, n).depthwise() {
			dense = true
			for c, w := range inputRanges(g, n) {
				weights[c] = max(weights[c], w)
			}
		}
	}
	logs := logRanges(ranges)
	if dense {
		for c, w := range logRanges(weights) {
			logs[c] = (logs[c] - w) / 2
		}
	}
	mean := 0.0
	for _, l := range logs {
		mean += l / float64(len(logs))
	}
	list := make([]float32, len(logs))
	for c, l := range logs {
		list[c] = float32(math.Exp(l - mean))
	}
	return list
}

// logRanges are the logarithms of magnitudes, none further than mostUneven below
// the largest.
func logRanges(ranges []float32) []float64 {
	largest := float64(slices.Max(ranges))
	logs := make([]float64, len(ranges))
	for c, r := range ranges {
		logs[c] = math.Log(math.Max(math.Max(float64(r), largest/mostUneven), float64(MinScale)))
	}
	return logs
}

// inputChannel calls f with the input channel of every weight of a convolution.
func inputChannel(g *onnx.Graph, n *onnx.Node, f func(channel, index int)) {
	w := g.Init[n.Input(1)]
	groups := max(1, int(n.Int("group", 1)))
	perGroup := max(1, w.Dims[0]/groups) // output channels
	size := 1
	for _, d := range w.Dims[2:] {
		size *= d
	}
	for o := range w.Dims[0] {
		for c := range w.Dims[1] {
			from := (o*w.Dims[1] + c) * size
			for i := range size {
				f(o/perGroup*w.Dims[1]+c, from+i)
			}
		}
	}
}

// inputRanges is the largest weight magnitude that reads each input channel.
func inputRanges(g *onnx.Graph, n *onnx.Node) []float32 {
	data := g.Init[n.Input(1)].Data.([]float32)
	ranges := make([]float32, describeLayer(g, n).in)
	inputChannel(g, n, func(c, i int) { ranges[c] = max(ranges[c], abs(data[i])) })
	return ranges
}

func abs(v float32) float32 {
	if v < 0 {
		return -v
	}
	return v
}

// Rescale gives a copy of m with the equalisations carried out. It computes what
// m computes, to float rounding. Fails when one does not fit the model.
func Rescale(m *onnx.Model, list []Equalisation) (*onnx.Model, error) {
	out := m.Clone()
	return out, rescale(out, list)
}

// equalisedKey is the metadata property, a JSON list, that names the tensors of a model
// whose channels were divided.
const equalisedKey = "trtact.equalised"

// EqualisedTensors are those of a model, under their old names, whose channels were
// divided by factors: their values are not those of the model that it was made from.
func EqualisedTensors(m *onnx.Model) []string {
	var names []string
	if json.Unmarshal([]byte(m.Metadata[equalisedKey]), &names) != nil {
		return nil
	}
	return names
}

func rescale(m *onnx.Model, list []Equalisation) error {
	divided := EqualisedTensors(m)
	for _, e := range list {
		w := newWriter(m.Graph, FloatWeights) // each sees what those before it did
		if err := w.equalise(e, &divided); err != nil {
			return err
		}
		w.finish()
	}
	if len(divided) == 0 {
		return nil
	}
	names, err := json.Marshal(divided)
	if m.Metadata == nil {
		m.Metadata = map[string]string{}
	}
	m.Metadata[equalisedKey] = string(names)
	return err
}

// equalise carries out one and adds the tensors that hold divided channels now.
func (w *writer) equalise(e Equalisation, divided *[]string) error {
	dims := w.g.Info[e.Tensor].Dims
	if len(dims) < 3 || dims[1] != len(e.Factors) {
		return fmt.Errorf("equalised %q: %d factors for a tensor of shape %v", e.Tensor, len(e.Factors), dims)
	}
	ix := w.g.Index()
	for _, name := range e.Readers {
		if problem := checkReader(w.g, ix, w.nodes[name], e.Tensor, dims[1]); problem != "" {
			return fmt.Errorf("equalised %q: node %q: %s", e.Tensor, name, problem)
		}
	}
	list, first, err := w.readers(e.Tensor, e.Readers)
	if err != nil {
		return err
	}
	for _, n := range list {
		data := w.g.Init[n.Input(1)].Data.([]float32)
		inputChannel(w.g, n, func(c, i int) { data[i] *= e.Factors[c] })
	}
	if maker, through := makerOf(w.g, ix, e); maker != nil {
		w.divideWeights(maker, e.Factors)
		*divided = append(*divided, through...)
		return nil
	}
	if n := ix.Producer[e.Tensor]; n.Op == "Concat" && n.Int("axis", 0) == 1 && onlyReaders(w.g, ix, e) {
		from := 0
		for i, branch := range n.Inputs {
			to := from + w.g.Info[branch].Dims[1]
			n.Inputs[i] = w.divide(branch, e.Factors[from:to], n)
			from = to
		}
		*divided = append(*divided, e.Tensor)
		return nil
	}
	replaceInput(list, e.Tensor, w.divide(e.Tensor, e.Factors, first))
	return nil
}

// onlyReaders says whether nobody but an equalisation's readers sees its tensor.
func onlyReaders(g *onnx.Graph, ix *onnx.Index, e Equalisation) bool {
	return len(ix.Consumers[e.Tensor]) == len(e.Readers) && !isGraphOutput(g, e.Tensor)
}

// makerOf is the convolution whose weights can be divided by an equalisation's factors,
// and the tensors that this changes; nil where a Mul has to divide.
func makerOf(g *onnx.Graph, ix *onnx.Index, e Equalisation) (maker *onnx.Node, through []string) {
	n := ix.Producer[e.Tensor]
	if n == nil || !onlyReaders(g, ix, e) {
		return nil, nil
	}
	tensor := e.Tensor
	through = []string{tensor}
	for n.Op == "Relu" || n.Op == "LeakyRelu" {
		tensor = n.Input(0)
		n = ix.Producer[tensor]
		if n == nil || len(ix.Consumers[tensor]) != 1 || isGraphOutput(g, tensor) {
			return nil, nil
		}
		through = append(through, tensor)
	}
	if n.Op != "Conv" || describeLayer(g, n).reason != "" || !ownsConstants(g, ix, n) {
		return nil, nil
	}
	return n, through
}

// divideWeights divides what a convolution gives by factors.
func (w *writer) divideWeights(n *onnx.Node, factors []float32) {
	t := w.g.Init[n.Input(1)]
	data := t.Data.([]float32)
	channels(t.Dims, 0, func(c, i int) { data[i] /= factors[c] })
	if b := w.g.Init[n.Input(2)]; b != nil {
		bias := b.Data.([]float32)
		for c := range bias {
			bias[c] /= factors[c]
		}
	}
}

// divide puts a division by factors in front of the node before and gives its
// output.
func (w *writer) divide(tensor string, factors []float32, before *onnx.Node) string {
	info := w.g.Info[tensor].Clone()
	dims := make([]int, len(info.Dims))
	for i := range dims {
		dims[i] = 1
	}
	dims[1] = len(factors)
	inverse := make([]float32, len(factors))
	for c, f := range factors {
		inverse[c] = 1 / f
	}
	name := w.fresh(tensor + "_equalised")
	n := &onnx.Node{Op: "Mul", Name: w.fresh(tensor + "_equalise"),
		Inputs: []string{tensor, w.constant(tensor+"_factors", onnx.NewTensor(dims, inverse))}, Outputs: []string{name}}
	w.before[before] = append(w.before[before], n)
	info.Name = name
	w.g.Info[name] = info
	return name
}

// ownsConstants says whether nobody else reads a layer's weights and bias, and
// the bias, if any, is a float constant with one value per channel.
func ownsConstants(g *onnx.Graph, ix *onnx.Index, n *onnx.Node) bool {
	if len(ix.Consumers[n.Input(1)]) != 1 {
		return false
	}
	name := n.Input(2)
	if name == "" {
		return true
	}
	b := g.Init[name]
	return b != nil && b.Type == onnx.Float && b.Len() == describeLayer(g, n).out && len(ix.Consumers[name]) == 1
}

func isGraphOutput(g *onnx.Graph, tensor string) bool {
	return slices.ContainsFunc(g.Outputs, func(o onnx.Value) bool { return o.Name == tensor })
}

func nodesByName(g *onnx.Graph) map[string]*onnx.Node {
	nodes := make(map[string]*onnx.Node, len(g.Nodes))
	for _, n := range g.Nodes {
		nodes[n.Name] = n
	}
	return nodes
}
