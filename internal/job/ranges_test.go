package job

import (
	"bytes"
	"context"
	"math"
	"regexp"
	"testing"

	"trtact/calib"
	"trtact/internal/fault"
	"trtact/trt"
)

func TestLargest(t *testing.T) {
	inf := float32(math.Inf(-1))
	for _, c := range []struct {
		values []float32
		want   float32
	}{{nil, 0}, {[]float32{0, -3, 2}, 3}, {[]float32{1e-40, -0}, 1e-40}, {[]float32{65504, inf, 1}, float32(math.Inf(1))}} {
		if got := largest(c.values); got != c.want {
			t.Errorf("%v: %v, want %v", c.values, got, c.want)
		}
	}
	if got := largest([]float32{1, float32(math.NaN()), 2}); got == got {
		t.Errorf("with one that is no number: %v", got)
	}
}

// The magnitudes are those that calibration by absmax sees, found another way.
func TestFindRanges(t *testing.T) {
	d, images := small(t, float16Images)
	m, ctx := cpu(t), context.Background()
	samples := Pictures{Detector: d, Images: images}
	b := &building{m: m, o: BuildOptions{FP16: true}, r: &Result{}, d: d, single: d, in: inputs{samples: samples}}
	if err := b.findRanges(ctx, d); err != nil {
		t.Fatal(err)
	}
	c, err := m.CalibrateOn(ctx, d, samples, CalibrateOptions{Method: calib.AbsMax, Weights: calib.AbsMax, Placement: calib.DefaultOptions(), Equalise: EqualiseOff})
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, site := range c.Plan.Sites {
		got, found := b.r.ranges[site.Tensor]
		if !found { // what only moves or bounds values
			continue
		}
		compared++
		if math.Abs(float64(got/site.AbsMax)-1) > 1e-5 {
			t.Errorf("%s: %v, calibration sees %v", site.Tensor, got, site.AbsMax)
		}
	}
	if compared < 3 {
		t.Errorf("%d tensors compared", compared)
	}
}

// Each TensorRT gets FP16 and INT8 in the form that it has.
func TestForms(t *testing.T) {
	d, _ := small(t, 0)
	plan, err := calib.Place(d.Model.Graph, calib.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	for i := range plan.Sites {
		plan.Sites[i].Scale = 0.05
	}
	model, err := calib.Apply(d.Model, plan, calib.FloatWeights)
	if err != nil {
		t.Fatal(err)
	}
	q, err := d.Derive(model)
	if err != nil {
		t.Fatal(err)
	}
	strong, weak := trt.Family{Backend: trt.BackendRTX, Version: "1.7.1"}, trt.Family{Backend: trt.BackendTensorRT, Version: "8.6.1", WeakTypes: true, CalibrationCache: true}
	first := d.Model.Graph.Nodes[0].Name
	b := &building{o: BuildOptions{Model: d.Path, FP16: true, KeepFP32: []string{"^" + regexp.QuoteMeta(first) + "$"}}, r: &Result{}, d: d, single: d}

	f, err := b.explicit(q, strong)
	if err != nil || f.options.FP16 || len(f.options.LayerTypes) > 0 || f.half == nil || f.half.Half == 0 || f.model == q.Model {
		t.Errorf("strong types: %+v, %v", f.options, err)
	}
	f, err = b.explicit(q, weak)
	if err != nil || !f.options.FP16 || f.half != nil || f.model != q.Model || f.options.LayerTypes[first] != "fp32" {
		t.Errorf("weak types: %+v, %v", f.options, err)
	}
	if len(f.options.LayerTypes) < 2 || len(f.options.LayerTypes) > len(d.Model.Graph.Nodes)/2 {
		t.Errorf("%d of %d layers are kept in FP32", len(f.options.LayerTypes), len(d.Model.Graph.Nodes))
	}
	f, err = b.implicit(q, weak)
	if err != nil || !f.options.FP16 || !f.options.INT8 || !bytes.HasPrefix(f.options.CalibrationCache, []byte("TRT-8601-")) {
		t.Fatalf("implicit: %+v, %v", f.options, err)
	}
	if f.options.LayerTypes[first] != "fp32" {
		t.Errorf("%s is to stay FP32, found %q", first, f.options.LayerTypes[first])
	}
	for _, skip := range plan.Skipped {
		if name := f.options.LayerTypes[skip.Node]; name != "fp16" && name != "fp32" {
			t.Errorf("%s stays float by the plan, its type is %q", skip.Node, name)
		}
	}
	for _, n := range f.model.Graph.Nodes {
		if n.Op == "QuantizeLinear" || n.Op == "DequantizeLinear" {
			t.Fatalf("implicit: %s is left", n.Name)
		}
	}
	if err := weak.Check(trt.BuildOptions{INT8: true, CalibrationCache: f.options.CalibrationCache}); err != nil {
		t.Error(err)
	}
	b.o.KeepFP32 = []string{"^nothing$"}
	if _, err := b.explicit(q, weak); fault.Code(err) != fault.CodeUsage {
		t.Errorf("a pattern that matches nothing: %v", err)
	}
}
