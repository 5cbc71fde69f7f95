package calib

import (
	"context"
	"slices"
	"strings"
	"testing"
)

// layerCost is a simulator in which every layer in INT8 adds its own error.
type layerCost struct {
	cost map[string]float64
	base float64
}

func (l layerCost) Deviations(_ context.Context, p *Plan, from, to int) ([]Deviation, error) {
	e := l.base
	for _, n := range p.Layers() {
		e += l.cost[n]
	}
	return repeated(to-from, e), nil
}

// repeated is so many images on which the outputs are off by these errors.
func repeated(images int, errors ...float64) []Deviation {
	list := make([]Deviation, images)
	for i := range list {
		for _, e := range errors {
			list[i].Outputs = append(list[i].Outputs, Squares{Difference: e * e, Norm: 1})
		}
	}
	return list
}

// TestAdmit: of the layers that placement left float those come in that cost
// little for their bytes, as many as the tolerance allows, and the others keep
// their reason.
func TestAdmit(t *testing.T) {
	m := mobile(t)
	p, err := Place(m.Graph, DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	w, err := Widen(m.Graph, p, func(o *Options) { o.Pooled, o.Depthwise, o.Thin = true, true, true })
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Layers) < 4 {
		t.Fatalf("the graph has only %v left float", w.Layers)
	}
	for _, n := range w.Layers {
		if w.Bytes[n] <= 0 {
			t.Errorf("layer %s has %d bytes", n, w.Bytes[n])
		}
	}
	stats := map[string]*Statistics{}
	for _, s := range w.Plan.Sites {
		h := Histogram{Upper: 1, Counts: make([]int64, Bins)}
		h.Counts[10] = 1
		stats[s.Tensor] = &Statistics{Images: 1, AbsMax: 1, Histogram: h}
	}
	dear := w.Layers[1]
	sim := layerCost{base: 1, cost: map[string]float64{dear: 0.5}}
	for _, n := range w.Layers {
		if n != dear {
			sim.cost[n] = 0.001
		}
	}
	best, trials, err := Auto(context.Background(), sim, p, stats, AutoOptions{Candidates: []Method{AbsMax}, Wider: []Wider{w}})
	if err != nil {
		t.Fatal(err)
	}
	layers := best.Layers()
	for _, n := range w.Layers {
		if slices.Contains(layers, n) == (n == dear) {
			t.Errorf("layer %s in INT8: %v", n, n != dear)
		}
	}
	skipped := slices.IndexFunc(best.Skipped, func(k Skip) bool { return k.Node == dear })
	if skipped < 0 || best.Skipped[skipped].Reason == "" {
		t.Errorf("%s has no reason among the skipped: %+v", dear, best.Skipped)
	}
	if !strings.Contains(best.Method, "more layers in INT8") || strings.Count(best.Method, "more layers") != 1 {
		t.Errorf("method %q", best.Method)
	}
	if most := (AutoOptions{Candidates: []Method{AbsMax}, Wider: []Wider{w}}).Trials(); len(trials) > most {
		t.Errorf("%d trials, announced were %d", len(trials), most)
	}
	if err := best.Validate(); err != nil {
		t.Error(err)
	}
}
