// What can be chosen about a training, and what is chosen when nobody does.
package qat

import (
	"fmt"
	"math"

	"trtact/internal/compute"
	"trtact/internal/fault"
)

// Loss is how far student and teacher are apart at a node.
type Loss string

// The losses; formulas in csrc/include/trtact/training.h.
const (
	SoftLabel Loss = "soft_label" // cross-entropy of softmaxes along an axis
	L2        Loss = "l2"         // mean squared difference
	L1        Loss = "l1"         // mean absolute difference
	Cosine    Loss = "cosine"     // 1 - cosine of the whole tensors
	ChannelKL Loss = "channel_kl" // divergence of each channel's softmax over the plane
)

// Quantizer is how the scales of activations change in training.
type Quantizer string

// The quantisers of activations.
const (
	Fixed         Quantizer = "fixed"                  // they stay where they start
	MovingAverage Quantizer = "moving_average_abs_max" // of every step's largest magnitude
	RangeAbsMax   Quantizer = "range_abs_max"          // the largest magnitude of a window of steps
	AbsMax        Quantizer = "abs_max"                // the last step's largest magnitude
	PACT          Quantizer = "pact"                   // learned clips
	LSQ           Quantizer = "lsq"                    // learned steps, in the logarithm
)

// Options say how the student is trained. Start from Defaults.
type Options struct {
	// Nodes are the tensors, or the nodes that make them, to compare at; none: the last
	// trained layer before each output (detect.HeadNodes).
	Nodes []string
	// Losses and Alphas (weights) are one for all nodes or one for each.
	Losses      []Loss
	Alphas      []float64
	SoftmaxAxis int     // of SoftLabel; negative counts from the end
	Temperature float64 // of SoftLabel and ChannelKL
	// FeatureStride compares, by L2, behind every so many layers before the heads too; 0: not.
	FeatureStride int
	FeatureAlpha  float64
	// Normalize divides L1 and L2 by the spread of the teacher's values at each node.
	Normalize bool
	// Mirror trains on every picture's mirror image too.
	Mirror bool

	Quantizer   Quantizer
	WeightSteps bool    // LSQ: the steps of weights are learned too; else absmax/127
	MovingRate  float64 // of MovingAverage: share of the past, in 0..1
	Window      int     // of RangeAbsMax, in steps
	ScaleRate   float64 // learning rate of learned steps or clips, as a multiple of the weights'
	ClipDecay   float64 // of PACT's clips
	ClipStart   float64 // where PACT's clips start; 0: at 127 calibrated scales
	FreshScales bool    // MovingAverage and RangeAbsMax forget the calibrated scales after the first step
	// FreezeScales is the last share of the run in which scales stay, in 0..1.
	FreezeScales float64
	Rounding     compute.Rounding
	PassOutside  bool // gradients pass clipped values unchanged, as PaddlePaddle's do

	Optimizer   Optimizer
	Schedule    Schedule
	WeightDecay float64 // of weights; biases and scales have none
	MaxNorm     float64 // the gradient's norm at most; 0: unbounded

	// Steps and Epochs bound the run, whichever comes first; 0: not.
	Steps, Epochs int
	Batch         int // images of a batch
	Accumulate    int // batches of a step
	Seed          uint64

	EvalEvery       int     // steps from one measurement to the next
	CheckpointEvery int     // steps from one checkpoint to the next; 0: only when interrupted
	Target          float64 // a metric at which the run ends; 0: none
	Patience        int     // measurements without a better one after which the run ends; 0: none
	HeldOut         int     // samples set aside to judge by their loss

	Math compute.Math // of the student on a GPU; the teacher's is FP32

	// What follows changes a run's speed and memory. Workers, and in the last bits Threads,
	// also change its result: a step adds up its images in groups.
	CacheBytes int64 // of kept teacher outputs; 0: the default, negative: none
	Threads    int   // of one image's pass; 0: 1
	Workers    int   // images at once; 0: one per core, on a GPU a batch or what it has memory for
}

// Optimizer is the rule of an update.
type Optimizer struct {
	Kind         compute.OptimizerKind
	Momentum     float64
	Nesterov     bool
	Beta1, Beta2 float64
	Epsilon      float64
}

