// Scales of weights: per output channel, symmetric over [-127, 127]. The largest
// magnitude of a channel is the default and loses nothing to clipping; the MSE
// method clips a channel's outliers where that lowers the channel's squared error.
package calib

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/parallel"
)

// channels calls f with the elements of each slice of w along axis.
func channels(dims []int, axis int, f func(channel, index int)) {
	inner := 1
	for _, d := range dims[axis+1:] {
		inner *= d
	}
	outer := 1
	for _, d := range dims[:axis] {
		outer *= d
	}
	n := dims[axis]
	for o := range outer {
		for c := range n {
			from := (o*n + c) * inner
			for i := range inner {
				f(c, from+i)
			}
		}
	}
}

// ChannelScales gives the scale of each slice of w along axis, by AbsMax or MSE.
// A channel of zeros gets MinScale. Fails on values that are not finite.
func ChannelScales(w *onnx.Tensor, axis int, method Method) ([]float32, error) {
	data, ok := w.Data.([]float32)
	if !ok {
		return nil, fmt.Errorf("weights are %v, not float", w.Type)
	}
	if axis < 0 || axis >= len(w.Dims) {
		return nil, fmt.Errorf("axis %d of weights with shape %v", axis, w.Dims)
	}
	n := w.Dims[axis]
	absmax := make([]float32, n)
	bad := -1
	channels(w.Dims, axis, func(c, i int) {
		v := data[i]
		if v < 0 {
			v = -v
		}
		if !(v <= math.MaxFloat32) {
			bad = c
		}
		absmax[c] = max(absmax[c], v)
	})
	if bad >= 0 {
		return nil, fmt.Errorf("channel %d holds a value that is not finite", bad)
	}
	scales := make([]float32, n)
	for c, a := range absmax {
		scales[c] = Scale(float64(a))
	}
	switch method {
	case AbsMax:
	case MSE:
		values := make([][]float32, n)
		channels(w.Dims, axis, func(c, i int) { values[c] = append(values[c], data[i]) })
		for c := range scales {
			scales[c] = bestWeightScale(values[c], scales[c])
		}
	default:
		return nil, fmt.Errorf("method %q for weights; %q and %q exist", method, AbsMax, MSE)
	}
	return scales, nil
}

// bestWeightScale tries 1 to 0.5 of the full scale and keeps what gives the
// smallest squared error.
func bestWeightScale(values []float32, full float32) float32 {
	const steps = 50
	best, at := math.Inf(1), full
	for k := range steps + 1 {
		s := max(MinScale, full*(1-0.5*float32(k)/steps))
		var e float64
		for _, v := range values {
			d := float64(v) - float64(s)*float64(QuantizeWeight(v, s))
			if e += d * d; e >= best {
				break
			}
		}
		if e < best {
			best, at = e, s
		}
	}
	return at
}

// QuantizeWeight is clamp(round_half_even(v/scale), -127, 127), divided in
// float32 as onnxruntime's QuantizeLinear does.
func QuantizeWeight(v, scale float32) int8 {
	q := math.RoundToEven(float64(v / scale))
	return int8(math.Max(-QMax, math.Min(QMax, q)))
}

// AssignWeights sets the scales of all weights from the graph's constants.
func (p *Plan) AssignWeights(g *onnx.Graph, method Method) error {
	failed := make([]error, len(p.Weights))
	_ = parallel.Each(context.Background(), runtime.GOMAXPROCS(0), len(p.Weights), func(_ context.Context, i int) error {
		failed[i] = p.Weights[i].assign(g, method)
		return nil
	})
	return cmp.Or(failed...)
}

func (s *WeightSite) assign(g *onnx.Graph, method Method) error {
	w := g.Init[s.Tensor]
	if w == nil {
		return fault.BadInput(fmt.Errorf("plan: weight %q is not a constant of the model; make the plan again with calibrate", s.Tensor))
	}
	scales, err := ChannelScales(w, s.Axis, method)
	if err != nil {
		return fault.BadInput(fmt.Errorf("weights %q of node %q: %w", s.Tensor, s.Nodes[0], err))
	}
	s.Scales = scales
	return nil
}
