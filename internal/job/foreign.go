// What other tools' quantised models hold that TensorRT does not read.

package job

import (
	"fmt"
	"slices"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/host"
)

// foreignInteger is an operator of whole numbers in the graph, other than the pairs of Q
// and DQ that TensorRT reads; "" where there is none.
func foreignInteger(g *onnx.Graph) string {
	for _, n := range g.Nodes {
		switch n.Op {
		case "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "DynamicQuantizeLinear":
			return n.Op
		}
	}
	return ""
}

// floatBiases has the biases that onnxruntime's quantiser writes as int32 and a
// DequantizeLinear be the float32 constants that they stand for: TensorRT dequantises
// numbers of 8 bits and fewer.
func floatBiases(m *onnx.Model) error {
	g := m.Graph
	var failed error
	g.Nodes = slices.DeleteFunc(g.Nodes, func(n *onnx.Node) bool {
		bias := g.Init[n.Input(0)]
		if failed != nil || n.Op != "DequantizeLinear" || n.Domain != "" || bias == nil || bias.Type != onnx.Int32 || g.Init[n.Input(1)] == nil {
			return false
		}
		in := make([]*onnx.Tensor, len(n.Inputs))
		for i, name := range n.Inputs {
			in[i] = g.Init[name]
		}
		out, err := host.Eval(n, m.Opset, in)
		if err != nil {
			failed = fault.BadInput(fmt.Errorf("node %q (%s): %w", n.Name, n.Op, err))
			return false
		}
		g.Init[n.Output(0)] = out[0]
		return true
	})
	g.RemoveDead()
	return failed
}

// symmetric is an error, a bad input, where a node of a pair has a zero point other than
// the int8 0 that TensorRT wants.
func symmetric(m *onnx.Model) error {
	for _, n := range m.Graph.Nodes {
		zero := m.Graph.Init[n.Input(2)]
		if n.Op != "QuantizeLinear" && n.Op != "DequantizeLinear" || n.Domain != "" || zero == nil {
			continue
		}
		values, err := zero.Ints()
		if err != nil {
			continue // an 8-bit float
		}
		other := slices.IndexFunc(values, func(v int64) bool { return v != 0 })
		if zero.Type == onnx.Int8 && other < 0 {
			continue
		}
		what := fmt.Sprintf("of type %v", zero.Type)
		if other >= 0 {
			what = fmt.Sprintf("%d (%v)", values[other], zero.Type)
		}
		return fault.BadInput(fmt.Errorf("%s is quantised already, with a zero point %s at node %q (%s), and TensorRT wants an int8 0: quantise it symmetrically, or give the float model with --int8", m.Path, what, n.Name, n.Op))
	}
	return nil
}
