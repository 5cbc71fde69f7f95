package cli

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"trtact/internal/bench"
	"trtact/internal/fault"
	"trtact/internal/job"
	"trtact/internal/nn"
	"trtact/internal/onnx"
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
	var timed []*timedModel
	var timers []bench.Timer
	for i, path := range f.models {
		t, err := s.timedOnCPU(m, path, f.load, r.Threads)
		if err != nil {
			return err
		}
		defer t.close()
		t.model.Title = titles[i]
		r.Models = append(r.Models, t.model)
		timed = append(timed, t)
		timers = append(timers, bench.Function(t.context.Run))
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
	if f.layers {
		show := s.progress("time layers", len(timed), "models")
		defer show.Finish()
		for i, t := range timed {
			layers, err := t.profile(s.ctx, layerRuns)
			if err != nil {
				return err
			}
			r.Models[i].SetLayers(layers)
			show.Set(i+1, 0)
		}
		show.Finish()
	}
	return s.showBench(r, f)
}

// timedModel is a model that is ready to run.
type timedModel struct {
	model   bench.Model
	network *nn.Network
	context *nn.Context
}

func (t *timedModel) close() {
	t.context.Close()
	t.network.Close()
}

// profile is the mean time of each step over so many runs.
func (t *timedModel) profile(ctx context.Context, runs int) ([]trt.LayerTime, error) {
	steps := t.network.Steps()
	total := make([]float64, len(steps))
	for range runs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := t.context.RunTimed(total); err != nil {
			return nil, err
		}
	}
	list := make([]trt.LayerTime, len(steps))
	for i, step := range steps {
		list[i] = trt.LayerTime{Name: fmt.Sprintf("%s (%s)", step.Op, step.Where), Nodes: []string{step.Node},
			Milliseconds: 1000 * total[i] / float64(runs)}
	}
	return list, nil
}

// timedOnCPU makes a model ready to run on random input.
func (s *session) timedOnCPU(m *job.Machine, path string, load job.LoadOptions, threads int) (*timedModel, error) {
	d, err := job.LoadDetector(path, load)
	if err != nil {
		return nil, err
	}
	n, err := nn.Compile(d.Model, m.Device, nn.Options{Threads: threads, Workers: 1})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c, err := n.NewContext()
	if err != nil {
		n.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t := &timedModel{bench.Model{Model: path, Quantized: d.Quantized, Batch: d.Spec.Batch, Height: d.Spec.Height, Width: d.Spec.Width}, n, c}
	if d.Spec.Input == "" { // no pictures: as for engines, the first size of the first input
		t.model.Batch = 1
		if in := d.Model.Graph.Inputs; len(in) > 0 && len(in[0].Dims) > 0 {
			t.model.Batch = in[0].Dims[0]
		}
	}
	random := rand.New(rand.NewPCG(uint64(s.seed), 0))
	for _, in := range d.Model.Graph.Inputs {
		value, err := anyValue(in, d.Spec.Extra[in.Name], random)
		if err == nil {
			err = c.SetTensor(in.Name, value)
		}
		if err != nil {
			t.close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return t, nil
}

// anyValue is what an input is fed with to be timed: the values of a picture that are known
// for it, else random numbers in 0..1, or zeros where it takes whole ones, which may be
// positions in a table.
func anyValue(in onnx.Value, known []float32, random *rand.Rand) (*onnx.Tensor, error) {
	n := 1
	for _, d := range in.Dims {
		n *= d
	}
	switch in.Type {
	case onnx.Float:
		values := make([]float32, n)
		for i := range values {
			if known != nil {
				values[i] = known[i%len(known)]
			} else {
				values[i] = random.Float32()
			}
		}
		return onnx.NewTensor(in.Dims, values), nil
	case onnx.Double:
		values := make([]float64, n)
		for i := range values {
			values[i] = random.Float64()
		}
		return onnx.NewTensor(in.Dims, values), nil
	case onnx.Int8:
		return onnx.NewTensor(in.Dims, make([]int8, n)), nil
	case onnx.Int16:
		return onnx.NewTensor(in.Dims, make([]int16, n)), nil
	case onnx.Int32:
		return onnx.NewTensor(in.Dims, make([]int32, n)), nil
	case onnx.Int64:
		return onnx.NewTensor(in.Dims, make([]int64, n)), nil
	case onnx.Uint8:
		return onnx.NewTensor(in.Dims, make([]uint8, n)), nil
	case onnx.Uint16:
		return onnx.NewTensor(in.Dims, make([]uint16, n)), nil
	case onnx.Uint32:
		return onnx.NewTensor(in.Dims, make([]uint32, n)), nil
	case onnx.Uint64:
		return onnx.NewTensor(in.Dims, make([]uint64, n)), nil
	case onnx.Bool:
		return onnx.NewTensor(in.Dims, make([]bool, n)), nil
	}
	return nil, fault.BadInput(fmt.Errorf("input %q takes %v, which nothing is made up for here: `trtact run` takes values from files", in.Name, in.Type))
}
