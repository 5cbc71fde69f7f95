// Training as a stage of the job: whether it is worth it, how it shows, and which
// of the two quantised forms is the result. The training itself is package qat.

package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"trtact/calib"
	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/qat"
)

// DistilMode says when the quantised model is trained.
type DistilMode string

// The modes. The zero value is DistilOff.
const (
	DistilOff  DistilMode = "off"
	DistilAuto DistilMode = "auto" // when quantising alone loses too much
	DistilOn   DistilMode = "on"
)

// What quantising alone may lose before DistilAuto trains.
const (
	// DefaultMaxDrop is in points of mAP, or in percent of what an evaluation command
	// gives for the float model.
	DefaultMaxDrop = 0.3
	// DefaultMaxNodeError is in percent: the relative L2 error of the worst
	// distillation node, where accuracy is not measured.
	DefaultMaxNodeError = 1.0
)

// DistilOptions say whether and how the quantised model is trained.
type DistilOptions struct {
	Mode    DistilMode
	MaxDrop *float64 // in the units of the defaults; nil: the default that fits
	Options qat.Options
	// LogEvery is how many steps lie between two log lines; 0: none.
	LogEvery int
}

func (o DistilOptions) wanted() bool { return o.Mode == DistilAuto || o.Mode == DistilOn }

// canFallBack says whether layers may be left float to meet a limit: where accuracy
// is measured, and the limit is the user's or the choice of method is ours.
func (b *building) canFallBack() bool {
	return b.meter != nil && b.in.samples != nil && (b.o.Distil.Mode == DistilAuto || b.o.Distil.MaxDrop != nil)
}

// announce says before the long work what it will be about.
func (b *building) announce(p *calib.Plan) {
	nodes := b.o.Distil.Options.Nodes
	if len(nodes) == 0 {
		nodes = b.single.Heads
	}
	for _, n := range nodes {
		slog.Info("distillation node " + n)
	}
	if every := b.o.Distil.Options.FeatureStride; every > 0 {
		slog.Info(fmt.Sprintf("and the activation behind every %d. layer before them", every))
	}
	slog.Info(fmt.Sprintf("%d activations in %d groups and %d weights are quantised, %d layers stay float", len(p.Sites), len(p.Groups), len(p.Weights), len(p.Skipped)))
}

// lost is how much worse than the float model a candidate is, in the units of the
// limit, and both in words.
func (b *building) lost(ctx context.Context, c *candidate) (lost, limit float64, what string, err error) {
	limit = DefaultMaxDrop
	if b.meter == nil {
		limit = DefaultMaxNodeError
	}
	if b.o.Distil.MaxDrop != nil {
		limit = *b.o.Distil.MaxDrop
	}
	switch {
	case b.meter == nil:
		if c.nodeError == nil {
			if c.nodeError, err = b.nodeErrors(ctx, c); err != nil {
				return 0, 0, "", err
			}
		}
		worst := ""
		for _, name := range slices.Sorted(maps.Keys(c.nodeError)) {
			if e := 100 * c.nodeError[name]; worst == "" || e > lost || math.IsNaN(e) {
				worst, lost = name, e
			}
		}
		what = fmt.Sprintf("the error at %s is %.3g %%, %g %% are allowed", worst, lost, limit)
	case b.meter.command != nil:
		lost = 100 * (b.float.value - c.accuracy.value) / math.Max(math.Abs(b.float.value), 1e-12)
		what = fmt.Sprintf("quantising takes the metric from %.5g to %.5g, which is %.3g %%; %g %% are allowed", b.float.value, c.accuracy.value, lost, limit)
	default:
		lost = 100 * (b.float.value - c.accuracy.value)
		what = fmt.Sprintf("quantising takes mAP from %.2f to %.2f, %g points are allowed", 100*b.float.value, 100*c.accuracy.value, limit)
	}
	return lost, limit, what, nil
}

