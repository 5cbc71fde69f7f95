package shape

// The rules of the operators: from the inputs' types and shapes to the
// outputs'.

import (
	"fmt"
	"slices"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// rule is one operator's rule. needs is how many inputs have to be there; the
// rule is called only with inputs of known rank.
type rule struct {
	needs int
	infer func(c *call) ([]result, error)
}

func find(n *onnx.Node) (rule, bool) {
	switch n.Domain {
	case "", "ai.onnx":
		r, ok := rules[n.Op]
		return r, ok
	case "trtact": // fused activations and shuffles keep the shape
		return rule{1, same}, true
	}
	return rule{}, false
}

// Supports tells whether every operator of a graph has a rule; the outputs of
// those without are taken as the file declares them.
func Supports(g *onnx.Graph) bool {
	return !slices.ContainsFunc(g.Nodes, func(n *onnx.Node) bool {
		_, ok := find(n)
		return !ok
	})
}

// rules is never changed.
var rules = table()

func table() map[string]rule {
	t := map[string]rule{
		"Constant": {0, constantNode}, "ConstantOfShape": {1, constantOfShape}, "Range": {3, rangeOf},
		"Shape": {1, shapeOf}, "Size": {1, sizeOf}, "Cast": {1, castTo}, "CastLike": {2, castLike}, "Dropout": {1, dropout},
		"EyeLike": {1, castOrSame}, "RandomNormalLike": {1, castOrSame}, "RandomUniformLike": {1, castOrSame},

		"Where": {3, where}, "Pow": {2, broadcast}, "PRelu": {2, same},

		"Reshape": {1, reshape}, "Flatten": {1, flatten}, "Squeeze": {1, squeeze}, "Unsqueeze": {1, unsqueeze},
		"Transpose": {1, transpose}, "Expand": {2, expand}, "Tile": {2, tile}, "Concat": {1, concat},
		"Slice": {1, slice}, "Split": {1, split}, "Pad": {1, pad},
		"DepthToSpace": {1, depthToSpace}, "SpaceToDepth": {1, spaceToDepth},
		"Resize": {1, resize}, "Upsample": {1, resize},

		"Gather": {2, gather}, "GatherElements": {2, gatherElements}, "GatherND": {2, gatherND},
		"Scatter": {3, same}, "ScatterElements": {3, same}, "ScatterND": {3, same},
		"NonZero": {1, nonZero}, "OneHot": {3, oneHot}, "TopK": {1, topK},
		"NonMaxSuppression": {2, nonMaxSuppression}, "ArgMax": {1, argMax}, "ArgMin": {1, argMax},

		"Conv": {2, conv}, "ConvTranspose": {2, convTranspose}, "Gemm": {2, gemm}, "MatMul": {2, matMul},
		"MaxPool": {1, pool}, "AveragePool": {1, pool}, "LpPool": {1, pool},
		"GlobalAveragePool": {1, globalPool}, "GlobalMaxPool": {1, globalPool}, "GlobalLpPool": {1, globalPool},
		"BatchNormalization": {5, normalise}, "InstanceNormalization": {3, normalise},
		"LayerNormalization": {2, layerNormalization}, "GroupNormalization": {3, same},
		"QuantizeLinear": {2, quantize}, "DequantizeLinear": {2, dequantize},
		"Einsum": {1, einsum},
	}
	for _, op := range []string{
		"Identity", "Abs", "Neg", "Sign", "Relu", "Sqrt", "Exp", "Log", "Floor", "Ceil", "Round", "Reciprocal",
		"Sin", "Cos", "Tan", "Erf", "Tanh", "Sigmoid", "Softplus", "Softsign", "Mish", "HardSwish", "Gelu", "LeakyRelu",
		"HardSigmoid", "Elu", "Selu", "Celu", "ThresholdedRelu", "Clip", "Not", "Softmax", "LogSoftmax", "Hardmax",
		"CumSum", "LRN", "MeanVarianceNormalization", "LpNormalization", "Trilu", "Swish", "Asin", "Acos", "Atan",
		"Sinh", "Cosh", "BitwiseNot", "Shrink",
	} {
		t[op] = rule{1, same}
	}
	for _, op := range []string{"Add", "Sub", "Mul", "Div", "Mod", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "And", "Or", "Xor"} {
		t[op] = rule{2, oneType(broadcast)}
	}
	for _, op := range []string{"Min", "Max", "Sum", "Mean"} {
		t[op] = rule{1, oneType(broadcast)}
	}
	for _, op := range []string{"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"} {
		t[op] = rule{2, oneType(compare)}
	}
	for _, op := range []string{"IsNaN", "IsInf"} {
		t[op] = rule{1, func(c *call) ([]result, error) { return one(onnx.Bool, c.in[0].Dims, nil) }}
	}
	for _, op := range []string{"Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"} {
		t["Reduce"+op] = rule{1, reduce}
	}
	return t
}

// one is a rule's single result.
func one(t onnx.DType, d []int, err error) ([]result, error) {
	if err != nil {
		return nil, err
	}
	return []result{{t, d}}, nil
}

// shapes lists the shapes of the inputs that are there.
func (c *call) shapes() [][]int {
	var out [][]int
	for _, v := range c.in {
		if v.Name != "" {
			out = append(out, v.Dims)
		}
	}
	return out
}

// list is a list of integers: the value of input i, or the attribute where the
// node has no input i. known is false where there is an input of unknown value.
// nil with known for neither.
func (c *call) list(i int, attr string) (v []int64, known bool, err error) {
	if i < len(c.in) && c.in[i].Name != "" {
		if c.value[i] == nil {
			return nil, false, nil
		}
		v, err = c.value[i].Ints()
		if v == nil && err == nil {
			v = []int64{}
		}
		return v, true, err
	}
	if attr == "" {
		return nil, true, nil
	}
	return c.n.IntList(attr), true, nil
}

// dynamic is a shape of rank unknown sizes.
func dynamic(rank int) []int {
	d := make([]int, rank)
	for i := range d {
		d[i] = onnx.Dynamic
	}
	return d
}

func same(c *call) ([]result, error) { return one(c.in[0].Type, c.in[0].Dims, nil) }

func broadcast(c *call) ([]result, error) {
	d, err := dims.Broadcast(c.shapes()...)
	return one(c.in[0].Type, d, err)
}

func compare(c *call) ([]result, error) {
	d, err := dims.Broadcast(c.shapes()...)
	return one(onnx.Bool, d, err)
}

// oneType refuses operands of different types.
func oneType(f func(c *call) ([]result, error)) func(c *call) ([]result, error) {
	return func(c *call) ([]result, error) {
		for _, v := range c.in {
			if v.Type != c.in[0].Type && v.Type != onnx.Undefined && c.in[0].Type != onnx.Undefined {
				return nil, fmt.Errorf("the inputs differ in type")
			}
		}
		return f(c)
	}
}

func where(c *call) ([]result, error) {
	d, err := dims.Broadcast(c.shapes()...)
	return one(c.in[1].Type, d, err)
}

func constantNode(c *call) ([]result, error) {
	for _, value := range c.n.Attrs {
		switch v := value.(type) {
		case *onnx.Tensor:
			return one(v.Type, dims.Clone(v.Dims), nil)
		case float32:
			return one(onnx.Float, []int{}, nil)
		case int64:
			return one(onnx.Int64, []int{}, nil)
		case []float32:
			return one(onnx.Float, []int{len(v)}, nil)
		case []int64:
			return one(onnx.Int64, []int{len(v)}, nil)
		case string:
			return one(onnx.String, []int{}, nil)
		case []string:
			return one(onnx.String, []int{len(v)}, nil)
		}
	}
	return nil, fmt.Errorf("a constant without a dense value")
}

func constantOfShape(c *call) ([]result, error) {
	t := onnx.Float
	if v := c.n.Tensor("value"); v != nil {
		t = v.Type
	}
	list, known, err := c.list(0, "")
	if err != nil {
		return nil, err
	}
	if !known {
		return one(t, c.rankFrom(0), nil)
	}
	d, err := dims.FromInt64(list)
	return one(t, d, err)
}

// rankFrom is a shape of unknown sizes whose rank is the length of input i, a
// vector.
func (c *call) rankFrom(i int) []int {
	d := c.in[i].Dims
	if len(d) != 1 || d[0] < 0 || d[0] > 64 {
		return nil
	}
	return dynamic(d[0])
}

func rangeOf(c *call) ([]result, error) {
	var v [3]float64
	for i := range v {
		t := c.value[i]
		if t == nil || t.Len() != 1 {
			return one(c.in[0].Type, dynamic(1), nil)
		}
		v[i] = float64(t.Floats()[0])
		if n, err := t.Ints(); err == nil { // not rounded to float32
			v[i] = float64(n[0])
		}
	}
	n, err := dims.Arange(v[0], v[1], v[2])
	return one(c.in[0].Type, []int{n}, err)
}

func shapeOf(c *call) ([]result, error) {
	from, to := dims.ShapeRange(c.n, len(c.in[0].Dims))
	return one(onnx.Int64, []int{to - from}, nil)
}

func sizeOf(c *call) ([]result, error) { return one(onnx.Int64, []int{}, nil) }

func castTo(c *call) ([]result, error) {
	return one(onnx.DType(c.n.Int("to", 0)), c.in[0].Dims, nil)
}

func castLike(c *call) ([]result, error) { return one(c.in[1].Type, c.in[0].Dims, nil) }

func castOrSame(c *call) ([]result, error) {
	return one(onnx.DType(c.n.Int("dtype", int64(c.in[0].Type))), c.in[0].Dims, nil)
}

func dropout(c *call) ([]result, error) {
	return []result{{c.in[0].Type, c.in[0].Dims}, {onnx.Bool, c.in[0].Dims}}, nil
}
