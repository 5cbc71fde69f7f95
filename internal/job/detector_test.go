package job

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/testenv"
)

// TestLoadDetector: the input takes the size that the model declares, the one
// asked for, or 640 where the model leaves it open.
func TestLoadDetector(t *testing.T) {
	for _, c := range []struct {
		file                 string
		o                    LoadOptions
		family               string
		height, width, batch int
	}{
		{"yolov5n.onnx", LoadOptions{}, "yolov5", 640, 640, 1},
		{"yolov5n_fp16.onnx", LoadOptions{}, "yolov5", 640, 640, 1},
		{"yolov5n_fp16.onnx", LoadOptions{Batch: 2}, "yolov5", 640, 640, 2},
		{"fastestdet_352.onnx", LoadOptions{Family: "none"}, "none", 352, 352, 1},
	} {
		d, err := LoadDetector(testenv.Data(t, "models", c.file), c.o)
		if err != nil {
			t.Errorf("%s %+v: %v", c.file, c.o, err)
			continue
		}
		if d.Spec.Family != c.family || d.Spec.Height != c.height || d.Spec.Width != c.width || d.Spec.Batch != c.batch {
			t.Errorf("%s %+v: %s, %dx%d, batch %d", c.file, c.o, d.Spec.Family, d.Spec.Height, d.Spec.Width, d.Spec.Batch)
		}
		if len(d.Heads) == 0 || d.Quantized || d.Params() < 200e3 {
			t.Errorf("%s: heads %q, quantised %v, %d parameters", c.file, d.Heads, d.Quantized, d.Params())
		}
		single, err := d.atBatchOne(c.o)
		if err != nil || single.Spec.Batch != 1 || single.Spec.Height != c.height {
			t.Errorf("%s at batch 1: %+v, %v", c.file, single, err)
		}
	}
}

// TestNotes: an open size is what the metadata says, which then says the size that was
// taken; what a user may not expect is told.
func TestNotes(t *testing.T) {
	conv := &onnx.Node{Name: "conv", Op: "Conv", Inputs: []string{"x", "w"}, Outputs: []string{"y"}}
	for _, c := range []struct {
		dims     []int
		metadata map[string]string
		o        LoadOptions
		size     [2]int
		imgsz    string
		notes    []string
	}{
		{[]int{onnx.Dynamic, 3, onnx.Dynamic, onnx.Dynamic}, map[string]string{"imgsz": "[96, 128]"}, LoadOptions{}, [2]int{96, 128}, "[96, 128]", []string{"taken at 96x128"}},
		{[]int{1, 3, onnx.Dynamic, onnx.Dynamic}, map[string]string{"imgsz": "[96, 128]"}, LoadOptions{Height: 64, Width: 32}, [2]int{64, 32}, "[64, 32]", nil},
		{[]int{1, 3, onnx.Dynamic, onnx.Dynamic}, nil, LoadOptions{}, [2]int{640, 640}, "", []string{"taken at 640x640"}},
		{[]int{10, 3, 32, 32}, nil, LoadOptions{}, [2]int{32, 32}, "", []string{"takes 10 pictures at once; from here on it takes 1"}},
		{[]int{10, 3, 32, 32}, nil, LoadOptions{Batch: 10}, [2]int{32, 32}, "", nil},
	} {
		m := &onnx.Model{IR: 8, Opset: 13, Metadata: c.metadata, Graph: &onnx.Graph{Name: "g", Nodes: []*onnx.Node{conv},
			Inputs: []onnx.Value{{Name: "x", Type: onnx.Float, Dims: c.dims}}, Outputs: []onnx.Value{{Name: "y", Type: onnx.Float}},
			Init: map[string]*onnx.Tensor{"w": onnx.NewTensor([]int{2, 3, 1, 1}, make([]float32, 6))}, Info: map[string]onnx.Value{}}}
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := m.Save(path); err != nil {
			t.Fatal(err)
		}
		c.o.Family = "none"
		d, err := LoadDetector(path, c.o)
		if err != nil {
			t.Errorf("%v: %v", c.dims, err)
			continue
		}
		if d.Spec.Height != c.size[0] || d.Spec.Width != c.size[1] || d.Model.Metadata["imgsz"] != c.imgsz {
			t.Errorf("%v, %v, %+v: taken at %dx%d, metadata %v", c.dims, c.metadata, c.o, d.Spec.Height, d.Spec.Width, d.Model.Metadata)
		}
		notes := d.Notes(c.o)
		if len(notes) != len(c.notes) || len(notes) > 0 && !strings.Contains(notes[0], c.notes[0]) {
			t.Errorf("%v, %+v: notes %q, want %q", c.dims, c.o, notes, c.notes)
		}
	}
}

