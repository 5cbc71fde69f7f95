package nn

import (
	"slices"

	"trtact/internal/compute"
	"trtact/internal/onnx"
	"trtact/internal/onnx/host"
)

// lowering turns one node into device operators. It answers errUseHost for a
// form that the device cannot compute, before it has emitted anything.
type lowering func(b *builder, n *onnx.Node) error

// lowerings is the table of operators that the device computes. To add one: a
// line here, its function in the file of its family.
var lowerings = map[string]lowering{
	// lower_conv.go
	"Conv":          lowerConv,
	"ConvTranspose": lowerConv,
	"MatMul":        lowerMatMul,
	"Gemm":          lowerGemm,
	// lower_quantize.go
	"QuantizeLinear":   lowerQuantize,
	"DequantizeLinear": lowerDequantize,
	// lower_pool.go
	"MaxPool":           lowerPool,
	"AveragePool":       lowerPool,
	"GlobalAveragePool": lowerGlobalPool,
	"GlobalMaxPool":     lowerGlobalPool,
	"ReduceMean":        lowerReduce,
	"ReduceSum":         lowerReduce,
	"ReduceMax":         lowerReduce,
	"ReduceMin":         lowerReduce,
	"ReduceProd":        lowerReduce,
	"ReduceL2":          lowerReduce,
	"Softmax":           lowerSoftmax,
	"LogSoftmax":        lowerSoftmax,
	"Resize":            lowerResize,
	"Upsample":          lowerResize,
	// lower_elementwise.go
	"Relu":               lowerUnary,
	"LeakyRelu":          lowerUnary,
	"Sigmoid":            lowerUnary,
	"HardSigmoid":        lowerUnary,
	"HardSwish":          lowerUnary,
	"Silu":               lowerUnary,
	"Tanh":               lowerUnary,
	"Clip":               lowerUnary,
	"Mish":               lowerUnary,
	"Gelu":               lowerUnary,
	"Elu":                lowerUnary,
	"Softplus":           lowerUnary,
	"Exp":                lowerUnary,
	"Log":                lowerUnary,
	"Sqrt":               lowerUnary,
	"Abs":                lowerUnary,
	"Neg":                lowerUnary,
	"Reciprocal":         lowerUnary,
	"Floor":              lowerUnary,
	"Ceil":               lowerUnary,
	"Round":              lowerUnary,
	"Erf":                lowerUnary,
	"Add":                lowerBinary,
	"Sub":                lowerBinary,
	"Mul":                lowerBinary,
	"Div":                lowerBinary,
	"Pow":                lowerBinary,
	"Min":                lowerBinary,
	"Max":                lowerBinary,
	"PRelu":              lowerBinary,
	"BatchNormalization": lowerBatchNorm,
	// lower_move.go
	"Identity":     lowerReshape,
	"Dropout":      lowerReshape,
	"Reshape":      lowerReshape,
	"Flatten":      lowerReshape,
	"Squeeze":      lowerReshape,
	"Unsqueeze":    lowerReshape,
	"Transpose":    lowerTranspose,
	"Concat":       lowerConcat,
	"Split":        lowerSplit,
	"Slice":        lowerSlice,
	"Gather":       lowerGather,
	"Expand":       lowerExpand,
	"Pad":          lowerPad,
	"DepthToSpace": lowerDepthToSpace,
	"SpaceToDepth": lowerDepthToSpace,
}

// activationOf is the scalar function that a node applies to its first input.
func (b *builder) activationOf(n *onnx.Node) (compute.Activation, bool) {
	act := func(k compute.ActKind, params ...float32) (compute.Activation, bool) {
		a := compute.Activation{Kind: k}
		if len(params) > 0 {
			a.A = params[0]
		}
		if len(params) > 1 {
			a.B = params[1]
		}
		return a, true
	}
	switch n.Op {
	case "Relu":
		return act(compute.Relu)
	case "LeakyRelu":
		return act(compute.LeakyRelu, n.Float("alpha", 0.01))
	case "Sigmoid":
		return act(compute.Sigmoid)
	case "HardSigmoid":
		return act(compute.HardSigmoid, n.Float("alpha", 0.2), n.Float("beta", 0.5))
	case "HardSwish":
		return act(compute.HardSwish)
	case "Silu":
		return act(compute.Silu)
	case "Tanh":
		return act(compute.Tanh)
	case "Mish":
		return act(compute.Mish)
	case "Gelu":
		if n.Str("approximate", "none") == "tanh" {
			return act(compute.GeluTanh)
		}
		return act(compute.Gelu)
	case "Elu":
		return act(compute.Elu, n.Float("alpha", 1))
	case "Softplus":
		return act(compute.Softplus)
	case "Exp":
		return act(compute.Exp)
	case "Log":
		return act(compute.Log)
	case "Sqrt":
		return act(compute.Sqrt)
	case "Abs":
		return act(compute.Abs)
	case "Neg":
		return act(compute.Neg)
	case "Reciprocal":
		return act(compute.Reciprocal)
	case "Floor":
		return act(compute.Floor)
	case "Ceil":
		return act(compute.Ceil)
	case "Round":
		return act(compute.Round)
	case "Erf":
		return act(compute.Erf)
	case "Clip":
		return b.clip(n)
	}
	return compute.Activation{}, false
}

// clip reads the limits from attributes (before opset 11) or constant inputs.
func (b *builder) clip(n *onnx.Node) (compute.Activation, bool) {
	const most = 3.4028234663852886e38
	a := compute.Activation{Kind: compute.Clip, A: n.Float("min", -most), B: n.Float("max", most)}
	for i, to := range []*float32{&a.A, &a.B} {
		name := n.Input(i + 1)
		if name == "" {
			continue
		}
		limit := b.floats(name)
		if len(limit) != 1 {
			return a, false
		}
		*to = limit[0]
	}
	// With crossed limits ONNX's answer is the upper one, min(max(x, a), b):
	// the device computes just that.
	return a, true
}

// fuseActivation looks for a scalar function that is the only reader of name,
// takes it over, and returns it with the name of its result. In training it stays
// alone: its gradient needs its input.
func (b *builder) fuseActivation(name string) (compute.Activation, string) {
	n := b.only(name)
	if n == nil || b.training != nil || n.Inputs[0] != name || !host.Supports(n.Op, n.Domain) {
		return compute.Activation{}, name
	}
	act, ok := b.activationOf(n)
	if !ok {
		return compute.Activation{}, name
	}
	b.done[n] = true
	return act, n.Outputs[0]
}

// axisOf normalises a possibly negative axis.
func axisOf(axis int64, rank int) (int, bool) {
	a := int(axis)
	if a < 0 {
		a += rank
	}
	return a, a >= 0 && a < rank
}

// rowMajor gives the strides of a row-major tensor.
func rowMajor(dims []int) []int {
	strides := make([]int, len(dims))
	step := 1
	for i := len(dims) - 1; i >= 0; i-- {
		strides[i] = step
		step *= dims[i]
	}
	return strides
}

func product(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

func toInts(list []int64) []int {
	out := make([]int, len(list))
	for i, v := range list {
		out[i] = int(v)
	}
	return out
}

func equalDims(a, b []int) bool { return slices.Equal(a, b) }
