package onnx

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"trtact/internal/testenv"
)

// text is a graph on a line, for comparison.
func text(g *Graph) string {
	var s []string
	for _, n := range g.Nodes {
		s = append(s, fmt.Sprintf("%s=%s(%s)", strings.Join(n.Outputs, ","), n.Op, strings.Join(n.Inputs, ",")))
	}
	return strings.Join(s, " ")
}

// diamond is x -> a -> {b, c} -> d, with a detached node, a constant and an
// If that reads a and b from within its branches.
func diamond() *Graph {
	branch := func(name, in string) *Graph {
		return &Graph{
			Name:    name,
			Nodes:   []*Node{node("Add", list(in, "k"), list(name+"_y")), node("Relu", list("x"), list(name+"_dead"))},
			Init:    map[string]*Tensor{"k": Scalar[float32](1)},
			Outputs: []Value{value(name + "_y")},
		}
	}
	choice := node("If", list("cond"), list("e"))
	choice.Set("then_branch", branch("then", "a"))
	choice.Set("else_branch", branch("else", "b"))
	return &Graph{
		Inputs: []Value{value("x", 2), {Name: "cond", Type: Bool, Dims: []int{}}},
		Nodes: []*Node{
			node("Relu", list("x"), list("a")),
			node("Abs", list("a"), list("b")),
			node("Mul", list("a", "w"), list("c")),
			node("Add", list("b", "c"), list("d")),
			node("Neg", list("x"), list("alone")),
			choice,
		},
		Outputs: []Value{value("d", 2), value("e", 2)},
		Init:    map[string]*Tensor{"w": Vector[float32](1, 2)},
		Info:    map[string]Value{"a": value("a", 2), "alone": value("alone", 2)},
	}
}

func model(g *Graph) *Model { return &Model{Opset: 13, Graph: g} }

func TestIndex(t *testing.T) {
	g := diamond()
	ix := g.Index()
	if ix.Producer["d"] != g.Nodes[3] || ix.Producer["x"] != nil || ix.Producer["w"] != nil {
		t.Errorf("producers %v", ix.Producer)
	}
	for name, want := range map[string][]*Node{
		"a": {g.Nodes[1], g.Nodes[2], g.Nodes[5]}, "b": {g.Nodes[3], g.Nodes[5]}, "cond": {g.Nodes[5]}, "d": nil, "k": nil,
		"x": {g.Nodes[0], g.Nodes[4], g.Nodes[5]},
	} {
		if got := ix.Consumers[name]; !slices.Equal(got, want) {
			t.Errorf("consumers of %s: %v, want %v", name, got, want)
		}
	}
	if ix.Order[g.Nodes[4]] != 4 {
		t.Errorf("order %v", ix.Order)
	}
}

func TestSort(t *testing.T) {
	sorted := diamond()
	want := text(sorted)
	if err := sorted.Sort(); err != nil || text(sorted) != want {
		t.Errorf("a sorted graph became %s, %v", text(sorted), err)
	}
	g := diamond()
	slices.Reverse(g.Nodes)
	if err := g.Sort(); err != nil {
		t.Fatal(err)
	}
	if got, want := text(g), "alone=Neg(x) a=Relu(x) c=Mul(a,w) b=Abs(a) e=If(cond) d=Add(b,c)"; got != want {
		t.Errorf("sorted it is %s, want %s", got, want)
	}
	if err := verify(model(g)); err != nil {
		t.Error(err)
	}
	// A cycle through a subgraph.
	g = diamond()
	g.Nodes[0].Inputs[0] = "e"
	if err := g.Sort(); err == nil || !strings.Contains(err.Error(), `"If_of_e" (If) -> node "Relu_of_a" (Relu)`) {
		t.Errorf("cycle: %v", err)
	}
}

func TestCloneSharesNothing(t *testing.T) {
	g := diamond()
	c := g.Clone()
	if !reflect.DeepEqual(g, c) {
		t.Fatal("a clone is not the same")
	}
	c.Nodes[0].Inputs[0] = "changed"
	c.Nodes[5].Attrs["then_branch"].(*Graph).Nodes[0].Op = "Sub"
	c.Nodes[5].Attrs["then_branch"].(*Graph).Init["k"].Floats()[0] = 9
	c.Init["w"].Floats()[0] = 9
	c.Inputs[0].Dims[0] = 9
	c.Info["a"].Dims[0] = 9
	if !reflect.DeepEqual(g, diamond()) {
		t.Error("a change of the clone reached the graph")
	}
}

func TestFreshName(t *testing.T) {
	g := diamond()
	for prefix, want := range map[string]string{
		"new": "new", "a": "a_1", "w": "w_1", "x": "x_1", "d": "d_1", "Relu_of_a": "Relu_of_a_1", "then_dead": "then_dead_1", "": "_1",
	} {
		if got := g.FreshName(prefix); got != want {
			t.Errorf("%q gives %q, want %q", prefix, got, want)
		}
	}
}

