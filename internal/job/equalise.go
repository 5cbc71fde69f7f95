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
const equaliseGain = 0.67

// probeImages is how many images EqualiseAuto tries.
const probeImages = 4

// equalised calibrates d as o.Equalise says, "" being EqualiseAuto.
func (m *Machine) equalised(ctx context.Context, d *Detector, samples Samples, o CalibrateOptions) (*Calibration, error) {
	if o.Equalise == EqualiseOn {
		float, list, err := m.equalise(ctx, d, samples, o)
		if err != nil {
			return nil, err
		}
		return m.calibrate(ctx, d, float, list, samples, o)
	}
	k, err := m.calibrating(d, d, nil, samples, o)
	if err != nil {
		return nil, err
	}
	defer k.close()
	if o.Equalise != EqualiseOff {
		float, list, err := k.tryEqualised(ctx)
		if err != nil {
			return nil, err
		}
		if len(list) > 0 {
			k.close()
			return m.calibrate(ctx, d, float, list, samples, o)
		}
	}
	return k.finish(ctx)
}

// tryEqualised observes the first samples and tells from them whether to equalise: the
// model to calibrate in the place of this one, and what was equalised in it, or nothing.
//
// Both models get a plan made in haste, of all that may be quantised, on few samples, by
// one method; the ranges to equalise by are taken from more where it is to be done.
func (k *calibrating) tryEqualised(ctx context.Context) (*Detector, []calib.Equalisation, error) {
	plan, err := k.o.widest(k.d)
	if err != nil {
		return nil, nil, err
	}
	ranges := newChannelRanges(calib.Equalisable(k.d.Model.Graph, plan), min(rangeImages, k.samples.Len()))
	if len(ranges.tensors) == 0 {
		return nil, nil, nil
	}
	take := func(images int) error {
		return k.upTo(ctx, "ranges of channels", min(images, len(ranges.seen)), func(c *nn.Context, i int) error { return ranges.add(i, c) })
	}
	if err := take(probeImages); err != nil || len(k.sim.kept) == 0 {
		return nil, nil, err // none of them could be read: there may be others
	}
	float, list, err := ranges.equalise(k.d, plan)
	if err != nil || len(list) == 0 {
		return nil, nil, err
	}
	stats, err := k.Statistics()
	if err != nil {
		return nil, nil, err
	}
	plain, err := k.haste(ctx, k.sim, plan, stats)
	if err != nil {
		return nil, nil, err
	}

	evened, err := k.o.widest(float)
	if err != nil {
		return nil, nil, err
	}
	evened.Equalised = list
	sim := newSimulator(k.m, float, k.d, probeImages)
	sim.tensors = tensorsOf(evened)
	if stats, _, err = k.m.observe(ctx, "try channels evened out", float, First(k.samples, probeImages), sim); err != nil {
		return nil, nil, err
	}
	with, err := k.haste(ctx, sim, evened, stats)
	if err != nil {
		return nil, nil, err
	}
	slog.Debug("equalisation", "tensors", len(list), "images", probeImages, "error with", with, "without", plain)
	if with >= equaliseGain*plain {
		return nil, nil, nil
	}
	if err := take(rangeImages); err != nil {
		return nil, nil, err
	}
	return ranges.equalise(k.d, plan)
}

// haste is the error of a plan with one method's scales.
func (k *calibrating) haste(ctx context.Context, sim *simulator, plan *calib.Plan, stats map[string]*calib.Statistics) (float64, error) {
	method := k.o.Method
	if method == AutoMethod || k.o.Grid != nil {
		method = calib.DefaultCandidates()[0]
	}
	if err := plan.Assign(stats, method); err != nil {
		return 0, err
	}
	errs, err := calib.Simulate(ctx, sim, plan, probeImages)
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
	ranges := newChannelRanges(calib.Equalisable(d.Model.Graph, plan), min(rangeImages, samples.Len()))
	if err := m.measureRanges(ctx, d, samples, ranges); err != nil {
		return nil, nil, err
	}
	return ranges.equalise(d, plan)
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
type channelRanges struct {
	tensors []string
	seen    []map[string][]float32 // by sample; nil for one that cannot be read
}

func newChannelRanges(tensors []string, samples int) *channelRanges {
	return &channelRanges{tensors, make([]map[string][]float32, samples)}
}

// measureRanges runs the model on the samples.
func (m *Machine) measureRanges(ctx context.Context, d *Detector, samples Samples, r *channelRanges) error {
	n, err := m.compile(d, r.tensors)
	if err != nil {
		return err
	}
	defer n.Close()
	count := m.count("ranges of channels", len(r.seen), "images")
	return n.ForEach(ctx, len(r.seen), func(c *nn.Context, i int) error {
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
		if err := r.add(i, c); err != nil {
			return fmt.Errorf("%s on %s: %w", d.Path, samples.Name(i), err)
		}
		return nil
	})
}

// add takes in a sample after it has run; nil is one that cannot be read.
func (r *channelRanges) add(i int, c *nn.Context) error {
	if c == nil {
		return nil
	}
	seen := map[string][]float32{}
	for _, name := range r.tensors {
		maxima, err := c.ChannelMax(name)
		if err != nil {
			return err
		}
		seen[name] = maxima
		if slices.ContainsFunc(seen[name], notFinite) {
			return fault.BadInput(fmt.Errorf("tensor %q: its values are not finite", name))
		}
	}
	r.seen[i] = seen
	return nil
}

// equalise gives d with the channels equalised as a plan of all its layers can have it,
// and how.
func (r *channelRanges) equalise(d *Detector, plan *calib.Plan) (*Detector, []calib.Equalisation, error) {
	seen := slices.DeleteFunc(slices.Clone(r.seen), func(one map[string][]float32) bool { return one == nil })
	mean := map[string][]float32{}
	for _, one := range seen { // in order: sums of floats depend on it
		for name, maxima := range one {
			if mean[name] == nil {
				mean[name] = make([]float32, len(maxima))
			}
			for c, v := range maxima {
				mean[name][c] += v / float32(len(seen))
			}
		}
	}
	list := calib.Equalise(d.Model.Graph, plan, mean)
	model, err := calib.Rescale(d.Model, list)
	if err != nil {
		return nil, nil, err
	}
	float, err := d.Derive(model)
	return float, list, err
}

func notFinite(v float32) bool { return math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) }
