package job

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"

	"trtact/calib"
	"trtact/internal/fault"
	"trtact/internal/nn"
)

// Equalise says whether channels of very different range are evened out before
// calibration (calib.Equalise).
type Equalise string

// The answers. EqualiseAuto tries both on a few images, where there is anything to even
// out, and changes the model where that comes clearly closer to the float one.
const (
	EqualiseAuto Equalise = "auto"
	EqualiseOn   Equalise = "on"
	EqualiseOff  Equalise = "off"
)

// equaliseGain is what the error has to fall to for EqualiseAuto to change the model:
// where equalisation matters it falls to six tenths and less, and what is nearer to 1 is
// the difference between any two plans, which mAP does not follow.
const equaliseGain = 0.75

// probeImages is how many images EqualiseAuto tries.
const probeImages = 16

// equalised calibrates d as o.Equalise says, "" being EqualiseAuto.
func (m *Machine) equalised(ctx context.Context, d *Detector, samples Samples, o CalibrateOptions) (*Calibration, error) {
	if o.Equalise == EqualiseOff {
		return m.calibrate(ctx, d, d, nil, samples, o)
	}
	float, list, err := m.equalise(ctx, d, samples, o)
	if err != nil {
		return nil, err
	}
	if len(list) > 0 && o.Equalise != EqualiseOn {
		few := readable(samples, probeImages)
		with, err := m.probe(ctx, d, float, list, few, o)
		if err != nil {
			return nil, err
		}
		plain, err := m.probe(ctx, d, d, nil, few, o)
		if err != nil {
			return nil, err
		}
		slog.Debug("equalisation", "tensors", len(list), "images", few.Len(), "error with", with, "without", plain)
		if with >= equaliseGain*plain {
			list = nil
		}
	}
	if len(list) == 0 {
		float = d
	}
	return m.calibrate(ctx, d, float, list, samples, o)
}

// probe is the error of a plan made in haste, of all that calibrate may quantise: on
// few samples, by one method.
func (m *Machine) probe(ctx context.Context, d, float *Detector, list []calib.Equalisation, few Samples, o CalibrateOptions) (float64, error) {
	plan, err := o.widest(float)
	if err != nil {
		return 0, err
	}
	plan.Equalised = list
	sim := newSimulator(m, float, d, few.Len())
	sim.tensors = tensorsOf(plan)
	stats, _, err := m.observe(ctx, "try channels evened out", float, few, sim)
	if err != nil {
		return 0, err
	}
	method := o.Method
	if method == AutoMethod || o.Grid != nil {
		method = calib.DefaultCandidates()[0]
	}
	if err := plan.Assign(stats, method); err != nil {
		return 0, err
	}
	errs, err := sim.Error(ctx, plan, few.Len())
	return calib.Score(errs), err
}

// rangeImages is how many samples the ranges of channels are taken from: they only
// balance channels, scales are calibrated afterwards.
const rangeImages = 32

// equalise gives d with the channels of its activations equalised, and how.
func (m *Machine) equalise(ctx context.Context, d *Detector, samples Samples, o CalibrateOptions) (*Detector, []calib.Equalisation, error) {
	plan, err := o.widest(d)
	if err != nil {
		return nil, nil, err
	}
	ranges, err := m.channelRanges(ctx, d, First(samples, rangeImages), calib.Equalisable(d.Model.Graph, plan))
	if err != nil {
		return nil, nil, err
	}
	list := calib.Equalise(d.Model.Graph, plan, ranges)
	model, err := calib.Rescale(d.Model, list)
	if err != nil {
		return nil, nil, err
	}
	float, err := d.Derive(model)
	return float, list, err
}

// widest is the placement with all layers that a search may take in.
func (o CalibrateOptions) widest(d *Detector) (*calib.Plan, error) {
	plan, err := o.place(d)
	if err != nil || o.Method != AutoMethod || o.Grid != nil {
		return plan, err
	}
	if err := o.widen(d, plan, new([]string)); err != nil {
		return nil, err
	}
	if n := len(o.Search.Wider); n > 0 {
		plan = o.Search.Wider[n-1].Plan
	}
	return plan, nil
}

// channelRanges is the mean over samples of the largest magnitude in each channel of
// each tensor.
func (m *Machine) channelRanges(ctx context.Context, d *Detector, samples Samples, tensors []string) (map[string][]float32, error) {
	n, err := m.compile(d, tensors)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	seen := make([]map[string][]float32, samples.Len())
	count := m.count("ranges of channels", samples.Len(), "images")
	err = n.ForEach(ctx, samples.Len(), func(c *nn.Context, i int) error {
		defer count.add()
		inputs, err := samples.Read(i)
		if err != nil {
			return nil // the calibration that follows reads it again, and tells
		}
		if err := c.SetInputs(inputs); err != nil {
			return fmt.Errorf("%s: %w", samples.Name(i), err)
		}
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s: %w", d.Path, err)
		}
		seen[i] = map[string][]float32{}
		for _, name := range tensors {
			t, err := c.Output(name)
			if err != nil {
				return err
			}
			seen[i][name] = channelMaxima(t.Dims, t.Floats())
			if slices.ContainsFunc(seen[i][name], notFinite) {
				return fault.BadInput(fmt.Errorf("%s on %s: tensor %q: its values are not finite", d.Path, samples.Name(i), name))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	ranges := map[string][]float32{}
	for _, one := range seen { // in order: sums of floats depend on it
		for name, maxima := range one {
			if ranges[name] == nil {
				ranges[name] = make([]float32, len(maxima))
			}
			for c, v := range maxima {
				ranges[name][c] += v / float32(len(seen))
			}
		}
	}
	return ranges, nil
}

// channelMaxima is the largest magnitude in each channel, the second axis.
func channelMaxima(dims []int, values []float32) []float32 {
	maxima := make([]float32, dims[1])
	area := 1
	for _, d := range dims[2:] {
		area *= d
	}
	for i, v := range values {
		c := i / area % dims[1]
		maxima[c] = max(maxima[c], v, -v)
	}
	return maxima
}

func notFinite(v float32) bool { return math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) }
