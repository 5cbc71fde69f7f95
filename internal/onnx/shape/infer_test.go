package shape_test

import (
	"slices"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/testenv"
)

// node is a node with inputs and outputs given as words.
func node(op, in, out string, attrs map[string]onnx.Attr) *onnx.Node {
	return &onnx.Node{Name: op + "_" + out, Op: op, Inputs: strings.Fields(in), Outputs: strings.Fields(out), Attrs: attrs}
}

func model(inputs []onnx.Value, init map[string]*onnx.Tensor, outputs string, nodes ...*onnx.Node) *onnx.Model {
	g := &onnx.Graph{Nodes: nodes, Inputs: inputs, Init: init}
	for _, o := range strings.Fields(outputs) {
		g.Outputs = append(g.Outputs, onnx.Value{Name: o, Type: onnx.Float})
	}
	return &onnx.Model{IR: 7, Opset: 13, Graph: g}
}

func image(d ...int) []onnx.Value {
	return []onnx.Value{{Name: "x", Type: onnx.Float, Dims: d, Symbols: []string{"batch", "", "height", "width"}}}
}

// The chain with which PyTorch flattens the pixels: the target is computed from
// Shape, Gather, Unsqueeze and Concat.
func flattening() *onnx.Model {
	return model(image(onnx.Dynamic, 3, onnx.Dynamic, onnx.Dynamic),
		map[string]*onnx.Tensor{"zero": onnx.Scalar(int64(0)), "axis": onnx.Vector[int64](0), "rest": onnx.Vector[int64](3, -1)},
		"y",
		node("Shape", "x", "s", nil),
		node("Gather", "s zero", "b", nil),
		node("Unsqueeze", "b axis", "b1", nil),
		node("Concat", "b1 rest", "t", map[string]onnx.Attr{"axis": int64(0)}),
		node("Reshape", "x t", "y", nil))
}

func TestInferFollowsShapeValues(t *testing.T) {
	m := flattening()
	if err := shape.Infer(m, map[string][]int{"x": {2, 3, 8, 4}}); err != nil {
		t.Fatal(err)
	}
	if got := m.Graph.Info["y"].Dims; !slices.Equal(got, []int{2, 3, 32}) {
		t.Errorf("y is %v", got)
	}
}

