// The choice itself: a variable for each weight says how far up it is rounded, by a
// smooth function from 0 to 1, and is learned by gradients through the block. A term
// that grows sharper pushes the functions to their ends.

package rounding

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"trtact/calib"
	"trtact/internal/compute"
	"trtact/internal/nn"
	"trtact/internal/onnx"
	"trtact/internal/parallel"
)

// Of the paper, section 3 and its appendix, but for the rate: with some hundred steps instead
// of 10,000 it has to be larger.
const (
	stretchLow, stretchHigh = -0.1, 1.1 // the sigmoid's range before it is cut to 0..1
	firstSharpness          = 20.
	lastSharpness           = 2.
	warmup                  = 0.2 // share of the steps without the term
	pressure                = 1.  // of the term, beside the error over that of rounding to nearest
	rate                    = 0.05
)

// heldOut is one of how many samples the choice is judged by.
const heldOut = 4

// data are a block's inputs as the quantised model gives them and its outputs as the
// float model does, by sample.
type data struct{ inputs, wanted []Sample }

// variable is a weight in learning.
type variable struct {
	name    string
	float   []float32 // as it is
	scales  []float32 // of each channel
	inner   int       // elements of one channel that lie together
	floor   []float32 // in steps
	up      []float32 // the variables
	first   []float32 // Adam's moments
	second  []float32
	current []float32 // the weights that they stand for
	workers int
}

// learner is one block in learning.
type learner struct {
	trainer   *nn.Trainer
	data      *data
	block     block
	variables []*variable
	norm      []float64 // mean square of each output
}

func (r *rounder) learner(b block, d *data) (*learner, error) {
	quantised, err := calib.Apply(r.model, r.plan, calib.TrainedWeights)
	if err != nil {
		return nil, err
	}
	l := &learner{data: d, block: b}
	for _, w := range r.plan.Weights {
		if slices.ContainsFunc(w.Nodes, func(n string) bool { return !slices.Contains(b.layers, n) }) {
			continue // another block's, or shared with one
		}
		v := newVariable(r.float.Graph.Init[w.Tensor], w)
		v.workers = r.Workers
		l.variables = append(l.variables, v)
	}
	if len(l.variables) == 0 {
		return nil, errors.New("its weights are shared with another block")
	}
	bare(quantised.Graph, l.variables)
	part, err := cut(quantised, b.inputs, b.outputs)
	if err != nil {
		return nil, err
	}
	o := nn.TrainOptions{Quantizer: nn.FixedScales, Optimizer: compute.Optimize{Kind: compute.SGD}, Workers: r.Workers,
		Frozen: func(name string) bool {
			return !slices.ContainsFunc(l.variables, func(v *variable) bool { return v.name == name })
		}}
	for _, t := range b.outputs {
		square, n := 0.0, 0
		for _, s := range d.wanted {
			for _, v := range s[t].Floats() {
				square += float64(v) * float64(v)
			}
			n += s[t].Len()
		}
		l.norm = append(l.norm, math.Max(square/float64(max(1, n)), 1e-30))
		o.Losses = append(o.Losses, nn.LossNode{Tensor: t, Kind: compute.LossL2, Weight: float32(1 / (l.norm[len(l.norm)-1] * float64(len(b.outputs))))})
	}
	l.trainer, err = nn.NewTrainer(part, r.Device, o)
	return l, err
}

func (l *learner) close() { l.trainer.Close() }

// bare has layers read their weights as they are instead of through quantisers.
func bare(g *onnx.Graph, list []*variable) {
	ix := g.Index()
	for _, n := range g.Nodes {
		if n.Op != "DequantizeLinear" {
			continue
		}
		q := ix.Producer[n.Input(0)]
		if q == nil || q.Op != "QuantizeLinear" || !slices.ContainsFunc(list, func(v *variable) bool { return v.name == q.Input(0) }) {
			continue
		}
		for _, reader := range ix.Consumers[n.Output(0)] {
			for i, in := range reader.Inputs {
				if in == n.Output(0) {
					reader.Inputs[i] = q.Input(0)
				}
			}
		}
	}
}

