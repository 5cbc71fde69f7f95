// trtact bench: how long models take, side by side. Engines are timed on the
// GPU (bench_engine.go), ONNX models on the CPU (bench_cpu.go) or as engines
// built for it (bench_precision.go).

package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/atomicfile"
	"trtact/internal/bench"
	"trtact/internal/job"
	"trtact/internal/report"
	"trtact/trt"
)

const (
	flagsMeasure = "On the GPU"
	flagsBuilt   = "Engines built for the benchmark"
)

func (s *session) benchCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "bench",
		Usage:     "time models side by side",
		UsageText: "trtact bench MODEL... [--batch 1] [--shape 640x640]",
		Category:  groupSteps,
		Description: `Runs engines on the GPU, again and again on random input, and prints how long
computing, the copies and handing over take, the throughput, and what the GPU's clocks, heat
and power were. Several models take turns in an order drawn anew each round, so that a clock
that falls falls for all; their ratios to the first come with a confidence interval.

With --precision an ONNX model is built for the GPU here in several precisions, which are then
timed as engines. Without it an ONNX model is timed on the CPU, which says nothing about a GPU:
INT8 is simulated there in float.

Examples:
trtact bench yolov8n.fp16.engine yolov8n.int8.engine --cuda-graph
trtact bench yolov8n.onnx --precision fp32,fp16,int8 --data pictures/
trtact bench yolov8n.int8.engine --layers --format markdown > bench.md
trtact bench yolov5n.onnx yolov8n.onnx --device cpu --shape 320 --threads 1`,
		Flags: []urfave.Flag{
			&urfave.IntFlag{Name: "batch", Value: 1, Usage: "`N` pictures at once"},
			shapeFlag(),
			&urfave.DurationFlag{Name: "duration", Value: 3 * time.Second, Usage: "measure for `TIME` for each model"},
			&urfave.IntFlag{Name: "iterations", Usage: "measure `N` runs of each model instead"},
			&urfave.StringFlag{Name: "warmup", Usage: "`N` runs of each model before measuring, or a time such as 200ms (default: 200ms on the GPU, 5 runs on the CPU)"},
			&urfave.StringFlag{Name: "format", Value: "table", Usage: "`FORM` of the result"},
			&urfave.StringFlag{Name: "times", Usage: "write every run that was measured to `FILE`, as CSV"},
			&urfave.IntFlag{Name: "streams", Category: flagsMeasure, Value: 1, Usage: "`N` runs at the same time, each on a stream of its own"},
			&urfave.BoolFlag{Name: "cuda-graph", Category: flagsMeasure, Usage: "capture a run as a CUDA graph and launch that"},
			&urfave.BoolFlag{Name: "no-transfers", Category: flagsMeasure, Usage: "leave inputs and outputs on the GPU"},
			&urfave.BoolFlag{Name: "spin", Category: flagsMeasure, Usage: "wait for the GPU in a loop, which costs a core, instead of sleeping"},
			&urfave.BoolFlag{Name: "layers", Category: flagsMeasure, Usage: "time the layers too, afterwards, by ONNX node"},
			&urfave.IntFlag{Name: "top", Category: flagsMeasure, Value: 20, Usage: "show the `N` slowest layers (json has all)"},
			&urfave.BoolFlag{Name: "trust", Category: flagsMeasure, Usage: "run engines that have no sidecar; an engine can run any code"},
			&urfave.StringFlag{Name: "log", Category: flagsMeasure, Usage: "`FILE` to add TensorRT's messages to"},
			&urfave.StringFlag{Name: "precision", Category: flagsBuilt, Usage: "build every ONNX model as `LIST` says: fp32, fp16, int8, int8+fp16"},
			&urfave.StringFlag{Name: "data", Category: flagsBuilt, Usage: "`PATH` of unlabelled pictures or arrays to find the INT8 scales with, as of build"},
			&urfave.StringFlag{Name: "images", Category: flagsBuilt, Usage: "`DIR` with the pictures of a COCO JSON"},
			&urfave.StringFlag{Name: "backend", Category: flagsBuilt, Value: "auto", Usage: "`NAME` of the TensorRT to build with"},
			&urfave.StringFlag{Name: "keep", Category: flagsBuilt, Usage: "keep the engines and what was built with them in `DIR`"},
		},
		Action: func(c *urfave.Context) error { return s.bench(c, onGPU()) },
	}
}

