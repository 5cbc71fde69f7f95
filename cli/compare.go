// trtact compare: where two models part, given the same inputs.

package cli

import (
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/job"
	"trtact/internal/report"
)

func (s *session) compareCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "compare",
		Usage:     "run two models on the same inputs and show where they part",
		UsageText: "trtact compare A B --data PATH",
		Category:  groupSteps,
		Description: `Runs two models, each an ONNX file or an engine, on the same pictures or arrays and shows
how far B is from A: for every output, and for two ONNX files for every inner tensor that
both have, the worst first. The relative error is the norm of the difference divided by that
of A's tensor, over all inputs.

Examples:
trtact compare yolov8n.onnx yolov8n.int8.onnx --data pictures/
trtact compare yolov8n.int8.onnx yolov8n.engine --data pictures/ --limit 32
trtact compare a.onnx b.onnx --data inputs.npz --json | jq '.layers[0]'`,
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "data", Usage: "`PATH` of the inputs: pictures in any form, .npy or .npz files (needed)"},
			&urfave.StringFlag{Name: "images", Usage: "`DIR` with the pictures of a COCO JSON (default: beside it, or its images/)"},
			&urfave.IntFlag{Name: "limit", Value: 8, Usage: "take the first `N` inputs (0: all, which are held in memory)"},
			&urfave.IntFlag{Name: "top", Value: 20, Usage: "show the `N` worst inner tensors (json has all)"},
			shapeFlag(),
			familyFlag(),
			pixelsFlag(),
			trustFlag(),
		},
		Action: s.compare,
	}
}

func (s *session) compare(c *urfave.Context) error {
	if err := takes(c, 2, 2, "two models"); err != nil {
		return err
	}
	if c.String("data") == "" {
		return usage("compare", "compare needs --data with the inputs to run both models on")
	}
	for _, name := range []string{"limit", "top"} {
		if c.Int(name) < 0 {
			return usage("compare", "--%s %d: expected 0 or more", name, c.Int(name))
		}
	}
	o, err := loadOptions(c)
	if err != nil {
		return err
	}
	o.AnyEngine = true
	paths := c.Args().Slice()
	for _, path := range paths {
		if err := needFile("model", path); err != nil {
			return err
		}
	}
	models := make([]*job.Detector, 2)
	for _, engines := range []bool{true, false} { // engines first: where they cannot run, nothing is to be looked at
		for i, path := range paths {
			if isEngine(path) != engines {
				continue
			}
			if engines {
				models[i], err = s.engine("compare", path, c.Bool("trust"), o)
			} else {
				models[i], err = job.LoadComparable(path, o)
			}
			if err != nil {
				return err
			}
			defer models[i].Close()
		}
	}
	a, b := models[0], models[1]
	samples, warnings, err := job.OpenSamples(c.String("data"), c.String("images"), a)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		s.log.Warn(w)
	}
	m, done, err := s.machineFor(a, b)
	if err != nil {
		return err
	}
	defer done()
	r, err := m.Compare(s.ctx, a, b, job.First(samples, c.Int("limit")))
	done()
	if err != nil {
		return err
	}
	for _, bad := range r.Skipped {
		s.log.Warn(fmt.Sprintf("%s is left out: %s", bad.Path, bad.Why))
	}
	return s.print(r, func() error { return s.writeCompare(r, c.Int("top")) })
}

func (s *session) writeCompare(r *job.Comparison, top int) error {
	fmt.Fprintf(s.out, "%s beside %s on %s, in %s\n\n", report.OneLine(r.B), report.OneLine(r.A), report.Plural(r.Samples, "input"), report.Duration(seconds(r.Seconds)))
	if err := s.table(differences("output", r.Outputs)); err != nil || len(r.Layers) == 0 || top == 0 {
		return err
	}
	shown := r.Layers[:min(top, len(r.Layers))]
	fmt.Fprintf(s.out, "\ninner tensors that both have: %s, the worst first", report.Count(int64(len(r.Layers))))
	if len(shown) < len(r.Layers) {
		fmt.Fprintf(s.out, " (%d shown)", len(shown))
	}
	if r.Equalised > 0 {
		fmt.Fprintf(s.out, "; %s more have other values on purpose,\nas their channels were evened out before they were quantised", report.Count(int64(r.Equalised)))
	}
	fmt.Fprint(s.out, "\n\n")
	return s.table(differences("tensor", shown))
}

func differences(title string, list []job.Difference) *report.Table {
	t := report.NewTable(title, "shape", "made by", ">relative L2", ">largest", ">range")
	for _, d := range list {
		name := report.OneLine(d.Tensor)
		if d.Other != "" {
			name += " / " + report.OneLine(d.Other)
		}
		op := d.Op
		if op == "" {
			op = "-"
		}
		relative, largest, valueRange := "-", "-", "-"
		if d.Known() {
			relative, largest, valueRange = fmt.Sprintf("%.3g", d.RelativeL2), fmt.Sprintf("%.3g", d.MaxAbs), fmt.Sprintf("%.3g", d.Range)
		}
		if d.NotFinite > 0 {
			relative += fmt.Sprintf(", %s not finite", report.Count(int64(d.NotFinite)))
		}
		t.Add(name, dimsText(d.Shape, nil), op, relative, largest, valueRange)
	}
	return t
}
