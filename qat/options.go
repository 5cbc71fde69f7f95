// What can be chosen about a training, and what is chosen when nobody does.
package qat

import "trtact/internal/compute"

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

	Quantizer   Quantizer
	WeightSteps bool    // LSQ: the steps of weights are learned too; else absmax/127
	MovingRate  float64 // of MovingAverage: share of the past, in 0..1
	Window      int     // of RangeAbsMax, in steps
	ScaleRate   float64 // learning rate of learned steps or clips, as a multiple of the weights'
	ClipDecay   float64 // of PACT's clips
	ClipStart   float64 // where PACT's clips start; 0: at 127 calibrated scales
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

	CacheBytes int64 // of kept teacher outputs; 0: the default, negative: none
	Threads    int   // of one image's pass; 0: 1
	Workers    int   // images side by side; 0: one per core
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
		Losses: []Loss{L2}, Alphas: []float64{1}, SoftmaxAxis: -1, Temperature: 1, FeatureAlpha: 1,
		Quantizer: LSQ, MovingRate: 0.9, Window: 10000, ScaleRate: 50, ClipDecay: 1e-4, FreezeScales: 0.1,
		Optimizer:  Optimizer{Kind: compute.Adam, Momentum: 0.9, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8},
		Schedule:   Schedule{Kind: CosineRate, Rate: 1e-4, Warmup: 20},
		Steps:      1000,
		Batch:      4,
		Accumulate: 1,
		EvalEvery:  250,
		HeldOut:    64,
		Seed:       1,

		CheckpointEvery: 200,
	}
}
