package half_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/half"
)

// net puts a small graph together: x goes through the convolution "first", then
// what a test adds, and in most tests the convolution "last" to the output y.
type net struct{ m *onnx.Model }

func newNet(size int) *net {
	n := &net{&onnx.Model{Opset: 13, Graph: &onnx.Graph{
		Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{},
		Inputs: []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{1, 4, size, size}}},
	}}}
	n.conv("first", "x")
	return n
}

func (n *net) op(op, out string, in ...string) *onnx.Node {
	node := &onnx.Node{Name: out, Op: op, Inputs: in, Outputs: strings.Split(out, " ")}
	n.m.Graph.Nodes = append(n.m.Graph.Nodes, node)
	return node
}

func (n *net) constant(name string, t *onnx.Tensor) string {
	n.m.Graph.Init[name] = t
	return name
}

func weights(count int) []float32 {
	w := make([]float32, count)
	for i := range w {
		w[i] = float32(math.Sin(float64(3*i+1))) * 0.3
	}
	return w
}

func (n *net) conv(out, in string) {
	n.op("Conv", out, in, n.constant(out+".w", onnx.NewTensor([]int{4, 4, 1, 1}, weights(16))), n.constant(out+".b", onnx.Vector(weights(4)...)))
}

func (n *net) outputs(names ...string) *onnx.Model {
	for _, name := range names {
		n.m.Graph.Outputs = append(n.m.Graph.Outputs, onnx.Value{Name: name, Type: onnx.Float})
	}
	return n.m
}

// types is the operators that give float16 and float32, in the graph's order,
// those without floating point left out.
func types(m *onnx.Model) string {
	var list []string
	for _, n := range m.Graph.Nodes {
		switch m.Graph.Info[n.Outputs[0]].Type {
		case onnx.Float16:
			list = append(list, n.Op+":16")
		case onnx.Float:
			list = append(list, n.Op+":32")
		}
	}
	return strings.Join(list, " ")
}