// distil trains, and gives the trained candidate unless the untrained one is as
// good.
func (b *building) distil(ctx context.Context, ptq *candidate) (*candidate, error) {
	work, passing := b.o.workPath()
	if passing { // what an interrupted training is resumed from, the calibration has to be there too
		if err := newKept(work, b.single, b.in.sources, b.o).save(ptq.plan, b.r.PTQ); err != nil {
			return nil, err
		}
	}
	watch := newWatch(b, work)
	run := b.run(ptq)
	run.Dir, run.Progress = work, watch.hear
	run.Resume, run.Insist = b.o.Resume || b.o.Work != "", b.o.Resume
	best := bestMeasured{meter: b.meter}
	if b.meter != nil {
		run.Evaluate = b.evaluate(&best)
		run.Start = &ptq.accuracy.value
	}
	if err := b.gather(ctx, &run); err != nil {
		return nil, err
	}
	outcome, err := qat.Distil(ctx, run)
	b.m.leave(err)
	var diverged *qat.Diverged
	if errors.As(err, &diverged) && outcome != nil {
		b.diverged = fmt.Errorf("%s: %w; what was best until then is kept", b.o.Model, err)
	} else if err != nil {
		return nil, watch.explain(ctx, err)
	}
	b.r.QAT.describe(outcome, watch, b.o.Distil.Options)
	if diverged != nil {
		b.r.QAT.StoppedBy, b.r.QAT.Problem = "diverged", diverged.Error()
	}
	b.r.Seconds["distil"] = outcome.Seconds
	if passing {
		removeWork(work)
	}
	if outcome.BestStep == 0 {
		slog.Info("training gave nothing better than quantising alone, which is kept")
		return ptq, nil
	}
	c := &candidate{model: outcome.Model, plan: outcome.Plan, equalised: ptq.plan.ActiveEqualisations(b.single.Model.Graph)}
	if b.meter != nil {
		if c.accuracy, err = best.of(ctx, b, c, outcome.Best); err != nil {
			return nil, err
		}
		if c.accuracy.value < ptq.accuracy.value {
			return nil, fmt.Errorf("the trained model was measured as %s in training and as %s afterwards: the evaluation does not give the same number twice",
				b.meter.text(outcome.Best), b.meter.text(c.accuracy.value))
		}
	}
	b.r.QAT.Kept = KeptDistilled
	c.nodeError, err = b.nodeErrors(ctx, c)
	return c, err
}

// run is the training without where it is kept and how it is judged.
func (b *building) run(c *candidate) qat.Run {
	o := b.o.Distil.Options
	o.Workers = b.m.Threads
	return qat.Run{Model: c.model, Plan: c.plan, Device: b.m.Device, Samples: b.in.samples, Options: o}
}

// evaluate is how training measures a Q/DQ model.
func (b *building) evaluate(best *bestMeasured) func(context.Context, *onnx.Model) (float64, error) {
	return func(ctx context.Context, m *onnx.Model) (float64, error) { return best.measure(ctx, b.single, m) }
}

// bestMeasured measures what training asks it to, and keeps all figures of the
// best, so that it need not be measured again.
type bestMeasured struct {
	meter *meter
	best  *measured
}

func (e *bestMeasured) measure(ctx context.Context, like *Detector, m *onnx.Model) (float64, error) {
	d, err := like.Derive(m)
	if err != nil {
		return 0, err
	}
	v, err := e.meter.quietly().measure(ctx, d, "")
	if err != nil {
		return 0, err
	}
	if e.best == nil || v.value > e.best.value {
		e.best = &v
	}
	return v.value, nil
}

// of is the accuracy of the trained candidate, which training saw as value: as
// measured then, or anew where that was in another process.
func (e *bestMeasured) of(ctx context.Context, b *building, c *candidate, value float64) (*measured, error) {
	if e.best != nil && e.best.value == value {
		return e.best, nil
	}
	d, err := b.quantised(c)
	if err != nil {
		return nil, err
	}
	v, err := b.meter.measure(ctx, d, "measure distilled")
	return &v, err
}

// nodeErrors are the relative L2 errors of a candidate at the distillation nodes.
func (b *building) nodeErrors(ctx context.Context, c *candidate) (map[string]float64, error) {
	base, err := b.single.Derive(c.model)
	if err != nil {
		return nil, err
	}
	sim := newSimulator(b.m, b.single, base, nodeErrorSamples)
	for i := 0; i < b.in.samples.Len() && len(sim.kept) < nodeErrorSamples; i++ {
		inputs, err := b.in.samples.Read(i)
		if fault.Code(err) == fault.CodeBadInput {
			continue // counted elsewhere
		}
		if err != nil {
			return nil, err
		}
		sim.kept[i] = &sight{inputs: inputs}
	}
	return sim.nodeErrors(ctx, c.plan)
}

// Interrupted is a training that was stopped by its user and can be resumed.
type Interrupted struct {
	Step, Steps int
	Dir         string // of the checkpoint
	Auto        bool   // the same command alone resumes
}

func (e *Interrupted) Error() string {
	how := "the same command with --resume goes on from there"
	if e.Auto {
		how = "the same command goes on from there"
	}
	return fmt.Sprintf("interrupted after %d of %d steps; the checkpoint is in %s and %s", e.Step, e.Steps, e.Dir, how)
}

// Unwrap makes it an interruption to package fault.
func (e *Interrupted) Unwrap() error { return context.Canceled }

// checkpointName is qat's.
const checkpointName = "checkpoint"

// removeWork takes away what a finished training leaves in a work folder that
// nobody asked for.
func removeWork(dir string) {
	facts, plan := kept{dir: dir}.paths()
	for _, path := range []string{facts, plan, filepath.Join(dir, checkpointName)} {
		os.Remove(path)
	}
	os.Remove(dir) // fails where something else lies there
}
