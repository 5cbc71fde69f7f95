// Keys of the sections Distillation, Quantization, QuantPost and
// HyperParameterOptimization: what is quantised and what it is held against.

package config

// actLayers are ACT's names for the layers with weights that it quantises.
func actLayers() []string {
	return []string{"conv2d", "depthwise_conv2d", "conv2d_transpose", "mul", "matmul", "matmul_v2"}
}

func weightTypes() []string { return []string{"channel_wise_abs_max", "abs_max"} }

const (
	layersMeaning = "Layers to quantise by ACT's names: `conv2d` and `depthwise_conv2d` are Conv, `conv2d_transpose` is ConvTranspose, `mul`, `matmul` and `matmul_v2` are Gemm and MatMul with constant weights."
	thinLayers    = "ACT also has `depthwise_conv2d`, which here must be named: such layers lose most by INT8 and gain least."
	bitsMeaning   = "TensorRT's integer kernels work on 8 bits"
	onnxMeaning   = "the result is always an ONNX file with QuantizeLinear and DequantizeLinear"
	weightMeaning = "One scale per output channel of a weight, or with `abs_max` one per weight."
	fullMeaning   = "Quantise too what the rules of placement leave float because INT8 gains nothing there: thin layers and those on a single position."
)

func distillationKeys() []Key {
	teacher := "the teacher is the model itself before it is quantised"
	return []Key{
		{Name: "loss", Source: fromStrategy, allowed: []string{"l2", "l1", "soft_label", "cosine", "channel_kl"}, field: func(c *Config) any { return &c.Distillation.Loss },
			Meaning: "How far student and teacher are apart at a node: mean squared or absolute difference, cross-entropy of softmaxes, cosine distance, or Kullback-Leibler divergence of each channel over the plane. One for all, or a list with one per `node`. `l1`, `cosine` and `channel_kl` are not ACT's."},
		{Name: "node", Source: fromStrategy, field: func(c *Config) any { return &c.Distillation.Node },
			Meaning: "Tensors or nodes to compare at, by the ONNX file's names; empty: the last trainable layer before each output, found from the graph."},
		{Name: "alpha", Source: fromStrategy, span: span{0, 1e6, false}, field: func(c *Config) any { return &c.Distillation.Alpha },
			Meaning: "Weight of a node's loss: one for all, or a list with one per `node`."},
		{Name: "softmax_axis", Source: ours, span: span{-4, 3, false}, field: func(c *Config) any { return &c.Distillation.SoftmaxAxis },
			Meaning: "Axis (NCHW) of the softmax in `soft_label`. ACT takes the last one, which on a convolution's output runs along the picture's width; 1 runs over the channels."},
		{Name: "feature_stride", Source: ours, null: true, span: span{1, 1e4, false}, field: func(c *Config) any { return &c.Distillation.FeatureStride },
			Meaning: "Compare after every so many blocks of the backbone as well, by l2; null: at the nodes only."},
		{Name: "feature_alpha", Source: ours, span: span{0, 1e6, false}, field: func(c *Config) any { return &c.Distillation.FeatureAlpha },
			Meaning: "Weight of those losses."},
		{Name: "normalize", Source: ours, field: func(c *Config) any { return &c.Distillation.Normalize },
			Meaning: "Divide `l1` and `l2` at each node by the spread of the teacher's values there, so that nodes of different units count alike."},
		{Name: "teacher_model_dir", refused: true, Meaning: teacher},
		{Name: "teacher_model_filename", refused: true, Meaning: teacher},
		{Name: "teacher_params_filename", refused: true, Meaning: teacher},
	}
}

