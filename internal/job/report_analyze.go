// Analysis of a model: which layers lose what, and why. It is a command of its own
// (analyze) and a stage of build, for the report.

package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"trtact/calib"
	"trtact/internal/analysis"
	"trtact/internal/atomicfile"
	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/roofline"
	"trtact/trt"
)

// AnalyzeOptions are those of the analyze command.
type AnalyzeOptions struct {
	Model     string
	Load      LoadOptions
	Data      string
	Images    string // where a COCO JSON's files are found
	Val       string // labelled images; "": no mAP
	ValImages string
	ValLimit  int
	// Worst is how many of the most sensitive layers are measured by mAP.
	Worst     int
	Calibrate CalibrateOptions
	Plan      string // a plan file instead of calibrating
	// Samples is how many pictures layers are tested on at most; 0: DefaultSamples.
	// Precision ends the test of a layer earlier (see analysis.Subject).
	Samples   int
	Precision float64
	Points    int    // of the curve along the graph; 0: DefaultPoints
	KeepBytes int64  // memory for activations of the float model; 0: analysis.DefaultKeepBytes
	Dir       string // where everything is written
	// GPU is whose latency is estimated; the zero value is roofline.Default. With Engine
	// and EngineFP16, two engines of the model, it is measured.
	GPU                roofline.GPU
	Engine, EngineFP16 string
	Program            string
	Command            []string
}

// Defaults of an analysis.
const (
	DefaultSamples   = 16
	DefaultPrecision = 0.1
	DefaultPoints    = 24
)

// Analysis is analysis.json: what was found.
type Analysis struct {
	Program string     `json:"program,omitempty"`
	Command []string   `json:"command,omitempty"`
	Model   ModelFacts `json:"model"`
	Family  string     `json:"family"`
	Shape   [2]int     `json:"shape"`
	Method  string     `json:"method"` // of the scales
	Samples int        `json:"samples"`
	Heads   []string   `json:"heads"`
	// Whole is the error of the model that the whole plan quantises.
	Whole analysis.Error `json:"whole"`
	// Layers are ranked, the most sensitive first.
	Layers     []analysis.Layer `json:"layers"`
	Cumulative []analysis.Point `json:"cumulative"`
	// Float is the float model's accuracy, where labels were given.
	Float   *Figures     `json:"float,omitempty"`
	Images  int          `json:"images,omitempty"` // that mAP was measured on
	Skipped []calib.Skip `json:"float_layers,omitempty"`
	// Front is error against latency; nil where nothing is quantised.
	Front   *Front             `json:"front,omitempty"`
	Bad     []coco.BadImage    `json:"bad_images,omitempty"`
	Files   AnalysisFiles      `json:"files"`
	Seconds map[string]float64 `json:"seconds"`
}

// AnalysisFiles are the paths that were written.
type AnalysisFiles struct {
	Report string   `json:"report,omitempty"`
	JSON   string   `json:"json,omitempty"`
	PNG    []string `json:"png,omitempty"`
}

// Analyze runs the analysis and writes its files into o.Dir. What is finished is kept
// below o.Dir/work, so that a second run goes on where the first was stopped.
func (m *Machine) Analyze(ctx context.Context, o AnalyzeOptions) (*Analysis, error) {
	started := time.Now()
	d, err := LoadDetector(o.Model, o.Load)
	if err != nil {
		return nil, err
	}
	if d.Quantized {
		return nil, fault.Usage(fmt.Errorf("%s is quantised already: analyse the float model", o.Model))
	}
	b := BuildOptions{Model: o.Model, Data: o.Data, Images: o.Images, Val: o.Val, ValImages: o.ValImages, ValLimit: o.ValLimit,
		INT8: true, Calibrate: o.Calibrate, Plan: o.Plan}
	in, err := b.open(d)
	if err != nil {
		return nil, err
	}
	if in.samples == nil { // with a plan, build needs none
		if err := in.openSamples(b, d); err != nil {
			return nil, err
		}
	}
	in.samples = m.keeping(in.samples)
	a := &Analysis{Program: o.Program, Command: o.Command, Family: d.Spec.Family, Shape: [2]int{d.Spec.Height, d.Spec.Width},
		Model:   ModelFacts{Path: d.Path, SHA256: d.Source.SHA256, Params: d.Params(), Bytes: fileSize(d.Path)},
		Seconds: map[string]float64{}}
	work := filepath.Join(o.Dir, "work")
	since := time.Now()
	plan := in.plan
	if plan == nil {
		if plan, err = m.keptPlan(ctx, d, in, b, work); err != nil {
			return nil, err
		}
	}
	a.lap("calibrate", since)
	t := estimate(d.Model.Graph, o.gpu())
	if o.Engine != "" { // before the long work: engines that do not fit are said first
		if t, err = measureLayers(ctx, d.Model.Graph, o.Engine, o.EngineFP16, trt.BuildOptions{}); err != nil {
			return nil, err
		}
	}
	if err := m.analyze(ctx, d, plan, in, o, work, a); err != nil {
		return nil, err
	}
	a.Front = front(a.Layers, a.Whole.Mean, t)
	if in.val != nil {
		if err := m.worst(ctx, d, plan, in.val, o, work, a); err != nil {
			return nil, err
		}
	}
	a.lap("total", started)
	return a, a.write(o.Dir)
}

