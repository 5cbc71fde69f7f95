// How fast the built engines are, where this machine has the GPU that they run on.

package job

import (
	"context"
	"fmt"
	"slices"

	"trtact/internal/gpu"
	"trtact/internal/page"
	"trtact/internal/stats"
)

// EngineLatency is the GPU's time for one run of an engine's batch, in milliseconds.
type EngineLatency struct {
	Engine string `json:"engine"` // "float" or "INT8"
	stats.Summary
	Times []float64 `json:"times_ms,omitempty"` // of every run, sorted
}

// timer gives the times of one block of runs, in milliseconds.
type timer func(ctx context.Context, path string) ([]float64, error)

// latencies times the engines that were written. Without a GPU there is nothing to
// measure, which is no error.
func (b *building) latencies(ctx context.Context) ([]EngineLatency, error) {
	f := b.r.Files
	if f.Engine == "" {
		return nil, nil
	}
	m, err := gpu.Open()
	if err != nil {
		return nil, nil
	}
	m.Close()
	engines := []namedEngine{{"INT8", f.Engine}}
	if !b.o.INT8 && !b.d.Quantized || b.o.EngineOfFloat {
		engines[0].name = "float"
	}
	if f.FloatEngine != "" {
		engines = slices.Insert(engines, 0, namedEngine{"float", f.FloatEngine})
	}
	b.m.count("time the engine", 0, "")
	return timeInTurns(ctx, engines, func(ctx context.Context, path string) ([]float64, error) { return race(ctx, path, b.o.Engine) })
}

type namedEngine struct{ name, path string }

// timeInTurns lets the engines alternate, so that a clock that falls falls for all.
func timeInTurns(ctx context.Context, engines []namedEngine, time timer) ([]EngineLatency, error) {
	list := make([]EngineLatency, len(engines))
	for range raceTurns {
		for i, e := range engines {
			times, err := time(ctx, e.path)
			if err != nil {
				return nil, fmt.Errorf("time %s: %w", e.path, err)
			}
			list[i].Times = append(list[i].Times, times...)
		}
	}
	for i := range list {
		slices.Sort(list[i].Times)
		list[i].Engine, list[i].Summary = engines[i].name, stats.Summarise(list[i].Times)
	}
	return list, nil
}

// medians are the engines' median times in milliseconds.
func (r buildReport) medians() map[string]float64 {
	times := map[string]float64{}
	for _, l := range r.Latency {
		times[l.Engine] = l.Median
	}
	return times
}

// curvePercentiles is how finely the distribution is drawn.
const curvePercentiles = 200

// latency is a table and the distribution: which part of the runs took how long at
// most.
func (r buildReport) latency() []page.Block {
	if len(r.Latency) == 0 && len(r.Race) == 0 {
		return nil
	}
	var blocks []page.Block
	if len(r.Latency) > 0 {
		t := &page.Table{Columns: []page.Column{{Title: "engine"}, {Title: "median, ms", Right: true}, {Title: "mean", Right: true}, {Title: "p90", Right: true}, {Title: "p99", Right: true}, {Title: "runs", Right: true}}}
		var curves []page.Curve
		for _, l := range r.Latency {
			ms := func(v float64) string { return fmt.Sprintf("%.3f", v) }
			t.Rows = append(t.Rows, page.Texts(l.Engine, ms(l.Median), ms(l.Mean), ms(l.P90), ms(l.P99), fmt.Sprint(l.Count)))
			c := page.Curve{Name: l.Engine, Kind: page.Float}
			if l.Engine == "INT8" {
				c.Kind = page.INT8
			}
			for i := range curvePercentiles + 1 {
				part := float64(i) / curvePercentiles
				c.X = append(c.X, stats.Percentile(l.Times, 100*part))
				c.Y = append(c.Y, 100*part)
			}
			curves = append(curves, c)
		}
		blocks = append(blocks, page.Block{Table: t}, page.Block{Charts: []page.Chart{
			page.Lines("Time of one run", page.LineOptions{XLabel: "ms on the GPU", YLabel: "% of the runs", FromZero: true, Rising: true}, curves...)}})
	}
	if len(r.Race) > 0 {
		t := &page.Table{Caption: "Both ways to INT8, timed in turns", Columns: []page.Column{{Title: "INT8"}, {Title: "median, ms", Right: true}, {Title: "runs", Right: true}, {Title: ""}}}
		for _, e := range r.Race {
			kept := ""
			if e.Fastest {
				kept = "kept"
			}
			t.Rows = append(t.Rows, page.Texts(string(e.Mode), fmt.Sprintf("%.3f", e.Median), fmt.Sprint(e.Runs), kept))
		}
		blocks = append(blocks, page.Block{Table: t})
	}
	return blocks
}
