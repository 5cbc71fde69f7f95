package stats

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"

	"trtact/internal/testenv"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-12*math.Max(1, math.Abs(b)) }

func TestSummarise(t *testing.T) {
	got := Summarise([]float64{4, 1, 3, 2, 5})
	want := Summary{Count: 5, Min: 1, Mean: 3, Median: 3, P90: 4.6, P95: 4.8, P99: 4.96, Max: 5,
		StdDev: math.Sqrt(2.5), CV: math.Sqrt(2.5) / 3}
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"min", got.Min, want.Min}, {"mean", got.Mean, want.Mean}, {"median", got.Median, want.Median},
		{"p90", got.P90, want.P90}, {"p95", got.P95, want.P95}, {"p99", got.P99, want.P99},
		{"max", got.Max, want.Max}, {"stddev", got.StdDev, want.StdDev}, {"cv", got.CV, want.CV},
		{"count", float64(got.Count), 5},
	} {
		if !near(c.got, c.want) {
			t.Errorf("%s = %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestSummariseSmall(t *testing.T) {
	if got := Summarise(nil); got != (Summary{}) {
		t.Errorf("empty sample: %+v", got)
	}
	one := Summarise([]float64{7})
	if one.Min != 7 || one.P99 != 7 || one.Max != 7 || one.StdDev != 0 || one.CV != 0 {
		t.Errorf("one value: %+v", one)
	}
}

func TestSummariseLeavesSampleAlone(t *testing.T) {
	sample := []float64{3, 1, 2}
	Summarise(sample)
	if sample[0] != 3 || sample[1] != 1 || sample[2] != 2 {
		t.Errorf("sample was reordered: %v", sample)
	}
}

// A small spread on large values is where a difference of sums fails.
func TestStdDevOfLargeValues(t *testing.T) {
	got := Summarise([]float64{1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16}).StdDev
	if !near(got, math.Sqrt(30)) {
		t.Errorf("stddev %v, want sqrt(30)", got)
	}
}

func TestPercentileAgainstNumpy(t *testing.T) {
	sample := make([]float64, 101)
	text := make([]string, len(sample))
	for i := range sample {
		sample[i] = math.Mod(float64(i*i)*0.37, 11) + 0.5
		text[i] = strconv.FormatFloat(sample[i], 'g', 17, 64)
	}
	out := testenv.RunPython(t, `
import sys, numpy as np
x = np.array([float(v) for v in sys.argv[1].split(",")])
print(*[repr(float(v)) for v in (np.mean(x), np.median(x), *np.percentile(x, [90, 95, 99]), np.std(x, ddof=1))])`,
		strings.Join(text, ","))
	s := Summarise(sample)
	for i, got := range []float64{s.Mean, s.Median, s.P90, s.P95, s.P99, s.StdDev} {
		want, err := strconv.ParseFloat(strings.Fields(out)[i], 64)
		if err != nil {
			t.Fatal(err)
		}
		if !near(got, want) {
			t.Errorf("figure %d: %v, numpy has %v", i, got, want)
		}
	}
}

// Percentiles of large samples are the quantiles of the distribution they were
// drawn from, within six standard errors: sqrt(q(1-q)/n) over the density.
func TestPercentileOfKnownDistributions(t *testing.T) {
	const n = 200_000
	source := rand.New(rand.NewPCG(11, 12))
	for _, c := range []struct {
		name string
		d    interface {
			Rand() float64
			Quantile(p float64) float64
			Prob(x float64) float64
			Mean() float64
			StdDev() float64
		}
	}{
		{"uniform", distuv.Uniform{Min: 1, Max: 2, Src: source}},
		{"normal", distuv.Normal{Mu: 10, Sigma: 2, Src: source}},
		{"log-normal", distuv.LogNormal{Mu: 0, Sigma: 0.5, Src: source}},
		{"exponential", distuv.Exponential{Rate: 3, Src: source}},
		{"gamma", distuv.Gamma{Alpha: 4, Beta: 2, Src: source}},
	} {
		sample := make([]float64, n)
		for i := range sample {
			sample[i] = c.d.Rand()
		}
		s := Summarise(sample)
		for _, q := range []struct{ at, got float64 }{{0.5, s.Median}, {0.9, s.P90}, {0.95, s.P95}, {0.99, s.P99}} {
			want := c.d.Quantile(q.at)
			if off := math.Abs(q.got - want); off > 6*math.Sqrt(q.at*(1-q.at)/n)/c.d.Prob(want) {
				t.Errorf("%s: quantile %v is %v, want %v", c.name, q.at, q.got, want)
			}
		}
		if off := math.Abs(s.Mean - c.d.Mean()); off > 6*c.d.StdDev()/math.Sqrt(n) {
			t.Errorf("%s: mean %v, want %v", c.name, s.Mean, c.d.Mean())
		}
		if want := c.d.StdDev() / c.d.Mean(); math.Abs(s.CV/want-1) > 0.02 {
			t.Errorf("%s: coefficient of variation %v, want %v", c.name, s.CV, want)
		}
	}
}
