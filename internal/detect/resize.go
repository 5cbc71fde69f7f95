// Resizing of 8-bit RGB images, as separable filters in fixed-point arithmetic.
//
// Detectors are trained behind OpenCV's resize, and their accuracy moves with
// it, so "linear" and "cubic" sample where OpenCV samples: output pixel i looks
// at source position (i+0.5)*scale-0.5, without widening the filter when
// shrinking, and the border repeats. The antialiased kinds widen the filter by
// the scale instead, as Pillow does. Coefficients are computed once per size,
// with 16 fractional bits; sums are rounded once, at the end, so results stay
// within one level of OpenCV, which rounds more often.
package detect

import (
	"fmt"
	"math"
)

const (
	coefBits = 16
	coefOne  = 1 << coefBits
)

// filter holds, for every output position along one axis, a window of source
// positions and their weights. All windows lie inside the source.
type filter struct {
	taps  int
	first []int   // start of the window of each output position
	coef  []int32 // taps weights an output position, summing to coefOne
}

// newFilter computes the windows for resizing an axis from src to dst samples.
func newFilter(interpolation string, src, dst int) (filter, error) {
	scale := float64(src) / float64(dst)
	widen := math.Max(scale, 1)
	antialias := interpolation == LinearAntialias || interpolation == CubicAntialias
	var radius float64
	var weight func(distance float64) float64
	switch interpolation {
	case Linear:
		radius, weight = 1, triangle
	case Cubic:
		radius, weight = 2, func(d float64) float64 { return cubic(d, -0.75) }
	case LinearAntialias:
		radius, weight = widen, func(d float64) float64 { return triangle(d / widen) }
	case CubicAntialias:
		radius, weight = 2*widen, func(d float64) float64 { return cubic(d/widen, -0.5) }
	default:
		return filter{}, fmt.Errorf("interpolation %q: want %s, %s, %s or %s", interpolation, Linear, Cubic, LinearAntialias, CubicAntialias)
	}
	if src == dst {
		radius = 0.5 // every sample stays as it is, whatever the filter
	}
	f := filter{taps: min(int(math.Ceil(2*radius)), src), first: make([]int, dst)}
	f.coef = make([]int32, dst*f.taps)
	window := make([]float64, f.taps)
	for i := range f.first {
		centre := (float64(i)+0.5)*scale - 0.5
		low := int(math.Floor(centre-radius)) + 1
		start := min(max(low, 0), src-f.taps)
		clear(window)
		sum := 0.0
		for x := low; float64(x) <= centre+radius; x++ {
			w := weight(float64(x) - centre)
			if antialias && (x < 0 || x >= src) {
				continue // Pillow leaves out what lies outside and rescales the rest
			}
			at := min(max(x, 0), src-1) - start
			if w != 0 && at < f.taps {
				window[at] += w
				sum += w
			}
		}
		f.first[i] = start
		quantiseWindow(window, sum, f.coef[i*f.taps:(i+1)*f.taps])
	}
	return f, nil
}

// quantiseWindow turns weights into fixed point; the rounding error goes to the
// largest one, so that a flat image stays flat.
func quantiseWindow(window []float64, sum float64, coef []int32) {
	rest, largest := int32(coefOne), 0
	for t, w := range window {
		coef[t] = int32(math.Round(w / sum * coefOne))
		rest -= coef[t]
		if coef[t] > coef[largest] {
			largest = t
		}
	}
	coef[largest] += rest
}

func triangle(d float64) float64 { return max(0, 1-math.Abs(d)) }

// cubic is the convolution kernel of R. Keys (1981); OpenCV takes a = -0.75,
// Pillow a = -0.5.
func cubic(d, a float64) float64 {
	d = math.Abs(d)
	switch {
	case d <= 1:
		return ((a+2)*d-(a+3))*d*d + 1
	case d < 2:
		return ((a*d-5*a)*d+8*a)*d - 4*a
	}
	return 0
}

