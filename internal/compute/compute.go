// Package compute is the Go face of csrc/include/trtact/compute.h: a device
// with memory and operators, opened from a shared library (the CPU backend, or
// the CUDA backend). Everything about a network (graph, order, memory plan) is
// above, in internal/nn; everything about arithmetic is below, in csrc.
package compute

import "fmt"

// Layout says how a tensor lies in device memory.
type Layout int32

const (
	// Plain is row-major.
	Plain Layout = 0
	// Blocked is [N][ceil(C/b)][space][b] with b = Device.Block(); the lanes
	// beyond C are zero.
	Blocked Layout = 1
)

func (l Layout) String() string {
	if l == Blocked {
		return "blocked"
	}
	return "plain"
}

// MaxRank is the largest rank a tensor may have on a device.
const MaxRank = 8

// Tensor describes a float32 tensor on a device.
type Tensor struct {
	Dims   []int // logical sizes, NCHW order
	Layout Layout
}

// Len is the number of logical elements.
func (t Tensor) Len() int {
	n := 1
	for _, d := range t.Dims {
		n *= d
	}
	return n
}

// Bytes is the memory the tensor takes on a device with that block.
func (t Tensor) Bytes(block int) int {
	n := t.Len()
	if t.Layout == Blocked && t.Dims[1] > 0 {
		n = n / t.Dims[1] * ((t.Dims[1] + block - 1) / block * block)
	}
	return 4 * n
}

func (t Tensor) String() string { return fmt.Sprintf("%v %s", t.Dims, t.Layout) }

// ActKind numbers the scalar functions of csrc/kernels/activation.h.
type ActKind int32

const (
	ActNone ActKind = iota
	Relu
	LeakyRelu // A: slope
	Sigmoid
	HardSigmoid // clamp(A x + B, 0, 1)
	HardSwish
	Silu
	Tanh
	Clip // A: least, B: greatest
	Mish
	Gelu
	GeluTanh
	Elu // A: alpha
	Softplus
	Exp
	Log
	Sqrt
	Abs
	Neg
	Reciprocal
	Floor
	Ceil
	Round // half to even
	Erf
)

// Activation is a scalar function with its parameters.
type Activation struct {
	Kind ActKind
	A, B float32
}

// Params are an operator's parameters: one of the structs below. The comments
// in compute.h give each operator's inputs and outputs.
type Params interface{ opKind() int32 }

// Window holds the sizes that convolution and pooling share, one entry for each
// spatial dimension.
type Window struct {
	Kernel, Stride, Dilation, PadBegin, PadEnd []int
}

// Conv is a convolution, or a transposed one: x, w [, bias [, scale]] -> y.
type Conv struct {
	Window
	Transposed        bool
	Groups            int
	HasBias, HasScale bool
	Integers          bool // x and w hold whole numbers of 8 bits
	Act               Activation
	Quantize          float32 // > 0: the result is put on the grid of this scale
}

// PoolKind is what a pooling window computes.
type PoolKind int32

const (
	PoolMax PoolKind = iota
	PoolAverage
	PoolAverageWithPadding
)

// Pool is a pooling over windows: x -> y.
type Pool struct {
	Window
	Kind PoolKind
}

// MatMul is a matrix product: a, b [, bias [, scale]] -> y.
type MatMul struct {
	HasBias, HasScale      bool
	TransposeA, TransposeB bool
	Act                    Activation
}

// Unary applies a scalar function: x -> y.
type Unary struct{ Act Activation }

// BinaryKind is a two-operand scalar function.
type BinaryKind int32

const (
	Add BinaryKind = iota
	Sub
	Mul
	Div
	Pow
	Min
	Max
	PRelu // a < 0 ? a*b : a
)

// Binary combines two tensors with ONNX broadcasting: a, b -> y.
type Binary struct{ Kind BinaryKind }

// CopyPart is one strided copy from an input to the output, in elements.
type CopyPart struct {
	Input     int
	Dims      []int
	InOffset  int
	InStride  []int
	OutOffset int
	OutStride []int
}

// Copy moves elements between plain tensors: x... -> y.
type Copy struct {
	Parts []CopyPart
	Fill  bool // first set everything to Value
	Value float32
}

// ChannelRun is a run of channels moved from an input to the output. Input -1
// stands for zeros.
type ChannelRun struct{ Input, From, To, Count int }

// Channels moves channels between blocked tensors: x... -> y.
type Channels struct{ Runs []ChannelRun }

// Taps is the interpolation table of one dimension: for each output index, N
// source indices and their weights.
type Taps struct {
	N      int
	Index  []int32
	Weight []float32
}

// Resize interpolates the spatial dimensions: x -> y.
type Resize struct{ Axes []Taps }

// Softmax normalises along an axis of a plain tensor: x -> y.
type Softmax struct {
	Axis int
	Log  bool
}

// ReduceKind is what a reduction computes.
type ReduceKind int32

const (
	ReduceMean ReduceKind = iota
	ReduceSum
	ReduceMax
	ReduceMin
	ReduceProd
	ReduceL2
)

// Reduce reduces the middle of [outer, axis, inner]: x -> y, plain.
type Reduce struct {
	Kind               ReduceKind
	Outer, Axis, Inner int
}

// GlobalPool is the mean or maximum over space: x -> y [N, C, 1, 1].
type GlobalPool struct{ Kind ReduceKind }

// Quantize puts values on an integer grid, kept as floats: x, scale -> q.
type Quantize struct {
	Axis      int // -1: one scale
	Low, High float32
}

// Dequantize is the way back: q, scale -> x.
type Dequantize struct{ Axis int }

// Affine is a per-channel multiplication and addition: x, scale, shift -> y.
type Affine struct{ Act Activation }

// Reorder changes the layout: x -> y.
type Reorder struct{}

func (c Conv) opKind() int32 {
	if c.Transposed {
		return 2
	}
	return 1
}
func (Pool) opKind() int32       { return 3 }
func (MatMul) opKind() int32     { return 4 }
func (Unary) opKind() int32      { return 5 }
func (Binary) opKind() int32     { return 6 }
func (Copy) opKind() int32       { return 7 }
func (Channels) opKind() int32   { return 8 }
func (Resize) opKind() int32     { return 9 }
func (Softmax) opKind() int32    { return 10 }
func (Reduce) opKind() int32     { return 11 }
func (GlobalPool) opKind() int32 { return 12 }
func (Quantize) opKind() int32   { return 13 }
func (Dequantize) opKind() int32 { return 14 }
func (Affine) opKind() int32     { return 15 }
func (Reorder) opKind() int32    { return 16 }

// OpDesc describes an operator for fixed shapes.
type OpDesc struct {
	Params  Params
	Inputs  []Tensor
	Outputs []Tensor
	// Constants[i], when present and not nil, is the row-major value of input i,
	// which is packed once and for all.
	Constants [][]float32
	Math      Math
	Threads   int // that one run of the operator may use
}

// Math is what the factors of convolutions and matrix products may be rounded to
// on a GPU; sums are of single precision. csrc/include/trtact/compute.h has more.
type Math int32

const (
	FP32 Math = iota
	TF32      // 10 bits behind the point; sm_80 and newer
	BF16      // 7 bits; sm_80 and newer
)
