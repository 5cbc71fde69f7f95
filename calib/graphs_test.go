package calib

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
)

// sketch builds small graphs for tests, node by node. Weights are random but
// always the same.
type sketch struct {
	t   *testing.T
	m   *onnx.Model
	rng *rand.Rand
}

// newSketch starts a graph with one input "x" of the given shape.
func newSketch(t *testing.T, dims ...int) *sketch {
	x := onnx.Value{Name: "x", Type: onnx.Float, Dims: dims}
	return &sketch{t: t, rng: rand.New(rand.NewPCG(9, 10)), m: &onnx.Model{
		IR: 8, Opset: 13,
		Graph: &onnx.Graph{Name: "sketch", Inputs: []onnx.Value{x}, Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{}},
	}}
}

// node adds a node of the name of its output.
func (s *sketch) node(op, out string, attrs map[string]onnx.Attr, in ...string) string {
	s.m.Graph.Nodes = append(s.m.Graph.Nodes, &onnx.Node{Name: out, Op: op, Inputs: in, Outputs: []string{out}, Attrs: attrs})
	return out
}

// random is a float constant.
func (s *sketch) random(name string, dims ...int) string {
	n := 1
	for _, d := range dims {
		n *= d
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(s.rng.NormFloat64())
	}
	s.m.Graph.Init[name] = onnx.NewTensor(dims, v)
	return name
}

// ints is an int64 constant.
func (s *sketch) ints(name string, v ...int64) string {
	s.m.Graph.Init[name] = onnx.Vector(v...)
	return name
}

// conv adds a k x k convolution, padded to keep the size.
func (s *sketch) conv(out, from string, cin, cout, k, groups int) string {
	s.random(out+".w", cout, cin/groups, k, k)
	s.random(out+".b", cout)
	p := int64(k / 2)
	return s.node("Conv", out, map[string]onnx.Attr{
		"kernel_shape": []int64{int64(k), int64(k)}, "pads": []int64{p, p, p, p}, "group": int64(groups),
	}, from, out+".w", out+".b")
}

// silu adds x*sigmoid(x).
func (s *sketch) silu(out, from string) string {
	s.node("Sigmoid", out+".gate", nil, from)
	return s.node("Mul", out, nil, from, out+".gate")
}

// done names the outputs and infers shapes.
func (s *sketch) done(outputs ...string) *onnx.Model {
	s.t.Helper()
	for _, o := range outputs {
		s.m.Graph.Outputs = append(s.m.Graph.Outputs, onnx.Value{Name: o, Type: onnx.Float})
	}
	if err := shape.Infer(s.m, nil); err != nil {
		s.t.Fatal(err)
	}
	for i, o := range s.m.Graph.Outputs {
		s.m.Graph.Outputs[i] = s.m.Graph.Info[o.Name]
	}
	return s.m
}

// describe prints what a placement decided.
func describe(p *Plan) string {
	text := ""
	for _, s := range p.Sites {
		text += fmt.Sprintf("site %s -> %v group %d: %s\n", s.Tensor, s.Consumers, s.Group, s.Why)
	}
	for _, w := range p.Weights {
		text += fmt.Sprintf("weights %s %v axis %d x%d\n", w.Tensor, w.Nodes, w.Axis, len(w.Scales))
	}
	for _, g := range p.Groups {
		text += fmt.Sprintf("group %d %v via %v\n", g.ID, g.Tensors, g.Via)
	}
	for _, s := range p.Skipped {
		text += fmt.Sprintf("float %s: %s\n", s.Node, s.Reason)
	}
	return text
}
