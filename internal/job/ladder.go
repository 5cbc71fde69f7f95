// The ladder of `--qat auto`: calibration, a wider search for its settings, the rounding
// of weights chosen layer by layer and block by block, training, and last layers left
// float. Each rung costs more than the one before, and it stops at the first that loses
// little enough. Every rung says what it found and what the next is expected to cost.

package job

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"trtact/calib"
	"trtact/internal/report"
	"trtact/internal/rounding"
)

// Rung is one step of the ladder and what it reached.
type Rung struct {
	Name    string   `json:"name"`
	Enough  bool     `json:"enough"`
	Kept    bool     `json:"kept"`  // the best form so far
	Found   string   `json:"found"` // in words
	Lost    float64  `json:"lost"`  // in the units of Limit
	Limit   float64  `json:"limit"` // points of mAP, or percent of a metric or error
	Metric  *float64 `json:"metric,omitempty"`
	Float   []string `json:"float_layers,omitempty"`
	Seconds float64  `json:"seconds"`
	// Next is what comes after, where it was not enough.
	Next *NextRung `json:"next,omitempty"`
}

// NextRung is the cost of going on.
type NextRung struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"` // an estimate
}

// The rungs.
const (
	RungPTQ       = "ptq"
	RungSearch    = "search"
	RungLayers    = "rounding, layer by layer"
	RungBlocks    = "rounding, block by block"
	RungDistilled = "distilled"
	RungFloat     = "layers left float"
)

// rung is one that may be climbed.
type rung struct {
	name    string
	kept    string         // what Result.Form says of a form of it
	lap     string         // of Result.Seconds; "": the rung notes its own
	seconds func() float64 // estimate
	climb   func(ctx context.Context, best *candidate) (*candidate, error)
}

// beyondReach is how many times the limit an error at the heads may be for a search and
// rounding to be worth their time: they lower it by a tenth to a third.
const beyondReach = 2

// improve takes the candidate up the ladder as far as was asked for and is needed.
func (b *building) improve(ctx context.Context, ptq *candidate, since time.Time) (*candidate, error) {
	mode := b.o.Distil.Mode
	if mode == DistilAuto && b.in.samples == nil {
		b.r.QAT = &QAT{Mode: mode, Reason: "not trained: there are no pictures to train on", Kept: KeptPTQ}
		return ptq, nil
	}
	if mode == DistilOn {
		b.r.QAT = &QAT{Mode: mode, Reason: "training was asked for", Kept: KeptPTQ}
	}
	rungs := b.rungs()
	if len(rungs) == 0 {
		return ptq, nil
	}
	best := ptq
	last, err := b.reached(ctx, RungPTQ, ptq, since)
	if err != nil {
		return nil, err
	}
	last.Kept = true
	if mode == DistilAuto {
		reason := "not trained: "
		if !last.Enough {
			reason = "more than calibration is needed: "
		}
		b.r.QAT = &QAT{Mode: mode, Reason: reason + last.Found, Kept: KeptPTQ}
	}
	for _, r := range rungs {
		// Training that was asked for is done whatever was reached.
		if last.Enough && !(mode == DistilOn && r.name == RungDistilled) {
			break
		}
		if b.meter == nil && r.name != RungDistilled && last.Lost > beyondReach*last.Limit {
			continue
		}
		next := &NextRung{r.name, r.seconds()}
		b.r.Ladder[len(b.r.Ladder)-1].Next = next
		why := "next"
		if last.Enough {
			why = "asked for all the same"
		}
		slog.Info(fmt.Sprintf("%s; %s: %s, about %s", last.Found, why, r.name, report.Duration(time.Duration(next.Seconds*float64(time.Second)))))
		start := time.Now()
		c, err := r.climb(ctx, best)
		if err != nil {
			return nil, err
		}
		if r.lap != "" {
			b.r.Seconds[r.lap] += time.Since(start).Seconds()
		}
		if c == nil { // nothing to gain here
			b.r.Ladder[len(b.r.Ladder)-1].Next = nil
			continue
		}
		if last, err = b.reached(ctx, r.name, c, start); err != nil {
			return nil, err
		}
		better := mode == DistilOn && r.name == RungDistilled // training has its own judge
		closer, err := b.better(ctx, c, best)
		if err != nil {
			return nil, err
		}
		if better && !closer && b.meter == nil {
			slog.Warn("training has made its own loss smaller, but what the model predicts is further from the float model (" + last.Found + "); it is kept, as --qat on asks; --qat auto would not")
		}
		better = better || closer
		if better {
			best = c
			for i := range b.r.Ladder {
				b.r.Ladder[i].Kept = false
			}
			last.Kept = true
			if r.kept != "" {
				b.r.Form = r.kept
			}
			if b.r.QAT != nil {
				b.r.QAT.Kept = b.r.Form
			}
		}
		// What is enough is the best form, which a later rung need not have made.
		last.Enough = last.Enough || b.keptRung().Enough
	}
	slog.Info("kept: " + b.keptRung().Name + ", " + b.keptRung().Found)
	return best, nil
}

