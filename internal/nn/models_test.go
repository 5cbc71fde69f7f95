package nn

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"trtact/internal/compute"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"

	"trtact/internal/testenv"
)

// referenceRun feeds a model the same seeded noise as the Go side reads from
// x.f32, in onnxruntime, and saves every output: with all its graph
// optimisations (y), and with none on pixels one unit in the last place larger
// (z), which is the same mathematics but for rounding.
const referenceRun = `
import sys, numpy as np, onnxruntime as ort
model, folder, h, w = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
x = np.random.default_rng(7).random((1, 3, h, w), dtype=np.float32)
x.tofile(folder + "/x.f32")
for name, level in ("y", ort.GraphOptimizationLevel.ORT_ENABLE_ALL), ("z", ort.GraphOptimizationLevel.ORT_DISABLE_ALL):
    o = ort.SessionOptions(); o.log_severity_level = 3; o.intra_op_num_threads = 2
    o.graph_optimization_level = level
    o.add_session_config_entry("session.disable_quant_qdq", "1")
    s = ort.InferenceSession(model, o, providers=["CPUExecutionProvider"])
    i = s.get_inputs()[0]
    p = x if name == "y" else np.nextafter(x, np.float32(2))
    for k, y in enumerate(s.run(None, {i.name: p.astype(np.float16) if "float16" in i.type else p})):
        y.astype(np.float32).tofile(folder + "/%s%d.f32" % (name, k))
`

func openCPU(t testing.TB) *compute.Device {
	t.Helper()
	testenv.Libraries(t)
	d, err := compute.OpenCPU()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func readFloats(t testing.TB, path string) []float32 {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]float32, len(raw)/4)
	for i := range list {
		list[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return list
}

// relativeL2 is ||a-b|| / ||b||.
func relativeL2(a, b []float32) float64 {
	var diff, norm float64
	for i := range b {
		d := float64(a[i]) - float64(b[i])
		diff += d * d
		norm += float64(b[i]) * float64(b[i])
	}
	return math.Sqrt(diff / math.Max(norm, 1e-30))
}

// TestModelsAgainstOnnxruntime: every real detector, every output, relative L2
// error at most 1e-4; the float16 model is computed in float32 here and in
// float16 there, which sets its tolerance.
func TestModelsAgainstOnnxruntime(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(testenv.Data(t, "models"), "*.onnx"))
	d := openCPU(t)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			m, err := onnx.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			tolerance := 1e-4
			if m.WasFloat16 {
				tolerance = 5e-3
			}
			input := m.Graph.Inputs[0]
			dims := []int{1, 3, 640, 640}
			for i := 2; i < 4; i++ {
				if input.Dims[i] > 0 {
					dims[i] = input.Dims[i]
				}
			}
			if err := shape.Infer(m, map[string][]int{input.Name: dims}); err != nil {
				t.Fatal(err)
			}
			if _, err := simplify.Run(m); err != nil {
				t.Fatal(err)
			}
			compareWithOnnxruntime(t, d, m, file, dims[2], dims[3], tolerance)
		})
	}
}

