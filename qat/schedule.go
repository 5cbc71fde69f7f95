// Learning rates over the steps of a run.
package qat

// ScheduleKind is how the rate changes.
type ScheduleKind string

// The schedules.
const (
	ConstantRate  ScheduleKind = "constant"
	PiecewiseRate ScheduleKind = "piecewise"
	CosineRate    ScheduleKind = "cosine"
)

// Schedule is the learning rate over the steps.
type Schedule struct {
	Kind ScheduleKind
	Rate float64 // of constant; highest of cosine
	// Cosine: from Rate down to Floor in Period steps; 0: the whole run.
	Floor  float64
	Period int
	// Piecewise: Values[i] until Boundaries[i] steps are done, then the next.
	Boundaries []int
	Values     []float64
	// Warmup is the first steps, in which the rate rises from 0 in a line.
	Warmup int
}
