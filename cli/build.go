// trtact build: the main job.

package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"trtact/calib"
	"trtact/internal/job"
	"trtact/internal/report"
	"trtact/trt"
)

// Groups of flags in the help of build.
const (
	flagsAccuracy    = "Accuracy"
	flagsEngine      = "Engine"
	flagsCalibration = "Calibration"
)

func (s *session) buildCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "build",
		Usage:     "ONNX and pictures in, INT8 engine and result.json out",
		UsageText: "trtact build MODEL.onnx [--int8 --data IMAGES] [--fp16] [-o OUT.engine]",
		Category:  groupMain,
		Description: `Builds a TensorRT engine. With --int8 the model is calibrated on unlabelled pictures
first; a model that has Q/DQ nodes already is built as it is. With --val the average precision
is measured before and after.

Writes OUT.engine with its sidecar OUT.engine.json, the quantised model OUT.onnx, the plan
OUT.plan.json (what is quantised and why, to read and to edit), OUT.report.html (a page with all
figures, the layers that lose accuracy and pictures) and OUT.result.json. Where no TensorRT can
build an engine, everything else is written and the exit code is 3.

Examples:
trtact build yolov8n.onnx --int8 --data pictures/
trtact build yolov8n.onnx --int8 --data pictures/ --val val.json -o n.engine
trtact build yolov8n.onnx --int8 --data train.txt --target sm_86,sm_89
trtact build yolov8n.onnx --fp16 --shape 480x640`,
		Flags: append([]urfave.Flag{
			&urfave.BoolFlag{Name: "int8", Usage: "quantise to INT8; a float model needs --data for it"},
			&urfave.BoolFlag{Name: "fp16", Usage: "allow FP16 for what is not INT8"},
			&urfave.StringFlag{Name: "data", Usage: "`PATH` of unlabelled pictures: folder, list file, COCO JSON or VOC folder; or .npy/.npz inputs"},
			&urfave.StringFlag{Name: "images", Usage: "`DIR` with the pictures of a COCO JSON (default: beside it, or its images/)"},
			&urfave.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FILE` of the engine (default: MODEL.int8.engine, MODEL.fp16.engine or MODEL.engine)"},
			shapeFlag(),
			&urfave.IntFlag{Name: "batch", Value: 1, Usage: "`N` pictures at once in the engine"},
			familyFlag(),
			pixelsFlag(),
			&urfave.StringFlag{Name: "val", Category: flagsAccuracy, Usage: "`PATH` of labelled pictures, to measure mAP before and after"},
			&urfave.StringFlag{Name: "val-images", Category: flagsAccuracy, Usage: "`DIR` with the pictures of --val"},
			&urfave.IntFlag{Name: "val-limit", Category: flagsAccuracy, Usage: "measure on the first `N` pictures only"},
			&urfave.StringFlag{Name: "backend", Category: flagsEngine, Value: "auto", Usage: "`NAME` of the TensorRT to build with"},
			&urfave.StringFlag{Name: "target", Category: flagsEngine, Usage: "`LIST` of GPUs to build for, sm_86,sm_89 (rtx only; default: all it supports, with --int8 all but sm_75)"},
			gpuFlag(),
			&urfave.BoolFlag{Name: "float-engine", Category: flagsEngine, Usage: "build the float model too, to compare"},
			&urfave.DurationFlag{Name: "timeout", Category: flagsEngine, Value: trt.DefaultTimeout, Usage: "give a build up after `TIME`"},
			&urfave.StringFlag{Name: "log", Category: flagsEngine, Usage: "`FILE` to add TensorRT's messages to"},
			&urfave.StringFlag{Name: "plan", Category: flagsCalibration, Usage: "`FILE` with a plan to obey instead of calibrating, or a TensorRT calibration cache"},
			&urfave.StringFlag{Name: "work", Category: flagsCalibration, Usage: "`DIR` that keeps the calibration; a second run takes it from there"},
			&urfave.StringFlag{Name: "report", Category: flagsCalibration, Usage: "`DIR` for report.html and result.json (default: OUT.report.html and OUT.result.json by the engine)"},
			&urfave.StringFlag{Name: "config", Category: flagsTraining, Usage: "`FILE` with a configuration (see compress); flags win"},
			&urfave.StringFlag{Name: "qat", Category: flagsTraining, Value: string(job.DistilAuto), Usage: "`WHEN` to train the quantised model: auto, on, off; auto when it loses more than --max-drop without"},
			&urfave.Float64Flag{Name: "max-drop", Category: flagsTraining, Usage: fmt.Sprintf("`LOSS` that is allowed, beyond which settings are searched, weights rounded by choice, it is trained and last the worst layers stay float: points of mAP with --val (default: %g), else percent of error at the nodes, for training alone (default: %g)", job.DefaultMaxDrop, job.DefaultMaxNodeError)},
		}, append(engineFlags(), append(calibrationFlags(), trainingFlags()...)...)...),
		Action: s.buildEngine,
	}
}

// calibrationFlags are those that build and calibrate share.
func calibrationFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "method", Category: flagsCalibration, Value: "auto", Usage: "`NAME` of the way to find scales: auto tries and measures, search tries every combination of settings, else " + strings.Join(methodNames(), ", ")},
		&urfave.IntFlag{Name: "calib-images", Category: flagsCalibration,
			Usage: fmt.Sprintf("calibrate on the first `N` pictures (default: %d at most, spread over all)", job.DefaultImages)},
		&urfave.StringSliceFlag{Name: "exclude", Category: flagsCalibration, Usage: "keep layers float whose name matches `REGEXP`"},
		&urfave.StringSliceFlag{Name: "include", Category: flagsCalibration, Usage: "quantise only layers whose name matches `REGEXP`"},
		&urfave.BoolFlag{Name: "depthwise", Category: flagsCalibration, Usage: "quantise depthwise convolutions too"},
		&urfave.BoolFlag{Name: "pooled", Category: flagsCalibration, Usage: "quantise layers on a single position too (squeeze-and-excite)"},
		&urfave.BoolFlag{Name: "heads", Category: flagsCalibration, Usage: "quantise the last layer of every head too"},
		&urfave.BoolFlag{Name: "no-concat", Category: flagsCalibration, Usage: "let the inputs of a Concat have scales of their own"},
		&urfave.StringFlag{Name: "equalise", Value: "auto", Category: flagsCalibration, Usage: "even out channels of very different range first, `WHEN`: auto (keeps the better), on, off"},
		&urfave.BoolFlag{Name: "bias-correction", Category: flagsCalibration, Usage: "undo the mean error that rounded weights make, as --method auto always does"},
		&urfave.StringFlag{Name: "onnx-weights", Category: flagsCalibration, Value: "float", Usage: "`FORM` of quantised weights in the ONNX file (int8: a quarter of the size, not for TensorRT 8.4)"},
	}
}

// methodNames are the methods without the percentages that they may have.
func methodNames() []string {
	var names []string
	seen := map[string]bool{}
	for _, m := range calib.Methods() {
		name, _, parameter := strings.Cut(string(m), ":")
		if parameter {
			name += ":P"
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// calibrateOptions reads the flags of calibrationFlags.
func calibrateOptions(c *urfave.Context) (job.CalibrateOptions, calib.WeightForm, error) {
	command := c.Command.Name
	o := job.CalibrateOptions{
		Method: job.AutoMethod, Placement: calib.DefaultOptions(),
		Equalise: job.Equalise(c.String("equalise")), Biases: c.Bool("bias-correction"), Images: c.Int("calib-images"),
	}
	if name := c.String("method"); name == string(job.SearchMethod) {
		o.Method = job.SearchMethod
	} else if name != string(job.AutoMethod) {
		var err error
		if o.Method, err = calib.ParseMethod(name); err != nil {
			return o, 0, usage(command, "--method: expected auto, search or a method; %v", err)
		}
	}
	if !slices.Contains([]job.Equalise{job.EqualiseAuto, job.EqualiseOn, job.EqualiseOff}, o.Equalise) {
		return o, 0, usage(command, "--equalise %q: expected auto, on or off", o.Equalise)
	}
	if plan := c.String("plan"); plan != "" {
		replaced := []string{"method", "bias-correction", "equalise"}
		if !calib.IsCache(plan) { // which has the scales alone
			replaced = append(replaced, "exclude", "include", "depthwise", "pooled", "heads", "no-concat")
		}
		for _, name := range replaced {
			if c.IsSet(name) {
				return o, 0, usage(command, "--%s is for calibrating, in whose place there is --plan %s", name, plan)
			}
		}
	}
	if o.Images < 0 {
		return o, 0, usage(command, "--calib-images %d: expected a number above 0", o.Images)
	}
	o.Placement.Exclude, o.Placement.Include = c.StringSlice("exclude"), c.StringSlice("include")
	for _, patterns := range [][]string{o.Placement.Exclude, o.Placement.Include} {
		if err := checkPatterns(patterns); err != nil {
			return o, 0, usage(command, "%v", err)
		}
	}
	o.Placement.Depthwise, o.Placement.Pooled, o.Placement.QuantizeHeads = c.Bool("depthwise"), c.Bool("pooled"), c.Bool("heads")
	o.Placement.Concat = !c.Bool("no-concat")
	form := calib.FloatWeights
	if c.String("onnx-weights") == "int8" {
		form = calib.Int8Weights
	}
	return o, form, nil
}

func (s *session) buildOptions(c *urfave.Context) (job.BuildOptions, error) {
	var o job.BuildOptions
	if err := takes(c, 1, 1, "a model"); err != nil {
		return o, err
	}
	o = job.BuildOptions{
		Model: c.Args().First(), Output: c.String("output"), INT8: c.Bool("int8"), FP16: c.Bool("fp16"),
		Data: c.String("data"), Images: c.String("images"),
		Val: c.String("val"), ValImages: c.String("val-images"), ValLimit: c.Int("val-limit"),
		Resume: c.Bool("resume"), Plan: c.String("plan"), Work: c.String("work"), Report: c.String("report"), FloatEngine: c.Bool("float-engine"),
		Program: Version, Command: s.command,
	}
	var err error
	if o.Load, err = loadOptions(c); err != nil {
		return o, err
	}
	if o.Calibrate, o.Weights, err = calibrateOptions(c); err != nil {
		return o, err
	}
	if err := s.configured(c, &o); err != nil {
		return o, err
	}
	quantising := ""
	for _, name := range []string{"method", "exclude", "include", "depthwise", "pooled", "heads", "no-concat", "equalise", "bias-correction", "onnx-weights", "max-drop"} {
		if c.IsSet(name) {
			quantising = name
		}
	}
	switch {
	case !o.INT8 && (o.Data != "" && !o.FP16 || o.Plan != ""):
		return o, usage("build", "--data and --plan are for --int8, which is not given")
	case !o.INT8 && quantising != "":
		return o, usage("build", "--%s is for --int8, which is not given", quantising)
	case !o.INT8 && c.IsSet("qat") && c.String("qat") == string(job.DistilOn):
		return o, usage("build", "--qat on is for --int8, which is not given")
	case o.Val == "" && (o.ValImages != "" || c.IsSet("val-limit")):
		return o, usage("build", "--val-images and --val-limit are for --val, which is not given")
	case o.Images != "" && o.Data == "":
		return o, usage("build", "--images is for --data, which is not given")
	case o.ValLimit < 0:
		return o, usage("build", "--val-limit %d: expected a number above 0", o.ValLimit)
	case c.Duration("timeout") <= 0:
		return o, usage("build", "--timeout %v: expected a time above 0", c.Duration("timeout"))
	}
	if err := engineOptions(c, &o); err != nil {
		return o, err
	}
	if c.IsSet("backend") || o.Engine.Backend == "" {
		o.Engine.Backend = c.String("backend")
	}
	o.Engine.Log, o.Engine.Verbose, o.Engine.Timeout = c.String("log"), s.verbose, c.Duration("timeout")
	if list := c.String("target"); list != "" {
		if o.Engine.Targets, err = trt.ParseTargets(strings.Split(list, ",")); err != nil {
			return o, usage("build", "--target: %v", err)
		}
		if o.Engine.Backend == trt.BackendTensorRT {
			return o, usage("build", "--target is for --backend rtx; TensorRT proper builds for the GPU of this machine")
		}
	}
	if o.GPU, err = gpuOption(c, targetsOf(c)); err != nil {
		return o, err
	}
	o.Calibrate.NoDepthwise = withoutDepthwise(c, o.GPU)
	if o.Output == "" {
		o.Output = defaultEngine(o)
	} else if ext := strings.ToLower(filepath.Ext(o.Output)); ext == ".onnx" || ext == ".json" {
		return o, usage("build", "--output %s: name the engine (such as %s); the ONNX and JSON files are named after it",
			o.Output, strings.TrimSuffix(o.Output, filepath.Ext(o.Output))+".engine")
	}
	for _, f := range []struct{ what, path string }{{"--data", o.Data}, {"--images", o.Images}, {"--val", o.Val}, {"--val-images", o.ValImages}} {
		if f.path != "" {
			if err := needPath(f.what, f.path); err != nil {
				return o, err
			}
		}
	}
	if err := needOutputs(c, output{"--log", o.Engine.Log}); err != nil {
		return o, err
	}
	return o, needFile("model", o.Model)
}

// defaultEngine is the engine's file beside the model.
func defaultEngine(o job.BuildOptions) string {
	precision := ""
	switch {
	case o.INT8:
		precision = ".int8"
	case o.FP16:
		precision = ".fp16"
	}
	return strings.TrimSuffix(o.Model, filepath.Ext(o.Model)) + precision + ".engine"
}

func (s *session) buildEngine(c *urfave.Context) error {
	if err := s.find(c); err != nil {
		return err
	}
	o, err := s.buildOptions(c)
	if err != nil {
		return err
	}
	return s.buildAs(c, o)
}

func (s *session) writeBuild(r *job.Result) error {
	head := report.NewTable("", "")
	head.Add("model", fmt.Sprintf("%s: %s, %dx%d, batch %d", r.Model.Path, r.Family, r.Shape[0], r.Shape[1], r.Batch))
	if r.PTQ != nil {
		head.Add("scales", scalesText(r.PTQ, r.Quantization.Method))
		head.Add("quantised", fmt.Sprintf("%d layers, %.1f %% of the weights", r.Quantization.Layers, 100*r.Quantization.Share))
		head.Add("stay float", floatText(r.Quantization.Skipped))
	}
	if e := r.Engine; e != nil {
		text := fmt.Sprintf("%s %s, %s", backendName(e.Backend), e.Version, e.Precision)
		if c := convolutionsText(e); c != "" {
			text += ", " + c
		}
		if len(e.Targets) > 0 {
			text += ", for " + strings.Join(e.Targets, ", ") + "; its speed is to be measured there"
		}
		head.Add("engine", text)
		addReservations(head, e)
	}
	head.Add("time", laps(r.Seconds, r.Form))
	if r.PeakRSS > 0 {
		text := report.Bytes(r.PeakRSS) + " at most"
		if e := r.Engine; e != nil && e.BuildPeakRSS > 0 {
			text += ", and " + report.Bytes(e.BuildPeakRSS) + " for TensorRT"
		}
		head.Add("memory", text)
	}
	if err := s.table(head); err != nil {
		return err
	}
	if err := s.writeFigures(r); err != nil {
		return err
	}
	if err := s.writeLadder(r); err != nil {
		return err
	}
	files := report.NewTable("written", "")
	for _, f := range []struct{ what, path string }{
		{"engine", r.Files.Engine}, {"float engine", r.Files.FloatEngine}, {"Q/DQ model", r.Files.ONNX}, {"plan", r.Files.Plan}, {"report", r.Files.Report}, {"all figures", r.Files.Result},
	} {
		if f.path != "" {
			files.Add(f.what, f.path)
		}
	}
	fmt.Fprintln(s.out)
	if err := s.table(files); err != nil {
		return err
	}
	return s.nextSteps(r)
}

// convolutionsText is "INT8 in 57 of 60 convolutions", "" where it cannot be told.
func convolutionsText(e *trt.Artifact) string {
	if e.Convolutions == nil {
		return ""
	}
	return fmt.Sprintf("INT8 in %d of %d convolutions", e.Convolutions.INT8, e.Convolutions.All)
}

// addReservations lists the GPUs that an engine is not for, and where it does not
// do as the model asks.
func addReservations(t *report.Table, e *trt.Artifact) {
	for i, d := range e.DroppedTargets {
		t.Add(first(i, "left out"), d.Target+": "+report.OneLine(d.Reason))
	}
	for i, w := range e.Warnings {
		t.Add(first(i, "warning"), report.OneLine(w))
	}
}

// writeFigures is the table of float beside INT8: accuracy and sizes.
func (s *session) writeFigures(r *job.Result) error {
	changed := r.Accuracy.Changed() // since calibration
	columns := []string{"", ">float", ">INT8", ">change"}
	if changed {
		columns = []string{"", ">float", ">calibrated", ">INT8", ">change"}
	}
	t := report.NewTable(columns...)
	add := func(name, before, calibrated, after, change string) {
		if changed {
			t.Add(name, before, calibrated, after, change)
			return
		}
		t.Add(name, before, after, change)
	}
	figure := func(name string, of func(*job.Figures) float64) {
		f, q := r.Accuracy.Float, r.Accuracy.INT8
		var before, calibrated, after, change string
		if p := r.Accuracy.PTQ; p != nil {
			calibrated = fmt.Sprintf("%.2f", 100*of(p))
		}
		if f != nil {
			before = fmt.Sprintf("%.2f", 100*of(f))
		}
		if q != nil {
			after = fmt.Sprintf("%.2f", 100*of(q))
		}
		if f != nil && q != nil {
			change = fmt.Sprintf("%+.2f", 100*(of(q)-of(f)))
		}
		if f != nil || q != nil {
			add(name, before, calibrated, after, change)
		}
	}
	figure("mAP (%)", func(f *job.Figures) float64 { return f.MAP })
	figure("mAP50 (%)", func(f *job.Figures) float64 { return f.MAP50 })
	size := func(name string, a, b int64) {
		if a > 0 && b > 0 {
			add(name, report.Bytes(a), "", report.Bytes(b), fmt.Sprintf("%+.0f %%", 100*(float64(b)/float64(a)-1)))
		}
	}
	size("weights", r.Size.WeightsFloat, r.Size.WeightsInt8)
	size("ONNX file", r.Size.ONNXFloat, r.Size.ONNXInt8)
	size("engine", r.Size.EngineFloat, r.Size.Engine)
	if t.Len() == 0 {
		return nil
	}
	fmt.Fprintln(s.out)
	if err := s.table(t); err != nil {
		return err
	}
	if notes := sizeNotes(r); notes != "" {
		fmt.Fprintln(s.out)
		for _, line := range report.Wrap(notes, s.width) {
			fmt.Fprintln(s.out, line)
		}
	}
	return nil
}

// sizeNotes say why files are larger than the weights in them.
func sizeNotes(r *job.Result) string {
	var notes []string
	if r.Size.ONNXInt8 > r.Size.WeightsInt8 && r.Size.ONNXInt8 >= r.Size.WeightsFloat {
		notes = append(notes, "The Q/DQ model holds its weights in float, which every TensorRT reads; --onnx-weights int8 makes it a quarter of the size.")
	}
	if r.Engine != nil && r.Size.WeightsInt8 > 0 {
		if weights, _ := r.Engine.WeightBytes(); r.Engine.Backend == trt.BackendRTX && weights > 0 {
			notes = append(notes, fmt.Sprintf("Of the engine %s are weights; most of the rest is source code of kernels, compiled on the GPU's machine, and the same for one GPU as for all.",
				report.Bytes(weights)))
		}
	}
	return strings.Join(notes, " ")
}

// scalesText is how the scales came about: by calibration, or by the search after it, whose
// method says on how many pictures.
func scalesText(p *job.PTQ, method string) string {
	switch {
	case p.From != "":
		return "from the plan " + p.From
	case method != p.Method:
		return method
	}
	text := fmt.Sprintf("method %s, %s", p.Method, report.Plural(p.Images, "picture"))
	if p.Trials > 0 {
		text += fmt.Sprintf(", %d trials", p.Trials)
	}
	if len(p.Bad) > 0 {
		text += fmt.Sprintf(", %d more could not be read", len(p.Bad))
	}
	return text
}

// floatText is "31 layers: 28 depthwise, 3 last layer of an output branch"; the
// plan has their names and the whole reasons.
func floatText(skipped []calib.Skip) string {
	if len(skipped) == 0 {
		return "none"
	}
	count := map[string]int{}
	var kinds []string // in the order of the graph
	for _, k := range skipped {
		kind, _, _ := strings.Cut(k.Reason, ":")
		if count[kind] == 0 {
			kinds = append(kinds, kind)
		}
		count[kind]++
	}
	slices.SortStableFunc(kinds, func(a, b string) int { return count[b] - count[a] })
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d %s", count[kind], kind)
	}
	return fmt.Sprintf("%d layers: %s", len(skipped), strings.Join(kinds, ", "))
}

// laps is "load 80 ms, calibrate 12.3 s, ...", in the order of the job. Where the
// calibrated model is the result it was measured once, and is told of once.
func laps(spent map[string]float64, form string) string {
	var parts []string
	for _, name := range []string{"load", "eval_float", "calibrate", "eval_ptq", "search", "round", "distil", "fall_back", "eval_int8", "build", "build_float", "report", "total"} {
		if v, ok := spent[name]; ok && (v >= 0.001 || name == "total") && !(name == "eval_int8" && form == job.KeptPTQ) {
			parts = append(parts, strings.ReplaceAll(name, "_", " ")+" "+report.Duration(seconds(v)))
		}
	}
	return strings.Join(parts, ", ")
}
