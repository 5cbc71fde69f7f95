package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"trtact/qat"
)

// watch hears how training gets on and shows it: a stage of the job's progress, a
// log line now and then and for each measurement.
type watch struct {
	b    *building
	work string

	shown bool // the stage
	from  int  // the step at which it began
	last  qat.Progress
	heard time.Time // when last was
	// training is the time that steps took, without measuring, and trained how many
	// they were.
	training time.Duration
	trained  int
	points   int // of the curve, looked at
}

func newWatch(b *building, work string) *watch { return &watch{b: b, work: work} }

func (w *watch) hear(p qat.Progress) {
	now := time.Now()
	progress := w.b.m.progress()
	if p.Stage == qat.Training && p.Step > w.last.Step && !w.heard.IsZero() && w.last.Stage == qat.Training {
		w.training += now.Sub(w.heard)
		w.trained += p.Step - w.last.Step
	}
	if !w.shown && p.Stage == qat.Training {
		w.shown, w.from = true, p.Step
		name := "train"
		if p.Step > 0 {
			name = fmt.Sprintf("train from step %d", p.Step)
		}
		progress.Stage(name, p.Steps-p.Step, "steps")
	}
	if w.shown {
		progress.Note(w.text(p))
		progress.Step(p.Step - w.from)
	}
	for ; w.points < len(p.Curve); w.points++ {
		if c := p.Curve[w.points]; c.Measured != nil && c.Step > 0 {
			better := ""
			if c.Step == p.BestStep {
				better = ", the best so far"
			}
			slog.Info(fmt.Sprintf("step %d of %d: %s%s", c.Step, p.Steps, w.judged(p, *c.Measured), better))
		}
	}
	if every := w.b.o.Distil.LogEvery; every > 0 && p.Stage == qat.Training && p.Step > w.last.Step && p.Step%every == 0 {
		slog.Info(fmt.Sprintf("step %d of %d: %s", p.Step, p.Steps, w.figures(p)))
	}
	w.last, w.heard = p, now
}

// text is what stands behind the bar.
func (w *watch) text(p qat.Progress) string {
	if p.Stage != qat.Training {
		return "measuring"
	}
	text := w.figures(p)
	if p.BestStep > 0 {
		text += ", best " + w.judged(p, p.Best) + fmt.Sprintf(" at step %d", p.BestStep)
	}
	return text
}

// figures is "loss 0.0312, 8.4 images/s".
func (w *watch) figures(p qat.Progress) string {
	parts := []string{fmt.Sprintf("loss %.4g", p.Loss)}
	if p.AboveFloor != p.Loss {
		parts[0] += fmt.Sprintf(" (%.4g above the least)", p.AboveFloor)
	}
	if p.ImagesPerSecond > 0 {
		parts = append(parts, fmt.Sprintf("%.3g images/s", p.ImagesPerSecond))
	}
	return strings.Join(parts, ", ")
}

// judged is a value of the judge with its name.
func (w *watch) judged(p qat.Progress, value float64) string {
	if p.Judge == qat.ByMetric && w.b.meter != nil {
		return w.b.meter.name() + " " + w.b.meter.text(value)
	}
	return fmt.Sprintf("loss %.4g on held-out samples", value)
}

// imagesPerSecond is the speed of the steps of this process, without measuring.
func (w *watch) imagesPerSecond(batch int) float64 {
	if w.training <= 0 {
		return 0
	}
	return float64(w.trained*batch) / w.training.Seconds()
}

// explain is an error of the training; an interruption says how to go on.
func (w *watch) explain(ctx context.Context, err error) error {
	if ctx.Err() == nil && !errors.Is(err, context.Canceled) || w.last.Steps == 0 {
		return err
	}
	return &Interrupted{Step: w.last.Step, Steps: w.last.Steps, Dir: w.work, Auto: w.b.o.Work != ""}
}
