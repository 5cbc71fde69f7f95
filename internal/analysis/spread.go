// What the values of a tensor look like: quartiles and whiskers for a box plot, how
// far the largest lies outside of the rest, and a histogram before and after
// quantisation.

package analysis

import (
	"math"
	"slices"
)

// Spread describes a set of values.
type Spread struct {
	Min    float64 `json:"min"`
	Q1     float64 `json:"q1"`
	Median float64 `json:"median"`
	Q3     float64 `json:"q3"`
	Max    float64 `json:"max"`
	// Low and High are the ends of the whiskers: the outermost values within 1.5 times
	// the distance of the quartiles from the nearer quartile (Tukey 1977).
	Low  float64 `json:"whisker_low"`
	High float64 `json:"whisker_high"`
	// Outliers is the share of values beyond the whiskers, in 0..1.
	Outliers float64 `json:"outliers"`
	// AbsMax is the largest magnitude, P99 the magnitude that 99 % do not exceed. Peak
	// is AbsMax over P99: about 1.7 for normally distributed values, and large where a
	// few values take the range that all others have to share.
	AbsMax float64 `json:"absmax"`
	P99    float64 `json:"p99"`
	Peak   float64 `json:"peak"`
}

// mostSorted bounds the values that quantiles are taken from; of larger sets every
// n-th is taken. The extremes are always of all.
const mostSorted = 1 << 16

// spreadOf describes values; all zero for none.
func spreadOf(values []float32) Spread {
	some := every(values, mostSorted)
	if len(some) == 0 {
		return Spread{}
	}
	sorted := slices.Clone(some)
	slices.Sort(sorted)
	s := Spread{
		Min: float64(slices.Min(values)), Max: float64(slices.Max(values)),
		Q1: quantile(sorted, 0.25), Median: quantile(sorted, 0.5), Q3: quantile(sorted, 0.75),
	}
	reach := 1.5 * (s.Q3 - s.Q1)
	first, _ := slices.BinarySearch(sorted, float32(s.Q1-reach))
	last, _ := slices.BinarySearch(sorted, math.Nextafter32(float32(s.Q3+reach), math.MaxFloat32))
	s.Low, s.High = s.Q1, s.Q3
	if first < last {
		s.Low, s.High = math.Min(s.Q1, float64(sorted[first])), math.Max(s.Q3, float64(sorted[last-1]))
		s.Outliers = 1 - float64(last-first)/float64(len(sorted))
	}
	for i, v := range sorted {
		sorted[i] = float32(math.Abs(float64(v)))
	}
	slices.Sort(sorted)
	s.AbsMax = math.Max(math.Abs(s.Min), math.Abs(s.Max))
	s.P99 = quantile(sorted, 0.99)
	if s.P99 > 0 {
		s.Peak = s.AbsMax / s.P99
	}
	return s
}

// every takes at most so many values, evenly over all of them.
func every(values []float32, most int) []float32 {
	step := (len(values) + most - 1) / max(1, most)
	if step <= 1 {
		return values
	}
	some := make([]float32, 0, len(values)/step+1)
	for i := 0; i < len(values); i += step {
		some = append(some, values[i])
	}
	return some
}

// quantile interpolates between the sorted values.
func quantile(sorted []float32, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return float64(sorted[len(sorted)-1])
	}
	part := at - float64(i)
	return float64(sorted[i])*(1-part) + float64(sorted[i+1])*part
}

// Histogram counts values in equal bins over [Low, High], as they were and as they
// are after quantisation.
type Histogram struct {
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Float []int   `json:"float"`
	INT8  []int   `json:"int8"`
}

// histogramBins is how many bins a histogram has: fewer than there are levels, so that
// the quantised values do not fall into stripes.
const histogramBins = 64

// histogramOf counts values beside their quantised forms.
func histogramOf(values, quantised []float32) Histogram {
	h := Histogram{Float: make([]int, histogramBins), INT8: make([]int, histogramBins)}
	if len(values) == 0 {
		return h
	}
	h.Low = float64(min(slices.Min(values), slices.Min(quantised)))
	h.High = float64(max(slices.Max(values), slices.Max(quantised)))
	count := func(bins []int, list []float32) {
		for _, v := range list {
			i := 0
			if h.High > h.Low {
				i = int(float64(len(bins)) * (float64(v) - h.Low) / (h.High - h.Low))
			}
			bins[min(max(i, 0), len(bins)-1)]++
		}
	}
	count(h.Float, values)
	count(h.INT8, quantised)
	return h
}
