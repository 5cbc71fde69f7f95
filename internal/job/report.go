// report.html of a build: what it reached, beside what others have published, which
// layers lose accuracy, what training did, pictures, and how it was run.

package job

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"trtact/internal/atomicfile"
	"trtact/internal/page"
	"trtact/internal/report"
	"trtact/internal/rss"
)

// reportSamples is on how many pictures a build tests layers at most: the report shows
// where to look; the analyze command measures.
const (
	reportSamples = 4
	reportPoints  = 12
	reportKeep    = 128 << 20 // bytes of activations kept: a build takes little more anyway
)

// reportPath is where the page of a build goes.
func (o BuildOptions) reportPath() string {
	switch {
	case o.Report != "":
		return filepath.Join(o.Report, "report.html")
	case o.SaveDir != "":
		return filepath.Join(o.SaveDir, "report.html")
	}
	return o.beside(".report.html")
}

// writeReport makes the page. What cannot be found out for it is left out with a
// warning: the build itself has succeeded by then.
func (b *building) writeReport(ctx context.Context, started time.Time) error {
	since := time.Now()
	r := buildReport{Result: b.r, options: b.o}
	if c := b.untrained; c != nil && b.in.samples != nil {
		a := &Analysis{Model: b.r.Model, Seconds: map[string]float64{}}
		o := AnalyzeOptions{Samples: reportSamples, Precision: DefaultPrecision, Points: reportPoints, KeepBytes: reportKeep}
		if err := b.m.analyze(ctx, b.single, c.plan, b.in, o, "", a); err != nil {
			if ctx.Err() != nil {
				return err
			}
			slog.Warn("the report has no analysis of layers: " + err.Error())
		} else {
			a.Front = front(a.Layers, a.Whole.Mean, b.times())
			r.analysis, b.r.Front = a, a.Front
		}
	}
	if b.r.Files.ONNX != "" {
		var err error
		if r.pairs, err = b.disagreements(ctx); err != nil {
			if ctx.Err() != nil {
				return err
			}
			slog.Warn("the report has no pictures: " + err.Error())
		}
	}
	var err error
	if b.r.Latency, err = b.latencies(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		slog.Warn("the report has no times of the engine: " + err.Error())
	}
	b.r.PeakRSS = rss.Peak()
	b.r.lap("report", since)
	b.r.lap("total", started)
	path := b.o.reportPath()
	if err := atomicfile.WriteFunc(path, func(w io.Writer) error { return r.page().Write(w) }); err != nil {
		return err
	}
	b.r.Files.Report = path
	return nil
}

// buildReport is what the page is made from.
type buildReport struct {
	*Result
	options  BuildOptions
	analysis *Analysis   // nil: not known
	pairs    []page.Pair // pictures, float beside INT8
}

func (r buildReport) page() page.Page {
	p := page.Page{Title: filepath.Base(r.Model.Path), Kind: "INT8 report", Lead: r.lead(), Tiles: r.tiles(), Made: made(r.Program)}
	if r.Files.ONNX == "" && r.Engine != nil {
		p.Kind = "Engine report"
	}
	p.Sections = []page.Section{
		{ID: "summary", Title: "Float and INT8", Blocks: r.summary()},
		{ID: "pictures", Title: "Where they disagree most", Short: "Pictures", Text: r.pictureText(), Blocks: r.pictures()},
	}
	if r.analysis != nil {
		p.Sections = append(p.Sections, r.analysis.sections()...)
	}
	p.Sections = append(p.Sections,
		page.Section{ID: "ladder", Title: "What was tried", Text: "One step after the other, each dearer than the one before, until what is lost is small enough.", Blocks: r.ladder()},
		page.Section{ID: "training", Title: "Training", Text: r.trainingText(), Blocks: r.training()},
		page.Section{ID: "heads", Title: "Error at the heads", Short: "Heads", Text: "Relative L2 distance of the result from the float model, at the last layers with weights.", Blocks: r.heads()},
		page.Section{ID: "latency", Title: "Latency", Text: fmt.Sprintf("Time on this machine's GPU for one run of %d pictures, engines in turns.", r.Batch), Blocks: r.latency()},
		page.Section{ID: "engine", Title: "Engine", Blocks: r.engine()},
		page.Section{ID: "sizes", Title: "Weights, layer by layer", Short: "Sizes", Blocks: r.sizes()},
		page.Section{ID: "run", Title: "This run", Blocks: r.run()},
	)
	return p
}

// points is a difference of mAP in points: "-0.12".
func points(from, to *Figures) string {
	if from == nil || to == nil {
		return ""
	}
	return fmt.Sprintf("%+.2f", 100*(to.MAP-from.MAP))
}

func (r buildReport) lead() string {
	var parts []string
	if f, q := r.Accuracy.Float, r.Accuracy.INT8; f != nil && q != nil && q != f {
		parts = append(parts, fmt.Sprintf("mAP goes from %.2f to %.2f (%s points) on %d pictures.", 100*f.MAP, 100*q.MAP, points(f, q), r.Accuracy.Images))
	}
	if s := r.Size; s.WeightsInt8 > 0 && s.WeightsFloat > 0 {
		parts = append(parts, fmt.Sprintf("The weights take %.0f %% of their size.", 100*float64(s.WeightsInt8)/float64(s.WeightsFloat)))
	}
	if r.analysis != nil {
		parts = append(parts, r.analysis.lead())
	}
	return strings.Join(parts, " ")
}

