package e2e

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/npy"
	"trtact/internal/testenv"
)

// TestJSON: with --json every command prints exactly one object, wherever the
// flag stands.
func TestJSON(t *testing.T) {
	program(t)
	model := testenv.Data(t, "models", "fastestdet_352.onnx")
	annotations := testenv.Data(t, "coco", "annotations.json")
	dir := t.TempDir()
	list := listFile(t, dir, 2)
	tiny := write(t, dir, "small.onnx", small(t, nil))
	array := filepath.Join(dir, "x.npy")
	if err := npy.Write(array, &npy.Array{Shape: []int{1, 3, 64, 64}, Data: make([]float32, 3*64*64)}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		keys string
	}{
		{[]string{"calibrate", model, "--json", "--data", list, "--method", "mse", "-o", "q.onnx"}, "model method images float_layers node_error files seconds"},
		{[]string{"eval", "--limit", "3", model, "--data", annotations, "--json"}, "model family mAP mAP50 mAP75 AR100 classes seconds"},
		{[]string{"--json", "eval", "--data", annotations, "q.onnx", "--limit", "3"}, "mAP quantized"},
		{[]string{"detect", model, pictures(t, 1)[0], "--json", "-o", "out", "--compare", "q.onnx"}, "models dir pictures"},
		{[]string{"run", "--json", tiny, "--input", "images=" + array, "--output-dir", "raw"}, "model outputs seconds"},
		{[]string{"bench", tiny, "--json", "--device", "cpu", "--iterations", "5"}, "device threads models"},
		{[]string{"inspect", model, "--json"}, "file kind onnx"},
		{[]string{"inspect", "--json", "q.plan.json"}, "file kind plan"},
		{[]string{"doctor", "--json"}, ""},
		{[]string{"version", "--json"}, "version platform"},
	} {
		var got map[string]any
		run(t, workLimit, dir, c.args...).expectJSON(t, &got)
		for _, key := range strings.Fields(c.keys) {
			if _, there := got[key]; !there {
				t.Errorf("trtact %s: no %q in the JSON", strings.Join(c.args, " "), key)
			}
		}
	}
	// An error is no result: nothing on standard output.
	for _, args := range [][]string{{"eval", tiny, "--data", annotations, "--json"}, {"inspect", list, "--json"}} {
		if r := run(t, workLimit, dir, args...); r.code == 0 || r.out != "" || strings.Count(r.err, "\n") != 1 {
			t.Errorf("trtact %s: exit code %d, printed %q and %q", strings.Join(args, " "), r.code, r.out, r.err)
		}
	}
}

// result is result.json as the command line's contract has it.
type result struct {
	Model struct {
		Path   string
		SHA256 string
		Params int64
	}
	Family       string
	Shape        [2]int
	Batch        int
	Quantization struct {
		Sites   int
		Method  string
		Skipped []struct{ Node, Reason string }
	}
	PTQ      *struct{ Method string }
	Accuracy struct {
		Float, PTQ, INT8 *struct {
			MAP   float64 `json:"mAP"`
			MAP50 float64 `json:"mAP50"`
		}
		NodeError map[string]float64 `json:"node_error"`
	}
	Size struct {
		ONNXFloat    int64 `json:"onnx_float"`
		ONNXInt8     int64 `json:"onnx_int8"`
		WeightsFloat int64 `json:"weights_float"`
		WeightsInt8  int64 `json:"weights_int8"`
		Engine       int64
		EngineFloat  int64 `json:"engine_float"`
		Layers       []struct {
			Node        string
			Float, INT8 int64
			Reason      string
		}
	}
	Engine *struct {
		Backend, Version, Precision string
		Targets                     []string
		Layers                      []json.RawMessage
		BuildPeakRSS                int64 `json:"build_peak_rss"`
	}
	Seconds map[string]float64
	PeakRSS int64 `json:"peak_rss"`
}

