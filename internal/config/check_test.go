package config

import (
	"math"
	"testing"

	"trtact/internal/fault"
)

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
	}
}
