package shape

// Where every operator leaves the images of a batch.

import (
	"fmt"
	"math"
	"slices"

	"trtact/internal/onnx"
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

func concatenated(s *step) ([]place, error) {
	axis, err := dims.Axis(s.n.Int("axis", 1), s.rank())
	if err != nil {
		return nil, err
	}
	p, err := s.shared(upTo(len(s.in)), func(_ int, p place) place { return p }, func(_ int, p place) int { return int(p) })
	if err == nil && int(p) == axis {
		err = fmt.Errorf("it joins along axis %d, on which the images lie", axis)
	}
	return only(p, err)
}

// reshaped: what lies before the images in memory stays before them. Where
// axes of size 1 leave a choice, the first.
func reshaped(s *step) ([]place, error) {
	p, err := s.first()
	if p < 0 || err != nil {
		return only(p, err)
	}
	before, in, out := 1, s.in[0].Dims, s.made[0].Dims
	for _, n := range in[:p] {
		before *= n
	}
	var options []place
	product := 1
	for i, n := range out {
		if product == before && n > 0 && n%s.from == 0 {
			options = append(options, place(i))
		}
		product *= n
	}
	if options == nil {
		return nil, fmt.Errorf("no axis of %v holds whole images", out)
	}
	return options, nil
}

func squeezed(s *step) ([]place, error) {
	p, err := s.first()
	if p < 0 || err != nil {
		return only(p, err)
	}
	list, _, err := s.list(1, "axes")
	if err != nil {
		return nil, err
	}
	axes, err := dims.Axes(list, s.rank())
	if err != nil {
		return nil, err
	}
	if list == nil {
		for i, n := range s.in[0].Dims {
			if n == 1 {
				axes = append(axes, i)
			}
		}
	}
	out := p
	for _, a := range axes {
		switch {
		case a == int(p):
			return nil, fmt.Errorf("it drops axis %d, on which the images lie", a)
		case a < int(p):
			out--
		}
	}
	return only(out, nil)
}

func unsqueezed(s *step) ([]place, error) {
	p, err := s.first()
	if p < 0 || err != nil {
		return only(p, err)
	}
	list, _, err := s.list(1, "axes")
	if err != nil {
		return nil, err
	}
	axes, err := dims.Axes(list, s.rank()+len(list))
	if err != nil {
		return nil, err
	}
	for _, a := range axes { // ascending
		if a <= int(p) {
			p++
		}
	}
	return only(p, nil)
}

func transposed(s *step) ([]place, error) {
	p, err := s.first()
	if p < 0 || err != nil {
		return only(p, err)
	}
	perm, err := dims.Permutation(s.n.IntList("perm"), s.rank())
	return only(place(slices.Index(perm, int(p))), err)
}

// grown are the places for operators that repeat one operand until it has a
// shape: the shape says.
func grown(rank int, may func(axis int) bool) []place {
	options := []place{alike}
	for a := range rank {
		if may(a) {
			options = append(options, place(a))
		}
	}
	return options
}

func expanded(s *step) ([]place, error) {
	rank := len(s.made[0].Dims)
	shift := rank - s.rank()
	p, err := s.first()
	if err != nil {
		return nil, err
	}
	if p >= 0 {
		return only(p+place(shift), nil)
	}
	return grown(rank, func(a int) bool { return a < shift || s.in[0].Dims[a-shift] == 1 }), nil
}

func filled(s *step) ([]place, error) {
	return grown(len(s.made[0].Dims), func(int) bool { return true }), nil
}

func tiled(s *step) ([]place, error) {
	p, err := s.first()
	if err != nil {
		return nil, err
	}
	if p < 0 {
		return grown(s.rank(), func(int) bool { return true }), nil
	}
	repeats, known, err := s.list(1, "")
	if err != nil {
		return nil, err
	}
	if !known || len(repeats) <= int(p) || repeats[p] != 1 {
		return nil, fmt.Errorf("it repeats the images themselves")
	}
	return only(p, nil)
}

func sliced(s *step) ([]place, error) {
	p, err := s.first()
	if p < 0 || err != nil {
		return only(p, err)
	}
	var lists [4][]int64
	for i, name := range []string{"starts", "ends", "axes", "steps"} {
		if lists[i], _, err = s.list(i+1, name); err != nil {
			return nil, err
		}
	}
	ranges, err := dims.Slice(s.in[0].Dims, lists[0], lists[1], lists[2], lists[3])
	if err != nil {
		return nil, err
	}
	if r := ranges[p]; r.Start != 0 || r.Step != 1 || r.Length != s.in[0].Dims[p] {
		return nil, fmt.Errorf("it picks some of the images")
	}
	return only(p, nil)
}

func padded(s *step) ([]place, error) {
	p, err := s.first()
	if p < 0 || err != nil {
		return only(p, err)
	}
	if len(s.made[0].Dims) <= int(p) || s.made[0].Dims[p] != s.in[0].Dims[p] {
		return nil, fmt.Errorf("it pads the batch")
	}
	pads, known, err := s.list(1, "pads")
	if err != nil || !known {
		return nil, fmt.Errorf("its pads are not known")
	}
	axes, _, err := s.list(3, "")
	if err != nil {
		return nil, err
	}
	begin, end, err := dims.Pads(pads, axes, s.rank())
	if err == nil && (begin[p] != 0 || end[p] != 0) {
		err = fmt.Errorf("it pads the batch")
	}
	return only(p, err)
}

func resized(s *step) ([]place, error) {
	p, err := s.first()
	if p < 0 || err != nil {
		return only(p, err)
	}
	if s.n.Str("coordinate_transformation_mode", "") == "tf_crop_and_resize" {
		return nil, fmt.Errorf("the images of a batch cannot be followed through a cropping resize")
	}
	r, err := s.call.resized()
	if err == nil && (r == nil || r.Scale[p] != 1) {
		err = fmt.Errorf("it resizes axis %d, on which the images lie", p)
	}
	return only(p, err)
}

func gathered(s *step) ([]place, error) {
	axis, err := dims.Axis(s.n.Int("axis", 0), s.rank())
	if err != nil {
		return nil, err
	}
	data, index := s.placeOf(0), s.placeOf(1)
	switch {
	case data >= 0 && index >= 0:
		return nil, fmt.Errorf("both the rows and what picks them differ from image to image")
	case index >= 0:
		return only(index+place(axis), nil)
	case int(data) == axis:
		return nil, fmt.Errorf("it picks some of the images")
	case int(data) > axis:
		data += place(len(s.in[1].Dims) - 1)
	}
	return only(data, nil)
}

func gatheredElements(s *step) ([]place, error) {
	axis, err := dims.Axis(s.n.Int("axis", 0), s.rank())
	if err != nil {
		return nil, err
	}
	p, i := s.placeOf(0), s.placeOf(1)
	if p != i || int(p) == axis {
		return nil, fmt.Errorf("the images of a batch cannot be followed through it")
	}
	return only(p, nil)
}

func reducedOne(s *step) ([]place, error) {
	axis, err := dims.Axis(s.n.Int("axis", 0), s.rank())
	if err != nil {
		return nil, err
	}
	return s.without([]int{axis})
}

func reduced(s *step) ([]place, error) {
	list, known, err := s.list(1, "axes")
	if err != nil || !known {
		return nil, fmt.Errorf("its axes are not known")
	}
	axes, err := dims.ReduceAxes(list, s.rank(), s.n.Int("noop_with_empty_axes", 0) != 0)
	if err != nil {
		return nil, err
	}
	return s.without(axes)
}

// without is a reduction over the given axes.
func (s *step) without(axes []int) ([]place, error) {
	p, err := s.first(axes...)
	if p < 0 || err != nil || s.n.Int("keepdims", 1) != 0 {
		return only(p, err)
	}
	out := p
	for _, a := range axes {
		if a < int(p) {
			out--
		}
	}
	return only(out, nil)
}

// multiplied: rows of the left and columns of the right operand come out as
// such, the axes before them broadcast, the summed axis must not hold images.
func multiplied(s *step) ([]place, error) {
	rank := len(s.made[0].Dims)
	a, b := len(s.in[0].Dims), len(s.in[1].Dims)
	if p := s.placeOf(0); p >= 0 && int(p) == a-1 {
		return nil, fmt.Errorf("it sums over the images")
	}
	if p := s.placeOf(1); p >= 0 && (b == 1 || int(p) == b-2) {
		return nil, fmt.Errorf("it sums over the images")
	}
	stack := max(a, b) - 2 // axes that broadcast
	at := func(i int, p place) place {
		n := []int{a, b}[i]
		switch {
		case i == 0 && int(p) == a-2:
			return place(stack)
		case i == 1 && int(p) == b-1:
			return place(rank - 1)
		}
		return p + place(stack-(n-2))
	}
	own := func(i int, p place) int {
		n := []int{a, b}[i]
		if int(p) >= stack { // rows or columns: of the other operand
			return -1
		}
		return int(p) - (stack - (n - 2))
	}
	return only(s.shared([]int{0, 1}, at, own))
}

func gemmed(s *step) ([]place, error) {
	rows := place(0)
	if s.n.Int("transA", 0) != 0 {
		rows = 1
	}
	if s.placeOf(0) != rows || s.placeOf(1) >= 0 {
		return nil, fmt.Errorf("it sums over the images")
	}
	if len(s.in) < 3 {
		return only(0, nil)
	}
	return only(s.shared([]int{0, 2},
		func(i int, p place) place {
			if i == 0 {
				return 0
			}
			return p + place(2-len(s.in[i].Dims))
		},
		func(i int, p place) int { return int(p) - (2 - len(s.in[i].Dims)) }))
}

// summed: the letter of the images has to be in the output.
func summed(s *step) ([]place, error) {
	_, terms, _, err := dims.Einsum(s.equation(), s.shapes())
	if err != nil {
		return nil, err
	}
	result := terms[len(terms)-1]
	letter := -1
	for i := range s.in {
		if p := s.placeOf(i); p >= 0 {
			if at := terms[i][p]; letter >= 0 && at != letter {
				return nil, fmt.Errorf("its operands have the images on different axes")
			} else {
				letter = at
			}
		}
	}
	for i := range s.in {
		if axis := slices.Index(terms[i], letter); axis >= 0 && s.placeOf(i) < 0 {
			if err := s.repeatInput(i, axis); err != nil {
				return nil, err
			}
		}
	}
	at := slices.Index(result, letter)
	if at < 0 {
		return nil, fmt.Errorf("it sums over the images")
	}
	return only(place(at), nil)
}

// rewrite replaces the sizes that a node stores, so that its output has the
// images at p; false where it stores none.
func (s *step) rewrite(p place) bool {
	if p < alike || len(s.made) == 0 || !dims.Static(s.made[0].Dims) {
		return false
	}
	want := s.scaled(s.made[0].Dims, p)
	sizes := make([]int64, len(want))
	for i, n := range want {
		sizes[i] = int64(n)
	}
	switch s.n.Op {
	case "Expand":
		s.set(1, onnx.Vector(sizes...))
		return true
	case "Reshape":
		target, known, err := s.list(1, "shape")
		if !known || err != nil || slices.Contains(sizes, 0) {
			return false
		}
		for i, n := range target {
			if n == -1 {
				sizes[i] = -1 // as it was: still what is left
			}
		}
		if len(s.in) > 1 {
			s.set(1, onnx.Vector(sizes...))
		} else {
			s.edit()
			s.n.Set("shape", sizes)
		}
		return true
	case "Resize":
		return p >= 0 && s.rewriteList(3, "", s.n.IntList("axes"), p, int64(want[p]))
	case "Slice":
		axes, _, err := s.list(3, "axes")
		return p >= 0 && err == nil && s.rewriteList(2, "ends", axes, p, math.MaxInt64)
	}
	return false
}

// rewriteList changes the entry for one axis in a list of sizes, an input or an
// attribute; axes says which axes the list is for, nil for all.
func (s *step) rewriteList(i int, attr string, axes []int64, p place, v int64) bool {
	list, known, err := s.list(i, attr)
	at := int(p)
	if axes != nil {
		at = slices.IndexFunc(axes, func(a int64) bool {
			axis, err := dims.Axis(a, s.rank())
			return err == nil && axis == int(p)
		})
	}
	if !known || err != nil || at < 0 || at >= len(list) {
		return false
	}
	list = slices.Clone(list)
	list[at] = v
	if i < len(s.in) && s.in[i].Name != "" {
		s.set(i, onnx.Vector(list...))
	} else {
		s.edit()
		s.n.Set(attr, list)
	}
	return true
}
