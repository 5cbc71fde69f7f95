// Learning rates over the steps of a run. The formulas are those of
// torch.optim.lr_scheduler (CosineAnnealingLR) and paddle.optimizer.lr
// (CosineAnnealingDecay, PiecewiseDecay), which step once per update here as in
// ACT.
package qat

import (
	"fmt"
	"math"
)

// ScheduleKind is how the rate changes.
type ScheduleKind string

// The schedules.
const (
	ConstantRate  ScheduleKind = "constant"
	PiecewiseRate ScheduleKind = "piecewise"
	CosineRate    ScheduleKind = "cosine"
)

// Schedule is the learning rate over the steps.
type Schedule struct {
	Kind ScheduleKind
	Rate float64 // of constant; highest of cosine
	// Cosine: from Rate down to Floor in Period steps; 0: the whole run. Behind the
	// period it rises again, as the formula has it.
	Floor  float64
	Period int
	// Piecewise: Values[i] until Boundaries[i] steps are done, then the next.
	Boundaries []int
	Values     []float64
	// Warmup is the number of first steps in which the rate rises in a line to
	// where the schedule begins; the schedule counts from their end.
	Warmup int
}

// At is the rate of step (from 0) in a run of so many steps. The last step of a
// warm-up already has the full rate, and the first one more than 0: a step at
// rate 0 would be wasted.
func (s Schedule) At(step, steps int) float64 {
	if step < s.Warmup {
		return s.plain(0, steps) * float64(step+1) / float64(s.Warmup)
	}
	return s.plain(step-s.Warmup, steps)
}

// plain is the schedule without its warm-up.
func (s Schedule) plain(step, steps int) float64 {
	switch s.Kind {
	case PiecewiseRate:
		for i, b := range s.Boundaries {
			if step < b {
				return s.Values[i]
			}
		}
		return s.Values[len(s.Values)-1]
	case CosineRate:
		period := s.Period
		if period == 0 {
			period = max(1, steps-s.Warmup)
		}
		return s.Floor + (s.Rate-s.Floor)*(1+math.Cos(math.Pi*float64(step)/float64(period)))/2
	}
	return s.Rate
}

// highest is the largest rate of the schedule, to which learned scales relate.
func (s Schedule) highest() float64 {
	if s.Kind != PiecewiseRate {
		return s.Rate
	}
	highest := 0.0
	for _, v := range s.Values {
		highest = max(highest, v)
	}
	return highest
}

func (s Schedule) validate() error {
	rate := func(v float64) bool { return v >= 0 && v <= 10 } // false for NaN
	switch s.Kind {
	case ConstantRate, CosineRate:
		if !rate(s.Rate) || !rate(s.Floor) || s.Floor > s.Rate {
			return fmt.Errorf("learning rate %v down to %v; it must lie within 0..10 and not rise", s.Rate, s.Floor)
		}
	case PiecewiseRate:
		if len(s.Values) != len(s.Boundaries)+1 {
			return fmt.Errorf("%d learning rates for %d boundaries; there must be one more", len(s.Values), len(s.Boundaries))
		}
		for _, v := range s.Values {
			if !rate(v) {
				return fmt.Errorf("learning rate %v; it must lie within 0..10", v)
			}
		}
		for i, b := range s.Boundaries {
			if b < 1 || i > 0 && b <= s.Boundaries[i-1] {
				return fmt.Errorf("boundaries %v of the learning rate; they must be positive and ascend", s.Boundaries)
			}
		}
	default:
		return fmt.Errorf("schedule %q of the learning rate; there are %s, %s and %s", s.Kind, ConstantRate, PiecewiseRate, CosineRate)
	}
	if s.Warmup < 0 || s.Period < 0 {
		return fmt.Errorf("warm-up of %d steps, period of %d; neither can be negative", s.Warmup, s.Period)
	}
	return nil
}
