// A histogram of magnitudes whose range is always a power of two. Doubling the
// range merges neighbouring bins, which is exact in integers, so histograms of
// single images add up to the same counts in whatever order and on however many
// threads they were made, without a first pass to find the range.
package calib

import (
	"fmt"
	"math"
)

// Bins is the number of bins of a histogram. Between half of them and all are
// in use, whatever the values.
const Bins = 2048

// maxMagnitude is the largest magnitude that is calibrated: above, a network has
// blown up, and a range of twice the size is no float32 any more.
const maxMagnitude = float32(0x1p126)

// Histogram counts |x| in Bins equal bins over [0, Upper].
type Histogram struct {
	// Upper is a power of two not below the largest value, 0 when all values
	// were zero; then all counts are in the first bin.
	Upper  float32 `json:"upper"`
	Counts []int64 `json:"counts"`
}

// Width is the width of one bin.
func (h *Histogram) Width() float64 { return float64(h.Upper) / Bins }

// Total is the number of values.
func (h *Histogram) Total() int64 {
	var n int64
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Merge adds the counts of o to h. o is left as it is.
func (h *Histogram) Merge(o *Histogram) {
	if len(h.Counts) == 0 {
		h.Counts = make([]int64, Bins)
	}
	if len(o.Counts) == 0 {
		return
	}
	if h.Upper == 0 {
		h.Upper = o.Upper // the zeros stay in the first bin
	}
	for h.Upper < o.Upper {
		for i := range Bins / 2 {
			h.Counts[i] = h.Counts[2*i] + h.Counts[2*i+1]
		}
		clear(h.Counts[Bins/2:])
		h.Upper *= 2
	}
	shift := 0
	if o.Upper > 0 {
		for u := o.Upper; u < h.Upper && shift < 30; u *= 2 {
			shift++
		}
	}
	for i, c := range o.Counts {
		h.Counts[i>>shift] += c
	}
}

// Percentile is the magnitude that p percent of the values do not exceed,
// interpolated inside its bin. p is in 0..100.
func (h *Histogram) Percentile(p float64) float64 {
	total := h.Total()
	if total == 0 || h.Upper == 0 {
		return 0
	}
	want := float64(total) * p / 100
	var below int64
	for i, c := range h.Counts {
		if c > 0 && float64(below+c) >= want {
			inside := math.Max(0, (want-float64(below))/float64(c))
			return (float64(i) + inside) * h.Width()
		}
		below += c
	}
	return float64(h.Upper)
}

// Above is the share of values beyond t, in 0..1.
func (h *Histogram) Above(t float64) float64 {
	total := h.Total()
	if total == 0 || h.Upper == 0 {
		return 0
	}
	w := h.Width()
	var sum float64
	for i, c := range h.Counts {
		lo := float64(i) * w
		switch {
		case lo >= t:
			sum += float64(c)
		case lo+w > t:
			sum += float64(c) * (lo + w - t) / w
		}
	}
	return sum / float64(total)
}

// used is the number of bins up to the last that is not empty.
func (h *Histogram) used() int {
	n := len(h.Counts)
	for n > 0 && h.Counts[n-1] == 0 {
		n--
	}
	return n
}

// histogramRange is the power of two at or above a largest magnitude, 0 for 0.
// Subnormal magnitudes count as zero.
func histogramRange(absmax float32) (float32, error) {
	switch {
	case math.IsNaN(float64(absmax)) || math.IsInf(float64(absmax), 0):
		return 0, fmt.Errorf("its values are not finite (largest magnitude %v)", absmax)
	case absmax > maxMagnitude:
		return 0, fmt.Errorf("its largest magnitude is %v; the network's output has blown up", absmax)
	case absmax < MinScale:
		return 0, nil
	}
	frac, exp := math.Frexp(float64(absmax)) // absmax = frac * 2^exp, frac in [0.5, 1)
	if frac == 0.5 {
		exp--
	}
	return float32(math.Ldexp(1, exp)), nil
}
