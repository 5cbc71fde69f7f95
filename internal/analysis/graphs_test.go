package analysis

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"trtact/calib"
	"trtact/internal/compute"
	"trtact/internal/nn"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/testenv"
)

// sketch builds small graphs node by node, with weights that are random but always the
// same.
type sketch struct {
	g   *onnx.Graph
	rng *rand.Rand
}

func newSketch() *sketch {
	return &sketch{rng: rand.New(rand.NewPCG(5, 6)), g: &onnx.Graph{
		Inputs: []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{1, 3, 16, 16}}},
		Init:   map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{},
	}}
}

func (s *sketch) random(name string, size float64, dims ...int) string {
	n := 1
	for _, d := range dims {
		n *= d
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(size * s.rng.NormFloat64())
	}
	s.g.Init[name] = onnx.NewTensor(dims, v)
	return name
}

func (s *sketch) node(op, out string, attrs map[string]onnx.Attr, in ...string) string {
	s.g.Nodes = append(s.g.Nodes, &onnx.Node{Name: "node " + out, Op: op, Inputs: in, Outputs: []string{out}, Attrs: attrs})
	return out
}

// conv is a k x k convolution that keeps the size, with ReLU.
func (s *sketch) conv(out, from string, cin, cout, k, stride int) string {
	w := s.random(out+".w", 1/math.Sqrt(float64(cin*k*k)), cout, cin, k, k)
	return s.convWith(out, from, w, cout, k, stride, k/2)
}

func (s *sketch) convWith(out, from, w string, cout, k, stride, pad int) string {
	p := int64(pad)
	s.node("Conv", out+".conv", map[string]onnx.Attr{
		"kernel_shape": []int64{int64(k), int64(k)}, "strides": []int64{int64(stride), int64(stride)}, "pads": []int64{p, p, p, p},
	}, from, w, s.random(out+".b", 0.1, cout))
	return s.node("Relu", out, nil, out+".conv")
}

func (s *sketch) model(t *testing.T, outputs ...string) *onnx.Model {
	t.Helper()
	for _, name := range outputs {
		s.g.Outputs = append(s.g.Outputs, onnx.Value{Name: name, Type: onnx.Float})
	}
	m := &onnx.Model{IR: 8, Opset: 13, Graph: s.g}
	if err := shape.Infer(m, nil); err != nil {
		t.Fatal(err)
	}
	return m
}

// detectorLike has what matters in detectors: a residual addition, a Concat whose
// scales are shared, a convolution behind a Pad, two that share weights, and two heads
// of which one hangs off the middle.
func detectorLike(t *testing.T) (*onnx.Model, []string) {
	s := newSketch()
	s.conv("stem", "x", 3, 16, 3, 1)
	s.conv("a", "stem", 16, 16, 3, 1)
	s.conv("b", "a", 16, 16, 1, 1)
	s.node("Add", "sum", nil, "a", "b")
	s.conv("left", "sum", 16, 16, 1, 1)
	s.g.Init["pads"] = onnx.Vector[int64](0, 0, 1, 1, 0, 0, 0, 0)
	s.node("Pad", "padded", nil, "sum", "pads")
	w := s.random("shared.w", 0.1, 16, 16, 3, 3)
	s.convWith("right", "padded", w, 16, 3, 2, 0)
	s.convWith("down", "left", w, 16, 3, 2, 1)
	s.node("MaxPool", "pooled", map[string]onnx.Attr{"kernel_shape": []int64{2, 2}, "strides": []int64{2, 2}}, "left")
	s.node("Concat", "joined", map[string]onnx.Attr{"axis": int64(1)}, "right", "down", "pooled")
	s.conv("mix", "joined", 48, 16, 1, 1)
	s.conv("far", "mix", 16, 16, 3, 1)
	s.conv("near", "left", 16, 16, 3, 1)
	s.random("h1.w", 0.2, 16, 16, 1, 1)
	s.node("Conv", "h1", nil, "far", "h1.w")
	s.random("h2.w", 0.2, 16, 16, 1, 1)
	s.node("Conv", "h2", nil, "near", "h2.w")
	s.node("Sigmoid", "out", nil, "h1")
	return s.model(t, "out", "h2"), []string{"h1", "h2"}
}

func samplesFor(n int) []Sample {
	rng := rand.New(rand.NewPCG(1, 2))
	list := make([]Sample, n)
	for i := range list {
		v := make([]float32, 3*16*16)
		for k := range v {
			v[k] = rng.Float32()
		}
		list[i] = Sample{"x": onnx.NewTensor([]int{1, 3, 16, 16}, v)}
	}
	return list
}

func openCPU(t testing.TB) *compute.Device {
	t.Helper()
	testenv.Libraries(t)
	d, err := compute.OpenCPU()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// calibrated places quantisers and finds scales on the samples.
func calibrated(t testing.TB, m *onnx.Model, d *compute.Device, samples []Sample, method calib.Method) *calib.Plan {
	t.Helper()
	p, err := calib.Place(m.Graph, calib.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	var tensors []string
	for _, s := range p.Sites {
		tensors = append(tensors, s.Tensor)
	}
	n, err := nn.Compile(m, d, nn.Options{Outputs: tensors, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	o := calib.NewObserver(tensors)
	err = n.ForEach(context.Background(), len(samples), func(c *nn.Context, i int) error {
		if _, err := run(c, samples[i], nil); err != nil {
			return err
		}
		return o.Image(i, c)
	})
	if err != nil {
		t.Fatal(err)
	}
	stats, err := o.Statistics()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Assign(stats, method); err != nil {
		t.Fatal(err)
	}
	return p
}

func subjectFor(t testing.TB, m *onnx.Model, heads []string, samples []Sample) Subject {
	d := openCPU(t)
	return Subject{Model: m, Plan: calibrated(t, m, d, samples, calib.Percentile(99.9)), Heads: heads, Device: d}
}
