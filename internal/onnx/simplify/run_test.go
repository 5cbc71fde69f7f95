package simplify_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

// parameters are those of a BatchNormalization over four channels.
func parameters(init map[string]*onnx.Tensor) map[string]*onnx.Tensor {
	init["gamma"], init["beta"], init["mean"] = random(11, 4), random(12, 4), random(13, 4)
	init["var"] = onnx.Vector[float32](0.5, 1, 2, 3)
	return init
}

type tensors = map[string]*onnx.Tensor

// What Run makes of small graphs, as text. The graph before and after computes
// the same, and the one after is right for onnx.checker.
func TestRun(t *testing.T) {
	conv := func(name string, in ...string) *onnx.Node {
		return &onnx.Node{Name: name, Op: "Conv", Inputs: in, Outputs: []string{name}}
	}
	image := []int{2, 4, 5, 6}
	cases := []struct {
		name  string
		opset int
		in    []int
		init  tensors
		nodes []*onnx.Node
		outs  string
		want  string
	}{
		{"constants", 13, []int{2, 3}, tensors{"a": onnx.Vector[float32](1, 2, 3), "b": onnx.Vector[float32](4, 5, 6)},
			nodes("s = Add a b", "e = Exp s", "y = Add x e"), "y", lines("y = Add x e", "constants e")},
		{"pixels flattened", 13, image, tensors{"at": onnx.Vector[int64](0, 1), "rest": onnx.Vector[int64](-1)},
			[]*onnx.Node{node("s = Shape x", nil), node("g = Gather s at", nil), node("t = Concat g rest", attrs{"axis": int64(0)}), node("y = Reshape x t", nil)}, "y",
			lines("y = Reshape x t", "constants t")},
		{"without effect", 13, image, tensors{"shape": onnx.Vector[int64](2, 4, 5, 6), "one": onnx.Scalar[float32](1), "zero": onnx.Vector[int64](0, 0, 0, 0, 0, 0, 0, 0), "start": onnx.Vector[int64](0), "end": onnx.Vector[int64](9)},
			[]*onnx.Node{node("a = Relu x", nil), node("b = Identity a", nil), node("c = Dropout b", nil), node("d = Reshape c shape", nil), node("e = Transpose d", attrs{"perm": []int64{0, 1, 2, 3}}),
				node("f = Cast e", attrs{"to": int64(onnx.Float)}), node("g = Slice f start end", nil), node("h = Pad g zero", nil), node("i = Concat h", attrs{"axis": int64(1)}),
				node("j = Mul i one", nil), node("y = Sigmoid j", nil)}, "y",
			lines("a = Relu x", "y = Sigmoid a")},
		{"output keeps its name", 13, image, nil, nodes("a = Relu x", "y = Identity a", "z = Sigmoid a"), "y z",
			lines("y = Relu x", "z = Sigmoid y")},
		{"input given out", 13, image, nil, nodes("y = Identity x"), "y", lines("y = Identity x")},
		{"reversed is an effect", 13, []int{4}, tensors{"start": onnx.Vector[int64](3), "end": onnx.Vector[int64](-9), "axis": onnx.Vector[int64](0), "step": onnx.Vector[int64](-1)},
			nodes("y = Slice x start end axis step"), "y", lines("y = Slice x start end axis step", "constants axis end start step")},
		{"shifted is an effect", 13, []int{4}, tensors{"pads": onnx.Vector[int64](1, -1)}, nodes("y = Pad x pads"), "y", lines("y = Pad x pads", "constants pads")},
		{"broadcast one is an effect", 13, []int{4}, tensors{"one": random(1, 3, 1)}, nodes("e = Mul x one"), "e", lines("e = Mul x one", "constants one")},

		{"convolution and normalisation", 13, image, parameters(tensors{"w": random(1, 4, 4, 3, 3), "b": random(2, 4)}),
			[]*onnx.Node{conv("c", "x", "w", "b"), node("y = BatchNormalization c gamma beta mean var", attrs{"epsilon": float32(1e-3)})}, "y",
			lines("y = Conv x w b", "constants b w")},
		{"grouped convolution without bias", 13, image, parameters(tensors{"w": random(1, 4, 1, 3, 3)}),
			[]*onnx.Node{{Name: "c", Op: "Conv", Inputs: []string{"x", "w"}, Outputs: []string{"c"}, Attrs: attrs{"group": int64(4)}}, node("y = BatchNormalization c gamma beta mean var", nil)}, "y",
			lines("y = Conv x w c.bias group=4", "constants c.bias w")},
		{"transposed convolution in groups", 13, image, parameters(tensors{"w": random(1, 4, 2, 2, 2), "b": random(2, 4)}),
			[]*onnx.Node{{Name: "c", Op: "ConvTranspose", Inputs: []string{"x", "w", "b"}, Outputs: []string{"c"}, Attrs: attrs{"group": int64(2), "strides": []int64{2, 2}}}, node("y = BatchNormalization c gamma beta mean var", nil)}, "y",
			lines("y = ConvTranspose x w b group=2 strides=[2 2]", "constants b w")},
		{"matrix product", 13, []int{2, 3}, parameters(tensors{"w": random(1, 4, 3), "b": random(2, 4)}),
			[]*onnx.Node{node("c = Gemm x w b", attrs{"transB": int64(1), "alpha": float32(2), "beta": float32(3)}), node("y = BatchNormalization c gamma beta mean var", nil)}, "y",
			lines("y = Gemm x w b alpha=2 transB=1", "constants b w")},
		{"shared weights", 13, image, parameters(tensors{"w": random(1, 4, 4, 1, 1)}),
			[]*onnx.Node{conv("c", "x", "w"), node("y = BatchNormalization c gamma beta mean var", nil), conv("z", "x", "w")}, "y z",
			lines("y = Conv x w_1 c.bias", "z = Conv x w", "constants c.bias w w_1")},
		{"normalisation alone", 13, image, parameters(tensors{}),
			nodes("a = Relu x", "n = BatchNormalization a gamma beta mean var", "y = Relu n"), "y",
			lines("a = Relu x", "n_scaled = Mul a n.factor", "n = Add n_scaled n.summand", "y = Relu n", "constants n.factor n.summand")},
		{"normalisation beside another reader", 13, image, parameters(tensors{"w": random(1, 4, 4, 1, 1)}),
			[]*onnx.Node{conv("c", "x", "w"), node("n = BatchNormalization c gamma beta mean var", nil), node("y = Add n c", nil)}, "y",
			lines("c = Conv x w", "n_scaled = Mul c n.factor", "n = Add n_scaled n.summand", "y = Add n c", "constants n.factor n.summand w")},
		{"affine behind a convolution", 13, image, tensors{"w": random(1, 4, 4, 1, 1), "k": random(2, 4, 1, 1), "c": random(3, 1, 4, 1, 1), "s": onnx.Scalar[float32](3)},
			[]*onnx.Node{conv("a", "x", "w"), node("b = Mul k a", nil), node("d = Add b c", nil), node("e = Sub s d", nil), node("y = Div e s", nil)}, "y",
			lines("y = Conv x w a.bias", "constants a.bias w")},
		{"not for each channel", 13, image, tensors{"w": random(1, 4, 4, 1, 1), "k": random(2, 5, 1)},
			[]*onnx.Node{conv("a", "x", "w"), node("y = Mul a k", nil)}, "y", lines("a = Conv x w", "y = Mul a k", "constants k w")},

		{"unused", 13, image, tensors{"left": onnx.Scalar[float32](1)}, nodes("a = Relu x", "b = Sigmoid a", "y = Tanh x"), "y", lines("y = Tanh x")},
		{"duplicates", 13, image, tensors{"k1": onnx.Scalar[float32](3), "k2": onnx.Scalar[float32](3), "k3": onnx.Scalar[float32](4)},
			nodes("a = Add x k1", "b = Mul a k2", "y = Div b k3"), "y", lines("a = Add x k1", "b = Mul a k1", "y = Div b k3", "constants k1 k3")},
		{"parameters stay apart", 13, image, tensors{"w1": random(1, 4, 4, 1, 1), "w2": random(1, 4, 4, 1, 1)},
			[]*onnx.Node{conv("a", "x", "w1"), conv("y", "a", "w2")}, "y", lines("a = Conv x w1", "y = Conv a w2", "constants w1 w2")},

		{"lists become inputs", 9, image, nil, []*onnx.Node{
			node("a = Slice x", attrs{"starts": []int64{1}, "ends": []int64{3}, "axes": []int64{2}}),
			node("b = Pad a", attrs{"pads": []int64{0, 0, 1, 0, 0, 0, 0, 0}, "value": float32(7)}),
			node("c = Clip b", attrs{"max": float32(2)}),
			node("d = Unsqueeze c", attrs{"axes": []int64{0}}),
			node("e = Squeeze d", attrs{"axes": []int64{0}}),
			node("y = ReduceSum e", attrs{"axes": []int64{1}, "keepdims": int64(0)})}, "y",
			lines("a = Slice x a_starts a_ends a_axes", "b = Pad a b_pads b_value", "c = Clip b  c_max", "d = Unsqueeze c d_axes",
				"e = Squeeze d d_axes", "y = ReduceSum e a_starts keepdims=0", "constants a_axes a_ends a_starts b_pads b_value c_max d_axes")},
		{"upsample", 9, image, tensors{"k": onnx.Vector[float32](1, 1, 2, 3)}, []*onnx.Node{node("y = Upsample x k", attrs{"mode": "nearest"})}, "y",
			lines("y = Resize x y_roi k coordinate_transformation_mode=asymmetric mode=nearest nearest_mode=floor", "constants k y_roi")},
		{"upsample linear", 7, image, nil, []*onnx.Node{node("y = Upsample x", attrs{"mode": "linear", "scales": []float32{1, 1, 2, 3}})}, "y",
			lines("y = Resize x y_roi y_scales coordinate_transformation_mode=asymmetric mode=linear", "constants y_roi y_scales")},
		{"resize of set 10, shrinking", 10, []int{1, 1, 6, 8}, tensors{"k": onnx.Vector[float32](1, 1, 0.5, 0.4)}, []*onnx.Node{node("y = Resize x k", nil)}, "y",
			lines("y = Resize x y_roi k coordinate_transformation_mode=asymmetric nearest_mode=ceil", "constants k y_roi")},
		{"softmax over the last axis", 11, []int{2, 8}, nil, nodes("y = Softmax x"), "y", lines("y = Softmax x axis=-1")},
		{"softmax over several axes", 11, []int{2, 4, 3}, nil, nodes("y = Softmax x"), "y",
			lines("y_flat = Flatten x axis=-2", "y_result = Softmax y_flat axis=1", "y = Reshape y_result y_shape_of", "constants y_shape_of")},
		{"operator of another time", 11, image, nil, []*onnx.Node{node("a = Clip x", nil), node("y = Shrink a", nil)}, "y", lines("y = Shrink x")},
	}
	dir := t.TempDir()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := model(c.opset, c.in, c.init, c.outs, c.nodes...)
			old := m.Clone()
			report, err := simplify.Run(m)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, m.Graph, c.want)
			if err := m.Save(filepath.Join(dir, c.name+".onnx")); err != nil {
				t.Error(err)
			}
			if report.String() == "" && text(old.Graph) != text(m.Graph) {
				t.Error("the report says nothing of the changes")
			}
			if strings.Contains(c.want, "Shrink") {
				return // not evaluated on the host
			}
			x := random(99, c.in...)
			agree(t, evaluate(t, m.Graph, m.Opset, x), evaluate(t, old.Graph, old.Opset, x), 1e-5)
			again := text(m.Graph)
			if _, err := simplify.Run(m); err != nil || text(m.Graph) != again {
				t.Errorf("a second run changed the graph: %v\n%s", err, text(m.Graph))
			}
		})
	}
	t.Run("onnx.checker", func(t *testing.T) {
		if bad := testenv.RunPython(t, checkModels, dir); bad != "" {
			t.Error(bad)
		}
	})
}

