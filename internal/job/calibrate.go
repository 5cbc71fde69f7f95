package job

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"trtact/calib"
	"trtact/internal/coco"
	"trtact/internal/fault"
	"trtact/internal/nn"
	"trtact/internal/onnx"
)

// AutoMethod asks for the method to be chosen by simulation.
const AutoMethod calib.Method = "auto"

// CalibrateOptions say how a detector is quantised after training.
type CalibrateOptions struct {
	Method    calib.Method // of the activations; "" is AutoMethod
	Weights   calib.Method // of the weights; "" is calib.AbsMax
	Placement calib.Options
	Equalise  bool // cross-layer equalisation first
	Biases    bool // bias correction at the end
	Images    int  // at most so many; 0: all
	Search    calib.AutoOptions
}

// Calibration is a finished plan and how it came about.
type Calibration struct {
	Plan       *calib.Plan
	Statistics map[string]*calib.Statistics
	Trials     []calib.Trial // of AutoMethod
	Images     int
	Bad        []coco.BadImage
	// NodeError is the relative L2 error of each distillation node over the
	// images of the simulation.
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
	samples = First(samples, o.Images)
	if samples.Len() == 0 {
		return nil, fault.BadInput(fmt.Errorf("no images to calibrate %s with", d.Path))
	}
	if o.Method == "" {
		o.Method = AutoMethod
	}
	if o.Weights == "" {
		o.Weights = calib.AbsMax
	}
	plan, err := calib.Place(d.Model.Graph, o.Placement)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Path, err)
	}
	plan.Model = calib.ModelID{Name: d.Name(), SHA256: d.Source.SHA256}
	float := d
	if o.Equalise {
		plan.Equalised = calib.Equalise(d.Model.Graph)
		if float, err = d.rescaled(plan.Equalised); err != nil {
			return nil, err
		}
	}
	sim := newSimulator(m, float, d, o.Search.Images)
	c := &Calibration{Images: samples.Len()}
	var means channelMeans
	if c.Statistics, means, c.Bad, err = m.observe(ctx, float, plan, samples, sim, o.Biases); err != nil {
		return nil, err
	}
	if err := plan.AssignWeights(float.Model.Graph, o.Weights); err != nil {
		return nil, err
	}
	if o.Biases { // they depend on the weights alone
		if err := plan.CorrectBiases(float.Model.Graph, means.of); err != nil {
			return nil, err
		}
	}
	if o.Method == AutoMethod {
		if plan, c.Trials, err = m.search(ctx, sim, plan, c.Statistics, o.Search); err != nil {
			return nil, err
		}
	} else {
		if err := plan.Assign(c.Statistics, o.Method); err != nil {
			return nil, err
		}
	}
	if c.NodeError, err = sim.nodeErrors(ctx, plan); err != nil {
		return nil, err
	}
	c.Plan = plan
	c.Seconds = time.Since(start).Seconds()
	return c, nil
}

func (d *Detector) rescaled(list []calib.Equalisation) (*Detector, error) {
	model, err := calib.Rescale(d.Model, list)
	if err != nil {
		return nil, err
	}
	return d.Derive(model)
}

func (m *Machine) search(ctx context.Context, sim *simulator, p *calib.Plan, stats map[string]*calib.Statistics, o calib.AutoOptions) (*calib.Plan, []calib.Trial, error) {
	count := m.count("search scales", o.Budget, "trials")
	report := o.Progress
	o.Progress = func(t calib.Trial) {
		count.add()
		if report != nil {
			report(t)
		}
	}
	return calib.Auto(ctx, sim, p, stats, o)
}

// channelMeans are the running channel sums of the observed tensors.
type channelMeans struct {
	mu     *sync.Mutex
	sums   map[string][]float64
	values map[string]float64 // values that went into one channel's sum
}

func (c channelMeans) of(name string) ([]float32, error) {
	sums := c.sums[name]
	if sums == nil {
		return nil, fmt.Errorf("tensor was not observed")
	}
	means := make([]float32, len(sums))
	for i, s := range sums {
		means[i] = float32(s / c.values[name])
	}
	return means, nil
}

// observe streams the samples through the float model. The simulator keeps the
// first few and what the model predicts for them.
func (m *Machine) observe(ctx context.Context, d *Detector, p *calib.Plan, samples Samples, sim *simulator, withMeans bool) (
	map[string]*calib.Statistics, channelMeans, []coco.BadImage, error) {
	means := channelMeans{mu: &sync.Mutex{}, sums: map[string][]float64{}, values: map[string]float64{}}
	var tensors []string
	for _, s := range p.Sites {
		if !slices.Contains(tensors, s.Tensor) {
			tensors = append(tensors, s.Tensor)
		}
	}
	observer := calib.NewObserver(tensors)
	n, err := m.compile(d, tensors)
	if err != nil {
		return nil, means, nil, err
	}
	defer n.Close()
	count := m.count("calibrate", samples.Len(), "images")
	bad := coco.NewBadImages(samples.Len(), 0)
	err = n.ForEach(ctx, samples.Len(), func(c *nn.Context, i int) error {
		defer count.add()
		inputs, err := samples.Read(i)
		if err != nil {
			observer.Skip(i)
			return bad.Add(coco.Image{Path: samples.Name(i)}, err)
		}
		if err := feed(c, inputs); err != nil {
			return fmt.Errorf("%s: %w", samples.Name(i), err)
		}
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s: %w", d.Path, err)
		}
		if err := observer.Image(i, c); err != nil {
			return fmt.Errorf("%s on %s: %w", d.Path, samples.Name(i), err)
		}
		if withMeans {
			if err := means.add(d.Model.Graph, c, tensors); err != nil {
				return err
			}
		}
		return sim.keep(i, inputs, c)
	})
	if err != nil {
		return nil, means, nil, err
	}
	stats, err := observer.Statistics()
	return stats, means, bad.List(), err
}

// feed gives a context's inputs their values.
func feed(c *nn.Context, inputs map[string]*onnx.Tensor) error {
	for name, value := range inputs {
		if err := c.SetTensor(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (c channelMeans) add(g *onnx.Graph, run *nn.Context, tensors []string) error {
	for _, name := range tensors {
		dims := g.Info[name].Dims
		if len(dims) != 4 {
			continue
		}
		sums := make([]float64, dims[1])
		if err := run.ChannelSums(name, sums); err != nil {
			return err
		}
		c.mu.Lock()
		if c.sums[name] == nil {
			c.sums[name] = make([]float64, dims[1])
		}
		for i, s := range sums {
			c.sums[name][i] += s
		}
		c.values[name] += float64(dims[0] * dims[2] * dims[3])
		c.mu.Unlock()
	}
	return nil
}
