package nn

import (
	"encoding/binary"
	"math"
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
// x.f32, in onnxruntime, and saves every output.
const referenceRun = `
import sys, numpy as np, onnxruntime as ort
model, folder, h, w = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
o = ort.SessionOptions(); o.log_severity_level = 3; o.intra_op_num_threads = 2
o.add_session_config_entry("session.disable_quant_qdq", "1")
s = ort.InferenceSession(model, o, providers=["CPUExecutionProvider"])
i = s.get_inputs()[0]
x = np.random.default_rng(7).random((1, 3, h, w), dtype=np.float32)
x.tofile(folder + "/x.f32")
for k, y in enumerate(s.run(None, {i.name: x.astype(np.float16) if "float16" in i.type else x})):
    y.astype(np.float32).tofile(folder + "/y%d.f32" % k)
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
			folder := t.TempDir()
			testenv.RunPython(t, referenceRun, file, folder, strconv.Itoa(dims[2]), strconv.Itoa(dims[3]))
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
			if err := c.SetInput(input.Name, x); err != nil {
				t.Fatal(err)
			}
			if err := c.Run(); err != nil {
				t.Fatal(err)
			}
			for i, out := range m.Graph.Outputs {
				got, err := c.Output(out.Name)
				if err != nil {
					t.Fatal(err)
				}
				want := readFloats(t, filepath.Join(folder, "y"+strconv.Itoa(i)+".f32"))
				if got.Len() != len(want) {
					t.Fatalf("output %s has shape %v, want %d values", out.Name, got.Dims, len(want))
				}
				if e := relativeL2(got.Floats(), want); !(e <= tolerance) {
					t.Errorf("output %s: relative L2 error %.2e, at most %.0e", out.Name, e, tolerance)
				} else if os.Getenv("TRTACT_FIGURES") != "" {
					t.Logf("output %s: relative L2 error %.2e", out.Name, e)
				}
			}
			if os.Getenv("TRTACT_FIGURES") != "" {
				t.Logf("context of %.1f MiB, %d steps", float64(n.ContextBytes())/(1<<20), len(n.Steps()))
			}
		})
	}
}
