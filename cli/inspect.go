// trtact inspect: what a model, a plan, an engine or a checkpoint holds.

package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"trtact/calib"
	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/inspect"
	"trtact/internal/job"
	"trtact/internal/onnx"
	"trtact/internal/report"
	"trtact/qat"
	"trtact/trt"
)

// inspectResult is the JSON of inspect: which kind of file, and that kind's
// contents under its name.
type inspectResult struct {
	File  string       `json:"file"`
	Kind  string       `json:"kind"` // "onnx", "plan", "engine" or "checkpoint"
	Bytes int64        `json:"bytes"`
	ONNX  *onnxContent `json:"onnx,omitempty"`
	Plan  *calib.Plan  `json:"plan,omitempty"`
	// Engine is the engine's sidecar, after a check that it belongs to it.
	Engine *trt.Artifact `json:"engine,omitempty"`
	// Checkpoint is where a training stands.
	Checkpoint *qat.Checkpoint `json:"checkpoint,omitempty"`
}

type onnxContent struct {
	*inspect.Model
	Detector detectorContent `json:"detector"`
	// Heads are the distillation nodes: what the last trained layers before the
	// outputs produce.
	Heads []string `json:"heads"`
}

// detectorContent is the family that a model was recognised as.
type detectorContent struct {
	Family  string `json:"family,omitempty"`  // "" when it was not recognised
	Problem string `json:"problem,omitempty"` // why not
	Pixels  string `json:"pixels,omitempty"`  // what the picture's become, as --pixels takes it
	Classes int    `json:"classes,omitempty"`
	Height  int    `json:"height,omitempty"` // of the input it was recognised at, in pixels
	Width   int    `json:"width,omitempty"`
	// Task is what an Ultralytics model says it does beside detecting, such as "segment".
	Task string `json:"task,omitempty"`
	// CutAt are the tensors before the model's own suppression: everything behind
	// them is left out of quantisation, measuring and engines.
	CutAt []string `json:"cut_at,omitempty"`
}

func (s *session) inspectCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "inspect",
		Usage:     "what a model, a plan, an engine or a checkpoint holds",
		UsageText: "trtact inspect FILE [--layers]",
		Category:  groupSteps,
		Description: `Shows what a file holds. Of an ONNX model: inputs and outputs, operators, parameters,
the detector family, the distillation nodes and how much of it is INT8. Of a plan: what is
quantised, and what is not and why. Of an engine: what it was built from, by which TensorRT and
for which GPUs, after a check that its sidecar belongs to it.

Examples:
trtact inspect yolov8n.onnx
trtact inspect yolov8n.int8.onnx --layers
trtact inspect yolov8n.plan.json
trtact inspect yolov8n.onnx --json | jq .onnx.detector.family`,
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "layers", Usage: "list every layer with its precision (in JSON always)"},
		},
		Action: func(c *urfave.Context) error {
			if err := takes(c, 1, 1, "a file"); err != nil {
				return err
			}
			r, err := inspectFile(c.Args().First())
			if err != nil {
				return err
			}
			return s.print(r, func() error { return s.writeInspection(r, c.Bool("layers")) })
		},
	}
}

func inspectFile(path string) (*inspectResult, error) {
	if err := needFile("inspect", path); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fault.BadInput(err)
	}
	r := &inspectResult{File: path, Bytes: info.Size()}
	if isEngine(path) {
		e, err := trt.Read(path, false)
		if err != nil {
			return nil, err
		}
		r.Kind, r.Engine = "engine", &e.Artifact
		return r, nil
	}
	start, err := firstBytes(path)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("inspect %s: %w", path, err))
	}
	if qat.IsCheckpoint(start) {
		r.Kind = "checkpoint"
		r.Checkpoint, err = qat.ReadCheckpoint(path)
		return r, err
	}
	if bytes.HasPrefix(bytes.TrimSpace(start), []byte("{")) { // JSON, no binary file
		r.Kind = "plan"
		r.Plan, err = calib.LoadPlan(path)
		return r, err
	}
	r.Kind = "onnx"
	m, err := onnx.Load(path)
	if err != nil {
		return nil, err
	}
	r.ONNX = &onnxContent{Model: inspect.Of(m)}
	d, err := job.LoadDetector(path, job.LoadOptions{Family: "auto"})
	if err != nil {
		r.ONNX.Detector.Problem = err.Error()
		r.ONNX.Heads = detect.HeadNodes(m.Graph)
		return r, nil
	}
	r.ONNX.Detector = detectorContent{Family: d.Spec.Family, Pixels: d.Spec.Pixels.String(), Classes: d.Spec.Head.Classes, Height: d.Spec.Height, Width: d.Spec.Width, CutAt: d.CutAt,
		Task: detect.MetadataTask(d.Source.Metadata)}
	r.ONNX.Heads = d.Heads
	return r, nil
}

// firstBytes is enough of a file's beginning to tell what it is.
func firstBytes(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	start := make([]byte, 64)
	n, err := io.ReadFull(f, start)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return start[:n], err
}

