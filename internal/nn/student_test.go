package nn

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"trtact/internal/compute"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
)

// TestStudentIsTheQuantisedGraph: what a student computes is what the Q/DQ graph
// computes when it is only run.
func TestStudentIsTheQuantisedGraph(t *testing.T) { eachDevice(t, testStudentIsTheQuantisedGraph) }

func testStudentIsTheQuantisedGraph(t *testing.T, d testDevice) {
	checked := 0
	for i, c := range quantizedTrials() {
		if i%d.every(3) != 0 {
			continue
		}
		m := c.model.Clone()
		if err := shape.Infer(m, nil); err != nil {
			t.Fatal(err)
		}
		out := m.Graph.Outputs[0].Name
		if m.Graph.Info[out].Type != onnx.Float {
			continue
		}
		for _, learned := range []Quantizer{FixedScales, LearnedScales} {
			o := TrainOptions{Workers: 1, Quantizer: learned, LearnedWeightScales: true,
				Losses: []LossNode{{Tensor: out, Kind: compute.LossL2, Weight: 1}}}
			tr, err := NewTrainer(m, d.Device, o)
			if untrainable(err) != "" {
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			want, _, err := evaluate(d.Device, m, c.feed, Options{})
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			r, err := tr.Step(context.Background(), 1, 0, func(_ int, in *Feed) error {
				for _, v := range tr.n.Inputs() {
					if err := in.SetInput(v.Name, c.feed[v.Name].Floats()); err != nil {
						return err
					}
				}
				return in.SetTarget(0, want[out].Floats())
			})
			tr.Close()
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			square := 0.0
			for _, v := range want[out].Floats() {
				square += float64(v) * float64(v) / float64(want[out].Len())
			}
			// Weights end at -127 here, at -128 there; and a learned scale comes back
			// from its logarithm with another last bit, which moves what lies on a tie.
			if r.Losses[0] > 3e-4*square+c.step*c.step/50 {
				t.Errorf("%s, quantiser %d: the student's output is off by %.3g of its square", c.name, learned, r.Losses[0]/square)
			}
			checked++
		}
	}
	t.Logf("%d students", checked)
	if checked < 300/d.every(3) {
		t.Errorf("only %d students were checked", checked)
	}
}

// twoLayers is x -> Q -> conv -> relu -> Q -> conv -> z in float64, with the
// gradients that the straight-through estimators and LSQ define.
type twoLayers struct {
	x, w0, b0, w1, target []float64
	sx, sa                float64
	in, mid, out, space   int
}

func grid(v, scale, low float64) float64 {
	return math.Min(math.Max(math.RoundToEven(v/scale), low), 127)
}

// weightGrid is the weights on their grids, absmax/127 for each of rows.
func weightGrid(w []float64, rows int) []float64 {
	n := len(w) / rows
	q := make([]float64, len(w))
	for r := range rows {
		most := 0.0
		for _, v := range w[r*n : (r+1)*n] {
			most = math.Max(most, math.Abs(v))
		}
		for i := r * n; i < (r+1)*n; i++ {
			q[i] = grid(w[i], most/127, -127) * most / 127
		}
	}
	return q
}

type twoGradients struct {
	loss        float64
	w0, b0, w1  []float64
	scale, clip float64 // by sa, by 127 sa
	greatest    float64 // of what is quantised with sa
}

func (m *twoLayers) gradients() (g twoGradients) {
	w0, w1 := weightGrid(m.w0, m.mid), weightGrid(m.w1, m.out)
	g.w0, g.b0, g.w1 = make([]float64, len(w0)), make([]float64, m.mid), make([]float64, len(w1))
	lsq := 1 / math.Sqrt(float64(m.mid*m.space)*127)
	for s := range m.space {
		x, z0, a := make([]float64, m.in), make([]float64, m.mid), make([]float64, m.mid)
		for i := range x {
			x[i] = grid(m.x[i*m.space+s], m.sx, -128) * m.sx
		}
		for k := range z0 {
			z0[k] = m.b0[k]
			for i := range x {
				z0[k] += w0[k*m.in+i] * x[i]
			}
			g.greatest = math.Max(g.greatest, z0[k])
			a[k] = grid(math.Max(z0[k], 0), m.sa, -128) * m.sa
		}
		da := make([]float64, m.mid)
		for o := range m.out {
			z := 0.0
			for k := range a {
				z += w1[o*m.mid+k] * a[k]
			}
			e := z - m.target[o*m.space+s]
			n := float64(m.out * m.space)
			g.loss += e * e / n
			for k := range a {
				da[k] += 2 * e / n * w1[o*m.mid+k]
				g.w1[o*m.mid+k] += 2 * e / n * a[k]
			}
		}
		for k := range da {
			steps := math.Max(z0[k], 0) / m.sa
			if math.RoundToEven(steps) > 127 {
				g.scale += da[k] * 127 * lsq
				g.clip += da[k]
				continue
			}
			g.scale += da[k] * (math.RoundToEven(steps) - steps) * lsq
			if z0[k] <= 0 {
				continue
			}
			g.b0[k] += da[k]
			for i := range x {
				g.w0[k*m.in+i] += da[k] * x[i]
			}
		}
	}
	return g
}

// TestQuantisersInTraining: the updates of two quantised layers by SGD, against
// the formulas in float64.
func TestQuantisersInTraining(t *testing.T) { eachDevice(t, testQuantisersInTraining) }

func testQuantisersInTraining(t *testing.T, device testDevice) {
	d := device.Device
	const in, mid, out, side = 3, 21, 5, 6
	c := newTrial("two layers")
	c.input("x", 1, in, side, side)
	c.constant("w0", mid, in, 1, 1)
	c.constant("b0", mid)
	c.constant("w1", out, mid, 1, 1)
	for _, w := range []struct {
		name string
		rows int
	}{{"w0", mid}, {"w1", out}} {
		ones, zeros := make([]float32, w.rows), make([]int8, w.rows)
		for i := range ones {
			ones[i] = 0.01 // not used: absmax/127 of the weights is
		}
		c.vector(w.name+"_scale", ones...)
		c.model.Graph.Init[w.name+"_zero"] = onnx.Vector(zeros...)
		c.node(fmt.Sprintf("%s_q = QuantizeLinear %s %s_scale %s_zero", w.name, w.name, w.name, w.name), attrs{"axis": int64(0)})
		c.node(fmt.Sprintf("%s_dq = DequantizeLinear %s_q %s_scale %s_zero", w.name, w.name, w.name, w.name), attrs{"axis": int64(0)})
	}
	x := c.pair("x", 0.02)
	c.node("z0 = Conv "+x+" w0_dq b0", nil)
	c.node("a = Relu z0", nil)
	a := c.pair("a", 0.01) // 1.27 at most: some values are clipped
	c.node("z = Conv "+a+" w1_dq", nil)
	c.outputs("z")
	if err := shape.Infer(c.model, nil); err != nil {
		t.Fatal(err)
	}
	target := c.normal(1, 1, out, side, side).Floats()
	wide := func(list []float32) []float64 {
		w := make([]float64, len(list))
		for i, v := range list {
			w[i] = float64(v)
		}
		return w
	}
	init := func(name string) []float64 { return wide(c.model.Graph.Init[name].Floats()) }
	m := &twoLayers{x: wide(c.feed["x"].Floats()), w0: init("w0"), b0: init("b0"), w1: init("w1"), target: wide(target),
		sx: float64(float32(0.02)), sa: float64(float32(0.01)), in: in, mid: mid, out: out, space: side * side}
	g := m.gradients()
	const rate, scaleRate, decay, images = 0.05, 0.3, 0.1, 6
	losses := []LossNode{{Tensor: "z", Kind: compute.LossL2, Weight: 1}}

	for _, q := range []Quantizer{FixedScales, ObservedScales, LearnedScales, LearnedClips} {
		for _, split := range [][2]int{{1, 1}, {2, 1}, {1, 6}, {2, 3}} {
			workers, together := split[0], split[1]
			student, err := Together(c.model, losses, together)
			if err != nil {
				t.Fatal(err)
			}
			tr, err := NewTrainer(student, d, TrainOptions{Workers: workers, Images: together, Quantizer: q, ScaleRate: scaleRate, ClipDecay: decay,
				Losses: losses})
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			r, err := tr.Step(context.Background(), images, rate, func(_ int, in *Feed) error {
				for i := range in.Images() {
					if err := in.Image(i).SetInput("x", c.feed["x"].Floats()); err != nil {
						return err
					}
					if err := in.Image(i).SetTarget(0, target); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			near := func(what string, got, want float64) {
				t.Helper()
				if !(math.Abs(got-want) <= 2e-5*math.Max(1, math.Abs(want))) {
					t.Errorf("quantiser %d, %d workers of %d images: %s is %.7g, not %.7g", q, workers, together, what, got, want)
				}
			}
			near("the loss", r.Losses[0], g.loss)
			list, err := tr.Parameters()
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range list {
				from := map[string][]float64{"w0": m.w0, "b0": m.b0, "w1": m.w1}[p.Name]
				by := map[string][]float64{"w0": g.w0, "b0": g.b0, "w1": g.w1}[p.Name]
				for i, v := range p.Values {
					near(fmt.Sprintf("%s[%d]", p.Name, i), float64(v), from[i]-rate*by[i])
				}
			}
			scales, err := tr.Scales()
			if err != nil {
				t.Fatal(err)
			}
			want := m.sa
			switch q {
			case LearnedScales:
				want = math.Exp(math.Log(m.sa) - rate*scaleRate*g.scale*m.sa)
			case LearnedClips:
				want = (127*m.sa - rate*scaleRate*(g.clip+decay*127*m.sa)) / 127
			}
			near("the scale of a in 1/1000", 1000*float64(scales["a_scale"]), 1000*want)
			near("the scale of x", float64(scales["x_scale"]), m.sx)
			seen, err := tr.AbsMax()
			if err != nil {
				t.Fatal(err)
			}
			if q == ObservedScales {
				near("the greatest of a", float64(seen["a_scale"]), g.greatest)
			} else if seen != nil {
				t.Errorf("quantiser %d observes", q)
			}
		}
	}

	// Layers of whole numbers are exact in any precision, so the loss is; gradients are
	// off by a rounding of each factor.
	for _, precision := range []compute.Math{compute.TF32, compute.BF16} {
		tr, err := NewTrainer(c.model, d, TrainOptions{Workers: 1, Math: precision, Losses: []LossNode{{Tensor: "z", Kind: compute.LossL2, Weight: 1}}})
		if err != nil && strings.Contains(err.Error(), "multiplies no TF32") { // sm_75
			t.Log(err)
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		r, err := tr.Step(context.Background(), 1, 0, func(_ int, in *Feed) error {
			if err := in.SetInput("x", c.feed["x"].Floats()); err != nil {
				return err
			}
			return in.SetTarget(0, target)
		})
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(r.Losses[0]-g.loss) > 2e-5*g.loss {
			t.Errorf("math %d: the loss is %.7g, not %.7g", precision, r.Losses[0], g.loss)
		}
		for name, want := range map[string][]float64{"w0": g.w0, "w1": g.w1} {
			got, err := tr.Gradient(name)
			if err != nil {
				t.Fatal(err)
			}
			off, all := 0.0, 0.0
			for i, w := range want {
				off += (float64(got[i]) - w) * (float64(got[i]) - w)
				all += w * w
			}
			off = math.Sqrt(off / all)
			used, emulated := off > 2e-5, strings.Contains(d.Version(), "emulated")
			if off > 0.01 || used && d.Name() == "cpu" || !used && emulated {
				t.Errorf("math %d: the gradient of %s is off by %.2g", precision, name, off)
			}
		}
	}
}
