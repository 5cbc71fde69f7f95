package cli

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"trtact/internal/bench"
	"trtact/internal/job"
	"trtact/internal/nn"
	"trtact/trt"
)

// cpuWarmUp and cpuRounds are runs of a model before it is measured, and the
// fewest that are measured.
const cpuWarmUp, cpuRounds = 5, 3

// benchOnCPU times ONNX models on the CPU backend, in turns of one run.
func (s *session) benchOnCPU(f benchFlags) error {
	m, done, err := s.machine()
	if err != nil {
		return err
	}
	defer done()
	r := &bench.Report{Device: "cpu", Backend: m.Device.Version(), Threads: s.threads, Settings: bench.Settings{Seed: s.seed}}
	if r.Threads == 0 {
		r.Threads = runtime.GOMAXPROCS(0)
	}
	o := bench.Options{Turn: trt.TimeOptions{Iterations: 1}, Rounds: f.iterations, Seed: uint64(s.seed)}
	if o.Rounds == 0 {
		o.MinRounds = cpuRounds
		o.Duration = time.Duration(len(f.models)) * f.duration
	}
	o.WarmUp, r.Settings.WarmUp = f.warm(cpuWarmUp, 0)
	f.load.Family = "none" // any model may be timed
	titles := modelTitles(f.models)
	var timers []bench.Timer
	for i, path := range f.models {
		model, run, free, err := s.timedOnCPU(m, path, f.load, r.Threads)
		if err != nil {
			return err
		}
		defer free()
		model.Title = titles[i]
		r.Models = append(r.Models, model)
		timers = append(timers, bench.Function(run))
	}
	show := s.progress("measure", o.Rounds, "rounds")
	defer show.Finish()
	o.OnRound = func(n int) { show.Set(n, 0) }
	runs, err := bench.Measure(s.ctx, timers, o)
	if err != nil {
		return err
	}
	show.Finish()
	r.Fill(runs, nil)
	return s.showBench(r, f)
}

// timedOnCPU makes a model ready to run on random input. free lets go of it.
func (s *session) timedOnCPU(m *job.Machine, path string, load job.LoadOptions, threads int) (model bench.Model, run func() error, free func(), err error) {
	d, err := job.LoadDetector(path, load)
	if err != nil {
		return model, nil, nil, err
	}
	n, err := nn.Compile(d.Model, m.Device, nn.Options{Threads: threads, Workers: 1})
	if err != nil {
		return model, nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	c, err := n.NewContext()
	if err != nil {
		n.Close()
		return model, nil, nil, fmt.Errorf("%s: %w", path, err)
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
		return model, nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	for name, values := range d.Spec.Extra {
		if err := c.SetInput(name, values); err != nil {
			free()
			return model, nil, nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	model = bench.Model{Model: path, Quantized: d.Quantized, Batch: d.Spec.Batch, Height: d.Spec.Height, Width: d.Spec.Width}
	return model, c.Run, free, nil
}
