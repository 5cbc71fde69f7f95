package host

import "math"

// operators is the table of what can be evaluated, by ONNX operator. It is
// never changed.
var operators = map[string]operator{
	"Constant": constant, "ConstantOfShape": constantOfShape, "Shape": shapeOf, "Size": sizeOf, "Range": rangeOf,
	"Cast": castTo, "CastLike": castLike, "Identity": identity, "Dropout": dropout,

	"Reshape": reshape, "Flatten": flatten, "Squeeze": squeeze, "Unsqueeze": unsqueeze, "Transpose": transpose,
	"Expand": expandTo, "Tile": tile, "Concat": concat, "Slice": slice, "Split": split,
	"DepthToSpace": depthToSpace, "SpaceToDepth": spaceToDepth,

	"Gather": gather, "GatherElements": gatherElements, "GatherND": gatherND,
	"Scatter": scatterElements, "ScatterElements": scatterElements, "ScatterND": scatterND,
	"NonZero": nonZero, "OneHot": oneHot, "Where": where,

	"Add": binary, "Sub": binary, "Mul": binary, "Div": binary, "Mod": binary, "PRelu": binary, "Pow": pow,
	"BitwiseAnd": binary, "BitwiseOr": binary, "BitwiseXor": binary,
	"Equal": binary, "Greater": binary, "GreaterOrEqual": binary, "Less": binary, "LessOrEqual": binary,
	"And": binary, "Or": binary, "Xor": binary, "Not": not,
	"Min": variadic, "Max": variadic, "Sum": variadic, "Mean": variadic, "Clip": clip,

	"ReduceSum": reduce, "ReduceMean": reduce, "ReduceMax": reduce, "ReduceMin": reduce, "ReduceProd": reduce,
	"ReduceL1": reduce, "ReduceL2": reduce, "ReduceSumSquare": reduce, "ReduceLogSum": reduce, "ReduceLogSumExp": reduce,
	"ArgMax": argMax, "ArgMin": argMax, "TopK": topK, "CumSum": cumSum, "Softmax": softmax, "LogSoftmax": softmax,
	"NonMaxSuppression": nonMaxSuppression,

	"MatMul": matMul, "Gemm": gemm, "Einsum": einsum, "BatchNormalization": batchNormalization,
	"Pad": pad, "Resize": resize, "Upsample": resize,
	"QuantizeLinear": quantizeLinear, "DequantizeLinear": dequantizeLinear,

	"Abs":  signed(math.Abs, func(x int64) int64 { return max(x, -x) }),
	"Neg":  signed(func(x float64) float64 { return -x }, func(x int64) int64 { return -x }),
	"Sign": signed(sign, signInt),
	"Relu": signed(func(x float64) float64 { return math.Max(x, 0) }, func(x int64) int64 { return max(x, 0) }),

	"Sqrt": pointwise(math.Sqrt), "Exp": pointwise(math.Exp), "Log": pointwise(math.Log),
	"Floor": pointwise(math.Floor), "Ceil": pointwise(math.Ceil), "Round": pointwise(math.RoundToEven),
	"Reciprocal": pointwise(func(x float64) float64 { return 1 / x }),
	"Sin":        pointwise(math.Sin), "Cos": pointwise(math.Cos), "Erf": pointwise(math.Erf),
	"Tanh": pointwise(math.Tanh), "Sigmoid": pointwise(sigmoid), "Softplus": pointwise(softplus),
	"Mish": pointwise(mish), "HardSwish": pointwise(hardSwish), "Gelu": gelu,
	"Softsign": pointwise(func(x float64) float64 { return x / (1 + math.Abs(x)) }),
	"LeakyRelu": parametric("alpha", 0.01, "", 0, func(a, _, x float64) float64 {
		if x < 0 {
			return a * x
		}
		return x
	}),
	"HardSigmoid": parametric("alpha", 0.2, "beta", 0.5, func(a, b, x float64) float64 {
		return math.Max(0, math.Min(1, a*x+b))
	}),
	"Elu": parametric("alpha", 1, "", 0, func(a, _, x float64) float64 {
		if x < 0 {
			return a * math.Expm1(x)
		}
		return x
	}),
	"Selu": parametric("alpha", 1.67326319217681884765625, "gamma", 1.05070102214813232421875, func(a, g, x float64) float64 {
		if x < 0 {
			return g * a * math.Expm1(x)
		}
		return g * x
	}),
	"ThresholdedRelu": parametric("alpha", 1, "", 0, func(a, _, x float64) float64 {
		if x > a {
			return x
		}
		return 0
	}),
}

// fused are the operators of domain "trtact" that simplify.Fuse makes.
var fused = map[string]operator{
	"Silu": pointwise(silu), "HardSwish": pointwise(hardSwish), "Mish": pointwise(mish), "Gelu": gelu,
}