// rungs are those that the options allow, in the order of their cost.
func (b *building) rungs() []rung {
	mode := b.o.Distil.Mode
	limited := mode == DistilAuto || b.o.Distil.MaxDrop != nil && b.meter != nil
	var list []rung
	if b.in.samples != nil && limited && mode != DistilOn {
		if b.in.plan == nil && b.o.Calibrate.searchable() {
			list = append(list, rung{RungSearch, KeptSearched, "search", b.searchSeconds, b.search})
		}
		for _, r := range []struct {
			name   string
			layers int
		}{{RungLayers, 1}, {RungBlocks, rounding.BlockLayers}} {
			list = append(list, rung{r.name, KeptRounded, "round", func() float64 { return b.roundSeconds(r.layers) },
				func(ctx context.Context, _ *candidate) (*candidate, error) {
					return b.round(ctx, b.untrained, r.layers)
				}})
		}
	}
	if b.o.Distil.wanted() {
		list = append(list, rung{RungDistilled, KeptDistilled, "", b.distilSeconds, b.train})
	}
	if b.canFallBack() {
		list = append(list, rung{RungFloat, "", "", b.fallBackSeconds, b.fallBack})
	}
	return list
}

// keptRung is the one whose form is the best so far.
func (b *building) keptRung() *Rung {
	for i := range b.r.Ladder {
		if b.r.Ladder[i].Kept {
			return &b.r.Ladder[i]
		}
	}
	return &b.r.Ladder[0]
}

// reached notes what a candidate has come to.
func (b *building) reached(ctx context.Context, name string, c *candidate, since time.Time) (*Rung, error) {
	lost, limit, what, err := b.lost(ctx, c)
	if err != nil {
		return nil, err
	}
	r := Rung{Name: name, Enough: lost <= limit, Found: what, Lost: lost, Limit: limit, Float: c.float, Seconds: time.Since(since).Seconds()}
	if c.accuracy != nil {
		r.Metric = &c.accuracy.value
	}
	b.r.Ladder = append(b.r.Ladder, r)
	return &b.r.Ladder[len(b.r.Ladder)-1], nil
}

// better says whether a is a better form than c: by what is measured, or without that by
// how far their predictions are from the float model's.
func (b *building) better(ctx context.Context, a, c *candidate) (bool, error) {
	if b.meter != nil {
		return a.accuracy.value > c.accuracy.value, nil
	}
	var scores [2]float64
	for i, k := range []*candidate{a, c} {
		base, err := b.single.Derive(k.model)
		if err != nil {
			return false, err
		}
		sim := newSimulator(b.m, b.single, base, calib.DefaultTrialImages)
		if err := b.see(ctx, sim); err != nil {
			return false, err
		}
		errs, err := calib.Simulate(ctx, sim, k.plan, 0)
		if err != nil {
			return false, err
		}
		scores[i] = calib.Score(errs)
	}
	return scores[0] < scores[1], nil
}

