package job

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"trtact/calib"
	"trtact/internal/fault"
)

// A calibration cache takes the place of calibrating: the scales in it become the plan's,
// and what it does not name stays float.
func TestBuildFromCache(t *testing.T) {
	m, model := cpu(t), shapesFile("shapes.onnx")
	d, err := LoadDetector(model, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	placed, err := CalibrateOptions{Placement: calib.DefaultOptions()}.place(d)
	if err != nil {
		t.Fatal(err)
	}
	cache := calib.Cache{"of no tensor here": 1}
	for i, s := range placed.Sites {
		cache[s.Tensor] = float32(i+1) / 64
	}
	last := placed.Sites[len(placed.Sites)-1]
	for _, s := range placed.Sites {
		if s.Tensor == last.Tensor || last.Group != 0 && s.Group == last.Group {
			delete(cache, s.Tensor)
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "shapes.cache")
	if err := cache.Save(path); err != nil {
		t.Fatal(err)
	}
	o := BuildOptions{Model: model, Output: filepath.Join(dir, "shapes.engine"), INT8: true, NoEngine: true, Plan: path,
		Calibrate: CalibrateOptions{Placement: calib.DefaultOptions()}, Distil: DistilOptions{Mode: DistilOff}}
	r, err := m.Build(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.PTQ.From != path || r.PTQ.Method != calib.FromCache {
		t.Errorf("PTQ %+v", r.PTQ)
	}
	plan, err := calib.LoadPlan(r.Files.Plan)
	if err != nil || len(plan.Sites) == 0 || len(plan.Sites) >= len(placed.Sites) {
		t.Fatalf("%d of %d sites, %v", len(plan.Sites), len(placed.Sites), err)
	}
	largest := map[int]float32{}
	for _, s := range plan.Sites {
		largest[s.Group] = max(largest[s.Group], cache[s.Tensor])
	}
	for _, s := range plan.Sites {
		want := cache[s.Tensor]
		if s.Group != 0 {
			want = largest[s.Group]
		}
		if s.Scale != want {
			t.Errorf("%s has scale %v, the cache %v", s.Tensor, s.Scale, want)
		}
	}
	left := map[string]string{}
	for _, s := range plan.Skipped {
		left[s.Node] = s.Reason
	}
	for _, node := range last.Consumers {
		if !strings.Contains(left[node], "calibration cache does not name") {
			t.Errorf("%s, whose input the cache leaves out: %q", node, left[node])
		}
	}

	if err := (calib.Cache{"x": 1}).Save(path); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Build(context.Background(), o); fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "another model's") {
		t.Errorf("a cache of another model: %v", err)
	}
}
