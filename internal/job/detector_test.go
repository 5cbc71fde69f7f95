package job

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/fault"
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
