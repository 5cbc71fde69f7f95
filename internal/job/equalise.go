package job

import (
	"context"
	"fmt"
	"log/slog"

	"trtact/calib"
	"trtact/internal/nn"
)

// Equalise says whether channels of very different range are evened out before
// calibration (calib.Equalise).
type Equalise string

// The answers. EqualiseAuto calibrates with and without, where there is anything to
// even out, and keeps it where that comes clearly closer to the float model.
const (
	EqualiseAuto Equalise = "auto"
	EqualiseOn   Equalise = "on"
	EqualiseOff  Equalise = "off"
)

// equaliseGain is what the error has to fall to for EqualiseAuto to change the model:
// where equalisation matters it falls to a half and less, and what is nearer to 1 is the
// difference between any two plans, which mAP does not follow.
const equaliseGain = 0.9

// equalised calibrates d as o.Equalise says, "" being EqualiseAuto.
func (m *Machine) equalised(ctx context.Context, d *Detector, samples Samples, o CalibrateOptions) (*Calibration, error) {
	if o.Equalise == EqualiseOff {
		return m.calibrate(ctx, d, d, nil, samples, o)
	}
	float, list, err := m.equalise(ctx, d, samples, o)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return m.calibrate(ctx, d, d, nil, samples, o)
	}
	with, err := m.calibrate(ctx, d, float, list, samples, o)
	if err != nil || o.Equalise == EqualiseOn {
		return with, err
	}
	plain, err := m.calibrate(ctx, d, d, nil, without(samples, with.Bad), o)
	if err != nil {
		return nil, err
	}
	slog.Debug("equalisation", "tensors", len(list), "error with", with.score, "without", plain.score)
	if with.score < equaliseGain*plain.score {
		return with, nil
	}
	plain.Images, plain.Bad = with.Images, with.Bad
	return plain, nil
}

// rangeImages is how many samples the ranges of channels are taken from: they only
// balance channels, scales are calibrated afterwards.
const rangeImages = 32

// equalise gives d with the channels of its activations equalised, and how.
func (m *Machine) equalise(ctx context.Context, d *Detector, samples Samples, o CalibrateOptions) (*Detector, []calib.Equalisation, error) {
	plan, err := o.place(d)
	if err != nil {
		return nil, nil, err
	}
	if o.Method == AutoMethod && o.Grid == nil { // layers that the search may take in
		if err := o.widen(d, plan, new([]string)); err != nil {
			return nil, nil, err
		}
		if n := len(o.Search.Wider); n > 0 {
			plan = o.Search.Wider[n-1].Plan
		}
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
		if err := feed(c, inputs); err != nil {
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
