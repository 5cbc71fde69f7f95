package stats

import (
	"math"
	"strconv"
	"strings"
	"testing"

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
