package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"trtact/internal/fault"
)

func parse(t *testing.T, text string) (*Config, []string) {
	t.Helper()
	c, notes, err := Parse("act.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c, notes
}

// A file in the shape of ACT's for YOLOv5s, old names of the data keys.
const actYOLOv5s = `
Global:
  model_dir: ./yolov5s.onnx
  dataset_dir: dataset/coco/
  train_image_dir: train2017
  val_image_dir: val2017
  train_anno_path: annotations/instances_train2017.json
  val_anno_path: annotations/instances_val2017.json
  Evaluation: True
  arch: YOLOv5
Distillation:
  alpha: 1.0
  loss: soft_label
Quantization:
  onnx_format: true
  use_pact: true
  activation_quantize_type: 'moving_average_abs_max'
  quantize_op_types:
  - conv2d
  - depthwise_conv2d
TrainConfig:
  train_iter: 3000
  eval_iter: 1000
  learning_rate: 0.00001
  optimizer_builder:
    optimizer:
      type: SGD
    weight_decay: 4.0e-05
  target_metric: 0.365
`

// A file in the shape of ACT's for PP-YOLOE-s: Paddle's model, the other name of
// Quantization, a schedule, keys that mean nothing here.
const actPPYOLOE = `
Global:
  reader_config: configs/yolo_reader.yml
  input_list: ['image', 'scale_factor']
  arch: PPYOLOE
  include_nms: False
  Evaluation: True
  model_dir: ./ppyoloe_crn_s_300e_coco
  model_filename: model.pdmodel
  params_filename: model.pdiparams
  image_path: None
  coco_dataset_dir: coco
  coco_val_anno_path: val.json
Distillation:
  alpha: [1.0, 0.5]
  loss: l2
  node: [conv_a, conv_b]
  teacher_model_dir:
QuantAware:
  use_pact: true
  weight_bits: 8
  activation_bits: 8
  is_full_quantize: false
  weight_quantize_type: channel_wise_abs_max
  not_quant_pattern:
  - skip_quant
TrainConfig:
  epochs: 2
  sparse_model: False
  learning_rate:
    type: CosineAnnealingDecay
    learning_rate: 3e-5
    T_max: 6000
  optimizer_builder:
    optimizer:
      type: Momentum
      momentum: 0.8
    regularizer: {type: L2Decay, coeff: 4e-5}
    grad_clip: {type: ClipGradByValue, max: 2}
  origin_metric: 0.431
`

func TestACTFiles(t *testing.T) {
	c, notes := parse(t, actYOLOv5s)
	if len(notes) != 0 {
		t.Errorf("notes %q", notes)
	}
	want := Default()
	want.Given.Distillation, want.Given.Quantization = true, true
	want.Global.ModelDir, want.Global.DatasetDir, want.Global.Arch = "./yolov5s.onnx", "dataset/coco/", "YOLOv5"
	want.Global.TrainImageDir, want.Global.TrainAnnoPath = "train2017", "annotations/instances_train2017.json"
	want.Global.ValImageDir, want.Global.ValAnnoPath = "val2017", "annotations/instances_val2017.json"
	want.Distillation.Loss = []string{"soft_label"}
	want.Quantization.UsePACT = true
	want.Quantization.OpTypes = []string{"conv2d", "depthwise_conv2d"}
	want.Train.WeightDecay, want.Train.TargetMetric = 4e-5, 0.365
	if !reflect.DeepEqual(c, want) {
		t.Errorf("read\n%+v\nwant\n%+v", c, want)
	}

	c, notes = parse(t, actPPYOLOE)
	want = Default()
	want.Given.Distillation, want.Given.Quantization = true, true
	want.Global.ModelDir, want.Global.ModelFilename, want.Global.Arch = "./ppyoloe_crn_s_300e_coco", "model.pdmodel", "PPYOLOE"
	want.Global.DatasetDir, want.Global.ValAnnoPath = "coco", "val.json"
	want.Distillation.Alpha, want.Distillation.Node = []float64{1, 0.5}, []string{"conv_a", "conv_b"}
	want.Quantization.UsePACT = true
	want.Train.Epochs, want.Train.TrainIter, want.Train.OriginMetric = 2, 0, 0.431
	want.Train.LearningRate = Schedule{Type: ScheduleCosine, LearningRate: 3e-5, TMax: 6000}
	want.Train.Optimizer.Type, want.Train.Optimizer.Momentum = "Momentum", 0.8
	want.Train.WeightDecay = 4e-5
	want.Train.GradClip = GradClip{Type: "ClipGradByValue", Min: -2, Max: 2}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("read\n%+v\nwant\n%+v", c, want)
	}
	wantNotes := []string{ // include_nms: False asks for nothing
		"act.yaml:3: Global.reader_config changes nothing: pictures are prepared as the detector's family does",
		"act.yaml:4: Global.input_list changes nothing: the model's inputs are read from its graph",
		"act.yaml:10: Global.params_filename changes nothing: an ONNX file holds its weights itself",
	}
	if !reflect.DeepEqual(notes, wantNotes) {
		t.Errorf("notes %q", notes)
	}
	if _, err := c.Global.Model(); fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "model.pdmodel is in Paddle's format") {
		t.Errorf("Paddle's model: %v", err)
	}
}

