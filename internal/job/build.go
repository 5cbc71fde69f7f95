package job

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"trtact/calib"
	"trtact/internal/coco"
	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/trt"
)

// BuildOptions are the main job's.
type BuildOptions struct {
	Model  string
	Output string // engine file; the others are named after it
	Load   LoadOptions
	INT8   bool
	FP16   bool

	Data      string // calibration images, in any form that coco.Open knows
	Images    string // where a COCO JSON's files are found
	Val       string // labelled images; "": accuracy is not measured
	ValImages string
	ValLimit  int // at most so many images; 0: all

	Calibrate CalibrateOptions
	Weights   calib.WeightForm // in the Q/DQ file
	Plan      string           // a plan file to obey instead of calibrating

	// Engine says how TensorRT builds; its Model and FP16 are filled in here.
	Engine trt.BuildOptions
	// FloatEngine builds the float model too, to compare sizes.
	FloatEngine bool
	// Work keeps the calibration, so that a second run with the same input starts
	// from it; "": nothing is kept.
	Work    string
	Report  string // folder of result.json beside the engine's; "": the engine's
	Program string // version of this program
	Command []string
}

// Build is the main job: from a float model and pictures to an INT8 engine and
// its measured accuracy. Without a TensorRT that can build here, everything but
// the engine is written and the error is of fault.NoDevice.
func (m *Machine) Build(ctx context.Context, o BuildOptions) (*Result, error) {
	started := time.Now()
	r := &Result{Program: o.Program, Command: o.Command, Seconds: map[string]float64{}}
	d, err := LoadDetector(o.Model, o.Load)
	if err != nil {
		return nil, err
	}
	if o.INT8 && !d.Quantized && o.Data == "" && o.Plan == "" {
		return nil, fault.Usage(fmt.Errorf("--int8 needs --data: pictures to find the scales of %s with", o.Model))
	}
	r.describe(d)

	// Accuracy and calibration run one image at a time, whatever batch the engine
	// is for.
	single, err := d.atBatchOne(o.Load)
	if err != nil {
		return nil, err
	}
	var val *coco.Dataset
	if o.Val != "" {
		if val, err = coco.Open(o.Val, o.ValImages); err != nil {
			return nil, err
		}
		val = val.First(o.ValLimit)
		if err := m.accuracy(ctx, r, "float", single, val); err != nil {
			return nil, err
		}
	}
	r.lap("load", started)

	final := d
	if o.INT8 && !d.Quantized {
		if final, err = m.quantize(ctx, r, d, single, val, o); err != nil {
			return nil, err
		}
	}
	if err := m.engine(ctx, r, d, final, o); err != nil {
		r.PeakRSS = peakRSS()
		if fault.Code(err) == fault.CodeNoDevice {
			return r, errorsJoin(err, r.Write(o.resultPath()))
		}
		return nil, err
	}
	r.PeakRSS = peakRSS()
	r.Seconds["total"] = time.Since(started).Seconds()
	return r, r.Write(o.resultPath())
}

// errorsJoin keeps the first error's kind and says the second one too.
func errorsJoin(first, second error) error {
	if second == nil {
		return first
	}
	return fmt.Errorf("%w; and %v", first, second)
}

// beside is the path of a file named after the engine.
func (o BuildOptions) beside(ext string) string {
	return strings.TrimSuffix(o.Output, filepath.Ext(o.Output)) + ext
}

func (o BuildOptions) resultPath() string {
	if o.Report != "" {
		return filepath.Join(o.Report, "result.json")
	}
	return o.beside(".result.json")
}

// atBatchOne is the same detector for single images.
func (d *Detector) atBatchOne(o LoadOptions) (*Detector, error) {
	if d.Spec.Batch <= 1 {
		return d, nil
	}
	o.Batch = 1
	return prepare(d.Path, d.Source, o)
}

func (m *Machine) accuracy(ctx context.Context, r *Result, form string, d *Detector, val *coco.Dataset) error {
	e, err := m.Evaluate(ctx, d, val, "measure "+form)
	if err != nil {
		return err
	}
	r.Accuracy.add(form, e)
	r.Seconds["eval_"+form] = e.Seconds
	return nil
}

