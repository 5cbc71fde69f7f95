package job

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/testenv"
)

// logged is what is logged from now on.
func logged(t *testing.T) *bytes.Buffer {
	var log bytes.Buffer
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(old) })
	return &log
}

// TestWarnIfPoor: where labels tell that pixels are wrong, those that do better are named.
func TestWarnIfPoor(t *testing.T) {
	log := logged(t)
	shapes := filepath.Join(testenv.Root(), "examples", "shapes")
	ds, err := coco.Open(filepath.Join(shapes, "val", "annotations.json"), "")
	if err != nil {
		t.Fatal(err)
	}
	m := cpu(t)
	for _, c := range []struct {
		pixels string
		mAP    float64 // that was measured
		want   string  // "": no word
	}{
		{"", 0.6, ""},
		{"", 0.05, ""}, // no others are better
		{"rgb,0..0.001", 0.05, "--pixels rgb,0..1 "},
		{"", 0.005, "finds next to nothing"},
		{"", -1, ""},
	} {
		log.Reset()
		d, err := LoadDetector(filepath.Join(shapes, "shapes.onnx"), LoadOptions{Pixels: c.pixels})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.WarnIfPoor(context.Background(), d, c.mAP, ds, detect.DefaultOptions()); err != nil {
			t.Fatal(err)
		}
		if got := log.String(); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%q, mAP %g: %s, want %q", c.pixels, c.mAP, got, c.want)
		}
	}
}

// TestWarnOfDetections: pixels that a model was not trained with are told, those that it
// was are not; what was said of them is kept in what is made of the model.
func TestWarnOfDetections(t *testing.T) {
	log := logged(t)
	shapes := filepath.Join(testenv.Root(), "examples", "shapes")
	m := cpu(t)
	for pixels, wrong := range map[string]bool{"": false, "rgb,0..1": false, "0..0.001": true} {
		log.Reset()
		d, err := LoadDetector(filepath.Join(shapes, "shapes.onnx"), LoadOptions{Pixels: pixels})
		if err != nil {
			t.Fatal(err)
		}
		if d.Model.Metadata[pixelsKey] != pixels {
			t.Errorf("%q: kept as %q", pixels, d.Model.Metadata[pixelsKey])
		}
		samples, _, err := OpenSamples(filepath.Join(shapes, "calib"), "", d)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.warnOfDetections(context.Background(), d, samples); err != nil {
			t.Fatal(err)
		}
		if told := strings.Contains(log.String(), "--pixels"); told != wrong {
			t.Errorf("%q: told %q", pixels, log.String())
		}
	}
}
