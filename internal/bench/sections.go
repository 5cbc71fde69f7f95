// What a report says, before it is known whether a terminal, Markdown or HTML
// shows it: a few lines of text and tables of finished cells.

package bench

import (
	"fmt"
	"math"
	"strings"

	"trtact/internal/gpu"
	"trtact/internal/report"
	"trtact/internal/stats"
)

// section is a table with what stands above and below. A column whose name
// begins with ">" stands right.
type section struct {
	title   string
	about   string // behind the title
	columns []string
	rows    [][]string
	note    string
}

// heading is the title with what stands behind it.
func (s section) heading() string {
	if s.about == "" {
		return s.title
	}
	return s.title + ": " + s.about
}

// headline says what ran where and how.
func (r *Report) headline() string {
	var parts []string
	if r.GPU == nil {
		threads := "1 thread"
		if r.Threads > 1 {
			threads = fmt.Sprintf("%d threads", r.Threads)
		}
		parts = append(parts, fmt.Sprintf("on the CPU (%s, %s)", r.Backend, threads))
	} else {
		about := []string{}
		for _, a := range []struct{ before, text string }{{"", r.Backend}, {"driver ", r.GPU.Driver}, {"compute capability ", r.GPU.ComputeCapability}} {
			if a.text != "" {
				about = append(about, a.before+a.text)
			}
		}
		parts = append(parts, fmt.Sprintf("on %s (%s)", r.GPU.Name, strings.Join(about, ", ")))
	}
	first := r.Models[0]
	if r.oneInput() && first.Height > 0 {
		parts = append(parts, fmt.Sprintf("batch %d of %dx%d", first.Batch, first.Height, first.Width))
	} else {
		parts = append(parts, fmt.Sprintf("batch %d", first.Batch))
	}
	if r.GPU != nil {
		if n := r.Settings.Streams; n > 1 {
			parts = append(parts, fmt.Sprintf("%d streams", n))
		}
		if r.Settings.CUDAGraph {
			parts = append(parts, "CUDA graph")
		}
		if !r.Settings.Transfers {
			parts = append(parts, "no transfers")
		}
		if r.Settings.Wait == "spin" {
			parts = append(parts, "spinning")
		}
	}
	runs := report.Count(int64(first.Latency.Count)) + " runs"
	if n := r.Settings.Rounds; n < first.Latency.Count {
		runs += fmt.Sprintf(" in %d rounds", n)
	}
	return strings.Join(append(parts, runs), ", ") + "; milliseconds"
}

// oneInput says whether all models have the same batch and size.
func (r *Report) oneInput() bool {
	a := r.Models[0]
	for _, m := range r.Models {
		if m.Batch != a.Batch || m.Height != a.Height || m.Width != a.Width {
			return false
		}
	}
	return true
}

// sections are the tables; layers is the number of layers shown of each model.
func (r *Report) sections(layers int) []section {
	var out []section
	if r.GPU == nil {
		out = append(out, r.overviewCPU())
	} else {
		out = append(out, r.overview())
		for i := range r.Models {
			out = append(out, r.parts(&r.Models[i]))
		}
		if s := r.activity(); len(s.rows) > 0 {
			out = append(out, s)
		}
	}
	for i := range r.Models {
		if m := &r.Models[i]; len(m.Layers) > 0 {
			out = append(out, m.layerTable(layers))
		}
	}
	return out
}

// overviewCPU is the whole table of a benchmark on the CPU.
func (r *Report) overviewCPU() section {
	s := section{columns: []string{"model"}}
	s.columns = append(s.columns, ">min", ">mean", ">median", ">p90", ">p95", ">p99", ">images/s")
	if len(r.Models) > 1 {
		s.columns = append(s.columns, ">speed")
	}
	for _, m := range r.Models {
		row := []string{r.label(&m)}
		if m.Quantized {
			row[0] += " *"
			s.note = "* INT8 simulated in float, which takes longer than float does"
		}
		l := m.Latency
		for _, v := range []float64{l.Min, l.Mean, l.Median, l.P90, l.P95, l.P99, m.Throughput} {
			row = append(row, plain(v))
		}
		if len(r.Models) > 1 {
			row = append(row, fmt.Sprintf("%.2fx", m.Speed)) // its interval would not fit in 80 columns
		}
		s.rows = append(s.rows, row)
	}
	return s
}

// overview compares engines by their time on the GPU.
func (r *Report) overview() section {
	s := section{columns: []string{"model"}}
	s.columns = append(s.columns, ">GPU median", ">p90", ">p99", ">latency", ">images/s")
	if len(r.Models) > 1 {
		s.columns = append(s.columns, ">speed")
	}
	for i, m := range r.Models {
		row := []string{r.label(&m)}
		c := m.Compute
		row = append(row, precise(c.Median)+spread(c.Median, c.MedianCI), precise(c.P90), precise(c.P99), precise(m.Latency.Median), plain(m.Throughput))
		if len(r.Models) > 1 {
			row = append(row, m.speed(i))
		}
		s.rows = append(s.rows, row)
	}
	if r.Models[0].Compute.MedianCI != nil {
		s.note = fmt.Sprintf("± is the %.0f %% confidence interval over rounds", 100*stats.Confidence)
	}
	return s
}

// label is the model's name, with its input where models differ in that.
func (r *Report) label(m *Model) string {
	switch {
	case r.oneInput():
		return m.Title
	case m.Height == 0:
		return fmt.Sprintf("%s batch %d", m.Title, m.Batch)
	}
	return fmt.Sprintf("%s %dx%dx%d", m.Title, m.Batch, m.Height, m.Width)
}

