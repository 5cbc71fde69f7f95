// What the report says of the ladder: the steps that were tried, and what the search and
// the choice of rounding found on the way.

package job

import (
	"fmt"
	"strings"

	"trtact/internal/page"
	"trtact/internal/report"
)

// ladder lists the steps that were tried, with what each lost and took.
func (r buildReport) ladder() []page.Block {
	if len(r.Ladder) < 2 { // one step is in the summary already
		return nil
	}
	t := &page.Table{Columns: []page.Column{{Title: "step"}, {Title: "found", Wide: true}, {Title: "lost", Right: true}, {Title: "allowed", Right: true},
		{Title: "layers float", Right: true}, {Title: "time", Right: true}, {Title: "expected", Right: true}, {Title: ""}}}
	expected := ""
	for _, rung := range r.Ladder {
		lost := page.Cell{Text: fmt.Sprintf("%.3g", rung.Lost), Tone: page.Bad}
		if rung.Enough {
			lost.Tone = page.Good
		}
		float, kept := page.Cell{}, ""
		if n := len(rung.Float); n > 0 {
			float.Text = fmt.Sprint(n)
		}
		if rung.Kept {
			kept = "kept"
		}
		t.Rows = append(t.Rows, []page.Cell{{Text: rung.Name, Note: strings.Join(rung.Float, ", ")}, {Text: rung.Found}, lost,
			{Text: fmt.Sprintf("%.3g", rung.Limit)}, float, {Text: duration(rung.Seconds)}, {Text: expected}, {Text: kept}})
		expected = ""
		if rung.Next != nil {
			expected = duration(rung.Next.Seconds)
		}
	}
	return append([]page.Block{{Table: t}}, append(r.searched(), r.rounded()...)...)
}

// searched lists the finalists of the search.
func (r buildReport) searched() []page.Block {
	s := r.Search
	if s == nil {
		return nil
	}
	t := &page.Table{Caption: fmt.Sprintf("Search: %d settings, by successive halving; the finalists.", s.Settings),
		Columns: []page.Column{{Title: "setting", Wide: true}, {Title: "error", Right: true}, {Title: "measured", Right: true}, {Title: ""}}}
	for _, f := range s.Finalists {
		measured, kept := "", ""
		if f.Metric != nil {
			measured = fmt.Sprintf("%.5g", *f.Metric)
			if r.Accuracy.Command == nil {
				measured = fmt.Sprintf("%.2f", 100**f.Metric)
			}
		}
		if f.Setting == s.Chosen {
			kept = "chosen"
		}
		t.Rows = append(t.Rows, page.Texts(f.Setting.String(), fmt.Sprintf("%.4f", f.Score), measured, kept))
	}
	return []page.Block{{Table: t}}
}

// rounded sums up the choices of rounding.
func (r buildReport) rounded() []page.Block {
	if len(r.Rounding) == 0 {
		return nil
	}
	t := &page.Table{Caption: "Rounding of weights, chosen to keep what each block gives; errors are the mean over blocks, on pictures that the choice was not made with.",
		Columns: []page.Column{{Title: "blocks"}, {Title: "better for", Right: true}, {Title: "error, to nearest", Right: true}, {Title: "chosen", Right: true}, {Title: "weights changed", Right: true}}}
	for _, o := range r.Rounding {
		kept, before, after := 0, 0.0, 0.0
		for _, b := range o.Blocks {
			last := b.Before
			if b.Kept {
				kept++
				last = b.After
			}
			before += b.Before / float64(len(o.Blocks))
			after += last / float64(len(o.Blocks))
		}
		name := "of one layer"
		if o.Layers > 1 {
			name = fmt.Sprintf("of up to %d layers", o.Layers)
		}
		t.Rows = append(t.Rows, page.Texts(name, fmt.Sprintf("%d of %d", kept, len(o.Blocks)), percent(before), percent(after),
			fmt.Sprintf("%s of %s", report.Count(int64(o.Changed)), report.Count(int64(o.Weights)))))
	}
	return []page.Block{{Table: t}}
}

// words are the options that a build was run with, as far as they shape its result.
func (o BuildOptions) words() string {
	if !o.INT8 {
		return ""
	}
	or := func(text, def string) string {
		if text == "" {
			return def
		}
		return text
	}
	list := []string{"method " + or(string(o.Calibrate.Method), string(AutoMethod)), "equalise " + or(string(o.Calibrate.Equalise), string(EqualiseAuto)),
		"training " + or(string(o.Distil.Mode), string(DistilOff))}
	if o.Distil.MaxDrop != nil {
		list = append(list, fmt.Sprintf("at most %g lost", *o.Distil.MaxDrop))
	}
	p := o.Calibrate.Placement
	for _, k := range []struct {
		on   bool
		what string
	}{{p.Depthwise, "depthwise layers too"}, {p.Pooled, "layers on one position too"}, {p.QuantizeHeads, "heads too"}, {!p.Concat, "scales of their own at Concat"},
		{o.FP16, "FP16 for the rest"}, {o.Calibrate.Biases, "bias correction"}} {
		if k.on {
			list = append(list, k.what)
		}
	}
	for _, k := range []struct {
		what string
		list []string
	}{{"without ", p.Exclude}, {"only ", p.Include}} {
		if len(k.list) > 0 {
			list = append(list, k.what+strings.Join(k.list, " "))
		}
	}
	return strings.Join(list, "; ")
}
