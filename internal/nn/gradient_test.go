package nn

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"trtact/internal/compute"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
)

// gradientTrial is a trial as a student, with a random teacher.
type gradientTrial struct {
	tr      *Trainer
	feed    map[string][]float32
	targets [][]float32
}

// loss is the sum of the losses with the parameters and inputs as they are. It
// leaves the gradients behind.
func (g *gradientTrial) loss() (float64, error) {
	images := g.tr.o.Images
	r, err := g.tr.Step(context.Background(), images, 0, func(_ int, in *Feed) error {
		for image := range images {
			in := in.Image(image)
			inputs, targets := g.feeds(image)
			for name, x := range inputs {
				if g.tr.n.values[name] == nil { // nothing reads it
					continue
				}
				if err := in.SetInput(name, x); err != nil {
					return err
				}
			}
			for k, y := range targets {
				if err := in.SetTarget(k, y); err != nil {
					return err
				}
			}
		}
		return nil
	})
	sum := 0.0
	for _, l := range r.Losses {
		sum += l
	}
	return sum, err
}

// student makes a trainer of a trial's float graph, for so many images together; reason
// says why it cannot be.
func student(c *trial, d *compute.Device, r *rand.Rand, images int) (g *gradientTrial, reason string, err error) {
	m := c.model.Clone()
	if err := shape.Infer(m, nil); err != nil {
		return nil, "shapes depend on data", nil
	}
	if _, err := simplify.Run(m); err != nil {
		return nil, "", err
	}
	if err := shape.Infer(m, nil); err != nil {
		return nil, "", err
	}
	t := &training{inputs: map[string]*tensor{}, o: TrainOptions{Workers: 1, Images: images}}
	g = &gradientTrial{feed: map[string][]float32{}}
	for _, n := range m.Graph.Nodes {
		if slices.Contains([]string{"Floor", "Ceil", "Round", "Div", "Pow", "Reciprocal", "Log", "Sqrt"}, n.Op) {
			return nil, "jumps and poles", nil // compute's tests have their gradients
		}
		if n.Op == "QuantizeLinear" || n.Op == "DequantizeLinear" {
			return nil, "quantised", nil
		}
	}
	for _, out := range m.Graph.Outputs {
		info := m.Graph.Info[out.Name]
		if info.Type != onnx.Float || !fitsDevice(info.Dims) || m.Graph.Index().Producer[out.Name] == nil {
			return nil, "an output that is no float tensor", nil
		}
		t.o.Losses = append(t.o.Losses, LossNode{Tensor: out.Name, Kind: compute.LossL2, Weight: 1})
		target := make([]float32, images*product(info.Dims))
		for i := range target {
			target[i] = float32(r.NormFloat64())
		}
		g.targets = append(g.targets, target)
	}
	for _, in := range m.Graph.Inputs {
		if in.Type != onnx.Float {
			return nil, "an input that is no float tensor", nil
		}
		x := slices.Clone(c.feed[in.Name].Floats())
		for range images - 1 { // of the same kind
			other := slices.Clone(x[:c.feed[in.Name].Len()])
			r.Shuffle(len(other), func(i, k int) { other[i], other[k] = other[k], other[i] })
			x = append(x, other...)
		}
		g.feed[in.Name] = x
		t.inputs[in.Name] = nil
	}
	if images > 1 {
		if m, err = Together(m, t.o.Losses, images); err != nil {
			return nil, "not for several images", nil
		}
	}
	g.tr, err = newTrainer(m, d, t)
	if reason := untrainable(err); reason != "" {
		return nil, reason, nil
	}
	return g, "", err
}

// untrainable is the reason why a graph is refused, "" for other errors.
func untrainable(err error) string {
	for _, reason := range []string{"runs in Go", "cannot be trained through", "nothing that is trained", "no tensor", "only symmetric"} {
		if err != nil && strings.Contains(err.Error(), reason) {
			return reason
		}
	}
	return ""
}

