package config

import (
	"path/filepath"
	"slices"
	"testing"

	"trtact/calib"
	"trtact/internal/detect"
	"trtact/internal/fault"
)

func TestStrategy(t *testing.T) {
	for text, want := range map[string]Strategy{
		"{}":                           Auto,
		"Deploy: {}":                   Auto,
		"QuantPost: ":                  PTQ,
		"HyperParameterOptimization: ": PTQSearch,
		"QuantPost: {}\nHyperParameterOptimization: ":      PTQSearch,
		"Quantization: {}\nHyperParameterOptimization: {}": PTQSearch,
		"Quantization: {}":                                 Distil,
		"QuantAware: {}\nDistillation: {}":                 Distil,
		"Distillation: {}\nHyperParameterOptimization: {}": Distil,
		"Distillation: {}\nQuantPost: {}\nTrainConfig: {}": Distil,
	} {
		if c, _ := parse(t, text); c.Strategy() != want {
			t.Errorf("%q: %s, want %s", text, c.Strategy(), want)
		}
	}
	for text, want := range map[string]bool{"{}": false, "Deploy: {}": true, "Deploy: {engine: false}": false} {
		if c, _ := parse(t, text); c.WantsEngine() != want {
			t.Errorf("%q: engine %v", text, !want)
		}
	}
}

func TestModel(t *testing.T) {
	for _, f := range []struct {
		g    Global
		want string // "" for an error
	}{
		{Global{ModelDir: "./yolov5s.onnx"}, "./yolov5s.onnx"},
		{Global{ModelDir: "models", ModelFilename: "a.onnx"}, "models/a.onnx"},
		{Global{ModelFilename: "a.onnx"}, "a.onnx"},
		{Global{ModelDir: "m", ModelFilename: "model.pdmodel"}, ""},
		{Global{ModelDir: "m/inference.json"}, ""},
		{Global{}, ""},
	} {
		got, err := f.g.Model()
		if got != f.want || (f.want == "") != (fault.Code(err) == fault.CodeBadInput) {
			t.Errorf("%+v: %q, %v", f.g, got, err)
		}
	}
}

func TestFamily(t *testing.T) {
	for arch, want := range map[string]string{
		"": "auto", "YOLO": "auto", "YOLOv5": "yolov5", "YOLOv6": "yolov6", "YOLOv7": "yolov7", "yolov7-tiny": "yolov7",
		"PPYOLOE": "ppyoloe", "PP-YOLOE": "ppyoloe", "PPYOLOE_plus": "ppyoloe", "YOLOv8s": "yolov8", "PicoDet": "picodet", "keypoint": "none", "None": "none",
	} {
		if got := (&Global{Arch: arch}).Family(); got != want {
			t.Errorf("%s: %s, want %s", arch, got, want)
		}
	}
	for _, f := range detect.Families() {
		if got := (&Global{Arch: f}).Family(); got != f {
			t.Errorf("%s: %s", f, got)
		}
	}
	for _, arch := range []string{"nonesuch", "autoencoder"} {
		if f, ok := familyOf(arch); ok {
			t.Errorf("%s is %s", arch, f)
		}
	}
}

func TestPictures(t *testing.T) {
	coco := Global{DatasetDir: "d/coco/", TrainImageDir: "train2017", TrainAnnoPath: "a/train.json",
		ValImageDir: "val2017", ValAnnoPath: "a/val.json", Evaluation: true}
	both, folder, off, whole := coco, coco, coco, coco
	both.ImagePath, both.ImageDir = "list.txt", "pictures"
	folder.TrainAnnoPath, folder.ValAnnoPath = "", filepath.FromSlash("/abs/val.json")
	off.Evaluation = false
	whole.TrainImageDir, whole.ValImageDir = "", ""
	for _, f := range []struct {
		g                             Global
		data, images, val, valPicture string
	}{
		{Global{Evaluation: true}, "", "", "", ""},
		{coco, "d/coco/a/train.json", "d/coco/train2017", "d/coco/a/val.json", "d/coco/val2017"},
		{both, "list.txt", "pictures", "d/coco/a/val.json", "d/coco/val2017"},
		{folder, "d/coco/train2017", "", "/abs/val.json", "d/coco/val2017"},
		{off, "d/coco/a/train.json", "d/coco/train2017", "", ""},
		{whole, "d/coco/a/train.json", "", "d/coco/a/val.json", ""},
	} {
		data, images := f.g.Data()
		val, valImages := f.g.Val()
		if data != f.data || images != f.images || val != f.val || valImages != f.valPicture {
			t.Errorf("%+v: %q %q %q %q", f.g, data, images, val, valImages)
		}
	}
}

// Every algorithm that a file may name is a method that calib knows, and means
// what ACT means by it.
func TestMethods(t *testing.T) {
	for algo, want := range map[string]calib.Method{
		"KL": calib.Entropy, "mse": calib.MSE, "emd": calib.EMD, "avg": calib.MeanAbsMax,
		"abs_max": calib.AbsMax, "min_max": calib.AbsMax, "hist": calib.Percentile(99.9),
	} {
		q := QuantPost{Algo: algo, HistPercent: 0.999}
		if got, err := calib.ParseMethod(q.Method()); err != nil || got != want {
			t.Errorf("%s: %s, %v", algo, got, err)
		}
	}
	for _, keys := range [][]Key{quantPostKeys(), searchKeys()} {
		for _, k := range keys {
			if k.Name != "algo" && k.Name != "ptq_algo" {
				continue
			}
			for _, a := range k.allowed {
				if m := method(a, 0.99999); m != "auto" {
					if _, err := calib.ParseMethod(m); err != nil {
						t.Errorf("%s: %v", a, err)
					}
				}
			}
		}
	}
	s := Default().Search
	if got, want := s.Methods(), []string{"entropy", "percentile:98", "percentile:99.9", "mean-absmax", "mse"}; !slices.Equal(got, want) {
		t.Errorf("search tries %q, want %q", got, want)
	}
	s = Search{Algos: []string{"abs_max", "min_max", "hist"}, HistPercent: []float64{1, 1}}
	if got, want := s.Methods(), []string{"absmax", "percentile:100"}; !slices.Equal(got, want) {
		t.Errorf("search tries %q, want %q", got, want)
	}
	if n := (&QuantPost{BatchSize: 32}).Images(); n != 0 {
		t.Errorf("%d pictures for no batch_nums", n)
	}
	if n := (&QuantPost{BatchSize: 32, BatchNums: 10}).Images(); n != 320 {
		t.Errorf("%d pictures for 10 batches", n)
	}
}
