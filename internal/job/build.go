package job

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"trtact/calib"
	"trtact/internal/atomicfile"
	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/half"
	"trtact/trt"
)

// BuildOptions are the main job's.
type BuildOptions struct {
	Model  string
	Output string // engine file; the others are named after it
	Load   LoadOptions
	INT8   bool
	FP16   bool

	Data      string // calibration images or arrays, in any form that OpenSamples knows
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
	if err := o.check(); err != nil {
		return nil, err
	}
	r := &Result{Program: o.Program, Command: o.Command, Seconds: map[string]float64{}}
	d, err := LoadDetector(o.Model, o.Load)
	if err != nil {
		return nil, err
	}
	if o.INT8 && !d.Quantized && o.Data == "" && o.Plan == "" {
		return nil, fault.Usage(fmt.Errorf("--int8 needs --data: pictures to find the scales of %s with", o.Model))
	}
	if o.INT8 || d.Quantized { // known before the work begins
		if err := trt.CheckINT8Targets(o.Engine.Targets); err != nil {
			return nil, err
		}
	}
	r.describe(d)
	// Accuracy and calibration run one image at a time, whatever batch the engine
	// is for.
	single, err := d.atBatchOne(o.Load)
	if err != nil {
		return nil, err
	}
	in, err := o.open(single)
	if err != nil {
		return nil, err
	}
	r.lap("load", started)
	r.Files.Result = o.resultPath()
	if in.val != nil {
		form := "float"
		if d.Quantized {
			form = "int8"
		}
		if err := m.accuracy(ctx, r, form, single, in.val); err != nil {
			return nil, err
		}
	}
	final := d
	if o.INT8 && !d.Quantized {
		if final, err = m.quantize(ctx, r, d, single, in, o); err != nil {
			return nil, err
		}
	}
	missing := m.engine(ctx, r, d, final, o)
	if missing != nil && fault.Code(missing) != fault.CodeNoDevice {
		return nil, missing
	}
	r.PeakRSS = peakRSS()
	r.lap("total", started)
	if err := r.Write(o.resultPath()); err != nil {
		return nil, err
	}
	return r, missing
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

// check looks at where the files are to go before the work begins.
func (o BuildOptions) check() error {
	paths := []string{o.Output, trt.SidecarPath(o.Output), o.resultPath()}
	if o.INT8 {
		paths = append(paths, o.beside(".onnx"), o.beside(".plan.json"))
	}
	if o.FloatEngine {
		paths = append(paths, o.beside(".float.engine"))
	}
	if o.Work != "" {
		paths = append(paths, filepath.Join(o.Work, "calibration.json"))
	}
	for _, path := range paths {
		if err := atomicfile.Check(path); err != nil {
			return fault.Usage(err)
		}
		if same, err := sameFile(path, o.Model); err != nil || same {
			return fault.Usage(fmt.Errorf("writing %s would replace the model %s: choose another --output", path, o.Model))
		}
	}
	return nil
}

// inputs are the files that a build reads besides the model; nil where it needs
// none.
type inputs struct {
	val     *coco.Dataset
	plan    *calib.Plan
	samples Samples
	sources *coco.Dataset // the files that samples come from
}

// open reads them all, so that a wrong one is found before the work begins.
func (o BuildOptions) open(d *Detector) (in inputs, err error) {
	if o.Val != "" {
		if in.val, err = openData(o.Val, o.ValImages); err != nil {
			return in, err
		}
		in.val = in.val.First(o.ValLimit)
	}
	switch {
	case !o.INT8 || d.Quantized:
	case o.Plan != "":
		if in.plan, err = calib.LoadPlan(o.Plan); err != nil {
			return in, err
		}
		if in.plan.Model.SHA256 != "" && in.plan.Model.SHA256 != d.Source.SHA256 {
			return in, fault.BadInput(fmt.Errorf("plan %s was made for another model file than %s: make it again with calibrate", o.Plan, o.Model))
		}
	default:
		err = in.openSamples(o, d)
	}
	return in, err
}

func (in *inputs) openSamples(o BuildOptions, d *Detector) error {
	samples, warnings, err := OpenSamples(o.Data, o.Images, d)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		slog.Warn(w)
	}
	in.samples, in.sources = samples, &coco.Dataset{Path: o.Data}
	if p, ok := samples.(Pictures); ok {
		in.sources.Images = p.Images
		return nil
	}
	files, err := arrayFiles(o.Data)
	for _, path := range files {
		in.sources.Images = append(in.sources.Images, coco.Image{Path: path})
	}
	return err
}

