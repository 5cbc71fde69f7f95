// The options of training, which build and compress share: a configuration file,
// and flags that win over it.

package cli

import (
	"fmt"
	"math"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/config"
	"trtact/internal/job"
)

const flagsTraining = "Training"

// trainingFlags have the names of the configuration's keys, where those have one.
func trainingFlags() []urfave.Flag {
	best := job.Recipe()
	t := &best.Train
	return []urfave.Flag{
		&urfave.IntFlag{Name: "iters", Category: flagsTraining, Usage: fmt.Sprintf("train for `N` steps (default: %d)", t.TrainIter)},
		&urfave.Float64Flag{Name: "lr", Category: flagsTraining, Usage: fmt.Sprintf("`RATE` of learning, the highest of its schedule (default: %g)", t.LearningRate.LearningRate)},
		&urfave.IntFlag{Name: "warmup", Category: flagsTraining, Usage: fmt.Sprintf("let the rate rise over the first `N` steps (default: %d)", t.Warmup)},
		&urfave.StringFlag{Name: "optimizer", Category: flagsTraining, Usage: "`NAME` of the optimiser: SGD, Momentum, Adam, AdamW (default: " + t.Optimizer.Type + ")"},
		&urfave.IntFlag{Name: "batch-size", Category: flagsTraining, Usage: fmt.Sprintf("pictures in a batch: `N` (default: %d)", best.Global.BatchSize)},
		&urfave.IntFlag{Name: "accumulate", Category: flagsTraining, Usage: "batches in a step: `N`; costs no memory (default: 1)"},
		&urfave.StringFlag{Name: "train-precision", Category: flagsTraining, Usage: "`NAME` of what a GPU may round factors of products to: " + strings.Join(config.Precisions(), ", ") + " (default: " + t.Precision + ")"},
		&urfave.IntFlag{Name: "eval-iter", Category: flagsTraining, Usage: fmt.Sprintf("measure every `N` steps, keep the best (default: %d)", t.EvalIter)},
		&urfave.IntFlag{Name: "patience", Category: flagsTraining, Usage: "end after `N` measurements without a better one (default: never)"},
		&urfave.StringFlag{Name: "loss", Category: flagsTraining, Usage: "`NAME` of the loss at the nodes: l1, l2, soft_label, cosine, channel_kl (default: " + best.Distillation.Loss[0] + ")"},
		&urfave.StringSliceFlag{Name: "nodes", Category: flagsTraining, Usage: "`NAMES` of tensors or nodes to compare at (default: the last layers before the outputs)"},
		&urfave.StringFlag{Name: "quantizer", Category: flagsTraining, Usage: "`NAME` of how activations' scales change: lsq, pact, moving_average_abs_max, range_abs_max, abs_max, fixed (default: lsq)"},
		&urfave.BoolFlag{Name: "no-mirror", Category: flagsTraining, Usage: "do not train on mirror images"},
		&urfave.IntFlag{Name: "checkpoint-iter", Category: flagsTraining, Usage: fmt.Sprintf("write a checkpoint every `N` steps (default: %d)", t.CheckpointIter)},
		&urfave.BoolFlag{Name: "resume", Category: flagsTraining, Usage: "go on from the checkpoint of an interrupted run"},
		collectiveFlag(),
		&urfave.StringFlag{Name: "eval-cmd", Category: flagsTraining, Usage: "measure by `COMMAND`, which gets {onnx} and prints one number last"},
		&urfave.BoolFlag{Name: "dry-run", Category: flagsTraining, Usage: "say what would be quantised and trained, with memory and time, and do nothing"},
	}
}

