package calib

import (
	"bytes"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// chain is two convolutions with a ReLU between them, which can be equalised; the
// first has no bias.
func chain(t *testing.T) *onnx.Model {
	s := newSketch(t, 1, 16, 8, 8)
	s.conv("c0", "x", 16, 16, 3, 1)
	s.m.Graph.Nodes[0].Inputs = s.m.Graph.Nodes[0].Inputs[:2]
	delete(s.m.Graph.Init, "c0.b")
	s.node("Relu", "r", nil, "c0")
	s.conv("c1", "r", 16, 16, 3, 1)
	return s.done(s.conv("head", "c1", 16, 16, 1, 1))
}

// TestBakeThenApply: the baked pair makes the same file as the pair it came from.
func TestBakeThenApply(t *testing.T) {
	m := chain(t)
	m.SHA256 = "aa"
	ranges := ones(16)
	ranges[3] = 9
	list := Equalise(m.Graph, planFor(t, m, DefaultOptions()), map[string][]float32{"c0": ranges, "r": ranges, "c1": ranges})
	float, err := Rescale(m, list)
	if err != nil {
		t.Fatal(err)
	}
	p := planFor(t, float, DefaultOptions())
	p.Model.SHA256 = "aa"
	p.Equalised = list
	for _, n := range []string{"c0", "c1"} {
		delta := make([]float32, 16)
		for i := range delta {
			delta[i] = float32(i) / 64
		}
		p.Biases = append(p.Biases, BiasCorrection{n, delta})
	}
	if len(p.Equalised) != 1 {
		t.Fatalf("equalised %d tensors, want 1", len(p.Equalised))
	}
	before, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	planBefore, err := p.JSON()
	if err != nil {
		t.Fatal(err)
	}
	baked, rest, err := Bake(m, p)
	if err != nil {
		t.Fatal(err)
	}
	if len(rest.Equalised)+len(rest.Biases) != 0 || rest.Model.SHA256 != "" || baked.SHA256 != "" {
		t.Errorf("left over: %v, %v, hashes %q and %q", rest.Equalised, rest.Biases, rest.Model.SHA256, baked.SHA256)
	}
	for _, form := range []WeightForm{FloatWeights, Int8Weights, TrainedWeights} {
		want, err := Apply(m, p, form)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Apply(baked, rest, form)
		if err != nil {
			t.Fatal(err)
		}
		a, err := want.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		b, err := got.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("form %d: the baked model's file differs", form)
		}
	}
	if after, _ := m.Marshal(); !bytes.Equal(before, after) {
		t.Error("Bake changed the model")
	}
	if after, _ := p.JSON(); !bytes.Equal(planBefore, after) {
		t.Error("Bake changed the plan")
	}
	m.SHA256 = "bb"
	if _, _, err := Bake(m, p); fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "calibrate this model") {
		t.Errorf("another model: %v", err)
	}
	m.SHA256 = ""
	p.Biases[0].Node = "nobody"
	if _, _, err := Bake(m, p); fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("bias of no node: %v", err)
	}
}

// TestTrainedWeightsAreLeftAlone: where FloatWeights clamps and renames, the
// student keeps constant and name.
func TestTrainedWeightsAreLeftAlone(t *testing.T) {
	m := chain(t)
	p := planFor(t, m, DefaultOptions())
	for i := range p.Weights {
		for c := range p.Weights[i].Scales {
			p.Weights[i].Scales[c] /= 2 // so that half the range is clipped
		}
	}
	clamped, err := Apply(m, p, FloatWeights)
	if err != nil {
		t.Fatal(err)
	}
	student, err := Apply(m, p, TrainedWeights)
	if err != nil {
		t.Fatal(err)
	}
	if clamped.Graph.Init["c0.w_clamped"] == nil {
		t.Fatal("the weights are not clipped: the test shows nothing")
	}
	if len(student.Graph.Nodes) != len(clamped.Graph.Nodes) {
		t.Errorf("%d nodes, want %d", len(student.Graph.Nodes), len(clamped.Graph.Nodes))
	}
	for _, w := range p.Weights {
		got, want := student.Graph.Init[w.Tensor], m.Graph.Init[w.Tensor]
		if got == nil || student.Graph.Init[w.Tensor+"_clamped"] != nil {
			t.Fatalf("constants of %q: %v", w.Tensor, got)
		}
		for i, v := range want.Data.([]float32) {
			if got.Data.([]float32)[i] != v {
				t.Fatalf("%q: element %d is %v, was %v", w.Tensor, i, got.Data.([]float32)[i], v)
			}
		}
	}
	names := ScaleNames(student.Graph)
	if len(names) != len(p.Sites) {
		t.Errorf("scale names %v for %d sites", names, len(p.Sites))
	}
	for _, s := range p.Sites {
		scale := student.Graph.Init[names[s.Tensor]]
		if scale == nil || scale.Data.([]float32)[0] != s.Scale {
			t.Errorf("scale of %q is called %q, which holds %v", s.Tensor, names[s.Tensor], scale)
		}
	}
}