func newVariable(t *onnx.Tensor, w calib.WeightSite) *variable {
	v := &variable{name: w.Tensor, float: t.Floats(), scales: w.Scales, inner: 1}
	for _, d := range t.Dims[w.Axis+1:] {
		v.inner *= d
	}
	n := len(v.float)
	v.floor, v.up, v.current = make([]float32, n), make([]float32, n), make([]float32, n)
	v.first, v.second = make([]float32, n), make([]float32, n)
	for i, x := range v.float {
		steps := math.Max(-calib.QMax, math.Min(calib.QMax, float64(x/v.scale(i))))
		floor := math.Floor(steps)
		v.floor[i] = float32(floor)
		// The function starts at the fraction, so that the weight starts as it is.
		p := (math.Min(math.Max(steps-floor, 0.001), 0.999) - stretchLow) / (stretchHigh - stretchLow)
		v.up[i] = float32(-math.Log(1/p - 1))
	}
	return v
}

func (v *variable) scale(i int) float32 { return v.scales[i/v.inner%len(v.scales)] }

// height is how far up a variable rounds, 0 to 1, and its derivative.
func height(up float32) (h, slope float64) {
	p := 1 / (1 + math.Exp(-float64(up)))
	h = p*(stretchHigh-stretchLow) + stretchLow
	switch {
	case h <= 0:
		return 0, 0
	case h >= 1:
		return 1, 0
	}
	return h, p * (1 - p) * (stretchHigh - stretchLow)
}

// onGrid is a weight of so many steps above the floor of weight i.
func (v *variable) onGrid(i int, h float64) float32 {
	q := math.Max(-calib.QMax, math.Min(calib.QMax, float64(v.floor[i])+h))
	return float32(q) * v.scale(i)
}

// nearest and decided put the weights on the grid.
func (v *variable) nearest() []float32 {
	list := make([]float32, len(v.float))
	for i, x := range v.float {
		list[i] = float32(calib.QuantizeWeight(x, v.scale(i))) * v.scale(i)
	}
	return list
}

func (v *variable) decided() []float32 {
	list := make([]float32, len(v.up))
	for i, up := range v.up {
		h, _ := height(up)
		list[i] = v.onGrid(i, math.Round(h))
	}
	return list
}

// chosen is decided, with the weights as they were that round to the same.
func (v *variable) chosen() []float32 {
	list, nearest := v.decided(), v.nearest()
	for i := range list {
		if calib.QuantizeWeight(list[i], v.scale(i)) == calib.QuantizeWeight(nearest[i], v.scale(i)) {
			list[i] = v.float[i]
		}
	}
	return list
}

// changed counts the weights that do not round to nearest.
func (v *variable) changed() int {
	list, n := v.chosen(), 0
	for i := range list {
		if list[i] != v.float[i] {
			n++
		}
	}
	return n
}

func (l *learner) learn(ctx context.Context, o Options, seed uint64, found *Block) error {
	n := len(l.data.inputs)
	held := max(1, n/heldOut)
	train := n - held
	var err error
	if found.Before, err = l.error(ctx, (*variable).nearest, train, held); err != nil {
		return err
	}
	base, err := l.error(ctx, (*variable).nearest, 0, train)
	if err != nil {
		return err
	}
	base = math.Max(base*base, 1e-30)
	weights := 0
	for _, v := range l.variables {
		weights += len(v.up)
	}
	source := rand.New(rand.NewPCG(seed, 0))
	order := source.Perm(train)
	at := 0
	batch := min(o.Batch, train)
	for step := range o.Steps {
		for _, v := range l.variables {
			v.each(func(i int) {
				h, _ := height(v.up[i])
				v.current[i] = v.onGrid(i, h)
			})
			if err := l.trainer.SetParameter(v.name, v.current); err != nil {
				return err
			}
		}
		if at+batch > train {
			order, at = source.Perm(train), 0
		}
		picked := order[at : at+batch]
		at += batch
		if _, err := l.trainer.Step(ctx, batch, 0, func(i int, in *nn.Feed) error { return l.feed(picked[i], in) }); err != nil {
			return err
		}
		sharp, push := sharpness(step, o.Steps)
		for _, v := range l.variables {
			g, err := l.trainer.Gradient(v.name)
			if err != nil {
				return err
			}
			v.update(g, float64(batch)*base, push/float64(weights), sharp, step+1)
		}
	}
	if found.After, err = l.error(ctx, (*variable).decided, train, held); err != nil {
		return err
	}
	found.Weights = weights
	for _, v := range l.variables {
		found.Changed += v.changed()
	}
	return nil
}

