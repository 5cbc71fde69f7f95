package job

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/internal/detect"
)

// layoutFamilies are the networks of scripts/zoo.sh layouts: the family, the
// number of distillation nodes, and the layout with which the others are compared.
var layoutFamilies = map[string]struct {
	family string
	heads  int
	plain  string
}{
	"yolov3":      {"yolov3", 3, "decoded"},
	"yolov3-tiny": {"yolov3", 2, "decoded"},
	"yolov4":      {"yolov4", 3, "decoded"},
	"yolov4-tiny": {"yolov4", 2, "decoded"},
	"yolov5":      {"yolov5", 3, "decoded"},
	"yolov6":      {"yolov6", 6, "decoded"},
	"yolov6-dfl":  {"yolov6", 6, "decoded"},
	"yolov7":      {"yolov7", 3, "grid"},
	"ppyoloe":     {"ppyoloe", 6, "boxes+scores"},
	"yolov8":      {"yolov8", 6, "decoded"},
	"yolox":       {"yolox", 9, "decoded"},
}

// TestLayouts: in every form in which its exporter writes it a network is recognised
// without a flag, is distilled at the same number of nodes, loses a suppression at its
// end, and predicts the same boxes and scores for the same pixels.
func TestLayouts(t *testing.T) {
	cache := os.Getenv("TRTACT_CACHE")
	files, err := filepath.Glob(filepath.Join(cache, "zoo", "layouts", "*.onnx"))
	if cache == "" || err != nil || len(files) == 0 {
		t.Skip("skipped: needs the thin networks of `scripts/zoo.sh layouts`, which installs PyTorch")
	}
	m := cpu(t)
	references := map[string]*detect.Predictions{} // by network, of its plain layout
	predict := func(t *testing.T, file string) *detect.Predictions {
		t.Helper()
		d, err := LoadDetector(file, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		network, layout := nameOfLayout(file)
		want := layoutFamilies[network]
		if d.Spec.Family != want.family || d.Spec.Head.Classes != 80 || len(d.Heads) != want.heads {
			t.Errorf("%s, %d classes, distilled at %v: want %s, 80 and %d nodes", d.Spec.Family, d.Spec.Head.Classes, d.Heads, want.family, want.heads)
		}
		if suppresses := strings.HasPrefix(layout, "end2end") || layout == "nms"; suppresses != (d.CutAt != nil) {
			t.Errorf("cut at %v", d.CutAt)
		}
		p, err := firstPredictions(m, d)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".onnx"), func(t *testing.T) {
			network, _ := nameOfLayout(file)
			got := predict(t, file)
			if references[network] == nil {
				plain := fmt.Sprintf("%s.%s.13s.onnx", network, layoutFamilies[network].plain)
				references[network] = predict(t, filepath.Join(filepath.Dir(file), plain))
			}
			samePredictions(t, got, references[network])
		})
	}
}

// nameOfLayout takes network and layout out of a name such as yolov7.grid.13s.onnx.
func nameOfLayout(file string) (network, layout string) {
	parts := strings.Split(filepath.Base(file), ".")
	return parts[0], parts[1]
}

// firstPredictions runs a detector on a picture that is always the same: coarse blocks
// under some noise, as scripts/zoo/sane.py gave the network its scale with.
func firstPredictions(m *Machine, d *Detector) (*detect.Predictions, error) {
	n, err := m.compile(d, d.outputNames())
	if err != nil {
		return nil, err
	}
	defer n.Close()
	c, err := n.NewContext()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	const block = 8
	picture := detect.Pixels{W: d.Spec.Width, H: d.Spec.Height, RGB: make([]uint8, 3*d.Spec.Width*d.Spec.Height)}
	coarse := make([]float32, len(picture.RGB))
	for i := range coarse {
		coarse[i] = rng.Float32()
	}
	for i := range picture.RGB {
		x, y := i/3%picture.W/block, i/3/picture.W/block
		picture.RGB[i] = uint8(255 * (0.7*coarse[3*(y*picture.W+x)+i%3] + 0.3*rng.Float32()))
	}
	pixels := make([]float32, d.inputLen())
	if err := d.Spec.Normalise(picture, pixels); err != nil {
		return nil, err
	}
	if err := d.set(c, pixels); err != nil {
		return nil, err
	}
	if err := c.Run(); err != nil {
		return nil, err
	}
	return d.predictions(c)
}

// samePredictions finds the best of one among those of the other. Predictions come
// in another order where a layout has its levels in another.
func samePredictions(t *testing.T, got, want *detect.Predictions) {
	t.Helper()
	const (
		looked   = 40
		scoreOff = 1e-4
		boxOff   = 0.05 // pixels
	)
	best := slices.Clone(want.Scores)
	slices.SortFunc(best, func(a, b detect.Score) int { return int(math.Copysign(1, float64(b.Value-a.Value))) })
	if len(best) < looked {
		t.Fatalf("%d scores above the least", len(best))
	}
	for _, w := range best[:looked] {
		box, off := want.Box(w.Prediction), math.Inf(1)
		for _, g := range got.Scores {
			if g.Class != w.Class || math.Abs(float64(g.Value-w.Value)) > scoreOff {
				continue
			}
			there, worst := got.Box(g.Prediction), 0.0
			for i := range box {
				worst = max(worst, math.Abs(float64(there[i]-box[i])))
			}
			off = min(off, worst)
		}
		if off > boxOff {
			t.Fatalf("class %d with score %.5f at %v: nearest box is %.3g pixels off", w.Class, w.Value, box, off)
		}
	}
}