// quantize settles the plan, writes it and the Q/DQ model, and measures both.
func (m *Machine) quantize(ctx context.Context, r *Result, d, single *Detector, val *coco.Dataset, o BuildOptions) (*Detector, error) {
	start := time.Now()
	plan, err := m.settle(ctx, r, single, o)
	if err != nil {
		return nil, err
	}
	r.Quantization.describe(single.Model, plan)
	r.lap("calibrate", start)
	if err := plan.Save(o.beside(".plan.json")); err != nil {
		return nil, err
	}
	r.Files.Plan = o.beside(".plan.json")
	if val != nil {
		quantized, err := calib.Apply(single.Model, plan, calib.FloatWeights)
		if err != nil {
			return nil, err
		}
		q, err := single.Derive(quantized)
		if err != nil {
			return nil, err
		}
		if err := m.accuracy(ctx, r, "int8", q, val); err != nil {
			return nil, err
		}
		r.Accuracy.PTQ = r.Accuracy.INT8
	}
	model, err := calib.Apply(d.Model, plan, o.Weights)
	if err != nil {
		return nil, err
	}
	path := o.beside(".onnx")
	if same, err := sameFile(path, o.Model); err != nil || same {
		return nil, fault.Usage(fmt.Errorf("the Q/DQ model would overwrite %s: choose another --output", o.Model))
	}
	if err := model.Save(path); err != nil {
		return nil, err
	}
	r.Files.ONNX = path
	r.Size.model(d.Model, model, plan)
	r.Size.ONNXInt8 = fileSize(path)
	return d.Derive(model)
}

func sameFile(a, b string) (bool, error) {
	sa, err := os.Stat(a)
	if err != nil {
		return false, nil // it does not exist yet
	}
	sb, err := os.Stat(b)
	return err == nil && os.SameFile(sa, sb), err
}

// settle gives the plan: the user's, the one of an earlier run with the same
// input, or a new one.
func (m *Machine) settle(ctx context.Context, r *Result, d *Detector, o BuildOptions) (*calib.Plan, error) {
	if o.Plan != "" {
		plan, err := calib.LoadPlan(o.Plan)
		if err != nil {
			return nil, err
		}
		if plan.Model.SHA256 != "" && plan.Model.SHA256 != d.Source.SHA256 {
			return nil, fault.BadInput(fmt.Errorf("plan %s was made for another model file than %s", o.Plan, o.Model))
		}
		r.PTQ = &PTQ{Method: plan.Method, From: o.Plan}
		return plan, nil
	}
	data, err := coco.Open(o.Data, o.Images)
	if err != nil {
		return nil, err
	}
	kept := newKept(o.Work, d, data, o)
	if plan, ptq, ok := kept.load(); ok {
		r.PTQ, r.Accuracy.NodeError = ptq, ptq.NodeError
		return plan, nil
	}
	c, err := m.Calibrate(ctx, d, data.Images, o.Calibrate)
	if err != nil {
		return nil, err
	}
	r.PTQ = describeCalibration(c)
	r.Accuracy.NodeError = c.NodeError
	return c.Plan, kept.save(c.Plan, r.PTQ)
}

// engine builds what TensorRT runs.
func (m *Machine) engine(ctx context.Context, r *Result, float, final *Detector, o BuildOptions) error {
	m.count("build engine", 0, "")
	build := func(d *Detector, path, lap string) (*trt.Engine, error) {
		start := time.Now()
		bytes, err := d.Model.Marshal()
		if err != nil {
			return nil, err
		}
		options := o.Engine
		options.Model, options.Program, options.FP16 = filepath.Base(o.Model), o.Program, o.FP16
		engine, err := trt.Build(ctx, bytes, options)
		if err != nil {
			return nil, err
		}
		r.lap(lap, start)
		return engine, trt.Write(path, engine)
	}
	engine, err := build(final, o.Output, "build")
	if err != nil {
		return err
	}
	r.Files.Engine = o.Output
	r.Engine = &engine.Artifact
	r.Size.Engine = engine.Artifact.Engine.Bytes
	if o.FloatEngine && final != float {
		engine, err := build(float, o.beside(".float.engine"), "build_float")
		if err != nil {
			return err
		}
		r.Files.FloatEngine = o.beside(".float.engine")
		r.Size.EngineFloat = engine.Artifact.Engine.Bytes
	}
	return nil
}

// constants lists a graph's floating-point and INT8 constants with their bytes.
func constantBytes(m *onnx.Model) int64 {
	var n int64
	for _, t := range m.Graph.Init {
		switch t.Type {
		case onnx.Float:
			n += 4 * int64(t.Len())
		case onnx.Int8, onnx.Uint8:
			n += int64(t.Len())
		}
	}
	return n
}

// weightBytes is the size of a node's weights and bias in floating point.
func weightBytes(g *onnx.Graph, n *onnx.Node) int64 {
	var bytes int64
	for i, name := range n.Inputs {
		if t := g.Init[name]; t != nil && i > 0 && t.Type == onnx.Float {
			bytes += 4 * int64(t.Len())
		}
	}
	return bytes
}

func isWeighted(n *onnx.Node) bool {
	return slices.Contains([]string{"Conv", "ConvTranspose", "Gemm", "MatMul"}, n.Op)
}
