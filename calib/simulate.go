package calib

import (
	"context"
	"math"
)

// Simulator runs a plan's quantised model, of two plans at once if asked to.
type Simulator interface {
	// Deviations is how far the plan's model is off the float model on the calibration
	// images from..to-1: one for each, fewer where there are no more.
	Deviations(ctx context.Context, p *Plan, from, to int) ([]Deviation, error)
}

// Deviation is how far a quantised model is off the float one on one image.
type Deviation struct {
	Detection DetectionError
	Outputs   []Squares // of a network whose outputs are no detections: one for each
}

// Squares are sums of squares over a tensor: of the difference to what is wanted, and of
// that.
type Squares struct{ Difference, Norm float64 }

// SquaresOf compares two tensors of one size.
func SquaresOf(got, want []float32) Squares {
	var s Squares
	for i, w := range want {
		e := float64(got[i]) - float64(w)
		s.Difference += e * e
		s.Norm += float64(w) * float64(w)
	}
	return s
}

// Add takes in another part.
func (s *Squares) Add(o Squares) {
	s.Difference += o.Difference
	s.Norm += o.Norm
}

// Relative is the L2 error relative to the norm.
func (s Squares) Relative() float64 { return math.Sqrt(s.Difference / math.Max(s.Norm, 1e-30)) }

// Simulate runs a plan over the first so many images, 0 being all, and gives the Errors.
func Simulate(ctx context.Context, sim Simulator, p *Plan, images int) ([]float64, error) {
	if images == 0 {
		images = math.MaxInt
	}
	list, err := sim.Deviations(ctx, p, 0, images)
	return Errors(list), err
}

// Errors is one figure for each thing compared over all images: the scores and boxes of a
// detector (DetectionError), else the relative L2 error of each output.
func Errors(images []Deviation) []float64 {
	if len(images) == 0 {
		return nil
	}
	if images[0].Outputs == nil {
		var total DetectionError
		for _, d := range images {
			total.Merge(d.Detection)
		}
		return total.Values()
	}
	list := make([]float64, len(images[0].Outputs))
	for i := range list {
		var total Squares
		for _, d := range images {
			total.Add(d.Outputs[i])
		}
		list[i] = total.Relative()
	}
	return list
}

// Score is one figure for all errors: their geometric mean, so that halving one counts the
// same whichever it is. One that is not a number makes the score infinite.
func Score(errors []float64) float64 {
	if len(errors) == 0 {
		return math.Inf(1)
	}
	sum := 0.0
	for _, e := range errors {
		if math.IsNaN(e) || math.IsInf(e, 0) || e < 0 {
			return math.Inf(1)
		}
		sum += math.Log(math.Max(e, 1e-12))
	}
	return math.Exp(sum / float64(len(errors)))
}
