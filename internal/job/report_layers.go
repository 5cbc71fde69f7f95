// What the report says of an analysis: charts and tables of layers.

package job

import (
	"cmp"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"trtact/internal/analysis"
	"trtact/internal/page"
	"trtact/internal/report"
)

// How much of a long list is drawn; tables have all of it.
const (
	drawnLayers     = 24
	drawnHistograms = 4
)

// page is the analysis as a page of its own.
func (a *Analysis) page() page.Page {
	p := page.Page{Title: filepath.Base(a.Model.Path), Kind: "INT8 analysis", Lead: a.lead(), Made: made(a.Program)}
	p.Tiles = []page.Tile{
		{Label: "error, all layers INT8", Value: percent(a.Whole.Mean), Note: "at the heads"},
		{Label: "layers tested", Value: fmt.Sprint(len(a.Layers)), Note: fmt.Sprintf("%d stay float", len(a.Skipped))},
		{Label: "most sensitive", Value: percent(a.Layers[0].Error.Mean), Note: a.Layers[0].Node},
	}
	if n := len(analysis.With(a.Layers, analysis.ExtremeWeights)); n > 0 {
		p.Tiles = append(p.Tiles, page.Tile{Label: "extreme weights", Value: fmt.Sprint(n), Note: "layers", Tone: page.Bad})
	}
	if a.Float != nil {
		p.Tiles = append(p.Tiles, page.Tile{Label: "float mAP", Value: fmt.Sprintf("%.2f", 100*a.Float.MAP), Note: fmt.Sprintf("%d pictures", a.Images)})
	}
	p.Sections = append(a.sections(), page.Section{ID: "run", Title: "This run", Blocks: append([]page.Block{
		{Facts: []page.Fact{
			{Name: "model", Value: a.Model.Path}, {Name: "SHA-256", Value: a.Model.SHA256},
			{Name: "family, input", Value: fmt.Sprintf("%s, %dx%d", a.Family, a.Shape[0], a.Shape[1])},
			{Name: "scales", Value: a.Method}, {Name: "pictures", Value: fmt.Sprint(a.Samples)},
			{Name: "heads", Value: strings.Join(a.Heads, ", ")},
		}},
	}, runBlocks(a.Command, a.Seconds)...)})
	return p
}

// lead says in a sentence or two what was found.
func (a *Analysis) lead() string {
	half, sum := 0, 0.0
	for _, l := range a.Layers {
		if sum >= 0.5 {
			break
		}
		sum += l.Share
		half++
	}
	text := fmt.Sprintf("%s of %d layers make %.0f %% of the error.", report.Count(int64(half)), len(a.Layers), 100*sum)
	if half == 1 {
		text = fmt.Sprintf("One of %d layers, %s, makes %.0f %% of the error.", len(a.Layers), a.Layers[0].Node, 100*sum)
	}
	if extreme := analysis.With(a.Layers, analysis.ExtremeWeights); len(extreme) > 0 {
		var names []string
		for _, l := range extreme[:min(4, len(extreme))] {
			names = append(names, l.Node)
		}
		more := ""
		if len(extreme) > len(names) {
			more = fmt.Sprintf(" and %d more", len(extreme)-len(names))
		}
		text += " Extreme weights: " + strings.Join(names, ", ") + more + "."
	}
	return text
}

// namedChart is a chart and the name of its file.
type namedChart struct {
	page.Chart
	file string
}

func (a *Analysis) charts() []namedChart {
	list := []namedChart{
		{a.sensitivityChart(), "sensitivity"}, {a.cumulativeChart(), "along-the-graph"},
		{a.weightBoxes(), "weights"}, {a.inputBoxes(), "activations"},
	}
	for i, l := range a.shownLayers() {
		for k, c := range histograms(l) {
			list = append(list, namedChart{c, fmt.Sprintf("layer-%d-%s", i+1, []string{"weights", "activations"}[k])})
		}
	}
	return list
}

// shownLayers are the most sensitive ones with weights, whose histograms are drawn.
func (a *Analysis) shownLayers() []analysis.Layer {
	var list []analysis.Layer
	for _, l := range a.Layers {
		if l.Weights != nil && l.Input != nil && len(list) < drawnHistograms {
			list = append(list, l)
		}
	}
	return list
}

