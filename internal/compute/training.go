package compute

// The operators that training adds. Their inputs, outputs and formulas are in
// csrc/include/trtact/training.h.

// ConvBackwardData is dy, w [, scale] -> dx of a convolution. Of the Conv, the
// geometry and HasScale are read.
type ConvBackwardData struct{ Conv }

// ConvBackwardWeights is x, dy [, scale] -> dw [, dbias] of a convolution. Of the
// Conv, the geometry, HasScale and HasBias are read.
type ConvBackwardWeights struct{ Conv }

// UnaryBackward is x, dy -> dx.
type UnaryBackward struct{ Act Activation }

// BinaryBackward is a, b, dy -> the gradient by a or by b, of dy's shape.
type BinaryBackward struct {
	Kind BinaryKind
	ByB  bool
}

// AffineBackward is x, scale, shift, dy -> dx [, dscale, dshift].
type AffineBackward struct{ Act Activation }

// PoolBackward is x, dy -> dx for a maximum, dy -> dx for an average.
type PoolBackward struct{ Pool }

// GlobalPoolBackward is x, dy -> dx for a maximum, dy -> dx for a mean.
type GlobalPoolBackward struct{ Kind ReduceKind }

// ResizeBackward is dy -> dx, with the tables of the forward pass.
type ResizeBackward struct{ Axes []Taps }

// SoftmaxBackward is y, dy -> dx.
type SoftmaxBackward struct {
	Axis int
	Log  bool
}

// ReduceBackward is dy -> dx for ReduceMean and ReduceSum, x, dy -> dx for
// ReduceMax, ReduceMin and ReduceL2.
type ReduceBackward struct {
	Kind               ReduceKind
	Outer, Axis, Inner int
}

// CopyBackward is dy -> dx, the gradient of one input of a Copy.
type CopyBackward struct {
	Forward Copy
	Input   int
}

// SumTo is dy [, other] -> dy, or dy*other, summed to the output's shape.
type SumTo struct{}

// Sum is x... -> y, the sum of its inputs, or added to y.
type Sum struct{ Accumulate bool }

// Rounding is how values are put on an integer grid.
type Rounding int32

const (
	HalfEven Rounding = iota // TensorRT, ONNX
	HalfAway                 // PaddlePaddle
)

// ActQuantize is an activation and its quantiser: x, scale [, clip] -> q [, y]
// [, absmax].
type ActQuantize struct {
	Act       Activation
	Low, High float32
	Rounding  Rounding
	HasClip   bool // PACT
	HasAbsMax bool // the last output, in place, becomes max(it, max|act(x)|)
}

// ActQuantizeBackward is x, scale, dq [, clip] [, dy] -> dx [, dscale or dclip].
type ActQuantizeBackward struct {
	ActQuantize
	HasDY         bool
	PassOutside   bool    // straight-through everywhere
	GradientScale float32 // of dscale
}

// QuantizeWeights is w -> q, scale, or with Learned w, scale -> q.
type QuantizeWeights struct {
	Axis      int // -1: one scale
	Low, High float32
	Rounding  Rounding
	Learned   bool
}

// QuantizeWeightsBackward is w, scale, dq -> dw [, dscale].
type QuantizeWeightsBackward struct {
	QuantizeWeights
	PassOutside   bool
	GradientScale float32
}

// LossKind is a distillation loss.
type LossKind int32

const (
	LossSoftLabel LossKind = iota
	LossL2
	LossL1
	LossCosine
	LossChannelKL
)

// Groups of a Loss that are no axis.
const (
	OverSpace = -1
	OverImage = -2
)

// Loss is student, teacher -> value [2], dstudent.
type Loss struct {
	Kind        LossKind
	Axis        int
	Temperature float32
	Weight      float32 // of the gradient
}

// GradientNorm is g -> [2]: norm, factor for Optimize.
type GradientNorm struct{ Scale, MaxNorm float32 }

// OptimizerKind is a rule of updating parameters.
type OptimizerKind int32

const (
	SGD OptimizerKind = iota
	Momentum
	Adam
	AdamW
)

// Segment is a run of parameters with its multiple of the learning rate and its
// weight decay.
type Segment struct {
	From, Count int
	Rate, Decay float32
}

// Optimize is g, control [2] [, norm [2]] -> w [, first [, second]], in place.
type Optimize struct {
	Kind                  OptimizerKind
	Nesterov              bool
	Momentum              float32
	Beta1, Beta2, Epsilon float32
	Segments              []Segment
}

func (c ConvBackwardData) opKind() int32 {
	if c.Transposed {
		return 33
	}
	return 32
}
func (c ConvBackwardWeights) opKind() int32 {
	if c.Transposed {
		return 35
	}
	return 34
}
func (UnaryBackward) opKind() int32           { return 36 }
func (BinaryBackward) opKind() int32          { return 37 }
func (AffineBackward) opKind() int32          { return 38 }
func (PoolBackward) opKind() int32            { return 39 }
func (GlobalPoolBackward) opKind() int32      { return 40 }
func (ResizeBackward) opKind() int32          { return 41 }
func (SoftmaxBackward) opKind() int32         { return 42 }
func (ReduceBackward) opKind() int32          { return 43 }
func (CopyBackward) opKind() int32            { return 44 }
func (SumTo) opKind() int32                   { return 45 }
func (Sum) opKind() int32                     { return 46 }
func (ActQuantize) opKind() int32             { return 47 }
func (ActQuantizeBackward) opKind() int32     { return 48 }
func (QuantizeWeights) opKind() int32         { return 49 }
func (QuantizeWeightsBackward) opKind() int32 { return 50 }
func (Loss) opKind() int32                    { return 51 }
func (GradientNorm) opKind() int32            { return 52 }
func (Optimize) opKind() int32                { return 53 }
