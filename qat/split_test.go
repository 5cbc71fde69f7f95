package qat

import (
	"context"
	"math"
	"testing"

	"trtact/internal/compute"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
)

func TestBatches(t *testing.T) {
	for _, c := range []struct {
		batch, accumulate, most int
		want                    split
	}{
		{8, 1, 8, split{2, 4, 1}}, {16, 1, 16, split{2, 8, 1}}, {16, 1, 6, split{2, 2, 1}}, {16, 2, 16, split{2, 8, 1}},
		{2, 1, 2, split{1, 2, 1}}, {5, 1, 5, split{1, 5, 1}}, {7, 1, 4, split{1, 1, 1}}, {6, 1, 5, split{1, 3, 1}}, {1, 1, 1, split{1, 1, 1}},
	} {
		o := Options{Batch: c.batch, Accumulate: c.accumulate}
		if got := o.batches(c.most, 1); got != c.want {
			t.Errorf("batch %d, %d of them a step, %d at most: %v, want %v", c.batch, c.accumulate, c.most, got, c.want)
		}
	}
}

// TestSplits: a run is the same but for rounding however its images are spread over a GPU,
// and the CPU's.
func TestSplits(t *testing.T) {
	gpu := openEmulated(t)
	attempt := func(d *compute.Device, workers int) (*training, []Point) {
		r := onGPU(t, d)
		r.Options.Batch, r.Options.Workers, r.Options.Steps = 8, workers, 6
		run, err := begin(context.Background(), &r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(run.close)
		if _, err := run.resume(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := run.run(context.Background()); err != nil {
			t.Fatal(err)
		}
		return run, run.done.Curve
	}
	_, want := attempt(openCPU(t), 2)
	for workers, split := range map[int]split{0: {2, 4, 1}, 1: {1, 1, 1}, 2: {1, 2, 1}, 3: {1, 2, 1}, 100: {2, 4, 1}} {
		run, got := attempt(gpu, workers)
		if run.split != split {
			t.Errorf("%d workers: %v, want %v", workers, run.split, split)
		}
		for i := range want[1:] {
			if a, b := got[1+i].Loss, want[1+i].Loss; math.Abs(a-b) > 1e-3*b {
				t.Errorf("%d workers, step %d: the loss is %.6g, on the CPU %.6g", workers, i+1, a, b)
			}
		}
	}
}

// TestSideBySide: images that cannot be computed together are computed side by side.
func TestSideBySide(t *testing.T) {
	r := onGPU(t, openEmulated(t))
	g := r.Model.Graph
	g.Nodes = append(g.Nodes, &onnx.Node{Name: "turn", Op: "Transpose", Inputs: []string{"y2"}, Outputs: []string{"z"},
		Attrs: map[string]onnx.Attr{"perm": []int64{1, 0, 2, 3}}})
	g.Outputs = []onnx.Value{{Name: "z", Type: onnx.Float}}
	if err := shape.Infer(r.Model, nil); err != nil {
		t.Fatal(err)
	}
	r.Options.Batch, r.Options.Workers, r.Options.Nodes = 4, 0, []string{"z"}
	run, err := begin(context.Background(), &r)
	if err != nil {
		t.Fatal(err)
	}
	defer run.close()
	if want := (split{4, 1, 1}); run.split != want {
		t.Errorf("%v, want %v", run.split, want)
	}
	if err := run.step(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// TestFewerAtOnce: a GPU with little memory gets as many images at once as it has room for,
// and refuses more where they are asked for.
func TestFewerAtOnce(t *testing.T) {
	attempt := func(memory string, workers int) (split, error) {
		t.Setenv("TRTACT_EMULATED_MEMORY", memory)
		d := openEmulated(t)
		r := onGPU(t, d)
		r.Options.Batch, r.Options.Workers = 8, workers
		if err := shape.Resize(r.Model, 64, 64, 1); err != nil {
			t.Fatal(err)
		}
		r.Samples = scenes{n: 8, size: 64}
		run, err := begin(context.Background(), &r)
		if err != nil {
			return split{}, err
		}
		defer run.close()
		return run.split, run.step(context.Background())
	}
	for memory, want := range map[string]split{"200": {2, 4, 1}, "24": {1, 2, 1}} {
		if got, err := attempt(memory, 0); err != nil || got != want {
			t.Errorf("%s MiB: %v, %v, want %v", memory, got, err, want)
		}
	}
	if _, err := attempt("24", 8); err == nil {
		t.Error("eight images at once in 24 MiB: not refused")
	}
}
