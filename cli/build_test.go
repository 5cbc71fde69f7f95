package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/calib"
	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/testenv"
	"trtact/trt"
)

// canBuild says whether a TensorRT here can build an engine.
func canBuild(t *testing.T) bool {
	t.Helper()
	families, err := trt.Find(context.Background(), trt.DefaultPlaces())
	if err != nil {
		t.Fatal(err)
	}
	_, err = trt.Choose(families, trt.BackendAuto, nil, trt.DefaultPlaces())
	return err == nil
}

// The main job on a real detector: with a TensorRT that can build it ends with
// an engine and exit 0, without one with everything else and exit 3.
func TestBuild(t *testing.T) {
	needCPU(t)
	model := testenv.Data(t, "models", "fastestdet_352.onnx")
	data, labels := testenv.Data(t, "coco", "train.txt"), testenv.Data(t, "coco", "annotations.json")
	dir := t.TempDir()
	engine := filepath.Join(dir, "out", "f.engine")
	r := run(t, "build", "--int8", "--qat", "off", model, "--data", data, "--calib-images", "6", "--method", "mse",
		"--val", labels, "--val-limit", "6", "-o", engine, "--json")
	want, ending := fault.CodeNoDevice, []string{"f.onnx", "f.plan.json", "f.report.html", "f.result.json"}
	if canBuild(t) {
		want, ending = fault.CodeOK, append(ending, "f.engine", "f.engine.json")
	}
	if r.code != want {
		t.Fatalf("exit %d, want %d: %s", r.code, want, r.err)
	}
	if want == fault.CodeNoDevice && (!strings.Contains(r.err, "the engine was not built") || !strings.Contains(r.err, "trtact doctor")) {
		t.Errorf("stderr %q", r.err)
	}
	files, err := os.ReadDir(filepath.Join(dir, "out"))
	if err != nil || len(files) != len(ending) {
		t.Errorf("%d files written: %v, %v", len(files), files, err)
	}
	for _, name := range ending {
		if _, err := os.Stat(filepath.Join(dir, "out", name)); err != nil {
			t.Error(err)
		}
	}
	var got struct {
		Family       string
		Shape        []int
		Accuracy     map[string]any
		Quantization struct{ Layers int }
		Size         map[string]any
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatalf("%v: %s", err, r.out)
	}
	if got.Family != "fastestdet" || got.Quantization.Layers < 20 || got.Accuracy["float"] == nil || got.Accuracy["int8"] == nil || got.Shape[0] != 352 {
		t.Errorf("got %+v", got)
	}
	result, err := os.ReadFile(filepath.Join(dir, "out", "f.result.json"))
	if err != nil || !json.Valid(result) {
		t.Errorf("result.json: %v", err)
	}
	// What was built is quantised already: it is inspected as such, and the
	// plan can be obeyed.
	if i := run(t, "inspect", filepath.Join(dir, "out", "f.onnx")); i.code != 0 || !strings.Contains(i.out, "layers in INT8") {
		t.Errorf("exit %d: %s%s", i.code, i.out, i.err)
	}
	if want == fault.CodeOK {
		if i := run(t, "inspect", engine); i.code != 0 || !strings.Contains(i.out, "layers with weights") || !strings.Contains(i.out, "sm_") {
			t.Errorf("exit %d: %s%s", i.code, i.out, i.err)
		}
	}
	again := run(t, "build", "--int8", model, "--plan", filepath.Join(dir, "out", "f.plan.json"), "-o", filepath.Join(dir, "again", "f.engine"))
	if again.code != want || !strings.Contains(again.out, "from the plan") {
		t.Errorf("exit %d: %s%s", again.code, again.out, again.err)
	}
	first, err1 := os.ReadFile(filepath.Join(dir, "out", "f.onnx"))
	second, err2 := os.ReadFile(filepath.Join(dir, "again", "f.onnx"))
	if err1 != nil || err2 != nil || string(first) != string(second) {
		t.Errorf("the same plan gave another model: %v, %v", err1, err2)
	}
}

