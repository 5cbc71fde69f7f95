package job

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"trtact/internal/coco"
	"trtact/internal/collective"
	"trtact/internal/compute"
	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/nn"
	"trtact/internal/onnx"
)

// Progress hears how a stage gets on: done of total images, trials, ... Who
// wants to hear nothing passes Silent.
type Progress interface {
	// Stage begins a stage; total is 0 when unknown.
	Stage(name string, total int, unit string)
	// Step says that so many are done.
	Step(done int)
	// Note is a short text to show beside, such as a loss.
	Note(text string)
}

// Silent is a Progress that nobody listens to.
type Silent struct{}

func (Silent) Stage(string, int, string) {}
func (Silent) Step(int)                  {}
func (Silent) Note(string)               {}

// Machine is what the stages compute on.
type Machine struct {
	Device   *compute.Device
	Threads  int // 0: one for each core, on a GPU what suits it
	Progress Progress
	// Group are the processes of a Build, which leaves it; nil: this one alone.
	Group *collective.Group

	// Of a job that reads pictures more than once: its samples, and what it detects on.
	kept, detected *keptPictures
}

// counter makes Progress.Step safe for, and cheap to, several goroutines.
type counter struct {
	mu   sync.Mutex
	done int
	p    Progress
}

func (m *Machine) count(stage string, total int, unit string) *counter {
	p := m.progress()
	p.Stage(stage, total, unit)
	return &counter{p: p}
}

func (m *Machine) progress() Progress {
	if m.Progress == nil {
		return Silent{}
	}
	return m.Progress
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done++
	c.p.Step(c.done)
}

// compile makes the network that runs one image in each context.
func (m *Machine) compile(d *Detector, outputs []string) (*nn.Network, error) {
	return m.compileFor(d, outputs, m.Threads)
}

func (m *Machine) compileFor(d *Detector, outputs []string, workers int) (*nn.Network, error) {
	n, err := nn.Compile(d.Model, m.Device, nn.Options{Outputs: outputs, Workers: workers})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Path, err)
	}
	return n, nil
}

// set fills the inputs with prepared pixels.
func (d *Detector) set(c *nn.Context, pixels []float32) error {
	if err := c.SetInput(d.Spec.Input, pixels); err != nil {
		return err
	}
	for _, in := range d.Model.Graph.Inputs {
		if extra := d.Spec.Extra[in.Name]; extra != nil {
			if err := c.SetInput(in.Name, extra); err != nil {
				return err
			}
		}
	}
	return nil
}

// inputLen is the number of values of one image.
func (d *Detector) inputLen() int { return 3 * d.Spec.Height * d.Spec.Width }

// outputs is what decoding reads, until the context runs again.
func (d *Detector) outputs(c *nn.Context) (map[string]*onnx.Tensor, error) {
	outputs := map[string]*onnx.Tensor{}
	for _, out := range d.Spec.Outputs {
		v, err := c.Peek(out.Name)
		if err != nil {
			return nil, err
		}
		outputs[out.Name] = v
	}
	return outputs, nil
}

// outputNames are the outputs that decoding reads, all for a network that is no
// detector.
func (d *Detector) outputNames() []string {
	var names []string
	if d.Spec.Family == detect.None {
		for _, out := range d.Model.Graph.Outputs {
			names = append(names, out.Name)
		}
	}
	for _, out := range d.Spec.Outputs {
		names = append(names, out.Name)
	}
	return names
}

// Found are the detections on one image.
type Found struct {
	Image      coco.Image
	Detections []detect.Detection
}

