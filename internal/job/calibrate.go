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
	Biases    bool // bias correction; AutoMethod tries it in any case
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
	return m.CalibrateOn(ctx, d, Pictures{d, images}, o)
}

// CalibrateOn is Calibrate on samples of any kind.
func (m *Machine) CalibrateOn(ctx context.Context, d *Detector, samples Samples, o CalibrateOptions) (*Calibration, error) {
	start := time.Now()
	if d.Quantized {
		return nil, fault.Usage(fmt.Errorf("%s is quantised already: calibrate the float model", d.Path))
	}
	all := samples.Len()
	samples = o.chosen(samples)
	if n := samples.Len(); o.Images == 0 && n < all {
		slog.Info(fmt.Sprintf("calibrating on %d of %d pictures, spread over all", n, all))
	}
	if samples.Len() == 0 {
		return nil, fault.BadInput(fmt.Errorf("no images to calibrate %s with", d.Path))
	}
	o.warnOfPatterns(d)
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

// calibrate settles the plan for d, of which float is the form with its channels
// equalised as the list says.
func (m *Machine) calibrate(ctx context.Context, d, float *Detector, list []calib.Equalisation, samples Samples, o CalibrateOptions) (*Calibration, error) {
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
	c := &Calibration{Images: samples.Len()}
	if c.Statistics, c.Bad, err = m.observe(ctx, "calibrate", float, samples, sim); err != nil {
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
	switch {
	case o.Grid != nil:
		if plan, c.Trials, err = m.grid(ctx, sim, plan, c.Statistics, samples, *o.Grid); err != nil {
			return nil, err
		}
	case o.Method == AutoMethod:
		if !o.Biases {
			o.Search.Changes = append(o.Search.Changes, calib.Change{Name: "bias correction", Apply: correct})
		}
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
	observer := calib.NewObserver(sim.tensors)
	n, err := m.compile(d, sim.tensors)
	if err != nil {
		return nil, nil, err
	}
	defer n.Close()
	count := m.count(stage, samples.Len(), "images")
	bad := coco.NewBadImages(samples.Len(), 0)
	err = n.ForEach(ctx, samples.Len(), func(c *nn.Context, i int) error {
		defer count.add()
		inputs, err := samples.Read(i)
		if err != nil {
			observer.Skip(i)
			return bad.Add(coco.Image{Path: samples.Name(i)}, err)
		}
		if err := c.SetInputs(inputs); err != nil {
			return fmt.Errorf("%s: %w", samples.Name(i), err)
		}
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s: %w", d.Path, err)
		}
		if err := observer.Image(i, c); err != nil {
			return fmt.Errorf("%s on %s: %w", d.Path, samples.Name(i), err)
		}
		return sim.keep(i, inputs, c)
	})
	if err != nil {
		return nil, nil, err
	}
	stats, err := observer.Statistics()
	return stats, bad.List(), err
}
