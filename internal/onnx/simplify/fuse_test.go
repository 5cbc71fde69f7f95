package simplify_test

import (
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

// Every way of writing an activation becomes the same single node, which
// computes the same.
func TestFuseActivations(t *testing.T) {
	hard := scalars(map[string]float32{"three": 3, "zero": 0, "six": 6, "sixth": 1.0 / 6})
	gelu := scalars(map[string]float32{"root": 1.4142135, "rroot": 0.70710677, "one": 1, "half": 0.5, "k": 0.7978846, "c": 0.044715, "three": 3})
	cases := []struct {
		name  string
		opset int
		init  map[string]*onnx.Tensor
		nodes []*onnx.Node
		want  string
	}{
		{"silu", 13, nil, nodes("s = Sigmoid x", "y = Mul x s"), "trtact.Silu x"},
		{"silu swapped", 13, nil, nodes("s = Sigmoid x", "y = Mul s x"), "trtact.Silu x"},
		{"hard swish operator", 14, nil, nodes("y = HardSwish x"), "trtact.HardSwish x"},
		{"hard sigmoid", 13, nil, []*onnx.Node{node("s = HardSigmoid x", attrs{"alpha": float32(1.0 / 6)}), node("y = Mul x s", nil)}, "trtact.HardSwish x"},
		{"clip, division last", 13, hard, nodes("a = Add x three", "c = Clip a zero six", "m = Mul x c", "y = Div m six"), "trtact.HardSwish x"},
		{"clip, factor last", 13, hard, nodes("a = Add three x", "c = Clip a zero six", "m = Mul c x", "y = Mul sixth m"), "trtact.HardSwish x"},
		{"clip, division first", 13, hard, nodes("a = Add x three", "c = Clip a zero six", "d = Div c six", "y = Mul x d"), "trtact.HardSwish x"},
		{"clip of set 10", 10, hard, []*onnx.Node{node("a = Add x three", nil), node("c = Clip a", attrs{"min": float32(0), "max": float32(6)}), node("m = Mul x c", nil), node("y = Div m six", nil)}, "trtact.HardSwish x"},
		{"mish", 13, nil, nodes("p = Softplus x", "h = Tanh p", "y = Mul x h"), "trtact.Mish x"},
		{"mish operator", 18, nil, nodes("y = Mish x"), "trtact.Mish x"},
		{"gelu", 13, gelu, nodes("d = Div x root", "e = Erf d", "a = Add e one", "m = Mul x a", "y = Mul m half"), "trtact.Gelu x approximate=none"},
		{"gelu, half first", 13, gelu, nodes("d = Mul rroot x", "e = Erf d", "a = Add one e", "h = Mul half a", "y = Mul h x"), "trtact.Gelu x approximate=none"},
		{"gelu by tanh", 13, gelu, nodes("p = Pow x three", "q = Mul p c", "r = Add x q", "s = Mul r k", "h = Tanh s", "a = Add h one", "m = Mul x half", "y = Mul m a"), "trtact.Gelu x approximate=tanh"},
		{"gelu by tanh, products", 13, gelu, nodes("x2 = Mul x x", "x3 = Mul x2 x", "q = Mul c x3", "r = Add q x", "s = Mul k r", "h = Tanh s", "a = Add one h", "m = Mul x a", "y = Mul half m"), "trtact.Gelu x approximate=tanh"},
		{"gelu operator", 20, nil, []*onnx.Node{node("y = Gelu x", attrs{"approximate": "tanh"})}, "trtact.Gelu x approximate=tanh"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := model(c.opset, []int{2, 3, 5}, c.init, "y", c.nodes...)
			before := text(m.Graph)
			fused := simplify.Fuse(m.Graph, nil)
			expect(t, fused, "y = "+c.want+"\n")
			expect(t, m.Graph, before) // a copy was changed, not the graph
			x := random(1, 2, 3, 5)
			agree(t, evaluate(t, fused, c.opset, x), evaluate(t, m.Graph, c.opset, x), 1e-4)
		})
	}
}

// What only looks like an activation stays.
func TestFuseLeavesOthers(t *testing.T) {
	k := scalars(map[string]float32{"three": 3, "two": 2, "zero": 0, "six": 6, "half": 0.5})
	cases := []struct {
		name    string
		outputs string
		keep    map[string]bool
		nodes   []*onnx.Node
	}{
		{"gate is an output", "y s", nil, nodes("s = Sigmoid x", "y = Mul x s")},
		{"gate is kept", "y", map[string]bool{"s": true}, nodes("s = Sigmoid x", "y = Mul x s")},
		{"gate is read twice", "y z", nil, nodes("s = Sigmoid x", "y = Mul x s", "z = Relu s")},
		{"gate of another tensor", "y", nil, nodes("a = Relu x", "s = Sigmoid a", "y = Mul x s")},
		{"hard sigmoid of 0.2", "y", nil, nodes("s = HardSigmoid x", "y = Mul x s")},
		{"another shift", "y", nil, nodes("a = Add x two", "c = Clip a zero six", "m = Mul x c", "y = Div m six")},
		{"another scale", "y", nil, nodes("a = Add x three", "c = Clip a zero six", "m = Mul x c", "y = Div m three")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := model(13, []int{2, 3}, k, c.outputs, c.nodes...).Graph
			for _, n := range simplify.Fuse(g, c.keep).Nodes {
				if n.Domain != "" {
					t.Errorf("%v was made", n)
				}
			}
		})
	}
}

// Half of a SiLU is a SiLU and a product.
func TestFuseWithin(t *testing.T) {
	g := model(13, []int{4}, scalars(map[string]float32{"half": 0.5}), "y", nodes("s = Sigmoid x", "m = Mul x s", "y = Mul m half")...).Graph
	expect(t, simplify.Fuse(g, nil), lines("m = trtact.Silu x", "y = Mul m half", "constants half"))
}

func TestFuseModels(t *testing.T) {
	for file, want := range map[string]map[string]int{
		"yolov5n.onnx":       {"Silu": 57},
		"yolov8n_deq.onnx":   {"Silu": 57},
		"yolov6lite_s.onnx":  {"HardSwish": 100},
		"picodet_s_320.onnx": {"HardSwish": 87},
	} {
		m, err := onnx.Load(testenv.Data(t, "models", file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := simplify.Run(m); err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, n := range simplify.Fuse(m.Graph, nil).Nodes {
			if n.Domain == simplify.Domain {
				got[n.Op]++
			}
		}
		for op, n := range want {
			if got[op] != n {
				t.Errorf("%s: %d %s, want %d", file, got[op], op, n)
			}
		}
		t.Logf("%s: %v", file, got)
	}
}