// benchFlags are the flags of bench, read and checked.
type benchFlags struct {
	models     []string
	precisions []string
	load       job.LoadOptions
	sized      bool // --shape is given
	batched    bool // --batch is given
	duration   time.Duration
	iterations int // 0: as many as fit in duration
	warmUp     string
	warmUpRuns int // of these two at most one is set; without --warmup none
	warmUpTime time.Duration
	format     string
	times      string
	turn       trt.TimeOptions // how an engine's runs are made
	layers     bool
	top        int
	trust      bool
	log        string
	data       string
	images     string
	backend    string
	keep       string
}

func (s *session) benchFlags(c *urfave.Context) (benchFlags, error) {
	f := benchFlags{
		models: c.Args().Slice(), sized: c.IsSet("shape"), batched: c.IsSet("batch"),
		duration: c.Duration("duration"), iterations: c.Int("iterations"), warmUp: c.String("warmup"),
		format: c.String("format"), times: c.String("times"),
		turn:   trt.TimeOptions{Streams: c.Int("streams"), Graph: c.Bool("cuda-graph"), NoTransfers: c.Bool("no-transfers"), Spin: c.Bool("spin")},
		layers: c.Bool("layers"), top: c.Int("top"), trust: c.Bool("trust"), log: c.String("log"),
		data: c.String("data"), images: c.String("images"), backend: c.String("backend"), keep: c.String("keep"),
	}
	var err error
	if f.load, err = loadOptions(c); err != nil {
		return f, err
	}
	if f.precisions, err = parsePrecisions(c.String("precision")); err != nil {
		return f, err
	}
	if err := f.readWarmUp(); err != nil {
		return f, err
	}
	bad := func(format string, args ...any) (benchFlags, error) { return f, usage("bench", format, args...) }
	switch {
	case c.IsSet("iterations") && f.iterations < 1:
		return bad("--iterations %d: expected 1 or more", f.iterations)
	case f.duration <= 0:
		return bad("--duration %v: expected a time above 0", f.duration)
	case c.IsSet("iterations") && c.IsSet("duration"):
		return bad("--iterations and --duration exclude each other")
	case f.turn.Streams < 1 || f.turn.Streams > 64:
		return bad("--streams %d: expected 1 to 64", f.turn.Streams)
	case f.top < 1:
		return bad("--top %d: expected 1 or more", f.top)
	case f.keep != "" && f.precisions == nil:
		return bad("--keep is for --precision, which is not given")
	case (f.data != "" || c.IsSet("backend")) && f.precisions == nil:
		return bad("--data and --backend are for --precision, which is not given")
	case f.images != "" && f.data == "":
		return bad("--images is for --data, which is not given")
	}
	if s.json {
		if c.IsSet("format") && f.format != "json" {
			return bad("--json and --format %s exclude each other", f.format)
		}
		f.format = "json"
	}
	return f, needOutputs(c, output{"--times", f.times})
}

// readWarmUp takes --warmup apart: a number of runs, or a time.
func (f *benchFlags) readWarmUp() error {
	if f.warmUp == "" {
		return nil
	}
	var err error
	if f.warmUpRuns, err = strconv.Atoi(f.warmUp); err != nil {
		if f.warmUpTime, err = parseDuration(f.warmUp); err != nil {
			return usage("bench", "--warmup %q: expected a number of runs, or a time such as 200ms", f.warmUp)
		}
	}
	if f.warmUpRuns < 0 || f.warmUpTime < 0 {
		return usage("bench", "--warmup %s: expected 0 or more", f.warmUp)
	}
	return nil
}

