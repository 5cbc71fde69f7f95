// trtact calibrate: the quantised model and its plan, without an engine.

package cli

import (
	"fmt"
	"path/filepath"
	"sort"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"trtact/calib"
	"trtact/internal/coco"
	"trtact/internal/job"
	"trtact/internal/report"
)

type calibrateResult struct {
	Model   string           `json:"model"`
	Family  string           `json:"family"`
	Method  string           `json:"method"`
	Images  int              `json:"images"`
	Skipped []coco.BadImage  `json:"skipped_images,omitempty"`
	Trials  int              `json:"trials,omitempty"`
	Sites   int              `json:"sites"`
	Weights int              `json:"weights"`
	Float   []calib.Skip     `json:"float_layers"`
	Error   nodeErrors       `json:"node_error"` // relative L2, by distillation node
	Files   calibrationFiles `json:"files"`
	Seconds float64          `json:"seconds"`
}

type nodeErrors map[string]float64

type calibrationFiles struct {
	ONNX  string `json:"onnx"`
	Plan  string `json:"plan"`
	Cache string `json:"cache,omitempty"`
}

func (s *session) calibrateCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "calibrate",
		Usage:     "find the INT8 scales; writes the Q/DQ model and its plan",
		UsageText: "trtact calibrate MODEL.onnx --data IMAGES [--method M] [-o OUT.onnx]",
		Category:  groupSteps,
		Description: `Observes a float model on unlabelled pictures, settles what is quantised with which
scale, and writes the model with QuantizeLinear/DequantizeLinear nodes and the plan as JSON. The
plan may be edited and given to trtact build --plan.

Examples:
trtact calibrate yolov8n.onnx --data pictures/
trtact calibrate yolov8n.onnx --data train.txt --method mse -o mse.onnx
trtact calibrate yolov8n.onnx --data pictures/ --exclude '^/model.22/'`,
		Flags: append([]urfave.Flag{
			&urfave.StringFlag{Name: "data", Usage: "`PATH` of unlabelled pictures: folder, list file, COCO JSON or VOC folder; or .npy/.npz inputs (needed)"},
			&urfave.StringFlag{Name: "images", Usage: "`DIR` with the pictures of a COCO JSON (default: beside it, or its images/)"},
			&urfave.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FILE` of the Q/DQ model (default: MODEL.int8.onnx beside the model)"},
			&urfave.StringFlag{Name: "cache", Usage: "`FILE` for the scales as a TensorRT calibration cache, for implicit INT8 of the model as it is (TensorRT 8 and 10; turns --equalise off)"},
			shapeFlag(),
			familyFlag(),
			pixelsFlag(),
		}, calibrationFlags()...),
		Action: s.calibrate,
	}
}

func (s *session) calibrate(c *urfave.Context) error {
	if err := takes(c, 1, 1, "a model"); err != nil {
		return err
	}
	model, out := c.Args().First(), c.String("output")
	if c.String("data") == "" {
		return usage("calibrate", "calibrate needs --data: pictures to find the scales with")
	}
	load, err := loadOptions(c)
	if err != nil {
		return err
	}
	o, form, err := calibrateOptions(c)
	if err != nil {
		return err
	}
	if out == "" {
		out = strings.TrimSuffix(model, filepath.Ext(model)) + ".int8.onnx"
	}
	if strings.ToLower(filepath.Ext(out)) != ".onnx" {
		return usage("calibrate", "--output %s: expected a name that ends in .onnx", out)
	}
	if err := needFile("model", model); err != nil {
		return err
	}
	files := calibrationFiles{ONNX: out, Plan: strings.TrimSuffix(out, filepath.Ext(out)) + ".plan.json"}
	files.Cache = c.String("cache")
	if err := needOutputs(c, output{"--output", files.ONNX}, output{"--output", files.Plan}, output{"--cache", files.Cache}); err != nil {
		return err
	}
	if files.Cache != "" {
		if o.Equalise == job.EqualiseOn {
			return usage("calibrate", "--equalise on changes the model, so that --cache would hold scales that the model as it is does not have: leave one out")
		}
		o.Equalise = job.EqualiseOff // the cache is for the model as it is
	}
	d, err := s.load(model, load)
	if err != nil {
		return err
	}
	data, warnings, err := job.OpenSamples(c.String("data"), c.String("images"), d)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		s.log.Warn(w)
	}
	m, done, err := s.machine()
	if err != nil {
		return err
	}
	defer done()
	found, err := m.CalibrateOn(s.ctx, d, data, o)
	done()
	if err != nil {
		return err
	}
	quantised, err := calib.Apply(d.Model, found.Plan, form)
	if err != nil {
		return err
	}
	if err := found.Plan.Save(files.Plan); err != nil {
		return err
	}
	if err := quantised.Save(files.ONNX); err != nil {
		return err
	}
	if files.Cache != "" {
		scales, err := found.Plan.Cache(d.Model.Graph)
		if err == nil {
			err = scales.Save(files.Cache)
		}
		if err != nil {
			return err
		}
	}
	r := calibrateResult{
		Model: model, Family: d.Spec.Family, Method: found.Plan.Method, Images: found.Images, Skipped: found.Bad,
		Trials: found.Tried(), Sites: len(found.Plan.Sites), Weights: len(found.Plan.Weights), Float: found.Plan.Skipped,
		Error: found.NodeError, Files: files, Seconds: found.Seconds,
	}
	return s.print(r, func() error { return s.writeCalibration(r) })
}

func (s *session) writeCalibration(r calibrateResult) error {
	t := report.NewTable("", "")
	t.Add("model", r.Model+": "+r.Family)
	pictures := report.Plural(r.Images, "picture")
	if n := len(r.Skipped); n > 0 {
		pictures += fmt.Sprintf(", %d of them could not be read", n)
	}
	t.Add("scales", fmt.Sprintf("method %s, %s, %s", r.Method, pictures, report.Duration(seconds(r.Seconds))))
	t.Add("quantised", fmt.Sprintf("%d activation and %d weight tensors; %d layers stay float", r.Sites, r.Weights, len(r.Float)))
	t.Add("written", r.Files.ONNX)
	t.Add("", r.Files.Plan)
	if r.Files.Cache != "" {
		t.Add("", r.Files.Cache)
	}
	if err := s.table(t); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	e := report.NewTable("last layer of an output branch", ">error of INT8")
	names := make([]string, 0, len(r.Error))
	for name := range r.Error {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		e.Add(report.OneLine(name), fmt.Sprintf("%.2f %%", 100*r.Error[name]))
	}
	return s.table(e)
}
