package analysis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"trtact/calib"
	"trtact/internal/nn"
	"trtact/internal/onnx"
)

// bruteForce is the error of a whole model that is quantised but for the skipped
// nodes, run from its inputs.
func bruteForce(t testing.TB, s Subject, samples []Sample, quantised func(node string) bool) []float64 {
	t.Helper()
	p := s.Plan.Clone()
	for _, n := range s.Model.Graph.Nodes {
		if n.Op != "Pad" && !quantised(n.Name) {
			p.Skip(n.Name, n.Op, "test")
		}
	}
	m, err := calib.Apply(s.Model, p, calib.FloatWeights)
	if err != nil {
		t.Fatal(err)
	}
	values := func(m *onnx.Model) [][]float32 {
		n, err := nn.Compile(m, s.Device, nn.Options{Outputs: s.Heads})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		c, err := n.NewContext()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		list := make([][]float32, len(s.Heads))
		for _, sample := range samples {
			v, err := run(c, sample, s.Heads)
			if err != nil {
				t.Fatal(err)
			}
			for h, name := range s.Heads {
				list[h] = append(list[h], v[name].Floats()...)
			}
		}
		return list
	}
	want, got := values(s.Model), values(m)
	var list []float64
	for h := range s.Heads {
		list = append(list, calib.SquaresOf(got[h], want[h]).Relative())
	}
	return list
}

// closeTo allows for another order of float sums.
func closeTo(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(x, y float64) bool { return math.Abs(x-y) <= 1e-5*math.Max(1e-2, math.Max(x, y)) })
}

func TestSensitivitiesAreThoseOfWholeRuns(t *testing.T) {
	m, heads := detectorLike(t)
	samples := samplesFor(5)
	s := subjectFor(t, m, heads, samples)
	list, err := s.Sensitivities(context.Background(), samples)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i, l := range list {
		names = append(names, l.Node)
		want := bruteForce(t, s, samples, func(node string) bool { return node == l.Node })
		if !closeTo(l.Error.Heads, want) {
			t.Errorf("%s: %v, whole runs give %v", l.Node, l.Error.Heads, want)
		}
		if l.Position != i {
			t.Errorf("%s: position %d, stands at %d", l.Node, l.Position, i)
		}
		if l.Error.Mean == 0 {
			t.Errorf("%s: quantising it changes nothing", l.Node)
		}
	}
	for _, name := range []string{"node stem.conv", "node right.conv", "node down.conv", "node mix.conv", "node near.conv", "node sum"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s was not tested; these were: %q", name, names)
		}
	}
	far := list[slices.Index(names, "node far.conv")]
	if far.Error.Heads[1] != 0 {
		t.Errorf("the second head does not depend on far, and is off by %v", far.Error.Heads[1])
	}
}

func TestCumulativeIsThatOfWholeRuns(t *testing.T) {
	m, heads := detectorLike(t)
	samples := samplesFor(3)
	s := subjectFor(t, m, heads, samples)
	list, err := s.Cumulative(context.Background(), samples, 100)
	if err != nil {
		t.Fatal(err)
	}
	units, err := s.Sensitivities(context.Background(), samples)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(units) {
		t.Fatalf("%d points for %d units", len(list), len(units))
	}
	in := map[string]bool{}
	for i, p := range list {
		in[units[i].Node] = true
		if p.Node != units[i].Node || p.Units != i+1 {
			t.Errorf("point %d is of %d units up to %s, not %s", i, p.Units, p.Node, units[i].Node)
		}
		want := bruteForce(t, s, samples, func(node string) bool { return in[node] })
		if !closeTo(p.Error.Heads, want) {
			t.Errorf("first %d: %v, whole runs give %v", p.Units, p.Error.Heads, want)
		}
	}
	few, err := s.Cumulative(context.Background(), samples, 4)
	if err != nil {
		t.Fatal(err)
	}
	if len(few) != 4 || few[3].Units != len(units) || !closeTo(few[3].Error.Heads, list[len(list)-1].Error.Heads) {
		t.Errorf("four points: %+v", few)
	}
}

