// The kinds of charts: bars with names, lines, histograms and boxes.

package page

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const chartWidth = 560 // points

// Bar is one bar of Bars.
type Bar struct {
	Name  string
	Value float64
	// Marked bars have the other colour.
	Marked bool
}

// Bars draws horizontal bars, the first on top.
func Bars(title, axis string, bars []Bar) Chart {
	const barHeight = 17
	return Chart{Title: title, width: chartWidth, height: vg.Points(70 + barHeight*float64(len(bars))), plot: func(t theme) (*plot.Plot, error) {
		p := newPlot(t, title)
		p.X.Label.Text = clean(axis)
		p.X.Min = 0
		p.X.Tick.Marker = plot.TickerFunc(fewTicks)
		grid := plotter.NewGrid()
		grid.Vertical = line(t.line, 0.6)
		grid.Horizontal.Width = 0
		p.Add(grid)
		names := make([]string, len(bars))
		values := map[bool]plotter.Values{false: make(plotter.Values, len(bars)), true: make(plotter.Values, len(bars))}
		for i, b := range bars {
			at := len(bars) - 1 - i
			names[at] = shorten(b.Name, 38)
			values[b.Marked][at] = b.Value
		}
		for _, marked := range []bool{false, true} {
			if len(bars) == 0 {
				break
			}
			c, err := plotter.NewBarChart(values[marked], vg.Points(0.62*barHeight))
			if err != nil {
				return nil, err
			}
			c.Horizontal = true
			c.LineStyle.Width = 0
			c.Color = t.float
			if marked {
				c.Color = t.int8
			}
			p.Add(c)
		}
		if len(names) > 0 {
			p.NominalY(names...)
		}
		p.Y.Tick.Label.Color = t.ink
		p.Y.Min, p.Y.Max = -0.6, float64(len(bars))-0.4
		if p.X.Max <= 0 {
			p.X.Max = 1
		}
		return p, nil
	}}
}

// Curve is one line of Lines.
type Curve struct {
	Name string
	X, Y []float64
	Kind Kind
	// Points marks every value; Dashed draws a broken line.
	Points, Dashed bool
}

// Kind is what a curve is of, which gives its colour.
type Kind int

// The kinds.
const (
	Float Kind = iota
	INT8
	Other
)

// LineOptions are about the axes.
type LineOptions struct {
	XLabel, YLabel string
	// Log makes the scale of Y logarithmic; values must be above 0.
	Log bool
	// FromZero starts Y at 0.
	FromZero bool
	// Rising says that the curves end at the top, so their names stand at the bottom.
	Rising bool
}

// Lines draws curves over one another, with their names where there are several.
func Lines(title string, o LineOptions, curves ...Curve) Chart {
	return Chart{Title: title, width: chartWidth, height: 270, plot: func(t theme) (*plot.Plot, error) {
		p := newPlot(t, title)
		p.X.Label.Text, p.Y.Label.Text = clean(o.XLabel), clean(o.YLabel)
		grid := plotter.NewGrid()
		grid.Horizontal = line(t.line, 0.6)
		grid.Vertical.Width = 0
		p.Add(grid)
		for _, c := range curves {
			points := make(plotter.XYs, 0, len(c.X))
			for i := range c.X {
				if y := c.Y[i]; !math.IsNaN(y) && !math.IsInf(y, 0) && (!o.Log || y > 0) {
					points = append(points, plotter.XY{X: c.X[i], Y: y})
				}
			}
			if len(points) == 0 {
				continue
			}
			shade := t.float
			switch c.Kind {
			case INT8:
				shade = t.int8
			case Other:
				shade = t.other
			}
			l, s, err := plotter.NewLinePoints(points)
			if err != nil {
				return nil, err
			}
			l.LineStyle = line(shade, 1.6)
			if c.Dashed {
				l.LineStyle.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
			}
			s.GlyphStyle.Color = shade
			s.GlyphStyle.Radius = vg.Points(2.2)
			s.GlyphStyle.Shape = draw.CircleGlyph{}
			p.Add(l)
			if c.Points || len(points) == 1 {
				p.Add(s)
			}
			if c.Name != "" && len(curves) > 1 {
				p.Legend.Add(clean(c.Name), l)
			}
		}
		if o.FromZero {
			p.Y.Min = 0
		}
		if o.Log && p.Y.Min > 0 {
			p.Y.Scale = plot.LogScale{}
			p.Y.Tick.Marker = plot.TickerFunc(logTicks)
			if p.Y.Max < 2*p.Y.Min {
				p.Y.Max = 2 * p.Y.Min
			}
		} else {
			p.Y.Tick.Marker = plot.TickerFunc(fewTicks)
		}
		p.X.Tick.Marker = plot.TickerFunc(fewTicks)
		if p.X.Max <= p.X.Min {
			p.X.Max = p.X.Min + 1
		}
		p.Legend.Top = !o.Rising
		// Room for the names above the lines.
		if n := len(curves); n > 1 && !o.Log && !o.Rising {
			p.Y.Max += 0.09 * float64(n) * (p.Y.Max - p.Y.Min)
		}
		return p, nil
	}}
}

