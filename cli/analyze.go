// trtact analyze: why a model loses accuracy when it is quantised.

package cli

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/analysis"
	"trtact/internal/job"
	"trtact/internal/report"
)

// shownLayers is how many layers the tables on the terminal have; the page has all.
const shownLayers = 20

func (s *session) analyzeCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "analyze",
		Usage:     "find the layers that lose accuracy in INT8, and why",
		UsageText: "trtact analyze MODEL.onnx --data IMAGES [--val COCO.json] [-o DIR]",
		Category:  groupSteps,
		Description: `Quantises one layer at a time and measures the error at the heads; then the first layers
of the graph together; and looks at the values of weights and activations: ranges, outliers, clipping,
dead channels. With --val the average precision with each of the worst layers is measured too.
Beside the errors stands what each layer takes in INT8 and in FP16: measured, or an estimate.

Writes DIR/report.html, DIR/analysis.json and the charts as PNG. Every finished layer is kept in
DIR/work: an interrupted run goes on with the same command.

Examples:
trtact analyze yolov8n.onnx --data pictures/
trtact analyze yolov8n.onnx --data pictures/ --val val.json --worst 10 -o why
trtact analyze yolov8n.onnx --data pictures/ --plan yolov8n.plan.json`,
		Flags: append([]urfave.Flag{
			&urfave.StringFlag{Name: "data", Usage: "`PATH` of unlabelled pictures: folder, list file, COCO JSON or VOC folder; or .npy/.npz inputs (needed)"},
			&urfave.StringFlag{Name: "images", Usage: "`DIR` with the pictures of a COCO JSON (default: beside it, or its images/)"},
			&urfave.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`DIR` to write to (default: MODEL.analysis beside the model)"},
			&urfave.IntFlag{Name: "samples", Value: job.DefaultSamples, Usage: "test layers on at most `N` pictures"},
			&urfave.Float64Flag{Name: "precision", Value: 100 * job.DefaultPrecision, Usage: "`PERCENT` of a layer's error that it may be uncertain by; fewer pictures then do for most layers. 0: always all"},
			&urfave.StringFlag{Name: "plan", Usage: "`FILE` with a plan to analyse instead of calibrating"},
			gpuFlag(),
			&urfave.StringFlag{Name: "engine", Usage: "`FILE` of an INT8 engine of the model, to measure the layers' latency instead of estimating it (with --engine-fp16, on its GPU)"},
			&urfave.StringFlag{Name: "engine-fp16", Usage: "`FILE` of an FP16 engine of the model, for --engine"},
			&urfave.StringFlag{Name: "val", Category: flagsAccuracy, Usage: "`PATH` of labelled pictures, to measure mAP with the worst layers"},
			&urfave.StringFlag{Name: "val-images", Category: flagsAccuracy, Usage: "`DIR` with the pictures of --val"},
			&urfave.IntFlag{Name: "val-limit", Category: flagsAccuracy, Usage: "measure on the first `N` pictures only"},
			&urfave.IntFlag{Name: "worst", Category: flagsAccuracy, Value: 5, Usage: "measure mAP with each of the `K` most sensitive layers"},
			shapeFlag(),
			familyFlag(),
			pixelsFlag(),
		}, analysisCalibrationFlags()...),
		Action: s.analyze,
	}
}

// analysisCalibrationFlags are those of calibration without the form of a file that is
// not written here.
func analysisCalibrationFlags() []urfave.Flag {
	var flags []urfave.Flag
	for _, f := range calibrationFlags() {
		if f.Names()[0] != "onnx-weights" {
			flags = append(flags, f)
		}
	}
	return flags
}

func (s *session) analyzeOptions(c *urfave.Context) (job.AnalyzeOptions, error) {
	var o job.AnalyzeOptions
	if err := takes(c, 1, 1, "a model"); err != nil {
		return o, err
	}
	o = job.AnalyzeOptions{
		Model: c.Args().First(), Data: c.String("data"), Images: c.String("images"), Dir: c.String("output"),
		Val: c.String("val"), ValImages: c.String("val-images"), ValLimit: c.Int("val-limit"), Worst: c.Int("worst"),
		Plan: c.String("plan"), Samples: c.Int("samples"), Precision: c.Float64("precision") / 100,
		Program: Version, Command: s.command,
	}
	switch {
	case o.Data == "":
		return o, usage("analyze", "analyze needs --data: pictures to run the model on")
	case o.Samples < 1:
		return o, usage("analyze", "--samples %d: expected a number above 0", o.Samples)
	case !(o.Precision >= 0 && o.Precision <= 1):
		return o, usage("analyze", "--precision %g: expected 0 to 100", c.Float64("precision"))
	case o.Val == "" && (o.ValImages != "" || c.IsSet("val-limit") || c.IsSet("worst")):
		return o, usage("analyze", "--val-images, --val-limit and --worst are for --val, which is not given")
	case o.ValLimit < 0:
		return o, usage("analyze", "--val-limit %d: expected a number above 0", o.ValLimit)
	case (c.String("engine") == "") != (c.String("engine-fp16") == ""):
		return o, usage("analyze", "--engine and --engine-fp16 go together: layers are compared in both")
	case o.Worst < 0:
		return o, usage("analyze", "--worst %d: expected 0 or more", o.Worst)
	}
	o.Engine, o.EngineFP16 = c.String("engine"), c.String("engine-fp16")
	var err error
	if o.GPU, err = gpuOption(c, nil); err != nil {
		return o, err
	}
	if o.Load, err = loadOptions(c); err != nil {
		return o, err
	}
	if o.Calibrate, _, err = calibrateOptions(c); err != nil {
		return o, err
	}
	o.Calibrate.NoDepthwise = withoutDepthwise(c, o.GPU)
	for _, f := range []struct{ what, path string }{{"--data", o.Data}, {"--images", o.Images}, {"--val", o.Val}, {"--val-images", o.ValImages},
		{"--engine", o.Engine}, {"--engine-fp16", o.EngineFP16}} {
		if f.path != "" {
			if err := needPath(f.what, f.path); err != nil {
				return o, err
			}
		}
	}
	if o.Dir == "" {
		o.Dir = strings.TrimSuffix(o.Model, filepath.Ext(o.Model)) + ".analysis"
	}
	if err := needOutputDir("analyze", "--output", o.Dir); err != nil {
		return o, err
	}
	return o, needFile("model", o.Model)
}

