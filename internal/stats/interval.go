// How sure a median, or a ratio of two medians, is.
//
// Times measured one after the other are not independent: a clock that steps
// down shifts hundreds of them together, so an interval from single times would
// be far too narrow. What can be taken as independent is a round, in which
// everything that is compared ran once. So rounds are drawn with replacement (a
// cluster bootstrap), for a ratio the same rounds for both sides: what a round
// did to both alike cancels out.

package stats

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sort"

	"gonum.org/v1/gonum/stat/distuv"
)

// Confidence is the share of repeated benchmarks whose Interval holds the true
// value.
const Confidence = 0.95

// MinRounds is the fewest rounds that an interval is made from. Below it the
// rounds seen say too little of those that could have been.
const MinRounds = 8

// resamples is the number of draws: enough that another seed moves a bound by a
// few hundredths of the interval.
const resamples = 2000

// Interval is a confidence interval.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Holds says whether v lies in the interval.
func (i Interval) Holds(v float64) bool { return i.Low <= v && v <= i.High }

// MedianInterval is the interval of the median of all values, which were
// measured in rounds. ok is false for fewer than MinRounds rounds or an empty
// one. The same rounds give the same interval.
func MedianInterval(rounds [][]float64) (i Interval, ok bool) {
	if !enough(rounds) {
		return Interval{}, false
	}
	p := newPool(rounds)
	return bootstrap(len(rounds), p.median), true
}

// RatioInterval is the interval of the median of over's values by that of
// under's; round by round they were measured side by side. ok is false for
// fewer than MinRounds rounds, an empty one, different numbers of rounds, and
// values of under that are not above 0.
func RatioInterval(over, under [][]float64) (i Interval, ok bool) {
	if len(over) != len(under) || !enough(over) || !enough(under) {
		return Interval{}, false
	}
	a, b := newPool(over), newPool(under)
	if b.values[0].v <= 0 {
		return Interval{}, false
	}
	return bootstrap(len(over), func(times []int) float64 { return a.median(times) / b.median(times) }), true
}

func enough(rounds [][]float64) bool {
	return len(rounds) >= MinRounds && !slices.ContainsFunc(rounds, func(r []float64) bool { return len(r) == 0 })
}

// bootstrap draws n rounds of n again and again, and gives the interval of what
// statistic makes of how many times each was drawn.
//
// The bounds are percentiles of the draws. Those are too near to each other for
// few rounds, so they are taken further out by as much as Student's t goes
// further than the normal distribution: Hesterberg, What Teachers Should Know
// About the Bootstrap, The American Statistician 69 (2015), "expanded percentile
// interval".
func bootstrap(n int, statistic func(times []int) float64) Interval {
	random := rand.New(rand.NewPCG(uint64(n), resamples))
	found := make([]float64, resamples)
	times := make([]int, n)
	for k := range found {
		clear(times)
		for range n {
			times[random.IntN(n)]++
		}
		found[k] = statistic(times)
	}
	sort.Float64s(found)
	t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(n - 1)}.Quantile((1 - Confidence) / 2)
	tail := 100 * distuv.UnitNormal.CDF(math.Sqrt(float64(n)/float64(n-1))*t)
	return Interval{Percentile(found, tail), Percentile(found, 100-tail)}
}

// pool is the values of all rounds, sorted once.
type pool struct {
	values []pooled
	sizes  []int // of the rounds
}

type pooled struct {
	v     float64
	round int
}

func newPool(rounds [][]float64) *pool {
	p := &pool{}
	for i, r := range rounds {
		p.sizes = append(p.sizes, len(r))
		for _, v := range r {
			p.values = append(p.values, pooled{v, i})
		}
	}
	slices.SortFunc(p.values, func(a, b pooled) int { return cmp.Compare(a.v, b.v) })
	return p
}

// median is that of the values when round i is there times[i] times: the middle
// one, or the mean of the two in the middle.
func (p *pool) median(times []int) float64 {
	n := 0
	for i, size := range p.sizes {
		n += times[i] * size
	}
	low, high := (n-1)/2, n/2
	seen := 0
	for i, x := range p.values {
		if seen += times[x.round]; seen <= low {
			continue
		}
		if seen > high {
			return x.v
		}
		for _, y := range p.values[i+1:] {
			if times[y.round] > 0 {
				return (x.v + y.v) / 2
			}
		}
	}
	return math.NaN() // no round was drawn, which bootstrap does not do
}