// openData opens a data set and says what was odd about it.
func openData(path, images string) (*coco.Dataset, error) {
	ds, err := coco.Open(path, images)
	if err != nil {
		return nil, err
	}
	for _, w := range ds.Warnings {
		slog.Warn(w)
	}
	return ds, nil
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
	e, err := m.Evaluate(ctx, d, val, detect.DefaultOptions(), "measure "+form)
	if err != nil {
		return err
	}
	r.Accuracy.add(form, e)
	r.Seconds["eval_"+form] = e.Seconds
	return nil
}

// quantize settles the plan, writes it and the Q/DQ model, and measures both.
func (m *Machine) quantize(ctx context.Context, r *Result, d, single *Detector, in inputs, o BuildOptions) (*Detector, error) {
	start := time.Now()
	plan, err := m.settle(ctx, r, single, in, o)
	if err != nil {
		return nil, err
	}
	r.Quantization.describe(single.Model, plan)
	r.ranges = map[string]float32{}
	for _, site := range plan.Sites {
		r.ranges[site.Tensor] = site.AbsMax
	}
	r.lap("calibrate", start)
	model, err := calib.Apply(d.Model, plan, o.Weights)
	if err != nil && o.Plan != "" {
		return nil, fault.BadInput(fmt.Errorf("plan %s: %w", o.Plan, err))
	}
	if err != nil {
		return nil, err
	}
	if err := plan.Save(o.beside(".plan.json")); err != nil {
		return nil, err
	}
	r.Files.Plan = o.beside(".plan.json")
	if in.val != nil {
		quantized, err := calib.Apply(single.Model, plan, calib.FloatWeights)
		if err != nil {
			return nil, err
		}
		q, err := single.Derive(quantized)
		if err != nil {
			return nil, err
		}
		if err := m.accuracy(ctx, r, "int8", q, in.val); err != nil {
			return nil, err
		}
		r.Accuracy.PTQ = r.Accuracy.INT8
	}
	path := o.beside(".onnx")
	if err := model.Save(path); err != nil {
		return nil, err
	}
	r.Files.ONNX = path
	r.Size.model(d.Model, model, plan)
	r.Size.ONNXInt8 = fileSize(path)
	return d.Derive(model)
}

// sameFile says whether both paths are one existing file.
func sameFile(a, b string) (bool, error) {
	x, err := os.Stat(a)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	y, err := os.Stat(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(x, y), err
}

// settle gives the plan: the user's, the one of an earlier run with the same
// input, or a new one.
func (m *Machine) settle(ctx context.Context, r *Result, d *Detector, in inputs, o BuildOptions) (*calib.Plan, error) {
	if in.plan != nil {
		r.PTQ = &PTQ{Method: in.plan.Method, From: o.Plan}
		return in.plan, nil
	}
	kept := newKept(o.Work, d, in.sources, o)
	if plan, ptq, ok := kept.load(); ok {
		r.PTQ, r.Accuracy.NodeError = ptq, ptq.NodeError
		return plan, nil
	}
	c, err := m.CalibrateOn(ctx, d, in.samples, o.Calibrate)
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
	engine, err := build(final, o.Output, "build")
	if err != nil {
		return err
	}
	r.Files.Engine = o.Output
	r.Engine = &engine.Artifact
	r.Size.Engine = engine.Artifact.Engine.Bytes
	if o.FloatEngine && final != float {
		// For the same GPUs, so that the two can be compared.
		if o.Engine.Targets, err = trt.ParseTargets(engine.Artifact.Targets); err != nil {
			return err
		}
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
