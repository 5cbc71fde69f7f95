// From a configuration to the options of a build: what every key means here.

package job

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"trtact/calib"
	"trtact/internal/config"
	"trtact/internal/fault"
	"trtact/qat"
	"trtact/trt"
)

// startPictures is how many pictures training starts from where the
// configuration has no section QuantPost: more bring nothing
// (docs/calibration.md).
const startPictures = 128

// Configure gives the options that a configuration stands for, without names of
// output files. The model's path is left out where the configuration names none.
// Errors name the key.
func Configure(c *config.Config) (BuildOptions, error) {
	g, deploy := &c.Global, &c.Deploy
	o := BuildOptions{
		INT8: true, FP16: deploy.FP16, EngineOfFloat: !deploy.INT8, FloatEngine: deploy.FloatEngine,
		Load:     LoadOptions{Family: g.Family(), Height: deploy.Shape.Height, Width: deploy.Shape.Width, Batch: deploy.Batch},
		ValLimit: g.ValLimit, TopK: g.NMSTopK,
		OriginMetric: c.Train.OriginMetric, Tolerance: c.Train.Tolerance,
		Engine: trt.BuildOptions{Backend: deploy.Backend},
	}
	var err error
	if g.ModelDir != "" || g.ModelFilename != "" {
		if o.Model, err = g.Model(); err != nil {
			return o, err
		}
	}
	o.Data, o.Images = g.Data()
	if o.Val, o.ValImages = g.Val(); g.EvalCmd != "" {
		o.Val, o.ValImages = "", ""
		if g.Evaluation {
			if o.EvalCommand, err = ParseEvalCommand(g.EvalCmd); err != nil {
				return o, err
			}
		}
	}
	if o.Engine.Targets, err = trt.ParseTargets(deploy.Targets); err != nil {
		return o, fault.Usage(fmt.Errorf("configuration: Deploy.targets: %w", err))
	}
	if deploy.ONNXWeights == "int8" {
		o.Weights = calib.Int8Weights
	}
	if o.Calibrate, err = calibration(c); err != nil {
		return o, err
	}
	switch c.Strategy() {
	case config.Distil:
		o.Distil.Mode = DistilOn
	case config.Auto:
		o.Distil.Mode = DistilAuto
		c = withOwnRecipe(c)
	}
	if o.Distil.wanted() {
		if o.Calibrate.PerTensor {
			return o, fault.Usage(errors.New("configuration: weight_quantize_type abs_max is done without training only; train with channel_wise_abs_max, which no TensorRT runs slower"))
		}
		o.Distil.LogEvery = c.Train.LoggingIter
		if o.Distil.Options, err = qat.FromConfig(c); err != nil {
			return o, err
		}
	}
	return o, nil
}

// calibration is how the scales are found that are kept or trained from.
func calibration(c *config.Config) (CalibrateOptions, error) {
	q, post := &c.Quantization, &c.QuantPost
	types, full, weights := q.OpTypes, q.FullQuantize, q.WeightType
	if !c.Given.Quantization && c.Given.QuantPost {
		types, full, weights = post.OpTypes, post.FullQuantize, post.WeightType
	}
	o := CalibrateOptions{
		Method: AutoMethod, Placement: calib.DefaultOptions(), Images: post.Images(),
		Biases: post.BiasCorrection, Equalise: Equalise(post.Equalise), SkipTensors: post.SkipTensors,
		PerTensor: weights == "abs_max",
	}
	if c.Given.Quantization || c.Given.QuantPost {
		o.Layers = layerKinds(types)
	}
	p := &o.Placement
	p.Concat, p.QuantizeHeads = q.Concat, q.Heads
	p.Thin, p.Pooled = full, full || q.Pooled
	p.Include, p.Exclude = q.Include, slices.Clone(q.Exclude)
	for _, part := range q.NotQuantPattern {
		p.Exclude = append(p.Exclude, regexp.QuoteMeta(part))
	}
	var err error
	if m := post.Method(); m != string(AutoMethod) {
		if o.Method, err = calib.ParseMethod(m); err != nil {
			return o, fault.Usage(fmt.Errorf("configuration: QuantPost.algo: %w", err))
		}
	}
	switch c.Strategy() {
	case config.PTQSearch:
		o.Biases = false // the search decides
		o.Grid, err = searchGrid(&c.Search, post.BatchSize)
		if err == nil {
			o.Images = slices.Max(o.Grid.Images)
		}
	case config.Distil, config.Auto:
		if !c.Given.QuantPost {
			o.Images = startPictures
		}
		if !q.QuantPostFirst { // then scales come about in training; it begins where nothing is clipped
			o.Method, o.Weights, o.Images = calib.AbsMax, calib.AbsMax, post.BatchSize
		}
	}
	return o, err
}

// layerKinds translates ACT's names of operators.
func layerKinds(types []string) []LayerKind {
	kinds := []LayerKind{}
	for _, t := range types {
		kind := Products
		switch t {
		case "conv2d":
			kind = Convolutions
		case "depthwise_conv2d":
			kind = Depthwise
		case "conv2d_transpose":
			kind = Transposed
		}
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

func searchGrid(s *config.Search, batch int) (*Grid, error) {
	g := &Grid{Biases: s.BiasCorrect, Trials: s.MaxQuantCount}
	for _, name := range s.Methods() {
		m, err := calib.ParseMethod(name)
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("configuration: HyperParameterOptimization.ptq_algo: %w", err))
		}
		g.Methods = append(g.Methods, m)
	}
	for _, t := range s.WeightTypes {
		g.PerTensor = append(g.PerTensor, t == "abs_max")
	}
	for i := len(s.BatchNum) - 1; i >= 0; i-- { // most pictures first
		g.Images = append(g.Images, s.BatchNum[i]*batch)
	}
	return g, nil
}
