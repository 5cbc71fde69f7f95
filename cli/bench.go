// trtact bench: how long models take, side by side.

package cli

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/bench"
	"trtact/internal/job"
	"trtact/internal/nn"
	"trtact/internal/report"
	"trtact/internal/stats"
)

type benchResult struct {
	Device  string       `json:"device"` // "cpu"
	Backend string       `json:"backend"`
	Threads int          `json:"threads"`
	WarmUp  int          `json:"warm_up"`
	Models  []benchModel `json:"models"`
}

type benchModel struct {
	Model     string `json:"model"`
	Quantized bool   `json:"quantized"` // Q/DQ nodes, whose INT8 is simulated in float
	Batch     int    `json:"batch"`
	Height    int    `json:"height"`
	Width     int    `json:"width"`
	// Latency is of one run of the whole batch, in milliseconds.
	Latency    stats.Summary `json:"latency_ms"`
	Throughput float64       `json:"images_per_second"`
	// Speed is how many times as fast as the first model this is, by median.
	Speed float64 `json:"speed"`
}

// busyCV is the coefficient of variation above which times are said to be
// unsteady: on an idle machine it is a few hundredths.
const busyCV = 0.10

func (s *session) benchCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "bench",
		Usage:     "time models side by side",
		UsageText: "trtact bench MODEL... [--batch 1] [--shape 640x640] [--device cpu]",
		Category:  groupSteps,
		Description: `Runs models on random input again and again and prints their latency and throughput.
Several models take turns, run by run, so that their ratios hold on a machine whose speed
varies. An ONNX model is timed on the CPU, which says nothing about a GPU: a model with Q/DQ
nodes is simulated there in float. An engine needs the GPU that it was built for.

Examples:
trtact bench yolov8n.onnx --device cpu
trtact bench yolov5n.onnx yolov8n.onnx --shape 320 --threads 1 --json`,
		Flags: []urfave.Flag{
			&urfave.IntFlag{Name: "batch", Value: 1, Usage: "`N` pictures at once"},
			shapeFlag(),
			&urfave.DurationFlag{Name: "duration", Value: 3 * time.Second, Usage: "measure for `TIME` for each model"},
			&urfave.IntFlag{Name: "iterations", Usage: "measure `N` runs of each model instead"},
			&urfave.IntFlag{Name: "warmup", Value: 5, Usage: "`N` runs of each model before measuring"},
		},
		Action: s.bench,
	}
}

// benchOptions reads for how long n models are measured.
func benchOptions(c *urfave.Context, n int) (bench.Options, error) {
	o := bench.Options{WarmUp: c.Int("warmup"), Rounds: c.Int("iterations"), MinRounds: 3}
	switch {
	case o.WarmUp < 0:
		return o, usage("bench", "--warmup %d: expected 0 or more", o.WarmUp)
	case c.IsSet("iterations") && o.Rounds < 1:
		return o, usage("bench", "--iterations %d: expected 1 or more", o.Rounds)
	case c.Duration("duration") <= 0:
		return o, usage("bench", "--duration %v: expected a time above 0", c.Duration("duration"))
	case c.IsSet("iterations") && c.IsSet("duration"):
		return o, usage("bench", "--iterations and --duration exclude each other")
	case o.Rounds > 0:
		o.MinRounds = 0
	default:
		o.Duration = time.Duration(n) * c.Duration("duration")
	}
	return o, nil
}

