// Package stats summarises repeated measurements of one time: what a benchmark
// prints.
package stats

import (
	"math"
	"sort"

	"gonum.org/v1/gonum/stat"
)

// Summary describes a sample, in the sample's own unit.
type Summary struct {
	Count  int     `json:"count"`
	Min    float64 `json:"min"`
	Mean   float64 `json:"mean"`
	Median float64 `json:"median"`
	P90    float64 `json:"p90"`
	P95    float64 `json:"p95"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
	StdDev float64 `json:"stddev"` // with Count-1; 0 for fewer than two
	CV     float64 `json:"cv"`     // coefficient of variation, StdDev/Mean
	// MedianCI is the interval that holds the true median with Confidence; nil
	// where it is not known.
	MedianCI *Interval `json:"median_ci,omitempty"`
}

// Summarise describes sample, which stays as it is. An empty sample gives the
// zero Summary.
func Summarise(sample []float64) Summary {
	if len(sample) == 0 {
		return Summary{}
	}
	sorted := append([]float64(nil), sample...)
	sort.Float64s(sorted)
	s := Summary{
		Count:  len(sorted),
		Min:    sorted[0],
		Median: Percentile(sorted, 50),
		P90:    Percentile(sorted, 90),
		P95:    Percentile(sorted, 95),
		P99:    Percentile(sorted, 99),
		Max:    sorted[len(sorted)-1],
	}
	s.Mean = stat.Mean(sorted, nil)
	if len(sorted) > 1 {
		s.StdDev = stat.StdDev(sorted, nil)
	}
	if s.Mean != 0 {
		s.CV = s.StdDev / s.Mean
	}
	return s
}

// SummariseRounds is Summarise of the samples of all rounds together, with the
// interval of their median.
func SummariseRounds(rounds [][]float64) Summary {
	var all []float64
	for _, r := range rounds {
		all = append(all, r...)
	}
	s := Summarise(all)
	if i, ok := MedianInterval(rounds); ok {
		s.MedianCI = &i
	}
	return s
}

// Percentile is the value below which p percent of sorted (ascending, not
// empty) lie, linearly interpolated between neighbours: definition 7 of Hyndman
// and Fan, Sample Quantiles in Statistical Packages, The American Statistician
// 50 (1996), which numpy.percentile and R's quantile take by default. gonum's
// LinInterp is their definition 4. p is clipped to 0..100.
func Percentile(sorted []float64, p float64) float64 {
	p = math.Max(0, math.Min(100, p))
	at := p / 100 * float64(len(sorted)-1)
	low := int(at)
	if low >= len(sorted)-1 {
		return sorted[len(sorted)-1]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}
