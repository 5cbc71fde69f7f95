package job

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"trtact/calib"
	"trtact/internal/fault"
	"trtact/internal/roofline"
	"trtact/internal/rss"
	"trtact/trt"
)

// BuildOptions are the main job's.
type BuildOptions struct {
	Model string
	// Output is the engine's file; the others are named after it. With SaveDir all
	// files go into that folder instead, under plain names.
	Output  string
	SaveDir string
	Load    LoadOptions
	INT8    bool
	FP16    bool

	Data      string // calibration images or arrays, in any form that OpenSamples knows
	Images    string // where a COCO JSON's files are found
	Val       string // labelled images; "": accuracy is not measured by them
	ValImages string
	ValLimit  int // at most so many images; 0: all
	TopK      int // candidates that enter suppression; 0: the usual number
	// EvalCommand measures instead of the labelled images.
	EvalCommand *EvalCommand
	// OriginMetric is what the float model is known to reach; 0: not compared.
	OriginMetric, Tolerance float64

	Calibrate CalibrateOptions
	Distil    DistilOptions
	Weights   calib.WeightForm // in the Q/DQ file
	Plan      string           // a plan file to obey instead of calibrating

	// Engine says how TensorRT builds; its Model, types and scales are filled in here.
	Engine trt.BuildOptions
	// INT8Mode is INT8Explicit when empty.
	INT8Mode INT8Mode
	// KeepFP32 are regular expressions: with FP16, layers whose names match stay float32.
	KeepFP32 []string
	// NoEngine ends the job with the Q/DQ model.
	NoEngine bool
	// EngineOfFloat builds the engine from the float model, quantised or not.
	EngineOfFloat bool
	// FloatEngine builds the float model too, to compare sizes.
	FloatEngine bool
	// Work keeps the calibration and the training's checkpoint, so that a second run
	// with the same input goes on from them; "": they are kept only while training runs.
	Work string
	// Resume goes on from an interrupted training's checkpoint.
	Resume  bool
	Report  string       // folder of result.json; "": beside the other files
	GPU     roofline.GPU // whose latency is estimated where none is measured; the zero value is roofline.Default
	Program string       // version of this program
	Command []string
}

// building is one run of Build.
type building struct {
	m      *Machine
	o      BuildOptions
	r      *Result
	d      *Detector // at the engine's batch
	single *Detector // the same for one image: accuracy, calibration and training run on it
	in     inputs
	meter  *meter    // nil: accuracy is not measured
	float  *measured // the model as it came
	// untrained is the form that quantising alone gave; nil where there is none.
	untrained *candidate
	// spent is what layers take on this machine's GPU; nil where that is not known.
	spent *times
	// diverged is the error of a training that went astray. Its best state up to then
	// is as good a result as any.
	diverged error
}

// Build is the main job: from a float model and pictures to an INT8 engine and
// its measured accuracy. Without a TensorRT that can build here, everything but
// the engine is written and the error is of fault.NoDevice. A training that went
// astray is an error too, and everything is written all the same.
func (m *Machine) Build(ctx context.Context, o BuildOptions) (*Result, error) {
	if m.Group != nil && m.Group.Rank() != 0 {
		err := m.help(ctx, o)
		m.leave(err)
		return nil, err
	}
	started := time.Now()
	b, err := m.begin(o)
	if m.Group != nil {
		if err = m.begun(ctx, b, err); err != nil {
			m.leave(err)
		}
	}
	if err != nil {
		return nil, err
	}
	b.r.lap("load", started)
	r, err := b.build(ctx, started)
	b.dismiss(ctx, err)
	return r, err
}

// build does the job, which begin has read everything for.
func (b *building) build(ctx context.Context, started time.Time) (*Result, error) {
	o := b.o
	if err := b.canBuild(ctx); err != nil {
		return nil, err
	}
	if err := b.baseline(ctx); err != nil {
		return nil, err
	}
	final := b.d
	if o.INT8 && !b.d.Quantized {
		var err error
		if final, err = b.quantize(ctx); err != nil {
			return nil, err
		}
	}
	b.dismiss(ctx, nil) // what follows needs nobody else
	if o.EngineOfFloat {
		final = b.d
	}
	if err := b.findRanges(ctx, final); err != nil {
		return nil, err
	}
	var missing error
	if !o.NoEngine {
		missing = b.engine(ctx, final)
		if missing != nil && fault.Code(missing) != fault.CodeNoDevice {
			return nil, missing
		}
		if _, err := os.Stat(o.enginePath()); err == nil && missing != nil {
			slog.Warn(o.enginePath() + " is of an earlier build: none was built now")
		}
	}
	b.r.PeakRSS = rss.Peak()
	if err := b.writeReport(ctx, started); err != nil {
		return nil, err
	}
	if err := b.r.Write(b.r.Files.Result); err != nil {
		return nil, err
	}
	return b.r, cmp.Or(b.diverged, missing)
}

// begin reads everything that the job needs, so that what is wrong with it is
// said before the work begins.
func (m *Machine) begin(o BuildOptions) (*building, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return m.beginAt(o)
}

// beginAt is begin on any process: it looks at nothing that is to be written.
func (m *Machine) beginAt(o BuildOptions) (*building, error) {
	d, err := LoadDetector(o.Model, o.Load)
	if err != nil {
		return nil, err
	}
	if err := o.suits(d); err != nil {
		return nil, err
	}
	if why := trt.FloatOnly(o.Engine.Targets); why != "" && !o.NoEngine && !o.EngineOfFloat && (o.INT8 || d.Quantized) {
		slog.Warn(why)
	}
	for _, note := range d.Notes(o.Load) {
		slog.Info(note)
	}
	b := &building{m: m, o: o, d: d, r: &Result{Program: o.Program, Command: o.Command, Seconds: map[string]float64{}}}
	b.r.describe(d)
	b.r.data = o.Data
	if m.Device != nil {
		b.r.Device = m.Device.Name() + ", " + m.Device.Version()
	}
	b.r.Files.Result = o.resultPath()
	if b.single, err = d.atBatchOne(o.Load); err != nil {
		return nil, err
	}
	if b.in, err = o.open(b.single); err != nil {
		return nil, err
	}
	b.in.samples = m.keeping(b.in.samples)
	b.meter = m.newMeter(o, b.in.val)
	return b, nil
}

// suits checks the options against the model.
func (o BuildOptions) suits(d *Detector) error {
	switch {
	case o.Distil.Mode == DistilOn && d.Quantized:
		return fault.Usage(fmt.Errorf("%s is quantised already: train its float model", o.Model))
	case o.INT8 && !d.Quantized && o.Data == "" && o.Plan == "":
		return fault.Usage(fmt.Errorf("--int8 needs --data: pictures to find the scales of %s with", o.Model))
	case o.Distil.Mode == DistilOn && o.Data == "":
		return fault.Usage(fmt.Errorf("training needs --data: pictures to train %s on, with or without labels", o.Model))
	}
	if o.NoEngine || o.EngineOfFloat || !o.INT8 && !d.Quantized {
		return nil
	}
	if err := symmetric(d.Model); err != nil {
		return err
	}
	return trt.CheckINT8Targets(o.Engine.Targets)
}
