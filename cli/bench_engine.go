package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"trtact/internal/bench"
	"trtact/internal/fault"
	"trtact/internal/gpu"
	"trtact/trt"
)

// How engines are measured, unless flags say otherwise.
const (
	gpuWarmUp = 200 * time.Millisecond // before the first round, as trtexec does
	gpuRounds = 20                     // in which each engine has a turn
	turnRuns  = 3                      // that do not count at the start of a turn: another engine ran before
	watchGPU  = 20 * time.Millisecond  // from one look at the clocks to the next
	layerRuns = 50                     // from which the times of layers are taken
	longRun   = time.Second            // that a run may take before a turn of so many is given up
)

// benchPlace is what a benchmark on the GPU needs of the machine; tests have one
// of their own.
type benchPlace struct {
	openGPU    func() (benchGPU, error)
	openEngine func(ctx context.Context, o trt.SessionOptions) (benchEngine, error)
	getenv     func(name string) string
}

// benchGPU is an open gpu.Monitor.
type benchGPU interface {
	Read() (gpu.Report, error)
	Index(ordinal int, visible string) (int, error)
	Watch(index int, every time.Duration) *gpu.Watch
	Close() error
}

// benchEngine is a trt.Session.
type benchEngine interface {
	bench.Timer
	Profile(ctx context.Context, iterations int) ([]trt.LayerTime, error)
	Inputs() []trt.Tensor
	DeviceBytes() int64
	Version() string
	Artifact() *trt.Artifact
	Close() error
}

func onGPU() benchPlace {
	return benchPlace{
		openGPU: func() (benchGPU, error) { return gpu.Open() },
		openEngine: func(ctx context.Context, o trt.SessionOptions) (benchEngine, error) {
			return trt.OpenSession(ctx, o)
		},
		getenv: os.Getenv,
	}
}

// benchedEngine is an engine to time.
type benchedEngine struct {
	path, title string
	model       string // path that it is known by: the engine's, or of the ONNX model it was built from
	kept        bool   // built, and its file stays
	session     benchEngine
}

// benchOnGPU times engines, those built for --precision among them.
func (s *session) benchOnGPU(f benchFlags, place benchPlace) error {
	monitor, found, missing := s.lookAtGPU(place)
	if monitor != nil {
		defer monitor.Close()
	}
	engines := []benchedEngine{}
	if f.precisions != nil {
		if missing != nil { // said before the building begins
			return fault.NoDevice(fmt.Errorf("build and time %s: %w", f.models[0], missing))
		}
		built, free, err := s.buildPrecisions(f, found)
		if err != nil {
			return err
		}
		defer free()
		engines = built
	} else {
		for i, title := range modelTitles(f.models) {
			engines = append(engines, benchedEngine{path: f.models[i], title: title, model: f.models[i]})
		}
	}
	r := &bench.Report{Device: fmt.Sprintf("cuda:%d", s.device.index), GPU: &found.GPU, Settings: bench.Settings{
		Streams: f.turn.Streams, CUDAGraph: f.turn.Graph, Transfers: !f.turn.NoTransfers, Wait: "block", Seed: s.seed}}
	if f.turn.Spin {
		r.Settings.Wait = "spin"
	}
	closeAll := func() {
		for i := range engines {
			if e := &engines[i]; e.session != nil {
				if err := e.session.Close(); err != nil {
					s.log.Warn(err.Error())
				}
				e.session = nil
			}
		}
	}
	defer closeAll()
	var timers []bench.Timer
	for i := range engines {
		e := &engines[i]
		var err error
		if e.session, err = s.openEngine(f, place, e, false, missing); err != nil {
			return err
		}
		r.Models = append(r.Models, e.describe())
		timers = append(timers, e.session)
	}
	r.Backend = versions(r.Models)
	runs, moments, err := s.measureOnGPU(f, r, timers, monitor, found)
	if err != nil {
		return err
	}
	r.Fill(runs, moments)
	closeAll()
	if f.layers {
		if err := s.timeLayers(f, place, r, engines); err != nil {
			return err
		}
	}
	return s.showBench(r, f)
}

// benchedGPU is the GPU that CUDA counts as the one of --device.
type benchedGPU struct {
	bench.GPU
	// unwatched is why its clocks cannot be watched, "" where they can.
	unwatched string
}

