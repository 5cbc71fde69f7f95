// Bias correction (Nagel et al., Data-Free Quantization Through Weight
// Equalization and Bias Correction, 2019): rounding its weights shifts the mean
// of a layer's output by the mean of its input times the error of the weights;
// that shift is taken back from the bias.
package calib

import (
	"fmt"

	"trtact/internal/onnx"
)

// ChannelMeans gives the mean of each channel (axis 1) of a tensor over the
// calibration images.
type ChannelMeans func(tensor string) ([]float32, error)

// CorrectBiases fills p.Biases for every quantised convolution of g, the graph
// that p was placed on. Borders, where padding takes the place of some inputs,
// are treated like the inside.
func (p *Plan) CorrectBiases(g *onnx.Graph, means ChannelMeans) error {
	ix := g.Index()
	nodes := nodesByName(g)
	var list []BiasCorrection
	for _, site := range p.Weights {
		for _, name := range site.Nodes {
			n := nodes[name]
			if n == nil || n.Op != "Conv" {
				continue
			}
			input := n.Input(0)
			if pad := ix.Producer[input]; pad != nil && pad.Op == "Pad" {
				input = pad.Input(0) // the site, and without the padding's zeros
			}
			mean, err := means(input)
			if err != nil {
				return fmt.Errorf("correct bias of node %q: channel means of %q: %w", name, input, err)
			}
			l := describeLayer(g, n)
			if len(mean) != l.in || len(site.Scales) != l.out {
				return fmt.Errorf("correct bias of node %q: %d channel means of %q and %d weight scales, for %d input and %d output channels", name, len(mean), input, len(site.Scales), l.in, l.out)
			}
			list = append(list, BiasCorrection{Node: name, Delta: biasDelta(g, n, site.Scales, mean)})
		}
	}
	p.Biases = list
	return nil
}

// biasDelta is, per output channel, minus the sum over the weights of (rounded
// weight - weight) * mean of the input channel it reads.
func biasDelta(g *onnx.Graph, n *onnx.Node, scales, mean []float32) []float32 {
	w := g.Init[n.Input(1)]
	data := w.Data.([]float32)
	shift := make([]float64, len(data))
	channels(w.Dims, 0, func(c, i int) {
		rounded := float64(scales[c]) * float64(QuantizeWeight(data[i], scales[c]))
		shift[i] = rounded - float64(data[i])
	})
	inputChannel(g, n, func(c, i int) { shift[i] *= float64(mean[c]) })
	sum := make([]float64, len(scales))
	channels(w.Dims, 0, func(c, i int) { sum[c] += shift[i] })
	delta := make([]float32, len(sum))
	for c, v := range sum {
		delta[c] = float32(-v)
	}
	return delta
}

// addBiases carries out bias corrections. A layer without a bias, or with one
// that others read too, gets its own.
func addBiases(g *onnx.Graph, list []BiasCorrection) error {
	if len(list) == 0 {
		return nil
	}
	ix := g.Index()
	nodes := nodesByName(g)
	for _, c := range list {
		n := nodes[c.Node]
		if n == nil {
			return fmt.Errorf("biases: node %q is not in the model", c.Node)
		}
		l := describeLayer(g, n)
		if l.kernel == nil || l.out != len(c.Delta) {
			return fmt.Errorf("biases %q: %d values for a %s with %d output channels", n.Name, len(c.Delta), n.Op, l.out)
		}
		old := n.Input(2)
		sum := clone(c.Delta)
		if old != "" {
			b := g.Init[old]
			if b == nil || b.Type != onnx.Float || b.Len() != len(sum) {
				return fmt.Errorf("biases %q: its bias %q is not a float constant of %d values", n.Name, old, len(sum))
			}
			for k, v := range b.Data.([]float32) {
				sum[k] += v
			}
		}
		name := old
		if old == "" || len(ix.Consumers[old]) > 1 || isGraphOutput(g, old) {
			name = n.Name + "_bias"
			for g.Init[name] != nil || ix.Producer[name] != nil || len(ix.Consumers[name]) > 0 {
				name += "_"
			}
		}
		for len(n.Inputs) < 3 {
			n.Inputs = append(n.Inputs, "")
		}
		n.Inputs[2] = name
		g.Init[name] = onnx.NewTensor([]int{len(sum)}, sum)
		if g.Info != nil {
			g.Info[name] = g.Init[name].Value(name)
		}
	}
	return nil
}