// What depends on image data is Dynamic, and inference goes on behind it.
func TestInferDataDependent(t *testing.T) {
	m := model(image(1, 1, 4, 4), map[string]*onnx.Tensor{"boxes": onnx.NewTensor([]int{1, 16, 4}, make([]float32, 64)), "target": onnx.Vector[int64](1, 1, 16), "column": onnx.Scalar(int64(2))},
		"rows picked",
		node("Reshape", "x target", "scores", nil),
		node("NonMaxSuppression", "boxes scores", "rows", nil),
		node("Gather", "rows column", "index", map[string]onnx.Attr{"axis": int64(1)}),
		node("Gather", "boxes index", "picked", map[string]onnx.Attr{"axis": int64(1)}))
	m.Graph.Outputs[0].Type = onnx.Int64
	if err := shape.Infer(m, nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]int{"rows": {onnx.Dynamic, 3}, "index": {onnx.Dynamic}, "picked": {1, onnx.Dynamic, 4}} {
		if got := m.Graph.Info[name].Dims; !slices.Equal(got, want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

func TestInferContradictions(t *testing.T) {
	weights := func(d ...int) map[string]*onnx.Tensor {
		n := 1
		for _, s := range d {
			n *= s
		}
		return map[string]*onnx.Tensor{"w": onnx.NewTensor(d, make([]float32, n)), "t": onnx.Vector[int64](1, 5)}
	}
	free := []int{onnx.Dynamic, 3, 8, 8}
	cases := []struct {
		name  string
		model *onnx.Model
		sizes map[string][]int
		want  []string // words of the message
	}{
		{"free dimension", flattening(), nil, []string{`"x"`, "dimension 0", "batch"}},
		{"unknown input", flattening(), map[string][]int{"x": {1, 3, 8, 8}, "z": {1}}, []string{`"z"`, "not an input"}},
		{"wrong rank", flattening(), map[string][]int{"x": {1, 3}}, []string{`"x"`, "rank 4"}},
		{"fixed size", model(image(1, 3, 8, 8), nil, "x"), map[string][]int{"x": {1, 3, 8, 9}}, []string{"fixed to [1 3 8 8]", "[1 3 8 9]"}},
		{"channels", model(image(1, 3, 8, 8), weights(4, 2, 1, 1), "y", node("Conv", "x w", "y", nil)), nil, []string{"Conv_y", `"x"`, `"w"`, "[4 2 1 1]", "3 input channels"}},
		{"window", model(image(1, 3, 8, 8), weights(4, 3, 9, 9), "y", node("Conv", "x w", "y", nil)), nil, []string{"larger than the input"}},
		{"broadcast", model(image(1, 3, 8, 8), weights(1, 3, 4, 4), "y", node("Add", "x w", "y", nil)), nil, []string{"do not broadcast", `constant "w"`, "exported for"}},
		{"reshape", model(image(1, 3, 8, 8), weights(1), "y", node("Reshape", "x t", "y", nil)), nil, []string{"192 elements", "[1 5]"}},
		{"huge", model([]onnx.Value{{Name: "x", Type: onnx.Float, Dims: free}}, nil, "x"), map[string][]int{"x": {1 << 40, 3, 8, 8}}, []string{"more than"}},
		{"loose end", model(image(1, 3, 8, 8), nil, "y", node("Relu", "nothing", "y", nil)), nil, []string{`"nothing"`, "no node"}},
		{"types", model(image(1, 3, 8, 8), weights(1), "y", node("Add", "x t", "y", nil)), nil, []string{"differ in type", "int64"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := shape.Infer(c.model, c.sizes)
			if err == nil {
				t.Fatal("no error")
			}
			if fault.Code(err) != fault.CodeBadInput {
				t.Errorf("exit code %d", fault.Code(err))
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("message lacks %q: %v", w, err)
				}
			}
			if c.model.Graph.Info != nil {
				t.Error("an error left shapes behind")
			}
		})
	}
}

func TestResize(t *testing.T) {
	// A detector whose head is reshaped with -1 can be resized.
	m := model(image(1, 3, 8, 8), map[string]*onnx.Tensor{"t": onnx.Vector[int64](0, 3, -1)}, "y", node("Reshape", "x t", "y", nil))
	m.Graph.Outputs[0].Dims = []int{1, 3, 64}
	if err := shape.Resize(m, 16, 8, 2); err != nil {
		t.Fatal(err)
	}
	if in, out := m.Graph.Inputs[0].Dims, m.Graph.Outputs[0].Dims; !slices.Equal(in, []int{2, 3, 16, 8}) || !slices.Equal(out, []int{2, 3, 128}) {
		t.Errorf("resized to %v -> %v", in, out)
	}
	// What cannot be resized is left as it was.
	m = model(image(1, 3, 8, 8), map[string]*onnx.Tensor{"grid": onnx.NewTensor([]int{1, 1, 8, 8}, make([]float32, 64))}, "y", node("Add", "x grid", "y", nil))
	err := shape.Resize(m, 32, 32, 2)
	if err == nil || !strings.Contains(err.Error(), "baked into the model") {
		t.Errorf("a stored grid: %v", err)
	}
	if !slices.Equal(m.Graph.Inputs[0].Dims, []int{1, 3, 8, 8}) {
		t.Errorf("a refused resize changed the model: %v", m.Graph.Inputs)
	}
}

// YOLOv5n has its box grids stored for 640x640, in the file with free sizes too.
func TestResizeRefusesStoredGrids(t *testing.T) {
	for _, file := range []string{"yolov5n.onnx", "yolov5n_fp16.onnx"} {
		m, err := onnx.Load(testenv.Data(t, "models", file))
		if err != nil {
			t.Fatal(err)
		}
		err = shape.Resize(m, 320, 320, 1)
		if err == nil || fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "baked into the model") {
			t.Errorf("%s: %v", file, err)
		}
		t.Log(err)
	}
}