const checkModels = `
import glob, os, sys, onnx
for path in sorted(glob.glob(sys.argv[1] + "/*.onnx")):
    try: onnx.checker.check_model(path)
    except Exception as e: print(os.path.basename(path), e)
`

// A model with a free batch keeps it, and what depends on it; once shapes are
// inferred for a batch, it is a model for that batch.
func TestRunFreeSize(t *testing.T) {
	build := func() *onnx.Model {
		m := model(13, []int{onnx.Dynamic, 4, 5, 6}, tensors{"at": onnx.Vector[int64](0), "rest": onnx.Vector[int64](-1)}, "y",
			node("s = Shape x", nil), node("g = Gather s at", nil), node("t = Concat g rest", attrs{"axis": int64(0)}), node("r = Reshape x t", nil), node("y = Identity r", nil))
		m.Graph.Outputs[0].Dims = []int{onnx.Dynamic, onnx.Dynamic}
		return m
	}
	m := build()
	if _, err := simplify.Run(m); err != nil {
		t.Fatal(err)
	}
	expect(t, m.Graph, lines("s = Shape x", "g = Gather s at", "t = Concat g rest axis=0", "y = Reshape x t", "constants at rest"))
	if got := m.Graph.Inputs[0].Dims; !slices.Equal(got, []int{onnx.Dynamic, 4, 5, 6}) {
		t.Errorf("the input became %v", got)
	}
	m = build()
	if err := shape.Infer(m, map[string][]int{"x": {2, 4, 5, 6}}); err != nil {
		t.Fatal(err)
	}
	if _, err := simplify.Run(m); err != nil {
		t.Fatal(err)
	}
	expect(t, m.Graph, lines("y = Reshape x t", "constants t"))
	if in, out := m.Graph.Inputs[0].Dims, m.Graph.Outputs[0].Dims; !slices.Equal(in, []int{2, 4, 5, 6}) || !slices.Equal(out, []int{2, 120}) {
		t.Errorf("declared %v -> %v", in, out)
	}
}

