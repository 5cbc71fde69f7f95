package calib

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/onnx"
)

func TestMakeImplicit(t *testing.T) {
	m := bottleneck(t)
	p := planFor(t, m, DefaultOptions())
	want := Cache{}
	for i := range p.Sites {
		p.Sites[i].Scale = float32(i+1) / 64
		want[p.Sites[i].Tensor] = p.Sites[i].Scale
	}
	ranges := map[string]float32{"c0": 127, "c": 254, "head": 9, "d": 9, "out": 9}
	want["c0"] = 1 // what c0 gives its activation
	want["c"] = 2  // the other branch of the residual
	for _, form := range []WeightForm{FloatWeights, Int8Weights} {
		q, err := Apply(m, p, form)
		if err != nil {
			t.Fatal(err)
		}
		before := text(q.Graph)
		got, err := MakeImplicit(q, ranges)
		if err != nil {
			t.Fatal(err)
		}
		if text(q.Graph) != before {
			t.Error("the model it was given is changed")
		}
		if strings.Contains(text(got.Model.Graph), "QuantizeLinear") || len(got.Model.Graph.Nodes) != len(m.Graph.Nodes) {
			t.Errorf("the graph is\n%s", text(got.Model.Graph))
		}
		if !maps.Equal(got.Scales, want) {
			t.Errorf("scales %v, want %v", got.Scales, want)
		}
		if !slices.Equal(got.Float, []string{"head"}) {
			t.Errorf("float layers %v, want the head", got.Float)
		}
		// TensorRT finds the scales of weights by absmax.
		for _, w := range p.Weights {
			var folded *onnx.Tensor
			for _, n := range got.Model.Graph.Nodes {
				if n.Name == w.Nodes[0] {
					folded = got.Model.Graph.Init[n.Input(1)]
				}
			}
			values, per := folded.Floats(), folded.Len()/len(w.Scales)
			for c, scale := range w.Scales {
				var most float64
				for _, v := range values[c*per : (c+1)*per] {
					most = max(most, math.Abs(float64(v)))
					if steps := float64(v / scale); math.Abs(steps-math.Round(steps)) > 1e-4 {
						t.Fatalf("%s: weight %v is no whole number of %v", w.Tensor, v, scale)
					}
				}
				if math.Abs(most/127/float64(scale)-1) > 1e-6 {
					t.Errorf("%s channel %d: absmax gives scale %v, the plan has %v", w.Tensor, c, most/127, scale)
				}
			}
		}
	}
}

func TestMakeImplicitRefuses(t *testing.T) {
	m := bottleneck(t)
	if _, err := MakeImplicit(m, nil); fault.Code(err) != fault.CodeBadInput {
		t.Errorf("a float model: %v", err)
	}
	q, err := Apply(m, planFor(t, m, DefaultOptions()), FloatWeights)
	if err != nil {
		t.Fatal(err)
	}
	q.Graph.Init["zero_point"] = onnx.Scalar(int8(3))
	if _, err := MakeImplicit(q, nil); fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "zero point") {
		t.Errorf("with a zero point of 3: %v", err)
	}
}

func TestCacheText(t *testing.T) {
	for version, header := range map[string]string{"8.4.3": "TRT-8403-", "8.6.1": "TRT-8601-", "10.6.0": "TRT-100600-"} {
		got, err := (Cache{"x": 1}).Text(version)
		if err != nil || string(got) != header+"EntropyCalibration2\nx: 3f800000\n" {
			t.Errorf("%s: %q, %v", version, got, err)
		}
		if back, err := ParseCache(got); err != nil || !maps.Equal(back, Cache{"x": 1}) {
			t.Errorf("%s: read back %v, %v", version, back, err)
		}
	}
	if _, err := (Cache{"x": 1}).Text("?"); err == nil {
		t.Error("a version that is none")
	}
}
