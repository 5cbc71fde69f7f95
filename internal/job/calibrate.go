package job

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"trtact/calib"
	"trtact/internal/coco"
	"trtact/internal/fault"
	"trtact/internal/nn"
)

// AutoMethod asks for the method to be chosen by simulation.
const AutoMethod calib.Method = "auto"

// CalibrateOptions say how a detector is quantised after training.
type CalibrateOptions struct {
	Method    calib.Method // of the activations; "" is AutoMethod; SearchMethod
	Weights   calib.Method // of the weights; "" is calib.AbsMax, beside which AutoMethod tries calib.MSE
	Placement calib.Options
	Equalise  Equalise
	Biases    bool // bias correction; AutoMethod always has it
	Images    int  // the first so many samples; 0: DefaultImages, spread over all
	Search    calib.AutoOptions

	// Layers are the kinds of layers to quantise; nil: all that Placement does.
	Layers []LayerKind
	// SkipTensors stay float, by name.
	SkipTensors []string
	// NoDepthwise keeps the search from taking depthwise layers in: the GPU that it is for
	// has no INT8 kernels for them.
	NoDepthwise bool
	// PerTensor gives a weight one scale instead of one for each output channel.
	PerTensor bool
	// Grid tries combinations of methods instead of Method.
	Grid *Grid
}

// DefaultImages is how many samples are calibrated on where there are more and no number
// was asked for: beyond some hundreds scales hardly move.
const DefaultImages = 256

// chosen is the samples to calibrate on.
func (o CalibrateOptions) chosen(s Samples) Samples {
	if o.Images > 0 {
		return First(s, o.Images)
	}
	return spread(s, DefaultImages)
}

// Calibration is a finished plan and how it came about.
type Calibration struct {
	Plan       *calib.Plan
	Statistics map[string]*calib.Statistics
	Trials     []calib.Trial // of AutoMethod
	Search     *Search       // of SearchMethod
	Images     int
	Bad        []coco.BadImage
	// NodeError is the relative L2 error of each distillation node over a few of
	// the images.
	NodeError map[string]float64
	Seconds   float64
}

// Calibrate observes the float model on pictures and settles the plan.
func (m *Machine) Calibrate(ctx context.Context, d *Detector, images []coco.Image, o CalibrateOptions) (*Calibration, error) {
	return m.CalibrateOn(ctx, d, Pictures{Detector: d, Images: images}, o)
}

// CalibrateOn is Calibrate on samples of any kind.
func (m *Machine) CalibrateOn(ctx context.Context, d *Detector, samples Samples, o CalibrateOptions) (*Calibration, error) {
	start := time.Now()
	if d.Quantized {
		return nil, fault.Usage(fmt.Errorf("%s is quantised already: calibrate the float model", d.Path))
	}
	all := samples.Len()
	samples = o.chosen(m.keeping(samples))
	if n := samples.Len(); o.Images == 0 && n < all {
		slog.Info(fmt.Sprintf("calibrating on %d of %d pictures, spread over all", n, all))
	}
	if samples.Len() == 0 {
		return nil, fault.BadInput(fmt.Errorf("no images to calibrate %s with", d.Path))
	}
	o.warnOfPatterns(d)
	if err := m.warnOfDetections(ctx, d, samples); err != nil {
		return nil, err
	}
	if o.Method == "" {
		o.Method = AutoMethod
	}
	search := o.Method == SearchMethod
	if search {
		o.Method = AutoMethod
	}
	c, err := m.equalised(ctx, d, samples, o)
	if err != nil {
		return nil, err
	}
	if search {
		if c.Plan, c.Search, err = m.searchSettings(ctx, d, samples, o, c.Plan, nil); err != nil {
			return nil, err
		}
		c.NodeError = c.Search.nodeError
	}
	c.Seconds = time.Since(start).Seconds()
	return c, nil
}

// calibrating is a calibration under way: the observation of the float model, whose
// channels are equalised as the plan says.
type calibrating struct {
	*observation
	o    CalibrateOptions
	plan *calib.Plan
}

