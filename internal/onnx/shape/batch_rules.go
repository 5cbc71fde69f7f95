package shape

// Where every operator leaves the images of a batch.

import (
	"fmt"
	"slices"

	"trtact/internal/onnx/dims"
)

// A batchRule gives the places that the images may have in the outputs of a node
// of which some input carries them or counts them, the likeliest first. An error
// says why they cannot be kept apart.
type batchRule func(s *step) ([]place, error)

// sizeInputs are the inputs that say how and not what: they may count images and
// must not carry them. It is never changed.
var sizeInputs = map[string][]int{
	"Reshape": {1}, "Expand": {1}, "Tile": {1}, "Slice": {1, 2, 3, 4}, "Split": {1}, "Squeeze": {1}, "Unsqueeze": {1},
	"Pad": {1, 3}, "Resize": {1, 2, 3}, "Upsample": {1}, "TopK": {1}, "CumSum": {1}, "ConstantOfShape": {0},
	"ReduceSum": {1}, "ReduceMean": {1}, "ReduceMax": {1}, "ReduceMin": {1}, "ReduceProd": {1}, "ReduceL1": {1}, "ReduceL2": {1},
	"ReduceLogSum": {1}, "ReduceLogSumExp": {1}, "ReduceSumSquare": {1},
}

// batchRules is never changed.
var batchRules = rulesOfBatch()

func rulesOfBatch() map[string]batchRule {
	t := map[string]batchRule{
		"PRelu": together, "Where": together, "Pow": together, "LRN": onFirst, "MeanVarianceNormalization": meanVariance,
		"Softmax": normaliser, "LogSoftmax": normaliser, "Hardmax": normaliser,
		"LayerNormalization": layerNorm, "LpNormalization": alongAxis(-1), "CumSum": cumSum, "Trilu": trilu, "BatchNormalization": batchNorm,
		"QuantizeLinear": scaledBy, "DequantizeLinear": scaledBy,
		"Reshape": reshaped, "Flatten": reshaped, "Squeeze": squeezed, "Unsqueeze": unsqueezed, "Transpose": transposed,
		"Expand": expanded, "ConstantOfShape": filled, "Tile": tiled, "Concat": concatenated, "Slice": sliced, "Split": alongAxis(0), "Pad": padded,
		"Resize": resized, "Upsample": resized, "Gather": gathered, "GatherElements": gatheredElements,
		"TopK": alongAxis(-1), "ArgMax": reducedOne, "ArgMin": reducedOne,
		"MatMul": multiplied, "Gemm": gemmed, "Einsum": summed,
		"NonMaxSuppression": listed, "NonZero": listed,
	}
	for _, op := range []string{
		"Identity", "Abs", "Neg", "Sign", "Relu", "Sqrt", "Exp", "Log", "Floor", "Ceil", "Round", "Reciprocal",
		"Sin", "Cos", "Tan", "Erf", "Tanh", "Sigmoid", "Softplus", "Softsign", "Mish", "HardSwish", "Gelu", "LeakyRelu",
		"HardSigmoid", "Elu", "Selu", "Celu", "ThresholdedRelu", "Clip", "Not", "Swish", "Asin", "Acos", "Atan",
		"Sinh", "Cosh", "BitwiseNot", "Shrink", "Cast", "Dropout", "IsNaN", "IsInf",
	} {
		t[op] = inPlace
	}
	for _, op := range []string{"Add", "Sub", "Mul", "Div", "Mod", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "And", "Or", "Xor",
		"Min", "Max", "Sum", "Mean", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"} {
		t[op] = together
	}
	for _, op := range []string{"Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool",
		"InstanceNormalization", "GroupNormalization", "DepthToSpace", "SpaceToDepth"} {
		t[op] = onFirst
	}
	for _, op := range []string{"Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"} {
		t["Reduce"+op] = reduced
	}
	return t
}

// placeOf is where the images lie in input i.
func (s *step) placeOf(i int) place {
	if i >= len(s.in) || s.in[i].Name == "" {
		return alike
	}
	return s.places[s.in[i].Name]
}

// first is the place in input 0, which has to be the only one with images, and
// none of the given axes.
func (s *step) first(axes ...int) (place, error) {
	for i := range s.in {
		if i > 0 && s.placeOf(i) >= 0 {
			return 0, fmt.Errorf("%q differs from image to image", s.in[i].Name)
		}
	}
	p := s.placeOf(0)
	if p >= 0 && slices.Contains(axes, int(p)) {
		return 0, fmt.Errorf("it works across axis %d, on which the images lie", p)
	}
	return p, nil
}

