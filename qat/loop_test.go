package qat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/calib"
	"trtact/internal/compute"
	"trtact/internal/fault"
	"trtact/internal/nn"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

// scenes are samples made of a few coloured rectangles each.
type scenes struct {
	n, size int
	broken  []int
	sick    []int // with a value that is no number
}

func (s scenes) Len() int          { return s.n }
func (s scenes) Name(i int) string { return fmt.Sprintf("scene %d", i) }

func (s scenes) Read(i int) (map[string]*onnx.Tensor, error) {
	if slices.Contains(s.broken, i) {
		return nil, fault.BadInput(fmt.Errorf("%s: it is broken", s.Name(i)))
	}
	r := rand.New(rand.NewPCG(7, uint64(i)))
	pixels := make([]float32, 3*s.size*s.size)
	for range 6 {
		x0, y0 := r.IntN(s.size), r.IntN(s.size)
		x1, y1 := min(s.size, x0+1+r.IntN(60)), min(s.size, y0+1+r.IntN(60))
		for c := range 3 {
			v := r.Float32()
			for y := y0; y < y1; y++ {
				for x := x0; x < x1; x++ {
					pixels[(c*s.size+y)*s.size+x] = v
				}
			}
		}
	}
	if slices.Contains(s.sick, i) {
		pixels[0] = float32(math.NaN())
	}
	return map[string]*onnx.Tensor{"images": onnx.NewTensor([]int{1, 3, s.size, s.size}, pixels)}, nil
}