func (r buildReport) tiles() []page.Tile {
	var tiles []page.Tile
	if q := r.Accuracy.INT8; q != nil {
		t := page.Tile{Label: "mAP, INT8", Value: fmt.Sprintf("%.2f", 100*q.MAP)}
		if f := r.Accuracy.Float; f != nil {
			t.Note = fmt.Sprintf("float %.2f", 100*f.MAP)
		}
		tiles = append(tiles, t)
	}
	if f, q := r.Accuracy.Float, r.Accuracy.INT8; f != nil && q != nil {
		t := page.Tile{Label: "change of mAP", Value: points(f, q), Note: "points"}
		if q.MAP < f.MAP-DefaultMaxDrop/100 {
			t.Tone = page.Bad
		} else {
			t.Tone = page.Good
		}
		tiles = append(tiles, t)
	}
	if s := r.Size; s.WeightsInt8 > 0 {
		tiles = append(tiles, page.Tile{Label: "weights", Value: report.Bytes(s.WeightsInt8), Note: "float " + report.Bytes(s.WeightsFloat)})
	}
	if r.Quantization.Layers > 0 {
		tiles = append(tiles, page.Tile{Label: "layers in INT8", Value: fmt.Sprint(r.Quantization.Layers), Note: fmt.Sprintf("%d stay float", len(r.Quantization.Skipped))})
	}
	if r.Engine != nil {
		tiles = append(tiles, page.Tile{Label: "engine", Value: report.Bytes(r.Size.Engine), Note: r.Engine.Backend + " " + r.Engine.Version})
	}
	if v := r.Seconds["total"]; v > 0 {
		tiles = append(tiles, page.Tile{Label: "time", Value: duration(v)})
	}
	return tiles
}

func duration(seconds float64) string {
	return report.Duration(time.Duration(seconds * float64(time.Second)))
}

// summary is the table of figures, and the published ones beside it.
func (r buildReport) summary() []page.Block {
	a := r.Accuracy
	t := &page.Table{Columns: []page.Column{{Title: ""}, {Title: "float", Right: true}, {Title: "INT8", Right: true}, {Title: "change", Right: true}}}
	changed := a.Changed()
	if changed {
		t.Columns = slices.Insert(t.Columns, 2, page.Column{Title: "INT8, calibrated", Right: true})
	}
	add := func(name, float, calibrated, int8 string, change page.Cell) {
		row := page.Texts(name, float, int8)
		if changed {
			row = page.Texts(name, float, calibrated, int8)
		}
		t.Rows = append(t.Rows, append(row, change))
	}
	accuracy := func(name string, of func(*Figures) float64) {
		text := func(f *Figures) string {
			if f == nil {
				return ""
			}
			return fmt.Sprintf("%.2f", 100*of(f))
		}
		if a.Float == nil && a.INT8 == nil {
			return
		}
		change := page.Cell{}
		if a.Float != nil && a.INT8 != nil {
			d := of(a.INT8) - of(a.Float)
			change.Text = fmt.Sprintf("%+.2f", 100*d)
			if d < -DefaultMaxDrop/100 {
				change.Tone = page.Bad
			}
		}
		add(name, text(a.Float), text(a.PTQ), text(a.INT8), change)
	}
	accuracy("mAP, %", func(f *Figures) float64 { return f.MAP })
	accuracy("mAP50, %", func(f *Figures) float64 { return f.MAP50 })
	if c := a.Command; c != nil {
		text := func(v *float64) string {
			if v == nil {
				return ""
			}
			return fmt.Sprintf("%.5g", *v)
		}
		add("metric of the command", text(c.Float), text(c.PTQ), text(c.INT8), page.Cell{})
	}
	size := func(name string, float, int8 int64) {
		if float > 0 && int8 > 0 {
			add(name, report.Bytes(float), "", report.Bytes(int8), page.Cell{Text: fmt.Sprintf("%+.0f %%", 100*(float64(int8)/float64(float)-1))})
		}
	}
	size("weights", r.Size.WeightsFloat, r.Size.WeightsInt8)
	size("ONNX file", r.Size.ONNXFloat, r.Size.ONNXInt8)
	if r.Size.EngineFloat == 0 && r.Size.Engine > 0 {
		add("engine", "", "", report.Bytes(r.Size.Engine), page.Cell{})
	}
	size("engine", r.Size.EngineFloat, r.Size.Engine)
	if times := r.medians(); len(times) > 0 {
		change := ""
		if times["float"] > 0 && times["INT8"] > 0 {
			change = fmt.Sprintf("%.2f times as fast", times["float"]/times["INT8"])
		}
		text := func(v float64) string {
			if v == 0 {
				return ""
			}
			return fmt.Sprintf("%.3f", v)
		}
		add("median latency, ms", text(times["float"]), "", text(times["INT8"]), page.Cell{Text: change})
	}
	if len(t.Rows) == 0 {
		return nil
	}
	if a.Images > 0 {
		t.Caption = fmt.Sprintf("Measured on %d labelled pictures. INT8 is the Q/DQ model, computed as an engine computes it.", a.Images)
	}
	if len(r.Latency) == 0 && r.Engine != nil {
		t.Caption += " Latency was not measured: no GPU here runs the engine."
	}
	blocks := []page.Block{{Table: t}}
	if a.Float != nil && a.INT8 != nil {
		blocks = append(blocks, page.Block{Table: publishedTable()})
	}
	return blocks
}

