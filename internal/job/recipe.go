package job

import (
	"reflect"

	"trtact/internal/compute"
	"trtact/internal/config"
	"trtact/qat"
)

// Recipe is the configuration that build trains by where nobody gives one: package
// qat's own choice instead of the defaults that ACT's files count on.
func Recipe() *config.Config { return withOwnRecipe(config.Default()) }

// withOwnRecipe puts qat's own choice where a configuration has only defaults:
// section by section, so that what a file says stays as it says it.
func withOwnRecipe(c *config.Config) *config.Config {
	own, def, best := *c, config.Default(), qat.Defaults()
	if reflect.DeepEqual(c.Train, def.Train) {
		t := &own.Train
		t.TrainIter, t.Epochs = best.Steps, best.Epochs
		t.LearningRate = config.Schedule{Type: scheduleName(best.Schedule.Kind), LearningRate: best.Schedule.Rate,
			EtaMin: best.Schedule.Floor, TMax: best.Schedule.Period}
		t.Warmup = best.Schedule.Warmup
		t.Optimizer = config.Optimizer{Type: optimizerName(best.Optimizer.Kind), Momentum: best.Optimizer.Momentum,
			Nesterov: best.Optimizer.Nesterov, Beta1: best.Optimizer.Beta1, Beta2: best.Optimizer.Beta2, Epsilon: best.Optimizer.Epsilon}
		t.WeightDecay = best.WeightDecay
		if best.MaxNorm > 0 {
			t.GradClip = config.GradClip{Type: "ClipGradByGlobalNorm", Norm: best.MaxNorm}
		}
		t.Accumulate, t.EvalIter, t.CheckpointIter = best.Accumulate, best.EvalEvery, best.CheckpointEvery
		t.FreezeScales, t.Patience = best.FreezeScales, best.Patience
		t.LoggingIter, t.Mirror = recipeLogging, best.Mirror
		if c.Global.BatchSize == def.Global.BatchSize {
			own.Global.BatchSize = best.Batch
		}
	}
	if reflect.DeepEqual(c.Quantization, def.Quantization) && best.Quantizer == qat.LSQ {
		own.Quantization.Quantizer = config.QuantizerLSQ
		own.Quantization.LSQLearningRate = best.ScaleRate * best.Schedule.Rate
	}
	if reflect.DeepEqual(c.Distillation, def.Distillation) {
		own.Distillation.Loss = nil
		for _, l := range best.Losses {
			own.Distillation.Loss = append(own.Distillation.Loss, string(l))
		}
		own.Distillation.Alpha = best.Alphas
		own.Distillation.SoftmaxAxis = best.SoftmaxAxis
		own.Distillation.Normalize = best.Normalize
		own.Distillation.FeatureStride, own.Distillation.FeatureAlpha = best.FeatureStride, best.FeatureAlpha
	}
	return &own
}

// recipeLogging is how many steps of the recipe lie between two log lines.
const recipeLogging = 100

func scheduleName(k qat.ScheduleKind) string {
	switch k {
	case qat.CosineRate:
		return config.ScheduleCosine
	case qat.PiecewiseRate:
		return config.SchedulePiecewise
	}
	return config.ScheduleConstant
}

func optimizerName(k compute.OptimizerKind) string {
	switch k {
	case compute.Adam:
		return "Adam"
	case compute.AdamW:
		return "AdamW"
	case compute.Momentum:
		return "Momentum"
	}
	return "SGD"
}
