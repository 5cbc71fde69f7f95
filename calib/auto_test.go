package calib

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// noiseSimulator stands for a network whose heads lose exactly the rounding and
// clipping noise of the tensors, weighed by how much each matters.
type noiseSimulator struct {
	stats  map[string]*Statistics
	weight map[string]float64
	images atomic.Int64 // that were run
	fail   error
}

func (s *noiseSimulator) Deviations(_ context.Context, p *Plan, from, to int) ([]Deviation, error) {
	s.images.Add(int64(to - from))
	if s.fail != nil {
		return nil, s.fail
	}
	sum := 1e-9
	for _, site := range p.Sites {
		sum += s.weight[site.Tensor] * relativeNoise(&s.stats[site.Tensor].Histogram, float64(site.Scale))
	}
	return repeated(to-from, math.Sqrt(sum), 2*math.Sqrt(sum)), nil
}

// autoCase is the bottleneck graph with normal tensors, of which two want
// different methods: "a" has a single far outlier, which is better clipped; "b"
// has many, which are not.
func autoCase(t *testing.T) (*Plan, *noiseSimulator) {
	t.Helper()
	p, err := Place(bottleneck(t).Graph, DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(11, 12))
	names := []string{"x", "a", "b", "sum"}
	o := NewObserver(names)
	for i := range 4 {
		m := memory{}
		for _, name := range names {
			v := make([]float32, 100000)
			for k := range v {
				v[k] = float32(r.NormFloat64())
				if name == "b" && k%2000 == 0 {
					v[k] = 10
				}
			}
			if name == "a" && i == 0 {
				v[17] = 40
			}
			m[name] = v
		}
		if err := o.Image(i, m); err != nil {
			t.Fatal(err)
		}
	}
	stats, err := o.Statistics()
	if err != nil {
		t.Fatal(err)
	}
	return p, &noiseSimulator{stats: stats, weight: map[string]float64{"x": 1, "a": 3, "b": 2, "sum": 1}}
}

func TestAutoChoosesByMeasuring(t *testing.T) {
	p, sim := autoCase(t)
	pair := []Method{AbsMax, Percentile(99.9)}
	heard := 0
	best, trials, err := Auto(context.Background(), sim, p, sim.stats, AutoOptions{Candidates: pair, Groups: 24, Images: 5, Progress: func(Trial) { heard++ }})
	if err != nil {
		t.Fatal(err)
	}
	if heard != len(trials) {
		t.Errorf("%d trials, %d heard", len(trials), heard)
	}
	// The mixture must beat either method alone.
	got, _ := Simulate(context.Background(), sim, best, 5)
	for _, m := range pair {
		q := p.Clone()
		if err := q.Assign(sim.stats, m); err != nil {
			t.Fatal(err)
		}
		e, _ := Simulate(context.Background(), sim, q, 5)
		if Score(e) <= Score(got) {
			t.Errorf("%s alone has score %v, the choice %v", m, Score(e), Score(got))
		}
	}
	for _, s := range best.Sites {
		if want := map[string]string{"a": "percentile:99.9", "b": "absmax"}[s.Tensor]; want != "" && s.Method != want {
			t.Errorf("tensor %s has method %s, want %s", s.Tensor, s.Method, want)
		}
	}
	if !strings.HasPrefix(best.Method, "auto: ") {
		t.Errorf("method %q", best.Method)
	}
	again, _, err := Auto(context.Background(), sim, p, sim.stats, AutoOptions{Candidates: pair, Groups: 24, Images: 5})
	if err != nil || !reflect.DeepEqual(best, again) {
		t.Errorf("a second search chose differently (%v)", err)
	}
	if p.Calibrated() {
		t.Error("Auto changed the plan it was given")
	}
}