func TestRewire(t *testing.T) {
	g := diamond()
	g.Nodes = slices.Insert(g.Nodes, 1, node("Sigmoid", list("a"), list("q")))
	changed := g.Rewire("a", "q", func(n *Node) bool { return n.Op == "Sigmoid" || n.Op == "Mul" })
	if got, want := text(g), "a=Relu(x) q=Sigmoid(a) b=Abs(q) c=Mul(a,w) d=Add(b,c) alone=Neg(x) e=If(cond)"; changed != 2 || got != want {
		t.Errorf("%d nodes changed: %s, want %s", changed, got, want)
	}
	if got := text(g.Nodes[6].Attrs["then_branch"].(*Graph)); !strings.HasPrefix(got, "then_y=Add(q,k)") {
		t.Errorf("the branch is %s", got)
	}
	// A subgraph's own tensor of the same name is another tensor.
	if g.Rewire("k", "q", nil) != 0 {
		t.Error("the branches' own k was taken for the graph's")
	}
	if err := verify(model(g)); err != nil {
		t.Error(err)
	}
}

func TestRemoveDead(t *testing.T) {
	g := diamond()
	g.Init["unused"] = Scalar[float32](0)
	if n := g.RemoveDead(); n != 1 {
		t.Errorf("%d nodes removed", n)
	}
	if got, want := text(g), "a=Relu(x) b=Abs(a) c=Mul(a,w) d=Add(b,c) e=If(cond)"; got != want {
		t.Errorf("left is %s, want %s", got, want)
	}
	if got := text(g.Nodes[4].Attrs["else_branch"].(*Graph)); got != "else_y=Add(b,k)" {
		t.Errorf("left of the branch is %s", got)
	}
	if g.Init["unused"] != nil || g.Init["w"] == nil || g.Info["alone"].Name != "" || g.Info["a"].Name == "" {
		t.Errorf("constants %v, info %v", g.Init, g.Info)
	}
}

func TestExtract(t *testing.T) {
	g := diamond()
	if err := g.Extract(list("c", "b")); err != nil {
		t.Fatal(err)
	}
	if got, want := text(g), "a=Relu(x) b=Abs(a) c=Mul(a,w)"; got != want {
		t.Errorf("cut it is %s, want %s", got, want)
	}
	want := []Value{{Name: "c", Type: Float, Dims: []int{Dynamic}}, {Name: "b", Type: Float, Dims: []int{Dynamic}}}
	if !reflect.DeepEqual(g.Outputs, want) || len(g.Inputs) != 1 {
		t.Errorf("outputs %v, inputs %v", g.Outputs, g.Inputs)
	}
	if err := verify(model(g)); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		outputs []string
		want    string
	}{
		{nil, "no outputs are named"}, {list("nowhere"), `there is no tensor "nowhere"`},
		{list("a", "a"), "named twice"}, {list("then_y"), "there is no tensor"},
	} {
		g := diamond()
		if err := g.Extract(c.outputs); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.outputs, err)
		}
		if !reflect.DeepEqual(g, diamond()) {
			t.Errorf("%v: the graph has changed", c.outputs)
		}
	}
}

// A real detector with a non-maximum suppression behind it, cut before that: the
// cut model is the detector again.
func TestExtractBeforeNonMaxSuppression(t *testing.T) {
	dir := t.TempDir()
	testenv.RunPython(t, `
import sys, numpy as np, onnx
from onnx import helper as h, numpy_helper as nh, TensorProto as T
m = onnx.load(sys.argv[1])
g = m.graph
c = lambda name, *v: g.initializer.append(nh.from_array(np.array(v, np.int64), name))
c("zero", 0); c("four", 4); c("five", 5); c("end", 10**9); c("axis", 2); c("most", 100)
g.initializer.append(nh.from_array(np.array([.5], np.float32), "iou"))
g.node.extend([h.make_node("Slice", ["output0", "zero", "four", "axis"], ["boxes"]),
               h.make_node("Slice", ["output0", "five", "end", "axis"], ["raw"]),
               h.make_node("Transpose", ["raw"], ["scores"], perm=[0, 2, 1]),
               h.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "least"], ["kept"], center_point_box=1)])
del g.output[:]
g.output.append(h.make_tensor_value_info("kept", T.INT64, [None, 3]))
g.input.append(h.make_tensor_value_info("least", T.FLOAT, [1]))
onnx.checker.check_model(m, full_check=True)
onnx.save(m, sys.argv[2])`, testenv.Data(t, "models", "yolov5n.onnx"), filepath.Join(dir, "nms.onnx"))
	m, err := Load(filepath.Join(dir, "nms.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	original, err := Load(testenv.Data(t, "models", "yolov5n.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Graph.Extract(list("output0")); err != nil {
		t.Fatal(err)
	}
	if text(m.Graph) != text(original.Graph) || len(m.Graph.Init) != len(original.Graph.Init) || len(m.Graph.Inputs) != 1 {
		t.Errorf("cut it has %d nodes, %d constants, inputs %v", len(m.Graph.Nodes), len(m.Graph.Init), m.Graph.Inputs)
	}
	cut := filepath.Join(dir, "cut.onnx")
	if err := m.Save(cut); err != nil {
		t.Fatal(err)
	}
	if diff := testenv.RunPython(t, compareSaved, testenv.Data(t, "models", "yolov5n.onnx")+"="+cut); diff != "" {
		t.Error(diff)
	}
}
