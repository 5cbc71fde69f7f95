// Cross-layer equalisation (Nagel et al., Data-Free Quantization Through Weight
// Equalization and Bias Correction, 2019): between two convolutions with nothing
// but a ReLU, LeakyReLU or PReLU between them, a channel may be divided by a
// positive factor behind the first and multiplied by it in front of the second,
// since f(x/s) = f(x)/s. The float model computes the same; channels of very
// different range become alike.
package calib

import (
	"fmt"
	"math"

	"trtact/internal/onnx"
)

// equalisePair gives the second layer when the output of first goes, through at
// most one positively homogeneous activation, into one convolution only. Layers
// that share constants with others are left out.
func equalisePair(g *onnx.Graph, ix *onnx.Index, first *onnx.Node) *onnx.Node {
	if first.Op != "Conv" || describeLayer(g, first).reason != "" || !ownsConstants(g, ix, first) {
		return nil
	}
	t := first.Output(0)
	for range 2 {
		readers := ix.Consumers[t]
		if len(readers) != 1 || isGraphOutput(g, t) {
			return nil
		}
		n := readers[0]
		switch {
		case n.Op == "Conv" && n.Input(0) == t && n.Input(1) != t:
			if describeLayer(g, n).reason != "" || len(ix.Consumers[n.Input(1)]) != 1 {
				return nil
			}
			return n
		case n.Op == "Relu" || n.Op == "LeakyRelu" || n.Op == "PRelu" && g.Init[n.Input(1)] != nil && n.Input(0) == t:
			t = n.Output(0)
		default:
			return nil
		}
	}
	return nil
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
	for _, o := range g.Outputs {
		if o.Name == tensor {
			return true
		}
	}
	return false
}

// equaliseRounds bounds the passes over all pairs; ranges settle in a few.
const equaliseRounds = 20

// Equalise finds the factors that make, for every pair of convolutions that
// allows it, each channel's weights equally large behind the first and in front
// of the second: factor = sqrt(range behind / range in front), repeated along
// chains until they settle. g is not changed; Apply carries the factors out.
func Equalise(g *onnx.Graph) []Equalisation {
	g = g.Clone()
	ix := g.Index()
	var pairs [][2]*onnx.Node
	for _, n := range g.Nodes {
		if second := equalisePair(g, ix, n); second != nil {
			pairs = append(pairs, [2]*onnx.Node{n, second})
		}
	}
	total := make([]Equalisation, len(pairs))
	for i, pair := range pairs {
		total[i] = Equalisation{First: pair[0].Name, Second: pair[1].Name, Factors: ones(describeLayer(g, pair[0]).out)}
	}
	for range equaliseRounds {
		moved := 0.0
		for i, pair := range pairs {
			behind := outputRanges(g, pair[0])
			front := inputRanges(g, pair[1])
			factors := ones(len(behind))
			for c := range factors {
				if behind[c] < MinScale || front[c] < MinScale {
					continue // a dead channel has nothing to balance
				}
				f := math.Sqrt(float64(behind[c]) / float64(front[c]))
				f = math.Max(1e-6/float64(total[i].Factors[c]), math.Min(1e6/float64(total[i].Factors[c]), f))
				factors[c] = float32(f)
				total[i].Factors[c] *= factors[c]
				moved = math.Max(moved, math.Abs(math.Log(f)))
			}
			divideOutput(g, pair[0], factors)
			multiplyInput(g, pair[1], factors)
		}
		if moved < 1e-3 {
			break
		}
	}
	return total
}

func ones(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

// outputRanges is the largest weight magnitude of each output channel.
func outputRanges(g *onnx.Graph, n *onnx.Node) []float32 {
	w := g.Init[n.Input(1)]
	data := w.Data.([]float32)
	ranges := make([]float32, w.Dims[0])
	channels(w.Dims, 0, func(c, i int) { ranges[c] = max(ranges[c], abs(data[i])) })
	return ranges
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

func divideOutput(g *onnx.Graph, n *onnx.Node, factors []float32) {
	w := g.Init[n.Input(1)]
	data := w.Data.([]float32)
	channels(w.Dims, 0, func(c, i int) { data[i] /= factors[c] })
	if b := g.Init[n.Input(2)]; b != nil {
		bias := b.Data.([]float32)
		for c := range bias {
			bias[c] /= factors[c]
		}
	}
}

func multiplyInput(g *onnx.Graph, n *onnx.Node, factors []float32) {
	data := g.Init[n.Input(1)].Data.([]float32)
	inputChannel(g, n, func(c, i int) { data[i] *= factors[c] })
}

func abs(v float32) float32 {
	if v < 0 {
		return -v
	}
	return v
}

// Rescale gives a copy of m with the equalisations carried out. It computes what
// m computes, to float rounding. Fails when a pair is not one that Equalise
// could have found.
func Rescale(m *onnx.Model, list []Equalisation) (*onnx.Model, error) {
	out := m.Clone()
	return out, rescale(out.Graph, list)
}

func rescale(g *onnx.Graph, list []Equalisation) error {
	if len(list) == 0 {
		return nil
	}
	ix := g.Index()
	nodes := nodesByName(g)
	for _, e := range list {
		first, second := nodes[e.First], nodes[e.Second]
		if first == nil || second == nil || equalisePair(g, ix, first) != second {
			return fmt.Errorf("equalised %q, %q: not two convolutions with constants of their own and only a ReLU, LeakyReLU or PReLU between them", e.First, e.Second)
		}
		if n := describeLayer(g, first).out; n != len(e.Factors) || n != describeLayer(g, second).in {
			return fmt.Errorf("equalised %q, %q: %d factors for %d channels", e.First, e.Second, len(e.Factors), n)
		}
		divideOutput(g, first, e.Factors)
		multiplyInput(g, second, e.Factors)
	}
	return nil
}

func nodesByName(g *onnx.Graph) map[string]*onnx.Node {
	nodes := make(map[string]*onnx.Node, len(g.Nodes))
	for _, n := range g.Nodes {
		nodes[n.Name] = n
	}
	return nodes
}