// Histogram draws counts in equal bins over [low, high] of the float values as an area
// and of the quantised ones as a line, on a logarithmic scale.
func Histogram(title string, low, high float64, float, int8 []int) Chart {
	return Chart{Title: title, Small: true, width: 330, height: 205, plot: func(t theme) (*plot.Plot, error) {
		p := newPlot(t, title)
		p.Y.Label.Text = "values"
		if high <= low {
			high = low + 1
		}
		area, err := plotter.NewPolygon(steps(low, high, float))
		if err != nil {
			return nil, err
		}
		area.Color = t.floatFill
		area.LineStyle = line(t.float, 0.7)
		outline, err := plotter.NewLine(steps(low, high, int8))
		if err != nil {
			return nil, err
		}
		outline.LineStyle = line(t.int8, 1)
		p.Add(area, outline)
		p.Legend.Add("float", area)
		p.Legend.Add("INT8", outline)
		p.X.Min, p.X.Max, p.Y.Min = low, high, 0
		most := slices.Max(slices.Concat([]int{1}, float, int8))
		p.Y.Max = 1.25 * height(most)
		var ticks []plot.Tick
		for v := 1; v <= most; v *= 10 {
			ticks = append(ticks, plot.Tick{Value: height(v), Label: countLabel(v)})
		}
		p.Y.Tick.Marker = plot.ConstantTicks(ticks)
		p.X.Tick.Marker = plot.TickerFunc(fewTicks)
		return p, nil
	}}
}

// height is where a count stands: an empty bin at 0, a single value clearly above.
func height(count int) float64 { return math.Log10(1 + float64(count)) }

// steps is the outline of a histogram, down to 0 at both ends.
func steps(low, high float64, counts []int) plotter.XYs {
	width := (high - low) / float64(max(1, len(counts)))
	points := plotter.XYs{{X: low, Y: 0}}
	for i, c := range counts {
		left := low + float64(i)*width
		points = append(points, plotter.XY{X: left, Y: height(c)}, plotter.XY{X: left + width, Y: height(c)})
	}
	return append(points, plotter.XY{X: high, Y: 0})
}

// Box is a box plot: whiskers, quartiles and extremes.
type Box struct {
	Name                              string
	Min, Lower, Q1, Median, Q3, Upper float64
	Max                               float64
}

