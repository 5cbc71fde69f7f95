package cli

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/npy"
	"trtact/internal/onnx"
	"trtact/internal/testenv"
)

// save writes a small model: y = x*w + b over any number of rows, with the
// product p inside.
func saveAffine(t *testing.T, dir string) string {
	t.Helper()
	m := &onnx.Model{IR: 8, Opset: 13, Graph: &onnx.Graph{
		Name:    "affine",
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{onnx.Dynamic, 3}, Symbols: []string{"rows", ""}}},
		Outputs: []onnx.Value{{Name: "../y", Type: onnx.Float, Dims: []int{onnx.Dynamic, 3}}},
		Init: map[string]*onnx.Tensor{
			"w": onnx.Vector[float32](1, 2, 3), "b": onnx.Vector[float32](10, 20, 30),
		},
		Nodes: []*onnx.Node{
			{Name: "times", Op: "Mul", Inputs: []string{"x", "w"}, Outputs: []string{"p"}},
			{Name: "plus", Op: "Add", Inputs: []string{"p", "b"}, Outputs: []string{"../y"}},
		},
	}}
	path := filepath.Join(dir, "affine.onnx")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func saveArray(t *testing.T, path string, shape []int, data any) string {
	t.Helper()
	if err := npy.Write(path, &npy.Array{Shape: shape, Data: data}); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRunComputes(t *testing.T) {
	needCPU(t)
	dir := t.TempDir()
	model := saveAffine(t, dir)
	x := saveArray(t, filepath.Join(dir, "x.npy"), []int{2, 3}, []float32{1, 1, 1, 2, 0, -1})
	out := filepath.Join(dir, "out")
	r := run(t, "run", "--input", "x="+x, model, "--output-dir", out, "--tensor", "p", "--json")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	var got runResult
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got.Outputs) != 2 {
		t.Fatalf("%v: %s", err, r.out)
	}
	for i, want := range []struct {
		file   string
		values []float32
	}{
		{"_y.npy", []float32{11, 22, 33, 12, 20, 27}}, // a name cannot leave the folder
		{"p.npy", []float32{1, 2, 3, 2, 0, -3}},
	} {
		if got.Outputs[i].File != filepath.Join(out, want.file) {
			t.Errorf("written to %s, want %s", got.Outputs[i].File, want.file)
		}
		a, err := npy.Read(filepath.Join(out, want.file))
		if err != nil {
			t.Fatal(err)
		}
		values := a.Data.([]float32)
		for k := range want.values {
			if math.Abs(float64(values[k]-want.values[k])) > 1e-6 {
				t.Errorf("%s: %v, want %v", want.file, values, want.values)
				break
			}
		}
	}
}

// Further arrays may follow one --input, and a single input needs no name.
func TestRunInputForms(t *testing.T) {
	needCPU(t)
	dir := t.TempDir()
	model := saveAffine(t, dir)
	x := saveArray(t, filepath.Join(dir, "x.npy"), []int{1, 3}, []float32{1, 1, 1})
	for i, args := range [][]string{{model, "x=" + x}, {model, "-i", x}, {"-i=x=" + x, model}} {
		out := filepath.Join(dir, "out", string(rune('a'+i)))
		if r := run(t, append(append([]string{"run"}, args...), "-o", out)...); r.code != 0 {
			t.Errorf("%v: exit %d, %s", args, r.code, r.err)
		} else if a, err := npy.Read(filepath.Join(out, "_y.npy")); err != nil || a.Data.([]float32)[2] != 33 {
			t.Errorf("%v: %v, %v", args, a, err)
		}
	}
}

func TestRunBadUse(t *testing.T) {
	needCPU(t)
	dir := t.TempDir()
	model := saveAffine(t, dir)
	x := saveArray(t, filepath.Join(dir, "x.npy"), []int{1, 3}, []float32{1, 1, 1})
	wide := saveArray(t, filepath.Join(dir, "wide.npy"), []int{1, 4}, []float32{1, 1, 1, 1})
	whole := saveArray(t, filepath.Join(dir, "whole.npy"), []int{1, 3}, []int64{1, 1, 1})
	garbage := filepath.Join(dir, "garbage.npy")
	if err := os.WriteFile(garbage, []byte("\x93NUMPYgarbage"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{model, "-i", x}, fault.CodeUsage, "needs --output-dir"},
		{[]string{model, "-o", out}, fault.CodeUsage, "needs --input"},
		{[]string{model, x, "-o", out}, fault.CodeUsage, "takes one model"},
		{[]string{model, "-i", "=" + x, "-o", out}, fault.CodeUsage, "expected NAME=FILE.npy"},
		{[]string{model, "-i", "x=" + x, "-i", "x=" + x, "-o", out}, fault.CodeUsage, "was given before"},
		{[]string{model, "-i", "z=" + x, "-o", out}, fault.CodeUsage, `has no input "z"`},
		{[]string{model, "-i", "x=" + x, "-o", out, "--tensor", "q"}, fault.CodeUsage, `no tensor "q"`},
		{[]string{model, "-i", "x=nowhere.npy", "-o", out}, fault.CodeBadInput, "nowhere.npy"},
		{[]string{model, "-i", "x=" + garbage, "-o", out}, fault.CodeBadInput, "garbage.npy"},
		{[]string{model, "-i", "x=" + wide, "-o", out}, fault.CodeBadInput, "[1 4]"},
		{[]string{model, "-i", "x=" + whole, "-o", out}, fault.CodeBadInput, "astype(numpy.float32)"},
		{[]string{x, "-i", "x=" + x, "-o", out}, fault.CodeBadInput, "x.npy"},
	} {
		r := run(t, append([]string{"run"}, c.args...)...)
		if r.code != c.code || r.out != "" || !strings.Contains(r.err, c.want) || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%v: exit %d, %q; want %d and %q", c.args, r.code, r.err, c.code, c.want)
		}
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Error("a failed run left its folder behind")
	}
}