// search is the rung that looks for better settings of the calibration.
func (b *building) search(ctx context.Context, best *candidate) (*candidate, error) {
	var measure func(*calib.Plan) (float64, error)
	known := map[*calib.Plan]measured{}
	if b.meter != nil {
		measure = func(p *calib.Plan) (float64, error) {
			v, err := b.measureQuietly(ctx, &candidate{model: b.single.Model, plan: p})
			known[p] = v
			return v.value, err
		}
	}
	plan, found, err := b.m.searchSettings(ctx, b.single, b.in.samples, b.o.Calibrate, best.plan, measure)
	if err != nil {
		return nil, err
	}
	b.r.Search = found
	c := &candidate{model: b.single.Model, plan: plan, nodeError: found.nodeError}
	if v, yes := known[plan]; yes {
		c.accuracy = &v
	}
	better, err := b.better(ctx, c, best)
	if better {
		b.untrained = c // what follows goes on from here
	}
	return c, err
}

// train is the rung of distillation, from the best form without it.
func (b *building) train(ctx context.Context, _ *candidate) (*candidate, error) {
	from := b.untrained
	b.announce(from.plan)
	if b.r.QAT.Mode == DistilAuto {
		b.r.QAT.Reason = "training: " + b.keptRung().Found
	}
	kept := b.r.QAT.Kept
	c, err := b.distil(ctx, from)
	b.r.QAT.Kept = kept // until it turns out to be the best
	if c == from {
		return nil, err
	}
	return c, err
}

// The estimates: seconds that a picture takes through the float model, times how often.

// each is the wall time of one picture, preparing it included.
func (b *building) each() float64 {
	switch {
	case b.float != nil && b.float.images > 0:
		return b.float.seconds / float64(b.float.images)
	case b.r.PTQ != nil && b.r.PTQ.Images > 0: // most of a calibration is simulated pictures
		return b.r.PTQ.Seconds / float64(b.r.PTQ.Images+b.r.PTQ.Trials*calib.DefaultTrialImages/2)
	}
	return 0
}

// measuring is the wall time of one measurement.
func (b *building) measuring() float64 {
	if b.float == nil {
		return 0
	}
	return b.float.seconds
}

// compiling is about what it takes to quantise and compile a network once more.
const compiling = 0.04

func (b *building) searchSeconds() float64 {
	trials, images := searchTrials(mostSettings())
	return float64(images)*b.each() + float64(trials)*compiling + float64(mostFinalists())*b.measuring() +
		2*b.each()*float64(b.in.samples.Len())
}

func (b *building) roundSeconds(layers int) float64 {
	blocks := rounding.Blocks(b.single.Model, b.untrained.plan, layers)
	// To each block half the network, quantised and float; then forwards and backwards
	// through its own part for every picture of a step.
	passes := float64(blocks)*roundingSamples + 3*rounding.DefaultSteps*rounding.DefaultBatch
	return passes*b.each() + float64(blocks)*3*compiling + b.measuring()
}

func (b *building) distilSeconds() float64 {
	o := b.o.Distil.Options
	steps := o.Steps
	if pictures := b.in.samples.Len(); o.Epochs > 0 {
		steps = max(1, o.Epochs*pictures/max(1, o.Batch*max(1, o.Accumulate)))
		if o.Steps > 0 {
			steps = min(steps, o.Steps)
		}
	}
	measurements := math.Ceil(float64(steps) / float64(max(1, o.EvalEvery)))
	return 4*float64(steps*o.Batch*max(1, o.Accumulate))*b.each() + measurements*b.measuring()
}

func (b *building) fallBackSeconds() float64 {
	layers := len(b.untrained.plan.Layers())
	tries := 2 * math.Log2(float64(max(2, layers)))
	return float64(layers)*(rankSamples*b.each()+compiling) + tries*b.measuring()
}
