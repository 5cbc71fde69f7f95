package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/internal/analysis"
	"trtact/internal/fault"
	"trtact/internal/job"
	"trtact/internal/testenv"
	"trtact/trt"
)

func TestAnalyze(t *testing.T) {
	needCPU(t)
	sample := filepath.Join(testenv.Root(), "examples", "shapes")
	model, data := filepath.Join(sample, "shapes.onnx"), filepath.Join(sample, "calib")
	dir := filepath.Join(t.TempDir(), "why")
	args := []string{"analyze", model, "--data", data, "-o", dir, "--method", "mse", "--calib-images", "6", "--samples", "4", "--precision", "0", "--gpu", "rtx3090"}
	r := run(t, args...)
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	for _, want := range []string{"stage1.0.first", "####", "extreme weights", "and 47 more", "Error against latency (estimate for RTX 3090, ", "report.html", "--exclude '^("} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	for _, name := range []string{"report.html", "analysis.json", "sensitivity.png", "layer-1-weights.png"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v", name, err)
		}
	}
	r = run(t, append(args, "--json")...)
	var got job.Analysis
	if err := json.Unmarshal([]byte(r.out), &got); r.code != 0 || err != nil {
		t.Fatalf("exit %d, %v: %s", r.code, err, r.err)
	}
	if len(got.Layers) != 67 || len(got.Heads) != 6 || got.Samples != 4 || got.Layers[0].Error.Samples != 4 || got.Whole.Mean <= 0 {
		t.Errorf("%d layers, %d heads, %d samples, whole %v", len(got.Layers), len(got.Heads), got.Samples, got.Whole)
	}
}

func TestAnalyzeBadUse(t *testing.T) {
	sample := filepath.Join(testenv.Root(), "examples", "shapes")
	model, data := filepath.Join(sample, "shapes.onnx"), filepath.Join(sample, "calib")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"analyze"}, fault.CodeUsage, "analyze needs a model"},
		{[]string{"analyze", model}, fault.CodeUsage, "analyze needs --data"},
		{[]string{"analyze", model, "--data", data, "--samples", "0"}, fault.CodeUsage, "--samples 0"},
		{[]string{"analyze", model, "--data", data, "--precision", "101"}, fault.CodeUsage, "--precision 101"},
		{[]string{"analyze", model, "--data", data, "--worst", "3"}, fault.CodeUsage, "are for --val"},
		{[]string{"analyze", model, "--data", data, "--method", "guess"}, fault.CodeUsage, "guess"},
		{[]string{"analyze", model, "--data", data, "-o", model}, fault.CodeUsage, "--output"},
		{[]string{"analyze", model, "--data", "nowhere"}, fault.CodeBadInput, "nowhere"},
		{[]string{"analyze", "nowhere.onnx", "--data", data, "-o", filepath.Join(t.TempDir(), "x")}, fault.CodeBadInput, "nowhere.onnx: no such file"},
	} {
		r := run(t, c.args...)
		if r.code != c.code || r.out != "" || !strings.Contains(r.err, c.want) || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%v: exit %d, %q; want %d and %q", c.args, r.code, r.err, c.code, c.want)
		}
	}
}

// Names of layers cannot drive the terminal or break out of the command that is
// suggested.
func TestAnalyzeHostileNames(t *testing.T) {
	layer := func(name string) analysis.Layer {
		return analysis.Layer{Sensitivity: analysis.Sensitivity{Unit: analysis.Unit{Node: name}, Error: analysis.Error{Mean: 0.1}}, Weights: &analysis.Values{}}
	}
	layers := []analysis.Layer{layer("a'; rm -rf /; '"), layer("b\x1b[31m"), layer("c.+d")}
	if names := firstNames(layers, 3); len(names) != 1 || excludePattern(names) != `^(c\.\+d)$` {
		t.Errorf("suggested %q", names)
	}
}

// TestAnalyzeEngines: with engines of the model, over the stand-in for TensorRT, the
// latency is measured, and a layer that INT8 does not make faster is the first to leave.
func TestAnalyzeEngines(t *testing.T) {
	testenv.StandInLibraries(t)
	needCPU(t)
	sample := filepath.Join(testenv.Root(), "examples", "shapes")
	engine := func(name, lines string) string {
		path := filepath.Join(t.TempDir(), name)
		text := "stand-in engine\nversion 1.0.0\ninput x fp32 1x3x8x8\noutput y fp32 1x2\ngpu 2\n" + lines
		err := trt.Write(path, &trt.Engine{Bytes: []byte(text), Artifact: trt.Artifact{Backend: trt.BackendTensorRT, Family: "standin", Version: "1.0.0",
			Inputs:  []trt.Tensor{smallInput()},
			Outputs: []trt.Tensor{{Name: "y", Type: "fp32", Dims: []int{1, 2}}},
			Layers:  []trt.Layer{{Name: "stem"}, {Name: "down1"}, {Name: "down2"}}}})
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	fast, slow := engine("int8.engine", "layer 0.5 stem\nlayer 1.5 down1\nlayer 1 down2\n"), engine("fp16.engine", "layer 1 stem\nlayer 1 down1\nlayer 2 down2\n")
	args := []string{"analyze", filepath.Join(sample, "shapes.onnx"), "--data", filepath.Join(sample, "calib"), "-o", t.TempDir(), "--method", "absmax",
		"--equalise", "off", "--calib-images", "2", "--samples", "1", "--json"}
	r := run(t, append(args, "--engine", fast, "--engine-fp16", slow)...)
	var got job.Analysis
	if err := json.Unmarshal([]byte(r.out), &got); r.code != 0 || err != nil {
		t.Fatalf("exit %d, %v: %s", r.code, err, r.err)
	}
	if f := got.Front; f == nil || !f.Measured || !slices.Contains(f.Points[1].Added, "down1") || slices.Contains(f.Slow(), "stem") || !slices.Contains(f.Slow(), "down1") {
		t.Errorf("the front: %+v", f)
	}
	if r := run(t, append(args, "--engine", fast)...); r.code != fault.CodeUsage || !strings.Contains(r.err, "go together") {
		t.Errorf("one engine alone: exit %d, %s", r.code, r.err)
	}
	if r := run(t, append(args, "--gpu", "T40")...); r.code != fault.CodeUsage || !strings.Contains(r.err, `did you mean "T4"`) {
		t.Errorf("a GPU without figures: exit %d, %s", r.code, r.err)
	}
}
