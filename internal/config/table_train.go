// Keys of the section TrainConfig.

package config

func trainKeys() []Key {
	single := "training runs on one machine in 32-bit floating point"
	return []Key{
		{Name: "train_iter", Source: ours, null: true, span: span{1, most, false}, field: func(c *Config) any { return &c.Train.TrainIter },
			Meaning: "Steps to train. The run ends with it or with `epochs`, whichever comes first; without both it is 3000 steps, as ACT's file for YOLOv5s has it (ACT: 100 epochs)."},
		{Name: "epochs", Source: fromStrategy, null: true, span: span{1, 1e6, false}, field: func(c *Config) any { return &c.Train.Epochs },
			Meaning: "Passes over the pictures."},
		{Name: "learning_rate", scalar: func(c *Config) any { return &c.Train.LearningRate.LearningRate }, Keys: scheduleKeys(), span: rates,
			Meaning: "The learning rate: a number, or a mapping with a schedule."},
		{Name: "warmup", Source: ours, null: true, span: span{1, most, false}, field: func(c *Config) any { return &c.Train.Warmup },
			Meaning: "First steps in which the learning rate rises from 0 in a line; null: none."},
		{Name: "optimizer_builder", Meaning: "The optimiser.", Keys: []Key{
			{Name: "optimizer", Meaning: "The rule of an update.", Keys: optimizerKeys()},
			{Name: "weight_decay", Source: fromStrategy, null: true, span: span{0, 1, false}, field: func(c *Config) any { return &c.Train.WeightDecay },
				Meaning: "Decay of the weights; biases and scales have none. With AdamW it is decoupled, otherwise added to the gradient."},
			{Name: "regularizer", instead: "weight_decay", Meaning: "Paddle's other way to write weight decay.", Keys: []Key{
				{Name: "type", Source: fromPaddle, must: true, fixed: "L2Decay", Meaning: "weights decay by their square only"},
				{Name: "coeff", Source: fromPaddle, must: true, span: span{0, 1, false}, field: func(c *Config) any { return &c.Train.WeightDecay },
					Meaning: "The same as `weight_decay`."},
			}},
			{Name: "grad_clip", null: true, Meaning: "Bounds the gradients.", Keys: clipKeys()},
		}},
		{Name: "accumulate", Source: ours, span: span{1, 1e5, false}, field: func(c *Config) any { return &c.Train.Accumulate },
			Meaning: "Batches whose gradients are added up before a step, so that a large batch fits any memory."},
		{Name: "precision", Source: ours, allowed: Precisions(), field: func(c *Config) any { return &c.Train.Precision },
			Meaning: "What a GPU may round the factors of convolutions and matrix products to in training. `tf32` (as PyTorch's convolutions by default) and `bf16` use the tensor cores of sm_80 and newer; in `bf16` the gradients that convolutions give are rounded too. Sums, weights and their updates are fp32."},
		{Name: "eval_iter", Source: fromStrategy, span: span{1, most, false}, field: func(c *Config) any { return &c.Train.EvalIter },
			Meaning: "Steps from one measurement to the next; the best model is kept."},
		{Name: "logging_iter", Source: fromStrategy, span: span{1, most, false}, field: func(c *Config) any { return &c.Train.LoggingIter },
			Meaning: "Steps from one line of the log to the next."},
		{Name: "checkpoint_iter", Source: ours, span: span{1, most, false}, field: func(c *Config) any { return &c.Train.CheckpointIter },
			Meaning: "Steps from one checkpoint to the next."},
		{Name: "origin_metric", Source: fromStrategy, null: true, field: func(c *Config) any { return &c.Train.OriginMetric },
			Meaning: "What the float model is known to reach (mAP from 0 to 1). Another measurement stops the run before it begins: then pictures or model are not prepared as they should be."},
		{Name: "tolerance", Source: ours, span: span{0, unbounded, true}, field: func(c *Config) any { return &c.Train.Tolerance },
			Meaning: "How far from `origin_metric` the measurement may be; ACT has this number built in."},
		{Name: "target_metric", Source: fromStrategy, null: true, field: func(c *Config) any { return &c.Train.TargetMetric },
			Meaning: "Training ends when the student reaches this (mAP from 0 to 1)."},
		{Name: "patience", Source: ours, null: true, span: span{1, 1e6, false}, field: func(c *Config) any { return &c.Train.Patience },
			Meaning: "Training ends after so many measurements without a better one; null: never for that."},
		{Name: "mirror", Source: ours, field: func(c *Config) any { return &c.Train.Mirror },
			Meaning: "Train on the mirror image of every picture too."},
		{Name: "freeze_scales", Source: ours, span: span{0, 1, false}, field: func(c *Config) any { return &c.Train.FreezeScales },
			Meaning: "Last share of the run in which scales stay as they are and only weights are trained."},
		{Name: "amp_config", refused: true, Meaning: single},
		{Name: "recompute_config", refused: true, Meaning: "memory is saved by accumulate, not by computing twice"},
		{Name: "sharding_config", refused: true, Meaning: single},
		{Name: "use_fleet", refused: true, Meaning: single},
		{Name: "sparse_model", refused: true, Meaning: "sparse weights are not kept sparse in training"},
	}
}

