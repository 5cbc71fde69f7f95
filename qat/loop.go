package qat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"time"

	"trtact/calib"
	"trtact/internal/collective"
	"trtact/internal/compute"
	"trtact/internal/nn"
	"trtact/internal/onnx"
)

// training is a run in work.
type training struct {
	r       *Run
	o       *Options
	student *student
	nodes   []Node
	split   split
	teacher *teacher
	feeder  *feeder
	trainer *nn.Trainer
	scales  *observer // nil where nothing follows the activations
	judge   *judge

	id     string
	health health
	done   Checkpoint // where the run stands, but for the states
	best   []float32

	begun     time.Time
	recent    []time.Duration // of the last steps
	measuring time.Duration   // the last measurement
}

// Distil trains the student and gives back its best state. An error that wraps
// *Diverged comes with the best student until then, the end of ctx with a
// checkpoint in Run.Dir.
func Distil(ctx context.Context, r Run) (*Outcome, error) {
	t, err := begin(ctx, &r)
	if err != nil {
		return nil, err
	}
	defer t.close()
	resumed, err := t.resume(ctx)
	if err != nil {
		return nil, err
	}
	err = t.run(ctx)
	var diverged *Diverged
	if err != nil && !errors.As(err, &diverged) {
		return nil, err
	}
	outcome, failed := t.outcome(resumed)
	if failed != nil {
		return nil, failed
	}
	return outcome, err
}

// begin compiles teacher and student.
func begin(ctx context.Context, r *Run) (*training, error) {
	if err := r.Options.validate(); err != nil {
		return nil, err
	}
	t := &training{r: r, o: &r.Options, begun: time.Now()}
	t.tell(Preparing, nn.StepResult{})
	if err := r.meet(ctx, t.prepare(ctx)); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *training) prepare(ctx context.Context) (err error) {
	r, o := t.r, t.o
	if t.nodes, err = findNodes(r.Model.Graph, o); err != nil {
		return err
	}
	if t.student, err = newStudent(r.Model, r.Plan); err != nil {
		return err
	}
	t.split = o.split(r.Device)
	if t.id, err = r.identity(t.split); err != nil {
		return fmt.Errorf("distil: %w", err)
	}
	if t.teacher, err = newTeacher(r, t.nodes, t.split.workers); err != nil {
		return err
	}

	n := r.Samples.Len()
	train, held := allOf(n), []int(nil)
	if r.Evaluate == nil && r.HeldOut == nil {
		train, held = setAside(o.Seed, n, o.HeldOut)
	}
	if len(train) == 0 {
		return fmt.Errorf("distil: there are no samples to train on")
	}
	if o.Mirror && slices.ContainsFunc(r.Model.Graph.Inputs, func(v onnx.Value) bool { return isPicture(v.Dims) }) {
		for _, id := range train {
			train = append(train, id+n)
		}
	}
	order := newOrder(o.Seed, train)
	steps := o.steps(len(train), r.ranks())
	t.feeder = newFeeder(r.Samples, order, 2*t.split.atOnce(), steps*o.images())
	t.feeder.rank, t.feeder.ranks = r.rank(), r.ranks()
	if o.Normalize {
		if err := t.teacher.normalize(ctx, t.feeder); err != nil {
			return err
		}
		t.nodes = t.teacher.nodes
	}
	t.judge = newJudge(r, t.nodes, t.feeder, held, t.split.workers)
	if err := t.compile(); err != nil {
		return err
	}
	t.teacher.keepInputs(t.trainer.Inputs(), t.split.images)
	t.teacher.shelf.open(len(train) + len(t.judge.held))
	t.feeder.ready = t.teacher.ready
	t.done = Checkpoint{Run: t.id, Model: filepath.Base(r.Model.Path), Steps: steps, Judge: t.judge.kind, Nodes: t.nodes, Ranks: r.ranks(),
		Start: math.NaN(), Best: math.NaN()}
	return nil
}

