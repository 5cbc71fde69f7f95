package half_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/half"
)

// pair puts Q and DQ behind a tensor.
func (n *net) pair(in string, scale float32) string {
	s, z := n.constant(in+".s", onnx.Scalar(scale)), n.constant(in+".z", onnx.Scalar(int8(0)))
	n.op("QuantizeLinear", in+".q", in, s, z)
	return n.op("DequantizeLinear", in+".dq", in+".q", s, z).Outputs[0]
}

// quantisedConv is a convolution with weights quantised by the channel.
func (n *net) quantisedConv(out, in string, scales ...float32) {
	w := n.constant(out+".w", onnx.NewTensor([]int{4, 4, 1, 1}, weights(16)))
	s, z := n.constant(out+".ws", onnx.Vector(scales...)), n.constant(out+".wz", onnx.Vector[int8](0, 0, 0, 0))
	n.op("QuantizeLinear", out+".wq", w, s, z).Set("axis", int64(0))
	n.op("DequantizeLinear", out+".wdq", out+".wq", s, z).Set("axis", int64(0))
	n.op("Conv", out, in, out+".wdq")
}

func TestPairs(t *testing.T) {
	var names []string
	var groups [][]*onnx.Model
	normal := []float32{0.0024, 0.003, 0.0027, 0.0025}
	for _, c := range []struct {
		name  string
		build func(n *net)
		o     half.Options
		types string
		pairs [2]int // in float16, between casts
	}{
		{"weights become INT8, scales float16", func(n *net) {
			n.op("Relu", "r", "first")
			n.quantisedConv("y", n.pair("r", 0.0123), normal...)
		}, half.Options{Opset19: true},
			"Cast:16 Conv:16 Relu:16 DequantizeLinear:16 DequantizeLinear:16 Conv:16 Cast:32", [2]int{2, 0}},
		{"without opset 19 casts", func(n *net) {
			n.op("Relu", "r", "first")
			n.quantisedConv("y", n.pair("r", 0.0123), normal...)
		}, half.Options{},
			"Cast:16 Conv:16 Relu:16 Cast:32 DequantizeLinear:32 Cast:16 DequantizeLinear:32 Cast:16 Conv:16 Cast:32", [2]int{0, 2}},
		{"scales too small for float16", func(n *net) {
			n.quantisedConv("y", n.pair("first", 5e-5), 0.0024, 1e-30, 0.0024, 0.0024)
		}, half.Options{Opset19: true},
			"Cast:16 Conv:16 Cast:32 DequantizeLinear:32 Cast:16 DequantizeLinear:32 Cast:16 Conv:16 Cast:32", [2]int{0, 2}},
		{"a range too wide for float16", func(n *net) {
			n.quantisedConv("mid", n.pair("first", 200), normal...)
			n.conv("y", "mid")
		}, half.Options{Opset19: true},
			"Cast:16 Conv:16 DequantizeLinear:32 DequantizeLinear:32 Conv:32 Cast:16 Conv:16 Cast:32", [2]int{0, 0}},
		{"on the border and read as float32 too", func(n *net) {
			dq := n.pair("x", 0.0077)
			n.quantisedConv("c", dq, normal...)
			n.op("Exp", "e", dq)
			n.op("Add", "mid", "c", "e")
			n.conv("y", "mid")
		}, half.Options{Opset19: true},
			"DequantizeLinear:32 Cast:16 DequantizeLinear:16 Conv:16 Cast:32 Exp:32 Add:32 Cast:16 Conv:16 Cast:32", [2]int{1, 1}},
		{"nothing but moving between pairs stays where the pairs are", func(n *net) {
			n.op("MaxPool", "p", n.pair("first", 0.01)).Set("kernel_shape", []int64{1, 1})
			n.quantisedConv("y", n.pair("p", 0.01), normal...)
		}, half.Options{},
			"Cast:16 Conv:16 Cast:32 DequantizeLinear:32 MaxPool:32 DequantizeLinear:32 Cast:16 DequantizeLinear:32 Cast:16 Conv:16 Cast:32", [2]int{0, 2}},
		{"a shortcut joins what is float16", func(n *net) {
			n.op("Relu", "r", "first")
			n.op("Add", "mid", "first", n.pair("r", 0.01))
			n.quantisedConv("y", n.pair("mid", 0.01), normal...)
		}, half.Options{},
			"Cast:16 Conv:16 Relu:16 Cast:32 DequantizeLinear:32 Cast:16 Add:16 Cast:32 DequantizeLinear:32 Cast:16 DequantizeLinear:32 Cast:16 Conv:16 Cast:32", [2]int{0, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNet(8)
			c.build(n)
			m := n.outputs("y")
			h, r := convert(t, m, c.o)
			if got := types(h); got != c.types || [2]int{r.Pairs, r.CastPairs} != c.pairs {
				t.Errorf("%d, %d pairs\n%s, want %v\n%s", r.Pairs, r.CastPairs, got, c.pairs, c.types)
			}
			if len(h.Graph.Nodes) == 0 || h.Opset != map[bool]int{false: 13, true: 19}[c.o.Opset19] {
				t.Errorf("opset %d", h.Opset)
			}
			samePairs(t, h)
			names, groups = append(names, c.name), append(groups, []*onnx.Model{m, h, rounded(t, h)})
		})
	}
	// One step of INT8 may be another where float16 moved a value over a tie.
	for i, e := range errorsOf(t, groups...) {
		if slices.Max(e) > 2e-2 {
			t.Errorf("%s: errors %v", names[i], e)
		}
	}
}

