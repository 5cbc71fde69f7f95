package stats

import (
	"math"
	"math/rand/v2"
	"sort"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// world makes rounds of times whose true median is known: a common factor of
// the round (a clock), one of the thing and the round, and a spread of each time.
type world struct {
	rounds, each          int
	median                float64
	shared, own, spread   float64 // standard deviations, relative
	sharedDraws, ownDraws *rand.Rand
}

func (w world) measure(clock []float64) [][]float64 {
	own := distuv.Normal{Mu: 0, Sigma: w.own, Src: w.ownDraws}
	spread := distuv.Normal{Mu: 0, Sigma: w.spread, Src: w.ownDraws}
	out := make([][]float64, w.rounds)
	for i := range out {
		factor := own.Rand() + clock[i]
		for range w.each {
			out[i] = append(out[i], w.median*math.Exp(factor+spread.Rand()))
		}
	}
	return out
}

func (w world) clock() []float64 {
	n := distuv.Normal{Mu: 0, Sigma: w.shared, Src: w.sharedDraws}
	out := make([]float64, w.rounds)
	for i := range out {
		out[i] = n.Rand()
	}
	return out
}

// 95 % intervals must hold the true value in about 95 % of the benchmarks, with
// few rounds, with many, with times that hang together and without.
func TestIntervalsHoldTheTruth(t *testing.T) {
	const benchmarks = 300
	// With 300 benchmarks the share seen is within 3.8 points of the true one, three
	// standard deviations. Another point is left for the method, which is not exact.
	const least, most = 0.95 - 0.048, 0.95 + 0.048
	for _, c := range []struct {
		name                string
		rounds, each        int
		shared, own, spread float64
	}{
		{"8 rounds", 8, 10, 0.02, 0.01, 0.01},
		{"20 rounds", 20, 10, 0.02, 0.01, 0.01},
		{"20 rounds of independent times", 20, 10, 0, 0, 0.03},
		{"100 rounds of one", 100, 1, 0.02, 0, 0.03},
	} {
		median, ratio, width := 0, 0, 0.0
		for k := range benchmarks {
			draws := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(n, uint64(k))) }
			a := world{c.rounds, c.each, 2, c.shared, c.own, c.spread, draws(1), draws(2)}
			b := a
			b.median, b.ownDraws = 1.25, draws(3)
			clock := a.clock()
			as, bs := a.measure(clock), b.measure(clock)
			i, ok := MedianInterval(as)
			if !ok {
				t.Fatalf("%s: no interval", c.name)
			}
			if i.Holds(2) {
				median++
			}
			r, ok := RatioInterval(as, bs)
			if !ok {
				t.Fatalf("%s: no interval of the ratio", c.name)
			}
			if r.Holds(2 / 1.25) {
				ratio++
			}
			width += (r.High - r.Low) / 1.6 / benchmarks
		}
		m, r := float64(median)/benchmarks, float64(ratio)/benchmarks
		t.Logf("%s: median in %.1f %%, ratio in %.1f %% of the intervals, which are %.2f %% wide", c.name, 100*m, 100*r, 100*width)
		if m < least || m > most || r < least || r > most {
			t.Errorf("%s: median in %.3f, ratio in %.3f of the intervals", c.name, m, r)
		}
	}
}

// What a round does to both sides is no uncertainty of their ratio.
func TestRatioOfPairs(t *testing.T) {
	draws := rand.New(rand.NewPCG(7, 7))
	slow := distuv.Uniform{Min: 1, Max: 3, Src: draws} // the clock, three times slower at worst
	var a, b [][]float64
	for range 20 {
		f := slow.Rand()
		a = append(a, []float64{3 * f, 3 * f, 3 * f})
		b = append(b, []float64{2 * f, 2 * f, 2 * f})
	}
	i, ok := RatioInterval(a, b)
	if !ok || math.Abs(i.Low-1.5) > 1e-12 || math.Abs(i.High-1.5) > 1e-12 {
		t.Errorf("%+v, %v; want 1.5 to 1.5", i, ok)
	}
	if m, _ := MedianInterval(a); m.High-m.Low < 0.5 {
		t.Errorf("the median's interval %+v is too sure", m)
	}
}

// The walk over sorted values gives what sorting the drawn rounds gives.
func TestPoolMedian(t *testing.T) {
	draws := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		rounds := make([][]float64, 2+draws.IntN(5))
		for i := range rounds {
			for range 1 + draws.IntN(4) {
				rounds[i] = append(rounds[i], float64(draws.IntN(8)))
			}
		}
		times := make([]int, len(rounds))
		var all []float64
		for range len(rounds) {
			i := draws.IntN(len(rounds))
			times[i]++
			all = append(all, rounds[i]...)
		}
		sort.Float64s(all)
		if got, want := newPool(rounds).median(times), Percentile(all, 50); got != want {
			t.Fatalf("%v drawn %v times: median %v, want %v", rounds, times, got, want)
		}
	}
}

func TestIntervalNeedsRounds(t *testing.T) {
	rounds := func(n int, v float64) [][]float64 {
		out := make([][]float64, n)
		for i := range out {
			out[i] = []float64{v}
		}
		return out
	}
	if i, ok := MedianInterval(rounds(MinRounds, 4)); !ok || i != (Interval{4, 4}) {
		t.Errorf("constant: %+v, %v", i, ok)
	}
	hollow := rounds(MinRounds, 4)
	hollow[3] = nil
	for _, c := range []struct {
		name string
		a, b [][]float64
	}{
		{"too few", rounds(MinRounds-1, 4), rounds(MinRounds-1, 4)},
		{"different numbers", rounds(MinRounds, 4), rounds(MinRounds+1, 4)},
		{"an empty round", hollow, rounds(MinRounds, 4)},
		{"another empty round", rounds(MinRounds, 4), hollow},
		{"by zero", rounds(MinRounds, 4), rounds(MinRounds, 0)},
		{"nothing", nil, nil},
	} {
		if i, ok := RatioInterval(c.a, c.b); ok {
			t.Errorf("%s: %+v", c.name, i)
		}
	}
	if s := SummariseRounds(rounds(3, 5)); s.Count != 3 || s.Median != 5 || s.MedianCI != nil {
		t.Errorf("three rounds: %+v", s)
	}
	if s := SummariseRounds(rounds(30, 5)); s.Count != 30 || s.MedianCI == nil || *s.MedianCI != (Interval{5, 5}) {
		t.Errorf("thirty rounds: %+v", s)
	}
}
