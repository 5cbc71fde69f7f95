// trtact run: raw tensors in, raw tensors out, for any ONNX model or engine.

package cli

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/job"
	"trtact/internal/npy"
	"trtact/internal/rawrun"
	"trtact/internal/report"
	"trtact/trt"
)

type runResult struct {
	Model   string      `json:"model"`
	Outputs []runOutput `json:"outputs"`
	Seconds float64     `json:"seconds"` // of the run alone
}

type runOutput struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Shape []int  `json:"shape"`
	File  string `json:"file"`
}

func (s *session) runCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "run",
		Usage:     "run a model on raw tensors (.npy in, .npy out)",
		UsageText: "trtact run MODEL --input NAME=FILE.npy ... --output-dir DIR",
		Category:  groupSteps,
		Description: `Runs an ONNX model or an engine once and writes every output as DIR/NAME.npy. The arrays' shapes give
the sizes that the model leaves open. A model with a single input needs no name: --input FILE.npy.

Examples:
trtact run model.onnx --input images=batch.npy --output-dir out
trtact run model.onnx --input a=a.npy b=b.npy --tensor conv1_out -o out`,
		Flags: []urfave.Flag{
			&urfave.StringSliceFlag{Name: "input", Aliases: []string{"i"}, Usage: "`NAME=FILE` with the array of an input; once for each"},
			&urfave.StringFlag{Name: "output-dir", Aliases: []string{"o"}, Usage: "`DIR` to write the outputs to (needed)"},
			&urfave.StringSliceFlag{Name: "tensor", Usage: "write this inner tensor `NAME` of an ONNX model too"},
			trustFlag(),
		},
		Action: s.run,
	}
}

func (s *session) run(c *urfave.Context) error {
	if err := takes(c, 1, -1, "a model"); err != nil {
		return err
	}
	model, dir := c.Args().First(), c.String("output-dir")
	if dir == "" {
		return usage("run", "run needs --output-dir for what the model puts out")
	}
	assigned := c.StringSlice("input")
	for _, more := range c.Args().Slice()[1:] { // --input a=a.npy b=b.npy
		if !strings.Contains(more, "=") {
			return usage("run", "run takes one model, got %q beyond that (an input is written NAME=FILE.npy)", more)
		}
		assigned = append(assigned, more)
	}
	if len(assigned) == 0 {
		return usage("run", "run needs --input NAME=FILE.npy for every input of the model")
	}
	if err := needFile("model", model); err != nil {
		return err
	}
	var err error
	var options trt.SessionOptions
	if isEngine(model) {
		if len(c.StringSlice("tensor")) > 0 {
			return usage("run", "--tensor is for ONNX models: the inner tensors of an engine cannot be read")
		}
		if options, err = s.sessionOptions("run", model, c.Bool("trust")); err != nil {
			return err
		}
	}
	if err := needOutputDir("run", "--output-dir", dir); err != nil {
		return err
	}
	files, err := inputFiles(assigned)
	if err != nil {
		return err
	}
	inputs, err := readArrays(files)
	if err != nil {
		// An engine that cannot be run here is the first thing to know.
		if refused := s.tryEngine(options); refused != nil {
			return refused
		}
		return err
	}
	got, spent, err := s.runRaw(c, model, options, inputs)
	if err != nil {
		return err
	}
	r := runResult{Model: model, Seconds: spent.Seconds()}
	taken := map[string]bool{}
	for _, t := range got {
		file := filepath.Join(dir, tensorFile(t.Name, taken))
		for _, in := range append(slices.Collect(maps.Values(files)), model) {
			if job.SamePath(file, in) {
				return usage("run", "the output %q would overwrite %s: give another --output-dir", t.Name, in)
			}
		}
		if err := npy.Write(file, &npy.Array{Shape: t.Tensor.Dims, Data: t.Tensor.Data}); err != nil {
			return err
		}
		r.Outputs = append(r.Outputs, runOutput{t.Name, t.Tensor.Type.String(), append([]int{}, t.Tensor.Dims...), file})
	}
	return s.print(r, func() error {
		t := report.NewTable("output", "shape", "type", "file")
		for _, o := range r.Outputs {
			t.Add(report.OneLine(o.Name), dimsText(o.Shape, nil), o.Type, o.File)
		}
		return s.table(t)
	})
}

// inputFiles takes NAME=FILE apart; a lone file is that of the input "".
func inputFiles(assigned []string) (map[string]string, error) {
	files := map[string]string{}
	for _, text := range assigned {
		name, path, named := strings.Cut(text, "=")
		if !named {
			name, path = "", text
		}
		if named && name == "" || path == "" {
			return nil, usage("run", "--input %q: expected NAME=FILE.npy", text)
		}
		if files[name] != "" {
			return nil, usage("run", "--input %q: the input %q was given before", text, name)
		}
		files[name] = path
	}
	return files, nil
}

func readArrays(files map[string]string) (map[string]*npy.Array, error) {
	arrays := map[string]*npy.Array{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := needFile("input "+name, files[name]); err != nil {
			return nil, err
		}
		a, err := npy.Read(files[name])
		if err != nil {
			return nil, err
		}
		arrays[name] = a
	}
	return arrays, nil
}

// tryEngine is why the engine cannot be run here; nil where it can, or where
// options name none.
func (s *session) tryEngine(options trt.SessionOptions) error {
	if options.Engine == "" {
		return nil
	}
	loaded, err := trt.OpenSession(s.ctx, options)
	if err != nil {
		return s.engineError(options.Engine, err)
	}
	return loaded.Close()
}

// runRaw runs an engine, where options name one, or an ONNX model.
func (s *session) runRaw(c *urfave.Context, model string, options trt.SessionOptions, inputs map[string]*npy.Array) ([]rawrun.Output, time.Duration, error) {
	if options.Engine != "" {
		got, spent, err := rawrun.RunEngine(s.ctx, options, inputs)
		return got, spent, s.engineError(model, err)
	}
	m, done, err := s.machine()
	if err != nil {
		return nil, 0, err
	}
	defer done()
	return rawrun.Run(m.Device, model, rawrun.Options{Inputs: inputs, Tensors: c.StringSlice("tensor"), Threads: s.threads})
}

// tensorFile is a tensor's name as a file name: what could leave the folder or
// hide the file becomes an underscore.
func tensorFile(name string, taken map[string]bool) string {
	base := strings.Map(func(r rune) rune {
		switch {
		case r == '/', r == '\\', r == ':', r < 0x20, r == 0x7f:
			return '_'
		}
		return r
	}, name)
	base = strings.TrimLeft(base, ".")
	if base == "" {
		base = "output"
	}
	if len(base) > 200 {
		base = base[:200]
	}
	file := base + ".npy"
	for n := 2; taken[file]; n++ {
		file = fmt.Sprintf("%s-%d.npy", base, n)
	}
	taken[file] = true
	return file
}