func (o AnalyzeOptions) gpu() roofline.GPU { return orDefault(o.GPU) }

func orDefault(g roofline.GPU) roofline.GPU {
	if g.Name == "" {
		return roofline.Default()
	}
	return g
}

func (a *Analysis) lap(name string, since time.Time) { a.Seconds[name] = time.Since(since).Seconds() }

// keptPlan calibrates, or takes the plan of an earlier run with the same input.
func (m *Machine) keptPlan(ctx context.Context, d *Detector, in inputs, o BuildOptions, work string) (*calib.Plan, error) {
	kept := newKept(work, d, in.sources, o)
	if plan, _, ok := kept.load(); ok {
		return plan, nil
	}
	c, err := m.CalibrateOn(ctx, d, in.samples, o.Calibrate)
	if err != nil {
		return nil, err
	}
	return c.Plan, kept.save(c.Plan, describeCalibration(c))
}

// subject is a detector and a plan as the analysis wants them.
func (m *Machine) subject(d *Detector, plan *calib.Plan, precision float64) analysis.Subject {
	heads := d.Heads
	if len(heads) == 0 {
		heads = d.outputNames()
	}
	return analysis.Subject{Model: d.Model, Plan: plan, Heads: heads, Device: m.Device, Workers: m.Threads, Precision: precision}
}

// analyze fills in everything but mAP. Without a work folder nothing is kept.
func (m *Machine) analyze(ctx context.Context, d *Detector, plan *calib.Plan, in inputs, o AnalyzeOptions, work string, a *Analysis) error {
	since := time.Now()
	if o.Samples <= 0 {
		o.Samples = DefaultSamples
	}
	samples, bad, err := readSome(ctx, in.samples, o.Samples)
	if err != nil {
		return err
	}
	a.Bad, a.Samples, a.Method, a.Skipped = bad, len(samples), plan.Method, plan.Skipped
	if o.Points <= 0 {
		o.Points = DefaultPoints
	}
	s := m.subject(d, plan, o.Precision)
	s.KeepBytes = o.KeepBytes
	a.Heads = s.Heads
	if work != "" {
		if s.Store, err = storeOf(filepath.Join(work, "layers"), d, plan, in.sources, len(samples), s); err != nil {
			return err
		}
	}
	units, err := s.Units()
	if err != nil {
		return err
	}
	if len(units) == 0 {
		return fault.BadInput(fmt.Errorf("analyse %s: the plan quantises no layer", d.Path))
	}
	m.count("look at values", 0, "")
	values, err := s.Values(ctx, samples)
	if err != nil {
		return err
	}
	s.Progress = m.count("test layers", len(units), "layers").add
	sensitivities, err := s.Sensitivities(ctx, samples)
	if err != nil {
		return err
	}
	a.lap("layers", since)
	since = time.Now()
	s.Progress = m.count("along the graph", analysis.Points(len(units), o.Points), "points").add
	s.Precision = 0 // neighbours of a curve should be of the same pictures
	if a.Cumulative, err = s.Cumulative(ctx, samples, o.Points); err != nil {
		return err
	}
	a.lap("along_graph", since)
	a.Whole = a.Cumulative[len(a.Cumulative)-1].Error
	a.Layers = analysis.Rank(sensitivities, values)
	return nil
}

