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
	"trtact/internal/fault"
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
	if err := m.begun(ctx, b, err); err != nil {
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
	run := qat.Run{Model: b.single.Model, Device: m.Device, Samples: b.in.samples, Group: m.Group}
	if err := e.obey(&run); err != nil {
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

// obey puts the plan and the options, as they came across, into a run. Rank 0 does so
// too: what JSON does not tell apart must be the same for all.
func (e errand) obey(run *qat.Run) (err error) {
	run.Options = e.Options
	run.Plan, err = calib.ParsePlan(e.Plan)
	return err
}

// beginning is what has to be the same on all processes before the work begins.
type beginning struct {
	Model string // the file's hash
	Shape [2]int
	Data  int
}

// begun makes sure that all processes have read what they need, and the same.
func (m *Machine) begun(ctx context.Context, b *building, err error) error {
	var mine, first beginning
	if err == nil {
		mine = beginning{Model: b.single.Source.SHA256, Shape: b.r.Shape}
		if b.in.samples != nil {
			mine.Data = b.in.samples.Len()
		}
	}
	data, _ := json.Marshal(mine)
	if data, err = m.Group.Share(ctx, err, data); err != nil {
		return err
	}
	if err = json.Unmarshal(data, &first); err == nil {
		switch {
		case mine.Model != first.Model:
			err = fault.Usage(fmt.Errorf("its model %s is another file than that of process 0: start all processes with the same model", b.o.Model))
		case mine != first:
			err = fault.Usage(fmt.Errorf("it has %d pictures at %dx%d where process 0 has %d at %dx%d: start all processes with the same pictures and options",
				mine.Data, mine.Shape[0], mine.Shape[1], first.Data, first.Shape[0], first.Shape[1]))
		}
	}
	return m.Group.Agree(ctx, err, nil, nil)
}

// gather tells the others to train as run says.
func (b *building) gather(ctx context.Context, run *qat.Run) error {
	g := b.m.Group
	if g == nil {
		return nil
	}
	if run.Options.Workers == 0 && b.m.Device.Name() == "cpu" {
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
	if data, err = g.Share(ctx, nil, data); err != nil {
		return err
	}
	run.Group = g
	e = errand{}
	if err := json.Unmarshal(data, &e); err != nil {
		return err
	}
	slog.Info(fmt.Sprintf("training over %d processes by %s, %d pictures of each in a step", g.Size(), g.Name(), run.Options.Batch*run.Options.Accumulate))
	return e.obey(run)
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