// TestGradientsOfGraphs: the gradients of small models by all inputs and
// parameters, against differences of the loss along random directions.
func TestGradientsOfGraphs(t *testing.T) { eachDevice(t, testGradientsOfGraphs) }

func testGradientsOfGraphs(t *testing.T, d testDevice) {
	checkGraphs(t, d, 0, 1000, func(_ int, c *trial) (string, error) {
		r := rand.New(rand.NewPCG(1, uint64(len(c.name))))
		g, reason, err := student(c, d.Device, r, 1)
		if err != nil || reason != "" {
			return reason, err
		}
		defer g.tr.Close()
		return "", g.check(r)
	})
}

// checkGraphs checks every third of all trials from one on, at least so many; the list is
// long, its neighbours alike. check gives the reason why a trial is left out, or "".
func checkGraphs(t *testing.T, d testDevice, from, least int, check func(i int, c *trial) (reason string, err error)) {
	reasons := map[string]int{}
	checked := 0
	for i, c := range allTrials() {
		if i%(3*d.every(4)) != from {
			continue
		}
		reason, err := check(i, c)
		switch {
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case reason != "":
			reasons[reason]++
		default:
			checked++
		}
	}
	t.Logf("%d graphs; left out: %v", checked, reasons)
	if checked < least/d.every(4) {
		t.Errorf("only %d graphs were checked", checked)
	}
}

// check compares the gradients with central differences of the loss. A direction
// may cross the kink of a maximum; not all of several do.
func (g *gradientTrial) check(r *rand.Rand) error {
	at, err := g.loss()
	if err != nil {
		return err
	}
	gradients := make([]float32, g.tr.n.gradientBytes/4)
	if err := g.tr.contexts[0].gradients.Download(0, gradients); err != nil {
		return err
	}
	state, err := g.tr.State()
	if err != nil {
		return err
	}
	var found, want float64
	for try := range 16 {
		direction := make([]float64, len(gradients))
		size := 0.0
		want = 0
		g.spans(func(_ string, from, count int) {
			for i := from; i < from+count; i++ {
				direction[i] = r.NormFloat64()
				along := direction[i] * float64(gradients[i])
				want += along
				size += along * along
			}
		})
		length := []float64{1e-3, 3e-4}[try%2]
		found = 0
		for _, sign := range []float64{1, -1} {
			loss, err := g.moved(state, direction, sign*length)
			if err != nil {
				return err
			}
			found += sign * loss / (2 * length)
		}
		// float32 sums leave some 1e-7 of the loss, divided by the length.
		if math.Abs(found-want) < 0.01*math.Sqrt(size)+1e-3*(1+math.Abs(at)) {
			return nil
		}
	}
	return fmt.Errorf("the loss %.6g changes by %.6g along a direction where the gradient says %.6g", at, found, want)
}

// spans are the parts of a context's gradients that belong to something.
func (g *gradientTrial) spans(visit func(name string, from, count int)) {
	for _, p := range g.tr.t.parameters {
		visit("", p.value.offset/4, len(p.data))
	}
	for name, sink := range g.tr.t.inputs {
		if sink == nil {
			continue
		}
		visit(name, sink.offset/4, sink.desc.Len())
	}
}

// moved is the loss some way along a direction.
func (g *gradientTrial) moved(state []float32, direction []float64, by float64) (float64, error) {
	there := append([]float32(nil), state...)
	feed := g.feed
	g.feed = map[string][]float32{}
	defer func() { g.feed = feed }()
	const head = 2 // State's count of updates and flag come first
	g.spans(func(name string, from, count int) {
		if name == "" {
			for i := from; i < from+count; i++ {
				there[head+i] += float32(by * direction[i])
			}
			return
		}
		x := append([]float32(nil), feed[name]...)
		for i := range x {
			x[i] += float32(by * direction[from+i])
		}
		g.feed[name] = x
	})
	if err := g.tr.Restore(there); err != nil {
		return 0, err
	}
	loss, err := g.loss()
	if err != nil {
		return 0, err
	}
	return loss, g.tr.Restore(state)
}
