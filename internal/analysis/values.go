// The values that a unit quantises: its weights and the activation it reads.

package analysis

import (
	"context"
	"fmt"
	"math"
	"slices"

	"trtact/calib"
	"trtact/internal/onnx"
)

// Values is what one quantised tensor holds and what quantisation makes of it.
type Values struct {
	Tensor string `json:"tensor"`
	Spread Spread `json:"spread"`
	// Came is the spread of weights as they came, where the plan's equalisation changes
	// them before they are quantised.
	Came      *Spread   `json:"as_it_came,omitempty"`
	Histogram Histogram `json:"histogram"`
	// Error is the relative L2 error of the quantised values.
	Error float64 `json:"error"`
	// Clipped is the share of values beyond the grid of INT8, in 0..1.
	Clipped  float64 `json:"clipped"`
	Channels int     `json:"channels"`
	// Dead channels have one and the same value everywhere in all samples; Lost ones
	// have not, but all their values round to zero.
	Dead int `json:"dead_channels"`
	Lost int `json:"lost_channels"`
	// Arriving, of an activation, is its relative L2 error in the model that the whole
	// plan quantises: what the layers in front have added up to.
	Arriving float64 `json:"arriving_error,omitempty"`
}

// Own is the spread of the tensor as the model has it.
func (v *Values) Own() Spread {
	if v.Came != nil {
		return *v.Came
	}
	return v.Spread
}

// UnitValues are the values of one unit.
type UnitValues struct {
	Unit
	Weights *Values `json:"weight_values,omitempty"`
	Input   *Values `json:"input_values,omitempty"`
}

// Values looks at the weights and the input of every unit, in the order of the graph.
func (s Subject) Values(ctx context.Context, samples []Sample) ([]UnitValues, error) {
	p, err := s.prepare()
	if err != nil {
		return nil, err
	}
	return Keep(s.Store, "values", func() ([]UnitValues, error) { return p.values(ctx, samples) })
}

func (s *subject) values(ctx context.Context, samples []Sample) ([]UnitValues, error) {
	inputs, err := s.inputs(ctx, samples)
	if err != nil {
		return nil, err
	}
	scales := map[string]calib.WeightSite{}
	for _, w := range s.Plan.Weights {
		for _, n := range w.Nodes {
			scales[n] = w
		}
	}
	came := map[string]*onnx.Tensor{} // by node
	for _, n := range s.came.Graph.Nodes {
		came[n.Name] = s.came.Graph.Init[n.Input(1)]
	}
	list := make([]UnitValues, len(s.units))
	err = s.sideBySide(ctx, len(list), func(_ context.Context, i int) error {
		u := s.units[i]
		list[i] = UnitValues{Unit: u, Input: inputs[u.Tensor]}
		if w, yes := scales[u.Node]; yes {
			v := weightValues(s.Model.Graph.Init[w.Tensor], w)
			if t := came[u.Node]; t != nil && !slices.Equal(t.Floats(), s.Model.Graph.Init[w.Tensor].Floats()) {
				spread := spreadOf(t.Floats())
				v.Came = &spread
			}
			list[i].Weights = v
		}
		return nil
	})
	return list, err
}

// weightValues describes a constant and its INT8 form.
func weightValues(t *onnx.Tensor, site calib.WeightSite) *Values {
	data := t.Floats()
	quantised := make([]float32, len(data))
	v := &Values{Tensor: site.Tensor, Channels: len(site.Scales)}
	type state struct{ first, last, absmax float32 }
	channel := make([]state, len(site.Scales))
	for c := range channel {
		channel[c] = state{first: float32(math.Inf(1)), last: float32(math.Inf(-1))}
	}
	inner := 1
	for _, d := range t.Dims[site.Axis+1:] {
		inner *= d
	}
	clipped := 0
	for i, x := range data {
		c := i / inner % len(site.Scales)
		scale := site.Scales[c]
		quantised[i] = scale * float32(calib.QuantizeWeight(x, scale))
		if math.Abs(float64(x)) > (calib.QMax+0.5)*float64(scale) {
			clipped++
		}
		channel[c].first = min(channel[c].first, x)
		channel[c].last = max(channel[c].last, x)
		channel[c].absmax = max(channel[c].absmax, x, -x)
	}
	for c, s := range channel {
		switch {
		case s.first == s.last:
			v.Dead++
		case s.absmax <= site.Scales[c]/2:
			v.Lost++
		}
	}
	v.Spread = spreadOf(data)
	v.Histogram = histogramOf(data, quantised)
	v.Error = finite(calib.SquaresOf(quantised, data).Relative())
	v.Clipped = float64(clipped) / float64(max(1, len(data)))
	return v
}