// TestAutoHalves: all candidates on a part of the images, the better half on twice as
// many, the last two on all; no image is run twice, and the best comes to the end.
func TestAutoHalves(t *testing.T) {
	p, sim := autoCase(t)
	_, trials, err := Auto(context.Background(), sim, p, sim.stats, AutoOptions{Images: 32})
	if err != nil {
		t.Fatal(err)
	}
	n := len(DefaultCandidates())
	if n != 7 {
		t.Fatalf("%d candidates: reckon the rounds of this test anew", n)
	}
	tried := map[int]int{}
	best := trials[0]
	for _, trial := range trials {
		tried[trial.Images]++
		if trial.Score < best.Score {
			best = trial
		}
	}
	if want := map[int]int{8: 7, 16: 4, 32: 2}; !reflect.DeepEqual(tried, want) {
		t.Errorf("trials by images %v, want %v", tried, want)
	}
	if want := int64(7*8 + 4*8 + 2*16); sim.images.Load() != want {
		t.Errorf("%d images run, want %d", sim.images.Load(), want)
	}
	if len(trials) != (AutoOptions{}).Trials() {
		t.Errorf("%d trials, %d announced", len(trials), (AutoOptions{}).Trials())
	}
	if !slices.ContainsFunc(trials, func(trial Trial) bool { return trial.Method == best.Method && trial.Images == 32 && trial.Kept }) {
		t.Errorf("%s has the least error and was not kept", best.Method)
	}
}

// TestAutoGivesUp: a method far behind the best of its round is not in the next, though
// there would be room for it.
func TestAutoGivesUp(t *testing.T) {
	p, sim := autoCase(t)
	_, trials, err := Auto(context.Background(), sim, p, sim.stats, AutoOptions{Candidates: []Method{AbsMax, MSE, Percentile(99)}, Images: 32})
	if err != nil {
		t.Fatal(err)
	}
	if len(trials) != 4 || trials[0].Score < outOfReach*trials[1].Score || trials[3].Method != MSE || !trials[3].Kept {
		t.Errorf("trials %+v", trials)
	}
	if want := int64(3*16 + 16); sim.images.Load() != want {
		t.Errorf("%d images run, want %d", sim.images.Load(), want)
	}
}

// TestAutoKeepsItsBudget: trials for single groups stop where they are told to, and one
// that is behind on a quarter of the images goes no further.
func TestAutoKeepsItsBudget(t *testing.T) {
	p, sim := autoCase(t)
	o := AutoOptions{Candidates: []Method{AbsMax, MSE, MeanPercentile(99.9)}, Groups: 2, Images: 8}
	_, trials, err := Auto(context.Background(), sim, p, sim.stats, o)
	first := slices.IndexFunc(trials, func(trial Trial) bool { return trial.Tensors != nil })
	if err != nil || first < 0 || len(trials)-first != 2 || len(trials) > o.Trials() {
		t.Fatalf("%d trials (%v) from %d on of groups, %d announced; want 2 of groups", len(trials), err, first, o.Trials())
	}
	for _, trial := range trials[first:] {
		if want := map[bool]int{true: 8, false: 2}[trial.Kept]; trial.Images != want {
			t.Errorf("a trial of a group, kept %v, ran %d images", trial.Kept, trial.Images)
		}
	}
}