// calibrate settles the plan for d, of which float is the form with its channels
// equalised as the list says.
func (m *Machine) calibrate(ctx context.Context, d, float *Detector, list []calib.Equalisation, samples Samples, o CalibrateOptions) (*Calibration, error) {
	c, err := m.calibrating(d, float, list, samples, o)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.finish(ctx)
}

func (m *Machine) calibrating(d, float *Detector, list []calib.Equalisation, samples Samples, o CalibrateOptions) (*calibrating, error) {
	plan, err := o.place(float)
	if err != nil {
		return nil, err
	}
	plan.Equalised = list
	sim := newSimulator(m, float, d, o.Search.Images)
	sim.tensors = tensorsOf(plan)
	if o.Method == AutoMethod && o.Grid == nil {
		if err := o.widen(float, plan, &sim.tensors); err != nil {
			return nil, err
		}
	}
	if len(plan.Layers()) == 0 && len(o.Search.Wider) == 0 {
		return nil, o.nothing(d)
	}
	watched, err := m.watch(float, samples, sim)
	return &calibrating{watched, o, plan}, err
}

// finish observes the samples that are left and settles the plan.
func (k *calibrating) finish(ctx context.Context) (*Calibration, error) {
	m, o, plan, sim, float, samples := k.m, k.o, k.plan, k.sim, k.d, k.samples
	c := &Calibration{Images: samples.Len()}
	err := k.upTo(ctx, "calibrate", samples.Len(), nil)
	if err != nil {
		return nil, err
	}
	c.Bad = k.bad.List()
	if c.Statistics, err = k.Statistics(); err != nil {
		return nil, err
	}
	correct := func(p *calib.Plan) error { return p.CorrectBiases(float.Model.Graph, sim.means) }
	weigh := func(p *calib.Plan, method calib.Method) error {
		err := p.AssignWeights(float.Model.Graph, method)
		if err == nil && o.PerTensor {
			oneScale(p)
		}
		if err == nil && (o.Biases || len(p.Biases) > 0) {
			err = correct(p) // what rounding shifts depends on the weights alone
		}
		return err
	}
	weights := o.Weights
	if weights == "" {
		weights = calib.AbsMax
	}
	if err := weigh(plan, weights); err != nil {
		return nil, err
	}
	// Trials that were to tell whether correction helps told wrong more often than
	// correction did harm (docs/calibration.md).
	if o.Method == AutoMethod && o.Grid == nil {
		if err := correct(plan); err != nil {
			return nil, err
		}
		for _, w := range o.Search.Wider {
			if err := correct(w.Plan); err != nil {
				return nil, err
			}
		}
	}
	switch {
	case o.Grid != nil:
		if plan, c.Trials, err = m.grid(ctx, sim, plan, c.Statistics, samples, *o.Grid); err != nil {
			return nil, err
		}
	case o.Method == AutoMethod:
		if o.Weights == "" && !o.PerTensor {
			o.Search.Changes = append(o.Search.Changes, calib.Change{Name: "weights by squared error",
				Apply: func(p *calib.Plan) error { return weigh(p, calib.MSE) }})
		}
		if plan, c.Trials, err = m.search(ctx, sim, plan, c.Statistics, o.Search); err != nil {
			return nil, err
		}
	default:
		if err := plan.Assign(c.Statistics, o.Method); err != nil {
			return nil, err
		}
	}
	if c.NodeError, err = sim.nodeErrors(ctx, plan); err != nil {
		return nil, err
	}
	c.Plan = plan
	return c, nil
}

func (m *Machine) search(ctx context.Context, sim *simulator, p *calib.Plan, stats map[string]*calib.Statistics, o calib.AutoOptions) (*calib.Plan, []calib.Trial, error) {
	count := m.count("search scales", o.Trials(), "trials")
	report := o.Progress
	o.Progress = func(t calib.Trial) {
		count.add()
		slog.Debug("trial", "method", t.Method, "change", t.Change, "images", t.Images, "error", t.Score, "kept", t.Kept)
		if report != nil {
			report(t)
		}
	}
	return calib.Auto(ctx, sim, p, stats, o)
}