func (r buildReport) pictures() []page.Block {
	if len(r.pairs) == 0 {
		return nil
	}
	return []page.Block{{Pairs: r.pairs}}
}

func (r buildReport) pictureText() string {
	return fmt.Sprintf("Of the first %d pictures, those on which the float model and INT8 find the most different things, largest difference first. Boxes from a score of %.2f on.", comparedPictures, shownScore)
}

func (r buildReport) engine() []page.Block {
	e := r.Engine
	if e == nil {
		return nil
	}
	facts := []page.Fact{{Name: "TensorRT", Value: e.Backend + " " + e.Version}, {Name: "precision", Value: e.Precision}}
	if len(e.Targets) > 0 {
		facts = append(facts, page.Fact{Name: "for", Value: strings.Join(e.Targets, ", ")})
	}
	for _, d := range e.DroppedTargets {
		facts = append(facts, page.Fact{Name: "not for " + d.Target, Value: d.Reason})
	}
	if c := e.Convolutions; c != nil {
		facts = append(facts, page.Fact{Name: "convolutions in INT8", Value: fmt.Sprintf("%d of %d", c.INT8, c.All)})
	}
	for _, w := range e.Warnings {
		facts = append(facts, page.Fact{Name: "warning", Value: w})
	}
	return []page.Block{{Facts: facts}}
}

// sizes lists the weights of all layers, largest first.
func (r buildReport) sizes() []page.Block {
	if len(r.Size.Layers) == 0 {
		return nil
	}
	t := &page.Table{Long: len(r.Size.Layers) > 20, Columns: []page.Column{
		{Title: "layer", Wide: true}, {Title: "float", Right: true}, {Title: "now", Right: true}, {Title: "precision"}, {Title: "why float", Wide: true},
	}}
	list := slices.Clone(r.Size.Layers)
	slices.SortStableFunc(list, func(a, b LayerSize) int { return int(b.Float - a.Float) })
	for _, l := range list {
		precision := "INT8"
		if l.INT8 == l.Float {
			precision = "float"
		}
		t.Rows = append(t.Rows, page.Texts(l.Node, report.Bytes(l.Float), report.Bytes(l.INT8), precision, l.Reason))
	}
	return []page.Block{{Table: t}}
}

// run is how it was made: configuration, versions, hashes, command, time.
func (r buildReport) run() []page.Block {
	o := r.options
	facts := []page.Fact{
		{Name: "model", Value: r.Model.Path}, {Name: "SHA-256", Value: r.Model.SHA256},
		{Name: "parameters", Value: report.Count(int64(r.Model.Params))},
		{Name: "family, input", Value: fmt.Sprintf("%s, %dx%d, batch %d", r.Family, r.Shape[0], r.Shape[1], r.Batch)},
	}
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, page.Fact{Name: name, Value: value})
		}
	}
	add("pictures to calibrate", o.Data)
	add("labelled pictures", o.Val)
	if q := r.Quantization; q.Layers > 0 {
		add("scales", q.Method)
		add("quantised", fmt.Sprintf("%d activations in %d groups, %d layers, %.1f %% of the weights", q.Sites, q.Groups, q.Layers, 100*q.Share))
	}
	if p := r.PTQ; p != nil && p.Trials > 0 {
		add("calibration", fmt.Sprintf("%d pictures, %d trials", p.Images, p.Trials))
	}
	if p := r.PTQ; p != nil && p.From != "" {
		add("plan", p.From)
	}
	add("options", o.words())
	add("computed on", r.Device)
	if r.PeakRSS > 0 {
		text := report.Bytes(r.PeakRSS) + " at most"
		if e := r.Engine; e != nil && e.BuildPeakRSS > 0 {
			text += ", and " + report.Bytes(e.BuildPeakRSS) + " for TensorRT"
		}
		add("memory", text)
	}
	for _, f := range []struct{ what, path string }{{"engine", r.Files.Engine}, {"float engine", r.Files.FloatEngine}, {"Q/DQ model", r.Files.ONNX}, {"plan file", r.Files.Plan}} {
		if f.path != "" {
			add(f.what, f.path+hashOf(f.path))
		}
	}
	return append([]page.Block{{Facts: facts}}, runBlocks(r.Command, r.Seconds)...)
}

// hashOf is ", SHA-256 ..." of a file that was written; "" where it cannot be read.
func hashOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return ", SHA-256 " + hex.EncodeToString(h.Sum(nil))
}
