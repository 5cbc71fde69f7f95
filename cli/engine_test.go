package cli

import (
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/job"
	"trtact/internal/npy"
	"trtact/internal/onnx"
	"trtact/internal/testenv"
	"trtact/trt"
)

// seer is an engine of the stand-in that sees two things in every picture of 64x64,
// and says in its sidecar how its outputs are read.
func seer(t *testing.T) string {
	t.Helper()
	spec, err := json.Marshal(detect.Spec{
		Family: "yolov8", Input: "images", Batch: 1, Width: 64, Height: 64, Names: []string{"cat", "dog"},
		Pixels: detect.PixelFormat{Resize: detect.Stretch, Interpolation: detect.Linear, Order: "rgb", Std: [3]float32{255, 255, 255}},
		Head: detect.Head{Coding: detect.Corners, Classes: 2, Levels: []detect.Level{{Height: 1, Width: 2,
			Box: detect.Slot{Output: "y", Cell: 6, Channel: 1}, Class: detect.Slot{Output: "y", Offset: 4, Cell: 6, Channel: 1}}}},
		Outputs: []detect.Output{{Name: "y", Dims: []int{1, 2, 6}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return standInFile(t, "seer.engine", "input images fp32 1x3x64x64\noutput y fp32 1x2x6\nvalues y 8 8 24 40 0.9 0 30 30 60 62 0 0.8\n", trt.Artifact{
		Inputs:   []trt.Tensor{{Name: "images", Type: "fp32", Dims: []int{1, 3, 64, 64}}},
		Outputs:  []trt.Tensor{{Name: "y", Type: "fp32", Dims: []int{1, 2, 6}}},
		Detector: spec, Precision: "int8, fp32",
	})
}

// standInFile writes an engine of the stand-in with its sidecar.
func standInFile(t *testing.T, name, lines string, a trt.Artifact) string {
	t.Helper()
	a.Backend, a.Family, a.Version = trt.BackendTensorRT, "standin", "1.0.0"
	path := filepath.Join(t.TempDir(), name)
	if err := trt.Write(path, &trt.Engine{Bytes: []byte("stand-in engine\nversion 1.0.0\n" + lines), Artifact: a}); err != nil {
		t.Fatal(err)
	}
	return path
}

// blank writes pictures of 64x64.
func blank(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := png.Encode(f, image.NewRGBA(image.Rect(0, 0, 64, 64))); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestEvalEngine(t *testing.T) {
	testenv.StandInLibraries(t)
	engine, dir := seer(t), blank(t, "1.png", "2.png", "3.png")
	labels := filepath.Join(dir, "labels.json")
	// Image 3 has the dog elsewhere: 2 of 3 dogs are found, with one false one.
	text := `{"images": [{"id": 1, "file_name": "1.png", "width": 64, "height": 64}, {"id": 2, "file_name": "2.png", "width": 64, "height": 64}, {"id": 3, "file_name": "3.png", "width": 64, "height": 64}],
		"categories": [{"id": 5, "name": "cat"}, {"id": 9, "name": "dog"}], "annotations": [`
	for i := 1; i <= 3; i++ {
		dog := `[30, 30, 30, 32]`
		if i == 3 {
			dog = `[0, 0, 5, 5]`
		}
		n := string(rune('0' + i))
		text += `{"id": 1` + n + `, "image_id": ` + n + `, "category_id": 5, "bbox": [8, 8, 16, 32], "area": 512, "iscrowd": 0},
			{"id": 2` + n + `, "image_id": ` + n + `, "category_id": 9, "bbox": ` + dog + `, "area": 960, "iscrowd": 0}`
		if i < 3 {
			text += ","
		}
	}
	if err := os.WriteFile(labels, []byte(text+"]}"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := run(t, "eval", engine, "--data", labels, "--json")
	var got evalResult
	if err := json.Unmarshal([]byte(r.out), &got); r.code != 0 || err != nil {
		t.Fatalf("exit %d: %s %v", r.code, r.err, err)
	}
	// Cats: 1. Dogs: all scores are the same, so precision is 1 to the recall of 2/3
	// that comes before the false one: 67 of COCO's 101 points of recall.
	if want := (1 + 67.0/101) / 2; math.Abs(got.AP-want) > 1e-9 || got.Images != 3 || got.Engine != "stand-in 1.0.0" || !got.Quantized || got.Family != "yolov8" {
		t.Errorf("mAP %v, want %v; %+v", got.AP, want, got)
	}
	if r := run(t, "eval", engine, "--data", labels); r.code != 0 || !strings.Contains(r.out, "engine of stand-in 1.0.0") {
		t.Errorf("exit %d, %s%s", r.code, r.out, r.err)
	}
	if r := run(t, "eval", engine, "--data", labels, "--shape", "32"); r.code != fault.CodeUsage || !strings.Contains(r.err, "takes pictures of 64x64, not 32x32") {
		t.Errorf("another size: exit %d, %s", r.code, r.err)
	}
}

func TestDetectEngine(t *testing.T) {
	testenv.StandInLibraries(t)
	engine, dir, out := seer(t), blank(t, "a.png"), t.TempDir()
	// Nothing is drawn where it would replace a picture, be it another one's.
	mine := blank(t, "x.png", "x.jpg")
	was, err := os.ReadFile(filepath.Join(mine, "x.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	if r := run(t, "detect", engine, filepath.Join(mine, "x.png"), filepath.Join(mine, "x.jpg"), "-o", mine); r.code != fault.CodeUsage || !strings.Contains(r.err, "would replace the picture") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if is, err := os.ReadFile(filepath.Join(mine, "x.jpg")); err != nil || !bytes.Equal(is, was) {
		t.Errorf("the picture was replaced: %v", err)
	}
	r := run(t, "detect", engine, dir, "--compare", engine, "-o", out, "--json")
	var got detectResult
	if err := json.Unmarshal([]byte(r.out), &got); r.code != 0 || err != nil {
		t.Fatalf("exit %d: %s %v", r.code, r.err, err)
	}
	if len(got.Pictures) != 1 || len(got.Pictures[0].Detections) != 2 {
		t.Fatalf("%+v", got)
	}
	for _, found := range got.Pictures[0].Detections {
		if len(found) != 2 || found[0].Name != "cat" || found[1].Name != "dog" || found[1].X2 != 60 || found[0].Score != 0.9 {
			t.Errorf("found %+v", found)
		}
	}
	if data, err := os.ReadFile(got.Pictures[0].Picture); err != nil || !strings.HasPrefix(string(data), "\xff\xd8") {
		t.Errorf("%s: %v", got.Pictures[0].Picture, err)
	}
	// Of an engine that nothing is known of, boxes cannot be read.
	if err := os.Remove(trt.SidecarPath(engine)); err != nil {
		t.Fatal(err)
	}
	if r := run(t, "detect", engine, dir, "-o", out); r.code != fault.CodeBadInput || !strings.Contains(r.err, "sidecar") {
		t.Errorf("without a sidecar: exit %d, %s", r.code, r.err)
	}
	if r := run(t, "detect", engine, dir, "-o", out, "--trust"); r.code != fault.CodeBadInput || !strings.Contains(r.err, "with --like") {
		t.Errorf("trusted: exit %d, %s", r.code, r.err)
	}
}

func TestRunEngine(t *testing.T) {
	testenv.StandInLibraries(t)
	dir, out := t.TempDir(), t.TempDir()
	a := trt.Artifact{
		Inputs: []trt.Tensor{{Name: "x", Type: "fp16", Dims: []int{-1, 2}, Profile: &trt.Profile{Min: []int{1, 2}, Opt: []int{2, 2}, Max: []int{4, 2}}},
			{Name: "n", Type: "int64", Dims: []int{2}}},
		Outputs: []trt.Tensor{{Name: "y", Type: "fp32", Dims: []int{-1}}, {Name: "k", Type: "int64", Dims: []int{2}}},
	}
	engine := standInFile(t, "two.engine", "input x fp16 2x2 1x2 4x2\ninput n int64 2\noutput y fp32 n\noutput k int64 2\nvalues k 3 -4\n", a)
	x := saveArray(t, filepath.Join(dir, "x.npy"), []int{3, 2}, []float32{1, 2, 3, 4, 5, 6})
	n := saveArray(t, filepath.Join(dir, "n.npy"), []int{2}, []int64{11, 0})
	r := run(t, "run", engine, "--input", "x="+x, "n="+n, "-o", out, "--json")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	y, err := npy.Read(filepath.Join(out, "y.npy"))
	if err != nil {
		t.Fatal(err)
	}
	if data, ok := y.Data.([]float32); !ok || len(data) != 3 || data[2] != 12 { // mean of the eight is 4
		t.Errorf("y %v", y)
	}
	k, err := npy.Read(filepath.Join(out, "k.npy"))
	if err != nil {
		t.Fatal(err)
	}
	if data, ok := k.Data.([]int64); !ok || data[1] != -4 {
		t.Errorf("k %v", k)
	}
	empty := filepath.Join(t.TempDir(), "none")
	wide := saveArray(t, filepath.Join(dir, "wide.npy"), []int{5, 2}, make([]float32, 10))
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--input", "x=" + x}, fault.CodeUsage, `input "n" has no array`},
		{[]string{"--input", "x=" + wide, "n=" + n}, fault.CodeUsage, "'x' cannot be 5x2: the engine was built for 1x2 to 4x2"},
		{[]string{"--input", "x=" + n, "n=" + n}, fault.CodeUsage, "'x' cannot be 2"},
		{[]string{"--input", "x=" + x, "n=" + x}, fault.CodeUsage, "'n' cannot be 3x2"},
		{[]string{"--input", x}, fault.CodeUsage, "without a name"},
		{[]string{"--input", "x=" + x, "n=" + n, "q=" + n}, fault.CodeUsage, "no input 'q'"},
		{[]string{"--input", "x=" + x, "n=" + n, "--tensor", "q"}, fault.CodeUsage, "inner tensors of an engine"},
		{[]string{"--input", "x=" + x, "n=" + saveArray(t, filepath.Join(dir, "f.npy"), []int{2}, []float32{1, 2})}, fault.CodeBadInput, "astype(numpy.int64)"},
	} {
		r := run(t, append([]string{"run", engine, "-o", empty}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.err, c.want) {
			t.Errorf("%v: exit %d, %s; want %d and %q", c.args, r.code, r.err, c.code, c.want)
		}
	}
	if _, err := os.Stat(empty); err == nil {
		t.Error("a run that failed left a folder")
	}
}

// means is the network of the stand-in's engines as ONNX: the mean of x times 1 to 3.
func means(t *testing.T, last float32) string {
	t.Helper()
	m := &onnx.Model{IR: 8, Opset: 13, Graph: &onnx.Graph{
		Name:    "means",
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{1, 4}}},
		Outputs: []onnx.Value{{Name: "y", Type: onnx.Float, Dims: []int{1, 3}}},
		Init:    map[string]*onnx.Tensor{"steps": onnx.NewTensor([]int{1, 3}, []float32{1, 2, last})},
		Nodes: []*onnx.Node{
			{Name: "mean", Op: "ReduceMean", Inputs: []string{"x"}, Outputs: []string{"m"}, Attrs: map[string]onnx.Attr{"axes": []int64{1}, "keepdims": int64(1)}},
			{Name: "times", Op: "Mul", Inputs: []string{"m", "steps"}, Outputs: []string{"y"}},
		},
	}}
	path := filepath.Join(t.TempDir(), "means.onnx")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCompare(t *testing.T) {
	needCPU(t)
	testenv.StandInLibraries(t)
	engine := standInFile(t, "means.engine", "input x fp32 1x4\noutput y fp32 1x3\n", trt.Artifact{
		Inputs:  []trt.Tensor{{Name: "x", Type: "fp32", Dims: []int{1, 4}}},
		Outputs: []trt.Tensor{{Name: "y", Type: "fp32", Dims: []int{1, 3}}},
	})
	same, other := means(t, 3), means(t, 4)
	data := saveArray(t, filepath.Join(t.TempDir(), "x.npy"), []int{2, 4}, []float32{1, 2, 3, 6, -1, -1, -1, -1})
	compare := func(a, b string) job.Comparison {
		t.Helper()
		r := run(t, "compare", a, b, "--data", data, "--json")
		var got job.Comparison
		if err := json.Unmarshal([]byte(r.out), &got); r.code != 0 || err != nil {
			t.Fatalf("exit %d: %s %v", r.code, r.err, err)
		}
		if got.Samples != 2 || len(got.Outputs) != 1 || got.Outputs[0].Tensor != "y" {
			t.Fatalf("%+v", got)
		}
		return got
	}
	if d := compare(same, engine).Outputs[0]; d.RelativeL2 > 1e-6 || d.MaxAbs > 1e-6 || d.Range != 9 {
		t.Errorf("the same network: %+v", d)
	}
	// The third element is 9 and 12, then -3 and -4: sqrt(3^2+1^2) of sqrt((3^2+1)(1+4+9)).
	want := math.Sqrt(10) / math.Sqrt(10*14)
	for _, b := range []string{engine, same} {
		got := compare(b, other)
		if d := got.Outputs[0]; math.Abs(d.RelativeL2-want) > 1e-6 || math.Abs(d.MaxAbs-3) > 1e-5 {
			t.Errorf("another network beside %s: %+v, want %v and 3", b, d, want)
		}
		// Two ONNX files have the mean in common, which is the same.
		if b == same && (len(got.Layers) != 1 || got.Layers[0].Tensor != "m" || got.Layers[0].RelativeL2 != 0 || got.Layers[0].Op != "ReduceMean") {
			t.Errorf("layers %+v", got.Layers)
		}
	}
	if r := run(t, "compare", same, other, "--data", data); r.code != 0 || !strings.Contains(r.out, "ReduceMean") || !strings.Contains(r.out, "on 2 inputs") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{same, other}, fault.CodeUsage, "--data"},
		{[]string{same, "--data", data}, fault.CodeUsage, "two models"},
		{[]string{same, other, "--data", data, "--limit", "-1"}, fault.CodeUsage, "--limit -1"},
		{[]string{same, engine, "--data", data, "--device", "cpu"}, fault.CodeUsage, "runs on a GPU only"},
		{[]string{same, "absent.onnx", "--data", data}, fault.CodeBadInput, "absent.onnx"},
	} {
		if r := run(t, append([]string{"compare"}, c.args...)...); r.code != c.code || !strings.Contains(r.err, c.want) {
			t.Errorf("%v: exit %d, %q; want %d and %q", c.args, r.code, r.err, c.code, c.want)
		}
	}
}

// Where an engine cannot run, one sentence says so and nothing is written.
func TestEnginesWithoutDevice(t *testing.T) {
	testenv.StandInLibraries(t)
	t.Setenv("TRTACT_STANDIN", "no-device")
	engine, dir := seer(t), blank(t, "a.png")
	out := filepath.Join(t.TempDir(), "out")
	x := saveArray(t, filepath.Join(t.TempDir(), "x.npy"), []int{1, 3, 64, 64}, make([]float32, 3*64*64))
	for _, args := range [][]string{
		{"eval", engine, "--data", "labels.json", "--save", out}, {"detect", engine, dir, "-o", out},
		{"run", engine, "-i", "images=" + x, "-o", out}, {"compare", engine, engine, "--data", dir},
		{"run", engine, "-i", "images=none.npy", "-o", out}, // that the array is missing too matters less
	} {
		r := run(t, args...)
		if r.code != fault.CodeNoDevice || r.out != "" || !strings.Contains(r.err, "NVIDIA") || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%v: exit %d, %q", args, r.code, r.err)
		}
	}
	t.Setenv("TRTACT_STANDIN", "")
	if r := run(t, "run", engine, "-i", "images=none.npy", "-o", out); r.code != fault.CodeBadInput || !strings.Contains(r.err, "none.npy") {
		t.Errorf("without the array: exit %d, %q", r.code, r.err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("something was written")
	}
}
