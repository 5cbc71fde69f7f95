package trt

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/calib"
	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

// sampleDetector is the detector of the examples with Q/DQ, as build writes it but
// for the scales, which here are all the same. The second result counts the
// convolutions with Q/DQ.
func sampleDetector(t *testing.T) ([]byte, int) {
	t.Helper()
	m, err := onnx.Load(filepath.Join(testenv.Root(), "examples", "shapes", "shapes.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := simplify.Run(m); err != nil {
		t.Fatal(err)
	}
	plan, err := calib.Place(m.Graph, calib.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	for i := range plan.Sites {
		plan.Sites[i].Scale = 0.05
	}
	for i, w := range plan.Weights {
		scales := make([]float32, m.Graph.Init[w.Tensor].Dims[w.Axis])
		for k := range scales {
			scales[k] = 0.01
		}
		plan.Weights[i].Scales = scales
	}
	q, err := calib.Apply(m, plan, calib.FloatWeights)
	if err != nil {
		t.Fatal(err)
	}
	data, err := q.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data, len(plan.Weights)
}

// Whatever GPUs an engine is for, INT8 is what it runs, but on Turing: left out
// where nobody names it, refused beside others, and alone with a warning.
func TestRTXTargetsOfINT8(t *testing.T) {
	family, places := rtx(t)
	model, quantized := sampleDetector(t)
	others := slices.DeleteFunc(slices.Clone(family.Targets), func(n int) bool { return n == floatOnly })
	sets := [][]int{nil, others, {86, 121}, {80, 86, 89, 120}}
	for _, target := range others {
		sets = append(sets, []int{target})
	}
	for _, targets := range sets {
		e, err := Build(context.Background(), family, model, BuildOptions{Places: &places, Targets: targets})
		if err != nil {
			t.Errorf("%v: %v", targets, err)
			continue
		}
		a := e.Artifact
		if a.Convolutions == nil || a.Convolutions.INT8 != quantized || !strings.Contains(a.Precision, "int8") || a.Warnings != nil {
			t.Errorf("%v: convolutions %+v, %d have Q/DQ; precision %s, warnings %q", targets, a.Convolutions, quantized, a.Precision, a.Warnings)
		}
		if targets != nil {
			if a.DroppedTargets != nil {
				t.Errorf("%v: dropped %v", targets, a.DroppedTargets)
			}
		} else if len(a.Targets) != len(others) || len(a.DroppedTargets) != 1 || a.DroppedTargets[0].Target != "sm_75" ||
			!strings.Contains(a.DroppedTargets[0].Reason, "no INT8 convolution") {
			t.Errorf("with none named: for %v, dropped %v", a.Targets, a.DroppedTargets)
		}
	}
	_, err := Build(context.Background(), family, model, BuildOptions{Places: &places, Targets: []int{75, 86}})
	if fault.Code(err) != fault.CodeUsage || !strings.Contains(err.Error(), "leave sm_75 out") {
		t.Errorf("sm_75 beside sm_86: %v", err)
	}
	alone, err := Build(context.Background(), family, model, BuildOptions{Places: &places, Targets: []int{75}})
	if err != nil {
		t.Fatal(err)
	}
	if a := alone.Artifact; len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "sm_75") || a.Precision != "fp32" {
		t.Errorf("sm_75 alone: precision %s, warnings %q", a.Precision, a.Warnings)
	}
}

// The fact that targets.go is about, of TensorRT for RTX itself.
func TestRTXTuringTakesINT8(t *testing.T) {
	family, places := rtx(t)
	model, quantized := sampleDetector(t)
	s, err := openShim(family.Shim)
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.open(places.Libraries, places.Loader)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for _, c := range []struct {
		targets []int
		want    int
	}{{[]int{86}, quantized}, {[]int{75}, 0}, {[]int{75, 86}, 0}} {
		b, err := l.build(model, nil, BuildOptions{Targets: c.targets}, filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		found := plannedConvolutions(b.data())
		b.close()
		switch {
		case found == nil:
			t.Errorf("%v: the plan in engines of %s %s cannot be read: change plan.go", c.targets, family.Title, family.Version)
		case found.INT8 != c.want:
			t.Errorf("%v: %d of %d convolutions in INT8, want %d: %s %s is not as targets.go says; if it has INT8 for sm_75 now, that file can go",
				c.targets, found.INT8, found.All, c.want, family.Title, family.Version)
		}
	}
}

func TestCheckINT8Targets(t *testing.T) {
	for _, c := range []struct {
		targets []int
		code    int
	}{{nil, fault.CodeOK}, {[]int{75}, fault.CodeOK}, {[]int{80, 86, 121}, fault.CodeOK}, {[]int{75, 86}, fault.CodeUsage}, {[]int{120, 75}, fault.CodeUsage}} {
		if err := CheckINT8Targets(c.targets); fault.Code(err) != c.code {
			t.Errorf("%v: %v (exit code %d), want %d", c.targets, err, fault.Code(err), c.code)
		}
	}
}

func TestHasINT8Convolution(t *testing.T) {
	for _, form := range forms {
		want := form != plain && form != fp16
		if got := hasINT8Convolution(smallModel(t, form, 13, 1, true)); got != want {
			t.Errorf("%s: %v, want %v", form, got, want)
		}
	}
	if hasINT8Convolution([]byte("no model")) || hasINT8Convolution(nil) {
		t.Error("what is no model has a convolution")
	}
}

// TestFloatOnly: what is said before the work begins is said for Turing alone.
func TestFloatOnly(t *testing.T) {
	for _, c := range []struct {
		targets []int
		want    bool
	}{{nil, false}, {[]int{86}, false}, {[]int{75, 86}, false}, {[]int{75}, true}} {
		if why := FloatOnly(c.targets); strings.Contains(why, "sm_75") != c.want {
			t.Errorf("targets %v: %q", c.targets, why)
		}
	}
}