// only is a rule's single place.
func only(p place, err error) ([]place, error) {
	if err != nil {
		return nil, err
	}
	return []place{p}, nil
}

func inPlace(s *step) ([]place, error) { return only(s.first()) }

// listed are operators that give rows for all images together, each with the
// number of its image.
func listed(*step) ([]place, error) { return []place{untracked}, nil }

// onFirst serves operators that treat axis 0 image by image and no other.
func onFirst(s *step) ([]place, error) {
	p, err := s.first()
	if err == nil && p != 0 {
		err = fmt.Errorf("it wants the images on axis 0, they lie on axis %d", p)
	}
	return only(p, err)
}

func batchNorm(s *step) ([]place, error) { return only(s.first(1)) }

// across is an operator that works from axis from up to, without, axis to.
func (s *step) across(from, to int) ([]place, error) {
	var axes []int
	for a := from; a < to; a++ {
		axes = append(axes, a)
	}
	return only(s.first(axes...))
}

func (s *step) rank() int { return len(s.in[0].Dims) }

// alongAxis serves operators that work along the one axis of their attribute.
func alongAxis(def int64) batchRule {
	return func(s *step) ([]place, error) {
		axis, err := dims.Axis(s.n.Int("axis", def), s.rank())
		if err != nil {
			return nil, err
		}
		return only(s.first(axis))
	}
}

// normaliser: before operator set 13 all axes from the given one on are one.
func normaliser(s *step) ([]place, error) {
	def := int64(-1)
	if s.opset < 13 {
		def = 1
	}
	axis, err := dims.Axis(s.n.Int("axis", def), s.rank())
	if err != nil {
		return nil, err
	}
	if s.opset < 13 {
		return s.across(axis, s.rank())
	}
	return only(s.first(axis))
}

func layerNorm(s *step) ([]place, error) {
	axis, err := dims.Axis(s.n.Int("axis", -1), s.rank())
	if err != nil {
		return nil, err
	}
	return s.across(axis, s.rank())
}

func meanVariance(s *step) ([]place, error) {
	list := s.n.IntList("axes")
	if list == nil {
		list = []int64{0, 2, 3}
	}
	axes, err := dims.Axes(list, s.rank())
	if err != nil {
		return nil, err
	}
	return only(s.first(axes...))
}

func cumSum(s *step) ([]place, error) {
	list, known, err := s.list(1, "")
	if err != nil || !known || len(list) != 1 {
		return nil, fmt.Errorf("its axis is not known")
	}
	axis, err := dims.Axis(list[0], s.rank())
	if err != nil {
		return nil, err
	}
	return only(s.first(axis))
}

func trilu(s *step) ([]place, error) { return s.across(s.rank()-2, s.rank()) }

// scaledBy: several scales belong to the slices of an axis.
func scaledBy(s *step) ([]place, error) {
	if d := s.in[1].Dims; len(d) == 0 || len(d) == 1 && d[0] == 1 {
		return only(s.first())
	}
	return alongAxis(1)(s)
}

// shared is the one axis of the output on which the given inputs have the
// images, where at gives the output's axis for an input's. An input without
// images that has other sizes than 1 there is repeated.
func (s *step) shared(inputs []int, at func(input int, p place) place, own func(input int, p place) int) (place, error) {
	out := alike
	for _, i := range inputs {
		if p := s.placeOf(i); p >= 0 {
			if q := at(i, p); out >= 0 && q != out {
				return 0, fmt.Errorf("its operands have the images on different axes")
			} else {
				out = q
			}
		}
	}
	if out < 0 {
		return out, nil
	}
	for _, i := range inputs {
		if s.in[i].Name == "" || s.placeOf(i) >= 0 {
			continue
		}
		axis := own(i, out)
		if axis < 0 || s.in[i].Dims[axis] == 1 && s.n.Op != "Concat" {
			continue
		}
		if err := s.repeatInput(i, axis); err != nil {
			return 0, err
		}
	}
	return out, nil
}

// repeatInput gives a constant operand a copy for each image.
func (s *step) repeatInput(i, axis int) error {
	if t := s.value[i]; t != nil {
		if grown, ok := s.repeat(t, axis); ok {
			s.set(i, grown)
			return nil
		}
	}
	return fmt.Errorf("%q %v is for %d images and not the same for each", s.in[i].Name, s.in[i].Dims, s.from)
}

func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// together serves operators of several operands that broadcast.
func together(s *step) ([]place, error) {
	rank := len(s.made[0].Dims)
	return only(s.shared(upTo(len(s.in)),
		func(i int, p place) place { return p + place(rank-len(s.in[i].Dims)) },
		func(i int, p place) int { return int(p) - (rank - len(s.in[i].Dims)) }))
}