// resizeRows scales an image to w x h and hands over its rows from the top.
// Only as many horizontally scaled source rows are kept as the vertical filter
// is long.
func resizeRows(p Pixels, w, h int, interpolation string, emit func(y int, row []uint8)) error {
	if err := p.check(); err != nil {
		return err
	}
	horizontal, err := newFilter(interpolation, p.W, w)
	if err != nil {
		return err
	}
	vertical, err := newFilter(interpolation, p.H, h)
	if err != nil {
		return err
	}
	if p.W == w && p.H == h {
		for y := range h {
			emit(y, p.RGB[3*w*y:3*w*(y+1)])
		}
		return nil
	}
	ring := make([][]int32, vertical.taps)
	for i := range ring {
		ring[i] = make([]int32, 3*w)
	}
	rows := make([][]int32, vertical.taps)
	out := make([]uint8, 3*w)
	ready := 0 // source rows below this one have been scaled
	for y := range h {
		first := vertical.first[y]
		for ready = max(ready, first); ready < first+vertical.taps; ready++ {
			horizontal.apply(p.RGB[3*p.W*ready:3*p.W*(ready+1)], ring[ready%vertical.taps])
		}
		for t := range rows {
			rows[t] = ring[(first+t)%vertical.taps]
		}
		combineRows(rows, vertical.coef[y*vertical.taps:(y+1)*vertical.taps], out)
		emit(y, out)
	}
	return nil
}

// apply filters one row of RGB samples; results carry coefBits fractional bits.
func (f *filter) apply(src []uint8, dst []int32) {
	switch f.taps {
	case 1:
		for i, first := range f.first {
			s, d := src[3*first:3*first+3], dst[3*i:3*i+3]
			d[0], d[1], d[2] = int32(s[0])<<coefBits, int32(s[1])<<coefBits, int32(s[2])<<coefBits
		}
	case 2:
		for i, first := range f.first {
			s, d := src[3*first:3*first+6], dst[3*i:3*i+3]
			a, b := f.coef[2*i], f.coef[2*i+1]
			d[0] = int32(s[0])*a + int32(s[3])*b
			d[1] = int32(s[1])*a + int32(s[4])*b
			d[2] = int32(s[2])*a + int32(s[5])*b
		}
	case 4:
		for i, first := range f.first {
			s, k, t := src[3*first:3*first+12], f.coef[4*i:4*i+4], dst[3*i:3*i+3]
			t[0] = int32(s[0])*k[0] + int32(s[3])*k[1] + int32(s[6])*k[2] + int32(s[9])*k[3]
			t[1] = int32(s[1])*k[0] + int32(s[4])*k[1] + int32(s[7])*k[2] + int32(s[10])*k[3]
			t[2] = int32(s[2])*k[0] + int32(s[5])*k[1] + int32(s[8])*k[2] + int32(s[11])*k[3]
		}
	default:
		for i, first := range f.first {
			s := src[3*first : 3*(first+f.taps)]
			var r, g, b int32
			for t, c := range f.coef[i*f.taps : (i+1)*f.taps] {
				r += int32(s[3*t]) * c
				g += int32(s[3*t+1]) * c
				b += int32(s[3*t+2]) * c
			}
			d := dst[3*i : 3*i+3]
			d[0], d[1], d[2] = r, g, b
		}
	}
}

// combineRows is the vertical filter over rows made by apply, rounded and
// clamped to 0..255.
func combineRows(rows [][]int32, coef []int32, out []uint8) {
	const half = 1 << (2*coefBits - 1)
	switch len(rows) {
	case 1:
		for i, v := range rows[0][:len(out)] {
			out[i] = clampByte((v + coefOne/2) >> coefBits)
		}
	case 2:
		r0, r1 := rows[0][:len(out)], rows[1][:len(out)]
		a, b := int64(coef[0]), int64(coef[1])
		for i := range out {
			out[i] = clampByte(int32((int64(r0[i])*a + int64(r1[i])*b + half) >> (2 * coefBits)))
		}
	case 4:
		r0, r1, r2, r3 := rows[0][:len(out)], rows[1][:len(out)], rows[2][:len(out)], rows[3][:len(out)]
		a, b, c, d := int64(coef[0]), int64(coef[1]), int64(coef[2]), int64(coef[3])
		for i := range out {
			sum := int64(r0[i])*a + int64(r1[i])*b + int64(r2[i])*c + int64(r3[i])*d
			out[i] = clampByte(int32((sum + half) >> (2 * coefBits)))
		}
	default:
		for i := range out {
			sum := int64(half)
			for t, row := range rows {
				sum += int64(row[i]) * int64(coef[t])
			}
			out[i] = clampByte(int32(sum >> (2 * coefBits)))
		}
	}
}

func clampByte(v int32) uint8 { return uint8(min(max(v, 0), 255)) }
