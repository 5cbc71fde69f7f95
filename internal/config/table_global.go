// Keys of the sections Global and Deploy: what goes in and what comes out.

package config

func globalKeys() []Key {
	return []Key{
		{Name: "model_dir", Source: fromExamples, null: true, field: func(c *Config) any { return &c.Global.ModelDir },
			Meaning: "The ONNX file, or its folder when `model_filename` is given."},
		{Name: "model_filename", Source: fromExamples, null: true, field: func(c *Config) any { return &c.Global.ModelFilename },
			Meaning: "The ONNX file in `model_dir`. A `.pdmodel` has to be exported to ONNX first."},
		{Name: "params_filename", idle: true, Meaning: "an ONNX file holds its weights itself"},
		{Name: "image_path", Source: fromExamples, null: true, field: func(c *Config) any { return &c.Global.ImagePath },
			Meaning: "Unlabelled pictures: a folder, a list file, a COCO JSON, a VOC folder or `.npy`/`.npz` inputs. Wins over the `coco_train_` keys."},
		{Name: "image_dir", Source: ours, null: true, field: func(c *Config) any { return &c.Global.ImageDir },
			Meaning: "Where the pictures of a COCO JSON in `image_path` are."},
		{Name: "coco_dataset_dir", Also: []string{"dataset_dir"}, Source: fromExamples, null: true, field: func(c *Config) any { return &c.Global.DatasetDir },
			Meaning: "What the four keys below are relative to."},
		{Name: "coco_train_image_dir", Also: []string{"train_image_dir"}, Source: fromExamples, null: true, field: func(c *Config) any { return &c.Global.TrainImageDir },
			Meaning: "Folder of the pictures to train on."},
		{Name: "coco_train_anno_path", Also: []string{"train_anno_path"}, Source: fromExamples, null: true, field: func(c *Config) any { return &c.Global.TrainAnnoPath },
			Meaning: "COCO JSON that lists them; their labels are not looked at."},
		{Name: "coco_val_image_dir", Also: []string{"val_image_dir"}, Source: fromExamples, null: true, field: func(c *Config) any { return &c.Global.ValImageDir },
			Meaning: "Folder of the pictures to measure on."},
		{Name: "coco_val_anno_path", Also: []string{"val_anno_path"}, Source: fromExamples, null: true, field: func(c *Config) any { return &c.Global.ValAnnoPath },
			Meaning: "COCO JSON with their labels."},
		{Name: "val_limit", Source: ours, null: true, span: span{1, most, false}, field: func(c *Config) any { return &c.Global.ValLimit },
			Meaning: "Measure on so many pictures only; null: on all."},
		{Name: "Evaluation", Source: ours, field: func(c *Config) any { return &c.Global.Evaluation },
			Meaning: "Measure accuracy on the labelled pictures before, on the way and after."},
		{Name: "eval_cmd", Source: ours, null: true, field: func(c *Config) any { return &c.Global.EvalCmd },
			Meaning: "A command that measures instead: `{onnx}` in it stands for the model, and it prints one number, more being better. It runs with your rights, so look at this line in a file from somebody else."},
		{Name: "arch", Source: fromExamples, null: true, field: func(c *Config) any { return &c.Global.Arch },
			Meaning: "The detector's family, as `YOLOv5` or `PPYOLOE`; null: told from the graph."},
		{Name: "batch_size", Source: fromExamples, span: span{1, 4096, false}, field: func(c *Config) any { return &c.Global.BatchSize },
			Meaning: "Pictures in one step of training; `TrainConfig.accumulate` multiplies it."},
		{Name: "nms_num_top_k", Source: fromExamples, null: true, span: span{1, most, false}, field: func(c *Config) any { return &c.Global.NMSTopK },
			Meaning: "Candidates that enter NMS when accuracy is measured; null: the family's own number."},
		{Name: "include_nms", idle: true, Meaning: "distillation nodes lie before the NMS, whether the model has one or not"},
		{Name: "reader_config", idle: true, Meaning: "pictures are prepared as the detector's family does"},
		{Name: "input_list", idle: true, Meaning: "the model's inputs are read from its graph"},
		{Name: "input_name", idle: true, Meaning: "the model's inputs are read from its graph"},
		{Name: "input_shapes", refused: true, Meaning: "the size is set by Deploy.shape"},
		{Name: "data_dir", refused: true, Meaning: "this is a folder in ImageNet's layout; name the pictures in image_path"},
		{Name: "deploy_hardware", refused: true, Meaning: "there is no table of latencies to choose a strategy by; measure the engine with `trtact bench`"},
	}
}

func deployKeys() []Key {
	return []Key{
		{Name: "engine", Source: ours, field: func(c *Config) any { return &c.Deploy.Engine },
			Meaning: "Build the engine; false leaves it at the Q/DQ ONNX file."},
		{Name: "shape", Source: ours, null: true, field: func(c *Config) any { return &c.Deploy.Shape },
			Meaning: "Size of the picture that the network gets, in calibration and training too; null: the model's own."},
		{Name: "batch", Source: ours, span: span{1, 4096, false}, field: func(c *Config) any { return &c.Deploy.Batch },
			Meaning: "Pictures at once in the engine."},
		{Name: "backend", Source: ours, allowed: []string{"auto", "tensorrt", "rtx"}, field: func(c *Config) any { return &c.Deploy.Backend },
			Meaning: "TensorRT, which needs a GPU to build, or TensorRT for RTX, which does not; auto takes the first that can build here."},
		{Name: "targets", Source: ours, field: func(c *Config) any { return &c.Deploy.Targets },
			Meaning: "GPUs to build for, as `sm_86`, with TensorRT for RTX; empty: all that it supports, in INT8 all but sm_75."},
		{Name: "int8", Source: ours, field: func(c *Config) any { return &c.Deploy.INT8 },
			Meaning: "Build from the quantised model; false builds the float one."},
		{Name: "fp16", Source: ours, field: func(c *Config) any { return &c.Deploy.FP16 },
			Meaning: "Allow FP16 for what is not INT8."},
		{Name: "onnx_weights", Source: ours, allowed: []string{"float", "int8"}, field: func(c *Config) any { return &c.Deploy.ONNXWeights },
			Meaning: "Form of quantised weights in the ONNX file; int8 is a quarter of the size, but not for TensorRT 8.4."},
		{Name: "float_engine", Source: ours, field: func(c *Config) any { return &c.Deploy.FloatEngine },
			Meaning: "Build an engine of the float model too, to compare."},
	}
}
