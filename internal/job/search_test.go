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
// among the finalists, and a second search finds the same.
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
	if again, _ := search(nil); !slices.EqualFunc(again.Sites, plan.Sites, func(a, b calib.Site) bool { return a.Scale == b.Scale }) {
		t.Error("a second search chooses other scales")
	}
	calls := 0.0
	_, measured := search(func(*calib.Plan) (float64, error) { calls++; return calls, nil })
	if last := measured.Finalists[len(measured.Finalists)-1]; calls != float64(len(measured.Finalists)) || measured.Chosen != last.Setting || *last.Metric != calls {
		t.Errorf("measured %v times, chosen %v of %+v", calls, measured.Chosen, measured.Finalists)
	}
}
