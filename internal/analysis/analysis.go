// Package analysis finds out why a quantised detector loses what it loses: which
// layers hurt alone (Sensitivity), how the error grows along the graph (Cumulative),
// and what the weights and activations of each layer look like before and after
// quantisation (Values).
//
// The error of a model is measured at its heads, the tensors that the last layers
// with weights produce: the relative L2 error against the float model, over all
// samples. To test one layer nothing in front of it has to be computed again: what
// the float model gave there is kept, and only what follows is run (suffix.go).
package analysis

import (
	"context"
	"fmt"
	"math"
	"slices"

	"trtact/calib"
	"trtact/internal/compute"
	"trtact/internal/nn"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
)

// Subject is a float model with a plan for it.
type Subject struct {
	Model  *onnx.Model // float, shapes inferred, for one sample at a time
	Plan   *calib.Plan // with scales
	Heads  []string    // tensors at which the error is measured
	Device *compute.Device
	// Workers is how many samples run side by side; 0 is one for each core.
	Workers int
	// KeepBytes bounds the activations of the float model that are kept in memory;
	// 0 is DefaultKeepBytes. With less, the float model runs more often.
	KeepBytes int64
	// Precision ends the test of a layer before all samples are run: as soon as the
	// standard error of its error is below this part of it, or of an average layer's
	// part in the error of the whole plan if that is more. 0: always all samples.
	Precision float64
	// Store, if set, keeps finished parts for a later run.
	Store *Store
	// Progress, if set, hears of every finished part.
	Progress func()
}

// DefaultKeepBytes is the memory for kept activations.
const DefaultKeepBytes = 512 << 20

// Sample is one input of the model: the value of every input by name.
type Sample = map[string]*onnx.Tensor

// Error is how far a model is off the float model.
type Error struct {
	// Heads is the relative L2 error of each head over all samples, in the order of
	// Subject.Heads.
	Heads []float64 `json:"heads"`
	// Mean is the root of the mean square over the heads: what layers are ranked by.
	Mean float64 `json:"mean"`
	// Samples is how many it was taken from.
	Samples int `json:"samples"`
}

// subject is a Subject prepared: equalisation is in the float model, so that what is left of the
// plan can be applied layer by layer.
type subject struct {
	Subject
	came  *onnx.Model // before equalisation
	units []Unit
	place map[string]int // of each node in the graph, by name
	// negligible is the error below which precision is not asked for.
	negligible float64
}

// bake carries out the plan's equalisation in the float model. Corrections of biases
// stay in the plan: they belong to single layers.
func (s Subject) bake() (*onnx.Model, *calib.Plan, error) {
	plan := s.Plan.Clone()
	biases := plan.Biases
	plan.Biases = nil
	model, plan, err := calib.Bake(s.Model, plan)
	if err != nil {
		return nil, nil, fmt.Errorf("analyse: %w", err)
	}
	plan.Biases = biases
	return model, plan, nil
}

// Alone is the whole model with one unit of the plan quantised.
func (s Subject) Alone(node string) (*onnx.Model, error) {
	model, plan, err := s.bake()
	if err != nil {
		return nil, err
	}
	units := slices.DeleteFunc(unitsOf(model.Graph, plan), func(u Unit) bool { return u.Node != node })
	if len(units) == 0 {
		return nil, fmt.Errorf("analyse: the plan does not quantise a node %q", node)
	}
	quantised, err := calib.Apply(model, only(plan, units), calib.FloatWeights)
	if err != nil {
		return nil, fmt.Errorf("analyse node %q: %w", node, err)
	}
	return quantised, nil
}

// Units lists what of the plan can be tested alone, in the order of the graph.
func (s Subject) Units() ([]Unit, error) {
	p, err := s.prepare()
	if err != nil {
		return nil, err
	}
	return p.units, nil
}

func (s Subject) prepare() (*subject, error) {
	model, plan, err := s.bake()
	if err != nil {
		return nil, err
	}
	if err := model.Graph.Extract(s.Heads); err != nil {
		return nil, fmt.Errorf("analyse: cut the model at its heads: %w", err)
	}
	if err := shape.Infer(model, nil); err != nil {
		return nil, fmt.Errorf("analyse: %w", err)
	}
	p := &subject{Subject: s, came: s.Model, place: map[string]int{}}
	p.Model = model
	for i, n := range model.Graph.Nodes {
		p.place[n.Name] = i
	}
	p.Plan = within(plan, p.place)
	p.units = unitsOf(model.Graph, p.Plan)
	if p.KeepBytes == 0 {
		p.KeepBytes = DefaultKeepBytes
	}
	return p, nil
}

func (s *subject) done() {
	if s.Progress != nil {
		s.Progress()
	}
}

func (s *subject) compile(m *onnx.Model, outputs []string) (*nn.Network, error) {
	if err := shape.Infer(m, nil); err != nil {
		return nil, err
	}
	return nn.Compile(m, s.Device, nn.Options{Outputs: outputs, Workers: s.Workers})
}

// record runs a model on every sample and keeps the named tensors of each.
func (s *subject) record(ctx context.Context, m *onnx.Model, samples []Sample, tensors []string) ([]Sample, error) {
	n, err := s.compile(m, tensors)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	kept := make([]Sample, len(samples))
	err = n.ForEach(ctx, len(samples), func(c *nn.Context, i int) error {
		values, err := run(c, samples[i], tensors)
		kept[i] = values
		return err
	})
	return kept, err
}

// run gives a context its inputs and reads the named tensors after the run.
func run(c *nn.Context, inputs Sample, tensors []string) (Sample, error) {
	if err := c.SetInputs(inputs); err != nil {
		return nil, err
	}
	if err := c.Run(); err != nil {
		return nil, err
	}
	values := make(Sample, len(tensors))
	for _, name := range tensors {
		v, err := c.Output(name)
		if err != nil {
			return nil, err
		}
		values[name] = v
	}
	return values, nil
}

// errorOf sums up the heads over samples, in the order of the samples.
func errorOf(heads int, samples [][]calib.Squares) Error {
	e := Error{Heads: make([]float64, heads), Samples: len(samples)}
	mean := 0.0
	for h := range heads {
		var total calib.Squares
		for _, s := range samples {
			total.Add(s[h])
		}
		e.Heads[h] = finite(total.Relative())
		mean += e.Heads[h] * e.Heads[h]
	}
	e.Mean = math.Sqrt(mean / float64(max(1, heads)))
	return e
}

// Blown is the error that stands for one that is no number: a layer whose scales are
// far off can make a network blow up.
const Blown = math.MaxFloat32

func finite(v float64) float64 {
	if math.IsNaN(v) || v > Blown {
		return Blown
	}
	return v
}