// Boxes draws horizontal box plots, the first on top, with dots for the extremes. All
// share one axis, so values of different size are best divided by something first.
func Boxes(title, axis string, boxes []Box) Chart {
	const boxHeight = 19
	return Chart{Title: title, width: chartWidth, height: vg.Points(70 + boxHeight*float64(len(boxes))), plot: func(t theme) (*plot.Plot, error) {
		p := newPlot(t, title)
		p.X.Label.Text = clean(axis)
		grid := plotter.NewGrid()
		grid.Vertical = line(t.line, 0.6)
		grid.Horizontal.Width = 0
		p.Add(grid)
		names := make([]string, len(boxes))
		for i, b := range boxes {
			at := len(boxes) - 1 - i
			names[at] = shorten(b.Name, 38)
			box, err := plotter.NewBoxPlot(vg.Points(0.55*boxHeight), float64(at), plotter.Values{b.Min, b.Q1, b.Median, b.Q3, b.Max})
			if err != nil {
				return nil, err
			}
			box.Horizontal = true
			box.Quartile1, box.Median, box.Quartile3 = b.Q1, b.Median, b.Q3
			box.AdjLow, box.AdjHigh, box.Min, box.Max = b.Lower, b.Upper, b.Min, b.Max
			box.Outside = nil
			for k, v := range []float64{b.Min, b.Q1, b.Median, b.Q3, b.Max} {
				if v < b.Lower || v > b.Upper {
					box.Outside = append(box.Outside, k)
				}
			}
			box.FillColor = t.floatFill
			box.BoxStyle = line(t.float, 0.9)
			box.MedianStyle = line(t.float, 1.6)
			box.WhiskerStyle = line(t.float, 0.9)
			box.GlyphStyle.Color = t.int8
			box.GlyphStyle.Radius = vg.Points(2.4)
			box.GlyphStyle.Shape = draw.CircleGlyph{}
			p.Add(box)
		}
		if len(names) > 0 {
			p.NominalY(names...)
		}
		p.Y.Tick.Label.Color = t.ink
		p.Y.Min, p.Y.Max = -0.7, float64(len(boxes))-0.3
		if len(boxes) > 0 { // with room for the dots at both ends
			p.X.Min, p.X.Max = boxes[0].Min, boxes[0].Max
			for _, b := range boxes {
				p.X.Min, p.X.Max = min(p.X.Min, b.Min), max(p.X.Max, b.Max)
			}
			room := 0.03 * (p.X.Max - p.X.Min)
			p.X.Min, p.X.Max = p.X.Min-room, p.X.Max+room
		}
		p.X.Tick.Marker = plot.TickerFunc(fewTicks)
		return p, nil
	}}
}

// shorten keeps the end of a name, which tells layers apart.
func shorten(name string, most int) string {
	r := []rune(clean(name))
	if len(r) <= most {
		return string(r)
	}
	return "..." + string(r[len(r)-most+3:])
}

// fewTicks are about five marks at round values, all with labels.
func fewTicks(low, high float64) []plot.Tick {
	step := roundStep((high - low) / 4.5)
	if !(step > 0) || math.IsInf(step, 0) {
		return nil
	}
	digits := max(0, -int(math.Floor(math.Log10(step))))
	var ticks []plot.Tick
	for i := math.Ceil(low/step - 1e-9); i*step <= high+step*1e-9 && len(ticks) < 20; i++ {
		v := i * step
		if math.Abs(v) < step*1e-9 {
			v = 0
		}
		label := strconv.FormatFloat(v, 'f', digits, 64)
		if digits > 4 || math.Abs(v) >= 1e6 {
			label = strconv.FormatFloat(v, 'g', 3, 64)
		}
		ticks = append(ticks, plot.Tick{Value: v, Label: label})
	}
	return ticks
}

// roundStep is 1, 2 or 5 times a power of ten, the one nearest to step by ratio.
func roundStep(step float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(step)))
	best := power
	for _, m := range []float64{2, 5, 10} {
		if math.Abs(math.Log(m*power/step)) < math.Abs(math.Log(best/step)) {
			best = m * power
		}
	}
	return best
}

// logTicks are powers of ten, and 2 and 5 times them where there are few.
func logTicks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	decades := math.Log10(high / low)
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		for _, m := range []float64{1, 2, 5} {
			v := m * math.Pow(10, e)
			if v < low*(1-1e-9) || v > high*(1+1e-9) || m > 1 && decades > 2 {
				continue
			}
			ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', 3, 64)})
		}
	}
	return ticks
}

// countLabel is 1, 10, 100, 1k, 10k, ...
func countLabel(v int) string {
	switch {
	case v >= 1_000_000:
		return fmt.Sprintf("%dM", v/1_000_000)
	case v >= 1000:
		return fmt.Sprintf("%dk", v/1000)
	}
	return strconv.Itoa(v)
}
