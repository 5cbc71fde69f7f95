package onnx

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/internal/testenv"
)

// The real detectors: what Save writes passes onnx.checker and computes the
// very same numbers, also after UpgradeOpset. Graph optimisation is off, since it
// treats constants that are listed as inputs, as older files do, differently.
// Half-precision models become float32 ones, so theirs may differ by float16's
// rounding: in their box outputs, hundreds of pixels, half a pixel.
const compareSaved = `
import sys, os, numpy as np, onnx, onnxruntime as ort
o = ort.SessionOptions(); o.log_severity_level = 3; o.intra_op_num_threads = 1
o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
for pair in sys.argv[1:]:
    old, new = pair.split("=")
    onnx.checker.check_model(new, full_check=True)
    a = ort.InferenceSession(old, o); b = ort.InferenceSession(new, o)
    i = a.get_inputs()[0]
    half = "16" in i.type
    x = np.random.default_rng(0).random([d if isinstance(d, int) else [1, 3, 640, 640][k] for k, d in enumerate(i.shape)], dtype=np.float32)
    if half: x = x.astype(np.float16).astype(np.float32)
    want = a.run(None, {i.name: x.astype(np.float16) if half else x})
    got = b.run(None, {i.name: x})
    for k, (w, g) in enumerate(zip(want, got)):
        worst = np.abs(w.astype(np.float32) - g).max()
        if g.dtype != np.float32 or worst > (0.5 if half else 0):
            print(os.path.basename(new), "output", k, g.dtype, "differs by", worst)
`

func dataModels(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(testenv.Data(t, "models"), "*.onnx"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no models in the data folder: %v", err)
	}
	return paths
}

func TestSavedDetectorsComputeTheSame(t *testing.T) {
	testenv.Python(t)
	dir := t.TempDir()
	var pairs []string
	for _, path := range dataModels(t) {
		m, err := Load(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if half := strings.Contains(path, "fp16"); m.WasFloat16 != half {
			t.Errorf("%s: WasFloat16 is %v", path, m.WasFloat16)
		}
		saved := filepath.Join(dir, filepath.Base(path))
		if err := m.Save(saved); err != nil {
			t.Error(err)
		}
		pairs = append(pairs, path+"="+saved)
		if m.Opset < 13 {
			if err := UpgradeOpset(m, 13); err != nil {
				t.Error(err)
			}
			upgraded := filepath.Join(dir, "opset13_"+filepath.Base(path))
			if err := m.Save(upgraded); err != nil {
				t.Error(err)
			}
			pairs = append(pairs, path+"="+upgraded)
		}
	}
	if diff := testenv.RunPython(t, compareSaved, pairs...); diff != "" {
		t.Error(diff)
	}
}

func TestMarshalIsDeterministic(t *testing.T) {
	for _, path := range dataModels(t) {
		m, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		first, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := m.Clone().Marshal()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse(first, "")
		if err != nil {
			t.Fatal(err)
		}
		third, err := back.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(first, again) || !slices.Equal(first, third) {
			t.Errorf("%s: the same model gives other bytes", path)
		}
	}
}

// ONNX's own operator tests hold about every form that nodes, attributes and
// tensors can have. Those that are refused are refused for what they are.
func TestNodeTests(t *testing.T) {
	folder := testenv.NodeTests(t)
	cases, err := filepath.Glob(filepath.Join(folder, "*", "model.onnx"))
	if err != nil || len(cases) < 900 {
		t.Fatalf("%d operator tests found: %v", len(cases), err)
	}
	reasons := []string{
		"only dense tensors are read",
		"its operator set is version 1;",
		"it does not name its version of ONNX's operator set", // ai.onnx.ml and training alone
	}
	dir := t.TempDir()
	loaded, tensors := 0, 0
	for _, path := range cases {
		m, err := Load(path)
		if err != nil {
			if !slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(err.Error(), r) }) {
				t.Error(err)
			}
			continue
		}
		loaded++
		if err := m.Save(filepath.Join(dir, filepath.Base(filepath.Dir(path))+".onnx")); err != nil {
			t.Error(err)
		}
		files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "test_data_set_0", "*.pb"))
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tensor, _, err := ParseTensor(data)
			if err != nil {
				if !strings.Contains(err.Error(), "are not read") {
					t.Errorf("%s: %v", file, err)
				}
				continue
			}
			tensors++
			if err := tensor.verify(); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	t.Logf("%d of %d models, %d tensors", loaded, len(cases), tensors)
	if loaded < len(cases)*9/10 {
		t.Errorf("only %d of %d models are read", loaded, len(cases))
	}
	// What onnx.checker refuses in the original (a fault of its own in one case)
	// it may refuse in the copy.
	if bad := testenv.RunPython(t, `
import sys, os, glob, onnx
def verdict(path):
    try: onnx.checker.check_model(path, full_check=True)
    except Exception as e: return str(e)[:300]
for path in sorted(glob.glob(sys.argv[1] + "/*.onnx")):
    bad = verdict(path)
    if bad and not verdict(os.path.join(sys.argv[2], os.path.basename(path)[:-5], "model.onnx")):
        print(path, bad)`, dir, folder); bad != "" {
		t.Errorf("saved operator tests do not pass onnx.checker:\n%s", bad)
	}
}