func (s *session) writeInspection(r *inspectResult, layers bool) error {
	switch r.Kind {
	case "plan":
		return s.writePlan(r, layers)
	case "engine":
		return s.writeEngine(r, layers)
	case "checkpoint":
		return s.writeCheckpoint(r)
	}
	return s.writeModel(r, layers)
}

func (s *session) writeCheckpoint(r *inspectResult) error {
	c := r.Checkpoint
	t := report.NewTable("", "")
	t.Add("file", r.File)
	t.Add("size", report.Bytes(r.Bytes))
	t.Add("training of", report.OneLine(c.Model))
	t.Add("done", fmt.Sprintf("%d of %d steps", c.Step, c.Steps))
	judged := "loss %.4g on held-out samples, %.4g at the start"
	if c.Judge == qat.ByMetric {
		judged = "metric %.4g, %.4g at the start"
	}
	t.Add("best", fmt.Sprintf(judged, c.Best, c.Start)+fmt.Sprintf("; at step %d", c.BestStep))
	if n := len(c.Curve); n > 0 {
		t.Add("loss", fmt.Sprintf("%.4g at step %d", c.Curve[n-1].Loss, c.Curve[n-1].Step))
	}
	for i, n := range c.Nodes {
		if !n.Feature {
			t.Add(first(i, "distilled at"), report.OneLine(n.Tensor)+" by "+string(n.Loss))
		}
	}
	return s.table(t)
}

func (s *session) writeModel(r *inspectResult, layers bool) error {
	m := r.ONNX
	facts := report.NewTable("", "")
	facts.Add("file", r.File)
	facts.Add("size", report.Bytes(r.Bytes))
	producer := m.Producer
	if producer == "" {
		producer = "an unnamed program"
	}
	facts.Add("format", fmt.Sprintf("ONNX, operator set %d, IR %d, written by %s", m.Opset, m.IR, report.OneLine(producer)))
	if m.Float16 {
		facts.Add("", "half precision, read as float")
	}
	facts.Add("parameters", report.Count(m.Params))
	for i, p := range m.Inputs {
		facts.Add(first(i, "inputs"), portText(p))
	}
	for i, p := range m.Outputs {
		facts.Add(first(i, "outputs"), portText(p))
	}
	facts.Add("family", familyText(m.Detector))
	if m.Detector.Pixels != "" {
		facts.Add("pixels", m.Detector.Pixels)
	}
	for i, tensor := range m.Detector.CutAt {
		facts.Add(first(i, "suppression"), "cut off at "+report.OneLine(tensor))
	}
	for i, h := range m.Heads {
		facts.Add(first(i, "distilled at"), report.OneLine(h))
	}
	facts.Add("quantised", quantizedText(m.Quantized))
	var ops []string
	for _, o := range m.Ops {
		ops = append(ops, fmt.Sprintf("%s %d", o.Op, o.Count))
	}
	facts.Add("operators", fmt.Sprintf("%d: %s", m.Nodes, strings.Join(ops, ", ")))
	if err := s.table(facts); err != nil || !layers {
		return err
	}
	fmt.Fprintln(s.out)
	t := report.NewTable("layer", "operator", "weight", ">parameters", "precision")
	for _, l := range m.Layers {
		t.Add(report.OneLine(l.Name), l.Op, dimsText(l.Weight, nil), report.Count(l.Params), l.Precision)
	}
	return s.table(t)
}

func (s *session) writePlan(r *inspectResult, layers bool) error {
	p := r.Plan
	facts := report.NewTable("", "")
	facts.Add("file", r.File)
	facts.Add("format", fmt.Sprintf("quantisation plan, version %d", p.Version))
	facts.Add("model", report.OneLine(p.Model.Name))
	facts.Add("method", orDash(report.OneLine(p.Method)))
	if !p.Calibrated() {
		facts.Add("", "not calibrated yet: scales are missing")
	}
	facts.Add("activations", fmt.Sprintf("%d tensors quantised, %d groups that share a scale", len(p.Sites), len(p.Groups)))
	facts.Add("weights", fmt.Sprintf("%d tensors quantised", len(p.Weights)))
	facts.Add("float", fmt.Sprintf("%d layers stay float", len(p.Skipped)))
	if err := s.table(facts); err != nil {
		return err
	}
	if len(p.Skipped) > 0 {
		fmt.Fprintln(s.out)
		if err := s.table(floatTable(p.Skipped)); err != nil {
			return err
		}
	}
	if !layers {
		return nil
	}
	fmt.Fprintln(s.out)
	t := report.NewTable("tensor", ">scale", ">absmax", ">clipped", "method", "why")
	for _, site := range p.Sites {
		t.Add(report.OneLine(site.Tensor), fmt.Sprintf("%.4g", site.Scale), fmt.Sprintf("%.4g", site.AbsMax),
			fmt.Sprintf("%.2g %%", 100*site.Clipped), site.Method, report.OneLine(site.Why))
	}
	return s.table(t)
}

