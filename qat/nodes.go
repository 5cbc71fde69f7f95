// The distillation nodes: the tensors at which student and teacher are compared.
// By default those are the outputs of the last trained layers before the model's
// outputs (detect.HeadNodes), as ACT chooses them; NVIDIA's recipe for YOLOv7
// compares within the network as well, which FeatureStride asks for.
package qat

import (
	"fmt"
	"slices"
	"strings"

	"trtact/internal/compute"
	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/nearest"
	"trtact/internal/nn"
	"trtact/internal/onnx"
)

// findNodes gives the nodes that the options name, or those found from the graph,
// and behind them the features. Shapes must be known.
func findNodes(g *onnx.Graph, o *Options) ([]Node, error) {
	tensors := detect.HeadNodes(g)
	if len(o.Nodes) > 0 {
		var err error
		if tensors, err = namedNodes(g, o.Nodes); err != nil {
			return nil, err
		}
	}
	if len(tensors) == 0 {
		return nil, fault.BadInput(fmt.Errorf("find distillation nodes: no layer with weights leads to an output of the model; name tensors to compare at"))
	}
	for _, l := range []struct {
		what string
		n    int
	}{{"losses", len(o.Losses)}, {"alphas", len(o.Alphas)}} {
		if l.n != 1 && l.n != len(tensors) {
			return nil, fault.Usage(fmt.Errorf("find distillation nodes: %d %s for %d nodes (%s); give one for all or one for each", l.n, l.what, len(tensors), strings.Join(tensors, ", ")))
		}
	}
	ix := g.Index()
	var nodes []Node
	for i, t := range tensors {
		n, err := describeNode(g, ix, t, o.Losses[min(i, len(o.Losses)-1)], o.SoftmaxAxis)
		if err != nil {
			return nil, err
		}
		n.Alpha = o.Alphas[min(i, len(o.Alphas)-1)]
		n.Weight = n.Alpha / float64(len(tensors))
		nodes = append(nodes, n)
	}
	if o.FeatureStride > 0 {
		features := featureTensors(g, ix, tensors, o.FeatureStride)
		for _, t := range features {
			n, err := describeNode(g, ix, t, L2, -1)
			if err != nil {
				return nil, err
			}
			n.Feature, n.Alpha = true, o.FeatureAlpha
			n.Weight = n.Alpha / float64(len(features))
			nodes = append(nodes, n)
		}
	}
	return nodes, nil
}

// namedNodes are the tensors that names stand for: tensors, or nodes' first outputs.
func namedNodes(g *onnx.Graph, names []string) ([]string, error) {
	made := map[string]bool{}
	output := map[string]string{}
	var known []string
	for _, n := range g.Nodes {
		output[n.Name] = n.Output(0)
		known = append(known, n.Name)
		for _, t := range n.Outputs {
			made[t] = true
			known = append(known, t)
		}
	}
	var tensors []string
	for _, name := range names {
		t := name
		if !made[t] {
			t = output[name]
		}
		if t == "" {
			hint := "the last layers are " + strings.Join(detect.HeadNodes(g), ", ")
			if near := nearest.Names(name, known, 3); len(near) > 0 {
				hint = "did you mean " + strings.Join(near, " or ") + "?"
			}
			return nil, fault.Usage(fmt.Errorf("find distillation nodes: %q is neither a tensor nor a node of the model; %s", name, hint))
		}
		if slices.Contains(tensors, t) {
			return nil, fault.Usage(fmt.Errorf("find distillation nodes: %q is named twice", name))
		}
		tensors = append(tensors, t)
	}
	return tensors, nil
}