// readSome prepares the first so many samples that can be read.
func readSome(ctx context.Context, samples Samples, n int) ([]analysis.Sample, []coco.BadImage, error) {
	var list []analysis.Sample
	var bad []coco.BadImage
	for i := 0; i < samples.Len() && len(list) < n; i++ {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		v, err := samples.Read(i)
		if err != nil {
			if fault.Code(err) != fault.CodeBadInput {
				return nil, nil, err
			}
			bad = append(bad, coco.BadImage{Path: samples.Name(i), Why: err.Error()})
			continue
		}
		list = append(list, v)
	}
	if len(list) == 0 {
		return nil, bad, fault.BadInput(errors.New("analyse: none of the pictures can be read"))
	}
	return list, bad, nil
}

// storeOf keeps parts of an analysis that are the same as long as everything is that
// they depend on.
func storeOf(dir string, d *Detector, plan *calib.Plan, sources *coco.Dataset, samples int, s analysis.Subject) (*analysis.Store, error) {
	// As text: a plan that comes from a file is the same as when it was made.
	text, err := plan.JSON()
	if err != nil {
		return nil, fmt.Errorf("analyse %s: %w", d.Path, err)
	}
	var files []string
	if info, err := os.Stat(sources.Path); err == nil { // with the labels, if any
		files = append(files, fmt.Sprint(sources.Path, info.Size(), info.ModTime().UnixNano()))
	}
	for i, im := range sources.Images {
		if i >= 2*samples { // more than are read
			break
		}
		if info, err := os.Stat(im.Path); err == nil {
			files = append(files, fmt.Sprint(im.Path, info.Size(), info.ModTime().UnixNano()))
		}
	}
	return analysis.NewStore(dir, d.Source.SHA256, d.Spec, string(text), files, samples, s.Heads, s.Precision)
}

// worst measures mAP of the float model and with each of the most sensitive layers
// quantised alone.
func (m *Machine) worst(ctx context.Context, d *Detector, plan *calib.Plan, val *coco.Dataset, o AnalyzeOptions, work string, a *Analysis) error {
	since := time.Now()
	store, err := storeOf(filepath.Join(work, "accuracy"), d, plan, val, len(val.Images), m.subject(d, plan, 0))
	if err != nil {
		return err
	}
	measure := func(name string, of func() (*Detector, error)) (*Figures, error) {
		f, err := analysis.Keep(store, name, func() (Figures, error) {
			q, err := of()
			if err != nil {
				return Figures{}, err
			}
			e, err := m.Evaluate(ctx, q, val, detect.DefaultOptions(), "measure "+name)
			if err != nil {
				return Figures{}, err
			}
			return Figures{MAP: e.Metrics.AP, MAP50: e.Metrics.AP50}, nil
		})
		return &f, err
	}
	if a.Float, err = measure("float", func() (*Detector, error) { return d, nil }); err != nil {
		return err
	}
	a.Images = len(val.Images)
	s := m.subject(d, plan, 0)
	for i := range a.Layers[:min(len(a.Layers), max(0, o.Worst))] {
		l := &a.Layers[i]
		f, err := measure(l.Node, func() (*Detector, error) {
			model, err := s.Alone(l.Node)
			if err != nil {
				return nil, err
			}
			return d.Derive(model)
		})
		if err != nil {
			return err
		}
		l.MAP = &f.MAP
	}
	a.lap("accuracy", since)
	return nil
}

// write saves analysis.json, the page and the charts.
func (a *Analysis) write(dir string) error {
	a.Files.Report = filepath.Join(dir, "report.html")
	a.Files.JSON = filepath.Join(dir, "analysis.json")
	p := a.page()
	for _, c := range a.charts() {
		path := filepath.Join(dir, c.file+".png")
		if err := atomicfile.WriteFunc(path, c.PNG); err != nil {
			return err
		}
		a.Files.PNG = append(a.Files.PNG, path)
	}
	if err := atomicfile.WriteFunc(a.Files.Report, p.Write); err != nil {
		return err
	}
	data, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", a.Files.JSON, err)
	}
	slog.Debug("analysis written", "folder", dir)
	return atomicfile.Write(a.Files.JSON, append(data, '\n'))
}