func TestDecisions(t *testing.T) {
	scalar := onnx.Scalar[float32]
	var names []string
	var groups [][]*onnx.Model
	for _, c := range []struct {
		name  string
		size  int
		build func(n *net) // from "first" to "mid"
		o     half.Options
		types string
		kept  string // reasons, in part
	}{
		{"plain", 8, func(n *net) {
			n.op("Sigmoid", "s", "first")
			n.op("Mul", "mid", "first", "s")
		}, half.Options{}, "Cast:16 Conv:16 Sigmoid:16 Mul:16 Conv:16 Cast:32", ""},
		{"followers stay with what has to be float32, layers do not", 8, func(n *net) {
			n.op("Exp", "e", "first")
			n.op("MaxPool", "p", "e").Set("kernel_shape", []int64{1, 1})
			n.op("Add", "mid", "p", "first")
		}, half.Options{}, "Cast:16 Conv:16 Cast:32 Exp:32 MaxPool:32 Add:32 Cast:16 Conv:16 Cast:32",
			`Exp is computed in float32; its input "e" is float32; its input "p" is float32`},
		{"too large", 8, func(n *net) { n.op("Mul", "mid", "first", n.constant("c", scalar(1e5))) },
			half.Options{}, "Cast:16 Conv:16 Cast:32 Mul:32 Cast:16 Conv:16 Cast:32", `constant "c" holds 100000, more than float16 can`},
		{"factor too small", 8, func(n *net) {
			n.op("Mul", "mid", "first", n.constant("c", onnx.NewTensor([]int{4, 1, 1}, []float32{1, 1e-6, 1, 1})))
		}, half.Options{}, "Cast:16 Conv:16 Cast:32 Mul:32 Cast:16 Conv:16 Cast:32", `constant "c" holds 1e-06, too small for float16`},
		{"term too small", 8, func(n *net) { n.op("Add", "mid", "first", n.constant("c", scalar(1e-9))) },
			half.Options{}, "Cast:16 Conv:16 Cast:32 Add:32 Cast:16 Conv:16 Cast:32", `constant "c" is too small for float16`},
		{"small terms beside large ones", 8, func(n *net) {
			n.op("Add", "mid", "first", n.constant("c", onnx.NewTensor([]int{4, 1, 1}, []float32{1, 1e-6, -2, 0})))
		}, half.Options{}, "Cast:16 Conv:16 Add:16 Conv:16 Cast:32", ""},
		{"an infinite bound", 8, func(n *net) {
			n.op("Clip", "mid", "first", n.constant("lo", scalar(0)), n.constant("hi", scalar(float32(math.Inf(1)))))
		}, half.Options{}, "Cast:16 Conv:16 Clip:16 Conv:16 Cast:32", ""},
		{"beyond the range seen", 8, func(n *net) {
			n.op("Relu", "r", "first")
			n.op("Neg", "mid", "r")
		}, half.Options{Ranges: map[string]float32{"first": 16376, "r": 16377, "mid": 3}},
			"Cast:16 Conv:16 Cast:32 Relu:32 Neg:32 Cast:16 Conv:16 Cast:32", `tensor "r" reaches beyond 16376; tensor "r" reaches beyond 16376`},
		{"a wide tensor makes its layers float32", 8, func(n *net) { n.op("Identity", "mid", "first") },
			half.Options{Ranges: map[string]float32{"mid": float32(math.NaN())}},
			"Cast:16 Conv:16 Cast:32 Identity:32 Conv:32", `tensor "mid" reaches beyond 16376; tensor "mid" reaches beyond 16376`},
		{"a short Softmax", 32, func(n *net) {
			n.op("Softmax", "mid", "first").Set("axis", int64(-1))
		}, half.Options{}, "Cast:16 Conv:16 Softmax:16 Conv:16 Cast:32", ""},
		{"a long Softmax", 33, func(n *net) {
			n.op("Reshape", "flat", "first", n.constant("to", onnx.Vector[int64](1, 4, 33*33)))
			n.op("Softmax", "soft", "flat").Set("axis", int64(-1))
			n.op("Reshape", "mid", "soft", n.constant("back", onnx.Vector[int64](1, 4, 33, 33)))
		}, half.Options{}, "Cast:16 Conv:16 Reshape:16 Cast:32 Softmax:32 Reshape:32 Cast:16 Conv:16 Cast:32", `a Softmax over more than 1024 elements; its input "soft" is float32`},
		{"sizes are computed in float32, and Shape needs no cast", 8, func(n *net) {
			n.op("Shape", "s", "first")
			n.op("Cast", "f", "s").Set("to", int64(onnx.Float))
			n.op("Mul", "m", "f", n.constant("two", onnx.Vector[float32](1, 1, 2, 2)))
			n.op("Cast", "sizes", "m").Set("to", int64(onnx.Int64))
			n.op("Resize", "mid", "first", "", "", "sizes")
		}, half.Options{}, "Cast:16 Conv:16 Cast:32 Mul:32 Resize:16 Conv:16 Cast:32", `Cast is computed in float32; its input "f" is float32`},
		{"scales of a resize", 8, func(n *net) {
			n.op("Resize", "mid", "first", "", n.constant("k", onnx.Vector[float32](1, 1, 2, 2)))
		}, half.Options{}, "Cast:16 Conv:16 Resize:16 Conv:16 Cast:32", ""},
		{"a cast left over", 8, func(n *net) { n.op("Cast", "mid", "first").Set("to", int64(onnx.Float)) },
			half.Options{}, "Cast:16 Conv:16 Cast:16 Conv:16 Cast:32", ""},
		{"double precision", 8, func(n *net) {
			n.op("Cast", "d", "first").Set("to", int64(onnx.Double))
			n.op("Add", "e", "d", "d")
			n.op("Cast", "mid", "e").Set("to", int64(onnx.Float))
		}, half.Options{}, "Cast:16 Conv:16 Cast:32 Cast:16 Conv:16 Cast:32", `Cast is computed in float32`},
		{"a head of one's own", 8, func(n *net) { n.op("Relu", "mid", "first") },
			half.Options{Heads: []string{"first"}}, "Cast:16 Conv:16 Cast:32 Relu:32 Conv:32", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNet(c.size)
			c.build(n)
			n.conv("y", "mid")
			m := n.outputs("y")
			h, r := convert(t, m, c.o)
			if got := types(h); got != c.types {
				t.Errorf("types\n%s, want\n%s", got, c.types)
			}
			var kept []string
			for _, k := range r.Kept {
				kept = append(kept, k.Reason)
			}
			if got := strings.Join(kept, "; "); got != c.kept {
				t.Errorf("kept: %s, want %s", got, c.kept)
			}
			casts := 0
			for _, n := range h.Graph.Nodes {
				if n.Op == "Cast" && strings.HasSuffix(n.Name, "_cast") {
					casts++
				}
			}
			if r.Casts != casts {
				t.Errorf("%d casts reported, %d there", r.Casts, casts)
			}
			names, groups = append(names, c.name), append(groups, []*onnx.Model{m, h, rounded(t, h)})
		})
	}
	for i, e := range errorsOf(t, groups...) {
		if slices.Max(e) > 2e-3 {
			t.Errorf("%s: errors %v", names[i], e)
		}
	}
}