// sections are those of the analysis on any page.
func (a *Analysis) sections() []page.Section {
	var pairs []page.Chart
	for _, l := range a.shownLayers() {
		pairs = append(pairs, histograms(l)...)
	}
	return []page.Section{
		{ID: "sensitivity", Title: "Which layers lose accuracy", Short: "Layers",
			Text:   "Each layer is quantised alone, everything else stays float. Its error is the relative L2 distance from the float model at the heads.",
			Blocks: []page.Block{{Charts: []page.Chart{a.sensitivityChart()}}}},
		{ID: "along", Title: "How the error grows along the graph", Short: "Along the graph",
			Text:   "The first layers are quantised, the rest is float: a step shows where the error comes in.",
			Blocks: []page.Block{{Charts: []page.Chart{a.cumulativeChart()}}}},
		{ID: "histograms", Title: "The most sensitive layers before and after", Short: "Histograms",
			Text:   "Weights and activations, as float and as the grid of INT8 has them. The vertical scale is logarithmic. A lone bar far from the rest takes the range that all others have to share.",
			Blocks: []page.Block{{Charts: pairs}}},
		{ID: "spread", Title: "Range of weights and activations", Short: "Ranges",
			Text:   "Boxes hold the middle half of the values, whiskers reach 1.5 times as far, dots are the extremes; each tensor is divided by its largest magnitude. A box that is a thin line belongs to a tensor whose range is made by few values.",
			Blocks: []page.Block{{Charts: []page.Chart{a.weightBoxes()}}, {Charts: []page.Chart{a.inputBoxes()}}}},
		{ID: "front", Title: "Error against latency", Short: "Latency and error", Text: a.Front.text(), Blocks: a.Front.blocks()},
		{ID: "layers", Title: "All layers", Blocks: []page.Block{{Table: a.layerTable()}}},
		{ID: "float", Title: "Layers that stay float", Short: "Float layers", Blocks: a.floatBlocks()},
	}
}

func (a *Analysis) sensitivityChart() page.Chart {
	var bars []page.Bar
	for _, l := range a.Layers[:min(drawnLayers, len(a.Layers))] {
		bars = append(bars, page.Bar{Name: l.Node, Value: 100 * l.Error.Mean, Marked: slices.ContainsFunc(l.Notes, func(n analysis.Note) bool { return n.Kind == analysis.ExtremeWeights })})
	}
	c := page.Bars("Error at the heads with one layer in INT8", "relative error, %", bars)
	c.Caption = fmt.Sprintf("The %d most sensitive of %d layers.", len(bars), len(a.Layers))
	if slices.ContainsFunc(bars, func(b page.Bar) bool { return b.Marked }) {
		c.Caption += " The other colour marks extreme weights."
	}
	return c
}

func (a *Analysis) cumulativeChart() page.Chart {
	curve := page.Curve{Kind: page.INT8, Points: true}
	for _, p := range a.Cumulative {
		curve.X = append(curve.X, float64(p.Units))
		curve.Y = append(curve.Y, 100*p.Error.Mean)
	}
	c := page.Lines("Error at the heads with the first layers in INT8", page.LineOptions{XLabel: "layers in INT8, along the graph", YLabel: "relative error, %", FromZero: true}, curve)
	if jump, from := a.largestJump(); jump != "" {
		c.Caption = fmt.Sprintf("The largest step lies between %s and %s.", from, jump)
	}
	return c
}

// largestJump is between which two points the error grows most.
func (a *Analysis) largestJump() (to, from string) {
	before, most, name := 0.0, 0.0, "the input"
	for _, p := range a.Cumulative {
		if step := p.Error.Mean - before; step > most {
			most, to, from = step, p.Node, name
		}
		before, name = p.Error.Mean, p.Node
	}
	return to, from
}

// histograms are those of one layer: its weights and its input.
func histograms(l analysis.Layer) []page.Chart {
	draw := func(title string, v *analysis.Values) page.Chart {
		h := v.Histogram
		c := page.Histogram(title, h.Low, h.High, h.Float, h.INT8)
		c.Caption = fmt.Sprintf("Error of INT8 %s, largest %.3g, 99 %% within %.2g, outliers %s.", percent(v.Error), v.Spread.AbsMax, v.Spread.P99, percent(v.Spread.Outliers))
		return c
	}
	return []page.Chart{draw("Weights of "+l.Node, l.Weights), draw("Input of "+l.Node, l.Input)}
}

func (a *Analysis) weightBoxes() page.Chart {
	return a.boxes("Weights with the widest range", func(l analysis.Layer) *analysis.Values { return l.Weights })
}

func (a *Analysis) inputBoxes() page.Chart {
	return a.boxes("Activations with the widest range", func(l analysis.Layer) *analysis.Values { return l.Input })
}

// boxes draws the tensors with the largest peaks.
func (a *Analysis) boxes(title string, of func(analysis.Layer) *analysis.Values) page.Chart {
	type entry struct {
		name string
		analysis.Spread
	}
	var list []entry
	for _, l := range a.Layers {
		if v := of(l); v != nil && v.Spread.AbsMax > 0 {
			list = append(list, entry{l.Node, v.Own()})
		}
	}
	slices.SortStableFunc(list, func(a, b entry) int { return cmp.Compare(b.Peak, a.Peak) })
	var boxes []page.Box
	for _, e := range list[:min(drawnLayers/2, len(list))] {
		m := e.AbsMax
		boxes = append(boxes, page.Box{Name: e.name, Min: e.Min / m, Lower: e.Low / m, Q1: e.Q1 / m, Median: e.Median / m, Q3: e.Q3 / m, Upper: e.High / m, Max: e.Max / m})
	}
	return page.Boxes(title, "value over largest magnitude", boxes)
}