var rates = span{0, 10, true}

func scheduleKeys() []Key {
	falling := []string{ScheduleConstant, ScheduleCosine}
	cosine, piecewise := []string{ScheduleCosine}, []string{SchedulePiecewise}
	return []Key{
		{Name: "type", Source: ours, must: true, allowed: []string{ScheduleConstant, SchedulePiecewise, ScheduleCosine}, field: func(c *Config) any { return &c.Train.LearningRate.Type },
			Meaning: "How the rate changes over the steps. A number alone is `Constant`."},
		{Name: "learning_rate", Source: ours, only: falling, must: true, span: rates, field: func(c *Config) any { return &c.Train.LearningRate.LearningRate },
			Meaning: "The rate, of a cosine the first. ACT: 0.02; here what its file for YOLOv5s has."},
		{Name: "T_max", Source: ours, only: cosine, null: true, span: span{1, most, false}, field: func(c *Config) any { return &c.Train.LearningRate.TMax },
			Meaning: "Steps in which the cosine falls to `eta_min`; null: the whole run. Paddle asks for it."},
		{Name: "eta_min", Source: fromPaddle, only: cosine, span: span{0, 10, false}, field: func(c *Config) any { return &c.Train.LearningRate.EtaMin },
			Meaning: "The last rate."},
		{Name: "boundaries", Source: fromPaddle, only: piecewise, must: true, span: span{1, most, false}, field: func(c *Config) any { return &c.Train.LearningRate.Boundaries },
			Meaning: "Steps at which the rate changes, ascending."},
		{Name: "values", Source: fromPaddle, only: piecewise, must: true, span: rates, field: func(c *Config) any { return &c.Train.LearningRate.Values },
			Meaning: "The rates: one more than `boundaries`."},
	}
}

func optimizerKeys() []Key {
	momentum, adam := []string{"Momentum"}, []string{"Adam", "AdamW"}
	share := span{0, 0.999999, false}
	return []Key{
		{Name: "type", Source: fromStrategy, must: true, allowed: []string{"SGD", "Momentum", "Adam", "AdamW"}, field: func(c *Config) any { return &c.Train.Optimizer.Type },
			Meaning: "The rule's name."},
		{Name: "momentum", Source: fromPaddle, only: momentum, span: share, field: func(c *Config) any { return &c.Train.Optimizer.Momentum },
			Meaning: "Share of the last update in the next."},
		{Name: "use_nesterov", Source: fromPaddle, only: momentum, field: func(c *Config) any { return &c.Train.Optimizer.Nesterov },
			Meaning: "Nesterov's form of it."},
		{Name: "beta1", Source: fromPaddle, only: adam, span: share, field: func(c *Config) any { return &c.Train.Optimizer.Beta1 },
			Meaning: "Rate of the gradient's moving average."},
		{Name: "beta2", Source: fromPaddle, only: adam, span: share, field: func(c *Config) any { return &c.Train.Optimizer.Beta2 },
			Meaning: "Rate of the squared gradient's moving average."},
		{Name: "epsilon", Source: fromPaddle, only: adam, span: span{0, 1, true}, field: func(c *Config) any { return &c.Train.Optimizer.Epsilon },
			Meaning: "Keeps the division finite."},
	}
}

func clipKeys() []Key {
	norm, value := []string{"ClipGradByGlobalNorm", "ClipGradByNorm"}, []string{"ClipGradByValue"}
	return []Key{
		{Name: "type", Source: fromPaddle, must: true, null: true, allowed: append(norm, value...), field: func(c *Config) any { return &c.Train.GradClip.Type },
			Meaning: "By the norm of all gradients together, of each tensor's, or by value; null: not at all."},
		{Name: "clip_norm", Source: fromPaddle, only: norm, must: true, span: span{0, 1e9, true}, field: func(c *Config) any { return &c.Train.GradClip.Norm },
			Meaning: "The largest norm."},
		{Name: "max", Source: fromPaddle, only: value, must: true, span: span{0, 1e9, true}, field: func(c *Config) any { return &c.Train.GradClip.Max },
			Meaning: "The largest value."},
		{Name: "min", Source: fromPaddle, only: value, span: span{-1e9, 1e9, false}, field: func(c *Config) any { return &c.Train.GradClip.Min },
			Meaning: "The smallest value; -`max` where it is left out."},
	}
}
