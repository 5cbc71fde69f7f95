package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"trtact/internal/testenv"
)

// The examples are read as they are, say how they are run, and hold what ACT
// ships for the model.
func TestExamples(t *testing.T) {
	constant := Schedule{Type: ScheduleConstant, LearningRate: 1e-5}
	cosine := func(steps int) Schedule {
		return Schedule{Type: ScheduleCosine, LearningRate: 3e-5, TMax: steps}
	}
	shipped := map[string]struct {
		family   string
		iters    int
		schedule Schedule
		pact     bool
		target   float64
		topK     int
	}{
		"yolov5s":     {"yolov5", 3000, constant, true, 0.365, 0},
		"yolov6s":     {"yolov6", 8000, cosine(8000), false, 0, 0},
		"yolov6s_v2":  {"yolov6", 8000, cosine(8000), false, 0, 1000},
		"yolov7":      {"yolov7", 5000, cosine(8000), false, 0, 0},
		"yolov7_tiny": {"yolov7", 5000, cosine(8000), false, 0, 0},
		"ppyoloe_s":   {"ppyoloe", 5000, cosine(6000), true, 0, 0},
	}
	files, err := filepath.Glob(filepath.Join(testenv.Root(), "examples", "act", "*.yaml"))
	if err != nil || len(files) != len(shipped)+1 {
		t.Fatalf("%d files (%v), want %d", len(files), err, len(shipped)+1)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		c, notes, err := Load(path)
		if err != nil || len(notes) > 0 {
			t.Errorf("%v, notes %q", err, notes)
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("# trtact compress --config examples/act/%s.yaml ", name); !strings.HasPrefix(string(data), want) {
			t.Errorf("%s does not begin with %q", name, want)
		}
		if _, err := c.Global.Model(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.Strategy() != Distil {
			t.Errorf("%s: strategy %s", name, c.Strategy())
		}
		want, ok := shipped[name]
		if !ok {
			continue
		}
		if c.Global.Family() != want.family || c.Global.NMSTopK != want.topK || c.WantsEngine() {
			t.Errorf("%s: family %s, top %d", name, c.Global.Family(), c.Global.NMSTopK)
		}
		if !slices.Equal(c.Distillation.Loss, []string{"soft_label"}) || c.Distillation.SoftmaxAxis != -1 || !slices.Equal(c.Distillation.Alpha, []float64{1}) {
			t.Errorf("%s: distillation %+v", name, c.Distillation)
		}
		q := Default().Quantization
		q.OpTypes, q.UsePACT = []string{"conv2d", "depthwise_conv2d"}, want.pact
		if !reflect.DeepEqual(c.Quantization, q) {
			t.Errorf("%s: quantization %+v", name, c.Quantization)
		}
		train := Default().Train
		train.TrainIter, train.LearningRate, train.WeightDecay, train.TargetMetric = want.iters, want.schedule, 4e-5, want.target
		if !reflect.DeepEqual(c.Train, train) {
			t.Errorf("%s: training %+v", name, c.Train)
		}
	}
}