// floatTable lists the layers that stay float, those of one reason together.
func floatTable(skipped []calib.Skip) *report.Table {
	names := map[string][]string{}
	var reasons []string // in the order of the graph
	for _, k := range skipped {
		if names[k.Reason] == nil {
			reasons = append(reasons, k.Reason)
		}
		names[k.Reason] = append(names[k.Reason], report.OneLine(k.Node))
	}
	t := report.NewTable(">float", "why, and which")
	for _, reason := range reasons {
		t.Add(report.Count(int64(len(names[reason]))), report.OneLine(reason)+"\n"+strings.Join(names[reason], ", "))
	}
	return t
}

func (s *session) writeEngine(r *inspectResult, layers bool) error {
	e := r.Engine
	facts := report.NewTable("", "")
	facts.Add("file", r.File)
	facts.Add("size", report.Bytes(r.Bytes))
	facts.Add("format", backendName(e.Backend)+" "+e.Version+" engine, built in "+report.Duration(seconds(e.BuildSeconds)))
	targets := "the GPU of the machine that built it"
	if len(e.Targets) > 0 {
		targets = strings.Join(e.Targets, ", ")
	}
	facts.Add("runs on", targets)
	facts.Add("model", fmt.Sprintf("%s, sha256 %.12s", report.OneLine(e.Model.Name), e.Model.SHA256))
	for i, p := range e.Inputs {
		facts.Add(first(i, "inputs"), fmt.Sprintf("%s  %s %s", report.OneLine(p.Name), dimsText(p.Dims, nil), p.Type))
	}
	for i, p := range e.Outputs {
		facts.Add(first(i, "outputs"), fmt.Sprintf("%s  %s %s", report.OneLine(p.Name), dimsText(p.Dims, nil), p.Type))
	}
	facts.Add("precision", e.Precision)
	quantised, weighted := 0, 0
	for _, l := range e.Layers {
		if l.Weights > 0 {
			weighted++
			if l.Quantized {
				quantised++
			}
		}
	}
	facts.Add("quantised", fmt.Sprintf("%d of %d layers with weights", quantised, weighted))
	runs := convolutionsText(e)
	if runs == "" {
		runs = "INT8 in an unknown number of convolutions"
	}
	facts.Add("runs", runs)
	addReservations(facts, e)
	if bytes, float := e.WeightBytes(); float > 0 {
		facts.Add("weights", fmt.Sprintf("%s, %.0f %% of float", report.Bytes(bytes), 100*ratio(bytes, float)))
	}
	if err := s.table(facts); err != nil || !layers {
		return err
	}
	fmt.Fprintln(s.out)
	t := report.NewTable("layer", "kind", "output", ">weights", "type")
	for _, l := range e.Layers {
		kind := l.Type
		if l.Quantized {
			kind = "int8"
		}
		weights := ""
		if l.Weights > 0 {
			weights = report.Count(l.Weights) + " " + l.WeightType
		}
		t.Add(report.OneLine(l.Name), l.Kind, dimsText(l.Dims, nil), weights, kind)
	}
	return s.table(t)
}

// backendName is a backend as NVIDIA calls it.
func backendName(backend string) string {
	if backend == trt.BackendRTX {
		return "TensorRT for RTX"
	}
	return "TensorRT"
}

// first is the label of a list's first line; the others have none.
func first(i int, label string) string {
	if i == 0 {
		return label
	}
	return ""
}

func portText(p inspect.Port) string {
	return fmt.Sprintf("%s  %s %s", report.OneLine(p.Name), dimsText(p.Dims, p.Symbols), p.Type)
}

// dimsText is 1x3x640x640, with the names of sizes that are not fixed.
func dimsText(dims []int, symbols []string) string {
	if dims == nil {
		return "(unknown shape)"
	}
	if len(dims) == 0 {
		return "scalar"
	}
	parts := make([]string, len(dims))
	for i, d := range dims {
		switch {
		case d >= 0:
			parts[i] = fmt.Sprint(d)
		case i < len(symbols) && symbols[i] != "":
			parts[i] = "(" + report.OneLine(symbols[i]) + ")"
		default:
			parts[i] = "?"
		}
	}
	return strings.Join(parts, "x")
}

func familyText(d detectorContent) string {
	if d.Family == "" {
		return "not recognised: " + report.OneLine(d.Problem)
	}
	text := fmt.Sprintf("%s, %d classes, input %dx%d", d.Family, d.Classes, d.Height, d.Width)
	if d.Classes == 1 {
		text = strings.Replace(text, "classes", "class", 1)
	}
	if d.Task != "" {
		text += fmt.Sprintf("; its task is %s: boxes alone are decoded", report.OneLine(d.Task))
	}
	return text
}

func quantizedText(q *inspect.Quantized) string {
	if q == nil {
		return "no, a float model"
	}
	share := 100 * ratio(q.Params, q.AllParams)
	return fmt.Sprintf("%d of %d layers in INT8, %.1f %% of their parameters; %d activation tensors", q.Layers, q.AllLayers, share, q.Activation)
}

// ratio is a/b, 0 where there is nothing to compare with.
func ratio(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}
