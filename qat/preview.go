package qat

import (
	"context"
	"time"
)

// Describe is what Distil would do. It compiles both networks and times a step,
// which changes nothing that anybody keeps.
func Describe(ctx context.Context, r Run) (*Preview, error) {
	t, err := begin(ctx, &r)
	if err != nil {
		return nil, err
	}
	defer t.close()
	o := t.o
	p := &Preview{
		Nodes: t.nodes, Sites: len(t.student.plan.Sites), Groups: len(t.student.plan.Groups), Weights: len(t.student.plan.Weights),
		Skipped: t.student.plan.Skipped, Parameters: t.trainer.Count(), Samples: r.Samples.Len(), Batch: o.images(), Steps: t.done.Steps,
	}
	if t.judge.kind == ByLoss {
		p.HeldOut = len(t.judge.held)
		if r.HeldOut == nil {
			p.Samples -= p.HeldOut
		}
	}
	p.Epochs = float64(p.Steps*p.Batch) / float64(len(t.feeder.order.samples))
	p.TeacherBytes = int64(t.split.workers * t.teacher.net.ContextBytes())
	p.StudentBytes = int64(t.split.workers*t.trainer.ContextBytes() + t.trainer.SharedBytes())
	p.TargetBytes = t.teacher.shelf.space()
	state, err := t.trainer.State()
	if err != nil {
		return nil, err
	}
	p.CheckpointBytes = 8 * int64(len(state))
	var took time.Duration
	for range min(2, p.Steps) { // the first one also touches the memory
		if err := t.step(ctx); err != nil {
			return nil, err
		}
		took = t.recent[len(t.recent)-1]
	}
	p.StepSeconds = took.Seconds()
	p.TrainSeconds = p.StepSeconds * float64(p.Steps)
	p.Measurements = (p.Steps + o.EvalEvery - 1) / o.EvalEvery
	return p, nil
}
