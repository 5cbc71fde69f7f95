// Whether a run is still sane. A loss that is not finite ends it, and so does one
// that has left for good: the median of the last few steps, so that a single odd
// image does not count, against the lowest level that the loss once had over a longer
// time.
package qat

import (
	"fmt"
	"math"
	"slices"
)

const (
	healthLevel   = 20 // steps whose median is a level
	healthRecent  = 5  // steps whose median is where the loss is now
	healthExplode = 10 // times the lowest level
)

// Diverged is the error of a run whose loss exploded or was no number. The best
// student up to then comes along with it.
type Diverged struct {
	Step  int     // that failed, from 1
	Loss  float64 // above its floor
	Level float64 // the lowest median before; 0 when the loss is no number
	Layer string  // the first with a value or gradient that is no number; "" when none
}

func (d *Diverged) Error() string {
	if d.Level > 0 {
		return fmt.Sprintf("distil: at step %d the loss is %.3g, more than %d times the %.3g that it had been down to; lower the learning rate", d.Step, d.Loss, healthExplode, d.Level)
	}
	where := ""
	if d.Layer != "" {
		where = fmt.Sprintf(", first in %q", d.Layer)
	}
	return fmt.Sprintf("distil: at step %d the loss or its gradient is not finite%s; lower the learning rate, or bound the gradient (grad_clip)", d.Step, where)
}

// health watches the losses of a run, one after the other.
type health struct {
	losses []float64 // the last healthLevel + healthRecent
	lowest float64   // level; 0 before there is one
}

// watch takes in a step's loss above its floor and tells whether it has exploded.
func (h *health) watch(loss float64) bool {
	h.losses = append(h.losses, loss)
	if len(h.losses) < healthLevel+healthRecent {
		return false
	}
	h.losses = h.losses[len(h.losses)-healthLevel-healthRecent:]
	level := median(h.losses[:healthLevel])
	if h.lowest == 0 || level < h.lowest {
		h.lowest = level
	}
	return h.lowest > 0 && median(h.losses[healthLevel:]) > healthExplode*h.lowest
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
