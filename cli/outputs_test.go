package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/npy"
	"trtact/internal/testenv"
)

// TestNothingIsOverwritten: what a command is given to read, or writes itself, is not
// written over.
func TestNothingIsOverwritten(t *testing.T) {
	dir := t.TempDir()
	sample := filepath.Join(testenv.Root(), "examples", "shapes")
	file := func(name string) string { return filepath.Join(dir, name) }
	before := map[string]string{}
	annotations := filepath.Join("val", "annotations.json")
	for name, from := range map[string]string{"m.onnx": "shapes.onnx", "a.json": annotations, "result.json": annotations} {
		data, err := os.ReadFile(filepath.Join(sample, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file(name), data, 0o644); err != nil {
			t.Fatal(err)
		}
		before[name] = string(data)
	}
	if err := os.Symlink("m.onnx", file("link")); err != nil {
		t.Fatal(err)
	}
	pictures := filepath.Join(sample, "calib", "images")
	for _, line := range []string{
		"eval m.onnx --data a.json --save a.json",
		"eval m.onnx --data a.json --save ./m.onnx",
		"eval m.onnx --data a.json --save link",
		"calibrate m.onnx --data PICTURES -o m.onnx",
		"calibrate m.onnx --data PICTURES --cache m.onnx",
		"calibrate m.onnx --data PICTURES -o q.onnx --cache q.onnx",
		"calibrate m.onnx --data PICTURES -o q.onnx --cache q.plan.json",
		"bench m.onnx --device cpu --times m.onnx",
		"build m.onnx --int8 --data PICTURES -o q.engine --log m.onnx",
		"build m.onnx --int8 --data PICTURES -o q.engine --log q.onnx",
		"build m.onnx --int8 --data PICTURES -o m.engine",
		"build m.onnx --int8 --data PICTURES --val result.json -o q.engine --report .",
	} {
		args := strings.Fields(line)
		for i, a := range args {
			switch {
			case a == "PICTURES":
				args[i] = pictures
			case strings.Contains(a, ".") || a == "link":
				args[i] = file(a)
			}
		}
		if r := run(t, args...); r.code != fault.CodeUsage || !strings.Contains(r.err, "would overwrite") && !strings.Contains(r.err, "would replace") {
			t.Errorf("%s: exit %d, %s", line, r.code, r.err)
		}
		for name, want := range before {
			if got, err := os.ReadFile(file(name)); err != nil || string(got) != want {
				t.Fatalf("%s: %s has changed, %v", line, name, err)
			}
		}
		if _, err := os.Stat(file("q.onnx")); err == nil {
			t.Errorf("%s: q.onnx was written", line)
		}
	}
}

// TestRunOverInput: an output whose file is that of an input.
func TestRunOverInput(t *testing.T) {
	needCPU(t)
	dir := t.TempDir()
	model := filepath.Join(testenv.Root(), "examples", "shapes", "shapes.onnx")
	input := filepath.Join(dir, "x.npy")
	if err := npy.Write(input, &npy.Array{Shape: []int{1, 3, 192, 192}, Data: make([]float32, 3*192*192)}); err != nil {
		t.Fatal(err)
	}
	r := run(t, "run", model, "--input", input, "--output-dir", filepath.Join(dir, "o"), "--json")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "o", "*.npy"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	if err := os.Rename(input, files[0]); err != nil {
		t.Fatal(err)
	}
	if r := run(t, "run", model, "--input", files[0], "--output-dir", filepath.Join(dir, "o")); r.code != fault.CodeUsage || !strings.Contains(r.err, "would overwrite") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}
