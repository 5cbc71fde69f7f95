package nn

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"trtact/internal/compute"
	"trtact/internal/detect"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

// TestImagesTogether: two images computed together have the losses and gradients that
// they have one by one, by all inputs and parameters of small models.
func TestImagesTogether(t *testing.T) { eachDevice(t, testImagesTogether) }

func testImagesTogether(t *testing.T, d testDevice) {
	checkGraphs(t, d, 1, 500, func(i int, c *trial) (string, error) {
		return imagesTogether(c, d.Device, rand.New(rand.NewPCG(2, uint64(i))))
	})
}

func imagesTogether(c *trial, d *compute.Device, r *rand.Rand) (reason string, err error) {
	const images = 2
	one, reason, err := student(c, d, r, 1)
	if err != nil || reason != "" {
		return reason, err
	}
	defer one.tr.Close()
	all, reason, err := student(c, d, r, images)
	if err != nil || reason != "" {
		return reason, err
	}
	defer all.tr.Close()
	var losses [images]float64
	var gradients [images][]float32
	for k := range images {
		one.feed, one.targets = all.feeds(k)
		if losses[k], err = one.loss(); err != nil {
			return "", err
		}
		gradients[k] = make([]float32, one.tr.n.gradientBytes/4)
		if err := one.tr.contexts[0].gradients.Download(0, gradients[k]); err != nil {
			return "", err
		}
	}
	loss, err := all.loss()
	if err != nil {
		return "", err
	}
	if mean := (losses[0] + losses[1]) / images; math.Abs(loss-mean) > 1e-5*(1+mean) {
		return "", fmt.Errorf("the loss is %.7g, not %.7g", loss, mean)
	}
	got := make([]float32, all.tr.n.gradientBytes/4)
	if err := all.tr.contexts[0].gradients.Download(0, got); err != nil {
		return "", err
	}
	// Images' gradients by an input lie one behind the other, those by a parameter are summed.
	type span struct{ from, count int }
	there := map[string][]span{}
	all.spans(func(name string, from, count int) { there[name] = append(there[name], span{from, count}) })
	one.spans(func(name string, from, count int) {
		at := there[name][0]
		there[name] = there[name][1:]
		want := slices.Clone(gradients[0][from : from+count])
		if at.count == images*count {
			want = append(want, gradients[1][from:from+count]...)
		} else {
			for i, v := range gradients[1][from : from+count] {
				want[i] += v
			}
		}
		most := 1e-3
		for _, w := range want {
			most = max(most, math.Abs(float64(w)))
		}
		for i, w := range want {
			if g := got[at.from+i]; math.Abs(float64(g-w)) > 1e-5*most {
				err = fmt.Errorf("gradient %d by %q is %.7g, not %.7g", i, name, g, w)
			}
		}
	})
	return "", err
}

// feeds are image k's part of what is fed.
func (g *gradientTrial) feeds(k int) (inputs map[string][]float32, targets [][]float32) {
	part := func(x []float32) []float32 {
		n := len(x) / g.tr.o.Images
		return x[k*n : (k+1)*n]
	}
	inputs = map[string][]float32{}
	for name, x := range g.feed {
		inputs[name] = part(x)
	}
	for _, y := range g.targets {
		targets = append(targets, part(y))
	}
	return inputs, targets
}

// TestTogetherRefuses: graphs whose images do not lie one behind the other, and losses
// over all of them.
func TestTogetherRefuses(t *testing.T) {
	for _, c := range []struct {
		what, node string
		loss       LossNode
		attrs      attrs
	}{
		{"images across", "y = Transpose x", LossNode{Kind: compute.LossL2}, attrs{"perm": []int64{1, 0, 2, 3}}},
		{"a loss across", "y = Relu x", LossNode{Kind: compute.LossSoftLabel}, nil},
		{"mixed images", "y = Softmax x", LossNode{Kind: compute.LossL2}, attrs{"axis": int64(0)}},
	} {
		m := newTrial(c.what)
		m.input("x", 1, 3, 4, 4)
		m.node(c.node, c.attrs)
		m.outputs("y")
		if err := shape.Infer(m.model, nil); err != nil {
			t.Fatal(err)
		}
		c.loss.Tensor = "y"
		if _, err := Together(m.model, []LossNode{c.loss}, 2); err == nil {
			t.Errorf("%s: not refused", c.what)
		}
	}
	m := newTrial("another step")
	m.input("x", 1, 3, 4, 4)
	m.constant("w", 2, 3, 1, 1)
	m.node("y = Conv x w", nil)
	m.outputs("y")
	if err := shape.Infer(m.model, nil); err != nil {
		t.Fatal(err)
	}
	losses := []LossNode{{Tensor: "y", Kind: compute.LossL2, Weight: 1}}
	both, err := Together(m.model, losses, 2)
	if err != nil {
		t.Fatal(err)
	}
	if got := both.Graph.Inputs[0].Dims; !slices.Equal(got, []int{2, 3, 4, 4}) || m.model.Graph.Inputs[0].Dims[0] != 1 {
		t.Errorf("the input is %v, the model's own %v", got, m.model.Graph.Inputs[0].Dims)
	}
	tr, err := NewTrainer(both, openCPU(t), TrainOptions{Losses: losses, Images: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if _, err := tr.Step(context.Background(), 3, 0, nil); err == nil {
		t.Error("three images, two at a time: not refused")
	}
	if _, err := tr.Step(context.Background(), 2, 0, func(_ int, in *Feed) error {
		return in.SetTensor("x", onnx.NewTensor([]int{2, 3, 4, 4}, make([]float32, 96)))
	}); err == nil {
		t.Error("two images where one belongs: not refused")
	}
}

// TestDetectorsTogether: every real detector's student can be had for several images, so
// that none falls back to one by one unseen.
func TestDetectorsTogether(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(testenv.Data(t, "models"), "*.onnx"))
	for _, path := range files {
		m, err := onnx.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := simplify.Run(m); err != nil {
			t.Fatal(err)
		}
		side := 0
		if m.Graph.Inputs[0].Dims[2] == onnx.Dynamic {
			side = 640
		}
		if err := shape.Resize(m, side, side, 1); err != nil {
			t.Fatal(err)
		}
		var losses []LossNode
		for _, h := range detect.HeadNodes(m.Graph) {
			losses = append(losses, LossNode{Tensor: h, Kind: compute.LossL1, Weight: 1})
		}
		if len(losses) == 0 {
			t.Errorf("%s: no heads", filepath.Base(path))
		}
		if _, err := Together(studentOf(t, m), losses, 4); err != nil {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
}