func (s *session) analyze(c *urfave.Context) error {
	o, err := s.analyzeOptions(c)
	if err != nil {
		return err
	}
	m, done, err := s.machine()
	if err != nil {
		return err
	}
	defer done()
	a, err := m.Analyze(s.ctx, o)
	done()
	if err != nil {
		if s.ctx.Err() != nil {
			s.log.Info("what is finished is kept in " + filepath.Join(o.Dir, "work") + ": the same command goes on from there")
		}
		return err
	}
	return s.print(a, func() error { return s.writeAnalysis(a) })
}

func (s *session) writeAnalysis(a *job.Analysis) error {
	head := report.NewTable("", "")
	head.Add("model", fmt.Sprintf("%s: %s, %dx%d", a.Model.Path, a.Family, a.Shape[0], a.Shape[1]))
	head.Add("scales", "method "+a.Method)
	head.Add("error", fmt.Sprintf("%s at the heads with all %d layers in INT8, on %s", share(a.Whole.Mean), len(a.Layers), report.Plural(a.Samples, "picture")))
	if a.Float != nil {
		head.Add("float mAP", fmt.Sprintf("%.2f on %s", 100*a.Float.MAP, report.Plural(a.Images, "picture")))
	}
	if n := len(a.Bad); n > 0 {
		head.Add("left out", report.Plural(n, "picture")+" that cannot be read")
	}
	if err := s.table(head); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	if err := s.table(s.sensitivityTable(a)); err != nil {
		return err
	}
	if more := len(a.Layers) - shownLayers; more > 0 {
		fmt.Fprintf(s.out, "and %d more\n", more)
	}
	if err := s.writeFront(a.Front); err != nil {
		return err
	}
	if t := oddTable(a.Layers); t.Len() > 0 {
		fmt.Fprintln(s.out)
		if err := s.table(t); err != nil {
			return err
		}
	}
	fmt.Fprintln(s.out)
	files := report.NewTable("written", "")
	files.Add("report", a.Files.Report)
	files.Add("all figures", a.Files.JSON)
	files.Add("charts", fmt.Sprintf("%d PNG files in %s", len(a.Files.PNG), filepath.Dir(a.Files.JSON)))
	if err := s.table(files); err != nil {
		return err
	}
	if names := firstNames(a.Layers, 2); len(names) > 0 {
		fmt.Fprintf(s.out, "\nto leave the worst layers float: trtact build ... --exclude '%s'\n", excludePattern(names))
	}
	return nil
}

// sensitivityTable ranks the layers, with bars as wide as the terminal allows.
func (s *session) sensitivityTable(a *job.Analysis) *report.Table {
	columns := []string{">", "layer", ">error alone", "", ">share"}
	accuracy := a.Float != nil
	if accuracy {
		columns = append(columns, ">mAP alone")
	}
	t := report.NewTable(columns...)
	longest := 0
	layers := a.Layers[:min(shownLayers, len(a.Layers))]
	for _, l := range layers {
		longest = max(longest, report.Width(report.OneLine(l.Node)))
	}
	cells := max(6, min(40, s.width-longest-40))
	for i, l := range layers {
		bar := ""
		if worst := layers[0].Error.Mean; worst > 0 {
			bar = strings.Repeat("#", int(math.Ceil(float64(cells)*l.Error.Mean/worst)))
		}
		row := []string{fmt.Sprint(i + 1), report.OneLine(l.Node), share(l.Error.Mean), bar, fmt.Sprintf("%.0f %%", 100*l.Share)}
		if accuracy && l.MAP != nil {
			row = append(row, fmt.Sprintf("%.2f (%+.2f)", 100**l.MAP, 100*(*l.MAP-a.Float.MAP)))
		}
		t.Add(row...)
	}
	return t
}

// oddTable lists the layers whose values are odd.
func oddTable(layers []analysis.Layer) *report.Table {
	t := report.NewTable("layer", "what is odd")
	count := 0
	for _, l := range layers {
		if len(l.Notes) > 0 && count < shownLayers {
			t.Add(report.OneLine(l.Node), l.Words())
			count++
		}
	}
	return t
}

func firstNames(layers []analysis.Layer, n int) []string {
	var names []string
	for _, l := range layers[:min(n, len(layers))] {
		if report.OneLine(l.Node) == l.Node && !strings.Contains(l.Node, "'") && l.Weights != nil {
			names = append(names, l.Node)
		}
	}
	return names
}

// excludePattern is a regular expression for just these layers.
func excludePattern(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = regexp.QuoteMeta(n)
	}
	return "^(" + strings.Join(quoted, "|") + ")$"
}

// share is an error of 0..1 in percent, with three digits.
func share(v float64) string {
	if v >= analysis.Blown {
		return "no number"
	}
	return fmt.Sprintf("%.3g %%", 100*v)
}
