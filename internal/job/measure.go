package job

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/fault"
)

// meter measures how good a model is: by average precision on labelled pictures,
// or by a command of the user's.
type meter struct {
	m       *Machine
	val     *coco.Dataset
	command *EvalCommand // if set, instead of val
	boxes   detect.Options
}

// measured is one model's accuracy.
type measured struct {
	value   float64  // higher is better: mAP in 0..1, or what the command printed
	figures *Figures // nil where a command measured
	images  int
	seconds float64
}

// newMeter gives nil when there is nothing to measure with.
func (m *Machine) newMeter(o BuildOptions, val *coco.Dataset) *meter {
	if o.EvalCommand == nil && val == nil {
		return nil
	}
	boxes := detect.DefaultOptions()
	if o.TopK > 0 {
		boxes.TopK = o.TopK
	}
	return &meter{m: m, val: val, command: o.EvalCommand, boxes: boxes}
}

// name is what the value is called in messages.
func (t *meter) name() string {
	if t.command != nil {
		return "metric"
	}
	return "mAP"
}

// text is a value as messages have it: mAP in points.
func (t *meter) text(value float64) string {
	if t.command != nil {
		return fmt.Sprintf("%.5g", value)
	}
	return fmt.Sprintf("%.2f", 100*value)
}

// measure runs d, a model at batch 1.
func (t *meter) measure(ctx context.Context, d *Detector, stage string) (measured, error) {
	if t.command != nil {
		start := time.Now()
		t.m.count(stage, 0, "")
		value, err := t.command.Run(ctx, d.Model)
		return measured{value: value, seconds: time.Since(start).Seconds()}, err
	}
	e, err := t.m.Evaluate(ctx, d, t.val, t.boxes, stage)
	if err != nil {
		return measured{}, err
	}
	return measured{value: e.Metrics.AP, figures: &Figures{MAP: e.Metrics.AP, MAP50: e.Metrics.AP50},
		images: e.Metrics.Images, seconds: e.Seconds}, nil
}

// quietly is the same meter without a stage of its own.
func (t *meter) quietly() *meter {
	q := *t
	machine := *t.m
	machine.Progress = nil
	q.m = &machine
	return &q
}

// The forms of a model that are measured.
const (
	formFloat = "float"
	formPTQ   = "ptq"
	formINT8  = "int8"
)

// note writes a measurement into the result.
func (b *building) note(form string, v measured) {
	a := &b.r.Accuracy
	b.r.Seconds["eval_"+form] = v.seconds
	if v.figures == nil {
		if a.Command == nil {
			a.Command = &CommandFigures{Command: b.o.EvalCommand.Text}
		}
		switch form {
		case formFloat:
			a.Command.Float = &v.value
		case formPTQ:
			a.Command.PTQ = &v.value
		case formINT8:
			a.Command.INT8 = &v.value
		}
		return
	}
	a.Images = v.images
	switch form {
	case formFloat:
		a.Float = v.figures
	case formPTQ:
		a.PTQ = v.figures
	case formINT8:
		a.INT8 = v.figures
	}
}

// baseline measures the model as it came and refuses to go on where it is not
// as good as it is said to be: then pictures or labels are not prepared as they
// should be, and every later figure would mislead.
func (b *building) baseline(ctx context.Context) error {
	if b.meter == nil {
		if b.o.OriginMetric != 0 {
			slog.Warn("the float model is not compared with origin_metric: there are no labelled pictures and no evaluation command")
		}
		return nil
	}
	form := formFloat
	if b.d.Quantized {
		form = formINT8
	}
	v, err := b.meter.measure(ctx, b.single, "measure "+form)
	if err != nil {
		return err
	}
	if v.figures != nil && v.value < 0 { // as pycocotools says it
		return fault.BadInput(fmt.Errorf("%s has no box to find in the %d pictures that accuracy is measured on: give other labels, or leave --val out", b.o.Val, v.images))
	}
	b.note(form, v)
	b.float = &v
	if want := b.o.OriginMetric; want != 0 && math.Abs(v.value-want) > b.o.Tolerance {
		return fault.BadInput(fmt.Errorf("%s: origin_metric is %g and %.4g was measured, more than the tolerance of %g apart: pictures, labels or the model's family and size are not what they were when it was taken; correct them or origin_metric",
			b.o.Model, want, v.value, b.o.Tolerance))
	}
	if b.meter.command != nil {
		return nil
	}
	return b.m.WarnIfPoor(ctx, b.single, v.value, b.meter.val, b.meter.boxes)
}
