package trt

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"trtact/internal/atomicfile"
	"trtact/internal/fault"
)

// Build makes an engine, by the TensorRT that Choose gave, from the bytes of an
// ONNX file whose constants are all inside. It runs in a child process: what can
// go wrong there, TensorRT's crashes included, is an error. The error is of
// fault.NoDevice when TensorRT finds no device, fault.BadInput when it refuses the
// model, fault.Usage when the options do not fit it; a cancelled ctx stops the
// child at once.
func Build(ctx context.Context, family Family, model []byte, o BuildOptions) (*Engine, error) {
	if err := family.Check(o); err != nil {
		return nil, err
	}
	if len(model) == 0 {
		return nil, fault.BadInput(fmt.Errorf("build %s: the model is empty", o.name()))
	}
	places := DefaultPlaces()
	if o.Places != nil {
		places = *o.Places
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.TimingCache != "" { // the child stands elsewhere
		var err error
		if o.TimingCache, err = filepath.Abs(o.TimingCache); err != nil {
			return nil, fmt.Errorf("timing cache %s: %w", o.TimingCache, err)
		}
	}
	var a *answer
	var dropped []DroppedTarget
	err := withLog(o.Log, func(log string) (err error) {
		o.Log = log
		a, dropped, err = buildFor(ctx, family, model, &o, places)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(a.timings) > 0 {
		if err := atomicfile.Write(o.TimingCache, a.timings); err != nil {
			return nil, fmt.Errorf("timing cache: %w", err)
		}
	}
	engine := &Engine{Bytes: a.engine}
	engine.Artifact = Artifact{
		Format:            Format,
		Program:           o.Program,
		Engine:            File{SHA256: hash(a.engine), Bytes: int64(len(a.engine))},
		Model:             File{Name: o.Model, SHA256: hash(model), Bytes: int64(len(model))},
		Backend:           a.Family.Backend,
		Family:            a.Family.Name,
		Version:           a.Family.Version,
		Inputs:            a.Inputs,
		Outputs:           a.Outputs,
		Layers:            a.Layers,
		BuildSeconds:      a.Seconds,
		BuildPeakRSS:      a.PeakRSS,
		Inspection:        a.Inspection,
		InspectionProblem: a.InspectionProblem,
		DroppedTargets:    dropped,
		Convolutions:      plannedConvolutions(a.engine),

		VersionCompatible: o.VersionCompatible, HardwareCompatible: o.HardwareCompatible, Refit: o.Refit,
		Implicit: len(o.CalibrationCache) > 0,
	}
	for _, t := range o.Targets {
		engine.Artifact.Targets = append(engine.Artifact.Targets, TargetName(t))
	}
	engine.Artifact.Precision = engine.Artifact.precision(o)
	engine.Artifact.Warnings = engine.Artifact.warnings()
	for i := range engine.Artifact.Inputs {
		input := &engine.Artifact.Inputs[i]
		if p, ok := o.Shapes[input.Name]; ok {
			input.Profile = &p
		}
	}
	return engine, nil
}

// smInError finds the GPU for which TensorRT for RTX says it cannot compile, as
// in "Cannot compile operation 'x' for Turing (SM75): FP32 GEMM is not supported".
var smInError = regexp.MustCompile(`\(SM(\d+)\)`)

// buildFor runs the build for the options' targets and sets them to those built
// for. Where the user named none and one of them cannot run the model, or would
// take INT8 from all, it is dropped and the build goes on with the others.
func buildFor(ctx context.Context, family Family, model []byte, o *BuildOptions, places Places) (*answer, []DroppedTarget, error) {
	all := len(o.Targets) == 0
	if all {
		o.Targets = slices.Clone(family.Targets)
	}
	var dropped []DroppedTarget
	if CheckINT8Targets(o.Targets) != nil && hasINT8Convolution(model) {
		if !all {
			return nil, nil, CheckINT8Targets(o.Targets)
		}
		o.Targets = slices.DeleteFunc(o.Targets, func(t int) bool { return t == floatOnly })
		dropped = append(dropped, DroppedTarget{Target: TargetName(floatOnly), Reason: floatOnlyReason(family.Version)})
	}
	for {
		j := job{
			Request: request{Action: actionBuild, Shim: family.Shim, Libraries: places.Libraries, Loader: places.Loader, Options: *o},
			what:    "building " + o.name(),
			model:   model,
			timeout: o.Timeout,
			log:     o.Log,
		}
		a, err := j.run(ctx)
		if err == nil || a == nil || !all || len(o.Targets) < 2 {
			return a, dropped, err
		}
		found := smInError.FindStringSubmatch(a.Error)
		if found == nil {
			return a, dropped, err
		}
		target, _ := strconv.Atoi(found[1]) // digits
		at := slices.Index(o.Targets, target)
		if at < 0 {
			return a, dropped, err
		}
		o.Targets = slices.Delete(o.Targets, at, at+1)
		dropped = append(dropped, DroppedTarget{Target: TargetName(target), Reason: a.Error})
	}
}

// name is the model for messages.
func (o BuildOptions) name() string {
	if strings.TrimSpace(o.Model) == "" {
		return "the model"
	}
	return o.Model
}