// A branch decided by a constant takes the place of its If node.
func TestRunBranches(t *testing.T) {
	branch := func(op string) *onnx.Graph {
		return &onnx.Graph{Name: op, Init: tensors{}, Info: map[string]onnx.Value{}, Nodes: []*onnx.Node{
			{Name: "b", Op: op, Inputs: []string{"a"}, Outputs: []string{"inner"}}, {Name: "c", Op: "Abs", Inputs: []string{"inner"}, Outputs: []string{"result"}}},
			Outputs: []onnx.Value{{Name: "result", Type: onnx.Float}}}
	}
	m := model(13, []int{2, 3}, tensors{"yes": onnx.Scalar(true)}, "y",
		node("a = Sigmoid x", nil),
		node("i = If yes", attrs{"then_branch": branch("Exp"), "else_branch": branch("Neg")}),
		node("y = Add i a", nil))
	if _, err := simplify.Run(m); err != nil {
		t.Fatal(err)
	}
	expect(t, m.Graph, lines("a = Sigmoid x", "inner_1 = Exp a", "i = Abs inner_1", "y = Add i a"))
}

// A loop that depends on no input is run: here it collects 2, 3.5, 5 while a condition of
// its own lasts, or as often as the number of trips says. One that reads the input stays.
func TestRunLoops(t *testing.T) {
	for _, c := range []struct {
		name, start, trips string
		last               float32 // what at may be for a further trip
		want               []float32
	}{
		{"as often as it says", "from", "three", 100, []float32{2, 3.5, 5}},
		{"while its condition lasts", "from", "many", 4, []float32{2, 3.5, 5}},
		{"never", "from", "none", 100, nil},
		{"too often", "from", "many", 1e9, nil},
		{"from the input", "x", "three", 100, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			scalar := onnx.Value{Type: onnx.Float, Dims: []int{}}
			named := func(name string, v onnx.Value) onnx.Value { v.Name = name; return v }
			body := &onnx.Graph{Name: "range", Init: tensors{"step": onnx.Scalar[float32](1.5), "last": onnx.Scalar(c.last)}, Info: map[string]onnx.Value{},
				Inputs: []onnx.Value{named("trip", onnx.Value{Type: onnx.Int64, Dims: []int{}}), named("go", onnx.Value{Type: onnx.Bool, Dims: []int{}}), named("at", scalar)},
				Nodes: []*onnx.Node{
					{Name: "a", Op: "Add", Inputs: []string{"at", "step"}, Outputs: []string{"next"}},
					{Name: "b", Op: "Less", Inputs: []string{"at", "last"}, Outputs: []string{"more"}},
					{Name: "c", Op: "Identity", Inputs: []string{"at"}, Outputs: []string{"entry"}}},
				Outputs: []onnx.Value{named("more", onnx.Value{Type: onnx.Bool, Dims: []int{}}), named("next", scalar), named("entry", scalar)}}
			loop := &onnx.Node{Name: "l", Op: "Loop", Inputs: []string{c.trips, "", c.start}, Outputs: []string{"end", "r"}, Attrs: attrs{"body": body}}
			m := model(13, []int{}, tensors{"from": onnx.Scalar[float32](2), "three": onnx.Scalar[int64](3), "many": onnx.Scalar[int64](1 << 40), "none": onnx.Scalar[int64](0)}, "y",
				loop, node("y = Add r x", nil))
			if _, err := simplify.Run(m); err != nil {
				t.Fatal(err)
			}
			var got []float32
			if r := m.Graph.Init["r"]; r != nil {
				got = r.Data.([]float32)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("collected %v: want %v", got, c.want)
			}
			if stays := slices.ContainsFunc(m.Graph.Nodes, func(n *onnx.Node) bool { return n.Op == "Loop" }); stays != (c.want == nil) {
				t.Errorf("the Loop stays: %v", stays)
			}
		})
	}
}

