package job

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"trtact/internal/onnx/half"
	"trtact/trt"
)

// engine builds what TensorRT runs from the final model.
func (b *building) engine(ctx context.Context, final *Detector) error {
	o, r := b.o, b.r
	b.m.count("build engine", 0, "")
	places := trt.DefaultPlaces()
	families, err := trt.Find(ctx, places)
	if err != nil {
		return err
	}
	family, err := trt.Choose(families, o.Engine.Backend, o.Engine.Targets, places)
	if err != nil {
		return err
	}
	build := func(d *Detector, path, lap string) (*trt.Engine, error) {
		start := time.Now()
		options := o.Engine
		options.Model, options.Program = filepath.Base(o.Model), o.Program
		model := d.Model
		switch {
		case o.FP16 && family.WeakTypes:
			options.FP16 = true
		case o.FP16: // types come from the graph
			converted, report, err := half.Convert(d.Model, half.Options{Heads: d.Heads, Opset19: true, Ranges: r.ranges})
			if err != nil {
				return nil, fmt.Errorf("convert %s to float16: %w", o.Model, err)
			}
			if model = converted; d == final {
				r.Half = &report
			}
		}
		bytes, err := model.Marshal()
		if err != nil {
			return nil, err
		}
		engine, err := trt.BuildWith(ctx, family, bytes, options)
		if err != nil {
			return nil, err
		}
		r.lap(lap, start)
		return engine, trt.Write(path, engine)
	}
	engine, err := build(final, o.enginePath(), "build")
	if err != nil {
		return err
	}
	r.Files.Engine = o.enginePath()
	r.Engine = &engine.Artifact
	r.Size.Engine = engine.Artifact.Engine.Bytes
	if o.FloatEngine && final != b.d {
		// For the same GPUs, so that the two can be compared.
		if o.Engine.Targets, err = trt.ParseTargets(engine.Artifact.Targets); err != nil {
			return err
		}
		engine, err := build(b.d, o.floatEnginePath(), "build_float")
		if err != nil {
			return err
		}
		r.Files.FloatEngine = o.floatEnginePath()
		r.Size.EngineFloat = engine.Artifact.Engine.Bytes
	}
	return nil
}
