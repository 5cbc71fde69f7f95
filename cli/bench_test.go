package cli

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/internal/bench"
	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/testenv"
	"trtact/trt"
)

func TestBench(t *testing.T) {
	needCPU(t)
	a, b := testenv.Data(t, "models", "fastestdet_352.onnx"), testenv.Data(t, "models", "yolo_fastestv2_352.onnx")
	r := run(t, "bench", a, b, "--device", "cpu", "--iterations", "4", "--warmup", "1", "--threads", "1", "--layers", "--json", "-q")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	var got bench.Report
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got.Models) != 2 {
		t.Fatalf("%v: %s", err, r.out)
	}
	if got.Device != "cpu" || got.Threads != 1 || got.Models[0].Speed != 1 {
		t.Errorf("got %+v", got)
	}
	for _, m := range got.Models {
		l := m.Latency
		if l.Count != 4 || l.Min <= 0 || l.Min > l.Median || l.Median > l.P90 || l.P90 > l.P99 || l.P99 > l.Max || m.Throughput <= 0 {
			t.Errorf("%s: %+v", m.Model, m)
		}
		sum := 0.0
		for _, layer := range m.Layers {
			sum += layer.Milliseconds
			if len(layer.Nodes) != 1 || layer.Nodes[0] == "" {
				t.Errorf("%s: layer %+v has no node", m.Model, layer)
			}
		}
		if sum < l.Min/2 || sum > 5*l.Max {
			t.Errorf("%s: %d layers take %v ms together, a run %v to %v", m.Model, len(m.Layers), sum, l.Min, l.Max)
		}
	}
	if want := got.Models[0].Latency.Median / got.Models[1].Latency.Median; got.Models[1].Speed != want {
		t.Errorf("speed %v, want %v", got.Models[1].Speed, want)
	}
	text := run(t, "bench", testenv.Data(t, "models", "yolov5n_fp16.onnx"), "--iterations", "1", "--warmup", "0", "--batch", "2", "-q")
	if text.code != 0 || !strings.Contains(text.out, "on the CPU") || !strings.Contains(text.out, "batch 2") || !strings.Contains(text.out, "640x640") || strings.Contains(text.out, "speed") {
		t.Errorf("exit %d: %s%s", text.code, text.out, text.err)
	}
}

// TestBenchAnyModel: a model without a picture is timed too, with steps on the host.
func TestBenchAnyModel(t *testing.T) {
	needCPU(t)
	g := &onnx.Graph{Name: "g", Info: map[string]onnx.Value{},
		Nodes: []*onnx.Node{{Name: "product", Op: "Gemm", Inputs: []string{"x", "w"}, Outputs: []string{"y"}}, {Name: "best", Op: "ArgMax", Inputs: []string{"y"}, Outputs: []string{"z"}, Attrs: map[string]onnx.Attr{"axis": int64(1)}},
			{Name: "more", Op: "Add", Inputs: []string{"z", "n"}, Outputs: []string{"sum"}}},
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{4, 64}}, {Name: "n", Type: onnx.Int64, Dims: []int{1}}},
		Outputs: []onnx.Value{{Name: "sum", Type: onnx.Int64}},
		Init:    map[string]*onnx.Tensor{"w": onnx.NewTensor([]int{64, 8}, make([]float32, 512))}}
	path := filepath.Join(t.TempDir(), "gemm.onnx")
	if err := (&onnx.Model{IR: 8, Opset: 13, Graph: g}).Save(path); err != nil {
		t.Fatal(err)
	}
	r := run(t, "bench", path, "--device", "cpu", "--iterations", "3", "--layers", "--json", "-q")
	var got bench.Report
	if err := json.Unmarshal([]byte(r.out), &got); r.code != 0 || err != nil || len(got.Models) != 1 {
		t.Fatalf("exit %d, %v: %s%s", r.code, err, r.out, r.err)
	}
	if m := got.Models[0]; m.Batch != 4 || m.Throughput <= 0 {
		t.Errorf("batch %d, %v pictures a second", m.Batch, m.Throughput)
	}
	host := 0
	for _, l := range got.Models[0].Layers {
		if strings.Contains(l.Name, "host") && l.Milliseconds > 0 {
			host++
		}
	}
	if host != 2 {
		t.Errorf("%d layers on the host: %+v", host, got.Models[0].Layers)
	}
}

