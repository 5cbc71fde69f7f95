package qat

import (
	"math"
	"strings"
	"testing"
)

// The wanted rates of the cosine are those of the recursion by which PyTorch and
// Paddle define it (T_max 10, eta_min 1e-6), worked out in Python, those of the
// steps what Paddle's PiecewiseDecay defines.
func TestSchedules(t *testing.T) {
	cosine := Schedule{Kind: CosineRate, Rate: 1e-3, Floor: 1e-6, Period: 10}
	whole := Schedule{Kind: CosineRate, Rate: 1e-3, Floor: 1e-6, Warmup: 4}
	steps := Schedule{Kind: PiecewiseRate, Boundaries: []int{3, 6}, Values: []float64{0.1, 0.05, 0.01}}
	warm := steps
	warm.Warmup = 2
	for _, c := range []struct {
		name string
		s    Schedule
		at   int
		want float64
	}{
		{"constant", Schedule{Kind: ConstantRate, Rate: 3e-5}, 700, 3e-5},
		{"constant, warming up", Schedule{Kind: ConstantRate, Rate: 3e-5, Warmup: 3}, 0, 1e-5},
		{"constant, warmed up", Schedule{Kind: ConstantRate, Rate: 3e-5, Warmup: 3}, 2, 3e-5},
		{"cosine begins", cosine, 0, 1e-3},
		{"cosine 1", cosine, 1, 9.755527298894294e-4},
		{"cosine middle", cosine, 5, 5.005e-4},
		{"cosine 7", cosine, 7, 2.0690126647991e-4},
		{"cosine ends", cosine, 10, 1e-6},
		{"cosine rises again", cosine, 12, 9.639601130971e-5},
		{"cosine warming up", whole, 1, 5e-4},
		{"cosine warmed up", whole, 3, 1e-3},
		{"cosine counts from there", whole, 4, 1e-3},
		{"cosine over the run", whole, 14, 1e-6},
		{"first piece", steps, 2, 0.1},
		{"at the boundary", steps, 3, 0.05},
		{"last piece", steps, 600, 0.01},
		{"piece in warm-up", warm, 0, 0.05},
		{"pieces count behind it", warm, 4, 0.1},
		{"and change so", warm, 5, 0.05},
	} {
		if got := c.s.At(c.at, 14); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s: step %d has rate %.15g, want %.15g", c.name, c.at, got, c.want)
		}
		if err := c.s.validate(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if got := steps.highest(); got != 0.1 {
		t.Errorf("the highest rate is %v", got)
	}
}

func TestScheduleRefuses(t *testing.T) {
	for _, c := range []struct {
		s    Schedule
		want string
	}{
		{Schedule{}, "schedule \"\""},
		{Schedule{Kind: ConstantRate, Rate: math.NaN()}, "learning rate NaN"},
		{Schedule{Kind: ConstantRate, Rate: -1}, "learning rate -1"},
		{Schedule{Kind: CosineRate, Rate: 1e-4, Floor: 1e-3}, "not rise"},
		{Schedule{Kind: PiecewiseRate, Values: []float64{1, 2}}, "one more"},
		{Schedule{Kind: PiecewiseRate, Values: []float64{1, 2, 3}, Boundaries: []int{5, 5}}, "ascend"},
		{Schedule{Kind: ConstantRate, Rate: 1, Warmup: -1}, "warm-up of -1"},
	} {
		if err := c.s.validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.s, err, c.want)
		}
	}
}