func quantizationKeys() []Key {
	return []Key{
		{Name: "quantize_op_types", Source: ours, allowed: actLayers(), field: func(c *Config) any { return &c.Quantization.OpTypes },
			Meaning: layersMeaning + " " + thinLayers},
		{Name: "weight_bits", Source: fromStrategy, fixed: "8", Meaning: bitsMeaning},
		{Name: "activation_bits", Source: fromStrategy, fixed: "8", Meaning: bitsMeaning},
		{Name: "dtype", Source: fromStrategy, fixed: "int8", Meaning: bitsMeaning},
		{Name: "onnx_format", Source: fromStrategy, fixed: "true", Meaning: onnxMeaning},
		{Name: "weight_quantize_type", Source: fromStrategy, allowed: weightTypes(), field: func(c *Config) any { return &c.Quantization.WeightType },
			Meaning: weightMeaning},
		{Name: "activation_quantize_type", Source: fromStrategy, allowed: []string{"moving_average_abs_max", "range_abs_max", "abs_max"}, field: func(c *Config) any { return &c.Quantization.ActivationType },
			Meaning: "How an activation's scale follows the values in training: a moving average of each step's largest, the largest of a window of steps, or this step's largest."},
		{Name: "moving_rate", Source: fromStrategy, span: span{0, 1, false}, field: func(c *Config) any { return &c.Quantization.MovingRate },
			Meaning: "Share of the past in the moving average."},
		{Name: "window_size", Source: fromStrategy, span: span{1, 1e6, false}, field: func(c *Config) any { return &c.Quantization.WindowSize },
			Meaning: "Steps in the window of `range_abs_max`."},
		{Name: "use_pact", Source: fromStrategy, field: func(c *Config) any { return &c.Quantization.UsePACT },
			Meaning: "Learn the value at which each activation is clipped (PACT)."},
		{Name: "pact_init", Source: fromQuanter, span: span{0, 1e6, true}, field: func(c *Config) any { return &c.Quantization.PACTInit },
			Meaning: "Where PACT's clip values start; with `quant_post_first` they start at the calibrated ones instead."},
		{Name: "pact_learning_rate", Source: fromQuanter, span: span{0, 10, false}, field: func(c *Config) any { return &c.Quantization.PACTLearningRate },
			Meaning: "Their own learning rate."},
		{Name: "pact_decay", Source: fromQuanter, span: span{0, 1, false}, field: func(c *Config) any { return &c.Quantization.PACTDecay },
			Meaning: "Their own weight decay."},
		{Name: "quantizer", Source: ours, allowed: []string{QuantizerACT, QuantizerLSQ}, field: func(c *Config) any { return &c.Quantization.Quantizer },
			Meaning: "`act`: scales by the keys above, as ACT does. `lsq`: the steps of activations and weights are learned (LSQ)."},
		{Name: "lsq_learning_rate", Source: ours, span: span{0, 10, false}, field: func(c *Config) any { return &c.Quantization.LSQLearningRate },
			Meaning: "Learning rate of LSQ's steps, which are learned as logarithms."},
		{Name: "quant_post_first", Source: ours, field: func(c *Config) any { return &c.Quantization.QuantPostFirst },
			Meaning: "Start from the scales of a calibration (section QuantPost). ACT: false."},
		{Name: "scale_trainable", Source: fromQuanter, field: func(c *Config) any { return &c.Quantization.ScaleTrainable },
			Meaning: "Scales change in training; false keeps those that it starts from. See also `TrainConfig.freeze_scales`."},
		{Name: "rounding", Source: ours, allowed: []string{RoundTensorRT, RoundPaddle}, field: func(c *Config) any { return &c.Quantization.Rounding },
			Meaning: "`tensorrt`: ties to even, -128..127, as the engine computes. `paddle`: ties away from zero, -127..127, only to compare with ACT."},
		{Name: "is_full_quantize", Source: fromStrategy, field: func(c *Config) any { return &c.Quantization.FullQuantize },
			Meaning: fullMeaning},
		{Name: "not_quant_pattern", Source: fromStrategy, field: func(c *Config) any { return &c.Quantization.NotQuantPattern },
			Meaning: "Layers whose node's name has one of these parts stay float."},
		{Name: "exclude", Source: ours, field: func(c *Config) any { return &c.Quantization.Exclude },
			Meaning: "Layers whose node's name matches one of these regular expressions stay float."},
		{Name: "include", Source: ours, field: func(c *Config) any { return &c.Quantization.Include },
			Meaning: "Only layers that match are quantised; empty: all."},
		{Name: "pooled", Source: ours, field: func(c *Config) any { return &c.Quantization.Pooled },
			Meaning: "Quantise layers on a single position too (squeeze-and-excite); `is_full_quantize` does that and more."},
		{Name: "heads", Source: ours, field: func(c *Config) any { return &c.Quantization.Heads },
			Meaning: "Quantise the last layer of every head too."},
		{Name: "concat", Source: ours, field: func(c *Config) any { return &c.Quantization.Concat },
			Meaning: "The inputs of a Concat share one scale, which makes it free in the engine."},
		{Name: "deploy_backend", Source: fromQuanter, fixed: "tensorrt", Meaning: "the result is for TensorRT"},
		{Name: "for_tensorrt", idle: true, Meaning: "placement always follows TensorRT"},
	}
}