func TestTensorFile(t *testing.T) {
	taken := map[string]bool{}
	for _, c := range []struct{ name, want string }{
		{"output0", "output0.npy"}, {"output0", "output0-2.npy"}, {"a/b:c", "a_b_c.npy"},
		{"../../etc/passwd", "_.._etc_passwd.npy"}, {"...", "output.npy"}, {"", "output-2.npy"}, {"n\x00\n", "n__.npy"},
	} {
		if got := tensorFile(c.name, taken); got != c.want {
			t.Errorf("tensorFile(%q) = %q, want %q", c.name, got, c.want)
		}
	}
	if long := tensorFile(strings.Repeat("x", 500), taken); len(long) > 255 {
		t.Errorf("a file name of %d bytes", len(long))
	}
}

func TestDetectDraws(t *testing.T) {
	needCPU(t)
	model := testenv.Data(t, "models", "yolov5n.onnx")
	other := testenv.Data(t, "models", "fastestdet_352.onnx")
	picture := testenv.Data(t, "coco", "images", "000000000025.jpg") // two giraffes
	dir := t.TempDir()
	r := run(t, "detect", model, picture, picture, "--compare", other, "-o", dir, "--json")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	var got detectResult
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got.Pictures) != 2 {
		t.Fatalf("%v: %s", err, r.out)
	}
	if got.Pictures[0].Picture == got.Pictures[1].Picture {
		t.Error("two pictures of one name were written to one file")
	}
	for _, p := range got.Pictures {
		if len(p.Detections) != 2 || len(p.Detections[0]) == 0 || p.Detections[0][0].Name != "giraffe" {
			t.Errorf("detections %+v", p.Detections)
		}
		data, err := os.ReadFile(p.Picture)
		if err != nil || !bytes.HasPrefix(data, []byte("\xff\xd8")) {
			t.Errorf("%s: %v", p.Picture, err)
		}
	}
	text := run(t, "detect", "--score", "0.5", picture, "-o", dir, model)
	if text.code == 0 { // the picture stands where the model should
		t.Error("a picture was taken for a model")
	}
	if text = run(t, "detect", model, "--score", "0.5", picture, "-o", dir); text.code != 0 || !strings.Contains(text.out, "giraffe") {
		t.Errorf("exit %d: %s%s", text.code, text.out, text.err)
	}
}

func TestDetectBadUse(t *testing.T) {
	needCPU(t)
	model := testenv.Data(t, "models", "fastestdet_352.onnx")
	picture := testenv.Data(t, "coco", "images", "000000000025.jpg")
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.jpg")
	if err := os.WriteFile(broken, []byte("\xff\xd8\xff\xe0no"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{model}, fault.CodeUsage, "at least one picture"},
		{[]string{model, picture, "--score", "2"}, fault.CodeUsage, "--score 2"},
		{[]string{model, picture, "--iou", "-0.5"}, fault.CodeUsage, "--iou -0.5"},
		{[]string{model, picture, "--iou", "half"}, fault.CodeUsage, "expected a number"},
		{[]string{model, "nowhere.jpg"}, fault.CodeBadInput, "nowhere.jpg"},
		{[]string{model, picture, "--compare", "nowhere.onnx"}, fault.CodeBadInput, "nowhere.onnx"},
		{[]string{model, broken, "-o", dir}, fault.CodeBadInput, "broken.jpg"},
	} {
		r := run(t, append([]string{"detect", "-q"}, c.args...)...)
		if r.code != c.code || r.out != "" || !strings.Contains(r.err, c.want) {
			t.Errorf("%v: exit %d, %q; want %d and %q", c.args, r.code, r.err, c.code, c.want)
		}
	}
}

func TestModelTitles(t *testing.T) {
	for _, c := range []struct{ models, want []string }{
		{[]string{"a/x.onnx", "b/y.onnx"}, []string{"x.onnx", "y.onnx"}},
		{[]string{"a/x.onnx", "b/x.onnx", "y.onnx"}, []string{"a/x.onnx", "b/x.onnx", "y.onnx"}},
		{[]string{"x.onnx", "b/x.onnx"}, []string{"x.onnx", "b/x.onnx"}},
	} {
		if got := modelTitles(c.models); !slices.Equal(got, c.want) {
			t.Errorf("modelTitles(%q) = %q, want %q", c.models, got, c.want)
		}
	}
}
