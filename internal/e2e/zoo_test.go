package e2e

import (
	"path/filepath"
	"testing"

	"trtact/internal/testenv"
)

// siblings are the small trained networks of the families (examples/zoo).
// Heads are the distillation nodes that an architecture has: one convolution a
// level with anchors, one a branch and level without. Hard is the one whose outlying
// channels cost plain min-max calibration five points.
var siblings = []struct {
	family string
	heads  int
	hard   bool
}{
	{"yolov5", 3, false},
	{"yolov6", 6, true},
	{"yolov7", 3, false},
	{"ppyoloe", 6, false},
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
// quantised, at its own distillation nodes, and INT8 without training stays near float
// also where plain min-max calibration does not.
func TestSiblings(t *testing.T) {
	program(t)
	const (
		least    = 0.60 // of float, on the sample's pictures
		mostLost = 0.015
		hardLost = 0.05
	)
	for _, want := range siblings {
		t.Run(want.family, func(t *testing.T) {
			dir := t.TempDir()
			model := filepath.Join(testenv.Root(), "examples", "zoo", want.family+".onnx")
			if size := len(read(t, model)); size >= 1_500_000 {
				t.Errorf("%d bytes: siblings are kept below 1.5 MB", size)
			}
			calibrate := func(name string, args ...string) string {
				out := filepath.Join(dir, name)
				args = append([]string{"calibrate", model, "--data", sampleFile("calib", "images"), "--calib-images", "8", "--json", "-o", out}, args...)
				run(t, workLimit, dir, args...).expectJSON(t, &struct{}{})
				return out
			}
			mAP := func(file string) float64 {
				var m measured
				run(t, workLimit, dir, "eval", file, "--data", sampleFile("val", "annotations.json"), "--json").expectJSON(t, &m)
				return m.MAP
			}
			quantised := calibrate("int8.onnx")
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
			float, int8 := mAP(model), mAP(quantised)
			if float < least || int8 < float-mostLost {
				t.Errorf("mAP %.4f, in INT8 %.4f: want at least %v, and in INT8 at most %v less", float, int8, least, mostLost)
			}
			if !want.hard {
				return
			}
			if plain := mAP(calibrate("plain.onnx", "--method", "absmax", "--equalise", "off")); plain > float-hardLost {
				t.Errorf("mAP %.4f with plain calibration, float %.4f: want at least %v lost", plain, float, hardLost)
			}
		})
	}
}
