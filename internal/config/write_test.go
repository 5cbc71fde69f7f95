package config

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"trtact/internal/fault"
)

// roundTrip writes a configuration and reads it back to an equal one, without
// notes, and the second writing is the first.
func roundTrip(t *testing.T, c *Config) string {
	t.Helper()
	text, err := c.Marshal()
	if err != nil {
		t.Fatalf("%v\n%+v", err, c)
	}
	back, notes, err := Parse("resolved.yaml", text)
	if err != nil || len(notes) != 0 {
		t.Fatalf("%v, notes %q\n%s", err, notes, text)
	}
	if !reflect.DeepEqual(back, c) {
		t.Fatalf("read back\n%+v\nwrote\n%+v\nas\n%s", back, c, text)
	}
	again, err := back.Marshal()
	if err != nil || string(again) != string(text) {
		t.Fatalf("written again (%v)\n%s\nfirst\n%s", err, again, text)
	}
	return string(text)
}

func TestRoundTrip(t *testing.T) {
	roundTrip(t, Default())
	for _, text := range []string{actYOLOv5s, actPPYOLOE,
		"HyperParameterOptimization: {bias_correct: true}\nQuantPost: {skip_tensor_list: [a, 'b: c', '#d']}",
		"Deploy: {shape: 320x416, targets: [sm_75, sm_86], fp16: yes}",
		"TrainConfig: {learning_rate: {type: PiecewiseDecay, boundaries: [10, 20], values: [1, 0.1, 1e-12]}}",
		"TrainConfig: {optimizer_builder: {optimizer: {type: Momentum, use_nesterov: true}, grad_clip: {type: ClipGradByGlobalNorm, clip_norm: 3}}}",
		"Quantization: {not_quant_pattern: [], exclude: ['^a{2}$', \"true\", '12', 'null', ' x ']}",
		"TrainConfig: {epochs: 7}",
	} {
		c, _ := parse(t, text)
		roundTrip(t, c)
	}
	c := Default()
	c.Global.ModelDir = strings.Repeat("long folder/", 50) + "é: 漢字 - [x] {y} 'z' \"w\" #.onnx"
	roundTrip(t, c)
}

// A written file must mean the same to Python's reader, whose numbers have a
// point before an exponent.
func TestNumbersForPython(t *testing.T) {
	for v, want := range map[float64]string{1e-5: "1.0e-05", 1.5e-7: "1.5e-07", 0.02: "0.02", 1: "1.0", 1e21: "1.0e+21", 0: "0.0", -3: "-3.0"} {
		if got := formatNumber(v); got != want {
			t.Errorf("%g: %s, want %s", v, got, want)
		}
	}
	text := roundTrip(t, Default())
	for _, line := range []string{"  learning_rate: 1.0e-05\n", "  epochs: null\n", "  train_iter: 3000\n", "    grad_clip: null\n", "      type: SGD\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	var any map[string]map[string]any
	if err := yaml.Unmarshal([]byte(text), &any); err != nil || any["Global"]["batch_size"] != 1 || any["TrainConfig"]["tolerance"] != 0.05 {
		t.Errorf("%v: %v", err, any)
	}
}

// Changes by flags are checked like a file, as a wrong use.
func TestValidate(t *testing.T) {
	for _, f := range []struct {
		change func(c *Config)
		want   string
	}{
		{func(c *Config) { c.Train.LearningRate.LearningRate = math.NaN() }, "configuration: TrainConfig.learning_rate.learning_rate must be above 0 and at most 10, found NaN"},
		{func(c *Config) { c.Train.Tolerance = math.Inf(1) }, "configuration: TrainConfig.tolerance must be above 0, found +Inf"},
		{func(c *Config) { c.Train.TargetMetric = math.Inf(-1) }, "configuration: TrainConfig.target_metric must be a number, found -Inf"},
		{func(c *Config) { c.Train.TrainIter = 0 }, "configuration: TrainConfig.train_iter and epochs are both not set, so that training would not end"},
		{func(c *Config) { c.Train.TrainIter = -1 }, "configuration: TrainConfig.train_iter must be 1 or more, found -1"},
		{func(c *Config) { c.Quantization.Quantizer = "" }, "configuration: Quantization.quantizer must be one of act, lsq, found \"\""},
		{func(c *Config) { c.Global.ModelDir = "a\x1bb" }, "configuration: Global.model_dir has a control character or a line break in its text"},
		{func(c *Config) { c.Global.ModelDir = "a\xffb" }, "configuration: Global.model_dir is not UTF-8"},
		{func(c *Config) { c.Distillation.Node = []string{"None"} }, "configuration: Distillation.node is None, which means nothing in such a file"},
	} {
		c := Default()
		f.change(c)
		err := c.Validate()
		if err == nil || err.Error() != f.want || fault.Code(err) != fault.CodeUsage {
			t.Errorf("%v, want %s", err, f.want)
		}
		if _, err := c.Marshal(); err == nil {
			t.Errorf("written: %s", f.want)
		}
	}
	c := Default()
	c.Deploy.Batch = 8
	if _, err := c.Marshal(); err == nil || !strings.Contains(err.Error(), "section Deploy has been changed but is not marked as given") {
		t.Errorf("a section that would be lost: %v", err)
	}
	c.Given.Deploy = true
	roundTrip(t, c)
}