// lookAtGPU asks NVML for the GPU. Where there is none, or no driver, the
// error says so; the monitor is nil then.
func (s *session) lookAtGPU(place benchPlace) (monitor benchGPU, found benchedGPU, missing error) {
	found.Name, found.Index = "GPU", s.device.index
	monitor, missing = place.openGPU()
	if missing != nil {
		found.unwatched = missing.Error()
		return nil, found, missing
	}
	all, err := monitor.Read()
	if err != nil {
		monitor.Close()
		found.unwatched = err.Error()
		return nil, found, err
	}
	index, err := monitor.Index(s.device.index, place.getenv("CUDA_VISIBLE_DEVICES"))
	if err == nil && index >= len(all.GPUs) {
		err = fmt.Errorf("GPU %d is gone", index)
	}
	if err == nil && place.getenv("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" && differ(all.GPUs) {
		err = errors.New("the GPUs here differ, and CUDA counts them in another order than the driver does: set CUDA_DEVICE_ORDER=PCI_BUS_ID")
	}
	if err != nil {
		found.unwatched = err.Error()
		return monitor, found, nil
	}
	g := all.GPUs[index]
	found.GPU = bench.GPU{Index: index, Name: g.Name, UUID: g.UUID, ComputeCapability: g.ComputeCapability, Driver: all.Driver, MaxSM: g.Clocks.MaxSM}
	return monitor, found, nil
}

func differ(list []gpu.GPU) bool {
	for _, g := range list {
		if g.Name != list[0].Name {
			return true
		}
	}
	return false
}

// noGPU is why there is no GPU to run engines on, nil when there is one.
func (s *session) noGPU(place benchPlace) error {
	monitor, _, missing := s.lookAtGPU(place)
	if monitor != nil {
		monitor.Close()
	}
	return missing
}

// openEngine loads an engine. missing is why NVML found no GPU: where it did
// not, and TensorRT fails too, that is the reason to tell.
func (s *session) openEngine(f benchFlags, place benchPlace, e *benchedEngine, layers bool, missing error) (benchEngine, error) {
	o := trt.SessionOptions{Engine: e.path, Trust: f.trust, Device: s.device.index, Contexts: f.turn.Streams, Layers: layers, Log: f.log,
		Timeout: trt.DefaultRequestTimeout + time.Duration(f.iterations/gpuRounds)*longRun}
	engine, err := trt.Read(e.path, f.trust)
	if err != nil {
		return nil, err
	}
	if o.Shapes, err = engineShapes(&engine.Artifact, f); err != nil {
		return nil, err
	}
	loaded, err := place.openEngine(s.ctx, o)
	if err == nil {
		return loaded, nil
	}
	if code := fault.Code(err); missing == nil || s.ctx.Err() != nil || code == fault.CodeBadInput || code == fault.CodeUsage {
		return nil, err
	}
	if other := s.checkRuntime(&engine.Artifact); other != nil { // no GPU would help
		return nil, other
	}
	s.log.Debug("TensorRT fails: " + err.Error())
	return nil, fault.NoDevice(fmt.Errorf("run the engine %s: %w", e.path, missing))
}

// engineShapes gives the sizes of inputs with dynamic dimensions: --batch and
// --shape where they are given, else those that the engine is best at. An engine
// that cannot have the sizes asked for is a wrong use.
func engineShapes(a *trt.Artifact, f benchFlags) (map[string][]int, error) {
	shapes := map[string][]int{}
	for _, in := range a.Inputs {
		dims := append([]int(nil), in.Dims...)
		dynamic := false
		set := func(i, want int, given bool, flag string) error {
			low, high := in.Dims[i], in.Dims[i]
			if in.Dims[i] < 0 {
				dynamic = true
				low, high = 1, want
				if p := in.Profile; p != nil && i < len(p.Opt) {
					low, high = p.Min[i], p.Max[i]
					dims[i] = p.Opt[i]
				}
			}
			if !given {
				return nil
			}
			if want < low || want > high {
				sizes := fmt.Sprint(low)
				if low != high {
					sizes = fmt.Sprintf("%d to %d", low, high)
				}
				return usage("bench", "%s %d: dimension %d of input %q of %s is %s; build the engine for what you want to time", flag, want, i, in.Name, a.Engine.Name, sizes)
			}
			dims[i] = want
			return nil
		}
		picture := len(in.Dims) == 4
		for i := range in.Dims {
			var err error
			switch {
			case i == 0 && (picture || in.Dims[0] < 0):
				err = set(i, f.load.Batch, f.batched, "--batch")
			case i == 2 && picture:
				err = set(i, f.load.Height, f.sized, "--shape: height")
			case i == 3 && picture:
				err = set(i, f.load.Width, f.sized, "--shape: width")
			default:
				err = set(i, 0, false, "")
			}
			if err != nil {
				return nil, err
			}
		}
		if !dynamic {
			continue
		}
		for i, d := range dims {
			if d < 0 {
				return nil, usage("bench", "dimension %d of input %q of %s is open and its sidecar does not say which sizes it may have: give --batch and --shape", i, in.Name, a.Engine.Name)
			}
		}
		shapes[in.Name] = dims
	}
	return shapes, nil
}

// describe is what is known of a loaded engine before it is timed.
func (e *benchedEngine) describe() bench.Model {
	a := e.session.Artifact()
	m := bench.Model{Model: e.model, Title: e.title, Precision: a.Precision, Version: e.session.Version(), Bytes: a.Engine.Bytes, DeviceBytes: e.session.DeviceBytes(), Batch: 1}
	if e.kept {
		m.Engine = e.path
	}
	for _, in := range e.session.Inputs() {
		if len(in.Dims) == 4 {
			m.Batch, m.Height, m.Width = in.Dims[0], in.Dims[2], in.Dims[3]
			return m
		}
	}
	if inputs := e.session.Inputs(); len(inputs) > 0 && len(inputs[0].Dims) > 0 {
		m.Batch = inputs[0].Dims[0]
	}
	return m
}

// versions are those of the TensorRTs that run the models, each once.
func versions(models []bench.Model) string {
	var list []string
	seen := map[string]bool{}
	for _, m := range models {
		if !seen[m.Version] {
			list = append(list, m.Version)
		}
		seen[m.Version] = true
	}
	return strings.Join(list, ", ")
}

// measureOnGPU times the engines in turns and watches the GPU meanwhile.
func (s *session) measureOnGPU(f benchFlags, r *bench.Report, timers []bench.Timer, monitor benchGPU, found benchedGPU) ([]bench.Run, []gpu.Moment, error) {
	o := bench.Options{Turn: f.turn, Rounds: gpuRounds, Seed: uint64(s.seed)}
	o.Turn.WarmUp = turnRuns
	if f.iterations > 0 {
		o.Iterations, o.Rounds = f.iterations, min(gpuRounds, f.iterations)
	} else {
		o.Turn.Duration = f.duration / gpuRounds
	}
	o.WarmUp, r.Settings.WarmUp = f.warm(0, gpuWarmUp)
	show := s.progress("measure", o.Rounds, "rounds")
	defer show.Finish()
	o.OnRound = func(n int) { show.Set(n, 0) }
	r.ActivityProblem = found.unwatched
	var watch *gpu.Watch
	if found.unwatched == "" {
		watch = monitor.Watch(found.Index, watchGPU)
	}
	runs, err := bench.Measure(s.ctx, timers, o)
	var moments []gpu.Moment
	if watch != nil {
		var lost error
		if moments, lost = watch.Stop(); lost != nil && err == nil {
			r.ActivityProblem = lost.Error()
		}
	}
	if err == nil && r.ActivityProblem != "" {
		s.log.Warn("the GPU's clocks were not watched: " + r.ActivityProblem)
	}
	return runs, moments, err
}

// timeLayers times the layers of every engine, loaded anew: what that takes is
// not to be part of the other figures.
func (s *session) timeLayers(f benchFlags, place benchPlace, r *bench.Report, engines []benchedEngine) error {
	show := s.progress("time layers", len(engines), "engines")
	defer show.Finish()
	for i := range engines {
		e := &engines[i]
		one := f
		one.turn.Streams = 1
		loaded, err := s.openEngine(one, place, e, true, nil)
		if err != nil {
			return err
		}
		layers, err := loaded.Profile(s.ctx, layerRuns)
		if err := errors.Join(err, loaded.Close()); err != nil {
			return err
		}
		r.Models[i].SetLayers(layers)
		show.Set(i+1, 0)
	}
	return nil
}