// TestMainJob is the main job from end to end on a real detector, a second time
// with what the first one kept, and what the engine's file says afterwards.
func TestMainJob(t *testing.T) {
	program(t)
	model := testenv.Data(t, "models", "yolo_fastestv2_352.onnx")
	annotations := testenv.Data(t, "coco", "annotations.json")
	dir := t.TempDir()
	args := []string{"build", "--json", "--int8", "--qat", "off", model, "--data", listFile(t, dir, 8), "--val", annotations, "--val-limit", "4",
		"--work", filepath.Join(dir, "work"), "--float-engine", "-o", filepath.Join(dir, "out", "a.engine")}
	first := run(t, workLimit, dir, args...)
	built := first.code == 0
	if !built && first.code != fault.CodeNoDevice {
		t.Fatalf("exit code %d: %s", first.code, first.err)
	}
	var r result
	first.code = 0 // without a TensorRT the result is printed all the same
	first.expectJSON(t, &r)
	checkResult(t, r, built)
	var stored result
	if err := json.Unmarshal(read(t, filepath.Join(dir, "out", "a.result.json")), &stored); err != nil {
		t.Fatal(err)
	}
	if stored.Model != r.Model || stored.Size.WeightsInt8 != r.Size.WeightsInt8 {
		t.Error("result.json is not what was printed")
	}
	want := map[string]bool{"a.onnx": true, "a.plan.json": true, "a.report.html": true, "a.result.json": true}
	if built {
		for _, name := range []string{"a.engine", "a.engine.json", "a.float.engine", "a.float.engine.json"} {
			want[name] = true
		}
	}
	if built { // for the same GPUs, to be compared
		var float struct{ Targets []string }
		if err := json.Unmarshal(read(t, filepath.Join(dir, "out", "a.float.engine.json")), &float); err != nil || !slices.Equal(float.Targets, r.Engine.Targets) {
			t.Errorf("the float engine is for %v, the other for %v (%v)", float.Targets, r.Engine.Targets, err)
		}
	}
	for name := range contents(t, filepath.Join(dir, "out")) {
		if name != "." && !want[name] {
			t.Errorf("left behind: %s", name)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("not written: %v", want)
	}
	plan := read(t, filepath.Join(dir, "out", "a.plan.json"))

	second := run(t, workLimit, dir, args...)
	second.code = 0
	var again result
	second.expectJSON(t, &again)
	if !strings.Contains(second.err, "earlier run") {
		t.Errorf("the second run does not say that it went on from the first:\n%s", second.err)
	}
	if string(read(t, filepath.Join(dir, "out", "a.plan.json"))) != string(plan) {
		t.Error("the second run made another plan")
	}
	if again.Seconds["calibrate"] > r.Seconds["calibrate"]/2 {
		t.Errorf("the second run calibrated for %.2f s, the first for %.2f s", again.Seconds["calibrate"], r.Seconds["calibrate"])
	}
	if again.Accuracy.INT8 == nil || *again.Accuracy.INT8 != *r.Accuracy.INT8 {
		t.Error("the second run measured another accuracy")
	}
	if built {
		checkEngine(t, dir, filepath.Join(dir, "out", "a.engine"))
	}
}

func checkResult(t *testing.T, r result, built bool) {
	t.Helper()
	if r.Family != "yolofastest" || r.Shape != [2]int{352, 352} || r.Batch != 1 || len(r.Model.SHA256) != 64 || r.Model.Params < 230e3 || r.Model.Params > 250e3 {
		t.Errorf("model %+v, family %q, shape %v, batch %d", r.Model, r.Family, r.Shape, r.Batch)
	}
	if r.Quantization.Sites < 20 || r.Quantization.Method == "" || r.PTQ == nil || r.PTQ.Method == "" {
		t.Errorf("quantization %+v, PTQ %+v", r.Quantization, r.PTQ)
	}
	for _, skip := range r.Quantization.Skipped {
		if skip.Node == "" || skip.Reason == "" {
			t.Errorf("a layer stays float without a name or a reason: %+v", skip)
		}
	}
	a := r.Accuracy
	if a.Float == nil || a.PTQ == nil || a.INT8 == nil {
		t.Fatalf("accuracy %+v", a)
	}
	if a.Float.MAP < 0.1 || a.Float.MAP > 1 || a.Float.MAP50 < a.Float.MAP || math.Abs(a.Float.MAP-a.INT8.MAP) > 0.1 {
		t.Errorf("mAP float %+v, INT8 %+v", *a.Float, *a.INT8)
	}
	if len(a.NodeError) == 0 {
		t.Error("no error at the distillation nodes")
	}
	for node, e := range a.NodeError {
		if !(e > 0 && e < 0.5) {
			t.Errorf("error %g at distillation node %s", e, node)
		}
	}
	s := r.Size
	if s.ONNXFloat != 978913 || s.ONNXInt8 < s.ONNXFloat/4 || s.WeightsFloat < 4*230e3 {
		t.Errorf("size %d, %d, %d", s.ONNXFloat, s.ONNXInt8, s.WeightsFloat)
	}
	if share := float64(s.WeightsInt8) / float64(s.WeightsFloat); share < 0.25 || share > 0.45 {
		t.Errorf("weights %d of %d bytes", s.WeightsInt8, s.WeightsFloat)
	}
	quantised := 0
	for _, l := range s.Layers {
		switch {
		case l.INT8 == l.Float && l.Reason == "":
			t.Errorf("%s stays float for no reason", l.Node)
		case l.INT8 != l.Float && 4*l.INT8 != l.Float:
			t.Errorf("%s takes %d bytes in INT8 and %d in float", l.Node, l.INT8, l.Float)
		case l.INT8 != l.Float:
			quantised++
		}
	}
	if quantised < 20 || len(s.Layers) != 79 {
		t.Errorf("%d of %d layers in INT8", quantised, len(s.Layers))
	}
	for _, stage := range []string{"load", "eval_float", "calibrate", "eval_int8", "total"} {
		if r.Seconds[stage] <= 0 {
			t.Errorf("no time of %s", stage)
		}
	}
	if r.PeakRSS < 20<<20 || r.PeakRSS > 4<<30 {
		t.Errorf("peak of memory %d bytes", r.PeakRSS)
	}
	if !built {
		return
	}
	e := r.Engine
	if e == nil || e.Version == "" || e.Backend == "" || !strings.Contains(e.Precision, "int8") || len(e.Layers) < 50 || s.Engine <= 0 || s.EngineFloat <= 0 {
		t.Errorf("engine %+v of %d bytes, float %d bytes", e, s.Engine, s.EngineFloat)
	} else if e.Backend == "rtx" && len(e.Targets) == 0 {
		t.Error("the engine is for no GPU")
	} else if e.BuildPeakRSS < 20<<20 || e.BuildPeakRSS > 4<<30 {
		t.Errorf("TensorRT's peak of memory %d bytes", e.BuildPeakRSS)
	}
}

// checkEngine looks at the engine, changes it and its sidecar, and asks for what
// needs a GPU where there is none.
func checkEngine(t *testing.T, dir, engine string) {
	t.Helper()
	var inspected struct {
		Kind   string
		Engine struct{ Precision string }
	}
	run(t, refusalLimit, dir, "inspect", engine, "--json").expectJSON(t, &inspected)
	if inspected.Kind != "engine" || !strings.Contains(inspected.Engine.Precision, "int8") {
		t.Errorf("inspect says %+v", inspected)
	}
	bytes, sidecar := read(t, engine), read(t, engine+".json")
	var facts map[string]any
	if err := json.Unmarshal(sidecar, &facts); err != nil {
		t.Fatal(err)
	}
	facts["version"] = "1.0.0"
	old, err := json.Marshal(facts)
	if err != nil {
		t.Fatal(err)
	}
	tampered := append([]byte{}, bytes...)
	tampered[len(tampered)/2]++
	picture := pictures(t, 1)[0]
	annotations := testenv.Data(t, "coco", "annotations.json")
	commands := func(path string) [][]string {
		return [][]string{
			{"bench", path}, {"eval", path, "--data", annotations}, {"detect", path, picture, "-o", filepath.Join(dir, "x")},
			{"run", path, "--input", "x=y.npy", "--output-dir", filepath.Join(dir, "x")},
		}
	}
	for _, c := range []struct {
		name          string
		data, sidecar []byte
		word          string
		inspect       bool // inspect shows it
	}{
		{"tampered.engine", tampered, sidecar, "not the file its sidecar describes", false},
		{"cut.engine", bytes[:1000], sidecar, "not the file its sidecar describes", false},
		{"empty.engine", nil, sidecar, "empty", false},
		{"garbage.engine", bytes, []byte("{garbage"), "sidecar", false},
		{"lone.engine", bytes, nil, "sidecar", false},
		{"old.engine", bytes, old, "1.0.0", true},
	} {
		path := write(t, dir, c.name, c.data)
		if c.sidecar != nil {
			write(t, dir, c.name+".json", c.sidecar)
		}
		for _, args := range commands(path) {
			run(t, refusalLimit, dir, args...).expectRefusal(t, fault.CodeBadInput, c.name, c.word)
		}
		if !c.inspect {
			run(t, refusalLimit, dir, "inspect", path).expectRefusal(t, fault.CodeBadInput, c.name, c.word)
		}
	}
	if _, err := os.Stat("/dev/nvidiactl"); err != nil {
		for _, args := range commands(engine) {
			run(t, refusalLimit, dir, args...).expectRefusal(t, fault.CodeNoDevice, "a.engine", "driver")
		}
	}
	for _, args := range commands(engine) {
		run(t, refusalLimit, dir, append(args, "--device", "cpu")...).expectRefusal(t, fault.CodeUsage, "GPU")
	}
}
