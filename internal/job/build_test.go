package job

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/calib"
	"trtact/internal/fault"
	"trtact/internal/npy"
	"trtact/internal/onnx"
)

// noTensorRT hides every TensorRT, whatever the machine has.
func noTensorRT(t *testing.T) {
	t.Helper()
	t.Setenv("TRTACT_LIB", t.TempDir())
	t.Setenv("TRTACT_CACHE", t.TempDir())
	t.Setenv("TENSORRT_ROOT", "")
}

// TestBuildWithoutTensorRT: everything but the engine is written, and the error
// is the machine's. A second run takes the calibration from the first.
func TestBuildWithoutTensorRT(t *testing.T) {
	m, d := cpu(t), oneInput(t)
	if err := d.Model.Save(d.Path); err != nil {
		t.Fatal(err)
	}
	noTensorRT(t)
	dir := t.TempDir()
	data := filepath.Join(dir, "x.npy")
	if err := npy.Write(data, normal([]int{8, 16, 6, 6}, 5)); err != nil {
		t.Fatal(err)
	}
	o := BuildOptions{Model: d.Path, Output: filepath.Join(dir, "out", "one.engine"), INT8: true, Data: data, Work: filepath.Join(dir, "work"),
		Load: LoadOptions{Family: "none"}, Calibrate: CalibrateOptions{Method: calib.AbsMax, Placement: calib.DefaultOptions()}}
	r, err := m.Build(context.Background(), o)
	if fault.Code(err) != fault.CodeNoDevice || r == nil {
		t.Fatalf("result %v, error %v; want a result and no device", r, err)
	}
	if r.Engine != nil || r.Files.Engine != "" || r.Seconds["total"] <= 0 || r.PeakRSS <= 0 {
		t.Errorf("result %+v", r)
	}
	for _, name := range []string{"one.onnx", "one.plan.json", "one.result.json"} {
		if _, err := os.Stat(filepath.Join(dir, "out", name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(o.Output); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an engine was written: %v", err)
	}
	if q, err := onnx.Load(r.Files.ONNX); err != nil || q.Graph.Index().Producer["out"] == nil {
		t.Errorf("the Q/DQ model: %v", err)
	}
	again, err := m.Build(context.Background(), o)
	if fault.Code(err) != fault.CodeNoDevice {
		t.Fatal(err)
	}
	if again.PTQ.Seconds != r.PTQ.Seconds || again.Accuracy.NodeError["out"] != r.Accuracy.NodeError["out"] {
		t.Error("the second run calibrated anew")
	}

	// The plan that was written is obeyed when it comes back.
	o.Plan, o.Data, o.Work = r.Files.Plan, "", ""
	planned, err := m.Build(context.Background(), o)
	if fault.Code(err) != fault.CodeNoDevice || planned.PTQ.From != o.Plan || planned.Quantization.Sites != r.Quantization.Sites {
		t.Errorf("with the plan: %+v, %v", planned, err)
	}
}

func TestBuildRefuses(t *testing.T) {
	m, d := cpu(t), oneInput(t)
	if err := d.Model.Save(d.Path); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	plan, err := calib.Place(d.Model.Graph, calib.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	plan.Model.SHA256 = strings.Repeat("0", 64)
	other := filepath.Join(dir, "other.plan.json")
	if err := plan.Save(other); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*BuildOptions)
		code   int
		want   string
	}{
		{"no data", func(o *BuildOptions) { o.Data = "" }, fault.CodeUsage, "needs --data"},
		{"absent data", func(o *BuildOptions) { o.Data = filepath.Join(dir, "absent.npy") }, fault.CodeBadInput, "absent.npy"},
		{"absent val", func(o *BuildOptions) { o.Val = filepath.Join(dir, "absent.json") }, fault.CodeBadInput, "absent.json"},
		{"another model's plan", func(o *BuildOptions) { o.Plan = other }, fault.CodeBadInput, "another model"},
		{"output is a folder", func(o *BuildOptions) { o.Output = dir }, fault.CodeUsage, "is a folder"},
		{"output below a file", func(o *BuildOptions) { o.Output = filepath.Join(file, "x.engine") }, fault.CodeUsage, "not a folder"},
		{"work below a file", func(o *BuildOptions) { o.Work = file }, fault.CodeUsage, "not a folder"},
		{"over the model", func(o *BuildOptions) { o.Output = strings.TrimSuffix(d.Path, ".onnx") + ".engine" }, fault.CodeUsage, "replace the model"},
	} {
		o := BuildOptions{Model: d.Path, Output: filepath.Join(dir, "new", "x.engine"), INT8: true, Data: dir,
			Load: LoadOptions{Family: "none"}, Calibrate: CalibrateOptions{Placement: calib.DefaultOptions()}}
		c.change(&o)
		r, err := m.Build(context.Background(), o)
		if r != nil || fault.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want exit code %d and %q", c.name, err, c.code, c.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused build left something behind: %v", err)
	}
}
