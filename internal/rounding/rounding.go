// Package rounding chooses for every quantised weight whether it goes up or down to
// the INT8 grid: not to the nearest value, but so that what a block of layers gives on
// a few samples stays closest to the float model. One layer a block is AdaRound (Nagel
// et al., Up or Down? Adaptive Rounding for Post-Training Quantization, 2020), several
// are BRECQ (Li et al. 2021). Scales stay as the plan has them, labels are not needed.
//
// Blocks are taken in the order of the graph. What goes into a block is what the model
// gives that is quantised so far, what should come out is what the float model gives;
// so a block also makes up for the rounding in front of it. Its choice is kept only
// where it lowers the error on samples that it was not made with.
package rounding

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"trtact/calib"
	"trtact/internal/compute"
	"trtact/internal/nn"
	"trtact/internal/onnx"
)

// Sample is one input of the model: the value of every input by name.
type Sample = map[string]*onnx.Tensor

// Subject is a float model with a calibrated plan, and the samples to round it on.
type Subject struct {
	Model   *onnx.Model // float, shapes inferred, for one sample at a time
	Plan    *calib.Plan
	Device  *compute.Device
	Workers int // samples side by side; 0: one for each core
	Samples []Sample
	Options Options
	// Progress, if set, hears of every finished block.
	Progress func()
}

// Options say how. The zero value of each means its default.
type Options struct {
	Layers int // of a block at most; 1: layer by layer
	Steps  int // for each block
	Batch  int // samples of a step
	Seed   uint64
}

// Defaults of the options.
const (
	DefaultSteps = 200
	DefaultBatch = 4
	// BlockLayers is the usual size of a block that is more than a layer.
	BlockLayers = 5
)

// Block is what became of one block.
type Block struct {
	Layers []string `json:"layers"`
	// Before and After are the relative L2 errors of what the block gives, with weights
	// rounded to nearest and as chosen, on samples that the choice was not made with.
	Before  float64 `json:"before"`
	After   float64 `json:"after"`
	Kept    bool    `json:"kept"`    // the choice was better
	Changed int     `json:"changed"` // weights that are not rounded to nearest
	Weights int     `json:"weights"`
	Problem string  `json:"problem,omitempty"` // why it was left as it is
}

// Outcome is a model whose weights round as they were chosen to.
type Outcome struct {
	// Model is the float model, the plan's equalisation and bias corrections carried
	// out. Weights that round to nearest are as they were, the others lie on the grid.
	Model   *onnx.Model
	Plan    *calib.Plan // without what Model has already
	Blocks  []Block
	Seconds float64
}

// Changed is how many weights of all blocks are not rounded to nearest, and of how many.
func (o *Outcome) Changed() (changed, weights int) {
	for _, b := range o.Blocks {
		weights += b.Weights
		if b.Kept {
			changed += b.Changed
		}
	}
	return changed, weights
}

// Round chooses the rounding of all quantised weights. The same samples and number of
// workers give the same choice.
func Round(ctx context.Context, s Subject) (*Outcome, error) {
	start := time.Now()
	o := &s.Options
	for value, def := range map[*int]int{&o.Layers: 1, &o.Steps: DefaultSteps, &o.Batch: DefaultBatch} {
		if *value <= 0 {
			*value = def
		}
	}
	if s.Workers <= 0 {
		s.Workers = nn.DefaultWorkers(s.Device, 1)
	}
	if len(s.Samples) < 2 {
		return nil, fmt.Errorf("choose the rounding of weights: %d samples; at least 2 are needed", len(s.Samples))
	}
	float, plan, err := calib.Bake(s.Model, s.Plan)
	if err != nil {
		return nil, err
	}
	r := &rounder{Subject: s, ctx: ctx, float: float, plan: plan, model: float.Clone()}
	out := &Outcome{Model: r.model, Plan: plan}
	for i, b := range split(float.Graph, plan, o.Layers) {
		found, err := r.round(b, o.Seed+uint64(i))
		if err != nil {
			return nil, fmt.Errorf("choose the rounding of %s: %w", b.layers[0], err)
		}
		slog.Debug("rounding", "layers", len(found.Layers), "first", found.Layers[0], "before", found.Before, "after", found.After,
			"kept", found.Kept, "changed", found.Changed, "weights", found.Weights, "problem", found.Problem)
		out.Blocks = append(out.Blocks, found)
		if s.Progress != nil {
			s.Progress()
		}
	}
	out.Seconds = time.Since(start).Seconds()
	return out, nil
}

