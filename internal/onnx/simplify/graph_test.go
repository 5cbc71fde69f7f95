package simplify_test

// Small graphs for the tests of this package, as text in and text out.

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/host"
)

type attrs = map[string]onnx.Attr

// node makes a node of words: "y = Mul x s".
func node(line string, a attrs) *onnx.Node {
	w := strings.Fields(line)
	n := &onnx.Node{Name: w[0], Outputs: []string{w[0]}, Op: w[2], Inputs: w[3:], Attrs: a}
	for i, name := range n.Inputs {
		if name == "_" {
			n.Inputs[i] = ""
		}
	}
	return n
}

// nodes makes nodes without attributes.
func nodes(lines ...string) []*onnx.Node {
	var list []*onnx.Node
	for _, l := range lines {
		list = append(list, node(l, nil))
	}
	return list
}

// model has the input x of shape d and the given outputs.
func model(opset int, d []int, init map[string]*onnx.Tensor, outputs string, nodes ...*onnx.Node) *onnx.Model {
	g := &onnx.Graph{Name: "g", Nodes: nodes, Inputs: []onnx.Value{{Name: "x", Type: onnx.Float, Dims: d}}, Init: init, Info: map[string]onnx.Value{}}
	if init == nil {
		g.Init = map[string]*onnx.Tensor{}
	}
	for _, o := range strings.Fields(outputs) {
		g.Outputs = append(g.Outputs, onnx.Value{Name: o, Type: onnx.Float})
	}
	return &onnx.Model{IR: 7, Opset: opset, Graph: g}
}

func scalars(values map[string]float32) map[string]*onnx.Tensor {
	init := map[string]*onnx.Tensor{}
	for name, v := range values {
		init[name] = onnx.Scalar(v)
	}
	return init
}

// text writes a graph one node a line, then the names of its constants.
func text(g *onnx.Graph) string {
	var b strings.Builder
	for _, n := range g.Nodes {
		op := n.Op
		if n.Domain != "" {
			op = n.Domain + "." + op
		}
		fmt.Fprintf(&b, "%s = %s %s", strings.Join(n.Outputs, " "), op, strings.Join(n.Inputs, " "))
		for _, name := range slices.Sorted(maps.Keys(n.Attrs)) {
			fmt.Fprintf(&b, " %s=%v", name, n.Attrs[name])
		}
		b.WriteString("\n")
	}
	if names := slices.Sorted(maps.Keys(g.Init)); len(names) > 0 {
		fmt.Fprintf(&b, "constants %s\n", strings.Join(names, " "))
	}
	return b.String()
}

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

func expect(t *testing.T, g *onnx.Graph, want string) {
	t.Helper()
	if got := text(g); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// random is a float tensor with values in [-4, 4), the same for the same seed.
func random(seed uint64, d ...int) *onnx.Tensor {
	n := 1
	for _, s := range d {
		n *= s
	}
	r := rand.New(rand.NewPCG(seed, 1))
	v := make([]float32, n)
	for i := range v {
		v[i] = r.Float32()*8 - 4
	}
	return onnx.NewTensor(d, v)
}

// evaluate computes a graph's outputs on the host, convolutions by the
// reference loops.
func evaluate(t *testing.T, g *onnx.Graph, opset int, x *onnx.Tensor) []*onnx.Tensor {
	t.Helper()
	values := maps.Clone(g.Init)
	values["x"] = x
	for _, n := range g.Nodes {
		in := make([]*onnx.Tensor, len(n.Inputs))
		for i, name := range n.Inputs {
			in[i] = values[name]
		}
		f := host.Eval
		if !host.Supports(n.Op, n.Domain) {
			f = host.Reference
		}
		out, err := f(n, opset, in)
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range n.Outputs {
			values[name] = out[i]
		}
	}
	var out []*onnx.Tensor
	for _, o := range g.Outputs {
		out = append(out, values[o.Name])
	}
	return out
}

// agree compares outputs to rounding.
func agree(t *testing.T, got, want []*onnx.Tensor, tolerance float64) {
	t.Helper()
	for i := range want {
		if !slices.Equal(got[i].Dims, want[i].Dims) {
			t.Fatalf("output %d has shape %v, want %v", i, got[i].Dims, want[i].Dims)
		}
		g, w := got[i].Floats(), want[i].Floats()
		for k := range w {
			if d := math.Abs(float64(g[k] - w[k])); !(d <= tolerance*(1+math.Abs(float64(w[k])))) {
				t.Fatalf("output %d element %d is %g, want %g", i, k, g[k], w[k])
			}
		}
	}
}
