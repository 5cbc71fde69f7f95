package cli

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/bench"
	"trtact/internal/fault"
	"trtact/internal/testenv"
	"trtact/trt"
)

// The engines are real, of TensorRT for RTX; the GPU that they are built for and
// timed on is not.
func TestBenchPrecisions(t *testing.T) {
	if rtxVersion(t) == "" {
		t.Skip("skipped: needs TensorRT for RTX (`make setup`)")
	}
	needCPU(t)
	model := filepath.Join(testenv.Root(), "examples", "shapes", "shapes.onnx")
	pictures := filepath.Join(testenv.Root(), "examples", "shapes", "calib", "images")
	keep := t.TempDir()
	m := oneGPU()
	r := benchOn(t, m, model, "--precision", "fp32,int8", "--data", pictures, "--keep", keep, "--backend", "rtx", "--iterations", "8", "--json", "-q")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	var got bench.Report
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got.Models) != 2 {
		t.Fatalf("%v: %s", err, r.out)
	}
	for i, want := range []struct{ title, file, precision string }{
		{"shapes fp32", "shapes.fp32.engine", "fp32"}, {"shapes int8", "shapes.int8.engine", "int8, fp32"},
	} {
		x := got.Models[i]
		if x.Model != model || x.Title != want.title || x.Engine != filepath.Join(keep, want.file) || x.Precision != want.precision || x.Batch != 1 || x.Height != 192 {
			t.Errorf("%+v", x)
		}
		e, err := trt.Read(x.Engine, false)
		if err != nil {
			t.Error(err)
		} else if a := e.Artifact; len(a.Targets) != 1 || a.Targets[0] != "sm_86" {
			t.Errorf("%s is for %v, the GPU is an sm_86", x.Engine, a.Targets)
		}
	}
	// The fake takes as long as the file is large.
	if want := float64(got.Models[0].Bytes) / float64(got.Models[1].Bytes); math.Abs(got.Models[1].Speed/want-1) > 1e-9 {
		t.Errorf("speed %v, want %v", got.Models[1].Speed, want)
	}
	// Without --keep nothing stays, and an engine of the command line may stand beside.
	t.Setenv("TMPDIR", t.TempDir())
	m = oneGPU()
	r = benchOn(t, m, filepath.Join(keep, "shapes.int8.engine"), filepath.Join(keep, "shapes.int8.onnx"), "--precision", "int8", "--backend", "rtx", "--layers", "--iterations", "1", "-q")
	if r.code != 0 || !strings.Contains(r.out, "shapes.int8.engine") || !strings.Contains(r.out, "shapes.int8 int8") || !strings.Contains(r.out, "/conv2 + /relu2") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestBenchPrecisionRefusals(t *testing.T) {
	needCPU(t)
	model := filepath.Join(testenv.Root(), "examples", "shapes", "shapes.onnx")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{model, "--precision", "fp32,int8"}, fault.CodeUsage, "--precision int8 needs --data"},
		{[]string{model, "--precision", "fp32", "--data", "."}, fault.CodeUsage, "--data is for --precision int8"},
		{[]string{model, "--precision", "int8", "--data", "nowhere"}, fault.CodeBadInput, "nowhere"},
		{[]string{file, "--precision", "fp32"}, fault.CodeBadInput, file},
		{[]string{model, "--precision", "fp32", "--keep", filepath.Join(file, "x")}, fault.CodeUsage, "--keep"},
	} {
		t.Setenv("TMPDIR", t.TempDir())
		r := benchOn(t, oneGPU(), c.args...)
		if r.code != c.code || r.out != "" || !strings.Contains(r.err, c.want) || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%v: exit %d, %q; want %d and %q", c.args, r.code, r.err, c.code, c.want)
		}
		if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
			t.Errorf("%v: left behind: %v, %v", c.args, left, err)
		}
	}
}