// TestLoadDetectorSays: what metadata says of a detector has to make sense, and whole
// numbers that TensorRT does not take are named.
func TestLoadDetectorSays(t *testing.T) {
	for want, c := range map[string]struct {
		op       string
		outputs  []string
		metadata map[string]string
	}{
		"trtact.family":         {"Relu", []string{"y"}, map[string]string{"trtact.family": "yolov99"}},
		"trtact.pixels":         {"Relu", []string{"y"}, map[string]string{"trtact.family": "none", "trtact.pixels": "rgb,0..0"}},
		"DynamicQuantizeLinear": {"DynamicQuantizeLinear", []string{"q", "y", "z"}, nil},
	} {
		m := &onnx.Model{IR: 8, Opset: 13, Metadata: c.metadata, Graph: &onnx.Graph{Name: "g", Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{},
			Nodes:  []*onnx.Node{{Name: "n", Op: c.op, Inputs: []string{"x"}, Outputs: c.outputs}},
			Inputs: []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{1, 3, 32, 32}}}, Outputs: []onnx.Value{{Name: "y", Type: onnx.Float}}}}
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := m.Save(path); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadDetector(path, LoadOptions{}); err == nil || fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want a bad input that names %s", err, want)
		}
	}
}

func TestLoadDetectorRefuses(t *testing.T) {
	model := testenv.Data(t, "models", "yolov5n.onnx")
	for _, c := range []struct {
		path string
		o    LoadOptions
		code int
		want string
	}{
		{filepath.Join(t.TempDir(), "absent.onnx"), LoadOptions{}, fault.CodeBadInput, "absent.onnx"},
		{model, LoadOptions{Family: "nonsense"}, fault.CodeUsage, "nonsense"},
		{model, LoadOptions{Family: "picodet"}, fault.CodeBadInput, "picodet"},
		{model, LoadOptions{Height: 320, Width: 320}, fault.CodeBadInput, "export it again"},
		{model, LoadOptions{Height: 333, Width: 333}, fault.CodeBadInput, "multiples of 32"},
	} {
		_, err := LoadDetector(c.path, c.o)
		if fault.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %+v: %v (exit code %d), want exit code %d and %q", filepath.Base(c.path), c.o, err, fault.Code(err), c.code, c.want)
		}
	}
}

// TestEvaluateRefuses: labels of other classes, and models that are no detector.
func TestEvaluateRefuses(t *testing.T) {
	m := cpu(t)
	d, err := LoadDetector(testenv.Data(t, "models", "fastestdet_352.onnx"), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ds, err := coco.Open(testenv.Data(t, "coco", "annotations.json"), "")
	if err != nil {
		t.Fatal(err)
	}
	few := ds.First(2)
	if e, err := m.Evaluate(context.Background(), d, few, detect.DefaultOptions(), "evaluate"); err != nil || e.Metrics.Images != 2 || len(e.Results) == 0 {
		t.Errorf("evaluation %+v, %v", e, err)
	}
	for _, c := range []struct {
		name   string
		change func(d *Detector, ds *coco.Dataset)
		code   int
		want   string
	}{
		{"other classes", func(_ *Detector, ds *coco.Dataset) { ds.Categories = ds.Categories[:79] }, fault.CodeBadInput, "79 categories"},
		{"no labels", func(_ *Detector, ds *coco.Dataset) { ds.Categories, ds.Annotations = nil, nil }, fault.CodeUsage, "no labels"},
		{"no family", func(d *Detector, _ *coco.Dataset) {
			spec := *d.Spec
			spec.Family = detect.None
			d.Spec = &spec
		}, fault.CodeUsage, "--family"},
	} {
		dd, data := *d, *few
		c.change(&dd, &data)
		if _, err := m.Evaluate(context.Background(), &dd, &data, detect.DefaultOptions(), "evaluate"); fault.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want exit code %d and %q", c.name, err, c.code, c.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Evaluate(ctx, d, few, detect.DefaultOptions(), "evaluate"); fault.Code(err) != fault.CodeInterrupted {
		t.Errorf("a cancelled evaluation: %v", err)
	}
}
