package job

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"trtact/calib"
	"trtact/internal/coco"
)

// TestKept: a calibration is found again only for the same input.
func TestKept(t *testing.T) {
	d, dir := filters(t), t.TempDir()
	image := filepath.Join(dir, "a.npy")
	if err := os.WriteFile(image, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	data := &coco.Dataset{Images: []coco.Image{{Path: image}}}
	o := BuildOptions{Calibrate: CalibrateOptions{Method: calib.MSE, Placement: calib.DefaultOptions()}}
	plan, err := calib.Place(d.Model.Graph, o.Calibrate.Placement)
	if err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(dir, "work")
	if err := newKept(work, d, data, o).save(plan, &PTQ{Method: "mse", Seconds: 3}); err != nil {
		t.Fatal(err)
	}
	found := func() bool {
		p, ptq, ok := newKept(work, d, data, o).load()
		if ok && (len(p.Sites) != len(plan.Sites) || ptq.Seconds != 3) {
			t.Errorf("another calibration came back: %+v", ptq)
		}
		return ok
	}
	if !found() {
		t.Fatal("the calibration was not found again")
	}
	for name, change := range map[string]func() (undo func()){
		"method": func() func() { o.Calibrate.Method = calib.AbsMax; return func() { o.Calibrate.Method = calib.MSE } },
		"placement": func() func() {
			o.Calibrate.Placement.Depthwise = true
			return func() { o.Calibrate.Placement.Depthwise = false }
		},
		"exclude": func() func() {
			o.Calibrate.Placement.Exclude = []string{"a"}
			return func() { o.Calibrate.Placement.Exclude = nil }
		},
		"images":   func() func() { o.Calibrate.Images = 1; return func() { o.Calibrate.Images = 0 } },
		"equalise": func() func() { o.Calibrate.Equalise = EqualiseOn; return func() { o.Calibrate.Equalise = "" } },
		"model": func() func() {
			old := d.Source.SHA256
			d.Source.SHA256 = "x"
			return func() { d.Source.SHA256 = old }
		},
		"size": func() func() { d.Spec.Height += 32; return func() { d.Spec.Height -= 32 } },
		"image": func() func() {
			info, _ := os.Stat(image)
			os.Chtimes(image, time.Time{}, info.ModTime().Add(time.Second))
			return func() { os.Chtimes(image, time.Time{}, info.ModTime()) }
		},
	} {
		undo := change()
		if found() {
			t.Errorf("found after a change of the %s", name)
		}
		undo()
		if !found() {
			t.Errorf("not found after the change of the %s was undone", name)
		}
	}
	// What was half written is no calibration.
	facts, path := newKept(work, d, data, o).paths()
	for _, file := range []string{path, facts} {
		if err := os.Truncate(file, 20); err != nil {
			t.Fatal(err)
		}
		if found() {
			t.Errorf("found with a part of %s", filepath.Base(file))
		}
	}
	if k := newKept("", d, data, o); k.save(plan, &PTQ{}) != nil {
		t.Error("without a folder something was kept")
	}
}
