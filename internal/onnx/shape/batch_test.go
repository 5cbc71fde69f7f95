package shape_test

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/host"
	"trtact/internal/onnx/shape"
)

type (
	attrs   = map[string]onnx.Attr
	tensors = map[string]*onnx.Tensor
)

func ints(v ...int64) *onnx.Tensor { return onnx.Vector(v...) }

func random(seed uint64, d ...int) *onnx.Tensor {
	n := 1
	for _, s := range d {
		n *= s
	}
	r := rand.New(rand.NewPCG(seed, 1))
	v := make([]float32, n)
	for i := range v {
		v[i] = r.Float32()*8 - 4
	}
	return onnx.NewTensor(d, v)
}

// batchCase is a graph over the images x, to be made one for other batch sizes.
type batchCase struct {
	name  string
	opset int
	in    []int // Dynamic batch: free
	init  tensors
	nodes []*onnx.Node
	outs  string
}

func (c batchCase) model() *onnx.Model {
	m := model([]onnx.Value{{Name: "x", Type: onnx.Float, Dims: c.in}}, maps.Clone(c.init), c.outs, c.nodes...)
	if m.Graph.Init == nil {
		m.Graph.Init = tensors{}
	}
	m.Opset = c.opset
	return m
}

// evaluate computes a graph's outputs on the host.
func evaluate(t *testing.T, m *onnx.Model, x *onnx.Tensor) map[string]*onnx.Tensor {
	t.Helper()
	values := maps.Clone(m.Graph.Init)
	values["x"] = x
	for _, n := range m.Graph.Nodes {
		in := make([]*onnx.Tensor, len(n.Inputs))
		for i, name := range n.Inputs {
			in[i] = values[name]
		}
		f := host.Eval
		if !host.Supports(n.Op, n.Domain) {
			f = host.Reference
		}
		out, err := f(n, m.Opset, in)
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range n.Outputs {
			values[name] = out[i]
		}
	}
	return values
}

