package config

import (
	"reflect"
	"strings"
	"testing"
)

// A file that sets every key to something that is not its default, in the order
// of the table.
const everything = `
Global:
  model_dir: a1
  model_filename: a2.onnx
  image_path: a3
  image_dir: a4
  coco_dataset_dir: a5
  coco_train_image_dir: a6
  coco_train_anno_path: a7
  coco_val_image_dir: a8
  coco_val_anno_path: a9
  val_limit: 10
  Evaluation: false
  eval_cmd: a11 {onnx}
  arch: yolox
  batch_size: 12
  nms_num_top_k: 13
  save_dir: a14
Distillation:
  loss: [l1, cosine]
  node: [b1, b2]
  alpha: [3, 4]
  softmax_axis: 1
  feature_stride: 5
  feature_alpha: 6
  normalize: true
QuantAware:
  quantize_op_types: [depthwise_conv2d]
  weight_quantize_type: abs_max
  activation_quantize_type: range_abs_max
  moving_rate: 0.1
  window_size: 2
  use_pact: true
  pact_init: 3
  pact_learning_rate: 0.4
  pact_decay: 0.5
  quantizer: act
  lsq_learning_rate: 0.6
  quant_post_first: false
  scale_trainable: false
  rounding: paddle
  is_full_quantize: true
  not_quant_pattern: c1
  exclude: c2
  include: c3
  pooled: true
  heads: true
  concat: false
QuantPost:
  algo: emd
  hist_percent: 0.1
  batch_size: 2
  batch_nums: 3
  bias_correction: true
  equalise: on
  quantize_op_types: mul
  weight_quantize_type: abs_max
  is_full_quantize: true
  skip_tensor_list: d1
HyperParameterOptimization:
  ptq_algo: [emd, min_max]
  bias_correct: [false]
  weight_quantize_type: [abs_max, channel_wise_abs_max]
  hist_percent: [0.1, 0.2]
  batch_num: [3, 4]
  max_quant_count: 5
TrainConfig:
  train_iter: 1000
  epochs: 2
  learning_rate: {type: CosineAnnealingDecay, learning_rate: 3, T_max: 4, eta_min: 0.5}
  warmup: 6
  optimizer_builder:
    optimizer: {type: AdamW, beta1: 0.1, beta2: 0.2, epsilon: 0.3}
    weight_decay: 0.4
    grad_clip: {type: ClipGradByValue, min: -5, max: 6}
  accumulate: 7
  precision: bf16
  eval_iter: 8
  logging_iter: 9
  checkpoint_iter: 10
  origin_metric: 11
  tolerance: 12
  target_metric: 13
  patience: 14
  mirror: true
  freeze_scales: 0.15
Deploy:
  engine: false
  shape: 1x2
  batch: 3
  backend: rtx
  targets: [sm_120]
  int8: false
  fp16: true
  onnx_weights: int8
  float_engine: true
`

// Every key ends in the field that is its own.
func TestEveryKey(t *testing.T) {
	want := &Config{
		Given: Given{true, true, true, true, true},
		Global: Global{ModelDir: "a1", ModelFilename: "a2.onnx", ImagePath: "a3", ImageDir: "a4", DatasetDir: "a5",
			TrainImageDir: "a6", TrainAnnoPath: "a7", ValImageDir: "a8", ValAnnoPath: "a9", ValLimit: 10,
			EvalCmd: "a11 {onnx}", Arch: "yolox", BatchSize: 12, NMSTopK: 13, SaveDir: "a14"},
		Distillation: Distillation{Loss: []string{"l1", "cosine"}, Node: []string{"b1", "b2"}, Alpha: []float64{3, 4},
			SoftmaxAxis: 1, FeatureStride: 5, FeatureAlpha: 6, Normalize: true},
		Quantization: Quantization{OpTypes: []string{"depthwise_conv2d"}, WeightType: "abs_max", ActivationType: "range_abs_max",
			MovingRate: 0.1, WindowSize: 2, UsePACT: true, PACTInit: 3, PACTLearningRate: 0.4, PACTDecay: 0.5, Quantizer: "act",
			LSQLearningRate: 0.6, Rounding: "paddle", FullQuantize: true, NotQuantPattern: []string{"c1"},
			Exclude: []string{"c2"}, Include: []string{"c3"}, Pooled: true, Heads: true},
		QuantPost: QuantPost{Algo: "emd", HistPercent: 0.1, BatchSize: 2, BatchNums: 3, BiasCorrection: true, Equalise: "on",
			OpTypes: []string{"mul"}, WeightType: "abs_max", FullQuantize: true, SkipTensors: []string{"d1"}},
		Search: Search{Algos: []string{"emd", "min_max"}, BiasCorrect: []bool{false},
			WeightTypes: []string{"abs_max", "channel_wise_abs_max"}, HistPercent: []float64{0.1, 0.2}, BatchNum: []int{3, 4}, MaxQuantCount: 5},
		Train: Train{TrainIter: 1000, Epochs: 2, LearningRate: Schedule{Type: ScheduleCosine, LearningRate: 3, TMax: 4, EtaMin: 0.5},
			Warmup: 6, Optimizer: Optimizer{Type: "AdamW", Momentum: 0.9, Beta1: 0.1, Beta2: 0.2, Epsilon: 0.3}, WeightDecay: 0.4,
			GradClip: GradClip{Type: "ClipGradByValue", Min: -5, Max: 6}, Accumulate: 7, Precision: PrecisionBF16, EvalIter: 8, LoggingIter: 9, CheckpointIter: 10,
			OriginMetric: 11, Tolerance: 12, TargetMetric: 13, Patience: 14, FreezeScales: 0.15, Mirror: true},
		Deploy: Deploy{Shape: Size{1, 2}, Batch: 3, Backend: "rtx", Targets: []string{"sm_120"}, FP16: true, ONNXWeights: "int8", FloatEngine: true},
	}
	c, notes := parse(t, everything)
	if !reflect.DeepEqual(c, want) || len(notes) > 0 {
		t.Errorf("read\n%+v\nwant\n%+v\nnotes %q", c, want, notes)
	}
	// The keys that belong to other types.
	for text, change := range map[string]func(){
		"learning_rate: {type: PiecewiseDecay, boundaries: [7], values: [8, 9]}": func() {
			want.Train.LearningRate = Schedule{Type: SchedulePiecewise, LearningRate: 1e-5, Boundaries: []int{7}, Values: []float64{8, 9}}
		},
		"optimizer_builder: {optimizer: {type: Momentum, momentum: 0.7, use_nesterov: true}}": func() {
			want.Train.Optimizer = Optimizer{Type: "Momentum", Momentum: 0.7, Nesterov: true, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8}
		},
		"optimizer_builder: {grad_clip: {type: ClipGradByNorm, clip_norm: 7}}": func() {
			want.Train.GradClip = GradClip{Type: "ClipGradByNorm", Norm: 7}
		},
		"optimizer_builder: {regularizer: {type: L2Decay, coeff: 0.7}}": func() { want.Train.WeightDecay = 0.7 },
	} {
		want = Default()
		change()
		if c, _ := parse(t, "TrainConfig: {"+text+"}"); !reflect.DeepEqual(c, want) {
			t.Errorf("%s: read\n%+v\nwant\n%+v", text, c, want)
		}
	}
	// None is left out above.
	everyKey(func(path string, k *Key) {
		name := path[strings.LastIndexByte(path, '.')+1:] + ":"
		if k.field != nil && len(k.only) == 0 && !strings.HasSuffix(path, ".coeff") && !strings.Contains(everything, name) {
			t.Errorf("%s is not tried", path)
		}
	})
}
