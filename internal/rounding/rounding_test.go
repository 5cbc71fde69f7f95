package rounding

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"trtact/calib"
	"trtact/internal/compute"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/testenv"
)

func cpu(t *testing.T) *compute.Device {
	t.Helper()
	testenv.Libraries(t)
	d, err := compute.OpenCPU()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// chain is three convolutions, the last one two branches that are added; the head is
// the fourth and stays float. Weights have the coarse scales of a few outliers, so that
// which way they are rounded matters.
func chain(t *testing.T) (*onnx.Model, *calib.Plan, []Sample) {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	g := &onnx.Graph{Inputs: []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{1, 16, 8, 8}}},
		Outputs: []onnx.Value{{Name: "out", Type: onnx.Float}}, Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{}}
	random := func(name string, size float64, dims ...int) string {
		n := 1
		for _, d := range dims {
			n *= d
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(size * rng.NormFloat64())
		}
		g.Init[name] = onnx.NewTensor(dims, v)
		return name
	}
	conv := func(out, in string) {
		w := random(out+".w", 0.08, 16, 16, 3, 3)
		for c := range 16 { // an outlier in each channel makes steps coarse
			g.Init[w].Data.([]float32)[c*144] = 4
		}
		g.Nodes = append(g.Nodes,
			&onnx.Node{Name: out + ".conv", Op: "Conv", Inputs: []string{in, w, random(out+".b", 0.1, 16)}, Outputs: []string{out + ".y"},
				Attrs: map[string]onnx.Attr{"kernel_shape": []int64{3, 3}, "pads": []int64{1, 1, 1, 1}}},
			&onnx.Node{Name: out + ".relu", Op: "Relu", Inputs: []string{out + ".y"}, Outputs: []string{out}})
	}
	conv("a", "x")
	conv("b", "a")
	conv("c", "b")
	g.Nodes = append(g.Nodes, &onnx.Node{Name: "add", Op: "Add", Inputs: []string{"c", "a"}, Outputs: []string{"sum"}})
	conv("out", "sum")
	m := &onnx.Model{IR: 8, Opset: 13, Graph: g}
	if err := shape.Infer(m, nil); err != nil {
		t.Fatal(err)
	}
	p, err := calib.Place(g, calib.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AssignWeights(g, calib.AbsMax); err != nil {
		t.Fatal(err)
	}
	for i := range p.Sites {
		p.Sites[i].Scale = 0.05
	}
	samples := make([]Sample, 16)
	for i := range samples {
		v := make([]float32, 16*64)
		for k := range v {
			v[k] = float32(math.Abs(rng.NormFloat64()))
		}
		samples[i] = Sample{"x": onnx.NewTensor([]int{1, 16, 8, 8}, v)}
	}
	return m, p, samples
}