func allOf(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// compile makes the trainer and what its scales follow.
func (t *training) compile() (err error) {
	o := t.o
	groups := t.student.groups()
	options := nn.TrainOptions{
		Quantizer: o.Quantizer.kind(), LearnedWeightScales: o.Quantizer == LSQ && o.WeightSteps, Groups: sharedScales(groups),
		Rounding: o.Rounding, PassOutside: o.PassOutside,
		Optimizer: o.Optimizer.operator(), WeightDecay: float32(o.WeightDecay), ScaleRate: float32(o.ScaleRate),
		ClipDecay: float32(o.ClipDecay), MaxNorm: float32(o.MaxNorm), Math: o.Math,
		Beside: 2 * t.teacher.net.ContextBytes(), // and the judge's, which is as large
	}
	if o.Math != compute.FP32 && t.r.Device.Name() != "cuda" {
		slog.Warn("the precision of training is a GPU's to choose; the CPU trains in fp32")
	}
	if t.r.Group != nil {
		options.Peers = peers{t.r.Group, func() {
			if err := t.save(); err != nil {
				slog.Error("the checkpoint was not written: " + err.Error())
			}
		}}
	}
	for i := range t.nodes {
		options.Losses = append(options.Losses, t.nodes[i].lossNode(o.Temperature))
	}
	if err := t.makeTrainer(options); err != nil {
		return fmt.Errorf("prepare the student: %w", err)
	}
	scales, err := t.trainer.Scales()
	if err != nil {
		return err
	}
	if o.Quantizer == PACT && o.ClipStart > 0 {
		for name := range scales {
			scales[name] = float32(o.ClipStart / levels)
		}
		if err := t.trainer.SetScales(scales); err != nil {
			return err
		}
	}
	if options.Quantizer != nn.ObservedScales {
		return nil
	}
	// Only what leads to a node is in the trainer.
	var seen []scaleGroup
	var start []float32
	for _, g := range groups {
		g = slices.DeleteFunc(slices.Clone(g), func(name string) bool { return scales[name] == 0 })
		if len(g) > 0 {
			seen, start = append(seen, g), append(start, scales[g[0]])
		}
	}
	t.scales = newObserver(o, seen, start)
	return nil
}

func (o Optimizer) operator() compute.Optimize {
	return compute.Optimize{Kind: o.Kind, Nesterov: o.Nesterov, Momentum: float32(o.Momentum),
		Beta1: float32(o.Beta1), Beta2: float32(o.Beta2), Epsilon: float32(o.Epsilon)}
}

func (t *training) close() {
	if t.trainer != nil {
		t.trainer.Close()
	}
	if t.teacher != nil {
		t.teacher.close()
	}
}

// resume goes to where the checkpoint stood, or measures the start. It gives the
// step of the checkpoint, 0 without one.
func (t *training) resume(ctx context.Context) (int, error) {
	c, err := t.r.resume(ctx, t.id)
	if err == nil && c != nil {
		if err = t.restore(c); err != nil {
			err = fmt.Errorf("resume from %s: %w", filepath.Join(t.r.Dir, CheckpointName), err)
		}
	}
	if err = t.r.agree(ctx, err, nil); err != nil {
		return 0, err
	}
	if c != nil {
		return c.Step, nil
	}
	if t.best, err = t.trainer.State(); err != nil {
		return 0, err
	}
	value, err := t.measure(ctx, t.r.Start)
	if err != nil {
		return 0, err
	}
	t.done.Start, t.done.Best = value, value
	t.done.Curve = []Point{{Measured: &value}}
	return 0, nil
}

func (t *training) restore(c *Checkpoint) error {
	if err := t.trainer.Restore(c.state); err != nil {
		return err
	}
	if t.scales != nil {
		if err := t.scales.unmarshal(c.observer); err != nil {
			return err
		}
	}
	if len(c.best) != len(c.state) {
		return fmt.Errorf("its best state has %d values, its last %d", len(c.best), len(c.state))
	}
	t.best = c.best
	t.health = health{losses: c.Losses, lowest: c.Lowest}
	t.done = *c
	t.done.state, t.done.best, t.done.observer = nil, nil, nil
	t.feeder.from(c.Step * t.o.images())
	return nil
}

// save writes a checkpoint of where the run stands; that is rank 0's work.
func (t *training) save() error {
	if t.r.Dir == "" || t.r.rank() != 0 {
		return nil
	}
	c := t.done
	var err error
	if c.state, err = t.trainer.State(); err != nil {
		return err
	}
	c.best, c.Losses, c.Lowest = t.best, t.health.losses, t.health.lowest
	if t.scales != nil {
		c.observer = t.scales.marshal()
	}
	return c.write(filepath.Join(t.r.Dir, CheckpointName))
}

// run does the steps that are left.
func (t *training) run(ctx context.Context) error {
	c := &t.done
	t.tell(Training, nn.StepResult{})
	for c.Step < c.Steps && c.Ending == "" {
		if err := t.step(ctx); err != nil {
			if ctx.Err() != nil {
				return errors.Join(context.Cause(ctx), t.save())
			}
			var there *collective.Elsewhere
			if errors.As(err, &there) { // nothing has changed here
				return errors.Join(err, t.save())
			}
			return err
		}
		if c.Step%t.o.EvalEvery == 0 || c.Step == c.Steps {
			if err := t.look(ctx); err != nil {
				return err // a measurement cut short is made again from the last checkpoint
			}
		}
		if every := t.o.CheckpointEvery; every > 0 && c.Step%every == 0 {
			if err := t.r.agree(ctx, t.save(), nil); err != nil {
				return err
			}
		}
	}
	if c.Ending == "" {
		c.Ending = Complete
	}
	return nil
}

// step makes one update.
func (t *training) step(ctx context.Context) error {
	c, o := &t.done, t.o
	start := time.Now()
	if freeze := 1 - o.FreezeScales; float64(c.Step) >= freeze*float64(c.Steps) {
		t.trainer.FreezeScales()
	}
	rate := o.Schedule.At(c.Step, c.Steps)
	first := c.Step * o.images()
	result, err := t.trainer.Step(ctx, o.images(), rate, func(i int, in *nn.Feed) error {
		for k := range in.Images() {
			id, inputs, err := t.feeder.get(first + i + k)
			if err != nil {
				return err
			}
			if err := t.teacher.feed(ctx, id, inputs, t.trainer.Inputs(), in.Image(k)); err != nil {
				return err
			}
		}
		return nil
	})
	loss, above := t.weighted(result)
	if errors.Is(err, nn.ErrNotFinite) {
		layer, _ := t.trainer.Sick()
		return &Diverged{Step: c.Step + 1, Loss: above, Layer: layer}
	}
	if err != nil {
		return err
	}
	if t.scales != nil && float64(c.Step) < (1-o.FreezeScales)*float64(c.Steps) {
		if err := t.follow(); err != nil {
			return err
		}
	}
	c.Step++
	c.Curve = append(c.Curve, Point{Step: c.Step, Loss: loss, AboveFloor: above, Rate: rate})
	if t.recent = append(t.recent, time.Since(start)); len(t.recent) > 50 {
		t.recent = t.recent[1:]
	}
	t.tell(Training, result)
	if t.health.watch(above) {
		return &Diverged{Step: c.Step, Loss: above, Level: t.health.lowest}
	}
	return nil
}

// fill puts a sample where the student reads it.
func fill(in *nn.Feed, wanted []onnx.Value, inputs map[string]*onnx.Tensor) error {
	for _, v := range wanted {
		x := inputs[v.Name]
		if x == nil {
			return fmt.Errorf("the sample has no input %q", v.Name)
		}
		if err := in.SetTensor(v.Name, x); err != nil {
			return err
		}
	}
	return nil
}

// follow sets the next step's scales from this step's magnitudes.
func (t *training) follow() error {
	seen, err := t.trainer.AbsMax()
	if err != nil {
		return err
	}
	scales, err := t.scales.observe(seen)
	if err != nil {
		return err
	}
	return t.trainer.SetScales(scales)
}

func (t *training) weighted(r nn.StepResult) (loss, above float64) {
	for i, n := range t.nodes {
		loss += n.Weight * r.Losses[i]
		above += n.Weight * r.AboveFloor[i]
	}
	return loss, above
}

// look measures the student, keeps it when it is the best, and sees whether the
// run has come to its end.
func (t *training) look(ctx context.Context) error {
	c := &t.done
	t.tell(Measuring, nn.StepResult{})
	if err := t.shareBad(ctx); err != nil {
		return err
	}
	value, err := t.measure(ctx, nil)
	if err != nil {
		return err
	}
	c.Curve[len(c.Curve)-1].Measured = &value
	c.Worse++
	if t.judge.better(value, c.Best) {
		if t.best, err = t.trainer.State(); err != nil {
			return err
		}
		c.Best, c.BestStep, c.Worse = value, c.Step, 0
	}
	switch {
	case t.o.Target > 0 && t.judge.kind == ByMetric && value >= t.o.Target:
		c.Ending = OnTarget
	case t.o.Patience > 0 && c.Worse >= t.o.Patience:
		c.Ending = Stalled
	}
	t.tell(Training, nn.StepResult{})
	return nil
}

// measure gives all processes the judge's value of the student; that of the metric
// is found by rank 0, unless it is known.
func (t *training) measure(ctx context.Context, known *float64) (float64, error) {
	start := time.Now()
	defer func() { t.measuring = time.Since(start) }()
	value := []float64{0}
	var err error
	switch {
	case t.judge.kind == ByMetric && t.r.rank() != 0:
	case t.judge.kind == ByMetric && known != nil:
		value[0] = *known
	default:
		value[0], err = t.judged(ctx)
	}
	if t.judge.kind == ByLoss { // it has agreed already
		return value[0], err
	}
	err = t.r.agree(ctx, err, value)
	return value[0], err
}

func (t *training) judged(ctx context.Context) (float64, error) {
	m, p, err := t.student.export(t.trainer)
	if err != nil {
		return 0, err
	}
	q, err := calib.Apply(m, p, calib.FloatWeights)
	if err != nil {
		return 0, err
	}
	return t.judge.measure(ctx, q, t.teacher)
}

// outcome is the best student.
func (t *training) outcome(resumed int) (*Outcome, error) {
	if err := t.trainer.Restore(t.best); err != nil {
		return nil, err
	}
	m, p, err := t.student.export(t.trainer)
	if err != nil {
		return nil, err
	}
	c := &t.done
	return &Outcome{Model: m, Plan: p, Nodes: t.nodes, Judge: c.Judge, Start: c.Start, Best: c.Best, BestStep: c.BestStep,
		Steps: c.Step, Resumed: resumed, Ending: c.Ending, Curve: c.Curve, Bad: t.feeder.badSamples(),
		Ranks: t.r.ranks(), Parameters: t.trainer.Count(), Seconds: time.Since(t.begun).Seconds()}, nil
}

// tell reports where the run stands.
func (t *training) tell(stage Stage, r nn.StepResult) {
	if t.r.Progress == nil {
		return
	}
	c := &t.done
	p := Progress{Stage: stage, Step: c.Step, Steps: c.Steps, Norm: r.Norm, Curve: c.Curve, Judge: c.Judge,
		Start: c.Start, Best: c.Best, BestStep: c.BestStep}
	if n := len(c.Curve); n > 0 {
		last := c.Curve[n-1]
		p.Loss, p.AboveFloor, p.Rate = last.Loss, last.AboveFloor, last.Rate
	}
	if t.feeder != nil {
		p.Bad = len(t.feeder.badSamples())
	}
	if len(t.recent) > 0 {
		sum := time.Duration(0)
		for _, d := range t.recent {
			sum += d
		}
		each := sum / time.Duration(len(t.recent))
		p.ImagesPerSecond = float64(t.o.images()*t.r.ranks()) / each.Seconds()
		left := c.Steps - c.Step
		p.Left = time.Duration(left)*each + time.Duration(left/t.o.EvalEvery+1)*t.measuring
	}
	t.r.Progress(p)
}