func (m *Model) speed(i int) string {
	if i == 0 {
		return "1.00x"
	}
	return fmt.Sprintf("%.2f", m.Speed) + spreadOf(m.Speed, m.SpeedCI, "%.2f") + "x"
}

// spread is "±" and the half that reaches further of an interval, in the digits
// of precise.
func spread(v float64, i *stats.Interval) string { return spreadOf(v, i, format(v)) }

func spreadOf(v float64, i *stats.Interval, form string) string {
	if i == nil {
		return ""
	}
	return " ±" + fmt.Sprintf(form, max(i.High-v, v-i.Low))
}

// parts takes a run of one engine apart.
func (r *Report) parts(m *Model) section {
	s := section{title: m.Title, columns: []string{"", ">min", ">mean", ">median", ">p90", ">p95", ">p99", ">CV"}}
	var about []string
	if m.Precision != "" {
		about = append(about, m.Precision)
	}
	if m.Bytes > 0 {
		about = append(about, report.Bytes(m.Bytes))
	}
	if m.DeviceBytes > 0 {
		about = append(about, report.Bytes(m.DeviceBytes)+" on the GPU")
	}
	s.about = strings.Join(about, ", ")
	for _, p := range []struct {
		name string
		of   *stats.Summary
	}{{"inputs to GPU", m.H2D}, {"compute", m.Compute}, {"outputs from GPU", m.D2H}, {"end to end", &m.Latency}, {"enqueue (CPU)", m.Enqueue}} {
		if p.of == nil {
			continue
		}
		row := []string{p.name}
		for _, v := range []float64{p.of.Min, p.of.Mean, p.of.Median, p.of.P90, p.of.P95, p.of.P99} {
			row = append(row, precise(v))
		}
		s.rows = append(s.rows, append(row, percent(p.of.CV)))
	}
	return s
}

// activity is what the GPU did while each engine ran.
func (r *Report) activity() section {
	s := section{title: "the GPU meanwhile", columns: []string{"model", ">SM MHz", ">mem MHz", ">°C", ">W", ">mJ/image", "clocks held down by"}}
	for _, m := range r.Models {
		a := m.Activity
		if a == nil || a.Samples == 0 {
			continue
		}
		watts, joules := "-", "-"
		switch {
		case a.MeanPower != nil:
			watts = fmt.Sprintf("%.0f", *a.MeanPower)
		case a.Power != nil:
			watts = span(a.Power)
		}
		if m.Energy != nil {
			joules = plain(1000 * *m.Energy)
		}
		s.rows = append(s.rows, []string{m.Title, span(a.SM), span(a.Memory), span(a.Temperature), watts, joules, slowed(a.Slowed)})
	}
	return s
}

// span is "1395-1410", one figure when both are the same, "-" when not told.
func span(r *gpu.Range) string {
	if r == nil {
		return "-"
	}
	low, high := fmt.Sprintf("%.0f", r.Min), fmt.Sprintf("%.0f", r.Max)
	if low == high {
		return low
	}
	return low + "-" + high
}

func slowed(list []gpu.Slowdown) string {
	var parts []string
	for _, s := range list {
		parts = append(parts, fmt.Sprintf("%s (%s)", s.Reason, percent(s.Share)))
	}
	if parts == nil {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// layerTable is the slowest layers of an engine.
func (m *Model) layerTable(top int) section {
	shown := m.Layers[:min(top, len(m.Layers))]
	s := section{title: "layers of " + m.Title, about: fmt.Sprintf("the %d slowest of %d", len(shown), len(m.Layers)), columns: []string{">ms", ">share", "ONNX nodes"}}
	if len(shown) == len(m.Layers) {
		s.about = fmt.Sprintf("all %d", len(shown))
	}
	sum := 0.0
	for _, l := range shown {
		sum += l.Share
		name := strings.Join(l.Nodes, " + ")
		switch {
		case name == "":
			name = l.Name + " (no node)"
		case l.Reformat:
			name = "reformat for " + name
		}
		s.rows = append(s.rows, []string{fmt.Sprintf("%.4f", l.Milliseconds), percent(l.Share), name})
	}
	var notes []string
	if len(shown) < len(m.Layers) {
		notes = append(notes, fmt.Sprintf("together %s of all layers' time", percent(sum)))
	}
	if count, share := m.reformats(); count > 0 {
		notes = append(notes, fmt.Sprintf("layers that only change a layout or type: %d, %s", count, percent(share)))
	}
	s.note = strings.Join(notes, "; ")
	return s
}

// reformats counts the layers that compute nothing, with their share of the time.
func (m *Model) reformats() (count int, share float64) {
	for _, l := range m.Layers {
		if l.Reformat {
			count++
			share += l.Share
		}
	}
	return count, share
}

// precise is a time in milliseconds, to a microsecond below 10 ms.
func precise(v float64) string { return fmt.Sprintf(format(v), v) }

func format(v float64) string {
	switch {
	case v >= 100:
		return "%.1f"
	case v >= 10:
		return "%.2f"
	}
	return "%.3f"
}

// plain is a figure with three significant digits or more.
func plain(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// percent is a share, with a digit behind the point where it is small.
func percent(share float64) string {
	if p := 100 * share; p > 0 && p < 9.95 {
		return fmt.Sprintf("%.1f %%", p)
	}
	return fmt.Sprintf("%.0f %%", math.Round(100*share))
}
