package onnx

// What can be said of tensors by one look at each node: element types and
// ranks. It is far less than shape inference, needs no sizes, and serves where
// that has not run: cutting a graph and upgrading its operators.

type facts struct {
	there  map[string]bool // the graph's own tensors
	types  map[string]DType
	ranks  map[string]int
	around *facts // of the graph that a subgraph lies in
}

// factsOf walks over g, a subgraph of the graph that around describes, or the
// outermost graph, for which around is nil.
func factsOf(g *Graph, around *facts) *facts {
	f := &facts{map[string]bool{}, map[string]DType{}, map[string]int{}, around}
	for _, v := range g.Inputs {
		f.say(v)
	}
	for name, t := range g.Init {
		f.there[name], f.types[name], f.ranks[name] = true, t.Type, len(t.Dims)
	}
	for _, n := range g.Nodes {
		for i, out := range n.Outputs {
			if out == "" {
				continue
			}
			f.there[out] = true
			if t := f.outputType(n, i); t != Undefined {
				f.types[out] = t
			}
			if r, ok := f.outputRank(n, g); ok {
				f.ranks[out] = r
			}
			f.say(g.Info[out])
		}
	}
	return f
}

// holder is the facts of the graph that name belongs to, nil for none.
func (f *facts) holder(name string) *facts {
	for f != nil && !f.there[name] {
		f = f.around
	}
	return f
}

// typeOf is a tensor's element type, Undefined where it is not known.
func (f *facts) typeOf(name string) DType {
	if f = f.holder(name); f == nil {
		return Undefined
	}
	return f.types[name]
}

// rankOf is a tensor's number of dimensions, if it is known.
func (f *facts) rankOf(name string) (int, bool) {
	if f = f.holder(name); f == nil {
		return 0, false
	}
	r, ok := f.ranks[name]
	return r, ok
}

// say takes in what v tells.
func (f *facts) say(v Value) {
	if v.Name == "" {
		return
	}
	f.there[v.Name] = true
	if v.Type != Undefined {
		f.types[v.Name] = v.Type
	}
	if v.Dims != nil {
		f.ranks[v.Name] = len(v.Dims)
	}
}

// outputType is the element type of output i, Undefined where it is not known.
func (f *facts) outputType(n *Node, i int) DType {
	if n.Domain != "" {
		return Undefined
	}
	in := func(i int) DType { return f.typeOf(n.Input(i)) }
	switch n.Op {
	case "Cast":
		return DType(n.Int("to", 0))
	case "CastLike":
		return in(1)
	case "ConstantOfShape":
		if t := n.Tensor("value"); t != nil {
			return t.Type
		}
		return Float
	case "Shape", "Size", "NonZero", "ArgMax", "ArgMin", "NonMaxSuppression":
		return Int64
	case "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Not", "Xor", "IsNaN", "IsInf":
		return Bool
	case "TopK", "MaxPool", "Unique":
		if i > 0 {
			return Int64
		}
	case "Dropout":
		if i > 0 {
			return Bool
		}
	case "QuantizeLinear":
		if n.Input(2) != "" {
			return in(2)
		}
		return DType(n.Int("output_dtype", int64(Uint8)))
	case "DynamicQuantizeLinear":
		return [...]DType{Uint8, Float, Uint8}[min(i, 2)]
	case "DequantizeLinear", "Where":
		return in(1)
	case "OneHot":
		return in(2)
	case "ConvInteger", "MatMulInteger":
		return Int32
	case "QLinearConv", "QLinearMatMul":
		return in(7)
	case "EyeLike":
		if n.Has("dtype") {
			return DType(n.Int("dtype", 0))
		}
	case "RandomNormal", "RandomUniform":
		return DType(n.Int("dtype", int64(Float)))
	case "If", "Loop", "Scan", "Optional", "OptionalGetElement", "SequenceAt", "SplitToSequence":
		return Undefined
	}
	return in(0)
}

// outputRank is the number of dimensions that a node's outputs have.
func (f *facts) outputRank(n *Node, g *Graph) (int, bool) {
	if n.Domain != "" {
		return 0, false
	}
	in := func(i int) (int, bool) { return f.rankOf(n.Input(i)) }
	switch n.Op {
	case "Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization",
		"InstanceNormalization", "LRN", "LayerNormalization", "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "Mish",
		"Sigmoid", "HardSigmoid", "HardSwish", "Softplus", "Softsign", "Tanh", "Softmax", "LogSoftmax", "Hardmax", "Clip", "Abs",
		"Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Floor", "Ceil", "Round", "Sign", "Erf", "Sin", "Cos", "Not", "Cast", "Identity",
		"Dropout", "Resize", "Upsample", "Pad", "Slice", "Concat", "Split", "Transpose", "DepthToSpace", "SpaceToDepth", "Tile",
		"CumSum", "TopK", "ScatterElements", "ScatterND", "GatherElements", "QuantizeLinear", "DequantizeLinear":
		return in(0)
	case "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "Equal", "Less", "Greater", "LessOrEqual",
		"GreaterOrEqual", "And", "Or", "Xor", "Where":
		most := 0
		for i := range n.Inputs { // broadcast to the longest
			r, ok := in(i)
			if !ok {
				return 0, false
			}
			most = max(most, r)
		}
		return most, true
	case "MatMul":
		a, known := in(0)
		b, ok := in(1)
		return max(a, b), known && ok && min(a, b) >= 2
	case "Reshape":
		shape := g.Init[n.Input(1)]
		if shape == nil {
			return 0, false
		}
		return shape.Len(), true
	case "Flatten", "Gemm", "NonZero":
		return 2, true
	case "Shape":
		return 1, true
	case "Squeeze", "Unsqueeze":
		r, ok := in(0)
		axes := len(n.IntList("axes"))
		if t := g.Init[n.Input(1)]; t != nil {
			axes = t.Len()
		}
		if n.Op == "Unsqueeze" {
			return r + axes, ok && axes > 0
		}
		return r - axes, ok && axes > 0 && axes <= r
	case "Gather":
		r, known := in(0)
		indices, ok := in(1)
		return r + indices - 1, known && ok && r > 0
	case "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
		"ReduceLogSum", "ReduceLogSumExp", "ArgMax", "ArgMin":
		if n.Int("keepdims", 1) == 1 {
			return in(0)
		}
	}
	return 0, false
}