// valuesPerSample is how many values of an activation are looked at in each sample,
// for quartiles and histograms. Extremes, channels, clipping and errors are of all.
const valuesPerSample = 8192

// activation gathers one tensor over the samples.
type activation struct {
	scale       float32
	some        []float32     // values
	first, last []float32     // smallest and largest value of each channel
	squares     calib.Squares // of rounding
	arriving    calib.Squares
	clipped     int
	count       int
}

// inputs looks at the quantised activations, a few samples at a time.
func (s *subject) inputs(ctx context.Context, samples []Sample) (map[string]*Values, error) {
	quantised, err := calib.Apply(s.Model, s.Plan, calib.FloatWeights)
	if err != nil {
		return nil, fmt.Errorf("analyse: %w", err)
	}
	found := map[string]*activation{}
	var tensors []string
	bytes := int64(0)
	for _, site := range s.Plan.Sites {
		if found[site.Tensor] == nil {
			found[site.Tensor] = &activation{scale: site.Scale}
			tensors = append(tensors, site.Tensor)
			bytes += tensorBytes(s.Model.Graph.Info[site.Tensor])
		}
	}
	few := int(max(1, min(int64(len(samples)), s.KeepBytes/max(1, 2*bytes))))
	for part := range slices.Chunk(samples, few) {
		float, err := s.record(ctx, s.Model, part, tensors)
		if err != nil {
			return nil, err
		}
		int8, err := s.record(ctx, quantised, part, tensors)
		if err != nil {
			return nil, err
		}
		// Each tensor by one worker, its samples in order.
		err = s.sideBySide(ctx, len(tensors), func(_ context.Context, k int) error {
			name := tensors[k]
			for i := range part {
				found[name].add(float[i][name], int8[i][name])
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	list := make([]*Values, len(tensors))
	err = s.sideBySide(ctx, len(tensors), func(_ context.Context, k int) error {
		list[k] = found[tensors[k]].values(tensors[k])
		return nil
	})
	values := map[string]*Values{}
	for k, name := range tensors {
		values[name] = list[k]
	}
	return values, err
}

func (a *activation) add(t, arriving *onnx.Tensor) {
	data := t.Floats()
	a.some = append(a.some, every(data, valuesPerSample)...)
	channels, inner := 1, len(data)
	if len(t.Dims) > 2 {
		channels, inner = t.Dims[1], 1
		for _, d := range t.Dims[2:] {
			inner *= d
		}
	}
	if a.first == nil {
		a.first, a.last = make([]float32, channels), make([]float32, channels)
		for c := range channels {
			a.first[c], a.last[c] = float32(math.Inf(1)), float32(math.Inf(-1))
		}
	}
	low, high := (calib.QMin-0.5)*a.scale, (calib.QMax+0.5)*a.scale
	for from := 0; from+inner <= len(data) && inner > 0; from += inner {
		c := from / inner % channels
		first, last := a.first[c], a.last[c]
		for _, x := range data[from : from+inner] {
			first, last = min(first, x), max(last, x)
			if x < low || x > high {
				a.clipped++
			}
			d := float64(x) - float64(quantise(x, a.scale))
			a.squares.Difference += d * d
			a.squares.Norm += float64(x) * float64(x)
		}
		a.first[c], a.last[c] = first, last
	}
	a.count += len(data)
	a.arriving.Add(calib.SquaresOf(arriving.Floats(), data))
}

// quantise is the value that an activation has after Q and DQ.
func quantise(x, scale float32) float32 {
	q := math.RoundToEven(float64(x / scale))
	return scale * float32(math.Max(calib.QMin, math.Min(calib.QMax, q)))
}

func (a *activation) values(name string) *Values {
	v := &Values{Tensor: name, Channels: len(a.first), Arriving: finite(a.arriving.Relative())}
	for c := range a.first {
		switch {
		case a.first[c] == a.last[c]:
			v.Dead++
		case max(a.last[c], -a.first[c]) <= a.scale/2:
			v.Lost++
		}
	}
	if len(a.first) > 0 {
		a.some = append(a.some, slices.Min(a.first), slices.Max(a.last))
	}
	v.Spread = spreadOf(a.some)
	quantised := make([]float32, len(a.some))
	for i, x := range a.some {
		quantised[i] = quantise(x, a.scale)
	}
	v.Histogram = histogramOf(a.some, quantised)
	v.Error = finite(a.squares.Relative())
	v.Clipped = float64(a.clipped) / float64(max(1, a.count))
	return v
}