// Defaults are the options of a run that nobody configured. Every number that is
// tuned stands here.
func Defaults() Options {
	return Options{
		Losses: []Loss{L1}, Alphas: []float64{1}, SoftmaxAxis: -1, Temperature: 1, FeatureStride: 4, FeatureAlpha: 0.3,
		Normalize: true, Mirror: true,
		Quantizer: LSQ, MovingRate: 0.9, Window: 10000, ScaleRate: 75, ClipDecay: 1e-4, FreezeScales: 0.1,
		Optimizer:  Optimizer{Kind: compute.Adam, Momentum: 0.9, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8},
		Schedule:   Schedule{Kind: CosineRate, Rate: 2e-4, Warmup: 20},
		Steps:      600,
		Batch:      8,
		Accumulate: 1,
		EvalEvery:  100,
		HeldOut:    64,
		Seed:       1,

		CheckpointEvery: 100,
	}
}

// validate names the first option that makes no sense, as a wrong use.
func (o *Options) validate() error {
	if err := o.check(); err != nil {
		return fault.Usage(fmt.Errorf("training options: %w", err))
	}
	return nil
}

func (o *Options) check() error {
	type number struct {
		what      string
		value     float64
		low, high float64
	}
	most := math.MaxFloat32
	for _, n := range []number{
		{"temperature", o.Temperature, 1e-3, 1e3},
		{"alpha of features", o.FeatureAlpha, 0, most},
		{"feature stride", float64(o.FeatureStride), 0, 1e6},
		{"moving rate", o.MovingRate, 0, 1},
		{"learning rate of scales, as a multiple", o.ScaleRate, 0, most},
		{"decay of clips", o.ClipDecay, 0, 1},
		{"start of clips", o.ClipStart, 0, most},
		{"share of the run with frozen scales", o.FreezeScales, 0, 1},
		{"momentum", o.Optimizer.Momentum, 0, 0.999999},
		{"beta1", o.Optimizer.Beta1, 0, 0.999999},
		{"beta2", o.Optimizer.Beta2, 0, 0.999999},
		{"epsilon", o.Optimizer.Epsilon, 0, 1},
		{"weight decay", o.WeightDecay, 0, 1},
		{"norm of the gradient", o.MaxNorm, 0, most},
		{"steps", float64(o.Steps), 0, 1e9},
		{"epochs", float64(o.Epochs), 0, 1e6},
		{"batch", float64(o.Batch), 1, 1e5},
		{"batches of a step", float64(o.Accumulate), 1, 1e5},
		{"steps between measurements", float64(o.EvalEvery), 1, 1e9},
		{"steps between checkpoints", float64(o.CheckpointEvery), 0, 1e9},
		{"patience", float64(o.Patience), 0, 1e9},
		{"held-out samples", float64(o.HeldOut), 1, 1e9},
		{"threads", float64(o.Threads), 0, 1024},
		{"workers", float64(o.Workers), 0, 1024},
	} {
		if !(n.value >= n.low && n.value <= n.high) { // false for NaN
			return fmt.Errorf("%s %v; it must lie within %v..%v", n.what, n.value, n.low, n.high)
		}
	}
	for _, a := range o.Alphas {
		if !(a >= 0 && a <= most) {
			return fmt.Errorf("alpha %v; it must not be negative", a)
		}
	}
	switch o.Quantizer {
	case Fixed, MovingAverage, AbsMax, PACT, LSQ:
	case RangeAbsMax:
		if o.Window < 1 {
			return fmt.Errorf("window of %d steps; it must be positive", o.Window)
		}
	default:
		return fmt.Errorf("quantiser %q; there are %s, %s, %s, %s, %s and %s", o.Quantizer, Fixed, MovingAverage, RangeAbsMax, AbsMax, PACT, LSQ)
	}
	if o.Steps == 0 && o.Epochs == 0 {
		return fmt.Errorf("neither steps nor epochs; the run would not end")
	}
	if !finite(o.Target) {
		return fmt.Errorf("target %v", o.Target)
	}
	return o.Schedule.validate()
}

// images is how many a step takes, of each process.
func (o *Options) images() int { return o.Batch * o.Accumulate }

// steps is the length of a run of so many processes over so many samples.
func (o *Options) steps(samples, ranks int) int {
	if o.Epochs == 0 {
		return o.Steps
	}
	images := o.images() * ranks
	n := max(1, (o.Epochs*samples+images-1)/images)
	if o.Steps > 0 {
		n = min(n, o.Steps)
	}
	return n
}
