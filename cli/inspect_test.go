package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/calib"
	"trtact/internal/fault"
	"trtact/internal/testenv"
)

func TestInspectModel(t *testing.T) {
	path := testenv.Data(t, "models", "yolov5n.onnx")
	r := run(t, "inspect", path)
	for _, want := range []string{"operator set 13", "1,867,405", "images 1x3x640x640 float32", "output0 1x25200x85", "yolov5, 80 classes", "model.24.m.2/c", "a float model", "Conv 60"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	if r.code != 0 || r.err != "" || strings.Contains(r.out, "precision") {
		t.Errorf("exit %d, stderr %q", r.code, r.err)
	}
	if layers := run(t, "inspect", "--layers", path); strings.Count(layers.out, "Conv ") < 60 || !strings.Contains(layers.out, "precision") {
		t.Errorf("layers are missing:\n%s", layers.out)
	}
	r = run(t, "inspect", path, "--json")
	var got inspectResult
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 0 {
		t.Fatalf("exit %d: %v", r.code, err)
	}
	if got.Kind != "onnx" || got.Bytes != 7915121 || len(got.ONNX.Layers) != 60 || got.ONNX.Detector.Family != "yolov5" || len(got.ONNX.Heads) != 3 {
		t.Errorf("got %s, %d bytes, %+v", got.Kind, got.Bytes, got.ONNX.Detector)
	}
}

func TestInspectPlan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.plan.json")
	p := &calib.Plan{
		Version: calib.PlanVersion, Model: calib.ModelID{Name: "m.onnx"}, Method: "mse", Options: calib.DefaultOptions(),
		Sites:   []calib.Site{{Tensor: "x", Consumers: []string{"c1"}, Scale: 0.02, AbsMax: 2.7, Method: "mse", Clipped: 0.001, Why: "input of c1"}},
		Weights: []calib.WeightSite{{Tensor: "w", Nodes: []string{"c1"}, Scales: []float32{0.01}}},
		Skipped: []calib.Skip{{Node: "head", Op: "Conv", Reason: "last layer before an output"}},
	}
	if err := p.Save(path); err != nil {
		t.Fatal(err)
	}
	r := run(t, "inspect", path)
	for _, want := range []string{"quantisation plan", "m.onnx", "mse", "1 tensors quantised", "head", "last layer before an output"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	if layers := run(t, "inspect", path, "--layers"); !strings.Contains(layers.out, "input of c1") || !strings.Contains(layers.out, "0.1 %") {
		t.Errorf("sites are missing:\n%s", layers.out)
	}
}

// Whatever the file, the answer is one line and exit 4.
func TestInspectBadFiles(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"text.onnx": "hello, this is text\n", "empty.onnx": "", "garbage.onnx": "\xff\xfe\x00\x01\x80garbage",
		"half.json": `{"version": 1, "sites": [`, "other.json": `{"images": []}`, "future.json": `{"version": 99}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		r := run(t, "inspect", path, "--json")
		if r.code != fault.CodeBadInput || r.out != "" || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, name) {
			t.Errorf("%s: exit %d, %q, %q", name, r.code, r.out, r.err)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "nowhere.onnx"), "/dev/null"} {
		if r := run(t, "inspect", path); r.code != fault.CodeBadInput || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%s: exit %d, %q", path, r.code, r.err)
		}
	}
}

func TestDimsText(t *testing.T) {
	for _, c := range []struct {
		dims    []int
		symbols []string
		want    string
	}{
		{[]int{1, 3, 640, 640}, nil, "1x3x640x640"},
		{[]int{-1, 3, -1}, []string{"batch", "", ""}, "(batch)x3x?"},
		{[]int{}, nil, "scalar"},
		{nil, nil, "(unknown shape)"},
	} {
		if got := dimsText(c.dims, c.symbols); got != c.want {
			t.Errorf("dimsText(%v) = %q, want %q", c.dims, got, c.want)
		}
	}
}