// image n of the batch size that a tensor is for: part n of an axis.
func part(t *testing.T, v *onnx.Tensor, axis, n, of int) *onnx.Tensor {
	t.Helper()
	k := int64(v.Dims[axis] / of)
	out, err := host.Eval(&onnx.Node{Op: "Slice"}, 13, []*onnx.Tensor{v, ints(int64(n) * k), ints(int64(n+1) * k), ints(int64(axis))})
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

// Stored batch sizes are replaced, and every image comes out as if it were
// alone.
func TestResizeBatch(t *testing.T) {
	image := []int{1, 4, 6, 6}
	cases := []batchCase{
		{"rows of predictions", 13, image, tensors{"grid": ints(1, 2, 2, 36), "rows": ints(1, -1, 2), "anchors": random(1, 1, 2, 36, 1), "keep": ints(0, 2, -1)},
			[]*onnx.Node{node("Reshape", "x grid", "a", nil), node("Transpose", "a", "b", attrs{"perm": []int64{0, 1, 3, 2}}), node("Mul", "b anchors", "c", nil),
				node("Reshape", "c rows", "d", nil), node("Concat", "d d", "e", attrs{"axis": int64(1)}), node("Reshape", "e keep", "y", nil)}, "y"},
		{"channels merged with images", 13, image, tensors{"pairs": ints(2, 2, 36), "halves": ints(2, -1, 2, 6, 6), "zero": onnx.Scalar[int64](0), "one": onnx.Scalar[int64](1), "bias": random(2, 2, 1, 1)},
			[]*onnx.Node{node("Reshape", "x pairs", "a", nil), node("Add", "a bias", "b", nil), node("Transpose", "b", "c", attrs{"perm": []int64{1, 0, 2}}), node("Reshape", "c halves", "d", nil),
				node("Gather", "d zero", "e", nil), node("Gather", "d one", "f", nil), node("Concat", "e f", "y", attrs{"axis": int64(1)})}, "y"},
		{"constants expanded and concatenated", 13, image, tensors{"k": random(1, 1, 2, 1, 1), "to": ints(1, 2, 6, 6), "more": random(2, 1, 1, 6, 6)},
			[]*onnx.Node{node("Expand", "k to", "e", nil), node("Concat", "x e more", "y", attrs{"axis": int64(1)})}, "y"},
		{"images expanded", 13, []int{1, 4}, tensors{"two": ints(2), "to": ints(1, 3, 4)},
			[]*onnx.Node{node("Unsqueeze", "x two", "u", nil), node("Transpose", "u", "v", attrs{"perm": []int64{0, 2, 1}}), node("Expand", "v to", "y", nil)}, "y"},
		{"sizes of a resize", 13, image, tensors{"to": ints(1, 4, 12, 9)}, []*onnx.Node{{Name: "r", Op: "Resize", Inputs: []string{"x", "", "", "to"}, Outputs: []string{"y"}}}, "y"},
		{"sizes of some axes", 18, image, tensors{"to": ints(9, 1)}, []*onnx.Node{{Name: "r", Op: "Resize", Inputs: []string{"x", "", "", "to"}, Outputs: []string{"y"}, Attrs: attrs{"axes": []int64{3, -4}}}}, "y"},
		{"a slice of all images", 13, image, tensors{"from": ints(0, 1), "to": ints(3, 1), "axes": ints(1, 0)},
			[]*onnx.Node{node("Slice", "x zeros to axes", "a", nil), node("Relu", "a", "y", nil)}, "y"},
		{"a slice by attributes", 9, image, nil, []*onnx.Node{node("Slice", "x", "y", attrs{"starts": []int64{0, 1}, "ends": []int64{1, 3}})}, "y"},
		{"a target joined of pieces", 13, image, tensors{"images": ints(1), "rest": ints(-1), "at": ints(1)},
			[]*onnx.Node{node("Shape", "x", "s", nil), node("Gather", "s at", "c", nil), node("Concat", "images c rest", "t", attrs{"axis": int64(0)}), node("Reshape", "x t", "y", nil)}, "y"},
		{"a grid for the number of images", 13, image, tensors{"k": random(3, 1, 1, 6, 6), "at": ints(0, 1, 2, 3)},
			[]*onnx.Node{node("Shape", "x", "s", nil), node("Gather", "s at", "t", nil), node("Expand", "k t", "e", nil), node("ConstantOfShape", "t", "z", attrs{"value": onnx.Vector[float32](0.5)}),
				node("Mul", "x e", "m", nil), node("Concat", "m z", "y", attrs{"axis": int64(1)})}, "y"},
		{"matrix products", 13, []int{1, 4, 6}, tensors{"left": random(1, 5, 4), "right": random(2, 6, 3), "flat": ints(4, 6), "three": ints(4, 1, 6), "bias": random(3, 3)},
			[]*onnx.Node{node("MatMul", "left x", "a", nil), node("MatMul", "a right", "b", nil), node("Reshape", "x flat", "f", nil), node("Gemm", "f right bias", "c", nil),
				node("Transpose", "x", "t", attrs{"perm": []int64{0, 2, 1}}), node("MatMul", "x t", "d", nil), node("Reshape", "f three", "r", nil), node("MatMul", "r right", "e", nil)}, "b c d e"},
		{"einsum", 13, []int{1, 4, 6}, tensors{"w": random(1, 6, 3)}, []*onnx.Node{node("Einsum", "x w", "y", attrs{"equation": "bcn, nk -> bkc"})}, "y"},
		{"reductions and the best", 13, []int{1, 4, 6}, tensors{"k": ints(2), "axis": onnx.Scalar[int64](1), "one": ints(1), "pads": ints(0, 1, 0, 0, 0, 2)},
			[]*onnx.Node{node("Pad", "x pads", "p", nil), node("Softmax", "p", "s", attrs{"axis": int64(1)}), node("CumSum", "s axis", "u", nil), node("TopK", "u k", "v i", nil),
				node("GatherElements", "p i", "g", attrs{"axis": int64(2)}), node("ReduceSum", "g one", "y", attrs{"keepdims": int64(0)}), node("ArgMax", "x", "z", attrs{"axis": int64(-1), "keepdims": int64(0)}),
				node("Split", "x", "a b", attrs{"axis": int64(1)}), node("Where", "lower a b", "w", nil)}, "y z w"},
		{"squeezed", 11, []int{1, 1, 6}, nil, []*onnx.Node{node("Squeeze", "x", "a", attrs{"axes": []int64{1}}), node("Unsqueeze", "a", "y", attrs{"axes": []int64{0, 2}}), node("Softmax", "y", "z", attrs{"axis": int64(2)})}, "z"},
		{"fewer images", 13, []int{4, 2, 3}, tensors{"to": ints(4, 6), "same": onnx.NewTensor([]int{4, 1, 3}, []float32{1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3})},
			[]*onnx.Node{node("Add", "x same", "a", nil), node("Reshape", "a to", "y", nil)}, "y"},
		{"free in the file, stored in the graph", 13, []int{onnx.Dynamic, 4, 6}, tensors{"to": ints(1, -1, 3)}, []*onnx.Node{node("Reshape", "x to", "y", nil)}, "y"},
		{"nothing stored", 13, []int{1, 4, 6}, tensors{"to": ints(0, -1)}, []*onnx.Node{node("Reshape", "x to", "a", nil), node("Flatten", "a", "y", nil)}, "y"},
		{"quantised", 13, image, tensors{"s": onnx.Scalar[float32](0.1), "z": onnx.Scalar[int8](0), "w": random(4, 4, 2, 1, 1), "to": ints(1, 2, 72)},
			[]*onnx.Node{node("QuantizeLinear", "x s z", "q", nil), node("DequantizeLinear", "q s z", "d", nil), node("Conv", "d w", "c", attrs{"group": int64(2)}), node("Reshape", "c to", "y", nil)}, "y"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			// Operands that the table is too narrow for.
			if c.init == nil {
				c.init = tensors{}
			}
			c.init["zeros"] = ints(0, 0)
			lower := make([]bool, 12)
			lower[3], lower[7] = true, true
			c.init["lower"] = onnx.NewTensor([]int{1, 2, 6}, lower)
			for _, batch := range []int{2, 3, 1} {
				m, old := c.model(), c.model()
				rank := len(c.in)
				if rank < 4 { // Resize takes rank 4 for images; the others follow a second input
					pad := onnx.Value{Name: "image", Type: onnx.Float, Dims: []int{c.in[0], 1, 1, 1}}
					m.Graph.Inputs = append([]onnx.Value{pad}, m.Graph.Inputs...)
				}
				if err := shape.Resize(m, 0, 0, batch); err != nil {
					t.Fatal(err)
				}
				d := slices.Clone(c.in)
				d[0] = batch
				x := random(9, d...)
				got := evaluate(t, m, x)
				alone := max(1, c.in[0]) // images that the original wants at a time
				for i := range batch {
					image := part(t, x, 0, i, batch)
					fed, err := host.Eval(&onnx.Node{Op: "Concat", Attrs: attrs{"axis": int64(0)}}, 13, slices.Repeat([]*onnx.Tensor{image}, alone))
					if err != nil {
						t.Fatal(err)
					}
					want := evaluate(t, old, fed[0])
					for _, name := range strings.Fields(c.outs) {
						g, w := got[name], want[name]
						if info := m.Graph.Info[name].Dims; !slices.Equal(info, g.Dims) {
							t.Fatalf("%s is %v at batch %d, inferred was %v", name, g.Dims, batch, info)
						}
						axis := 0
						for a := range g.Dims {
							if batch*w.Dims[a] == alone*g.Dims[a] && g.Dims[a] != w.Dims[a] {
								axis = a
							}
						}
						same(t, name, batch, i, part(t, g, axis, i, batch), part(t, w, axis, 0, alone))
					}
				}
			}
		})
	}
}