// TestAutoChanges: changes build on each other, and one that does harm is undone.
func TestAutoChanges(t *testing.T) {
	p, sim := autoCase(t)
	scaleOf := func(p *Plan, tensor string) *Site {
		for i := range p.Sites {
			if p.Sites[i].Tensor == tensor {
				return &p.Sites[i]
			}
		}
		t.Fatalf("no site %s", tensor)
		return nil
	}
	var seen []float32 // of a, when the last change came
	best, trials, err := Auto(context.Background(), sim, p, sim.stats, AutoOptions{Candidates: []Method{AbsMax}, Changes: []Change{
		{"less range for a", func(p *Plan) error { scaleOf(p, "a").Scale /= 8; return nil }},
		{"less range for b", func(p *Plan) error { scaleOf(p, "b").Scale /= 1000; return nil }},
		{"nothing", func(p *Plan) error { seen = append(seen, scaleOf(p, "a").Scale, scaleOf(p, "b").Scale); return nil }},
	}})
	if err != nil {
		t.Fatal(err)
	}
	a, b := Scale(float64(sim.stats["a"].AbsMax))/8, Scale(float64(sim.stats["b"].AbsMax))
	if got := scaleOf(best, "a").Scale; got != a {
		t.Errorf("a has scale %v, want %v", got, a)
	}
	if want := []float32{a, b}; !reflect.DeepEqual(seen, want) {
		t.Errorf("the last change saw %v, want %v", seen, want)
	}
	var kept []bool
	for _, trial := range trials {
		kept = append(kept, trial.Kept)
	}
	if want := []bool{true, true, false, false}; !reflect.DeepEqual(kept, want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
	if best.Method != "auto: absmax + less range for a" {
		t.Errorf("method %q", best.Method)
	}
	boom := errors.New("boom")
	if _, _, err := Auto(context.Background(), sim, p, sim.stats, AutoOptions{Changes: []Change{{"x", func(*Plan) error { return boom }}}}); !errors.Is(err, boom) {
		t.Errorf("a change that fails: %v", err)
	}
}

func TestAutoFails(t *testing.T) {
	p, sim := autoCase(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Auto(ctx, sim, p, sim.stats, AutoOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	sim.fail = errors.New("boom")
	if _, _, err := Auto(context.Background(), sim, p, sim.stats, AutoOptions{}); !errors.Is(err, sim.fail) {
		t.Errorf("a failing simulator: %v", err)
	}
	sim.fail = nil
	sim.weight["a"] = math.NaN()
	if _, _, err := Auto(context.Background(), sim, p, sim.stats, AutoOptions{}); err == nil || !strings.Contains(err.Error(), "not finite") {
		t.Errorf("outputs that are not finite: %v", err)
	}
	delete(sim.stats, "a")
	if _, _, err := Auto(context.Background(), sim, p, sim.stats, AutoOptions{}); err == nil || !strings.Contains(err.Error(), `tensor "a" of the plan was not observed`) {
		t.Errorf("missing statistics: %v", err)
	}
}

func TestRankLayers(t *testing.T) {
	p, sim := autoCase(t)
	if err := p.Assign(sim.stats, AbsMax); err != nil {
		t.Fatal(err)
	}
	// c0 reads x, c1 reads a, c2 reads b, c3 reads sum.
	sim.weight = map[string]float64{"x": 1e-3, "a": 0, "b": 50, "sum": 5}
	heard := 0
	list, err := RankLayers(context.Background(), sim, bottleneck(t).Graph, p, 3, func() { heard++ })
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, h := range list {
		order = append(order, h.Node)
	}
	if got, want := fmt.Sprint(order), "[c2 c3 c0 c1]"; got != want {
		t.Errorf("ranking %s, want %s", got, want)
	}
	if heard != len(list) {
		t.Errorf("heard of %d layers, want %d", heard, len(list))
	}
	if n := len(p.Skipped); n != len(autoPlanSkipped(t)) {
		t.Errorf("the plan was changed: %d skipped layers", n)
	}
}

func autoPlanSkipped(t *testing.T) []Skip {
	p, _ := autoCase(t)
	return p.Skipped
}

func TestScore(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{
		{[]float64{0.1, 0.4}, 0.2},
		{[]float64{0.3}, 0.3},
		{nil, math.Inf(1)},
		{[]float64{0.1, math.NaN()}, math.Inf(1)},
		{[]float64{0.1, math.Inf(1)}, math.Inf(1)},
	} {
		if got := Score(c.in); math.Abs(got-c.want) > 1e-12 && got != c.want {
			t.Errorf("score of %v is %v, want %v", c.in, got, c.want)
		}
	}
}

func TestAssignGroups(t *testing.T) {
	p, err := Place(pyramid(t).Graph, DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	stats := map[string]*Statistics{}
	for name, size := range map[string]float32{"x": 1, "a": 0.5, "cat": 6} {
		v := make([]float32, 1000)
		for i := range v {
			v[i] = size * float32(i) / 999
		}
		stats[name] = statisticsOf(t, v)
	}
	scale := func(tensor string) float32 {
		for _, s := range p.Sites {
			if s.Tensor == tensor {
				return s.Scale
			}
		}
		t.Fatalf("no site %q", tensor)
		return 0
	}
	if err := p.Assign(stats, AbsMax); err != nil {
		t.Fatal(err)
	}
	if scale("a") != scale("cat") || scale("a") != Scale(6) || scale("x") != Scale(1) {
		t.Errorf("scales %v, %v, %v; the group's must be %v", scale("x"), scale("a"), scale("cat"), Scale(6))
	}
	if p.Sites[0].Clipped != 0 || p.Sites[0].AbsMax != 1 {
		t.Errorf("site %+v: nothing is clipped up to 1", p.Sites[0])
	}
	if err := p.Assign(stats, Percentile(50)); err != nil {
		t.Fatal(err)
	}
	if scale("a") != scale("cat") || scale("a") >= Scale(6)*0.51 || p.Sites[1].Clipped != 0 || math.Abs(p.Sites[2].Clipped-0.5) > 0.01 {
		t.Errorf("sites %+v; want one scale, which clips half of cat and nothing of a", p.Sites)
	}
}