func TestAloneIsTheWholeModel(t *testing.T) {
	m, heads := detectorLike(t)
	samples := samplesFor(2)
	s := subjectFor(t, m, heads, samples)
	list, err := s.Sensitivities(context.Background(), samples)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		alone, err := s.Alone(l.Node)
		if err != nil {
			t.Fatal(err)
		}
		if len(alone.Graph.Outputs) != 2 || alone.Graph.Outputs[0].Name != "out" {
			t.Fatalf("outputs %v", alone.Graph.Outputs)
		}
		p, err := s.prepare()
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.record(context.Background(), alone, samples, heads)
		if err != nil {
			t.Fatal(err)
		}
		wanted, err := p.record(context.Background(), m, samples, heads)
		if err != nil {
			t.Fatal(err)
		}
		var errs []float64
		for _, h := range heads {
			var a, b []float32
			for i := range samples {
				a, b = append(a, got[i][h].Floats()...), append(b, wanted[i][h].Floats()...)
			}
			errs = append(errs, calib.SquaresOf(a, b).Relative())
		}
		if !closeTo(errs, l.Error.Heads) {
			t.Errorf("%s: alone in the whole model %v, tested %v", l.Node, errs, l.Error.Heads)
		}
	}
	if _, err := s.Alone("nobody"); err == nil {
		t.Error("a node that is not there was quantised")
	}
}

func TestLittleMemoryGivesTheSame(t *testing.T) {
	m, heads := detectorLike(t)
	samples := samplesFor(4)
	s := subjectFor(t, m, heads, samples)
	much, err := s.Sensitivities(context.Background(), samples)
	if err != nil {
		t.Fatal(err)
	}
	s.KeepBytes = 1
	s.Workers = 1
	little, err := s.Sensitivities(context.Background(), samples)
	if err != nil {
		t.Fatal(err)
	}
	for i := range much {
		if !slices.Equal(much[i].Error.Heads, little[i].Error.Heads) {
			t.Errorf("%s: %v with memory, %v without", much[i].Node, much[i].Error.Heads, little[i].Error.Heads)
		}
	}
}