// tensorsOf lists the activations that a plan quantises.
func tensorsOf(p *calib.Plan) []string {
	var tensors []string
	for _, s := range p.Sites {
		if !slices.Contains(tensors, s.Tensor) {
			tensors = append(tensors, s.Tensor)
		}
	}
	return tensors
}

// observe streams the samples through the float model. The simulator keeps the
// first few and what the model predicts for them.
func (m *Machine) observe(ctx context.Context, stage string, d *Detector, samples Samples, sim *simulator) (map[string]*calib.Statistics, []coco.BadImage, error) {
	o, err := m.watch(d, samples, sim)
	if err != nil {
		return nil, nil, err
	}
	defer o.close()
	if err := o.upTo(ctx, stage, samples.Len(), nil); err != nil {
		return nil, nil, err
	}
	stats, err := o.Statistics()
	return stats, o.bad.List(), err
}

// observation is a float model under observation while samples go through it.
type observation struct {
	*calib.Observer
	m       *Machine
	d       *Detector
	samples Samples
	sim     *simulator
	n       *nn.Network
	bare    bool // n gives nothing beyond the observed tensors
	bad     *coco.BadImages
	done    int // samples so far
}

// watch prepares an observation of the simulator's tensors.
func (m *Machine) watch(d *Detector, samples Samples, sim *simulator) (*observation, error) {
	n, err := m.compile(d, sim.tensors)
	if err != nil {
		return nil, err
	}
	return &observation{Observer: calib.NewObserver(sim.tensors), m: m, d: d, samples: samples, sim: sim, n: n,
		bad: coco.NewBadImages(samples.Len(), 0)}, nil
}

func (o *observation) close() { o.n.Close() }

// strip leaves out of the network what comes after the observed tensors.
func (o *observation) strip() error {
	if o.bare || len(o.sim.tensors) == 0 {
		return nil
	}
	model := o.d.Model.Clone()
	if err := model.Graph.Extract(o.sim.tensors); err != nil {
		return err
	}
	d, err := o.d.Derive(model)
	if err != nil {
		return err
	}
	n, err := o.m.compile(d, nil)
	if err != nil {
		return err
	}
	o.n.Close()
	o.n, o.bare = n, true
	return nil
}

// upTo goes on to sample end-1. also, if set, sees each after it has run, and nil for one
// that cannot be read.
func (o *observation) upTo(ctx context.Context, stage string, end int, also func(c *nn.Context, i int) error) error {
	count := o.m.count(stage, end-o.done, "images")
	kept := min(end, max(o.done, o.sim.size)) // up to where the simulator wants to see predictions
	err := o.run(ctx, kept, also, count)
	if err != nil || kept == end {
		return err
	}
	if err := o.strip(); err != nil {
		return err
	}
	return o.run(ctx, end, also, count)
}

func (o *observation) run(ctx context.Context, end int, also func(c *nn.Context, i int) error, count *counter) error {
	from := o.done
	o.done = end
	return o.n.ForEach(ctx, end-from, func(c *nn.Context, i int) error {
		defer count.add()
		i += from
		inputs, err := o.samples.Read(i)
		if err != nil {
			o.Skip(i)
			if also != nil {
				also(nil, i)
			}
			return o.bad.Add(coco.Image{Path: o.samples.Name(i)}, err)
		}
		if err := c.SetInputs(inputs); err != nil {
			return fmt.Errorf("%s: %w", o.samples.Name(i), err)
		}
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s: %w", o.d.Path, err)
		}
		if err := o.Image(i, c); err != nil {
			return fmt.Errorf("%s on %s: %w", o.d.Path, o.samples.Name(i), err)
		}
		if also != nil {
			if err := also(c, i); err != nil {
				return fmt.Errorf("%s on %s: %w", o.d.Path, o.samples.Name(i), err)
			}
		}
		return o.sim.keep(i, inputs, c)
	})
}