// sample is a run on the bundled detector, calibrated on its own samples.
func sample(t *testing.T) Run {
	t.Helper()
	d := openCPU(t)
	m, err := onnx.Load(filepath.Join(testenv.Root(), "examples", "shapes", "shapes.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := simplify.Run(m); err != nil {
		t.Fatal(err)
	}
	in := m.Graph.Inputs[0]
	if err := shape.Infer(m, map[string][]int{in.Name: {1, 3, 96, 96}}); err != nil {
		if err := shape.Infer(m, nil); err != nil {
			t.Fatal(err)
		}
	}
	size := m.Graph.Info[in.Name].Dims[2]
	s := scenes{n: 12, size: size}
	o := Defaults()
	o.Steps, o.Batch, o.EvalEvery, o.HeldOut, o.CheckpointEvery, o.Workers = 12, 2, 4, 2, 3, 2
	o.Schedule.Warmup = 2
	return Run{Model: m, Plan: calibrated(t, d, m, s), Device: d, Samples: s, Options: o}
}

func openCPU(t *testing.T) *compute.Device {
	t.Helper()
	testenv.Libraries(t)
	d, err := compute.OpenCPU()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// calibrated is the default plan with scales from the largest magnitudes of two
// samples.
func calibrated(t *testing.T, d *compute.Device, m *onnx.Model, s Samples) *calib.Plan {
	t.Helper()
	p, err := calib.Place(m.Graph, calib.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	var tensors []string
	for _, site := range p.Sites {
		tensors = append(tensors, site.Tensor)
	}
	n, err := nn.Compile(m, d, nn.Options{Outputs: tensors})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	group := map[int]float32{}
	for i := range 2 {
		x, err := s.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		err = n.ForEach(context.Background(), 1, func(c *nn.Context, _ int) error {
			for name, v := range x {
				if err := c.SetTensor(name, v); err != nil {
					return err
				}
			}
			if err := c.Run(); err != nil {
				return err
			}
			for k := range p.Sites {
				site := &p.Sites[k]
				v, err := c.AbsMax(site.Tensor)
				if err != nil {
					return err
				}
				site.Scale = max(site.Scale, v/127)
				group[site.Group] = max(group[site.Group], site.Scale)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for k := range p.Sites {
		if g := p.Sites[k].Group; g != 0 {
			p.Sites[k].Scale = group[g]
		}
	}
	return p
}

func marshal(t *testing.T, o *Outcome) []byte {
	t.Helper()
	q, err := o.Quantized(calib.FloatWeights)
	if err != nil {
		t.Fatal(err)
	}
	data, err := q.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestDistil: the loss falls, the best is not worse than the start, and the plan
// is one that calib accepts, groups whole.
func TestDistil(t *testing.T) {
	r := sample(t)
	r.Options.Steps, r.Options.Quantizer = 40, LSQ
	var stages []Stage
	r.Progress = func(p Progress) {
		if n := len(stages); n == 0 || stages[n-1] != p.Stage {
			stages = append(stages, p.Stage)
		}
	}
	o, err := Distil(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	first, last := 0.0, 0.0
	for i := range 5 {
		first += o.Curve[1+i].AboveFloor
		last += o.Curve[len(o.Curve)-1-i].AboveFloor
	}
	if !(last < 0.8*first) {
		t.Errorf("the loss went from %.4g to %.4g", first/5, last/5)
	}
	if !(o.Best < o.Start) || o.BestStep == 0 || o.Ending != Complete || o.Steps != 40 {
		t.Errorf("held-out loss %.4g, best %.4g at step %d, ended %q after %d", o.Start, o.Best, o.BestStep, o.Ending, o.Steps)
	}
	if want := []Stage{Preparing, Training, Measuring, Training}; len(stages) < 4 || !slices.Equal(stages[:4], want) {
		t.Errorf("stages %v, want %v first", stages, want)
	}
	scale := map[int]float32{}
	for _, s := range o.Plan.Sites {
		if old, known := scale[s.Group]; s.Group != 0 && known && old != s.Scale {
			t.Errorf("group %d has scales %g and %g", s.Group, old, s.Scale)
		}
		scale[s.Group] = s.Scale
	}
	marshal(t, o)
}

// TestResume: a run that was broken off, at any step, goes on to the very result
// of an unbroken one, whatever quantiser it has.
func TestResume(t *testing.T) {
	for _, q := range []Quantizer{LSQ, MovingAverage} {
		r := sample(t)
		r.Options.Quantizer = q
		whole, err := Distil(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, breaks := range [][]int{{1}, {4, 5}, {11}, {2, 7, 9}} {
			r := r
			r.Dir, r.Resume = t.TempDir(), true
			for _, at := range breaks {
				ctx, cancel := context.WithCancel(context.Background())
				r.Progress = func(p Progress) {
					if p.Step >= at {
						cancel()
					}
				}
				if _, err := Distil(ctx, r); !errors.Is(err, context.Canceled) {
					t.Fatalf("%s broken at %d: %v", q, at, err)
				}
			}
			r.Progress = nil
			o, err := Distil(context.Background(), r)
			if err != nil {
				t.Fatalf("%s broken at %v: %v", q, breaks, err)
			}
			if o.Resumed == 0 {
				t.Errorf("%s broken at %v: it began anew", q, breaks)
			}
			if !bytes.Equal(marshal(t, o), marshal(t, whole)) || o.Best != whole.Best || o.BestStep != whole.BestStep {
				t.Errorf("%s broken at %v: another result", q, breaks)
			}
			for i, p := range o.Curve {
				if w := whole.Curve[i]; p.Loss != w.Loss || p.Rate != w.Rate {
					t.Errorf("%s broken at %v: step %d has loss %v, unbroken %v", q, breaks, p.Step, p.Loss, w.Loss)
					break
				}
			}
		}
	}
}

// TestCheckpointRefused: checkpoints of other runs and damaged ones.
func TestCheckpointRefused(t *testing.T) {
	r := sample(t)
	r.Options.Steps, r.Options.EvalEvery, r.Options.CheckpointEvery = 2, 2, 1
	r.Dir = t.TempDir()
	if _, err := Distil(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.Dir, CheckpointName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ReadCheckpoint(path)
	if err != nil || c.Step != 2 || c.Steps != 2 || len(c.Nodes) == 0 {
		t.Fatalf("checkpoint %+v, %v", c, err)
	}
	r.Resume, r.Insist = true, true
	other := r
	other.Options.Seed = 99
	if _, err := Distil(context.Background(), other); fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "another run") {
		t.Errorf("a checkpoint of another seed: %v", err)
	}
	other.Insist = false
	if o, err := Distil(context.Background(), other); err != nil || o.Steps != 2 {
		t.Errorf("a folder with another seed's checkpoint that is not asked for: %+v, %v", o, err)
	}
	if err := os.WriteFile(path, good, 0o644); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for i := range 200 {
		bad := slices.Clone(good)
		switch i % 3 {
		case 0:
			bad = bad[:random.IntN(len(bad))]
		case 1:
			bad[random.IntN(len(bad))] ^= byte(1 + random.IntN(255))
		case 2:
			at := random.IntN(min(len(bad), 64))
			bad[at] ^= 0x80
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadCheckpoint(path); fault.Code(err) != fault.CodeBadInput {
			t.Fatalf("damage %d: %v", i, err)
		}
	}
}

// TestQuantizers: what each does to the scales.
func TestQuantizers(t *testing.T) {
	for q, moves := range map[Quantizer]bool{Fixed: false, LSQ: true, PACT: true, MovingAverage: true, RangeAbsMax: true, AbsMax: true} {
		r := sample(t)
		r.Options.Quantizer, r.Options.Steps, r.Options.FreezeScales = q, 4, 0
		r.Evaluate = func(context.Context, *onnx.Model) (float64, error) { return 1, nil }
		start := 0.0
		r.Start = &start
		o, err := Distil(context.Background(), r)
		if err != nil {
			t.Errorf("%s: %v", q, err)
			continue
		}
		changed := 0
		for i, s := range o.Plan.Sites {
			if d := math.Abs(float64(s.Scale/r.Plan.Sites[i].Scale) - 1); d > 1e-6 {
				changed++
			}
		}
		if moves != (changed > 0) {
			t.Errorf("%s: %d of %d scales changed", q, changed, len(o.Plan.Sites))
		}
	}
}

// TestDiverged: a run whose loss explodes ends, and gives what was best.
func TestDiverged(t *testing.T) {
	r := sample(t)
	r.Options.Steps, r.Options.Schedule, r.Options.Optimizer.Kind = 200, Schedule{Kind: ConstantRate, Rate: 10}, compute.SGD
	o, err := Distil(context.Background(), r)
	var d *Diverged
	if !errors.As(err, &d) || o == nil {
		t.Fatalf("%v, outcome %v", err, o)
	}
	if o.BestStep != 0 || o.Best != o.Start {
		t.Errorf("best %v at step %d, start %v", o.Best, o.BestStep, o.Start)
	}
	for _, w := range o.Model.Graph.Init {
		if slices.ContainsFunc(w.Floats(), func(v float32) bool { return math.IsNaN(float64(v)) }) {
			t.Fatal("the best student has weights that are no numbers")
		}
	}
}

// TestSickSample: a layer is named whichever worker had the sample.
func TestSickSample(t *testing.T) {
	r := sample(t)
	r.Options.Mirror, r.Options.Normalize = false, false
	all := r.Samples.(scenes)
	named := 0
	for i := range all.n {
		s := all
		s.sick = []int{i}
		r.Samples = s
		_, err := Distil(context.Background(), r)
		var d *Diverged
		if !errors.As(err, &d) {
			continue // held out, or with what is counted before the training
		}
		if named++; d.Layer == "" {
			t.Errorf("sample %d: %v", i, err)
		}
	}
	if named < 4 {
		t.Errorf("of %d samples %d ended the training", all.n, named)
	}
}

// TestAccumulate: batches in a step make it the step of one large batch, in the
// memory of a small one.
func TestAccumulate(t *testing.T) {
	var results [2][]byte
	var memory [2]int64
	for i, split := range [][2]int{{6, 1}, {2, 3}} {
		r := sample(t)
		r.Options.Batch, r.Options.Accumulate, r.Options.Steps = split[0], split[1], 3
		o, err := Distil(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		results[i] = marshal(t, o)
		p, err := Describe(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		memory[i] = p.StudentBytes + p.TeacherBytes
		if p.Batch != 6 || p.Steps != 3 || p.StepSeconds <= 0 || p.Parameters == 0 {
			t.Errorf("preview %+v", p)
		}
	}
	if !bytes.Equal(results[0], results[1]) {
		t.Error("two batches of three accumulated make another step than one of six")
	}
	if memory[0] != memory[1] {
		t.Errorf("memory %d and %d", memory[0], memory[1])
	}
}

// TestBadSamples: unreadable samples are left out and named, too many end the run.
func TestBadSamples(t *testing.T) {
	r := sample(t)
	s := r.Samples.(scenes)
	s.n, s.broken = 40, []int{5}
	r.Samples, r.Options.Mirror, r.Options.Steps, r.Options.Batch = s, true, 3, 40
	r.Options.EvalEvery = 3
	o, err := Distil(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Bad) != 1 || o.Bad[0].Path != "scene 5" {
		t.Errorf("left out: %v", o.Bad)
	}
	s.broken = []int{5, 6, 7}
	r.Samples = s
	if _, err := Distil(context.Background(), r); fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "3 of 40") {
		t.Errorf("three of forty: %v", err)
	}
}

// TestEndings: the target and the patience.
func TestEndings(t *testing.T) {
	r := sample(t)
	r.Options.EvalEvery, r.Options.Target = 2, 0.5
	metric := 0.0
	r.Evaluate = func(context.Context, *onnx.Model) (float64, error) {
		metric += 0.2
		return metric, nil
	}
	o, err := Distil(context.Background(), r)
	if err != nil || o.Ending != OnTarget || o.Steps != 4 || o.BestStep != 4 {
		t.Errorf("target: %+v, %v", o, err)
	}
	r.Options.Target, r.Options.Patience = 0, 2
	r.Evaluate = func(context.Context, *onnx.Model) (float64, error) { return 0.1, nil }
	if o, err = Distil(context.Background(), r); err != nil || o.Ending != Stalled || o.Steps != 4 || o.BestStep != 0 {
		t.Errorf("patience: %+v, %v", o, err)
	}
}

// TestMeasureIsTheLoss: the losses in Go are those that training takes.
func TestMeasureIsTheLoss(t *testing.T) {
	for _, loss := range []Loss{L1, L2, SoftLabel, Cosine, ChannelKL} {
		r := sample(t)
		r.Options.Losses, r.Options.Temperature, r.Options.SoftmaxAxis, r.Options.Normalize = []Loss{loss}, 2, 1, false
		r.Options.Schedule = Schedule{Kind: ConstantRate}
		r.Options.Steps, r.Options.Batch, r.Options.EvalEvery, r.Options.Mirror = 1, 3, 1, false
		// The three samples that the step trains on are judged as well.
		s := r.Samples.(scenes)
		s.n = 3
		r.Samples, r.HeldOut = s, s
		o, err := Distil(context.Background(), r)
		if err != nil {
			t.Fatalf("%s: %v", loss, err)
		}
		if got, want := o.Start, o.Curve[1].AboveFloor; math.Abs(got-want) > 2e-3*math.Abs(want) {
			t.Errorf("%s: measured %.6g, trained on %.6g", loss, got, want)
		}
	}
}

func TestMirrored(t *testing.T) {
	x := map[string]*onnx.Tensor{
		"picture": onnx.NewTensor([]int{1, 3, 5, 6}, make([]float32, 90)),
		"size":    onnx.NewTensor([]int{2}, []float32{5, 6}),
	}
	pixels := x["picture"].Data.([]float32)
	for i := range pixels {
		pixels[i] = float32(i)
	}
	m := mirrored(x)
	got := m["picture"].Floats()
	for i := range got {
		if want := float32(i/6*6 + 5 - i%6); got[i] != want {
			t.Fatalf("pixel %d is %g, want %g", i, got[i], want)
		}
	}
	if m["size"] != x["size"] || pixels[0] != 0 {
		t.Error("another input, or the original, changed")
	}
}