// A quantised model's weights stay integers.
func TestRunKeepsQuantised(t *testing.T) {
	m := model(13, []int{1, 4, 2, 2}, tensors{"q": onnx.NewTensor([]int{4, 4, 1, 1}, make([]int8, 16)), "s": onnx.Scalar[float32](0.1), "z": onnx.Scalar[int8](0)}, "y",
		node("w = DequantizeLinear q s z", nil), node("y = Conv x w", nil))
	if _, err := simplify.Run(m); err != nil {
		t.Fatal(err)
	}
	expect(t, m.Graph, lines("w = DequantizeLinear q s z", "y = Conv x w", "constants q s z"))
}

// A few bytes of constants must not become gigabytes.
func TestRunBoundsMemory(t *testing.T) {
	for name, known := range map[string]bool{"known sizes": true, "free sizes": false} {
		in := []int{1}
		if !known {
			in[0] = onnx.Dynamic
		}
		m := model(13, in, tensors{"huge": onnx.Vector[int64](1<<15, 1<<15)}, "y",
			node("k = ConstantOfShape huge", nil), node("s = ReduceMax k", attrs{"keepdims": int64(0)}), node("y = Add x s", nil))
		if _, err := simplify.Run(m); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if m.Graph.Init["k"] != nil {
			t.Errorf("%s: %d elements were folded", name, m.Graph.Init["k"].Len())
		}
	}
}

func TestRunRefusesNonsense(t *testing.T) {
	cases := map[string]*onnx.Model{
		"division by zero":  model(13, []int{1}, tensors{"a": onnx.Vector[int64](1), "b": onnx.Vector[int64](0)}, "y", node("c = Div a b", nil), node("y = Expand x c", nil)),
		"negative variance": model(13, []int{1, 1}, tensors{"v": onnx.Vector[float32](-1)}, "y", node("y = BatchNormalization x v v v v", nil)),
		"index outside":     model(13, []int{1}, tensors{"a": onnx.Vector[int64](1), "b": onnx.Vector[int64](7)}, "y", node("c = Gather a b", nil), node("y = Expand x c", nil)),
	}
	for name, m := range cases {
		_, err := simplify.Run(m)
		if fault.Code(err) != fault.CodeBadInput {
			t.Errorf("%s: %v", name, err)
		}
	}
}