func same(t *testing.T, name string, batch, image int, got, want *onnx.Tensor) {
	t.Helper()
	if !slices.Equal(got.Dims, want.Dims) {
		t.Fatalf("%s of image %d of %d has shape %v, alone %v", name, image, batch, got.Dims, want.Dims)
	}
	g, w := got.Floats(), want.Floats()
	for i := range w {
		if math.Abs(float64(g[i]-w[i])) > 1e-6 {
			t.Fatalf("%s of image %d of %d: element %d is %g, alone %g", name, image, batch, i, g[i], w[i])
		}
	}
}

// What would mix images, or answer for one of them, is refused with the place;
// the model is left as it was.
func TestResizeBatchRefuses(t *testing.T) {
	image := []int{1, 4, 6, 6}
	zero := onnx.Scalar[int64](0)
	cases := []struct {
		batchCase
		want string
	}{
		{batchCase{"the first image", 13, image, tensors{"zero": zero}, []*onnx.Node{node("Gather", "x zero", "y", nil)}, "y"}, "picks some of the images"},
		{batchCase{"the batch dropped", 13, image, tensors{"zero": ints(0)}, []*onnx.Node{node("Squeeze", "x zero", "y", nil)}, "y"}, "drops axis 0"},
		{batchCase{"whatever is 1 dropped", 13, image, nil, []*onnx.Node{node("Squeeze", "x", "y", nil)}, "y"}, "drops axis 0"},
		{batchCase{"half of the images", 13, []int{4, 4, 6, 6}, tensors{"a": ints(0), "b": ints(2)}, []*onnx.Node{node("Slice", "x a b", "y", nil)}, "y"}, "picks some of the images"},
		{batchCase{"mean over images", 13, image, nil, []*onnx.Node{node("ReduceMean", "x", "y", attrs{"axes": []int64{0, 2}})}, "y"}, "axis 0, on which the images lie"},
		{batchCase{"softmax over images", 13, image, nil, []*onnx.Node{node("Softmax", "x", "y", attrs{"axis": int64(0)})}, "y"}, "axis 0, on which the images lie"},
		{batchCase{"joined along the batch", 13, image, nil, []*onnx.Node{node("Concat", "x x", "y", attrs{"axis": int64(0)})}, "y"}, "joins along axis 0"},
		{batchCase{"a product over images", 13, image, tensors{"w": random(1, 5, 6), "to": ints(1, 144), "v": random(1, 3, 1)},
			[]*onnx.Node{node("Reshape", "x to", "a", nil), node("MatMul", "v a", "y", nil)}, "y"}, "sums over the images"},
		{batchCase{"convolution over the batch", 13, image, tensors{"w": random(1, 2, 4, 1, 1)},
			[]*onnx.Node{node("Transpose", "x", "a", attrs{"perm": []int64{2, 1, 0, 3}}), node("Conv", "a w", "y", nil)}, "y"}, "wants the images on axis 0"},
		{batchCase{"a constant for each image", 13, []int{2, 4, 6, 6}, tensors{"k": random(1, 2, 1, 1, 1)}, []*onnx.Node{node("Mul", "x k", "y", nil)}, "y"}, "not the same for each"},
		{batchCase{"written in place", 13, image, tensors{"at": onnx.NewTensor([]int{1, 1}, []int64{0}), "v": random(1, 1, 4, 6, 6)}, []*onnx.Node{node("ScatterND", "x at v", "y", nil)}, "y"}, "cannot be followed"},
		{batchCase{"divided by the number of images", 13, image, tensors{"zero": zero},
			[]*onnx.Node{node("Shape", "x", "s", nil), node("Gather", "s zero", "n", nil), node("Cast", "n", "f", attrs{"to": int64(onnx.Float)}), node("Div", "x f", "y", nil)}, "y"}, "depends on the number of images"},
		{batchCase{"a stored grid", 13, image, tensors{"to": ints(1, 4, 36), "k": random(1, 1, 4, 25)}, []*onnx.Node{node("Reshape", "x to", "a", nil), node("Add", "a k", "y", nil)}, "y"}, "do not broadcast"},
		{batchCase{"images of unequal parts", 13, []int{2, 3, 2, 1}, tensors{"to": ints(3, 4)}, []*onnx.Node{node("Reshape", "x to", "y", nil)}, "y"}, "no axis of [3 4] holds whole images"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := c.model()
			err := shape.Resize(m, 0, 0, 6)
			if err == nil || fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "cannot run with inputs x[6") {
				t.Errorf("message lacks %q: %v", c.want, err)
			}
			if !slices.Equal(m.Graph.Inputs[0].Dims, c.in) || m.Graph.Info != nil || len(m.Graph.Init) != len(c.init) {
				t.Error("a refused resize changed the model")
			}
		})
	}
}

