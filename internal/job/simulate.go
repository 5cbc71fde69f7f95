package job

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"trtact/calib"
	"trtact/internal/detect"
	"trtact/internal/nn"
	"trtact/internal/onnx"
)

// simulator runs quantised forms of a model on the first calibration samples and
// compares what they predict with the float model's predictions. It is the judge
// of calib.Auto.
type simulator struct {
	m     *Machine
	base  *Detector // the model that plans are applied to
	float *Detector // the one to compare with: base, equalised if that was asked for
	size  int
	// tensors are those whose channel means are taken.
	tensors []string

	mu   sync.Mutex
	kept map[int]*sight // by sample
}

// sight is one sample and what the float model makes of it.
type sight struct {
	inputs map[string]*onnx.Tensor
	scores []detect.Score
	boxes  map[int32][4]float32 // of predictions with a score that counts
	values [][]float32          // of the outputs, where they cannot be decoded
	means  map[string][]float64 // of each channel of a tensor
}

func newSimulator(m *Machine, float, base *Detector, images int) *simulator {
	if images <= 0 {
		images = calib.DefaultTrialImages
	}
	return &simulator{m: m, base: base, float: float, size: images, kept: map[int]*sight{}}
}

// keep remembers what the float model predicts for one of the first samples.
func (s *simulator) keep(i int, inputs map[string]*onnx.Tensor, c *nn.Context) error {
	if i >= s.size {
		return nil
	}
	view := &sight{inputs: inputs, means: map[string][]float64{}}
	for _, name := range s.tensors {
		dims := s.float.Model.Graph.Info[name].Dims
		if len(dims) < 3 { // no channels that a convolution could read
			continue
		}
		sums := make([]float64, dims[1])
		if err := c.ChannelSums(name, sums); err != nil {
			return err
		}
		for k := range sums {
			sums[k] *= float64(dims[1]) / float64(volume(dims))
		}
		view.means[name] = sums
	}
	if s.float.Spec.Family == detect.None {
		var err error
		if view.values, err = s.outputValues(c); err != nil {
			return err
		}
	} else {
		p, err := s.float.predictions(c)
		if err != nil {
			return err
		}
		view.scores = p.Scores
		view.boxes = map[int32][4]float32{}
		for _, score := range p.Scores {
			if _, known := view.boxes[score.Prediction]; !known && score.Value >= calib.ScoreThreshold {
				view.boxes[score.Prediction] = p.Box(score.Prediction)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[i] = view
	return nil
}

// means are the channel means of a tensor over the kept samples.
func (s *simulator) means(tensor string) ([]float32, error) {
	list := s.samples()
	var sums []float64
	for _, i := range list {
		m := s.kept[i].means[tensor]
		if m == nil {
			return nil, fmt.Errorf("tensor was not observed")
		}
		if sums == nil {
			sums = make([]float64, len(m))
		}
		for c, v := range m {
			sums[c] += v
		}
	}
	means := make([]float32, len(sums))
	for c, v := range sums {
		means[c] = float32(v / float64(len(list)))
	}
	return means, nil
}

// leastScore is the score below which a prediction is nothing: average precision
// does not look at lower ones.
const leastScore = 0.001

func (d *Detector) predictions(c *nn.Context) (*detect.Predictions, error) {
	outputs, err := d.outputs(c)
	if err != nil {
		return nil, err
	}
	return d.Spec.Predictions(outputs, 0, leastScore)
}

func (s *simulator) outputValues(c *nn.Context) ([][]float32, error) {
	var list [][]float32
	for _, name := range s.float.outputNames() {
		v, err := c.Output(name)
		if err != nil {
			return nil, err
		}
		list = append(list, v.Floats())
	}
	return list, nil
}

// samples lists the kept ones in order.
func (s *simulator) samples() []int { return slices.Sorted(maps.Keys(s.kept)) }

// quantised compiles a plan's model down to the named tensors, for so many workers.
func (s *simulator) quantised(p *calib.Plan, outputs []string, workers int) (*Detector, *nn.Network, error) {
	model, err := calib.Apply(s.base.Model, p, calib.FloatWeights)
	if err != nil {
		return nil, nil, err
	}
	if err := model.Graph.Extract(outputs); err != nil {
		return nil, nil, err
	}
	d, err := s.base.Derive(model)
	if err != nil {
		return nil, nil, err
	}
	n, err := s.m.compileFor(d, nil, workers)
	return d, n, err
}

// Deviations are those of the kept samples from..to-1.
func (s *simulator) Deviations(ctx context.Context, p *calib.Plan, from, to int) ([]calib.Deviation, error) {
	return s.deviations(ctx, p, from, to, s.m.Threads)
}

// deviations is Deviations on so many workers, 0 for one a core.
func (s *simulator) deviations(ctx context.Context, p *calib.Plan, from, to, workers int) ([]calib.Deviation, error) {
	list := s.samples()
	list = list[min(from, len(list)):min(to, len(list))]
	if len(list) == 0 {
		return nil, nil
	}
	d, n, err := s.quantised(p, s.float.outputNames(), workers)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	seen := make([]calib.Deviation, len(list))
	return seen, n.ForEach(ctx, len(list), func(c *nn.Context, k int) error {
		view := s.kept[list[k]]
		if err := c.SetInputs(view.inputs); err != nil {
			return err
		}
		if err := c.Run(); err != nil {
			return err
		}
		if d.Spec.Family != detect.None {
			got, err := d.predictions(c)
			if err == nil {
				view.compare(got, &seen[k].Detection)
			}
			return err
		}
		got, err := s.outputValues(c)
		for i := range got {
			seen[k].Outputs = append(seen[k].Outputs, calib.SquaresOf(got[i], view.values[i]))
		}
		return err
	})
}

// compare adds the differences between both models' predictions.
func (v *sight) compare(got *detect.Predictions, e *calib.DetectionError) {
	a, b := v.scores, got.Scores
	for len(a) > 0 || len(b) > 0 {
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = a[0].Compare(b[0])
		}
		var want, have float32
		if order <= 0 {
			want, a = a[0].Value, a[1:]
		}
		if order >= 0 {
			have, b = b[0].Value, b[1:]
		}
		e.AddScore(want, have)
	}
	for _, prediction := range slices.Sorted(maps.Keys(v.boxes)) {
		e.AddBox(v.boxes[prediction], got.Box(prediction))
	}
}

// nodeErrorSamples is how many samples the error at the nodes is taken from. It is
// a report, not a choice: a few do.
const nodeErrorSamples = 4

// nodeErrors is the relative L2 error of each distillation node over the first
// kept samples: the float model and the plan's run side by side.
func (s *simulator) nodeErrors(ctx context.Context, p *calib.Plan) (map[string]float64, error) {
	nodes := s.float.Heads
	if len(nodes) == 0 {
		nodes = s.float.outputNames()
	}
	_, quantised, err := s.quantised(p, nodes, s.m.Threads)
	if err != nil {
		return nil, err
	}
	defer quantised.Close()
	model := s.float.Model.Clone()
	if err := model.Graph.Extract(nodes); err != nil {
		return nil, err
	}
	d, err := s.float.Derive(model)
	if err != nil {
		return nil, err
	}
	float, err := s.m.compile(d, nil)
	if err != nil {
		return nil, err
	}
	defer float.Close()
	list := s.samples()
	list = list[:min(nodeErrorSamples, len(list))]
	sums := make([]calib.Deviation, len(list))
	values := func(c *nn.Context, k int) ([]*onnx.Tensor, error) {
		if err := c.SetInputs(s.kept[list[k]].inputs); err != nil {
			return nil, err
		}
		if err := c.Run(); err != nil {
			return nil, err
		}
		var found []*onnx.Tensor
		for _, name := range nodes {
			v, err := c.Output(name)
			if err != nil {
				return nil, err
			}
			found = append(found, v)
		}
		return found, nil
	}
	// One after the other, a few samples at a time: what the float model gave is
	// kept no longer than that.
	const few = 4
	for from := 0; from < len(list); from += few {
		count := min(few, len(list)-from)
		want := make([][]*onnx.Tensor, count)
		err := float.ForEach(ctx, count, func(c *nn.Context, k int) (err error) {
			want[k], err = values(c, from+k)
			return err
		})
		if err != nil {
			return nil, err
		}
		err = quantised.ForEach(ctx, count, func(c *nn.Context, k int) error {
			got, err := values(c, from+k)
			for i := range got {
				sums[from+k].Outputs = append(sums[from+k].Outputs, calib.SquaresOf(got[i].Floats(), want[k][i].Floats()))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	errors := map[string]float64{}
	for i, e := range calib.Errors(sums) {
		errors[nodes[i]] = e
	}
	return errors, nil
}
