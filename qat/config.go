// Options out of a configuration, whose keys are ACT's.
package qat

import (
	"fmt"

	"trtact/internal/compute"
	"trtact/internal/config"
	"trtact/internal/fault"
)

// FromConfig is the options that a configuration asks for. What of it belongs to
// placement, calibration or evaluation is not looked at. Fails with fault.Usage on
// a way of clipping gradients that is not done.
func FromConfig(c *config.Config) (Options, error) {
	o := Defaults()
	d, q, t := &c.Distillation, &c.Quantization, &c.Train
	o.Nodes, o.Alphas, o.SoftmaxAxis = d.Node, d.Alpha, d.SoftmaxAxis
	o.FeatureStride, o.FeatureAlpha = d.FeatureStride, d.FeatureAlpha
	o.Normalize, o.Mirror = d.Normalize, t.Mirror
	o.Losses = nil
	for _, l := range d.Loss {
		o.Losses = append(o.Losses, Loss(l))
	}

	o.Schedule = Schedule{
		Rate: t.LearningRate.LearningRate, Floor: t.LearningRate.EtaMin, Period: t.LearningRate.TMax,
		Boundaries: t.LearningRate.Boundaries, Values: t.LearningRate.Values, Warmup: t.Warmup,
	}
	switch t.LearningRate.Type {
	case config.SchedulePiecewise:
		o.Schedule.Kind = PiecewiseRate
	case config.ScheduleCosine:
		o.Schedule.Kind = CosineRate
	default:
		o.Schedule.Kind = ConstantRate
		o.Schedule.Floor = 0
	}

	o.MovingRate, o.Window, o.ClipDecay = q.MovingRate, q.WindowSize, q.PACTDecay
	o.FreshScales = !q.QuantPostFirst
	own := 0.0 // learning rate of scales
	switch {
	case !q.ScaleTrainable:
		o.Quantizer = Fixed
	case q.Quantizer == config.QuantizerLSQ:
		o.Quantizer, o.WeightSteps, own = LSQ, true, q.LSQLearningRate
	case q.UsePACT:
		o.Quantizer, own = PACT, q.PACTLearningRate
		if !q.QuantPostFirst {
			o.ClipStart = q.PACTInit
		}
	default:
		o.Quantizer = Quantizer(q.ActivationType)
	}
	// The optimiser has one rate, which the schedule changes; scales keep their
	// proportion to it.
	if highest := o.Schedule.highest(); highest > 0 {
		o.ScaleRate = own / highest
	}
	if q.Rounding == config.RoundPaddle {
		o.Rounding, o.PassOutside = compute.HalfAway, true
	}

	a := &t.Optimizer
	o.Optimizer = Optimizer{Momentum: a.Momentum, Nesterov: a.Nesterov, Beta1: a.Beta1, Beta2: a.Beta2, Epsilon: a.Epsilon}
	switch a.Type {
	case "SGD":
		o.Optimizer.Kind = compute.SGD
	case "Momentum":
		o.Optimizer.Kind = compute.Momentum
	case "Adam":
		o.Optimizer.Kind = compute.Adam
	case "AdamW":
		o.Optimizer.Kind = compute.AdamW
	default:
		return o, fault.Usage(fmt.Errorf("optimiser %q; there are SGD, Momentum, Adam and AdamW", a.Type))
	}
	o.WeightDecay = t.WeightDecay
	switch t.Precision {
	case config.PrecisionTF32:
		o.Math = compute.TF32
	case config.PrecisionBF16:
		o.Math = compute.BF16
	}
	switch t.GradClip.Type {
	case "":
	case "ClipGradByGlobalNorm":
		o.MaxNorm = t.GradClip.Norm
	default:
		return o, fault.Usage(fmt.Errorf("TrainConfig.optimizer_builder.grad_clip %s: gradients are bounded together, by ClipGradByGlobalNorm", t.GradClip.Type))
	}

	o.Steps, o.Epochs, o.Batch, o.Accumulate = t.TrainIter, t.Epochs, c.Global.BatchSize, t.Accumulate
	o.EvalEvery, o.CheckpointEvery = t.EvalIter, t.CheckpointIter
	o.Target, o.Patience, o.FreezeScales = t.TargetMetric, t.Patience, t.FreezeScales
	return o, o.validate()
}
