// trtact eval: a model's average precision on labelled pictures.

package cli

import (
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/job"
	"trtact/internal/report"
)

type evalResult struct {
	Model  string `json:"model"`
	Family string `json:"family"`
	Height int    `json:"height"`
	Width  int    `json:"width"`
	Data   string `json:"data"`
	// Quantized is set for a model with QuantizeLinear nodes, whose INT8 is
	// simulated here, and for an engine with INT8 in it.
	Quantized bool `json:"quantized"`
	// Engine is the TensorRT that ran an engine.
	Engine string `json:"engine,omitempty"`
	*coco.Metrics
	Skipped []coco.BadImage `json:"skipped_images,omitempty"`
	Seconds float64         `json:"seconds"`
}

func (s *session) evalCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "eval",
		Usage:     "measure average precision (COCO mAP) on labelled pictures",
		UsageText: "trtact eval MODEL --data COCO.json [--images DIR]",
		Category:  groupSteps,
		Description: `Runs a detector over labelled pictures and prints COCO's twelve figures and the average
precision of every class: score threshold 0.001, suppression at IoU 0.65 within each class. MODEL is a float ONNX, one with Q/DQ nodes, whose INT8 is computed exactly as an
engine does, or an engine, which runs on the GPU. A figure without an object of its kind in the
labels is -1 in the JSON.

Examples:
trtact eval yolov8n.onnx --data annotations.json --images val2017
trtact eval yolov8n.int8.onnx --data annotations.json --images val2017 --json
trtact eval yolov8n.engine --data annotations.json --images val2017
trtact eval mine.onnx --data voc2012/ --save detections.json`,
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "data", Usage: "`PATH` of the labels: COCO JSON, VOC or YOLO folder (needed)"},
			&urfave.StringFlag{Name: "images", Usage: "`DIR` with the pictures of a COCO JSON (default: beside it, or its images/)"},
			&urfave.StringFlag{Name: "list", Usage: "`FILE` that names the pictures to take, one a line (default: all)"},
			&urfave.IntFlag{Name: "limit", Usage: "take the first `N` pictures only"},
			shapeFlag(),
			familyFlag(),
			pixelsFlag(),
			likeFlag(),
			trustFlag(),
			&urfave.IntFlag{Name: "top-k", Value: detect.DefaultOptions().TopK, Usage: "`N` best predictions of a picture go into suppression"},
			&urfave.IntFlag{Name: "keep", Value: detect.DefaultOptions().Keep, Usage: "`N` boxes of a picture are kept"},
			&urfave.StringFlag{Name: "save", Usage: "`FILE` to write the detections to, in COCO's results format"},
		},
		Action: s.eval,
	}
}

func (s *session) eval(c *urfave.Context) error {
	if err := takes(c, 1, 1, "a model"); err != nil {
		return err
	}
	model := c.Args().First()
	if c.String("data") == "" {
		return usage("eval", "eval needs --data with the labels to measure against")
	}
	o, err := loadOptions(c)
	if err != nil {
		return err
	}
	if c.Int("limit") < 0 {
		return usage("eval", "--limit %d: expected a number above 0", c.Int("limit"))
	}
	boxes := detect.DefaultOptions()
	boxes.TopK, boxes.Keep = c.Int("top-k"), c.Int("keep")
	if boxes.TopK < 1 || boxes.Keep < 1 {
		return usage("eval", "--top-k %d, --keep %d: expected numbers above 0", boxes.TopK, boxes.Keep)
	}
	if err := needFile("model", model); err != nil {
		return err
	}
	var d *job.Detector
	if isEngine(model) { // before all else: where it cannot run, nothing is to be looked at
		if d, err = s.engine("eval", model, c.Bool("trust"), o); err != nil {
			return err
		}
		defer d.Close()
	}
	if err := needOutputs(c, output{"--save", c.String("save")}); err != nil {
		return err
	}
	ds, err := s.labelled("--data", c.String("data"), c.String("images"), c.String("list"), c.Int("limit"))
	if err != nil {
		return err
	}
	if d == nil {
		if d, err = s.load(model, o); err != nil {
			return err
		}
	}
	m, done, err := s.machineFor(d)
	if err != nil {
		return err
	}
	defer done()
	e, err := m.Evaluate(s.ctx, d, ds, boxes, "evaluate")
	if err == nil {
		err = m.WarnIfPoor(s.ctx, d, e.Metrics.AP, ds, boxes)
	}
	done()
	if err != nil {
		return err
	}
	if path := c.String("save"); path != "" {
		if err := coco.WriteResults(path, e.Results); err != nil {
			return err
		}
	}
	r := evalResult{
		Engine: engineVersion(d), Model: model, Family: d.Spec.Family, Height: d.Spec.Height, Width: d.Spec.Width, Data: ds.Path,
		Quantized: d.Quantized, Metrics: e.Metrics, Skipped: e.Bad, Seconds: e.Seconds,
	}
	return s.print(r, func() error { return s.writeEval(r) })
}