// Detect runs the detector over images and calls use, in no certain order and
// from several goroutines, with what was found on each. Broken images are
// counted, and more than 5 % of them end the run.
func (m *Machine) Detect(ctx context.Context, d *Detector, images []coco.Image, o detect.Options, stage string,
	use func(i int, found []detect.Detection) error) (*coco.BadImages, error) {
	if d.Spec.Family == detect.None {
		return nil, fault.Usage(fmt.Errorf("%s: the detector's family was not recognised, so its outputs cannot be decoded: name it with --family", d.Path))
	}
	count := m.count(stage, len(images), "images")
	bad := coco.NewBadImages(len(images), 0)
	buffers := sync.Pool{New: func() any { b := make([]float32, d.inputLen()); return &b }}
	one := func(i int, infer func(pixels []float32) (map[string]*onnx.Tensor, error)) error {
		defer count.add()
		buffer := buffers.Get().(*[]float32)
		defer buffers.Put(buffer)
		t, err := m.detected.preprocess(images[i].Path, d.Spec, *buffer)
		if err != nil {
			return bad.Add(images[i], err)
		}
		outputs, err := infer(*buffer)
		if err != nil {
			return fmt.Errorf("%s: %w", d.Path, err)
		}
		found, err := d.Spec.Decode(outputs, 0, t, o)
		if err != nil {
			return fmt.Errorf("%s on %s: %w", d.Path, images[i].Path, err)
		}
		return use(i, found)
	}
	if d.Engine != nil {
		return bad, m.forEach(ctx, len(images), func(ctx context.Context, i int) error {
			return one(i, func(pixels []float32) (map[string]*onnx.Tensor, error) { return d.runEngine(ctx, pixels) })
		})
	}
	n, err := m.compile(d, d.outputNames())
	if err != nil {
		return nil, err
	}
	defer n.Close()
	return bad, n.ForEach(ctx, len(images), func(c *nn.Context, i int) error {
		return one(i, func(pixels []float32) (map[string]*onnx.Tensor, error) {
			if err := d.set(c, pixels); err != nil {
				return nil, err
			}
			if err := c.Run(); err != nil {
				return nil, err
			}
			return d.outputs(c)
		})
	})
}

// Evaluation is a detector's accuracy on labelled images.
type Evaluation struct {
	Metrics *coco.Metrics
	Results []coco.Result
	Bad     []coco.BadImage
	Seconds float64
}

// Evaluate measures average precision as COCO defines it.
func (m *Machine) Evaluate(ctx context.Context, d *Detector, ds *coco.Dataset, o detect.Options, stage string) (*Evaluation, error) {
	if !ds.Labelled() {
		return nil, fault.Usage(fmt.Errorf("%s has no labels to measure against", ds.Path))
	}
	if d.Spec.Family != detect.None {
		ds = ds.WithClasses(d.Spec.Head.Classes)
	}
	if d.Spec.Family != detect.None && d.Spec.Head.Classes != len(ds.Categories) {
		return nil, fault.BadInput(fmt.Errorf("%s as %s knows %d classes, %s has %d categories: they must be the same, in the same order",
			d.Path, d.Spec.Family, d.Spec.Head.Classes, ds.Path, len(ds.Categories)))
	}
	start := time.Now()
	perImage := make([][]coco.Result, len(ds.Images))
	bad, err := m.Detect(ctx, d, ds.Images, o, stage,
		func(i int, found []detect.Detection) error {
			list := make([]coco.Result, 0, len(found))
			for _, f := range found {
				list = append(list, coco.Result{
					ImageID:    ds.Images[i].ID,
					CategoryID: ds.Categories[f.Class].ID,
					BBox:       [4]float64{float64(f.X1), float64(f.Y1), float64(f.X2) - float64(f.X1), float64(f.Y2) - float64(f.Y1)},
					Score:      float64(f.Score),
				})
			}
			perImage[i] = list
			return nil
		})
	if err != nil {
		return nil, err
	}
	e := &Evaluation{Results: slices.Concat(perImage...), Bad: bad.List()}
	if e.Metrics, err = coco.Evaluate(ds, e.Results, coco.Options{}); err != nil {
		return nil, err
	}
	e.Seconds = time.Since(start).Seconds()
	return e, nil
}