// describeNode checks that a loss can be taken at a tensor.
func describeNode(g *onnx.Graph, ix *onnx.Index, tensor string, loss Loss, axis int) (Node, error) {
	info := g.Info[tensor]
	maker := ix.Producer[tensor]
	refuse := func(format string, a ...any) (Node, error) {
		return Node{}, fault.Usage(fmt.Errorf("distillation node %q (%s): %s", tensor, maker.Op, fmt.Sprintf(format, a...)))
	}
	switch {
	case info.Type != onnx.Float:
		return refuse("it is %v; only float32 can be compared", info.Type)
	case info.Dims == nil || slices.Contains(info.Dims, onnx.Dynamic):
		return refuse("its shape %v is not known beforehand", info.Dims)
	case slices.Contains(info.Dims, 0):
		return refuse("it is empty, shape %v", info.Dims)
	}
	n := Node{Tensor: tensor, Node: maker.Name, Op: maker.Op, Dims: slices.Clone(info.Dims), Loss: loss}
	rank := len(n.Dims)
	switch loss {
	case L2, L1:
	case Cosine:
		n.Axis = compute.OverImage
	case ChannelKL:
		n.Axis = compute.OverSpace
		if rank < 3 {
			return refuse("shape %v has no plane for %s", n.Dims, loss)
		}
	case SoftLabel:
		if n.Axis = axis; axis < 0 {
			n.Axis += rank
		}
		if n.Axis < 0 || n.Axis >= rank {
			return refuse("softmax axis %d of shape %v", axis, n.Dims)
		}
	default:
		return refuse("loss %q; there are %s, %s, %s, %s and %s", loss, L2, L1, SoftLabel, Cosine, ChannelKL)
	}
	return n, nil
}

// featureTensors gives what every stride-th layer with weights before the heads
// makes, behind its activation, in the order of the graph. Layers are counted, not
// blocks: an exported graph has lost its blocks' names.
func featureTensors(g *onnx.Graph, ix *onnx.Index, heads []string, stride int) []string {
	before := map[*onnx.Node]bool{}
	var queue []string
	for _, h := range heads {
		queue = append(queue, ix.Producer[h].Uses()...)
	}
	for ; len(queue) > 0; queue = queue[1:] {
		if n := ix.Producer[queue[0]]; n != nil && !before[n] {
			before[n] = true
			queue = append(queue, n.Uses()...)
		}
	}
	var tensors []string
	count := 0
	for _, n := range g.Nodes {
		if !before[n] || !hasWeights(g, n) {
			continue
		}
		if count++; count%stride != 0 {
			continue
		}
		t := activated(ix, n.Output(0))
		info := g.Info[t]
		if !slices.Contains(heads, t) && !slices.Contains(tensors, t) && info.Type == onnx.Float && len(info.Dims) > 0 {
			tensors = append(tensors, t)
		}
	}
	return tensors
}

func hasWeights(g *onnx.Graph, n *onnx.Node) bool {
	switch n.Op {
	case "Conv", "ConvTranspose", "Gemm", "MatMul":
		return n.Domain == "" && g.Init[n.Input(1)] != nil
	}
	return false
}

// activated is the tensor behind the activation of t, t itself when there is none:
// its only reader where that works on each element alone, or the product with a
// gate of t that SiLU and HardSwish are exported as.
func activated(ix *onnx.Index, t string) string {
	readers := ix.Consumers[t]
	if len(readers) == 1 && onElements(readers[0].Op) {
		return readers[0].Output(0)
	}
	if len(readers) == 2 {
		gate, product := readers[0], readers[1]
		if gate.Op == "Mul" {
			gate, product = product, gate
		}
		if onElements(gate.Op) && product.Op == "Mul" && slices.Contains(product.Inputs, gate.Output(0)) && slices.Contains(product.Inputs, t) {
			return product.Output(0)
		}
	}
	return t
}

func onElements(op string) bool {
	switch op {
	case "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Mish", "Elu", "Selu", "Softplus", "Gelu", "Celu":
		return true
	}
	return false
}

// lossNode is the node as nn knows it.
func (n *Node) lossNode(temperature float64) nn.LossNode {
	l := nn.LossNode{Tensor: n.Tensor, Axis: n.Axis, Temperature: float32(temperature), Weight: float32(n.Weight)}
	switch n.Loss {
	case SoftLabel:
		l.Kind = compute.LossSoftLabel
	case L2:
		l.Kind = compute.LossL2
	case L1:
		l.Kind = compute.LossL1
	case Cosine:
		l.Kind = compute.LossCosine
	case ChannelKL:
		l.Kind = compute.LossChannelKL
	}
	return l
}
