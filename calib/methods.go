// From statistics to a clip value: the calibration methods. Each answers the
// same question, beyond which magnitude values may be clipped; the scale is the
// clip value over 127.
//
// The methods that weigh clipping against rounding (entropy, MSE, EMD) read the
// histogram of magnitudes as a density that is constant inside each bin, so that
// rounding error is integrated exactly even when a quantisation step is narrower
// than a bin, which happens when outliers are a hundred times the bulk.
package calib

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"trtact/internal/fault"
)

// Method names a way to choose a clip value from Statistics.
type Method string

// The methods. Percentile and MeanPercentile take the percentage after a colon.
const (
	// AbsMax clips nothing that was seen.
	AbsMax Method = "absmax"
	// MeanAbsMax is the mean of the images' largest magnitudes.
	MeanAbsMax Method = "mean-absmax"
	// MovingAbsMax is the moving average of the images' largest magnitudes with
	// rate 0.9, as Auto Compression Toolkit trains with.
	MovingAbsMax Method = "moving-absmax"
	// Entropy minimises the Kullback-Leibler divergence between the values and
	// their 128-level image.
	Entropy Method = "entropy"
	// MSE minimises the expected squared error of rounding and clipping.
	MSE Method = "mse"
	// EMD minimises |difference of means| + |difference of standard deviations|,
	// over 0.3 to 1 of the largest magnitude in steps of 0.02, as PaddleSlim.
	EMD Method = "emd"

	percentilePrefix     = "percentile:"
	meanPercentilePrefix = "mean-percentile:"
)

// Percentile is the percentile over the values of all images, p in (0, 100].
func Percentile(p float64) Method {
	return Method(percentilePrefix + strconv.FormatFloat(p, 'f', -1, 64))
}

// MeanPercentile is the mean over images of each image's percentile; p is one of
// 99.9, 99.99 and 99.999.
func MeanPercentile(p float64) Method {
	return Method(meanPercentilePrefix + strconv.FormatFloat(p, 'f', -1, 64))
}

// Methods lists every method, percentiles at the figures people use.
func Methods() []Method {
	list := []Method{AbsMax, MeanAbsMax, MovingAbsMax}
	for _, p := range imagePercentiles {
		list = append(list, Percentile(p))
	}
	for _, p := range imagePercentiles {
		list = append(list, MeanPercentile(p))
	}
	return append(list, Entropy, MSE, EMD)
}

// ParseMethod reads a method as a user writes it: a name of Methods, or
// "percentile" (99.99) or "percentile:P". Fails with fault.Usage.
func ParseMethod(text string) (Method, error) {
	switch text {
	case "percentile":
		return Percentile(99.99), nil
	case "mean-percentile":
		return MeanPercentile(99.99), nil
	case "kl":
		return Entropy, nil
	}
	for _, m := range Methods() {
		if string(m) == text {
			return m, nil
		}
	}
	if p, ok := strings.CutPrefix(text, percentilePrefix); ok {
		if v, err := strconv.ParseFloat(p, 64); err == nil && v > 0 && v <= 100 {
			return Percentile(v), nil
		}
		return "", fault.Usage(fmt.Errorf("calibration method %q: expected a percentile above 0 and at most 100", text))
	}
	return "", fault.Usage(fmt.Errorf("calibration method %q is not one of %s, or %sP for another percentile P", text, joinMethods(Methods()), percentilePrefix))
}

func joinMethods(list []Method) string {
	names := make([]string, len(list))
	for i, m := range list {
		names[i] = string(m)
	}
	return strings.Join(names, ", ")
}

// Clip is the magnitude beyond which values are clipped; 0 for a tensor that is
// always zero.
func (m Method) Clip(s *Statistics) (float64, error) {
	absmax := float64(s.AbsMax)
	if s.Histogram.Upper == 0 {
		return 0, nil
	}
	var t float64
	switch {
	case m == AbsMax:
		t = absmax
	case m == MeanAbsMax:
		t = float64(s.MeanAbsMax)
	case m == MovingAbsMax:
		t = float64(s.MovingAbsMax)
	case m == Entropy:
		t = entropyClip(&s.Histogram)
	case m == MSE:
		t = mseClip(&s.Histogram, absmax)
	case m == EMD:
		t = emdClip(&s.Histogram, absmax)
	case strings.HasPrefix(string(m), percentilePrefix):
		p, err := strconv.ParseFloat(strings.TrimPrefix(string(m), percentilePrefix), 64)
		if err != nil {
			return 0, fmt.Errorf("method %q: %w", m, err)
		}
		t = s.Histogram.Percentile(p)
	default:
		for k, p := range imagePercentiles {
			if m == MeanPercentile(p) {
				t = float64(s.MeanPercentile[k])
			}
		}
		if t == 0 && !strings.HasPrefix(string(m), meanPercentilePrefix) {
			return 0, fmt.Errorf("unknown calibration method %q; known are %s", m, joinMethods(Methods()))
		}
	}
	if t <= 0 { // nearly everything is zero: keep what is not
		t = absmax
	}
	return math.Min(t, absmax), nil
}

// Scale is the quantisation step for a clip value: clip/127, at least MinScale.
func Scale(clip float64) float32 {
	return max(MinScale, float32(clip/QMax))
}