func TestCalibrate(t *testing.T) {
	needCPU(t)
	model, data := testenv.Data(t, "models", "fastestdet_352.onnx"), testenv.Data(t, "coco", "train.txt")
	out := filepath.Join(t.TempDir(), "q.onnx")
	r := run(t, "calibrate", model, "--data", data, "--method", "percentile:99.99", "--calib-images", "4", "-o", out, "--exclude", "Conv_0$", "--json")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	var got calibrateResult
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.Method != "percentile:99.99" || got.Images != 4 || len(got.Error) == 0 {
		t.Errorf("%v: %+v", err, got)
	}
	m, err := onnx.Load(out)
	if err != nil {
		t.Fatal(err)
	}
	quantisers := 0
	for _, n := range m.Graph.Nodes {
		if n.Op == "QuantizeLinear" {
			quantisers++
		}
	}
	p, err := calib.LoadPlan(filepath.Join(filepath.Dir(out), "q.plan.json"))
	if err != nil {
		t.Fatal(err)
	}
	if want := len(p.Sites) + len(p.Weights); quantisers != want || want == 0 {
		t.Errorf("%d quantisers for a plan of %d", quantisers, want)
	}
	for _, s := range p.Sites {
		if s.Method != "percentile:99.99" || s.Scale <= 0 {
			t.Errorf("site %+v", s)
			break
		}
	}
	text := run(t, "calibrate", model, "--data", data, "--method", "absmax", "--calib-images", "2", "-o", out, "--onnx-weights", "int8", "--cache", out+".cache")
	if text.code != 0 || !strings.Contains(text.out, "output branch") {
		t.Errorf("exit %d: %s%s", text.code, text.out, text.err)
	}
	written, err := os.ReadFile(out + ".cache")
	if err != nil {
		t.Fatal(err)
	}
	if cache, err := calib.ParseCache(written); err != nil || len(cache) < len(p.Sites) {
		t.Errorf("calibration cache of %d tensors, %v", len(cache), err)
	}
	if a := run(t, "calibrate", out, "--data", data, "-o", filepath.Join(t.TempDir(), "x.onnx")); a.code != fault.CodeUsage || !strings.Contains(a.err, "quantised already") {
		t.Errorf("a quantised model: exit %d, %s", a.code, a.err)
	}
}