// warm is what each model does before it is measured, and its name.
func (f *benchFlags) warm(runs int, time time.Duration) (trt.TimeOptions, string) {
	if f.warmUp != "" {
		runs, time = f.warmUpRuns, f.warmUpTime
	}
	o := f.turn
	o.Iterations, o.Duration = runs, time
	if time > 0 {
		return o, time.String()
	}
	return o, fmt.Sprintf("%d runs", runs)
}

// bench runs the command; place is what it needs of a machine with a GPU.
func (s *session) bench(c *urfave.Context, place benchPlace) error {
	if err := takes(c, 1, -1, "at least one model"); err != nil {
		return err
	}
	f, err := s.benchFlags(c)
	if err != nil {
		return err
	}
	var engines, onnx []string
	for _, path := range f.models {
		if err := needFile("model", path); err != nil {
			return err
		}
		if isEngine(path) {
			engines = append(engines, path)
		} else {
			onnx = append(onnx, path)
		}
	}
	switch {
	case f.precisions != nil && onnx == nil:
		return usage("bench", "--precision is for ONNX models; %s is an engine, which is timed as it is", engines[0])
	case s.device.kind == "cpu" && f.precisions != nil:
		return usage("bench", "--precision builds engines, which run on a GPU only; without it --device cpu times %s", onnx[0])
	case s.device.kind == "cpu" && engines != nil:
		return usage("bench", "%s is an engine, which runs on a GPU only; --device cpu is for ONNX models", engines[0])
	case engines != nil && onnx != nil && f.precisions == nil:
		return usage("bench", "%s is an engine and %s is not: give --precision to time both on the GPU, or time them apart", engines[0], onnx[0])
	case engines != nil || f.precisions != nil:
		return s.benchOnGPU(f, place)
	case s.device.kind == "cuda":
		if err := s.noGPU(place); err != nil {
			return err
		}
		return usage("bench", "--device %s times engines: give --precision fp32,fp16 to build them from %s", s.device, onnx[0])
	}
	for _, name := range []string{"streams", "cuda-graph", "no-transfers", "spin", "trust", "log"} {
		if c.IsSet(name) {
			s.log.Warn("--" + name + " is for engines on a GPU; on the CPU it does nothing")
		}
	}
	return s.benchOnCPU(f)
}

// showBench prints the report as it was asked for, and the warnings as log lines.
func (s *session) showBench(r *bench.Report, f benchFlags) error {
	for _, m := range r.Models {
		for _, text := range m.Warnings {
			s.log.Warn(m.Title + ": " + text)
		}
	}
	if f.times != "" {
		if err := atomicfile.WriteFunc(f.times, func(w io.Writer) error { return r.Times(w) }); err != nil {
			return err
		}
	}
	switch f.format {
	case "json":
		return report.JSON(s.out, r)
	case "csv":
		return r.CSV(s.out)
	case "markdown":
		return r.Markdown(s.out, f.top)
	case "html":
		return r.HTML(s.out, f.top, "trtact "+Version)
	}
	return r.Text(s.out, s.width, f.top)
}

// precisionNames are what --precision takes.
func precisionNames() []string { return []string{"fp32", "fp16", "int8", "int8+fp16"} }

func parsePrecisions(list string) ([]string, error) {
	if list == "" {
		return nil, nil
	}
	var out []string
	seen := map[string]bool{}
	for _, name := range strings.Split(list, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		known := false
		for _, p := range precisionNames() {
			known = known || p == name
		}
		if !known {
			return nil, usage("bench", "--precision %q is not known; choose of %s", name, strings.Join(precisionNames(), ", "))
		}
		if !seen[name] {
			out = append(out, name)
		}
		seen[name] = true
	}
	return out, nil
}
