// Choosing how weights are rounded, as a stage of the job. The choice itself is package
// rounding.

package job

import (
	"context"

	"trtact/internal/analysis"
	"trtact/internal/rounding"
)

// Rounding is what came of choosing the rounding of weights.
type Rounding struct {
	Layers  int              `json:"layers"` // of a block at most; 1: layer by layer
	Samples int              `json:"samples"`
	Changed int              `json:"changed"` // weights that are not rounded to nearest
	Weights int              `json:"weights"`
	Blocks  []rounding.Block `json:"blocks"`
	Seconds float64          `json:"seconds"`
}

// roundingSamples is on how many samples rounding is chosen, a quarter of them to judge by.
const roundingSamples = 32

// round chooses the rounding of a candidate's weights in blocks of so many layers.
func (b *building) round(ctx context.Context, c *candidate, layers int) (*candidate, error) {
	list, _, err := readSome(ctx, b.in.samples, roundingSamples)
	if err != nil {
		return nil, err
	}
	samples := make([]rounding.Sample, len(list))
	for i, s := range list {
		samples[i] = analysis.Sample(s)
	}
	s := rounding.Subject{Model: c.model, Plan: c.plan, Device: b.m.Device, Workers: b.m.Threads, Samples: samples,
		Options: rounding.Options{Layers: layers, Seed: b.o.Distil.Options.Seed}}
	s.Progress = b.m.count("round weights", rounding.Blocks(c.model, c.plan, layers), "blocks").add
	o, err := rounding.Round(ctx, s)
	if err != nil {
		return nil, err
	}
	found := Rounding{Layers: layers, Samples: len(samples), Blocks: o.Blocks, Seconds: o.Seconds}
	found.Changed, found.Weights = o.Changed()
	b.r.Rounding = append(b.r.Rounding, found)
	rounded := &candidate{model: o.Model, plan: o.Plan, equalised: c.plan.ActiveEqualisations(b.single.Model.Graph), unrounded: c}
	if c.unrounded != nil {
		rounded.unrounded = c.unrounded
	}
	return b.judged(ctx, rounded, "measure rounded")
}