// The decoding of a box behind the last layer: a projection with fixed weights
// is part of it.
func TestProjectionIsDecoding(t *testing.T) {
	n := newNet(8)
	n.op("Softmax", "soft", "first").Set("axis", int64(1))
	n.op("Conv", "y", "soft", n.constant("bins", onnx.NewTensor([]int{1, 4, 1, 1}, []float32{0, 1, 2, 3})))
	h, r := convert(t, n.outputs("y"), half.Options{})
	if got, want := types(h), "Cast:16 Conv:16 Cast:32 Softmax:32 Conv:32"; got != want || r.Half != 1 || r.Behind != 2 {
		t.Errorf("%s, want %s; %+v", got, want, r)
	}
}

// One Cast for all readers, names kept at the borders, tensors that leave the
// graph on the way.
func TestCasts(t *testing.T) {
	n := newNet(8)
	n.op("Exp", "e", "first")
	n.op("Cos", "l", "first")
	n.op("Add", "y", "e", "l")
	n.op("Sqrt", "z", "x")
	n.op("Identity", "same", "x")
	m := n.outputs("first", "y", "z", "same")
	h, _ := convert(t, m, half.Options{})
	if got, want := types(h), "Cast:16 Conv:16 Cast:32 Exp:32 Cos:32 Add:32 Sqrt:32 Identity:32"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for i, v := range h.Graph.Outputs {
		if v.Name != m.Graph.Outputs[i].Name || v.Type != onnx.Float {
			t.Errorf("output %+v", v)
		}
	}
	if e := errorsAgainst(t, m, h); slices.Max(e) > 2e-3 {
		t.Errorf("errors %v", e)
	}
}

// A subgraph reads tensors of the graph around it as float32, and what is not
// known of its results is left as it is.
func TestSubgraph(t *testing.T) {
	n := newNet(8)
	branch := func(op, out string) *onnx.Graph {
		return &onnx.Graph{Nodes: []*onnx.Node{{Name: out, Op: op, Inputs: []string{"r"}, Outputs: []string{out}}},
			Outputs: []onnx.Value{{Name: out, Type: onnx.Float}}}
	}
	n.op("Relu", "r", "first")
	n.op("ReduceMax", "top", "r").Set("keepdims", int64(0))
	choose := n.op("If", "mid", n.op("Greater", "c", "top", n.constant("zero", onnx.Scalar[float32](0))).Outputs[0])
	choose.Set("then_branch", branch("Abs", "a"))
	choose.Set("else_branch", branch("Neg", "b"))
	n.op("Reshape", "shaped", "mid", n.constant("to", onnx.Vector[int64](1, 4, 8, 8)))
	n.conv("y", "shaped")
	m := n.outputs("y")
	h, r := convert(t, m, half.Options{})
	if r.Half != 3 { // first, r, top
		t.Errorf("%s", describe(r))
	}
	if e := errorsAgainst(t, m, h); slices.Max(e) > 2e-3 {
		t.Errorf("errors %v", e)
	}
}

func TestConvertRefuses(t *testing.T) {
	for _, c := range []struct {
		change func(m *onnx.Model)
		o      half.Options
		want   string
	}{
		{func(*onnx.Model) {}, half.Options{Heads: []string{"nowhere"}}, `there is no tensor "nowhere", which is named as a head`},
		{func(*onnx.Model) {}, half.Options{Heads: []string{"first.w"}}, `there is no tensor "first.w"`},
		{func(m *onnx.Model) { m.Graph.Inputs[0].Dims[2] = onnx.Dynamic }, half.Options{}, "give it"},
	} {
		n := newNet(8)
		n.op("Relu", "y", "first")
		m := n.outputs("y")
		c.change(m)
		if _, _, err := half.Convert(m, c.o); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// A model without layers stays as it is.
func TestNothingToDo(t *testing.T) {
	m := &onnx.Model{Opset: 13, Graph: &onnx.Graph{
		Inputs: []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{1, 3}}}, Outputs: []onnx.Value{{Name: "y", Type: onnx.Float}},
		Nodes: []*onnx.Node{{Name: "n", Op: "Relu", Inputs: []string{"x"}, Outputs: []string{"y"}}},
	}}
	h, r := convert(t, m, half.Options{})
	if got := fmt.Sprintf("%s %d %d", types(h), r.Half, r.Casts); got != "Relu:32 0 0" {
		t.Error(got)
	}
}