func (a *Analysis) layerTable() *page.Table {
	accuracy := slices.ContainsFunc(a.Layers, func(l analysis.Layer) bool { return l.MAP != nil })
	t := &page.Table{Long: len(a.Layers) > 20, Columns: []page.Column{
		{Title: "#", Right: true}, {Title: "layer", Wide: true}, {Title: "kind"}, {Title: "error alone", Right: true}, {Title: "error arriving", Right: true},
		{Title: "peak of weights", Right: true}, {Title: "outliers", Right: true}, {Title: "clipped", Right: true}, {Title: "channels lost, dead", Right: true},
	}}
	if accuracy {
		t.Columns = append(t.Columns, page.Column{Title: "mAP alone", Right: true})
	}
	worst := a.Layers[0].Error.Mean
	for i, l := range a.Layers {
		row := page.Texts(fmt.Sprint(i+1), l.Node, l.Op)
		row[1].Note = l.Words()
		bar := 0.0
		if worst > 0 {
			bar = l.Error.Mean / worst
		}
		row = append(row, page.Cell{Text: percent(l.Error.Mean), Bar: bar})
		arriving, clipped, channels := "", "", ""
		if in := l.Input; in != nil {
			arriving, clipped, channels = percent(in.Arriving), percent(in.Clipped), fmt.Sprintf("%d, %d of %d", in.Lost, in.Dead, in.Channels)
		}
		row = append(row, page.Cell{Text: arriving})
		peak, outliers := page.Cell{}, ""
		if w := l.Weights; w != nil {
			peak.Text, outliers = fmt.Sprintf("%.1f", w.Own().Peak), percent(w.Own().Outliers)
			if slices.ContainsFunc(l.Notes, func(n analysis.Note) bool { return n.Kind == analysis.ExtremeWeights }) {
				peak.Tone = page.Bad
			}
		}
		row = append(row, peak, page.Cell{Text: outliers}, page.Cell{Text: clipped}, page.Cell{Text: channels})
		if accuracy {
			text := ""
			if l.MAP != nil {
				text = fmt.Sprintf("%.2f", 100**l.MAP)
				if a.Float != nil {
					text += fmt.Sprintf(" (%+.2f)", 100*(*l.MAP-a.Float.MAP))
				}
			}
			row = append(row, page.Cell{Text: text})
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func (a *Analysis) floatBlocks() []page.Block {
	if len(a.Skipped) == 0 {
		return nil
	}
	t := &page.Table{Long: len(a.Skipped) > 12, Columns: []page.Column{{Title: "layer", Wide: true}, {Title: "kind"}, {Title: "why", Wide: true}}}
	for _, s := range a.Skipped {
		t.Rows = append(t.Rows, page.Texts(s.Node, s.Op, s.Reason))
	}
	return []page.Block{{Table: t}}
}

// percent is a share of 0..1 as people read it.
func percent(v float64) string {
	switch {
	case v == 0:
		return "0 %"
	case v >= analysis.Blown:
		return "no number"
	case v < 0.0001:
		return "< 0.01 %"
	case v >= 0.1:
		return fmt.Sprintf("%.1f %%", 100*v)
	}
	return fmt.Sprintf("%.2f %%", 100*v)
}

// runBlocks are how a run was started and how long its stages took.
func runBlocks(command []string, spent map[string]float64) []page.Block {
	var blocks []page.Block
	if len(command) > 0 {
		blocks = append(blocks, page.Block{Code: commandLine(command)})
	}
	t := &page.Table{Caption: "Time per stage", Columns: []page.Column{{Title: "stage"}, {Title: "time", Right: true}}}
	var names []string
	for name := range spent {
		if name != "total" {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(spent[b], spent[a]), cmp.Compare(a, b)) })
	row := func(name string, v float64) {
		share := 0.0
		if total := spent["total"]; total > 0 && name != "total" {
			share = v / total
		}
		t.Rows = append(t.Rows, []page.Cell{{Text: strings.ReplaceAll(name, "_", " ")}, {Text: report.Duration(time.Duration(v * float64(time.Second))), Bar: share}})
	}
	for _, name := range names {
		row(name, spent[name])
	}
	if v, yes := spent["total"]; yes {
		row("total", v)
	}
	if len(t.Rows) > 0 {
		blocks = append(blocks, page.Block{Table: t})
	}
	return blocks
}

// commandLine writes a command as a shell takes it.
func commandLine(args []string) string {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = report.ShellWord(a)
	}
	return strings.Join(words, " ")
}

// made is the last line of a page.
func made(program string) string {
	return fmt.Sprintf("Made by trtact %s (%s, %s/%s) on %s.", program, runtime.Version(), runtime.GOOS, runtime.GOARCH, time.Now().Format("2 January 2006, 15:04 MST"))
}
