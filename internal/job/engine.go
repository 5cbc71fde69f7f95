package job

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"trtact/internal/fault"
	"trtact/trt"
)

// family is the TensorRT that builds the engine.
func (o BuildOptions) family(ctx context.Context) (trt.Family, error) {
	places := trt.DefaultPlaces()
	families, err := trt.Find(ctx, places)
	if err != nil {
		return trt.Family{}, err
	}
	return trt.Choose(families, o.Engine.Backend, o.Engine.Targets, places)
}

// engineOptions are the user's, with the names of model and program.
func (b *building) engineOptions() trt.BuildOptions {
	options := b.o.Engine
	options.Model, options.Program = filepath.Base(b.o.Model), b.o.Program
	return options
}

// particular says whether the options ask for what not every TensorRT has.
func (o BuildOptions) particular() bool {
	e := o.Engine
	return o.INT8Mode != "" && o.INT8Mode != INT8Explicit || e.TimingCache != "" || len(e.TacticSources) > 0 ||
		e.OptimizationLevel != nil || e.SparseWeights || e.VersionCompatible || e.HardwareCompatible != ""
}

// canBuild is an error, a wrong use, when the TensorRT here has not got what is asked
// for: said before the long work. Where there is none at all, that is said at its end.
func (b *building) canBuild(ctx context.Context) error {
	if b.o.NoEngine || !b.o.particular() {
		return nil
	}
	family, err := b.o.family(ctx)
	mode := b.o.INT8Mode
	switch {
	case mode == INT8Fastest && err != nil && fault.Code(err) == fault.CodeNoDevice:
		return fault.Usage(fmt.Errorf("--int8-mode fastest builds both kinds of engine and times them, which takes a GPU: %w", err))
	case err != nil && fault.Code(err) == fault.CodeNoDevice:
		return nil
	case err != nil:
		return err
	case mode == INT8Fastest && !family.CalibrationCache:
		return fault.Usage(fmt.Errorf("--int8-mode fastest builds both kinds of engine and times them, which takes a GPU and TensorRT 8 or 10: here is %s %s", family.Title, family.Version))
	case mode == INT8Implicit && !family.CalibrationCache:
		return fault.Usage(fmt.Errorf("--int8-mode implicit: %s %s takes INT8 from the model alone, TensorRT 8 and 10 have implicit INT8", family.Title, family.Version))
	}
	return family.Check(b.o.Engine)
}

// engine builds what TensorRT runs from the final model.
func (b *building) engine(ctx context.Context, final *Detector) error {
	o, r := b.o, b.r
	b.m.count("build engine", 0, "")
	family, err := b.o.family(ctx)
	if err != nil {
		return err
	}
	// take is what TensorRT gives for one form of d.
	take := func(d *Detector, f form) (*trt.Engine, error) {
		bytes, err := f.model.Marshal()
		if err != nil {
			return nil, err
		}
		engine, err := trt.Build(ctx, family, bytes, f.options)
		if err != nil {
			return nil, err
		}
		engine.Artifact.Detector, err = json.Marshal(d.Spec)
		return engine, err
	}
	build := func(d *Detector, path, lap string) (*trt.Engine, error) {
		start := time.Now()
		mode := o.INT8Mode
		if mode == "" || !d.Quantized {
			mode = INT8Explicit
		}
		var forms []form
		if mode != INT8Implicit {
			f, err := b.explicit(d, family)
			if err != nil {
				return nil, err
			}
			forms = append(forms, f)
			if d == final {
				r.Half = f.half
			}
		}
		if mode != INT8Explicit {
			f, err := b.implicit(d, family)
			if err != nil {
				return nil, err
			}
			forms = append(forms, f)
		}
		var engines []*trt.Engine
		for _, f := range forms {
			e, err := take(d, f)
			if err != nil {
				return nil, err
			}
			engines = append(engines, e)
		}
		engine := engines[0]
		if len(engines) > 1 {
			var err error
			if engine, err = b.faster(ctx, engines); err != nil {
				return nil, err
			}
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
		if b.o.Engine.Targets, err = trt.ParseTargets(engine.Artifact.Targets); err != nil {
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
