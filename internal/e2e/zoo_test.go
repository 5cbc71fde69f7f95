package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"trtact/internal/testenv"
)

// siblings are the small trained networks of the families (examples/zoo).
// Heads are the distillation nodes that an architecture has: one convolution a
// level with anchors, one a branch and level without. MAP is a bound on what the
// float network reaches on the sample's 64 pictures.
var siblings = []struct {
	family string
	heads  int
	mAP    float64
}{
	{"yolov5", 3, 0.60},
	{"yolov6", 6, 0.60},
}

// contents of an ONNX file as inspect prints them.
type inspected struct {
	ONNX struct {
		Detector struct {
			Family  string
			Classes int
		}
		Heads     []string
		Quantized *struct{ Layers int }
	}
}

// measured is what eval prints.
type measured struct {
	MAP float64 `json:"mAP"`
}

// TestSiblings: each family is recognised without a flag, before and after it was
// quantised, at its own distillation nodes; INT8 without training stays near float.
func TestSiblings(t *testing.T) {
	program(t)
	for _, want := range siblings {
		t.Run(want.family, func(t *testing.T) {
			dir := t.TempDir()
			model := filepath.Join(testenv.Root(), "examples", "zoo", want.family+".onnx")
			if size := len(read(t, model)); size >= 1_500_000 {
				t.Errorf("%d bytes: siblings are kept below 1.5 MB", size)
			}
			quantised := filepath.Join(dir, "int8.onnx")
			run(t, workLimit, dir, "calibrate", model, "--data", sampleFile("calib", "images"), "--json", "-o", quantised).expectJSON(t, &struct{}{})

			var float, int8 measured
			for _, file := range []string{model, quantised} {
				var got inspected
				run(t, refusalLimit, dir, "inspect", file, "--json").expectJSON(t, &got)
				if d := got.ONNX.Detector; d.Family != want.family || d.Classes != 6 || len(got.ONNX.Heads) != want.heads {
					t.Errorf("%s: %s, %d classes, distilled at %v: want %s, 6 and %d nodes", filepath.Base(file), d.Family, d.Classes, got.ONNX.Heads, want.family, want.heads)
				}
				if q := got.ONNX.Quantized; (q != nil) != (file == quantised) {
					t.Errorf("%s: quantised %+v", filepath.Base(file), q)
				}
			}
			run(t, workLimit, dir, "eval", model, "--data", sampleFile("val", "annotations.json"), "--json").expectJSON(t, &float)
			run(t, workLimit, dir, "eval", quantised, "--data", sampleFile("val", "annotations.json"), "--json").expectJSON(t, &int8)
			if float.MAP < want.mAP {
				t.Errorf("float mAP %.4f: want at least %.2f", float.MAP, want.mAP)
			}
			const mostLost = 0.015
			if int8.MAP < float.MAP-mostLost {
				t.Errorf("INT8 mAP %.4f: want within %v of float's %.4f", int8.MAP, mostLost, float.MAP)
			}
		})
	}
}

// TestSiblingIsHard: the outlying channels that YOLOv6's sibling was given cost plain
// min-max calibration five points and more, and nothing of what the program does by itself.
func TestSiblingIsHard(t *testing.T) {
	program(t)
	dir := t.TempDir()
	model := filepath.Join(testenv.Root(), "examples", "zoo", "yolov6.onnx")
	if _, err := os.Stat(model); err != nil {
		t.Fatal(err)
	}
	lost := func(args ...string) float64 {
		t.Helper()
		out := filepath.Join(dir, "q.onnx")
		run(t, workLimit, dir, append([]string{"calibrate", model, "--data", sampleFile("calib", "images"), "--json", "-o", out}, args...)...).expectJSON(t, &struct{}{})
		var float, int8 measured
		run(t, workLimit, dir, "eval", model, "--data", sampleFile("val", "annotations.json"), "--json").expectJSON(t, &float)
		run(t, workLimit, dir, "eval", out, "--data", sampleFile("val", "annotations.json"), "--json").expectJSON(t, &int8)
		return float.MAP - int8.MAP
	}
	plain, auto := lost("--method", "absmax", "--equalise", "off"), lost()
	if plain < 0.05 || auto > 0.01 {
		t.Errorf("plain calibration loses %.4f, auto %.4f: want at least 0.05 and at most 0.01", plain, auto)
	}
}