// Blocks is how many blocks Round takes one after the other.
func Blocks(m *onnx.Model, p *calib.Plan, layers int) int { return len(split(m.Graph, p, layers)) }

// rounder is one run.
type rounder struct {
	Subject
	ctx   context.Context
	float *onnx.Model
	plan  *calib.Plan
	model *onnx.Model // float too, with the weights of finished blocks as chosen
}

// mostBytes bounds what is kept of a block's inputs and outputs; with larger tensors
// it is of fewer samples.
const mostBytes = 512 << 20

// leastSamples are taken in any case.
const leastSamples = 8

// samples is how many a block of tensors is rounded on.
func (r *rounder) samples(tensors []string) int {
	each := 0
	for _, t := range tensors {
		n := 4
		for _, d := range r.float.Graph.Info[t].Dims {
			n *= max(1, d)
		}
		each += n
	}
	return min(len(r.Samples), max(leastSamples, mostBytes/max(1, each)))
}

// round chooses for one block and puts its choice into r.model.
func (r *rounder) round(b block, seed uint64) (Block, error) {
	found := Block{Layers: b.layers}
	quantised, err := calib.Apply(r.model, r.plan, calib.FloatWeights)
	if err != nil {
		return found, err
	}
	count := r.samples(append(slices.Clone(b.inputs), b.outputs...))
	data := &data{}
	if data.inputs, err = r.record(quantised, b.inputs, count); err != nil {
		return found, err
	}
	if data.wanted, err = r.record(r.float, b.outputs, count); err != nil {
		return found, err
	}
	l, err := r.learner(b, data)
	if err != nil {
		if r.ctx.Err() != nil {
			return found, err
		}
		found.Problem = err.Error() // something in it has no gradient: its weights go to the nearest
		return found, nil
	}
	defer l.close()
	if err := l.learn(r.ctx, r.Options, seed, &found); err != nil {
		return found, err
	}
	if found.Kept = found.After < found.Before; !found.Kept {
		return found, nil
	}
	for _, v := range l.variables {
		t := r.model.Graph.Init[v.name]
		r.model.Graph.Init[v.name] = onnx.NewTensor(t.Dims, v.chosen())
	}
	return found, nil
}

// record runs a model on the first samples up to some tensors and keeps them.
func (r *rounder) record(m *onnx.Model, tensors []string, count int) ([]Sample, error) {
	kept := make([]Sample, count)
	var made []string
	for _, t := range tensors {
		if r.Samples[0][t] == nil {
			made = append(made, t)
		}
	}
	for i := range kept {
		kept[i] = Sample{}
		for _, t := range tensors {
			if v := r.Samples[i][t]; v != nil {
				kept[i][t] = v
			}
		}
	}
	if len(made) == 0 {
		return kept, nil
	}
	m = m.Clone()
	if err := m.Graph.Extract(made); err != nil {
		return nil, err
	}
	n, err := nn.Compile(m, r.Device, nn.Options{Workers: r.Workers})
	if err != nil {
		return nil, err
	}
	defer n.Close()
	return kept, n.ForEach(r.ctx, count, func(c *nn.Context, i int) error {
		if err := c.SetInputs(r.Samples[i]); err != nil {
			return err
		}
		if err := c.Run(); err != nil {
			return err
		}
		for _, t := range made {
			v, err := c.Output(t)
			if err != nil {
				return err
			}
			kept[i][t] = v
		}
		return nil
	})
}