func quantPostKeys() []Key {
	reconstruction := "weights are not reconstructed block by block; use Distillation, which trains them against the whole model"
	onlyThen := "belongs to recon_level, which is not done"
	return []Key{
		{Name: "algo", Source: ours, allowed: []string{"auto", "KL", "hist", "mse", "emd", "avg", "abs_max", "min_max"}, field: func(c *Config) any { return &c.QuantPost.Algo },
			Meaning: "How a scale is chosen. `auto` tries several and measures (ACT: `hist`). `hist` clips at `hist_percent`; `avg` takes the mean of the pictures' largest values."},
		{Name: "hist_percent", Source: fromStrategy, span: span{0, 1, true}, field: func(c *Config) any { return &c.QuantPost.HistPercent },
			Meaning: "Share of the values that `hist` does not clip."},
		{Name: "batch_size", Source: fromStrategy, span: span{1, 1e5, false}, field: func(c *Config) any { return &c.QuantPost.BatchSize },
			Meaning: "Only counts here: `batch_size` times `batch_nums` pictures are calibrated on."},
		{Name: "batch_nums", Source: fromStrategy, null: true, span: span{1, 1e5, false}, field: func(c *Config) any { return &c.QuantPost.BatchNums },
			Meaning: "Batches to calibrate on; null: 256 pictures at most, spread over all (ACT: all)."},
		{Name: "bias_correction", Source: fromStrategy, field: func(c *Config) any { return &c.QuantPost.BiasCorrection },
			Meaning: "Undo the mean error that rounded weights make."},
		{Name: "equalise", Source: ours, allowed: []string{"auto", "on", "off"}, field: func(c *Config) any { return &c.QuantPost.Equalise },
			Meaning: "Even out channels of very different range first. `auto` tries it on 4 pictures, and does it where the error falls by a third."},
		{Name: "quantize_op_types", Source: ours, allowed: actLayers(), field: func(c *Config) any { return &c.QuantPost.OpTypes },
			Meaning: "As in Quantization, which wins when both are there. ACT also has `depthwise_conv2d` and not `conv2d_transpose`."},
		{Name: "weight_quantize_type", Source: fromStrategy, allowed: weightTypes(), field: func(c *Config) any { return &c.QuantPost.WeightType },
			Meaning: weightMeaning},
		{Name: "is_full_quantize", Source: fromStrategy, field: func(c *Config) any { return &c.QuantPost.FullQuantize },
			Meaning: fullMeaning},
		{Name: "skip_tensor_list", Source: fromStrategy, null: true, field: func(c *Config) any { return &c.QuantPost.SkipTensors },
			Meaning: "Tensors that stay float, by the ONNX file's names."},
		{Name: "activation_quantize_type", idle: true, Meaning: "scales are fixed once calibrated; algo says how"},
		{Name: "weight_bits", Source: fromStrategy, fixed: "8", Meaning: bitsMeaning},
		{Name: "activation_bits", Source: fromStrategy, fixed: "8", Meaning: bitsMeaning},
		{Name: "onnx_format", Source: fromStrategy, fixed: "true", Meaning: onnxMeaning},
		{Name: "recon_level", refused: true, Meaning: reconstruction},
		{Name: "regions", refused: true, Meaning: reconstruction},
		{Name: "region_weights_names", refused: true, Meaning: reconstruction},
		{Name: "simulate_activation_quant", refused: true, Meaning: onlyThen},
		{Name: "epochs", idle: true, Meaning: onlyThen},
		{Name: "lr", idle: true, Meaning: onlyThen},
	}
}

func searchKeys() []Key {
	return []Key{
		{Name: "ptq_algo", Source: fromStrategy, allowed: []string{"KL", "hist", "mse", "emd", "avg", "abs_max", "min_max"}, field: func(c *Config) any { return &c.Search.Algos },
			Meaning: "Ways to choose a scale, as `QuantPost.algo`."},
		{Name: "bias_correct", Source: fromStrategy, field: func(c *Config) any { return &c.Search.BiasCorrect },
			Meaning: "With bias correction, without, or both."},
		{Name: "weight_quantize_type", Source: fromStrategy, allowed: weightTypes(), field: func(c *Config) any { return &c.Search.WeightTypes },
			Meaning: "One scale per output channel, one per weight, or both."},
		{Name: "hist_percent", Source: fromStrategy, span: span{0, 1, true}, field: func(c *Config) any { return &c.Search.HistPercent },
			Meaning: "Lowest and highest share that `hist` does not clip."},
		{Name: "batch_num", Source: fromStrategy, span: span{1, 1e5, false}, field: func(c *Config) any { return &c.Search.BatchNum },
			Meaning: "Fewest and most batches of `QuantPost.batch_size` pictures to calibrate on."},
		{Name: "max_quant_count", Source: fromStrategy, span: span{1, 1e4, false}, field: func(c *Config) any { return &c.Search.MaxQuantCount },
			Meaning: "Trials at most."},
	}
}
