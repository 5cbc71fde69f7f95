package gpu

import (
	"cmp"
	"slices"
	"time"
)

// Span is a stretch of time.
type Span struct{ From, To time.Time }

func (s Span) holds(t time.Time) bool { return !t.Before(s.From) && !t.After(s.To) }

// Activity is what a GPU did during some spans. A nil pointer is a figure that it
// does not tell.
type Activity struct {
	Samples     int    `json:"samples"`
	SM          *Range `json:"sm_mhz,omitempty"`
	Memory      *Range `json:"memory_mhz,omitempty"`
	Temperature *Range `json:"temperature_c,omitempty"`
	Power       *Range `json:"power_w,omitempty"`
	// MeanPower, in watts, is what the energy counter rose by in the spans over
	// their time. Unlike Power it has nothing in it of what ran just before.
	MeanPower *float64   `json:"mean_power_w,omitempty"`
	Slowed    []Slowdown `json:"slowed,omitempty"`
}

// Range is the least, the middle and the most of some values.
type Range struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// Slowdown is a reason and the share of the samples, 0 to 1, that had it.
type Slowdown struct {
	Reason Reason  `json:"reason"`
	Share  float64 `json:"share"`
}

// During sums up the moments that lie in the spans.
func During(moments []Moment, spans []Span) Activity {
	var a Activity
	var sm, memory, temperature, power []float64
	slowed := map[Reason]int{}
	var joules, seconds float64
	for _, span := range spans {
		var first, last *Moment // with energy told
		for i := range moments {
			m := &moments[i]
			if !span.holds(m.Time) {
				continue
			}
			a.Samples++
			sm = add(sm, m.SM)
			memory = add(memory, m.Memory)
			temperature = add(temperature, m.Temperature)
			power = add(power, m.Power)
			for _, r := range m.Slowed {
				slowed[r]++
			}
			if m.Energy != nil {
				if first == nil {
					first = m
				}
				last = m
			}
		}
		if first != nil && last.Time.After(first.Time) && *last.Energy >= *first.Energy {
			joules += *last.Energy - *first.Energy
			seconds += last.Time.Sub(first.Time).Seconds()
		}
	}
	a.SM, a.Memory, a.Temperature, a.Power = rangeOf(sm), rangeOf(memory), rangeOf(temperature), rangeOf(power)
	if joules > 0 {
		w := joules / seconds
		a.MeanPower = &w
	}
	for r, n := range slowed {
		a.Slowed = append(a.Slowed, Slowdown{r, float64(n) / float64(a.Samples)})
	}
	slices.SortFunc(a.Slowed, func(x, y Slowdown) int {
		return cmp.Or(cmp.Compare(y.Share, x.Share), cmp.Compare(x.Reason, y.Reason))
	})
	return a
}

func add[T int | float64](list []float64, v *T) []float64 {
	if v == nil {
		return list
	}
	return append(list, float64(*v))
}

func rangeOf(list []float64) *Range {
	if len(list) == 0 {
		return nil
	}
	slices.Sort(list)
	n := len(list)
	return &Range{Min: list[0], Median: (list[(n-1)/2] + list[n/2]) / 2, Max: list[n-1]}
}