// The least files, and the forms that one value can have.
func TestForms(t *testing.T) {
	for _, f := range []struct {
		text string
		want func(c *Config)
	}{
		{"{}", func(c *Config) {}},
		{"Global:\n", func(c *Config) {}},
		{"HyperParameterOptimization:", func(c *Config) { c.Given.Search = true }},
		{"Quantization: {}", func(c *Config) { c.Given.Quantization = true }},
		{"Distillation: {alpha: 2}", func(c *Config) { c.Given.Distillation = true; c.Distillation.Alpha = []float64{2} }},
		{"Distillation: {loss: [l2, l1]}", func(c *Config) { c.Given.Distillation = true; c.Distillation.Loss = []string{"l2", "l1"} }},
		{"Quantization: {not_quant_pattern: []}", func(c *Config) { c.Given.Quantization = true; c.Quantization.NotQuantPattern = nil }},
		{"Quantization: {use_pact: yes, deploy_backend: None, for_tensorrt: false}", func(c *Config) { c.Given.Quantization = true; c.Quantization.UsePACT = true }},
		{"QuantPost: {skip_tensor_list: None, recon_level: None, simulate_activation_quant: False}", func(c *Config) { c.Given.QuantPost = true }},
		{"TrainConfig: {epochs: 3}", func(c *Config) { c.Train.Epochs, c.Train.TrainIter = 3, 0 }},
		{"TrainConfig: {epochs: 3, train_iter: 7}", func(c *Config) { c.Train.Epochs, c.Train.TrainIter = 3, 7 }},
		{"TrainConfig: {epochs: null, train_iter: None}", func(c *Config) {}},
		{"TrainConfig: {learning_rate: .5}", func(c *Config) { c.Train.LearningRate.LearningRate = 0.5 }},
		{"TrainConfig: {learning_rate: 1e-5}", func(c *Config) {}},
		{"TrainConfig: {learning_rate: {type: Constant, learning_rate: 1}}", func(c *Config) { c.Train.LearningRate.LearningRate = 1 }},
		{"TrainConfig: {learning_rate: {type: PiecewiseDecay, boundaries: [10, 20], values: [1, 0.1, 0.01]}}", func(c *Config) {
			c.Train.LearningRate.Type, c.Train.LearningRate.Boundaries, c.Train.LearningRate.Values = SchedulePiecewise, []int{10, 20}, []float64{1, 0.1, 0.01}
		}},
		{"TrainConfig: {optimizer_builder: {grad_clip: null, optimizer: {type: AdamW, beta1: 0.5}}}", func(c *Config) {
			c.Train.Optimizer.Type, c.Train.Optimizer.Beta1 = "AdamW", 0.5
		}},
		{"TrainConfig: {amp_config: {}, recompute_config: null}", func(c *Config) {}},
		{"x-rate: &r 1\nGlobal: {}", nil}, // anchors want a home too
		{"TrainConfig: {eval_iter: &n 40, logging_iter: *n}", func(c *Config) { c.Train.EvalIter, c.Train.LoggingIter = 40, 40 }},
		{"Global: {eval_cmd: 'score {onnx}'}\nTrainConfig: {target_metric: 36.5}", func(c *Config) {
			c.Global.EvalCmd, c.Train.TargetMetric = "score {onnx}", 36.5
		}},
		{"Deploy: {shape: 640}", func(c *Config) { c.Given.Deploy = true; c.Deploy.Shape = Size{640, 640} }},
		{"Deploy: {shape: 320X416}", func(c *Config) { c.Given.Deploy = true; c.Deploy.Shape = Size{320, 416} }},
		{"Deploy: {shape: [320, 416], targets: sm_75}", func(c *Config) {
			c.Given.Deploy = true
			c.Deploy.Shape, c.Deploy.Targets = Size{320, 416}, []string{"sm_75"}
		}},
		{"\ufeffGlobal: {model_dir: 12}\r\n", func(c *Config) { c.Global.ModelDir = "12" }},
	} {
		c, _, err := Parse("act.yaml", []byte(f.text))
		if f.want == nil {
			if err == nil {
				t.Errorf("%s: read", f.text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", f.text, err)
			continue
		}
		want := Default()
		f.want(want)
		if !reflect.DeepEqual(c, want) {
			t.Errorf("%s: read\n%+v\nwant\n%+v", f.text, c, want)
		}
	}
}

// What the program says about files that are wrong: all of it, since a person
// has to act on it.
func TestRefusals(t *testing.T) {
	for _, f := range []struct{ text, want string }{
		// Unknown keys.
		{"Global:\n  modl_dir: x", ":2: Global.modl_dir is not a known key; did you mean model_dir?"},
		{"TrainConfig:\n  train_iter: 5\n  trian_iter: 5", ":3: TrainConfig.trian_iter is not a known key; did you mean train_iter?"},
		{"TrainConfig:\n  optimizer_builder:\n    optimiser: {type: SGD}", ":3: TrainConfig.optimizer_builder.optimiser is not a known key; did you mean optimizer?"},
		{"TrainConfig: {learning_rate: {type: CosineAnnealingDecay, learning_rate: 1, Tmax: 5}}", ":1: TrainConfig.learning_rate.Tmax is not a known key; did you mean T_max?"},
		{"Global:\n  train_iter: 5", ":2: Global.train_iter is not a known key here; it belongs into the section TrainConfig"},
		{"Global: {zzzzzz: 1}", ":1: Global.zzzzzz is not a known key; docs/configuration.md lists all"},
		{"Quantisation: {}", ":1: Quantisation is not a known section; did you mean Quantization?"},
		{"train_config: {}", ":1: train_config is not a known section; did you mean TrainConfig?"},
		{"train_iter: 5", ":1: train_iter belongs into the section TrainConfig"},
		{"zzzzzz: 5", ":1: zzzzzz is not a known section; docs/configuration.md lists all"},
		{"Global: {? [a] : 1}", ":1: Global has a list where the name of a key should be"},
		// Twice.
		{"Global: {}\nGlobal: {}", ":2: section Global is given twice; the first is on line 1"},
		{"Quantization: {}\nQuantAware: {}", ":2: section QuantAware says the same as Quantization on line 1; keep one of them"},
		{"Global:\n  arch: YOLOv5\n  arch: YOLOv6", ":3: Global.arch is given twice; the first is on line 2"},
		{"Global: {train_image_dir: [a]}", ":1: Global.train_image_dir must be a text, found a list"},
		{"Global:\n  coco_dataset_dir: a\n  dataset_dir: b", ":3: Global.dataset_dir says the same as Global.coco_dataset_dir on line 2; keep one of them"},
		// Types.
		{"Global: 5", ":1: Global must be a mapping of keys to values, found 5"},
		{"- a", ":1: expected sections such as Global and TrainConfig, found a list"},
		{"just text", ":1: expected sections such as Global and TrainConfig, found just text"},
		{"TrainConfig:\n  eval_iter: many", ":2: TrainConfig.eval_iter must be a whole number, found many"},
		{"TrainConfig: {eval_iter: 1.5}", ":1: TrainConfig.eval_iter must be a whole number, found 1.5"},
		{"TrainConfig: {eval_iter: '10'}", `:1: TrainConfig.eval_iter must be a whole number, found "10"`},
		{"TrainConfig: {eval_iter: 99999999999999999999}", ":1: TrainConfig.eval_iter must be a whole number, found 99999999999999999999"},
		{"TrainConfig: {eval_iter: [1]}", ":1: TrainConfig.eval_iter must be a whole number, found a list"},
		{"TrainConfig: {eval_iter: }", ":1: TrainConfig.eval_iter has no value; give one or remove the line"},
		{"TrainConfig: {learning_rate: }", ":1: TrainConfig.learning_rate has no value; give one or remove the line"},
		{"TrainConfig: {learning_rate: fast}", ":1: TrainConfig.learning_rate must be a number, found fast"},
		{"TrainConfig: {learning_rate: .nan}", ":1: TrainConfig.learning_rate must be a number, found .nan"},
		{"TrainConfig: {learning_rate: NaN}", ":1: TrainConfig.learning_rate must be a number, found NaN"},
		{"TrainConfig: {learning_rate: inf}", ":1: TrainConfig.learning_rate must be a number, found inf"},
		{"TrainConfig: {learning_rate: 1e999}", ":1: TrainConfig.learning_rate must be a number, found 1e999"},
		{"TrainConfig: {learning_rate: 0x1p-2}", ":1: TrainConfig.learning_rate must be a number, found 0x1p-2"},
		{"TrainConfig: {learning_rate: [1]}", ":1: TrainConfig.learning_rate must be a mapping of keys to values, found a list"},
		{"Quantization: {use_pact: 1}", ":1: Quantization.use_pact must be true or false, found 1"},
		{"Quantization: {use_pact: 'true'}", `:1: Quantization.use_pact must be true or false, found "true"`},
		{"Global: {arch: {a: b}}", ":1: Global.arch must be a text, found a mapping"},
		{`Global: {arch: "a\eb"}`, ":1: Global.arch has a control character or a line break in its text"},
		{"Global: {arch: !!binary aGk=}", ":1: Global.arch must be a text, found a value with the tag !!binary"},
		{"Global: {arch: !!python/object:os.system x}", ":1: Global.arch must be a text, found a value with the tag !!python/object:os.system"},
		{"Distillation: {node: [[a]]}", ":1: Distillation.node must be a text, found a list"},
		{"Distillation: {node: [a, null]}", ":1: Distillation.node must be a text, found nothing"},
		{"Distillation: {node: ['']}", ":1: Distillation.node has an empty entry"},
		{"Deploy: {shape: big}", ":1: Deploy.shape must be a size such as 640x640 or 640, found big"},
		{"Deploy: {shape: [1, 2, 3]}", ":1: Deploy.shape must be a size such as 640x640 or 640, found a list"},
		{"Deploy: {shape: 640x}", ":1: Deploy.shape must be a size such as 640x640 or 640, found 640x"},
		// Ranges and words.
		{"TrainConfig:\n  eval_iter: 0", ":2: TrainConfig.eval_iter must be 1 or more, found 0"},
		{"TrainConfig:\n  learning_rate: 0", ":2: TrainConfig.learning_rate must be above 0 and at most 10, found 0"},
		{"TrainConfig:\n  learning_rate: -1e-5", ":2: TrainConfig.learning_rate must be above 0 and at most 10, found -1e-05"},
		{"TrainConfig:\n  learning_rate:\n    type: CosineAnnealingDecay\n    learning_rate: 20", ":4: TrainConfig.learning_rate.learning_rate must be above 0 and at most 10, found 20"},
		{"TrainConfig: {freeze_scales: 1.5}", ":1: TrainConfig.freeze_scales must be from 0 to 1, found 1.5"},
		{"TrainConfig:\n  target_metric: 36.5", ":2: TrainConfig.target_metric must be from 0 to 1, as mAP is here, found 36.5"},
		{"Global: {batch_size: 0}", ":1: Global.batch_size must be from 1 to 4096, found 0"},
		{"Deploy: {shape: 0}", ":1: Deploy.shape must be a size such as 640x640 or 640, found 0"},
		{"Deploy: {shape: 640x99999}", ":1: Deploy.shape must have sides from 1 to 16384, found 640x99999"},
		{"Distillation: {loss: softlabel}", ":1: Distillation.loss must be one of l2, l1, soft_label, cosine, channel_kl, found softlabel; did you mean soft_label?"},
		{"Distillation: {loss: fsp}", ":1: Distillation.loss must be one of l2, l1, soft_label, cosine, channel_kl, found fsp"},
		{"Distillation: {loss: []}", ":1: Distillation.loss is an empty list"},
		{"Distillation: {alpha: []}", ":1: Distillation.alpha is an empty list"},
		{"Distillation: {alpha: -1}", ":1: Distillation.alpha must be from 0 to 1000000, found -1"},
		{"Quantization: {quantize_op_types: [conv2d, pool2d]}", ":1: Quantization.quantize_op_types must be one of conv2d, depthwise_conv2d, conv2d_transpose, mul, matmul, matmul_v2, found pool2d"},
		{"HyperParameterOptimization: {bias_correct: []}", ":1: HyperParameterOptimization.bias_correct is an empty list"},
		{"HyperParameterOptimization: {hist_percent: [0.999, 0.98]}", ":1: HyperParameterOptimization.hist_percent must be the lowest and the highest share, found [0.999 0.98]"},
		{"HyperParameterOptimization: {batch_num: 5}", ":1: HyperParameterOptimization.batch_num must be the fewest and the most batches, found [5]"},
		{"Global: {arch: YOLACT}", ":1: Global.arch must name one of the families auto, yolov3, yolov4, yolov5, yolov6, yolov7, yolov8, yolox, ppyoloe, picodet, nanodet, rtmdet, fastestdet, yolofastest, none, found YOLACT"},
		{"Deploy: {targets: [75]}", ":1: Deploy.targets must be compute capabilities such as sm_75, found 75"},
		{"Deploy: {targets: [sm_75], backend: tensorrt}", ":1: Deploy.targets is for backend rtx; TensorRT proper builds for the GPU of this machine"},
		// Together.
		{"Distillation: {node: [a, b, c], alpha: [1, 2]}", ":1: Distillation.alpha has 2 entries for 3 entries of node; give one for all or one for each"},
		{"Quantization: {use_pact: true, quantizer: lsq}", ":1: Quantization.use_pact and quantizer lsq are two ways of learning the same; set one of them"},
		{"Quantization: {exclude: ['(']}", ":1: Quantization.exclude has a pattern that is no regular expression: error parsing regexp: missing closing ): `(`"},
		{"Global: {image_dir: a}", ":1: Global.image_dir belongs to image_path, which is not given"},
		{"Global: {eval_cmd: ./score}", ":1: Global.eval_cmd must contain {onnx}, which stands for the model to measure"},
		{"TrainConfig: {warmup: 51, train_iter: 50}", ":1: TrainConfig.warmup must not be longer than the 50 steps of train_iter, found 51"},
		{"TrainConfig: {learning_rate: {learning_rate: 1}}", ":1: TrainConfig.learning_rate needs the key type"},
		{"TrainConfig: {learning_rate: {type: CosineAnnealingDecay}}", ":1: TrainConfig.learning_rate of type CosineAnnealingDecay needs the key learning_rate"},
		{"TrainConfig: {learning_rate: {type: CosineAnealingDecay}}", ":1: TrainConfig.learning_rate.type must be one of Constant, PiecewiseDecay, CosineAnnealingDecay, found CosineAnealingDecay; did you mean CosineAnnealingDecay?"},
		{"TrainConfig: {learning_rate: {type: Constant, learning_rate: 1, T_max: 5}}", ":1: TrainConfig.learning_rate.T_max belongs to type CosineAnnealingDecay, and type is Constant"},
		{"TrainConfig: {learning_rate: {type: CosineAnnealingDecay, learning_rate: 1, eta_min: 2}}", ":1: TrainConfig.learning_rate.eta_min must not be above learning_rate 1, found 2"},
		{"TrainConfig: {learning_rate: {type: PiecewiseDecay, boundaries: [2, 1], values: [1, 1, 1]}}", ":1: TrainConfig.learning_rate.boundaries must ascend, found 1 behind 2"},
		{"TrainConfig: {learning_rate: {type: PiecewiseDecay, boundaries: [2], values: [1]}}", ":1: TrainConfig.learning_rate.values must have one more entry than boundaries, found 1 and 1"},
		{"TrainConfig: {learning_rate: {type: PiecewiseDecay, boundaries: [], values: [1]}}", ":1: TrainConfig.learning_rate.boundaries is an empty list"},
		{"TrainConfig: {optimizer_builder: {optimizer: {type: SGD, momentum: 0.9}}}", ":1: TrainConfig.optimizer_builder.optimizer.momentum belongs to type Momentum, and type is SGD"},
		{"TrainConfig: {optimizer_builder: {optimizer: {type: Lamb}}}", ":1: TrainConfig.optimizer_builder.optimizer.type must be one of SGD, Momentum, Adam, AdamW, found Lamb"},
		{"TrainConfig: {optimizer_builder: {optimizer: SGD}}", ":1: TrainConfig.optimizer_builder.optimizer must be a mapping of keys to values, found SGD"},
		{"TrainConfig:\n  optimizer_builder:\n    weight_decay: 1e-5\n    regularizer: {type: L2Decay, coeff: 1e-5}", ":4: TrainConfig.optimizer_builder.regularizer says the same as weight_decay; keep one of them"},
		{"TrainConfig: {optimizer_builder: {regularizer: {type: L1Decay, coeff: 1}}}", ":1: TrainConfig.optimizer_builder.regularizer.type must be L2Decay, found L1Decay: weights decay by their square only"},
		{"TrainConfig: {optimizer_builder: {grad_clip: {clip_norm: 1}}}", ":1: TrainConfig.optimizer_builder.grad_clip needs the key type"},
		{"TrainConfig: {optimizer_builder: {grad_clip: {type: ClipGradByValue, max: 1, min: 3}}}", ":1: TrainConfig.optimizer_builder.grad_clip.min must be below max 1, found 3"},
		// What is not done.
		{"Global: {}\nChannelPrune:\n  pruned_ratio: 0.3", ":2: section ChannelPrune is not done by this program: channels are not pruned here; prune before the export to ONNX"},
		{"UnstructurePrune: {}", ":1: section UnstructurePrune is not done by this program: weights are not made sparse here; do that before the export to ONNX"},
		{"ASPPrune: {}", ":1: section ASPPrune is not done by this program: 2:4 sparsity is not trained here; do that before the export to ONNX"},
		{"TransformerPrune: {}", ":1: section TransformerPrune is not done by this program: transformers are not pruned here; prune before the export to ONNX"},
		{"MultiTeacherDistillation: {}", ":1: section MultiTeacherDistillation is not done by this program: there is one teacher, the float model itself; use Distillation"},
		{"EvalReader: {}", ":1: section EvalReader is not done by this program: this is a reader's configuration; here pictures are named in Global and prepared as the detector's family does"},
		{"ChanelPrune: {}", ":1: ChanelPrune is not a known section; did you mean ChannelPrune?"},
		{"TrainConfig: {amp_config: {use_pure_fp16: true}}", ":1: TrainConfig.amp_config is not done by this program: training runs on one machine in 32-bit floating point"},
		{"TrainConfig: {sparse_model: True}", ":1: TrainConfig.sparse_model is not done by this program: sparse weights are not kept sparse in training"},
		{"Distillation: {teacher_model_dir: ./big}", ":1: Distillation.teacher_model_dir is not done by this program: the teacher is the model itself before it is quantised"},
		{"QuantPost: {recon_level: region-wise}", ":1: QuantPost.recon_level is not done by this program: weights are not reconstructed block by block; use Distillation, which trains them against the whole model"},
		{"Quantization: {weight_bits: 4}", ":1: Quantization.weight_bits must be 8, found 4: TensorRT's integer kernels work on 8 bits"},
		{"Quantization: {onnx_format: false}", ":1: Quantization.onnx_format must be true, found false: the result is always an ONNX file with QuantizeLinear and DequantizeLinear"},
		{"Quantization: {deploy_backend: mkldnn}", ":1: Quantization.deploy_backend must be tensorrt, found mkldnn: the result is for TensorRT"},
		// No configuration at all.
		{"", ": it is empty; expected sections such as Global and TrainConfig"},
		{"# only a comment\n", ": it is empty; expected sections such as Global and TrainConfig"},
		{"null", ":1: expected sections such as Global and TrainConfig, found nothing"},
		{"Global: {}\n---\nGlobal: {}\n", ":2: a second document begins here; a configuration is one"},
		{"Global: [", ":1: not YAML: did not find expected node content"},
		{"Global:\n\t- x", ":2: not YAML: found character that cannot start any token"},
		{"\x00\x01", ": not YAML: control characters are not allowed"},
		{"\xff\xfe\xfd", ": not YAML: incomplete UTF-16 character"},
		{"Global: {arch: \xc3\x28}", ": not YAML: invalid trailing UTF-8 octet"},
		{"Global: *nobody", ": not YAML: unknown anchor 'nobody' referenced"},
		{"a: &a {<<: *a}\n", ":1: a is not a known section; docs/configuration.md lists all"},
		{"Global: &g\n  <<: {}", ":2: Global has a merge key (<<), which is not read; write the keys out"},
		{"Global: &g {arch: *g}", ":1: Global.arch must be a text, found a mapping"},
		{"Distillation: {node: &n [a, *n]}", ":1: Distillation.node must be a text, found a list"},
		{"Global: {" + strings.Repeat("k", 200) + ": 1}", ":1: Global." + strings.Repeat("k", 57) + "... is not a known key; docs/configuration.md lists all"},
	} {
		_, _, err := Parse("act.yaml", []byte(f.text))
		if err == nil {
			t.Errorf("%q: read", f.text)
			continue
		}
		if got := err.Error(); got != "read configuration act.yaml"+f.want {
			t.Errorf("%q:\n%s, want\nread configuration act.yaml%s", f.text, got, f.want)
		}
		if code := fault.Code(err); code != fault.CodeBadInput {
			t.Errorf("%q: exit code %d", f.text, code)
		}
	}
}

// Texts that try to make the reader work long: each is read or refused at once.
func TestHostileSize(t *testing.T) {
	bomb := "Global: {}\nDistillation:\n  node: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 40; i++ {
		bomb += fmt.Sprintf("x%d: &a%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10))
	}
	inIdle := "Global:\n  input_list:\n  - &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 40; i++ {
		inIdle += fmt.Sprintf("  - &a%d [%s]\n", i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10))
	}
	fill := func(head, unit string) string {
		return head + strings.Repeat(unit, (maxBytes-len(head))/len(unit))
	}
	for name, text := range map[string]string{
		"alias bomb":  bomb,
		"bomb unread": inIdle,
		"flow lists":  fill("Global: ", "["),
		"flow maps":   fill("Global: ", "{a: "),
		"block lists": fill("Global:\n ", "- "),
		"questions":   fill("", "? "),
		"keys":        fill("Global:\n", " k: 1\n"),
		"comments":    fill("", "#\n"),
		"nodes":       fill("Distillation:\n  node:\n", "  - a\n"),
		"quotes":      fill("Global: {arch: \"", "\\n"),
		"tags":        fill("Global: ", "!a "),
		"anchors":     fill("Global: ", "&a "),
		"long word":   fill("Global: {arch: ", "a"),
		"indents":     deepIndents(),
		"too large":   strings.Repeat(" ", maxBytes) + "{}",
	} {
		start := time.Now()
		c, _, err := Parse("act.yaml", []byte(text))
		took := time.Since(start)
		if took > 5*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		switch {
		case name == "bomb unread":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case name == "nodes":
			if err != nil || len(c.Distillation.Node) < 1e5 {
				t.Errorf("%s: %v", name, err)
			}
		case err == nil:
			t.Errorf("%s: read", name)
		case fault.Code(err) != fault.CodeBadInput || len(err.Error()) > 1000:
			t.Errorf("%s: code %d, %d letters: %.200s", name, fault.Code(err), len(err.Error()), err)
		}
		t.Logf("%s: %v %.120v", name, took.Round(time.Millisecond), err)
	}
}

func deepIndents() string {
	var b strings.Builder
	for i := 0; b.Len() < maxBytes-2000; i++ {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "100%s.yaml") // a name is no format
	if err := os.WriteFile(path, []byte(actYOLOv5s), 0o644); err != nil {
		t.Fatal(err)
	}
	c, notes, err := Load(path)
	if err != nil || len(notes) != 0 || c.Train.TargetMetric != 0.365 {
		t.Errorf("%v, notes %q", err, notes)
	}
	if err := os.WriteFile(path, []byte("Global: {a: 1}"), 0o644); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct{ path, want string }{
		{path, path + ":1: Global.a is not a known key"},
		{filepath.Join(dir, "none.yaml"), "none.yaml: no such file"},
		{dir, "it is no file but a folder"},
		{pipe, "it is no file but a pipe"},
		{"/dev/zero", "it is no file but a device"},
	} {
		if _, _, err := Load(f.path); fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), f.want) {
			t.Errorf("%s: %v, want %q", f.path, err, f.want)
		}
	}
}