// samePairs: both nodes of a pair mean the same scale, whatever type it has.
func samePairs(t *testing.T, m *onnx.Model) {
	t.Helper()
	ix := m.Graph.Index()
	for _, dq := range m.Graph.Nodes {
		q := ix.Producer[dq.Input(0)]
		if dq.Op != "DequantizeLinear" || q == nil {
			continue
		}
		if a, b := m.Graph.Init[q.Input(1)].Floats(), m.Graph.Init[dq.Input(1)].Floats(); !slices.Equal(a, b) {
			t.Errorf("%s has scale %v, %s %v", q, a, dq, b)
		}
	}
}

// The pair of an input of the graph: Q takes float32, DQ gives float16.
func TestPairOfInput(t *testing.T) {
	n := newNet(8)
	n.m.Graph.Nodes = nil
	n.quantisedConv("y", n.pair("x", 0.0077), 0.0024, 0.003, 0.0027, 0.0025)
	h, _ := convert(t, n.outputs("y"), half.Options{Opset19: true})
	if got, want := types(h), "DequantizeLinear:16 DequantizeLinear:16 Conv:16 Cast:32"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	samePairs(t, h)
	q := h.Graph.Nodes[0]
	if s := h.Graph.Init[q.Input(1)]; s.Type != onnx.Float || s.Floats()[0] != onnx.Float16Value(onnx.Float16Bits(0.0077)) {
		t.Errorf("%s has scale %v of type %s", q, s.Floats(), s.Type)
	}
}

// INT8 weights are those that the float32 model had, and nothing else is left.
func TestWeightsOfPairs(t *testing.T) {
	n := newNet(8)
	n.quantisedConv("y", n.pair("first", 0.01), 0.0024, 0.003, 0.0027, 0.0025)
	m := n.outputs("y")
	h, _ := convert(t, m, half.Options{Opset19: true})
	w := h.Graph.Init["y.wq"]
	if w == nil || w.Type != onnx.Int8 {
		t.Fatalf("weights %+v", w)
	}
	for i, v := range w.Data.([]int8) {
		x, s := m.Graph.Init["y.w"].Floats()[i], m.Graph.Init["y.ws"].Floats()[i/4]
		if d := x/s - float32(v); d > 0.50001 || d < -0.50001 {
			t.Errorf("weight %d: %g of scale %g is %d", i, x, s, v)
		}
	}
	var names []string
	for name, t := range h.Graph.Init {
		names = append(names, fmt.Sprintf("%s %s", name, t.Type))
	}
	slices.Sort(names)
	if got, want := strings.Join(names, ", "), "first.b_half float16, first.s_half float16, first.w_half float16, first.z int8, y.wq int8, y.ws_half float16, y.wz int8"; got != want {
		t.Errorf("constants %s, want %s", got, want)
	}
}
