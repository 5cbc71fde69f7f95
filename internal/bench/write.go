package bench

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"trtact/internal/report"
	"trtact/internal/stats"
)

// Text writes the report for a terminal of width columns. Warnings are not in
// it: they go where other warnings go.
func (r *Report) Text(w io.Writer, width, layers int) error {
	var out strings.Builder
	line := func(text string) {
		for _, l := range report.Wrap(text, width) {
			out.WriteString(l + "\n")
		}
	}
	line(r.headline())
	for _, s := range r.sections(layers) {
		out.WriteString("\n")
		if s.title != "" {
			line(s.heading())
		}
		t := report.NewTable(s.columns...)
		for _, row := range s.rows {
			cells := slices.Clone(row)
			if s.columns[0] == "model" {
				cells[0] = fold(cells[0], nameWidth)
			}
			last := len(cells) - 1
			cells[last] = fold(cells[last], max(8, width-20))
			t.Add(cells...)
		}
		if err := t.Write(&out, width); err != nil {
			return err
		}
		if s.note != "" {
			out.WriteString("\n")
			line(s.note)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// nameWidth is what a table of 80 columns has left for a model's name.
const nameWidth = 19

// fold breaks words longer than width behind the marks that names of files and
// nodes have in them.
func fold(text string, width int) string {
	var lines []string
	for _, word := range strings.Fields(text) {
		for len(word) > width {
			at := strings.LastIndexAny(word[:width], "/._-+ ")
			if at < 1 {
				break
			}
			lines = append(lines, word[:at+1]+"\n")
			word = word[at+1:]
		}
		lines = append(lines, word+" ")
	}
	return strings.TrimSuffix(strings.Join(lines, ""), " ")
}

// Markdown writes the report as GitHub's Markdown.
func (r *Report) Markdown(w io.Writer, layers int) error {
	cell := strings.NewReplacer("|", `\|`, "\n", " ", "*", `\*`, "_", `\_`, "<", "&lt;", "`", "\\`")
	var out strings.Builder
	out.WriteString("# Benchmark\n\n" + cell.Replace(r.headline()) + "\n")
	for _, s := range r.sections(layers) {
		out.WriteString("\n")
		if s.title != "" {
			out.WriteString("## " + cell.Replace(s.heading()) + "\n\n")
		}
		rule := "|"
		out.WriteString("|")
		for _, c := range s.columns {
			title, right := strings.CutPrefix(c, ">")
			out.WriteString(" " + cell.Replace(title) + " |")
			if right {
				rule += "---:|"
			} else {
				rule += "---|"
			}
		}
		out.WriteString("\n" + rule + "\n")
		for _, row := range s.rows {
			out.WriteString("|")
			for _, c := range row {
				out.WriteString(" " + cell.Replace(c) + " |")
			}
			out.WriteString("\n")
		}
		if s.note != "" {
			out.WriteString("\n" + cell.Replace(s.note) + "\n")
		}
	}
	if list := r.remarks(); len(list) > 0 {
		out.WriteString("\n## Warnings\n\n")
		for _, text := range list {
			out.WriteString("- " + cell.Replace(text) + "\n")
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// remarks are the warnings, with their models' names.
func (r *Report) remarks() []string {
	var list []string
	for _, m := range r.Models {
		for _, text := range m.Warnings {
			list = append(list, m.Title+": "+text)
		}
	}
	if r.ActivityProblem != "" {
		list = append(list, "the GPU's clocks were not watched: "+r.ActivityProblem)
	}
	return list
}

// CSV writes a row for each model and time: milliseconds, and the figures of
// the model repeated in each.
func (r *Report) CSV(w io.Writer) error {
	c := csv.NewWriter(w)
	c.Write([]string{"model", "device", "precision", "batch", "height", "width", "images_per_second", "speed", "speed_low", "speed_high",
		"time", "count", "min_ms", "mean_ms", "median_ms", "median_low_ms", "median_high_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms", "stddev_ms", "cv"})
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	bounds := func(i *stats.Interval) []string {
		if i == nil {
			return []string{"", ""}
		}
		return []string{number(i.Low), number(i.High)}
	}
	for _, m := range r.Models {
		about := []string{m.Model, r.Device, m.Precision, fmt.Sprint(m.Batch), fmt.Sprint(m.Height), fmt.Sprint(m.Width), number(m.Throughput), number(m.Speed)}
		about = append(about, bounds(m.SpeedCI)...)
		for _, t := range []struct {
			name string
			of   *stats.Summary
		}{{"latency", &m.Latency}, {"gpu", m.Compute}, {"h2d", m.H2D}, {"d2h", m.D2H}, {"enqueue", m.Enqueue}} {
			if t.of == nil {
				continue
			}
			s := t.of
			row := append(append([]string(nil), about...), t.name, fmt.Sprint(s.Count), number(s.Min), number(s.Mean), number(s.Median))
			row = append(row, bounds(s.MedianCI)...)
			for _, v := range []float64{s.P90, s.P95, s.P99, s.Max, s.StdDev, s.CV} {
				row = append(row, number(v))
			}
			c.Write(row)
		}
	}
	c.Flush()
	return c.Error() // of any of the writes
}

// Times writes every run that was measured as CSV.
func (r *Report) Times(w io.Writer) error {
	c := csv.NewWriter(w)
	c.Write([]string{"model", "precision", "round", "run", "start_ms", "enqueue_ms", "h2d_ms", "gpu_ms", "d2h_ms", "end_to_end_ms"})
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', 6, 64) }
	for _, m := range r.Models {
		for round, b := range m.run.Blocks {
			for i, s := range b.Samples {
				row := []string{m.Model, m.Precision, fmt.Sprint(round), fmt.Sprint(i), number(s.Start)}
				for _, v := range []float64{s.Enqueue, s.H2D, s.GPU, s.D2H} {
					if m.Compute == nil { // the CPU has no such parts
						row = append(row, "")
					} else {
						row = append(row, number(v))
					}
				}
				c.Write(append(row, number(s.EndToEnd)))
			}
		}
	}
	c.Flush()
	return c.Error()
}
