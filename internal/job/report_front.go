// What the report says of the front of error against latency.

package job

import (
	"fmt"
	"strings"

	"trtact/internal/page"
)

// named is how many layers of a point the table has by name.
const named = 6

func (f *Front) text() string {
	if f == nil {
		return ""
	}
	return "The forms between all INT8 and all float, in the order in which leaving a layer float takes most error away for the time it costs. Latency: " + f.label() +
		"; layers with weights only. The error is what independent errors of the layers add up to."
}

func (f *Front) blocks() []page.Block {
	if f == nil || len(f.Points) == 0 {
		return nil
	}
	curve := page.Curve{Kind: page.INT8, Points: true}
	t := &page.Table{Columns: []page.Column{{Title: "layers in FP16", Right: true}, {Title: "error at the heads", Right: true}, {Title: "latency, ms", Right: true}, {Title: "and these", Wide: true}}}
	worst := f.Points[0].Error
	for _, p := range f.Points {
		curve.X, curve.Y = append(curve.X, p.Latency), append(curve.Y, 100*p.Error)
		bar := 0.0
		if worst > 0 {
			bar = p.Error / worst
		}
		t.Rows = append(t.Rows, []page.Cell{{Text: fmt.Sprint(p.Float)}, {Text: percent(p.Error), Bar: bar}, {Text: p.Milliseconds()}, {Text: p.Names(named)}})
	}
	what := "latency, ms (estimate for " + f.GPU + ")"
	if f.Measured {
		what = "latency, ms (measured)"
	}
	blocks := []page.Block{{Charts: []page.Chart{page.Lines("Error against latency", page.LineOptions{XLabel: what, YLabel: "error at the heads, %"}, curve)}}, {Table: t}}
	if slow := f.Slow(); len(slow) > 0 {
		blocks = append(blocks, page.Block{Facts: []page.Fact{{Name: "INT8 gains nothing in", Value: strings.Join(slow, ", ")}}})
	}
	return blocks
}

// Milliseconds is the latency as people read it: layers of small networks take little.
func (p FrontPoint) Milliseconds() string {
	if p.Latency < 0.1 {
		return fmt.Sprintf("%.4f", p.Latency)
	}
	return fmt.Sprintf("%.3f", p.Latency)
}

// Names are the layers that a point adds, so many of them by name.
func (p FrontPoint) Names(most int) string {
	if len(p.Added) <= most {
		return strings.Join(p.Added, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(p.Added[:most], ", "), len(p.Added)-most)
}

// Slow are the quantised layers that are no faster in INT8.
func (f *Front) Slow() []string {
	var list []string
	for _, l := range f.Layers {
		if l.Slow && l.Error > 0 {
			list = append(list, l.Node)
		}
	}
	return list
}

// Label says what the latencies are: measured, or an estimate and of what kind.
func (f *Front) Label() string { return f.label() }