func TestBuildBadUse(t *testing.T) {
	needCPU(t)
	model, data := testenv.Data(t, "models", "fastestdet_352.onnx"), testenv.Data(t, "coco", "train.txt")
	dir := t.TempDir()
	text := filepath.Join(dir, "text.onnx")
	if err := os.WriteFile(text, []byte("not a model\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Labels of which none counts.
	var labels map[string]any
	raw, err := os.ReadFile(testenv.Data(t, "coco", "annotations.json"))
	if err == nil {
		err = json.Unmarshal(raw, &labels)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range labels["annotations"].([]any) {
		a.(map[string]any)["iscrowd"] = 1
	}
	if raw, err = json.Marshal(labels); err != nil {
		t.Fatal(err)
	}
	crowds := filepath.Join(t.TempDir(), "crowds.json")
	if err := os.WriteFile(crowds, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"build"}, fault.CodeUsage, "build needs a model"},
		{[]string{"build", model, "--int8", "-o", filepath.Join(dir, "x.engine")}, fault.CodeUsage, "needs --data"},
		{[]string{"build", model, "--data", data}, fault.CodeUsage, "are for --int8"},
		{[]string{"build", model, "--int8", "--data", data, "-o", filepath.Join(dir, "x.onnx")}, fault.CodeUsage, "name the engine"},
		{[]string{"build", model, "--int8", "--data", data, "--target", "turing"}, fault.CodeUsage, "no compute capability"},
		{[]string{"build", model, "--int8", "--data", data, "--target", "sm_86", "--backend", "tensorrt"}, fault.CodeUsage, "--backend rtx"},
		{[]string{"build", model, "--int8", "--data", data, "--target", "sm_75,sm_86"}, fault.CodeUsage, "leave sm_75 out"},
		{[]string{"build", model, "--int8", "--data", data, "--backend", "openvino"}, fault.CodeUsage, "choose one of"},
		{[]string{"build", model, "--int8", "--data", data, "--batch", "0"}, fault.CodeUsage, "--batch 0"},
		{[]string{"build", model, "--int8", "--data", data, "--shape", "0x5"}, fault.CodeUsage, "--shape"},
		{[]string{"build", model, "--int8", "--data", data, "--method", "guess"}, fault.CodeUsage, "--method"},
		{[]string{"build", model, "--int8", "--data", data, "--exclude", "("}, fault.CodeUsage, `pattern "("`},
		{[]string{"build", model, "--int8", "--data", data, "--timeout", "-3s"}, fault.CodeUsage, "--timeout"},
		{[]string{"build", model, "--int8", "--data", data, "--timeout", "soon"}, fault.CodeUsage, "expected a duration"},
		{[]string{"build", model, "--int8", "--data", data, "--val-limit", "3"}, fault.CodeUsage, "for --val"},
		{[]string{"build", model, "--int8", "--data", "nowhere"}, fault.CodeBadInput, "--data nowhere: no such file"},
		{[]string{"build", model, "--int8", "--data", "--fp16"}, fault.CodeUsage, "--data needs a value and --fp16 is a flag"},
		{[]string{"build", model, "--method", "entropy"}, fault.CodeUsage, "--method is for --int8"},
		{[]string{"build", model, "--qat", "on"}, fault.CodeUsage, "--qat on is for --int8"},
		{[]string{"build", model, "--int8", "--data", data, "--plan", text, "--method", "mse"}, fault.CodeUsage, "--method is for calibrating"},
		{[]string{"build", model, "--int8", "--data", data, "--plan", text, "--depthwise"}, fault.CodeUsage, "--depthwise is for calibrating"},
		{[]string{"build", model, "--int8", "--data", data, "--pixels", "0..inf"}, fault.CodeUsage, "is no range"},
		{[]string{"build", model, "--int8", "--data", data, "-o", filepath.Join(dir, "sub") + "/"}, fault.CodeUsage, "it is a folder"},
		{[]string{"build", model, "--int8", "--data", data, "--max-drop", "inf"}, fault.CodeUsage, "--max-drop +Inf"},
		{[]string{"build", model, "--int8", "--data", data, "--iters", "10", "--warmup", "11"}, fault.CodeUsage, "TrainConfig.warmup must not be longer than the 10 steps"},
		{[]string{"build", model, "--int8", "--data", data, "--val", crowds, "--val-images", testenv.Data(t, "coco", "images"), "--val-limit", "1"}, fault.CodeBadInput, "has no box to find in the 1 pictures"},
		{[]string{"build", text, "--int8", "--data", data}, fault.CodeBadInput, "text.onnx"},
		{[]string{"build", "nowhere.onnx", "--int8", "--data", data}, fault.CodeBadInput, "nowhere.onnx: no such file"},
		{[]string{"build", dir, "--int8", "--data", data}, fault.CodeBadInput, "it is a folder"},
		{[]string{"calibrate", model}, fault.CodeUsage, "calibrate needs --data"},
		{[]string{"calibrate", model, "--data", data, "-o", model}, fault.CodeUsage, "overwrite"},
		{[]string{"calibrate", model, "--data", data, "-o", filepath.Join(dir, "q.txt")}, fault.CodeUsage, "ends in .onnx"},
		{[]string{"calibrate", model, "--data", data, "--calib-images", "-1"}, fault.CodeUsage, "--calib-images -1"},
	} {
		r := run(t, c.args...)
		if r.code != c.code || r.out != "" || !strings.Contains(r.err, c.want) || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%v: exit %d, %q, %q; want %d and %q", c.args, r.code, r.out, r.err, c.code, c.want)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// An engine is only taken with a sidecar that vouches for it.
// What an engine does not do is said.
func TestInspectEngineReservations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "some.engine")
	artifact := trt.Artifact{
		Backend: trt.BackendRTX, Family: "rtx1", Version: "1.7.1", Precision: "int8, fp32", Targets: []string{"sm_86"},
		Inputs:  []trt.Tensor{{Name: "x", Type: "fp32", Dims: []int{1, 3, 64, 64}}},
		Outputs: []trt.Tensor{{Name: "y", Type: "fp32", Dims: []int{1, 10}}},
	}
	inspect := func() string {
		t.Helper()
		if err := trt.Write(path, &trt.Engine{Bytes: []byte("engine"), Artifact: artifact}); err != nil {
			t.Fatal(err)
		}
		r := run(t, "inspect", path)
		if r.code != 0 {
			t.Fatalf("exit %d: %s", r.code, r.err)
		}
		return r.out
	}
	if out := inspect(); !strings.Contains(out, "INT8 in an unknown number of convolutions") || strings.Contains(out, "left out") || strings.Contains(out, "warning") {
		t.Errorf("of an engine that does not tell:\n%s", out)
	}
	artifact.Convolutions = &trt.Convolutions{INT8: 57, All: 60}
	artifact.DroppedTargets = []trt.DroppedTarget{{Target: "sm_75", Reason: "for a reason"}}
	artifact.Warnings = []string{"mind this"}
	out := inspect()
	for _, want := range []string{"INT8 in 57 of 60 convolutions", "sm_75: for a reason", "mind this"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func TestInspectEngineRefused(t *testing.T) {
	dir := t.TempDir()
	for name, sidecar := range map[string]string{
		"none.engine": "", "garbage.engine": "{", "future.engine": `{"format": 99}`,
		"other.engine": `{"format": 1, "backend": "rtx", "version": "1.7.1", "engine": {"sha256": "00", "bytes": 3},` +
			` "inputs": [{"name": "x", "type": "fp32", "dims": [1]}], "outputs": [{"name": "y", "type": "fp32", "dims": [1]}]}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("abc"), 0o644); err != nil {
			t.Fatal(err)
		}
		if sidecar != "" {
			if err := os.WriteFile(trt.SidecarPath(path), []byte(sidecar), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if r := run(t, "inspect", path); r.code != fault.CodeBadInput || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, name) {
			t.Errorf("%s: exit %d, %q", name, r.code, r.err)
		}
	}
}