// applyTraining puts the flags over a configuration.
func applyTraining(c *urfave.Context, cfg *config.Config) error {
	command := c.Command.Name
	for _, n := range []struct {
		flag string
		to   *int
	}{
		{"iters", &cfg.Train.TrainIter}, {"warmup", &cfg.Train.Warmup}, {"batch-size", &cfg.Global.BatchSize}, {"accumulate", &cfg.Train.Accumulate},
		{"eval-iter", &cfg.Train.EvalIter}, {"patience", &cfg.Train.Patience}, {"checkpoint-iter", &cfg.Train.CheckpointIter},
	} {
		if !c.IsSet(n.flag) {
			continue
		}
		if *n.to = c.Int(n.flag); *n.to < 1 && n.flag != "warmup" || *n.to < 0 {
			return usage(command, "--%s %d: expected a number above 0", n.flag, *n.to)
		}
	}
	if c.IsSet("iters") {
		cfg.Train.Epochs = 0
		if !c.IsSet("warmup") {
			cfg.Train.Warmup = min(cfg.Train.Warmup, cfg.Train.TrainIter)
		}
	}
	if c.IsSet("lr") {
		rate := c.Float64("lr")
		if !(rate > 0 && rate <= 1) {
			return usage(command, "--lr %g: expected a number above 0, up to 1", rate)
		}
		s := &cfg.Train.LearningRate
		if s.Type == config.SchedulePiecewise {
			return usage(command, "--lr: the configuration's learning rate is piecewise; change its values there")
		}
		// Learned scales keep their proportion to the rate.
		cfg.Quantization.LSQLearningRate *= rate / s.LearningRate
		s.LearningRate, s.EtaMin = rate, min(s.EtaMin, rate)
	}
	for _, n := range []struct {
		flag    string
		allowed []string
		set     func(string)
	}{
		{"optimizer", []string{"SGD", "Momentum", "Adam", "AdamW"}, func(v string) { cfg.Train.Optimizer.Type = v }},
		{"train-precision", config.Precisions(), func(v string) { cfg.Train.Precision = v }},
		{"loss", []string{"l1", "l2", "soft_label", "cosine", "channel_kl"}, func(v string) { cfg.Distillation.Loss = []string{v} }},
		{"quantizer", []string{"lsq", "pact", "moving_average_abs_max", "range_abs_max", "abs_max", "fixed"}, func(v string) { setQuantizer(&cfg.Quantization, v) }},
	} {
		if !c.IsSet(n.flag) {
			continue
		}
		value, known := c.String(n.flag), ""
		for _, a := range n.allowed {
			if strings.EqualFold(a, value) {
				known = a
			}
		}
		if known == "" {
			return usage(command, "--%s %s: expected one of %s", n.flag, value, strings.Join(n.allowed, ", "))
		}
		n.set(known)
	}
	if c.IsSet("nodes") {
		cfg.Distillation.Node = c.StringSlice("nodes")
	}
	if c.Bool("no-mirror") {
		cfg.Train.Mirror = false
	}
	if c.IsSet("eval-cmd") {
		cfg.Global.EvalCmd = c.String("eval-cmd")
		cfg.Global.Evaluation = true
	}
	return nil
}

// setQuantizer chooses a quantiser in the words of --quantizer.
func setQuantizer(q *config.Quantization, name string) {
	q.Quantizer, q.UsePACT, q.ScaleTrainable = config.QuantizerACT, false, true
	switch name {
	case "lsq":
		q.Quantizer = config.QuantizerLSQ
	case "pact":
		q.UsePACT = true
	case "fixed":
		q.ScaleTrainable = false
	default:
		q.ActivationType = name
	}
}

// loadConfig reads the file of --config and says what is odd about it.
func (s *session) loadConfig(path string) (*config.Config, error) {
	cfg, notes, err := config.Load(path)
	for _, n := range notes {
		s.log.Warn(n)
	}
	return cfg, err
}

