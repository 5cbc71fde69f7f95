package job

import (
	"context"
	"math"
	"slices"
	"testing"

	"trtact/calib"
	"trtact/internal/npy"
)

// TestSearch: all combinations are tried, the best by error wins, what measures decides
// among the finalists, and a search with more or fewer threads finds the same.
func TestSearch(t *testing.T) {
	m, d := cpu(t), oneInput(t)
	samples := &arrays{inputs: d.Model.Graph.Inputs, count: 40, files: []arrayFile{{path: "x.npz", count: 40, npz: map[string]*npy.Array{"x": normal([]int{40, 16, 6, 6}, 5)}}}}
	o := CalibrateOptions{Placement: calib.DefaultOptions(), Equalise: EqualiseOff}
	base, err := m.CalibrateOn(context.Background(), d, samples, o)
	if err != nil {
		t.Fatal(err)
	}
	search := func(measure func(*calib.Plan) (float64, error)) (*calib.Plan, *Search) {
		p, s, err := m.searchSettings(context.Background(), d, samples, o, base.Plan, measure)
		if err != nil {
			t.Fatal(err)
		}
		return p, s
	}
	plan, found := search(nil)
	// Methods, bias correction or not, two scales of weights, all pictures or a quarter.
	if want := len(searchMethods()) * 2 * 2 * 2; found.Settings != want || found.Rounds[0].Settings != want {
		t.Errorf("%d settings, want %d", found.Settings, want)
	}
	if found.Chosen != found.Finalists[0].Setting || !slices.IsSortedFunc(found.Finalists, func(a, b Finalist) int {
		return int(math.Copysign(1, a.Score-b.Score))
	}) {
		t.Errorf("chosen %v of %+v", found.Chosen, found.Finalists)
	}
	if plan.Method != "search: "+found.Chosen.String() || len(plan.Sites) == 0 || plan.Sites[0].Scale <= 0 || found.nodeError["out"] <= 0 {
		t.Errorf("the plan: %s, %+v", plan.Method, plan.Sites)
	}
	threads := m.Threads
	for _, m.Threads = range []int{1, 3} {
		again, same := search(nil)
		if !slices.EqualFunc(again.Sites, plan.Sites, func(a, b calib.Site) bool { return a.Scale == b.Scale }) {
			t.Errorf("with %d threads the search chooses other scales", m.Threads)
		}
		if !slices.EqualFunc(same.Finalists, found.Finalists, func(a, b Finalist) bool { return a.Setting == b.Setting && a.Score == b.Score }) {
			t.Errorf("with %d threads the finalists are %+v, not %+v", m.Threads, same.Finalists, found.Finalists)
		}
	}
	m.Threads = threads
	// The best of every method is measured, and then what is near the best of those.
	methods := map[calib.Method]bool{}
	for _, f := range found.Finalists {
		methods[f.Method] = true
	}
	if len(methods) != len(found.Finalists) || len(methods) < len(searchMethods())/2 { // some make one plan here
		t.Errorf("the finalists: %+v", found.Finalists)
	}
	for _, c := range []struct {
		name    string
		measure func(calls float64) float64
	}{
		{"each is better than the one before", func(calls float64) float64 { return calls }},
		{"each is worse", func(calls float64) float64 { return -calls }},
	} {
		calls := 0.0
		_, measured := search(func(*calib.Plan) (float64, error) { calls++; return c.measure(calls), nil })
		best := max(c.measure(1), c.measure(calls))
		if first := measured.Finalists[0]; measured.Chosen != first.Setting || *first.Metric != best {
			t.Errorf("%s: chosen %v, measured %v, want %v", c.name, measured.Chosen, *first.Metric, best)
		}
		// One step changes one of three things here.
		n := len(measured.Finalists)
		if calls != float64(n) || n <= len(methods) || n > len(methods)+3*nearBest {
			t.Errorf("%s: measured %v times, %d finalists after %d", c.name, calls, n, len(methods))
		}
		for _, f := range measured.Finalists {
			near := func(other Finalist) bool { return f.steps(other.Setting) == 1 }
			if !slices.ContainsFunc(found.Finalists, func(other Finalist) bool { return f.Setting == other.Setting || near(other) }) {
				t.Errorf("%s: %v is not near a finalist", c.name, f.Setting)
			}
		}
	}
}

func TestSteps(t *testing.T) {
	from := Setting{Method: calib.MSE, Weights: calib.AbsMax, Images: 32}
	one, two, other := from, from, from
	one.Admitted = true
	two.Images, two.Biases = 8, true
	other.Method = calib.EMD
	for _, c := range []struct {
		to   Setting
		want int
	}{{from, 0}, {one, 1}, {two, 2}, {other, math.MaxInt}} {
		if got := c.to.steps(from); got != c.want {
			t.Errorf("%v: %d steps, want %d", c.to, got, c.want)
		}
	}
}