// squaredError integrates the squared rounding and clipping error from 0 to x
// for step s: whole steps give s^3/12 each, the rest r gives r^3/3, and beyond
// the last level r keeps growing.
func squaredError(x, s float64) float64 {
	n := math.Min(math.Floor(x/s+0.5), QMax)
	r := x - n*s
	return n*s*s*s/12 + r*r*r/3
}

// meanSquaredError is the expected squared error of quantising the values of h
// with step s.
func meanSquaredError(h *Histogram, s float64) float64 {
	w := h.Width()
	var sum, total float64
	low := 0.0
	for i, c := range h.Counts {
		high := squaredError(float64(i+1)*w, s)
		if c > 0 {
			sum += float64(c) * (high - low)
			total += float64(c)
		}
		low = high
	}
	return sum / w / total
}

// mseSteps and mseDepth are the grid of the MSE search: mseSteps clip values per
// octave over mseDepth octaves below the largest magnitude.
const (
	mseSteps = 16
	mseDepth = 10
)

func mseClip(h *Histogram, absmax float64) float64 {
	best, at := math.Inf(1), absmax
	for i := range mseSteps*mseDepth + 1 {
		t := absmax * math.Exp2(-float64(i)/mseSteps)
		if e := meanSquaredError(h, t/QMax); e < best {
			best, at = e, t
		}
	}
	return at
}

// entropyLevels is the number of magnitudes an INT8 value can have.
const entropyLevels = 128

// entropyClip compares, for every clip value, the distribution of clipped values
// (the tail gathered in the last bin) with the same bins averaged into 128
// levels, and takes the smallest divergence. Bins that are empty in the first
// stay empty in the second. The first bin, where exact zeros from ReLU pile up,
// counts as much as the second, since zero costs no error.
func entropyClip(h *Histogram) float64 {
	used := h.used()
	counts := make([]float64, used)
	for i := range counts {
		counts[i] = float64(h.Counts[i])
	}
	if used > 1 {
		counts[0] = counts[1]
	}
	var total float64
	for _, c := range counts {
		total += c
	}
	if used <= entropyLevels || total == 0 {
		return float64(used) * h.Width()
	}
	best, at := math.Inf(1), used
	var inside float64 // of counts[:n]
	for _, c := range counts[:entropyLevels-1] {
		inside += c
	}
	for n := entropyLevels; n <= used; n++ {
		inside += counts[n-1]
		if inside == 0 {
			continue
		}
		if d := divergence(counts[:n], total-inside); d < best {
			best, at = d, n
		}
	}
	return float64(at) * h.Width()
}

// divergence is KL(P||Q) for P = bins with tail added to the last one and Q =
// bins averaged over entropyLevels equal stretches, empty bins left out.
func divergence(bins []float64, tail float64) float64 {
	n := len(bins)
	var inside float64
	for _, c := range bins {
		inside += c
	}
	total := inside + tail
	var d float64
	for level := range entropyLevels {
		// Bin i belongs to level i*128/n.
		from := (level*n + entropyLevels - 1) / entropyLevels
		to := min(n, ((level+1)*n+entropyLevels-1)/entropyLevels)
		var sum, filled float64
		for _, c := range bins[from:to] {
			if sum += c; c > 0 {
				filled++
			}
		}
		for i := from; i < to; i++ {
			p := bins[i]
			if i == n-1 {
				p += tail
			}
			if p == 0 {
				continue
			}
			// The last bin may hold nothing but the tail, which the levels have
			// no room for: a very small share stands for none.
			q := 1e-9
			if bins[i] > 0 {
				q = sum / filled / inside
			}
			d += p / total * math.Log(p/total/q)
		}
	}
	return d
}

// emdClip sweeps the clip value as PaddleSlim's EMD observer does.
func emdClip(h *Histogram, absmax float64) float64 {
	mean, deviation := moments(h, func(x float64) (float64, float64) { return x * x / 2, x * x * x / 3 })
	best, at := math.Inf(1), absmax
	for k := 0; k <= 35; k++ {
		t := absmax * (0.3 + 0.02*float64(k))
		qmean, qdeviation := moments(h, func(x float64) (float64, float64) { return quantisedIntegrals(x, t/QMax) })
		if e := math.Abs(qmean-mean) + math.Abs(qdeviation-deviation); e < best {
			best, at = e, t
		}
	}
	return at
}

// moments gives mean and standard deviation of a function f of the values, given
// the integrals of f and f squared from 0 to x. The first bin is taken as zeros,
// which is what ReLU fills it with; EMD's steps are wider than it is in any case.
func moments(h *Histogram, integrals func(x float64) (first, second float64)) (mean, deviation float64) {
	w := h.Width()
	total := float64(h.Total()) * w
	var first, second float64
	for i, c := range h.Counts {
		if i == 0 || c == 0 {
			continue
		}
		a1, a2 := integrals(float64(i) * w)
		b1, b2 := integrals(float64(i+1) * w)
		first += float64(c) * (b1 - a1)
		second += float64(c) * (b2 - a2)
	}
	mean = first / total
	return mean, math.Sqrt(math.Max(0, second/total-mean*mean))
}

// quantisedIntegrals integrates the quantised value and its square from 0 to x
// for step s: below x lie the full steps of levels 0 to n-1 and part of level n.
func quantisedIntegrals(x, s float64) (first, second float64) {
	n := math.Min(math.Floor(x/s+0.5), QMax)
	rest := x - (n-0.5)*s
	return s*s*n*(n-1)/2 + n*s*rest, s*s*s*(n-1)*n*(2*n-1)/6 + n*n*s*s*rest
}
