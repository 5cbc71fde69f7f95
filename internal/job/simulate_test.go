package job

import (
	"bytes"
	"context"
	"testing"

	"trtact/calib"
	"trtact/internal/coco"
	"trtact/internal/testenv"
)

// small is a real detector and pictures for it.
func small(t *testing.T, pictures int) (*Detector, []coco.Image) {
	t.Helper()
	d, err := LoadDetector(testenv.Data(t, "models", "fastestdet_352.onnx"), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := coco.Open(testenv.Data(t, "coco", "train.txt"), "")
	if err != nil {
		t.Fatal(err)
	}
	return d, data.Images[:pictures]
}

// TestSimulatorOrdersPlans: a plan that quantises nothing has no error, and the
// coarser the steps, the larger it is.
func TestSimulatorOrdersPlans(t *testing.T) {
	d, images := small(t, 4)
	m, ctx := cpu(t), context.Background()
	plan, err := calib.Place(d.Model.Graph, calib.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	sim := newSimulator(m, d, d, 3)
	sim.tensors = tensorsOf(plan)
	stats, _, err := m.observe(ctx, "calibrate", d, Pictures{Detector: d, Images: images}, sim)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(sim.samples()); got != 3 {
		t.Errorf("%d pictures kept, want 3", got)
	}
	none := &calib.Plan{Version: calib.PlanVersion}
	if e, err := calib.Simulate(ctx, sim, none, 0); err != nil || len(e) != 2 || e[0] > 1e-5 || e[1] > 1e-5 {
		t.Errorf("a plan that quantises nothing: error %v, %v", e, err)
	}
	if err := plan.Assign(stats, calib.Percentile(99.99)); err != nil {
		t.Fatal(err)
	}
	last := 0.0
	for _, factor := range []float32{1, 8, 8} {
		for i := range plan.Sites {
			plan.Sites[i].Scale *= factor
		}
		e, err := calib.Simulate(ctx, sim, plan, 0)
		if err != nil {
			t.Fatal(err)
		}
		if score := calib.Score(e); !(score > last) {
			t.Errorf("steps %v times as large: score %v after %v (%v)", factor, score, last, e)
		} else {
			last = score
		}
	}
	few, err := calib.Simulate(ctx, sim, plan, 1)
	if err != nil {
		t.Fatal(err)
	}
	all, err := calib.Simulate(ctx, sim, plan, 3)
	if err != nil || few[0] == all[0] {
		t.Errorf("one picture gives %v, three %v (%v)", few, all, err)
	}
}

// TestCalibrateIsReproducible: threads change nothing in the plan.
func TestCalibrateIsReproducible(t *testing.T) {
	d, images := small(t, 6)
	m := cpu(t)
	var first []byte
	for _, threads := range []int{1, 3} {
		m.Threads = threads
		c, err := m.Calibrate(context.Background(), d, images, CalibrateOptions{Placement: calib.DefaultOptions(),
			Search: calib.AutoOptions{Images: 4}})
		if err != nil {
			t.Fatal(err)
		}
		text, err := c.Plan.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = text
		} else if !bytes.Equal(first, text) {
			t.Errorf("another plan with %d threads", threads)
		}
	}
}
