// Scales that follow the activations' largest magnitudes, as ACT's quantisers do
// (moving_average_abs_max, range_abs_max, abs_max in Paddle's fake_quantize_op).
// There the operator takes a batch's magnitudes in before it quantises that batch;
// here scales are set once a step, so those of step t+1 have seen the batches up to
// t. At ACT's rates of learning the difference is one batch in a long average, and a step
// needs no second pass over the activations.
package qat

import (
	"encoding/binary"
	"fmt"
	"math"

	"trtact/calib"
)

// levels is the number of steps of a scale that the range has on either side.
const levels = calib.QMax

// scaleGroup is the names of the scale constants that share one value.
type scaleGroup []string

// observer turns each step's largest magnitudes into scales.
type observer struct {
	kind   Quantizer
	rate   float32 // of MovingAverage
	window int     // of RangeAbsMax
	groups []scaleGroup
	step   uint32
	state  []observed // of each group
}

// observed is what is known of one group.
type observed struct {
	count, sum float32 // MovingAverage: weights and weighted maxima so far
	// RangeAbsMax: the maxima that are still the largest of the steps from theirs on,
	// oldest and largest first. That is all that the maximum of a window needs.
	maxima []maximum
}

type maximum struct {
	step  uint32
	value float32
}

// newObserver starts at the given scales, one for each group, as if they had been
// the first step's: state 1, accumulator 127 times the scale. With
// Options.FreshScales it starts with nothing seen, as ACT without quant_post_first.
func newObserver(o *Options, groups []scaleGroup, start []float32) *observer {
	ob := &observer{kind: o.Quantizer, rate: float32(o.MovingRate), window: o.Window, groups: groups}
	for _, s := range start {
		if o.FreshScales {
			ob.state = append(ob.state, observed{})
			continue
		}
		ob.state = append(ob.state, observed{count: 1, sum: levels * s, maxima: []maximum{{0, levels * s}}})
	}
	return ob
}

// observe takes in one step's largest magnitude of every scale constant and gives
// the scales of the next step. A group's magnitude is the largest of its members'.
func (ob *observer) observe(absmax map[string]float32) (map[string]float32, error) {
	ob.step++
	scales := map[string]float32{}
	for i, names := range ob.groups {
		var m float32
		for _, name := range names {
			v, known := absmax[name]
			if !known || !(v >= 0) || v > math.MaxFloat32 {
				return nil, fmt.Errorf("the largest magnitude at scale %q is %v", name, v)
			}
			m = max(m, v)
		}
		s := ob.update(&ob.state[i], m)
		for _, name := range names {
			scales[name] = s
		}
	}
	return scales, nil
}

// update is the quantiser's formula, in single precision as Paddle's.
func (ob *observer) update(s *observed, m float32) float32 {
	top := m
	switch ob.kind {
	case MovingAverage:
		s.count = ob.rate*s.count + 1
		s.sum = ob.rate*s.sum + m
		top = s.sum / s.count
	case RangeAbsMax:
		for n := len(s.maxima); n > 0 && s.maxima[n-1].value <= m; n-- {
			s.maxima = s.maxima[:n-1]
		}
		s.maxima = append(s.maxima, maximum{ob.step, m})
		for s.maxima[0].step+uint32(ob.window) <= ob.step {
			s.maxima = s.maxima[1:]
		}
		top = s.maxima[0].value
	}
	return max(calib.MinScale, top/levels)
}

// marshal is the observer's state as bytes, little endian.
func (ob *observer) marshal() []byte {
	b := binary.LittleEndian.AppendUint32(nil, ob.step)
	for _, s := range ob.state {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(s.count))
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(s.sum))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s.maxima)))
		for _, m := range s.maxima {
			b = binary.LittleEndian.AppendUint32(b, m.step)
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(m.value))
		}
	}
	return b
}

// unmarshal is the reverse. The number of groups must be that of marshal's.
func (ob *observer) unmarshal(b []byte) error {
	word := func() uint32 {
		if len(b) < 4 {
			b = nil
			return math.MaxUint32 // no count, and NaN as a number
		}
		v := binary.LittleEndian.Uint32(b)
		b = b[4:]
		return v
	}
	number := func() float32 { return math.Float32frombits(word()) }
	step := word()
	state := make([]observed, len(ob.groups))
	for i := range state {
		s := &state[i]
		s.count, s.sum = number(), number()
		n := word()
		if !(s.count >= 0) || !(s.sum >= 0) || uint64(n) > uint64(len(b)/8) {
			return fmt.Errorf("the state of scale group %d of %d is not one", i+1, len(state))
		}
		for range n {
			s.maxima = append(s.maxima, maximum{word(), number()})
		}
	}
	if len(b) > 0 {
		return fmt.Errorf("%d bytes behind the state of %d scale groups", len(b), len(state))
	}
	ob.step, ob.state = step, state
	return nil
}