// configured adds what a configuration file says to the options of build, where no
// flag says otherwise, and how training goes.
func (s *session) configured(c *urfave.Context, o *job.BuildOptions) error {
	cfg := job.Recipe()
	if path := c.String("config"); path != "" {
		if err := needFile("--config", path); err != nil {
			return err
		}
		var err error
		if cfg, err = s.loadConfig(path); err != nil {
			return err
		}
	}
	if err := applyTraining(c, cfg); err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	base, err := job.Configure(cfg)
	if err != nil {
		return err
	}
	if c.IsSet("config") {
		fillFrom(c, o, &base)
	}
	o.EvalCommand = base.EvalCommand
	if o.EvalCommand != nil && c.IsSet("val") {
		return usage("build", "--eval-cmd and --val both measure: give one of them")
	}
	o.Distil = base.Distil
	mode := job.DistilMode(c.String("qat"))
	switch {
	case mode != job.DistilAuto && mode != job.DistilOn && mode != job.DistilOff:
		return usage("build", "--qat %s: expected auto, on or off", mode)
	case c.IsSet("qat") || !c.IsSet("config"):
		o.Distil.Mode = mode
	}
	if !o.INT8 {
		o.Distil.Mode = job.DistilOff
	}
	if o.Distil.Mode == job.DistilOff {
		for _, f := range trainingFlags() {
			if name := f.Names()[0]; c.IsSet(name) && name != "dry-run" && name != "eval-cmd" && name != "collective" {
				return usage("build", "--%s is for training, which is off", name)
			}
		}
	}
	if c.IsSet("max-drop") {
		drop := c.Float64("max-drop")
		if !(drop >= 0) || math.IsInf(drop, 1) {
			return usage("build", "--max-drop %g: expected a number from 0 on", drop)
		}
		o.Distil.MaxDrop = &drop
	}
	o.Distil.Options.Seed = uint64(s.seed)
	return nil
}

// fillFrom takes from a configuration what no flag says.
func fillFrom(c *urfave.Context, o, base *job.BuildOptions) {
	o.INT8 = o.INT8 || base.INT8
	o.FP16 = o.FP16 || base.FP16
	o.FloatEngine = o.FloatEngine || base.FloatEngine
	o.EngineOfFloat, o.TopK, o.OriginMetric, o.Tolerance = base.EngineOfFloat, base.TopK, base.OriginMetric, base.Tolerance
	if !c.IsSet("data") {
		o.Data = base.Data
		if !c.IsSet("images") {
			o.Images = base.Images
		}
	}
	if !c.IsSet("val") {
		o.Val = base.Val
		if !c.IsSet("val-images") {
			o.ValImages = base.ValImages
		}
	}
	if !c.IsSet("val-limit") {
		o.ValLimit = base.ValLimit
	}
	if !c.IsSet("shape") {
		o.Load.Height, o.Load.Width = base.Load.Height, base.Load.Width
	}
	if !c.IsSet("batch") {
		o.Load.Batch = base.Load.Batch
	}
	if !c.IsSet("family") {
		o.Load.Family = base.Load.Family
	}
	if !c.IsSet("onnx-weights") {
		o.Weights = base.Weights
	}
	o.Engine = base.Engine
	flags := o.Calibrate
	o.Calibrate = base.Calibrate
	p := &o.Calibrate.Placement
	for name, take := range map[string]func(){
		"method":          func() { o.Calibrate.Method = flags.Method },
		"calib-images":    func() { o.Calibrate.Images = flags.Images },
		"equalise":        func() { o.Calibrate.Equalise = flags.Equalise },
		"bias-correction": func() { o.Calibrate.Biases = flags.Biases },
		"exclude":         func() { p.Exclude = flags.Placement.Exclude },
		"include":         func() { p.Include = flags.Placement.Include },
		"depthwise": func() {
			if p.Depthwise = flags.Placement.Depthwise; p.Depthwise && o.Calibrate.Layers != nil {
				o.Calibrate.Layers = append(o.Calibrate.Layers, job.Depthwise)
			}
		},
		"pooled":    func() { p.Pooled = flags.Placement.Pooled },
		"heads":     func() { p.QuantizeHeads = flags.Placement.QuantizeHeads },
		"no-concat": func() { p.Concat = flags.Placement.Concat },
	} {
		if c.IsSet(name) {
			take()
		}
	}
}