// A run that is stopped after some layers goes on to the result of an unbroken one and
// does not repeat them.
func TestResume(t *testing.T) {
	m, heads := detectorLike(t)
	samples := samplesFor(3)
	s := subjectFor(t, m, heads, samples)
	whole, err := s.Sensitivities(context.Background(), samples)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if s.Store, err = NewStore(dir, "model", 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := 0
	s.Progress = func() {
		if done++; done == 4 {
			cancel()
		}
	}
	if _, err := s.Sensitivities(ctx, samples); !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped: %v", err)
	}
	kept := files(t, dir)
	if len(kept) < 4 || len(kept) >= len(whole) { // others may have been on their way
		t.Fatalf("%d files after four of %d layers", len(kept), len(whole))
	}
	// What is there is taken as it is: a changed file shows in the result.
	var first Error
	part := "layer " + whole[0].Node
	if !s.Store.load(part, &first) {
		t.Fatal("the first layer is not kept")
	}
	first.Mean = 42
	if err := s.Store.save(part, first); err != nil {
		t.Fatal(err)
	}
	s.Progress = nil
	again, err := s.Sensitivities(context.Background(), samples)
	if err != nil {
		t.Fatal(err)
	}
	if again[0].Error.Mean != 42 {
		t.Error("the first layer was tested again")
	}
	for i := 1; i < len(whole); i++ {
		if !slices.Equal(again[i].Error.Heads, whole[i].Error.Heads) {
			t.Errorf("%s: %v, unbroken %v", whole[i].Node, again[i].Error.Heads, whole[i].Error.Heads)
		}
	}
	// Of another model, or broken: not taken.
	if s.Store, err = NewStore(dir, "model", 2); err != nil {
		t.Fatal(err)
	}
	if s.Store.load(part, &first) {
		t.Error("a part of something else was taken")
	}
	if s.Store, err = NewStore(dir, "model", 1); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Store.path(part), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.Store.load(part, &first) {
		t.Error("a broken file was taken")
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestValues(t *testing.T) {
	m, heads := detectorLike(t)
	// One channel of "a" is never used, one is so small that INT8 loses it, and one
	// weight of "mix" is far out.
	w := m.Graph.Init["a.w"].Data.([]float32)
	b := m.Graph.Init["a.b"].Data.([]float32)
	for i := range 16 * 9 {
		w[i] = 0
		w[16*9+i] *= 1e-4
	}
	b[0], b[1] = 0, 1e-5
	m.Graph.Init["mix.w"].Data.([]float32)[7] = 40
	samples := samplesFor(3)
	s := subjectFor(t, m, heads, samples)
	list, err := s.Values(context.Background(), samples)
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]UnitValues{}
	for _, u := range list {
		by[u.Node] = u
	}
	if got := by["node a.conv"].Weights; got.Dead != 1 || got.Lost != 0 || got.Channels != 16 {
		t.Errorf("weights of a: %d dead, %d lost of %d", got.Dead, got.Lost, got.Channels)
	}
	if got := by["node b.conv"].Input; got.Dead != 1 || got.Lost != 1 || got.Channels != 16 || got.Clipped == 0 || got.Clipped > 0.01 {
		t.Errorf("input of b: %d dead, %d lost of %d, %v clipped", got.Dead, got.Lost, got.Channels, got.Clipped)
	}
	if got := by["node mix.conv"].Weights.Spread; got.Peak < 50 || got.AbsMax != 40 {
		t.Errorf("mix: peak %v, absmax %v", got.Peak, got.AbsMax)
	}
	if got := by["node far.conv"].Weights.Spread; got.Peak > 3 {
		t.Errorf("far: peak %v of normal weights", got.Peak)
	}
	if got := by["node stem.conv"].Input.Arriving; got != 0 {
		t.Errorf("error arriving at the first layer: %v", got)
	}
	if a, b := by["node a.conv"].Input.Arriving, by["node far.conv"].Input.Arriving; !(a > 0 && b > a) {
		t.Errorf("errors arriving: %v at the second layer, %v at the last", a, b)
	}
	for _, u := range list {
		for _, v := range []*Values{u.Weights, u.Input} {
			if v == nil {
				continue
			}
			if v.Error <= 0 || v.Error > 0.2 {
				t.Errorf("%s %s: error %v", u.Node, v.Tensor, v.Error)
			}
			var float, int8 int
			for i := range v.Histogram.Float {
				float += v.Histogram.Float[i]
				int8 += v.Histogram.INT8[i]
			}
			if float == 0 || float != int8 {
				t.Errorf("%s %s: %d values in one histogram, %d in the other", u.Node, v.Tensor, float, int8)
			}
		}
	}
}

func TestSpread(t *testing.T) {
	values := make([]float32, 0, 101)
	for i := range 100 {
		values = append(values, float32(i))
	}
	values = append(values, 1000)
	got := spreadOf(values)
	want := Spread{Min: 0, Q1: 25, Median: 50, Q3: 75, Max: 1000, Low: 0, High: 99, Outliers: 1.0 / 101, AbsMax: 1000, P99: 99, Peak: 1000.0 / 99}
	if math.Abs(got.Outliers-want.Outliers) > 1e-12 {
		t.Errorf("outliers %v", got.Outliers)
	}
	got.Outliers = want.Outliers
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	for _, values := range [][]float32{nil, {0}, {3, 3, 3}, {-1}} {
		if s := spreadOf(values); fmt.Sprint(s) == "" || s.Low > s.High || math.IsNaN(s.Peak) {
			t.Errorf("%v: %+v", values, s)
		}
	}
}
