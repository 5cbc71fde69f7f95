package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"trtact/internal/page"
	"trtact/internal/stats"
)

// HTML writes the report as one page that needs nothing else. made is the
// program, for the page's last line.
func (r *Report) HTML(w io.Writer, layers int, made string) error {
	p := page.Page{Kind: "Benchmark", Title: r.Models[0].Title, Lead: r.headline(), Made: made}
	if n := len(r.Models) - 1; n > 0 {
		p.Title += fmt.Sprintf(" and %d more", n)
	}
	for i, m := range r.Models {
		tile := page.Tile{Label: m.Title, Value: precise(m.main().Median) + " ms"}
		if i > 0 {
			tile.Note = m.speed(i)
		}
		p.Tiles = append(p.Tiles, tile)
	}
	if list := r.remarks(); len(list) > 0 {
		s := page.Section{ID: "warnings", Title: "Warnings"}
		for _, text := range list {
			s.Blocks = append(s.Blocks, page.Block{Text: text})
		}
		p.Sections = append(p.Sections, s)
	}
	for i, s := range r.sections(layers) {
		t := &page.Table{}
		for _, c := range s.columns {
			title, right := strings.CutPrefix(c, ">")
			t.Columns = append(t.Columns, page.Column{Title: title, Right: right, Wide: !right})
		}
		for _, row := range s.rows {
			t.Rows = append(t.Rows, page.Texts(row...))
		}
		section := page.Section{ID: fmt.Sprintf("table-%d", i+1), Title: s.title, Text: s.about, Blocks: []page.Block{{Table: t}}}
		if section.Title == "" {
			section.Title = "Overview"
		}
		if s.note != "" {
			section.Blocks = append(section.Blocks, page.Block{Text: s.note})
		}
		p.Sections = append(p.Sections, section)
		if i == 0 {
			p.Sections = append(p.Sections, page.Section{ID: "times", Title: "How the times lie", Blocks: []page.Block{{Charts: r.charts()}}})
		}
	}
	return p.Write(w)
}

// charts draws the time that models are compared by: how it is distributed, and
// how it went from round to round.
func (r *Report) charts() []page.Chart {
	what := "Latency"
	if r.Models[0].Compute != nil {
		what = "Time on the GPU"
	}
	var shares, medians []page.Curve
	for i := range r.Models {
		m := &r.Models[i]
		curve := page.Curve{Name: m.Title, Kind: page.Kind(i % 3), Dashed: i/3%2 == 1}
		rounds := m.run.rounds(m.mainOf)
		all := slices.Sorted(slices.Values(slices.Concat(rounds...)))
		share, median := curve, curve
		for p := 0.0; p <= 100 && len(all) > 0; p += 0.5 {
			share.X, share.Y = append(share.X, stats.Percentile(all, p)), append(share.Y, p)
		}
		for k, times := range rounds {
			if len(times) > 0 {
				median.X = append(median.X, float64(k+1))
				median.Y = append(median.Y, stats.Percentile(slices.Sorted(slices.Values(times)), 50))
			}
		}
		shares, medians = append(shares, share), append(medians, median)
	}
	return []page.Chart{
		page.Lines(what+": runs that took no longer", page.LineOptions{XLabel: "ms", YLabel: "%", FromZero: true, Rising: true}, shares...),
		page.Lines(what+": median of each round", page.LineOptions{XLabel: "round", YLabel: "ms", FromZero: true}, medians...),
	}
}
