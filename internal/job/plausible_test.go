package job

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/testenv"
)

// TestWarnOfDetections: pixels that a model was not trained with are told, those that it
// was are not; what was said of them is kept in what is made of the model.
func TestWarnOfDetections(t *testing.T) {
	var log bytes.Buffer
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(old)
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