// Rows for all images together, which suppression gives, and unknown operators
// are let through as long as no output loses its rows.
func TestResizeBatchUntracked(t *testing.T) {
	c := batchCase{"", 13, []int{1, 1, 5, 4}, tensors{"to": ints(1, 5, 4), "one": ints(1, 1, 20)}, []*onnx.Node{
		node("Reshape", "x to", "boxes", nil), node("ReduceMean", "boxes", "mean", attrs{"axes": []int64{2}, "keepdims": int64(0)}),
		node("Unsqueeze", "mean one1", "scores", nil), node("NonMaxSuppression", "boxes scores", "rows", nil)}, "rows"}
	c.init["one1"] = ints(1)
	m := c.model()
	m.Graph.Outputs[0].Type = onnx.Int64
	if err := shape.Resize(m, 0, 0, 3); err != nil {
		t.Fatal(err)
	}
	if got := m.Graph.Info["rows"].Dims; !slices.Equal(got, []int{onnx.Dynamic, 3}) {
		t.Errorf("rows are %v", got)
	}
	unknown := node("Odd", "boxes", "odd", nil)
	unknown.Domain = "somebody"
	c.nodes = append(c.nodes[:1:1], unknown)
	c.outs = "odd"
	m = c.model()
	m.Graph.Outputs[0].Dims = []int{1, 5, 4}
	m.Graph.Info = map[string]onnx.Value{"odd": {Name: "odd", Type: onnx.Float, Dims: []int{1, 5, 4}}}
	err := shape.Resize(m, 0, 0, 3)
	if err == nil || !strings.Contains(err.Error(), "without a row for each of 3 images") {
		t.Errorf("%v", err)
	}
}
