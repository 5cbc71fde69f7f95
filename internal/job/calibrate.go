package job

import (
	"context"
	"fmt"
	"math"
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

// Calibrate observes the float model on images and settles the plan.
func (m *Machine) Calibrate(ctx context.Context, d *Detector, images []coco.Image, o CalibrateOptions) (*Calibration, error) {
	start := time.Now()
	if d.Quantized {
		return nil, fault.Usage(fmt.Errorf("%s is quantised already: calibrate the float model", d.Path))
	}
	if o.Images > 0 && o.Images < len(images) {
		images = images[:o.Images]
	}
	if len(images) == 0 {
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
	c := &Calibration{Images: len(images)}
	var means channelMeans
	if c.Statistics, means, c.Bad, err = m.observe(ctx, float, plan, images, sim, o.Biases); err != nil {
		return nil, err
	}
	if err := plan.AssignWeights(float.Model.Graph, o.Weights); err != nil {
		return nil, err
	}
	if o.Method == AutoMethod {
		if plan, c.Trials, err = m.search(ctx, sim, plan, c.Statistics, o.Search); err != nil {
			return nil, err
		}
	} else {
		if err := plan.Assign(c.Statistics, o.Method); err != nil {
			return nil, err
		}
		plan.Method = string(o.Method)
	}
	if o.Biases {
		if err := plan.CorrectBiases(float.Model.Graph, means.of); err != nil {
			return nil, err
		}
	}
	errors, err := sim.Error(ctx, plan, 0)
	if err != nil {
		return nil, err
	}
	c.NodeError = map[string]float64{}
	for i, name := range sim.heads {
		c.NodeError[name] = errors[i]
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

// observe streams the images through the float model. The simulator keeps the
// first few prepared images and what the heads made of them.
func (m *Machine) observe(ctx context.Context, d *Detector, p *calib.Plan, images []coco.Image, sim *simulator, withMeans bool) (
	map[string]*calib.Statistics, channelMeans, []coco.BadImage, error) {
	means := channelMeans{mu: &sync.Mutex{}, sums: map[string][]float64{}, values: map[string]float64{}}
	var tensors []string
	for _, s := range p.Sites {
		if !slices.Contains(tensors, s.Tensor) {
			tensors = append(tensors, s.Tensor)
		}
	}
	observer := calib.NewObserver(tensors)
	n, err := m.compile(d, slices.Concat(tensors, sim.heads))
	if err != nil {
		return nil, means, nil, err
	}
	defer n.Close()
	count := m.count("calibrate", len(images), "images")
	bad := coco.NewBadImages(len(images), 0)
	buffers := sync.Pool{New: func() any { b := make([]float32, d.inputLen()); return &b }}
	err = n.ForEach(ctx, len(images), func(c *nn.Context, i int) error {
		defer count.add()
		picture, err := coco.Decode(images[i].Path)
		if err != nil {
			observer.Skip(i)
			return bad.Add(images[i], err)
		}
		buffer := buffers.Get().(*[]float32)
		defer buffers.Put(buffer)
		if _, err := d.feed(c, picture, *buffer); err != nil {
			return fmt.Errorf("%s: %w", images[i].Path, err)
		}
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s: %w", d.Path, err)
		}
		if err := observer.Image(i, c); err != nil {
			return fmt.Errorf("%s on %s: %w", d.Path, images[i].Path, err)
		}
		if withMeans {
			if err := means.add(d.Model.Graph, c, tensors); err != nil {
				return err
			}
		}
		return sim.keep(i, *buffer, c)
	})
	if err != nil {
		return nil, means, nil, err
	}
	stats, err := observer.Statistics()
	return stats, means, bad.List(), err
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

// simulator runs quantised forms of a model on the first calibration images and
// compares the heads with the float model's. It is the judge of calib.Auto.
type simulator struct {
	m     *Machine
	base  *Detector // the model that plans are applied to
	heads []string
	size  int

	mu     sync.Mutex
	inputs map[int][]float32   // by image: prepared pixels
	wanted map[int][][]float32 // by image and head: the float model's values
}

const defaultSimulationImages = 16

func newSimulator(m *Machine, float, base *Detector, images int) *simulator {
	if images <= 0 {
		images = defaultSimulationImages
	}
	heads := float.Heads
	if len(heads) == 0 {
		heads = float.outputNames()
	}
	return &simulator{m: m, base: base, heads: heads, size: images,
		inputs: map[int][]float32{}, wanted: map[int][][]float32{}}
}

func (s *simulator) keep(i int, pixels []float32, c *nn.Context) error {
	if i >= s.size {
		return nil
	}
	var values [][]float32
	for _, name := range s.heads {
		v, err := c.Output(name)
		if err != nil {
			return err
		}
		values = append(values, v.Floats())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inputs[i] = slices.Clone(pixels)
	s.wanted[i] = values
	return nil
}

// Error is the relative L2 error of each head over the first so many kept
// images; 0 means all kept.
func (s *simulator) Error(ctx context.Context, p *calib.Plan, images int) ([]float64, error) {
	model, err := calib.Apply(s.base.Model, p, calib.FloatWeights)
	if err != nil {
		return nil, err
	}
	if err := model.Graph.Extract(s.heads); err != nil {
		return nil, err
	}
	d, err := s.base.Derive(model)
	if err != nil {
		return nil, err
	}
	n, err := s.m.compile(d, nil)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	var list []int
	for i := range s.inputs {
		list = append(list, i)
	}
	slices.Sort(list)
	if images > 0 && images < len(list) {
		list = list[:images]
	}
	differences := make([][]float64, len(list))
	norms := make([][]float64, len(list))
	err = n.ForEach(ctx, len(list), func(c *nn.Context, k int) error {
		i := list[k]
		if err := d.set(c, s.inputs[i]); err != nil {
			return err
		}
		if err := c.Run(); err != nil {
			return err
		}
		for h, name := range s.heads {
			got, err := c.Output(name)
			if err != nil {
				return err
			}
			diff, norm := squares(got.Floats(), s.wanted[i][h])
			differences[k] = append(differences[k], diff)
			norms[k] = append(norms[k], norm)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	errors := make([]float64, len(s.heads))
	for h := range s.heads {
		var diff, norm float64
		for k := range list {
			diff += differences[k][h]
			norm += norms[k][h]
		}
		errors[h] = math.Sqrt(diff / math.Max(norm, 1e-30))
	}
	return errors, nil
}

// squares gives the sums of squares of got-want and of want.
func squares(got, want []float32) (diff, norm float64) {
	for i, w := range want {
		e := float64(got[i]) - float64(w)
		diff += e * e
		norm += float64(w) * float64(w)
	}
	return diff, norm
}
