// The two pictures of the HTML page, as SVG: how the times are distributed, and
// how they went from round to round.

package bench

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"

	"trtact/internal/stats"
)

type plot struct {
	Title  string
	Legend []key
	SVG    template.HTML
}

// key names a curve; Color is an index of the page's colours.
type key struct {
	Name  string
	Color int
}

// colors is how many curves the page can tell apart; more begin again.
const colors = 8

type point struct{ x, y float64 }

// plots draws the time that models are compared by.
func (r *Report) plots() []plot {
	what := "Latency"
	if r.Models[0].Compute != nil {
		what = "Time on the GPU"
	}
	var legend []key
	var shares, rounds [][]point
	for i := range r.Models {
		m := &r.Models[i]
		legend = append(legend, key{m.Title, i % colors})
		byRound := m.run.rounds(m.mainOf)
		sorted := slices.Sorted(slices.Values(slices.Concat(byRound...)))
		var share, medians []point
		for p := 0.0; p <= 100 && len(sorted) > 0; p += 0.5 {
			share = append(share, point{stats.Percentile(sorted, p), p})
		}
		for k, times := range byRound {
			if len(times) > 0 {
				medians = append(medians, point{float64(k + 1), stats.Percentile(slices.Sorted(slices.Values(times)), 50)})
			}
		}
		shares, rounds = append(shares, share), append(rounds, medians)
	}
	return []plot{
		{what + ": share of the runs that took no longer", legend, draw("ms", "%", shares, false)},
		{what + ": median of each round", legend, draw("round", "ms", rounds, true)},
	}
}

// Size of a drawing and its margins, in its own units.
const (
	drawWidth, drawHeight        = 640.0, 280.0
	left, right, top, bottom     = 56.0, 16.0, 12.0, 40.0
	plotWidth, plotHeight        = drawWidth - left - right, drawHeight - top - bottom
	ticksAcross, ticksUp, margin = 8, 5, 0.03
)

// draw is a picture of the curves; fromZero starts the upward axis at zero, so
// that the eye sees the size of a change.
func draw(xName, yName string, curves [][]point, fromZero bool) template.HTML {
	x0, x1, y0, y1 := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, c := range curves {
		for _, p := range c {
			x0, x1, y0, y1 = min(x0, p.x), max(x1, p.x), min(y0, p.y), max(y1, p.y)
		}
	}
	if x0 > x1 {
		return ""
	}
	if fromZero {
		y0, y1 = 0, y1*(1+margin)
	}
	x0, x1 = widen(x0, x1)
	y0, y1 = widen(y0, y1)
	atX := func(v float64) float64 { return left + (v-x0)/(x1-x0)*plotWidth }
	atY := func(v float64) float64 { return top + plotHeight - (v-y0)/(y1-y0)*plotHeight }

	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img">`, drawWidth, drawHeight)
	for _, v := range ticks(x0, x1, ticksAcross) {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" y1="%g" x2="%.1f" y2="%g"/><text x="%.1f" y="%g" text-anchor="middle">%g</text>`,
			atX(v), top, atX(v), top+plotHeight, atX(v), top+plotHeight+16, v)
	}
	for _, v := range ticks(y0, y1, ticksUp) {
		fmt.Fprintf(&b, `<line class="grid" x1="%g" y1="%.1f" x2="%g" y2="%.1f"/><text x="%g" y="%.1f" text-anchor="end">%g</text>`,
			left, atY(v), left+plotWidth, atY(v), left-6, atY(v)+4, v)
	}
	fmt.Fprintf(&b, `<text x="%g" y="%g" text-anchor="middle">%s</text>`, left+plotWidth/2, drawHeight-6, xName)
	fmt.Fprintf(&b, `<text x="14" y="%g" text-anchor="middle" transform="rotate(-90 14 %g)">%s</text>`, top+plotHeight/2, top+plotHeight/2, yName)
	for i, c := range curves {
		var points []string
		for _, p := range c {
			points = append(points, fmt.Sprintf("%.1f,%.1f", atX(p.x), atY(p.y)))
		}
		fmt.Fprintf(&b, `<polyline class="c%d" points="%s"/>`, i%colors, strings.Join(points, " "))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) // numbers and the names above, nothing from outside
}

// widen makes room around values that are all the same.
func widen(low, high float64) (float64, float64) {
	if high > low {
		return low, high
	}
	return low - max(math.Abs(low)*margin, 1e-3), high + max(math.Abs(high)*margin, 1e-3)
}

// ticks are round numbers from low to high, about n.
func ticks(low, high float64, n int) []float64 {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/float64(n))))
	for _, f := range []float64{1, 2, 5, 10} {
		if (high-low)/(step*f) <= float64(n) {
			step *= f
			break
		}
	}
	var list []float64
	for k := math.Ceil(low / step); k*step <= high+step*1e-9; k++ {
		digits := math.Pow(10, math.Round(6-math.Log10(step)))
		list = append(list, math.Round(k*step*digits)/digits)
	}
	return list
}