// TestRound: the choice lowers every block's error on samples it was not made with, no
// weight goes further than to the other side of the grid, weights that round to nearest
// are as they were, and a second run chooses the same.
func TestRound(t *testing.T) {
	m, p, samples := chain(t)
	d := cpu(t)
	for _, layers := range []int{1, 3} {
		s := Subject{Model: m, Plan: p, Device: d, Workers: 2, Samples: samples, Options: Options{Layers: layers, Steps: 120, Batch: 4, Seed: 1}}
		blocks := 0
		s.Progress = func() { blocks++ }
		o, err := Round(context.Background(), s)
		if err != nil {
			t.Fatal(err)
		}
		if want := Blocks(m, p, layers); len(o.Blocks) != want || blocks != want || layers == 1 && want != 3 || layers == 3 && want >= 3 {
			t.Fatalf("%d blocks of at most %d layers, %d were told of", len(o.Blocks), layers, blocks)
		}
		for _, b := range o.Blocks {
			if b.Problem != "" || !b.Kept || !(b.After < 0.95*b.Before) {
				t.Errorf("blocks of at most %d layers: %+v", layers, b)
			}
		}
		moved := 0
		for _, w := range o.Plan.Weights {
			was, is := m.Graph.Init[w.Tensor].Floats(), o.Model.Graph.Init[w.Tensor].Floats()
			for i := range was {
				scale := w.Scales[i/144]
				if math.Abs(float64(is[i]-was[i])) > 1.0001*float64(scale) {
					t.Fatalf("weight %d of %s went from %v to %v with a step of %v", i, w.Tensor, was[i], is[i], scale)
				}
				if is[i] != was[i] {
					moved++
					if calib.QuantizeWeight(is[i], scale) == calib.QuantizeWeight(was[i], scale) {
						t.Fatalf("weight %d of %s was changed and rounds to the same", i, w.Tensor)
					}
				}
			}
		}
		if changed, weights := o.Changed(); changed != moved || moved == 0 || weights != 3*16*144 {
			t.Errorf("%d of %d weights are said to have changed, %d have", changed, weights, moved)
		}
		again, err := Round(context.Background(), s)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range o.Plan.Weights {
			if !slices.Equal(o.Model.Graph.Init[w.Tensor].Floats(), again.Model.Graph.Init[w.Tensor].Floats()) {
				t.Errorf("a second run rounds %s in another way", w.Tensor)
			}
		}
	}
}

// TestRoundWholeModel: what the choice promises block by block, the Q/DQ model keeps.
func TestRoundWholeModel(t *testing.T) {
	m, p, samples := chain(t)
	d := cpu(t)
	o, err := Round(context.Background(), Subject{Model: m, Plan: p, Device: d, Workers: 2, Samples: samples[:12], Options: Options{Steps: 120, Batch: 4}})
	if err != nil {
		t.Fatal(err)
	}
	distance := func(float *onnx.Model, plan *calib.Plan) float64 {
		q, err := calib.Apply(float, plan, calib.FloatWeights)
		if err != nil {
			t.Fatal(err)
		}
		r := &rounder{Subject: Subject{Device: d, Workers: 2, Samples: samples[12:]}, ctx: context.Background(), float: m}
		got, err := r.record(q, []string{"out"}, 4)
		if err != nil {
			t.Fatal(err)
		}
		want, err := r.record(m, []string{"out"}, 4)
		if err != nil {
			t.Fatal(err)
		}
		var difference, norm float64
		for i := range got {
			for k, v := range got[i]["out"].Floats() {
				w := float64(want[i]["out"].Floats()[k])
				difference += (float64(v) - w) * (float64(v) - w)
				norm += w * w
			}
		}
		return math.Sqrt(difference / norm)
	}
	before, after := distance(m, p), distance(o.Model, o.Plan)
	if !(after < 0.95*before) {
		t.Errorf("the model's error on other samples went from %v to %v", before, after)
	}
}

// TestSplit: blocks cover every quantised layer once, in the order of the graph.
func TestSplit(t *testing.T) {
	m, err := onnx.Load(testenv.Root() + "/examples/shapes/shapes.onnx")
	if err != nil {
		t.Fatal(err)
	}
	if err := shape.Infer(m, nil); err != nil {
		t.Fatal(err)
	}
	p, err := calib.Place(m.Graph, calib.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	for _, layers := range []int{1, BlockLayers} {
		var seen []string
		for _, b := range split(m.Graph, p, layers) {
			if len(b.layers) > layers || len(b.inputs) == 0 || len(b.outputs) == 0 {
				t.Errorf("block %+v", b)
			}
			if _, err := cut(m, b.inputs, b.outputs); err != nil {
				t.Error(err)
			}
			seen = append(seen, b.layers...)
		}
		want := p.Layers()
		slices.Sort(want)
		slices.Sort(seen)
		if !slices.Equal(seen, want) {
			t.Errorf("blocks of at most %d layers have %d layers, the plan %d", layers, len(seen), len(want))
		}
	}
}
