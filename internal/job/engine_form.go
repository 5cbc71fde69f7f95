// In which form a model goes to TensorRT. The same wish, FP16 or INT8, is written
// into the graph for one version and told in options to another.

package job

import (
	"fmt"
	"regexp"
	"slices"

	"trtact/calib"
	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/half"
	"trtact/trt"
)

// INT8Mode is how TensorRT is told what to compute in INT8.
type INT8Mode string

// The modes. Only TensorRT 8 and 10 have INT8Implicit, and so INT8Fastest.
const (
	INT8Explicit INT8Mode = "explicit" // Q/DQ pairs in the model, which TensorRT obeys
	INT8Implicit INT8Mode = "implicit" // a float model and a table of scales: TensorRT chooses
	INT8Fastest  INT8Mode = "fastest"  // both are built and timed, the faster engine is kept
)

// INT8Modes are all of them.
func INT8Modes() []INT8Mode { return []INT8Mode{INT8Explicit, INT8Implicit, INT8Fastest} }

// form is what TensorRT builds from.
type form struct {
	model   *onnx.Model
	options trt.BuildOptions
	half    *half.Report // of a graph that was converted
}

// explicit writes FP16 into the graph where types come from there; elsewhere it
// is allowed, and what float16 would spoil is forbidden it layer by layer.
func (b *building) explicit(d *Detector, f trt.Family) (form, error) {
	r := form{model: d.Model, options: b.engineOptions()}
	keep, err := keptFloat(d.Model.Graph, b.o.KeepFP32)
	if err != nil || !b.o.FP16 {
		return r, err
	}
	o := half.Options{Heads: d.Heads, Opset19: true, Ranges: b.r.ranges, Keep: keep}
	if !f.WeakTypes {
		converted, report, err := half.Convert(d.Model, o)
		if err != nil {
			return r, fmt.Errorf("convert %s to float16: %w", b.o.Model, err)
		}
		r.model, r.half = converted, &report
		return r, nil
	}
	r.options.FP16 = true
	r.options.LayerTypes, err = floatLayers(d.Model, o)
	return r, err
}

// implicit takes the pairs out of a Q/DQ model again.
func (b *building) implicit(d *Detector, f trt.Family) (form, error) {
	r := form{options: b.engineOptions()}
	parts, err := calib.MakeImplicit(d.Model, b.r.ranges)
	if err != nil {
		return r, err
	}
	r.model, r.options.INT8, r.options.FP16 = parts.Model, true, b.o.FP16
	if r.options.CalibrationCache, err = parts.Scales.Text(f.Version); err != nil {
		return r, err
	}
	r.options.LayerTypes = map[string]string{}
	if b.o.FP16 {
		keep, err := keptFloat(parts.Model.Graph, b.o.KeepFP32)
		if err != nil {
			return r, err
		}
		if r.options.LayerTypes, err = floatLayers(parts.Model, half.Options{Heads: d.Heads, Ranges: b.r.ranges, Keep: keep}); err != nil {
			return r, err
		}
	}
	for _, name := range parts.Float {
		if r.options.LayerTypes[name] == "" {
			r.options.LayerTypes[name] = map[bool]string{true: "fp16", false: "fp32"}[b.o.FP16]
		}
	}
	return r, nil
}

func floatLayers(m *onnx.Model, o half.Options) (map[string]string, error) {
	names, err := half.Floats(m, o)
	types := map[string]string{}
	for _, name := range names {
		types[name] = "fp32"
	}
	return types, err
}

// keptFloat names the nodes that match one of the patterns, each of which has to
// match some.
func keptFloat(g *onnx.Graph, patterns []string) ([]string, error) {
	var names []string
	for _, text := range patterns {
		pattern, err := regexp.Compile(text)
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("--keep-fp32 %q: %w", text, err))
		}
		before := len(names)
		for _, n := range g.Nodes {
			if pattern.MatchString(n.Name) && !slices.Contains(names, n.Name) {
				names = append(names, n.Name)
			}
		}
		if len(names) == before {
			return nil, fault.Usage(fmt.Errorf("--keep-fp32 %q matches no layer that is not named already", text))
		}
	}
	return names, nil
}