// compareWithOnnxruntime runs m here and file there on the same noise.
func compareWithOnnxruntime(t *testing.T, d *compute.Device, m *onnx.Model, file string, h, w int, tolerance float64) {
	t.Helper()
	folder := t.TempDir()
	testenv.RunPython(t, referenceRun, file, folder, strconv.Itoa(h), strconv.Itoa(w))
	x := readFloats(t, filepath.Join(folder, "x.f32"))
	n, err := Compile(m, d, Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	c, err := n.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetInput(m.Graph.Inputs[0].Name, x); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	// Outputs of one model differ in how they amplify; the worst is the measure.
	itself, worst := 0.0, 0.0
	for i, out := range m.Graph.Outputs {
		got, err := c.Output(out.Name)
		if err != nil {
			t.Fatal(err)
		}
		want := readFloats(t, filepath.Join(folder, "y"+strconv.Itoa(i)+".f32"))
		if got.Len() != len(want) {
			t.Fatalf("output %s has shape %v, want %d values", out.Name, got.Dims, len(want))
		}
		itself = max(itself, relativeL2(readFloats(t, filepath.Join(folder, "z"+strconv.Itoa(i)+".f32")), want))
		e := relativeL2(got.Floats(), want)
		if math.IsNaN(e) {
			t.Fatalf("output %s: not a number", out.Name)
		}
		worst = max(worst, e)
	}
	if limit := max(tolerance, 1.5*itself); worst > limit {
		t.Errorf("relative L2 error %.2e, at most %.1e (onnxruntime against itself: %.2e)", worst, limit, itself)
	}
	if os.Getenv("TRTACT_FIGURES") != "" {
		t.Logf("relative L2 error of the worst output %.2e (onnxruntime against itself %.2e)", worst, itself)
	}
	if os.Getenv("TRTACT_FIGURES") != "" {
		t.Logf("context of %.1f MiB, %d steps", float64(n.ContextBytes())/(1<<20), len(n.Steps()))
	}
}

// noise is seeded, between 0 and 1 as pixels are.
func noise(n int) []float32 {
	r := rand.New(rand.NewPCG(1, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = r.Float32()
	}
	return x
}

// TestTapsSurviveTheRun: a tensor asked for by name is the same whether the
// memory of all others is reused or not.
func TestTapsSurviveTheRun(t *testing.T) {
	m, err := onnx.Load(testenv.Data(t, "models", "v5lite_e_320.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if err := shape.Infer(m, nil); err != nil {
		t.Fatal(err)
	}
	var taps []string
	for _, n := range m.Graph.Nodes {
		if n.Op == "Conv" {
			taps = append(taps, n.Outputs[0])
		}
	}
	d := openCPU(t)
	run := func(o Options) map[string]*onnx.Tensor {
		n, err := Compile(m, d, o)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		c, err := n.NewContext()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		in := m.Graph.Inputs[0]
		if err := c.SetInput(in.Name, noise(product(in.Dims))); err != nil {
			t.Fatal(err)
		}
		if err := c.Run(); err != nil {
			t.Fatal(err)
		}
		values := map[string]*onnx.Tensor{}
		for _, name := range taps {
			if values[name], err = c.Output(name); err != nil {
				t.Fatal(err)
			}
		}
		return values
	}
	all, some := run(Options{Outputs: taps, KeepAll: true}), run(Options{Outputs: taps})
	for _, name := range taps {
		if e := relativeL2(some[name].Floats(), all[name].Floats()); e != 0 {
			t.Errorf("tensor %s: differs by %.2e", name, e)
		}
	}
}

// TestPlainOutputs: many tensors read row-major are what they are when read as
// they lie.
func TestPlainOutputs(t *testing.T) {
	d := openCPU(t)
	c := newTrial("a chain")
	c.input("x0", 1, 20, 12, 12)
	var names []string
	for i := range 8 {
		w, y := fmt.Sprintf("w%d", i), fmt.Sprintf("x%d", i+1)
		c.constant(w, 20, 20, 1, 1)
		c.node(fmt.Sprintf("%s = Conv x%d %s", y, i, w), nil)
		names = append(names, y)
	}
	c.outputs("x8")
	if err := shape.Infer(c.model, nil); err != nil {
		t.Fatal(err)
	}
	var found [2]map[string]*onnx.Tensor
	for i, plain := range []bool{false, true} {
		var err error
		if found[i], _, err = evaluate(d, c.model, c.feed, Options{Outputs: names, Plain: plain}); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range found[0] {
		if e := relativeL2(found[1][name].Floats(), want.Floats()); e != 0 {
			t.Errorf("tensor %q read row-major differs by %g", name, e)
		}
	}
}