// sharpness is the exponent of the term that pushes to the ends, and its weight.
func sharpness(step, steps int) (exponent, weight float64) {
	t := (float64(step)/float64(steps) - warmup) / (1 - warmup)
	if t < 0 {
		return firstSharpness, 0
	}
	return lastSharpness + (firstSharpness-lastSharpness)*0.5*(1+math.Cos(t*math.Pi)), pressure
}

// update is a step of Adam on error + push * sum(1 - |2h-1|^sharp), where the error's
// gradient g by the weights is still to be divided.
func (v *variable) update(g []float32, divide, push, sharp float64, step int) {
	const beta1, beta2, epsilon = 0.9, 0.999, 1e-12
	correct1, correct2 := 1-math.Pow(beta1, float64(step)), 1-math.Pow(beta2, float64(step))
	v.each(func(i int) {
		h, slope := height(v.up[i])
		d := 0.0
		if slope > 0 {
			d = float64(g[i]) / divide * float64(v.scale(i))
			if x := 2*h - 1; push > 0 {
				d -= push * 2 * sharp * math.Copysign(math.Pow(math.Abs(x), sharp-1), x)
			}
			d *= slope
		}
		v.first[i] = float32(beta1*float64(v.first[i]) + (1-beta1)*d)
		v.second[i] = float32(beta2*float64(v.second[i]) + (1-beta2)*d*d)
		v.up[i] -= float32(rate * float64(v.first[i]) / correct1 / (math.Sqrt(float64(v.second[i])/correct2) + epsilon))
	})
}

// each calls f for every weight, from a goroutine for each part of them where there are
// many.
func (v *variable) each(f func(i int)) {
	const least = 1 << 13
	parts := min(v.workers, 1+len(v.up)/least)
	if parts <= 1 {
		for i := range v.up {
			f(i)
		}
		return
	}
	parallel.Workers(parts, func(k int) {
		for i := k * len(v.up) / parts; i < (k+1)*len(v.up)/parts; i++ {
			f(i)
		}
	})
}

func (l *learner) feed(i int, in *nn.Feed) error {
	for _, v := range l.trainer.Inputs() {
		x := l.data.inputs[i][v.Name]
		if x == nil {
			return fmt.Errorf("block reads %q, which was not kept", v.Name)
		}
		if err := in.SetTensor(v.Name, x); err != nil {
			return err
		}
	}
	for k, t := range l.block.outputs {
		if err := in.SetTarget(k, l.data.wanted[i][t].Floats()); err != nil {
			return err
		}
	}
	return nil
}

// error is the relative L2 error of the outputs over some samples, with the weights
// given: the root of the mean square over the outputs.
func (l *learner) error(ctx context.Context, weights func(*variable) []float32, from, count int) (float64, error) {
	for _, v := range l.variables {
		if err := l.trainer.SetParameter(v.name, weights(v)); err != nil {
			return 0, err
		}
	}
	r, err := l.trainer.Step(ctx, count, 0, func(i int, in *nn.Feed) error { return l.feed(from+i, in) })
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for k, e := range r.Losses {
		sum += e / l.norm[k] / float64(len(r.Losses))
	}
	return math.Sqrt(sum), nil
}