// TestAnyValue: every type of input has some; what is known of a picture is repeated for each
// of a batch.
func TestAnyValue(t *testing.T) {
	for _, v := range []any{[]float32{0}, []float64{0}, []int8{0}, []int16{0}, []int32{0}, []int64{0}, []uint8{0}, []uint16{0}, []uint32{0}, []uint64{0}, []bool{false}} {
		in := onnx.Value{Name: "x", Type: onnx.DTypeOf(v), Dims: []int{2, 3}}
		if got, err := anyValue(in, nil, rand.New(rand.NewPCG(1, 2))); err != nil || got.Type != in.Type || got.Len() != 6 {
			t.Errorf("%v: %v, %v", in.Type, got, err)
		}
	}
	got, err := anyValue(onnx.Value{Name: "im_shape", Type: onnx.Float, Dims: []int{2, 2}}, []float32{320, 416}, nil)
	if err != nil || !slices.Equal(got.Floats(), []float32{320, 416, 320, 416}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := anyValue(onnx.Value{Name: "x", Type: onnx.String, Dims: []int{1}}, nil, nil); fault.Code(err) != fault.CodeBadInput {
		t.Errorf("text: %v", err)
	}
}

func TestBenchBadUse(t *testing.T) {
	model := testenv.Data(t, "models", "fastestdet_352.onnx")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{}, fault.CodeUsage, "at least one model"},
		{[]string{model, "--iterations", "0"}, fault.CodeUsage, "--iterations 0"},
		{[]string{model, "--duration", "0s"}, fault.CodeUsage, "--duration 0s"},
		{[]string{model, "--duration", "3"}, fault.CodeUsage, "expected a duration"},
		{[]string{model, "--iterations", "3", "--duration", "3s"}, fault.CodeUsage, "exclude each other"},
		{[]string{model, "--warmup", "-1"}, fault.CodeUsage, "--warmup -1"},
		{[]string{model, "--warmup", "-1s"}, fault.CodeUsage, "--warmup -1s"},
		{[]string{model, "--warmup", "some"}, fault.CodeUsage, "a number of runs, or a time"},
		{[]string{model, "--format", "xml"}, fault.CodeUsage, "choose one of table"},
		{[]string{model, "--format", "csv", "--json"}, fault.CodeUsage, "exclude each other"},
		{[]string{model, "--streams", "0"}, fault.CodeUsage, "--streams 0"},
		{[]string{model, "--top", "0"}, fault.CodeUsage, "--top 0"},
		{[]string{model, "--keep", "x"}, fault.CodeUsage, "--keep is for --precision"},
		{[]string{model, "--data", "x"}, fault.CodeUsage, "for --precision"},
		{[]string{model, "--precision", "fp16", "--images", "x"}, fault.CodeUsage, "--images is for --data"},
		{[]string{model, "--precision", "fp16,fp8"}, fault.CodeUsage, `"fp8" is not known`},
		{[]string{model, "--precision", "fp16", "--device", "cpu"}, fault.CodeUsage, "on a GPU only"},
		{[]string{model, "--times", filepath.Join(model, "x.csv")}, fault.CodeUsage, "--times"},
		{[]string{model, "nowhere.onnx"}, fault.CodeBadInput, "nowhere.onnx"},
	} {
		r := run(t, append([]string{"bench"}, c.args...)...)
		if r.code != c.code || r.out != "" || !strings.Contains(r.err, c.want) {
			t.Errorf("%v: exit %d, %q; want %d and %q", c.args, r.code, r.err, c.code, c.want)
		}
	}
}

// storeEngine writes bytes with a sidecar that vouches for them.
func storeEngine(t *testing.T, version string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "some.engine")
	err := trt.Write(path, &trt.Engine{Bytes: []byte("engine"), Artifact: trt.Artifact{
		Backend: trt.BackendRTX, Family: "rtx1", Version: version, Precision: "fp32",
		Inputs:  []trt.Tensor{{Name: "x", Type: "fp32", Dims: []int{1, 3, 64, 64}}},
		Outputs: []trt.Tensor{{Name: "y", Type: "fp32", Dims: []int{1, 10}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// rtxVersion is the version of TensorRT for RTX here, "" when there is none.
func rtxVersion(t *testing.T) string {
	t.Helper()
	families, err := trt.Find(context.Background(), trt.DefaultPlaces())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.Backend == trt.BackendRTX {
			return f.Version
		}
	}
	return ""
}

// Without a GPU an engine is checked and then refused with exit 3.
func TestEngineNeedsGPU(t *testing.T) {
	if _, err := os.Stat("/dev/nvidiactl"); err == nil {
		t.Skip("skipped: this machine has an NVIDIA driver")
	}
	version := rtxVersion(t)
	if version == "" {
		version = "1.7.1"
	}
	engine := storeEngine(t, version)
	x := saveArray(t, filepath.Join(t.TempDir(), "x.npy"), []int{1, 3, 64, 64}, make([]float32, 3*64*64))
	for _, args := range [][]string{
		{"bench", engine}, {"eval", engine, "--data", "labels.json"}, {"detect", engine, "street.jpg"},
		{"run", engine, "-i", "x=" + x, "-o", "out"},
	} {
		r := run(t, args...)
		if r.code != fault.CodeNoDevice || r.out != "" || !strings.Contains(r.err, "no NVIDIA driver") || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%v: exit %d, %q", args, r.code, r.err)
		}
	}
	if r := run(t, "bench", engine, "--device", "cpu"); r.code != fault.CodeUsage || !strings.Contains(r.err, "runs on a GPU only") {
		t.Errorf("--device cpu: exit %d, %q", r.code, r.err)
	}
	if err := os.WriteFile(engine, []byte("other bytes"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := run(t, "bench", engine); r.code != fault.CodeBadInput || !strings.Contains(r.err, "sidecar") {
		t.Errorf("changed bytes: exit %d, %q", r.code, r.err)
	}
}

func TestEngineOfAnotherVersion(t *testing.T) {
	if rtxVersion(t) == "" {
		t.Skip("skipped: needs TensorRT for RTX (`make setup`)")
	}
	engine := storeEngine(t, "1.0.0")
	if r := run(t, "bench", engine); r.code != fault.CodeBadInput || !strings.Contains(r.err, "1.0.0") {
		t.Errorf("exit %d, %q", r.code, r.err)
	}
}
