// trtact compress: the flow of a configuration file, as PaddleSlim's Auto
// Compression Toolkit has it.

package cli

import (
	"errors"
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/fault"
	"trtact/internal/job"
	"trtact/internal/report"
	"trtact/trt"
)

// defaultSaveDir is where compress writes when nobody says it.
const defaultSaveDir = "output"

func (s *session) compressCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "compress",
		Usage:     "quantise and train as a configuration file says (PaddleSlim ACT's files work as they are)",
		UsageText: "trtact compress --config act.yaml [--save-dir DIR]",
		Category:  groupMain,
		Description: `Quantises the model of Global.model_dir on its pictures, and with a section
Distillation or Quantization trains it against the float model; the best state is kept. Writes
model.onnx (Q/DQ), plan.json, report.html and result.json to the folder, and model.engine if a
section Deploy asks for it. Training can be interrupted: checkpoints/ there has what --resume
goes on from, to the same result.

Examples:
trtact compress --config examples/act/minimal.yaml
trtact compress --config act.yaml --save-dir out --iters 500
trtact compress --config act.yaml --dry-run`,
		Flags: append([]urfave.Flag{
			&urfave.StringFlag{Name: "config", Usage: "`FILE` with the configuration (needed)"},
			&urfave.StringFlag{Name: "save-dir", Usage: "`DIR` to write to (default: Global.save_dir, else output)"},
			&urfave.StringFlag{Name: "model", Usage: "`FILE` of the model, instead of Global.model_dir"},
		}, trainingFlags()...),
		Action: s.compress,
	}
}

func (s *session) compressOptions(c *urfave.Context) (job.BuildOptions, error) {
	var o job.BuildOptions
	if err := takes(c, 0, 0, ""); err != nil {
		return o, err
	}
	if c.String("config") == "" {
		return o, usage("compress", "compress needs --config: a file that says what is compressed and how")
	}
	if err := needFile("--config", c.String("config")); err != nil {
		return o, err
	}
	cfg, err := s.loadConfig(c.String("config"))
	if err != nil {
		return o, err
	}
	if err := applyTraining(c, cfg); err != nil {
		return o, err
	}
	if o, err = job.Configure(cfg); err != nil {
		return o, err
	}
	if c.IsSet("model") {
		o.Model = c.String("model")
	} else if o.Model == "" {
		_, err := cfg.Global.Model() // says what is missing
		return o, err
	}
	o.SaveDir = defaultSaveDir
	if cfg.Global.SaveDir != "" {
		o.SaveDir = cfg.Global.SaveDir
	}
	if dir := c.String("save-dir"); dir != "" {
		o.SaveDir = dir
	}
	if o.Data == "" {
		return o, usage("compress", "the configuration names no pictures: put them in Global.image_path, or train_image_dir and train_anno_path")
	}
	o.NoEngine = !cfg.WantsEngine()
	o.Resume = c.Bool("resume")
	o.Distil.Options.Seed = uint64(s.seed)
	o.Engine.Verbose, o.Engine.Timeout = s.verbose, trt.DefaultTimeout
	o.Program, o.Command = Version, s.command
	return o, needFile("model", o.Model)
}

func (s *session) compress(c *urfave.Context) error {
	if err := s.find(c); err != nil {
		return err
	}
	o, err := s.compressOptions(c)
	if err != nil {
		return err
	}
	return s.buildAs(c, o)
}

// buildAs runs a build or shows what it would do.
func (s *session) buildAs(c *urfave.Context, o job.BuildOptions) error {
	dry := c.Bool("dry-run")
	if dry && s.helps {
		return nil
	}
	m, done, err := s.machine()
	if err != nil {
		return err
	}
	defer done()
	if dry {
		p, err := m.Preview(s.ctx, o)
		done()
		if err != nil {
			return err
		}
		return s.print(p, func() error { return s.writePreview(p) })
	}
	if err := s.join(c, m); err != nil {
		return err
	}
	group := m.Group
	r, err := m.Build(s.ctx, o)
	done()
	s.told = group.Agreed()
	if r == nil {
		return err
	}
	if perr := s.print(r, func() error { return s.writeBuild(r) }); perr != nil {
		return errors.Join(err, perr)
	}
	if fault.Code(err) == fault.CodeNoDevice {
		return fault.NoDevice(fmt.Errorf("the engine was not built: %w; `trtact doctor` tells what is missing and how to get it", err))
	}
	return err
}

func (s *session) writePreview(p *job.Preview) error {
	head := report.NewTable("", "")
	head.Add("model", fmt.Sprintf("%s: %s, %dx%d", p.Model.Path, p.Family, p.Shape[0], p.Shape[1]))
	head.Add("quantised", fmt.Sprintf("%d activations in %d groups, %d weights", p.Sites, p.Groups, p.Weights))
	head.Add("stay float", floatText(p.Skipped))
	if t := p.Train; t != nil {
		head.Add("training", fmt.Sprintf("%d steps of %d pictures, %.1f passes over %s; %s parameters", t.Steps, t.Batch, t.Epochs, report.Count(int64(t.Samples)), report.Count(int64(t.Parameters))))
		if t.HeldOut > 0 {
			head.Add("", fmt.Sprintf("%d pictures are set aside to judge by", t.HeldOut))
		}
		head.Add("memory", fmt.Sprintf("student %s, teacher %s, its kept outputs %s; a checkpoint takes %s", report.Bytes(t.StudentBytes), report.Bytes(t.TeacherBytes),
			report.Bytes(t.TargetBytes), report.Bytes(t.CheckpointBytes)))
		text := fmt.Sprintf("%s a step, %s for all", report.Duration(seconds(t.StepSeconds)), report.Duration(seconds(t.TrainSeconds)))
		if p.Val > 0 {
			text += fmt.Sprintf("; besides %d measurements on %d pictures", t.Measurements, p.Val)
		}
		head.Add("time", text)
	} else {
		head.Add("training", "none")
	}
	if p.Scales != "" {
		head.Add("estimated by", "scales: "+p.Scales)
	}
	for i, f := range p.Files {
		head.Add(first(i, "would write"), f)
	}
	if err := s.table(head); err != nil {
		return err
	}
	if err := s.writeFront(p.Front); err != nil || p.Train == nil {
		return err
	}
	fmt.Fprintln(s.out)
	nodes := report.NewTable("compared at", "made by", "shape", "loss", ">weight")
	for _, n := range p.Train.Nodes {
		nodes.Add(n.Tensor, n.Op, fmt.Sprint(n.Dims), string(n.Loss), fmt.Sprintf("%.3g", n.Weight))
	}
	return s.table(nodes)
}
