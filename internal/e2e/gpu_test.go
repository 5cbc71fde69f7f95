package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/gpu"
	"trtact/internal/testenv"
)

// How far an engine's outputs may be from those computed here (relative L2). A value
// on a rounding tie moves by a whole step and takes others with it, so two correct
// INT8 computations part by up to what quantising itself does; what must hold is that
// the engine is as near to the float model as the simulation is.
const (
	engineFloatError = 1e-3 // FP32 without TF32
	engineINT8Excess = 1.1  // of the simulation's distance from the float model
)

// Engines on the GPU here, against the CPU backend, which other tests hold against
// onnxruntime.
func TestGPUAgreement(t *testing.T) {
	needGPU(t)
	t.Log(agreementHead)
	agrees(t, sampleFile("shapes.onnx"), sampleFile("calib"))
}

func TestGPUAgreementOfDetectors(t *testing.T) {
	needGPU(t)
	t.Log(agreementHead)
	models, err := filepath.Glob(filepath.Join(testenv.Data(t, "models"), "*.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	for _, model := range models {
		if !strings.HasSuffix(model, "_fp16.onnx") { // computed in float32 here
			agrees(t, model, listFile(t, t.TempDir(), 4))
		}
	}
}

func needGPU(t *testing.T) {
	t.Helper()
	m, err := gpu.Open()
	if err != nil {
		t.Skipf("skipped: needs a GPU: %v", err)
	}
	m.Close()
}

const agreementHead = "| model | FP32 engine from the model | INT8 engine | INT8 simulated | engine from simulation |"

// agrees builds engines of a model and compares them on the pictures in data.
func agrees(t *testing.T, model, data string) {
	t.Helper()
	dir := t.TempDir()
	build := func(engine string, flags ...string) {
		t.Helper()
		args := append([]string{"build", model, "-o", engine, "--json", "--no-tf32"}, flags...)
		var done struct{ Files map[string]string }
		run(t, workLimit, dir, args...).expectJSON(t, &done)
	}
	build("float.engine")
	build("int8.engine", "--int8", "--data", data, "--calib-images", "4", "--method", "absmax", "--equalise", "off", "--qat", "off")
	engine := distance(t, dir, model, "float.engine", data)
	int8 := distance(t, dir, model, "int8.engine", data)
	simulated := distance(t, dir, model, "int8.onnx", data)
	apart := distance(t, dir, "int8.onnx", "int8.engine", data)
	t.Logf("| %s | %.2g | %.2g | %.2g | %.2g |", filepath.Base(model), engine, int8, simulated, apart)
	if engine > engineFloatError {
		t.Errorf("%s: the FP32 engine is %.2g from the model, at most %.2g is allowed", model, engine, engineFloatError)
	}
	if int8 > simulated*engineINT8Excess+engineFloatError || apart > simulated+engineFloatError {
		t.Errorf("%s: the INT8 engine is %.2g from the float model and %.2g from the simulation, which is %.2g from the float model",
			model, int8, apart, simulated)
	}
}

// distance is the largest relative L2 error of b's outputs from a's.
func distance(t *testing.T, dir, a, b, data string) float64 {
	t.Helper()
	var got struct {
		Outputs []struct {
			RelativeL2 float64 `json:"relative_l2"`
			NotFinite  int     `json:"not_finite"`
		}
	}
	run(t, workLimit, dir, "compare", a, b, "--data", data, "--limit", "4", "--json").expectJSON(t, &got)
	if len(got.Outputs) == 0 {
		t.Fatalf("compare %s %s: no outputs", a, b)
	}
	largest := 0.0
	for _, o := range got.Outputs {
		if o.NotFinite > 0 {
			t.Errorf("compare %s %s: %d values that are no numbers", a, b, o.NotFinite)
		}
		largest = max(largest, o.RelativeL2)
	}
	return largest
}

// What TestGPUAgreement measures with, without its engines: a Q/DQ model takes their place.
func TestDistance(t *testing.T) {
	model, data, dir := sampleFile("shapes.onnx"), sampleFile("calib"), t.TempDir()
	program(t)
	run(t, workLimit, dir, "calibrate", model, "--data", data, "--calib-images", "4", "--method", "absmax", "--equalise", "off", "-o", "int8.onnx", "--json").
		expectJSON(t, &struct{}{})
	if same := distance(t, dir, model, model, data); same != 0 {
		t.Errorf("a model is %v from itself", same)
	}
	if d := distance(t, dir, model, filepath.Join(dir, "int8.onnx"), data); d < 1e-3 || d > 0.5 {
		t.Errorf("the quantised model is %v from the float model", d)
	}
}

// TestChecksWithoutGPU: each set of GPU checks says in a line why it is left out.
func TestChecksWithoutGPU(t *testing.T) {
	if run(t, refusalLimit, t.TempDir(), "--quiet", "gpu").code == 0 {
		t.Skip("skipped: there is a GPU")
	}
	for _, what := range []string{"test", "sanitize", "bench"} {
		out, err := exec.Command(filepath.Join(testenv.Root(), "scripts", "gpu.sh"), what).CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), what+"-gpu: skipped: ") || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s: %v, %q", what, err, out)
		}
	}
}
