// A build over several processes: rank 0 does all of it, and the others wait for the
// training, in which each has its share of every batch.

package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"trtact/calib"
	"trtact/internal/onnx"
	"trtact/qat"
)

// errand is what rank 0 tells the others to do.
type errand struct {
	Train   bool
	Plan    json.RawMessage
	Options qat.Options
	Metric  bool // rank 0 measures; else the loss judges
}

// help is a build on a process other than rank 0: it reads model and pictures, and
// trains when it is told to. It writes nothing.
func (m *Machine) help(ctx context.Context, o BuildOptions) error {
	o.Val, o.ValImages, o.EvalCommand, o.OriginMetric = "", "", nil, 0
	b, err := m.beginAt(o)
	if err := m.Group.Agree(ctx, err, nil, nil); err != nil {
		return err
	}
	data, err := m.Group.Share(ctx, nil, nil)
	if err != nil {
		return err
	}
	var e errand
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("what process 0 says cannot be read: %w", err)
	}
	if !e.Train {
		return nil
	}
	run := qat.Run{Model: b.single.Model, Device: m.Device, Samples: b.in.samples, Options: e.Options, Group: m.Group}
	if run.Plan, err = calib.ParsePlan(e.Plan); err != nil {
		return err
	}
	if e.Metric {
		run.Evaluate = func(context.Context, *onnx.Model) (float64, error) {
			return 0, errors.New("process 0 measures")
		}
	}
	_, err = qat.Distil(ctx, run)
	var diverged *qat.Diverged
	if errors.As(err, &diverged) { // process 0 says so, and goes on with what was best
		return nil
	}
	return err
}

// gather tells the others to train as run says.
func (b *building) gather(ctx context.Context, run *qat.Run) error {
	g := b.m.Group
	if g == nil {
		return nil
	}
	if run.Options.Workers == 0 {
		run.Options.Workers = g.Launch().Cores()
	}
	e := errand{Train: true, Options: run.Options, Metric: run.Evaluate != nil}
	var err error
	if e.Plan, err = run.Plan.JSON(); err != nil {
		return err
	}
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	run.Group = g
	_, err = g.Share(ctx, nil, data)
	slog.Info(fmt.Sprintf("training over %d processes by %s, %d pictures of each in a step", g.Size(), g.Name(), run.Options.Batch*run.Options.Accumulate))
	return err
}

// dismiss lets the others end, where they have not trained or no more is to be
// trained; err is why, if something failed.
func (b *building) dismiss(ctx context.Context, err error) {
	g := b.m.Group
	if g == nil {
		return
	}
	data, _ := json.Marshal(errand{})
	g.Share(ctx, err, data)
	b.m.leave(nil)
}

// leave ends this process's membership; err is what ended the training.
func (m *Machine) leave(err error) {
	if m.Group == nil {
		return
	}
	var diverged *qat.Diverged // on all processes alike
	if err != nil && !errors.As(err, &diverged) && !m.Group.Agreed() {
		m.Group.Part()
	}
	m.Group.Close()
	m.Group = nil
}
