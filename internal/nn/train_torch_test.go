package nn

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"trtact/calib"
	"trtact/internal/coco"
	"trtact/internal/compute"
	"trtact/internal/onnx"
	"trtact/internal/testenv"
)

// What scripts/references/steps.py is asked for, and what it answered.
const (
	torchSize, torchBatch, torchSteps = 320, 4, 50
	torchRate                         = 2e-5
	torchCurves                       = "testdata/yolov5n_steps.json"
)

// photographs are the first training images, each cut to the nearest pixels of a
// square.
func photographs(t *testing.T, count, size int) [][]float32 {
	t.Helper()
	folder := testenv.Data(t, "coco")
	names, err := os.ReadFile(filepath.Join(folder, "train.txt"))
	if err != nil {
		t.Fatal(err)
	}
	list := make([][]float32, count)
	for n, name := range strings.Fields(string(names))[:count] {
		p, err := coco.Decode(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		x := make([]float32, 3*size*size)
		for c := range 3 {
			for i := range size {
				for j := range size {
					at := (i*p.H/size*p.W + j*p.W/size) * 3
					x[(c*size+i)*size+j] = float32(p.RGB[at+c]) / 255
				}
			}
		}
		list[n] = x
	}
	return list
}

// calibrated puts the plan's scales at the largest magnitudes of some pictures.
func calibrated(t *testing.T, d *compute.Device, m *onnx.Model, pictures [][]float32) *calib.Plan {
	t.Helper()
	plan, err := calib.Place(m.Graph, calib.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	var tensors []string
	for _, s := range plan.Sites {
		tensors = append(tensors, s.Tensor)
	}
	n, err := Compile(m, d, Options{Outputs: tensors, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	err = n.ForEach(context.Background(), len(pictures), func(c *Context, i int) error {
		if err := c.SetInput(m.Graph.Inputs[0].Name, pictures[i]); err != nil {
			return err
		}
		if err := c.Run(); err != nil {
			return err
		}
		for k := range plan.Sites {
			v, err := c.AbsMax(plan.Sites[k].Tensor)
			if err != nil {
				return err
			}
			plan.Sites[k].Scale = max(plan.Sites[k].Scale, v/127)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	group := map[int]float32{}
	for _, s := range plan.Sites {
		group[s.Group] = max(group[s.Group], s.Scale)
	}
	for k := range plan.Sites {
		if g := plan.Sites[k].Group; g != 0 {
			plan.Sites[k].Scale = group[g]
		}
	}
	return plan
}

// TestStepsAgainstTorch: the losses of fifty whole steps of YOLOv5n beside the same
// steps in PyTorch. Its losses are stored; with TRTACT_TORCH they are made again
// and compared with, and TRTACT_UPDATE_SNAPSHOTS=1 stores them.
//
// With quantised weights every step agrees. With quantised activations the loss is
// rounding noise of sixty layers, which one last bit anywhere makes another noise
// of the same size: PyTorch in float32 and in float64 part by up to 40 % at a step.
// There the mean of all steps is compared.
func TestStepsAgainstTorch(t *testing.T) {
	d := openCPU(t)
	m, heads := cutToHeads(t, "yolov5n", torchSize)
	pictures := photographs(t, 4*torchBatch, torchSize)
	both := calibrated(t, d, m, pictures)
	weights := both.Clone()
	weights.Sites, weights.Groups = nil, nil
	stored := map[string][]float64{}
	for _, c := range []struct {
		name string
		plan *calib.Plan
		each float64 // relative, of every step
		mean float64 // of their mean
	}{{"weights", weights, 0.01, 0.01}, {"weights and activations", both, 1, 0.1}} {
		student, err := calib.Apply(m, c.plan, calib.TrainedWeights)
		if err != nil {
			t.Fatal(err)
		}
		losses := steps(t, d, m, student, heads, pictures, torchSteps, torchBatch)
		want := torchLosses(t, c.name, m, student, pictures)
		stored[c.name] = want
		worst, sum, wanted := 0.0, 0.0, 0.0
		for k, w := range want {
			off := math.Abs(losses[k]-w) / w
			worst, sum, wanted = max(worst, off), sum+losses[k], wanted+w
			if off > c.each {
				t.Errorf("%s, step %d: the loss is %.6g, PyTorch's %.6g", c.name, k+1, losses[k], w)
			}
		}
		mean := math.Abs(sum/wanted - 1)
		if mean > c.mean {
			t.Errorf("%s: the mean loss is %.6g, PyTorch's %.6g", c.name, sum/torchSteps, wanted/torchSteps)
		}
		begin, end := 0.0, 0.0
		for k := range 10 {
			begin, end = begin+losses[k]/10, end+losses[torchSteps-1-k]/10
		}
		if end > 0.8*begin {
			t.Errorf("%s: the loss hardly falls: %.4g to %.4g", c.name, begin, end)
		}
		t.Logf("%s: loss %.4g to %.4g, at most %.2g %% from PyTorch's, the mean %.2g %%", c.name, losses[0], losses[torchSteps-1], 100*worst, 100*mean)
	}
	if os.Getenv("TRTACT_TORCH") != "" && os.Getenv("TRTACT_UPDATE_SNAPSHOTS") != "" {
		data, err := json.Marshal(stored)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(torchCurves), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(torchCurves, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// steps are our losses of count steps with batch pictures each, summed over the heads. On a
// GPU they are computed together, two batches side by side from four on.
func steps(t *testing.T, d *compute.Device, m, student *onnx.Model, heads []string, pictures [][]float32, count, batch int) (losses []float64) {
	t.Helper()
	teacher, err := Compile(m, d, Options{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	defer teacher.Close()
	o := TrainOptions{Workers: 2, Optimizer: compute.Optimize{Kind: compute.SGD}}
	for _, h := range heads {
		o.Losses = append(o.Losses, LossNode{Tensor: h, Kind: compute.LossL2, Weight: 1})
	}
	if d.Name() == "cuda" {
		o.Images = batch
		if batch >= 4 {
			o.Images = batch / 2
		}
		var err error
		if student, err = Together(student, o.Losses, o.Images); err != nil {
			t.Fatal(err)
		}
	}
	tr, err := NewTrainer(student, d, o)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	input := m.Graph.Inputs[0].Name
	feed := func(i int, in *Feed) error {
		x := pictures[i%len(pictures)]
		if err := in.SetInput(input, x); err != nil {
			return err
		}
		return teacher.ForEach(context.Background(), 1, func(c *Context, _ int) error {
			if err := c.SetInput(input, x); err != nil {
				return err
			}
			if err := c.Run(); err != nil {
				return err
			}
			for l, h := range heads {
				v, err := c.Output(h)
				if err != nil {
					return err
				}
				if err := in.SetTarget(l, v.Floats()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for k := range count {
		r, err := tr.Step(context.Background(), batch, torchRate, func(i int, in *Feed) error {
			for image := range in.Images() {
				if err := feed(k*batch+i+image, in.Image(image)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, l := range r.Losses {
			sum += l
		}
		losses = append(losses, sum)
	}
	return losses
}

// torchLosses are PyTorch's, stored or made now.
func torchLosses(t *testing.T, name string, m, student *onnx.Model, pictures [][]float32) (losses []float64) {
	t.Helper()
	python := os.Getenv("TRTACT_TORCH")
	if python == "" {
		data, err := os.ReadFile(torchCurves)
		if err != nil {
			t.Fatal(err)
		}
		var stored map[string][]float64
		if err := json.Unmarshal(data, &stored); err != nil {
			t.Fatal(err)
		}
		if len(stored[name]) != torchSteps {
			t.Fatalf("%s holds %d losses for %q, not %d: make references", torchCurves, len(stored[name]), name, torchSteps)
		}
		return stored[name]
	}
	dir := t.TempDir()
	var raw []byte
	for _, p := range pictures {
		for _, v := range p {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "pictures.f32"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, model := range map[string]*onnx.Model{"float.onnx": m, "student.onnx": student} {
		if err := model.Save(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command(python, filepath.Join(testenv.Root(), "scripts", "references", "steps.py"), filepath.Join(dir, "float.onnx"),
		filepath.Join(dir, "student.onnx"), filepath.Join(dir, "pictures.f32"), "--size", fmt.Sprint(torchSize),
		"--batch", fmt.Sprint(torchBatch), "--steps", fmt.Sprint(torchSteps), "--rate", fmt.Sprint(torchRate))
	if os.Getenv("TRTACT_TORCH_DOUBLE") != "" {
		command.Args = append(command.Args, "--double")
	}
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &losses); err != nil {
		t.Fatal(err)
	}
	return losses
}