func (s *session) bench(c *urfave.Context) error {
	if err := takes(c, 1, -1, "at least one model"); err != nil {
		return err
	}
	models := c.Args().Slice()
	load, err := loadOptions(c)
	if err != nil {
		return err
	}
	load.Family = "none" // any model may be timed
	o, err := benchOptions(c, len(models))
	if err != nil {
		return err
	}
	for _, path := range models {
		if err := needFile("model", path); err != nil {
			return err
		}
		if isEngine(path) {
			return s.needGPU("bench", path)
		}
	}
	m, done, err := s.machine()
	if err != nil {
		return err
	}
	defer done()
	r := benchResult{Device: "cpu", Backend: m.Device.Version(), Threads: s.threads, WarmUp: o.WarmUp}
	if r.Threads == 0 {
		r.Threads = runtime.GOMAXPROCS(0)
	}
	var runs []func() error
	for _, path := range models {
		entry, run, free, err := s.timed(m, path, load, r.Threads)
		if err != nil {
			return err
		}
		defer free()
		r.Models = append(r.Models, entry)
		runs = append(runs, run)
	}
	show := s.progress("measure", o.Rounds, "rounds")
	defer show.Finish()
	o.OnRound = func(n int) { show.Set(n, 0) }
	times, err := bench.Measure(s.ctx, runs, o)
	if err != nil {
		return err
	}
	show.Finish()
	for i := range r.Models {
		e := &r.Models[i]
		for k := range times[i] {
			times[i][k] *= 1000
		}
		e.Latency = stats.Summarise(times[i])
		e.Throughput = 1000 * float64(e.Batch) / e.Latency.Mean
		e.Speed = r.Models[0].Latency.Median / e.Latency.Median
		if e.Latency.CV > busyCV {
			s.log.Warn(fmt.Sprintf("the times of %s vary by %.0f %%: something else keeps the machine busy", filepath.Base(e.Model), 100*e.Latency.CV))
		}
	}
	return s.print(r, func() error { return s.writeBench(r) })
}

// timed makes a model ready to run on random input. free lets go of it.
func (s *session) timed(m *job.Machine, path string, load job.LoadOptions, threads int) (entry benchModel, run func() error, free func(), err error) {
	d, err := job.LoadDetector(path, load)
	if err != nil {
		return entry, nil, nil, err
	}
	n, err := nn.Compile(d.Model, m.Device, nn.Options{Threads: threads, Workers: 1})
	if err != nil {
		return entry, nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	c, err := n.NewContext()
	if err != nil {
		n.Close()
		return entry, nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	free = func() {
		c.Close()
		n.Close()
	}
	random := rand.New(rand.NewPCG(uint64(s.seed), 0))
	pixels := make([]float32, d.Spec.Batch*3*d.Spec.Height*d.Spec.Width)
	for i := range pixels {
		pixels[i] = random.Float32()
	}
	if err := c.SetInput(d.Spec.Input, pixels); err != nil {
		free()
		return entry, nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	for name, values := range d.Spec.Extra {
		if err := c.SetInput(name, values); err != nil {
			free()
			return entry, nil, nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	entry = benchModel{Model: path, Quantized: d.Quantized, Batch: d.Spec.Batch, Height: d.Spec.Height, Width: d.Spec.Width}
	return entry, c.Run, free, nil
}

func (s *session) writeBench(r benchResult) error {
	threads := "1 thread"
	if r.Threads > 1 {
		threads = fmt.Sprintf("%d threads", r.Threads)
	}
	var paths []string
	oneInput := true
	for _, m := range r.Models {
		paths = append(paths, m.Model)
		oneInput = oneInput && m.Height == r.Models[0].Height && m.Width == r.Models[0].Width
	}
	first, titles := r.Models[0], []string{"model"}
	about := fmt.Sprintf("batch %d", first.Batch)
	if oneInput {
		about += fmt.Sprintf(" of %dx%d", first.Height, first.Width)
	} else {
		titles = append(titles, "input")
	}
	head := fmt.Sprintf("on the CPU (%s, %s), %s, %s runs; milliseconds", r.Backend, threads, about, report.Count(int64(first.Latency.Count)))
	fmt.Fprintf(s.out, "%s\n\n", strings.Join(report.Wrap(head, s.width), "\n"))
	titles = append(titles, ">min", ">mean", ">median", ">p90", ">p95", ">p99", ">images/s")
	if len(r.Models) > 1 {
		titles = append(titles, ">speed")
	}
	t := report.NewTable(titles...)
	simulated := false
	names := modelTitles(paths)
	for i, m := range r.Models {
		row := []string{names[i]}
		if m.Quantized {
			row[0] += " *"
			simulated = true
		}
		if !oneInput {
			row = append(row, fmt.Sprintf("%dx%d", m.Height, m.Width))
		}
		l := m.Latency
		t.Add(append(row, ms(l.Min), ms(l.Mean), ms(l.Median), ms(l.P90), ms(l.P95), ms(l.P99), ms(m.Throughput), fmt.Sprintf("%.2fx", m.Speed))...)
	}
	if err := s.table(t); err != nil || !simulated {
		return err
	}
	_, err := fmt.Fprintln(s.out, "\n* INT8 simulated in float, which takes longer than float does")
	return err
}

// ms is a figure with three significant digits or more.
func ms(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