// labelled opens a data set that must have labels.
func (s *session) labelled(flag, path, images, list string, limit int) (*coco.Dataset, error) {
	ds, err := coco.OpenSubset(path, images, list)
	if err != nil {
		return nil, err
	}
	for _, w := range ds.Warnings {
		s.log.Warn(w)
	}
	switch {
	case ds.Labelled():
	case len(ds.Images) == 0:
		return nil, fault.BadInput(fmt.Errorf("%s %s has no pictures%s", flag, path, ofList(list)))
	case len(ds.Categories) > 0:
		return nil, fault.BadInput(fmt.Errorf("%s %s has no box in any of its %d pictures%s, and average precision needs some", flag, path, len(ds.Images), ofList(list)))
	default:
		return nil, usage("", "%s %s has no labels, and average precision needs them: give a COCO JSON, or a VOC or YOLO folder", flag, path)
	}
	return ds.First(limit), nil
}

func ofList(list string) string {
	if list == "" {
		return ""
	}
	return " that " + list + " names"
}

func (s *session) writeEval(r evalResult) error {
	precision := "float"
	if r.Quantized {
		precision = "INT8, simulated"
	}
	if r.Engine != "" {
		precision = "engine of " + r.Engine
	}
	fmt.Fprintf(s.out, "%s: %s, %dx%d, %s\n%s pictures of %s in %s\n\n", report.OneLine(r.Model), r.Family, r.Height, r.Width, precision,
		report.Count(int64(r.Images)), report.OneLine(r.Data), report.Duration(seconds(r.Seconds)))
	if err := r.WriteText(s.out); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	return s.table(classTable(r.Classes))
}

// classTable lists the classes that occur, in two columns.
func classTable(classes []coco.ClassMetrics) *report.Table {
	var rows [][]string
	for _, c := range classes {
		if c.Truths > 0 {
			rows = append(rows, []string{c.Name, report.Count(int64(c.Truths)), percentage(c.AP), percentage(c.AP50)})
		}
	}
	if len(rows) == 1 {
		t := report.NewTable("class", ">boxes", ">AP", ">AP50")
		t.Add(rows[0]...)
		return t
	}
	t := report.NewTable("class", ">boxes", ">AP", ">AP50", " ", "class", ">boxes", ">AP", ">AP50")
	half := (len(rows) + 1) / 2
	for i := range half {
		row := append(append([]string{}, rows[i]...), "")
		if i+half < len(rows) {
			row = append(row, rows[i+half]...)
		}
		t.Add(row...)
	}
	return t
}

// percentage is a figure of 0..1 with three digits, as COCO tables print it.
func percentage(v float64) string {
	if v == coco.Undefined {
		return "-"
	}
	return fmt.Sprintf("%.3f", v)
}

// pictureOptions are for pictures that people look at: fewer and surer boxes
// than measuring wants.
func pictureOptions(score, iou float64) detect.Options {
	o := detect.DefaultOptions()
	o.Score, o.IoU, o.MultiLabel = float32(score), float32(iou), false
	return o
}
