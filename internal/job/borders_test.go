package job

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
)

// TestBytes: a picture input of bytes becomes one of float32, with the graph's own
// normalisation behind it.
func TestBytes(t *testing.T) {
	g := &onnx.Graph{Name: "g", Info: map[string]onnx.Value{},
		Nodes: []*onnx.Node{
			{Name: "cast", Op: "Cast", Inputs: []string{"x"}, Outputs: []string{"f"}, Attrs: map[string]onnx.Attr{"to": int64(onnx.Float)}},
			{Name: "scale", Op: "Div", Inputs: []string{"f", "c"}, Outputs: []string{"s"}},
			{Name: "conv", Op: "Conv", Inputs: []string{"s", "w"}, Outputs: []string{"y"}},
		},
		Inputs: []onnx.Value{{Name: "x", Type: onnx.Uint8, Dims: []int{1, 3, 32, 32}}}, Outputs: []onnx.Value{{Name: "y", Type: onnx.Float}},
		Init: map[string]*onnx.Tensor{"c": onnx.Scalar(float32(255)), "w": onnx.NewTensor([]int{2, 3, 1, 1}, make([]float32, 6))}}
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := (&onnx.Model{IR: 8, Opset: 13, Graph: g}).Save(path); err != nil {
		t.Fatal(err)
	}
	o := LoadOptions{Family: "none"}
	d, err := LoadDetector(path, o)
	if err != nil {
		t.Fatal(err)
	}
	if in := d.Model.Graph.Inputs[0]; in.Type != onnx.Float || d.Source.Graph.Inputs[0].Type != onnx.Uint8 {
		t.Errorf("the input is %v, the file's %v", in.Type, d.Source.Graph.Inputs[0].Type)
	}
	if d.Spec.Pixels.Std != [3]float32{1, 1, 1} {
		t.Errorf("pixels are divided by %v", d.Spec.Pixels.Std)
	}
	if notes := d.Notes(o); len(notes) != 1 || !strings.Contains(notes[0], "0 to 255") {
		t.Errorf("notes %q", notes)
	}
}

// TestPlanarInput: pixels that come one by one become planes, with what is done to them
// before the graph turns them; a graph that uses them otherwise stays.
func TestPlanarInput(t *testing.T) {
	load := func(perm []int64) (*Detector, error) {
		g := &onnx.Graph{Name: "g", Info: map[string]onnx.Value{},
			Nodes: []*onnx.Node{
				{Name: "cast", Op: "Cast", Inputs: []string{"x"}, Outputs: []string{"f"}, Attrs: map[string]onnx.Attr{"to": int64(onnx.Float)}},
				{Name: "shift", Op: "Sub", Inputs: []string{"f", "mean"}, Outputs: []string{"s"}},
				{Name: "scale", Op: "Div", Inputs: []string{"s", "c"}, Outputs: []string{"d"}},
				{Name: "turn", Op: "Transpose", Inputs: []string{"d"}, Outputs: []string{"p"}, Attrs: map[string]onnx.Attr{"perm": perm}},
				{Name: "conv", Op: "Conv", Inputs: []string{"p", "w"}, Outputs: []string{"y"}},
			},
			Inputs:  []onnx.Value{{Name: "x", Type: onnx.Uint8, Dims: []int{1, onnx.Dynamic, onnx.Dynamic, 3}}},
			Outputs: []onnx.Value{{Name: "y", Type: onnx.Float}},
			Init: map[string]*onnx.Tensor{"mean": onnx.Vector[float32](123, 117, 104), "c": onnx.Scalar(float32(57)),
				"w": onnx.NewTensor([]int{2, 3, 1, 1}, make([]float32, 6))}}
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := (&onnx.Model{IR: 8, Opset: 13, Graph: g}).Save(path); err != nil {
			t.Fatal(err)
		}
		return LoadDetector(path, LoadOptions{Family: "none", Height: 32, Width: 64})
	}
	d, err := load([]int64{0, 3, 1, 2})
	if err != nil {
		t.Fatal(err)
	}
	g := d.Model.Graph
	if in := g.Inputs[0]; !slices.Equal(in.Dims, []int{1, 3, 32, 64}) || in.Type != onnx.Float || !slices.Equal(g.Info["y"].Dims, []int{1, 2, 32, 64}) {
		t.Errorf("input %v, output %v", in, g.Info["y"])
	}
	if mean := g.Init["mean"]; mean == nil || !slices.Equal(mean.Dims, []int{3, 1, 1}) || slices.ContainsFunc(g.Nodes, func(n *onnx.Node) bool { return n.Op == "Transpose" }) {
		t.Errorf("mean %v, nodes %v", mean, g.Nodes)
	}
	if d.Spec.Width != 64 || d.Spec.Pixels.Mean[0] != 0 || d.Spec.Pixels.Std[0] != 1 {
		t.Errorf("fed with %+v", d.Spec)
	}
	if notes := d.Notes(LoadOptions{Height: 32}); len(notes) != 2 || !strings.Contains(notes[0], "planes, 3 x height x width") {
		t.Errorf("notes %q", notes)
	}
	if d, err := load([]int64{0, 3, 2, 1}); err == nil && d.Model.Graph.Inputs[0].Dims[1] == 3 {
		t.Error("a picture that is turned over its diagonal was taken for planes")
	}
}

// TestBatchedOutputs: rows of one picture get a batch in front.
func TestBatchedOutputs(t *testing.T) {
	g := &onnx.Graph{Name: "g", Info: map[string]onnx.Value{},
		Nodes: []*onnx.Node{
			{Name: "conv", Op: "Conv", Inputs: []string{"x", "w"}, Outputs: []string{"m"}},
			{Name: "rows", Op: "Reshape", Inputs: []string{"m", "dims"}, Outputs: []string{"y"}},
			{Name: "also", Op: "Relu", Inputs: []string{"y"}, Outputs: []string{"z"}},
		},
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{1, 3, 32, 32}}},
		Outputs: []onnx.Value{{Name: "y", Type: onnx.Float, Dims: []int{1024, 2}}, {Name: "z", Type: onnx.Float, Dims: []int{1024, 2}}},
		Init:    map[string]*onnx.Tensor{"dims": onnx.Vector[int64](1024, 2), "w": onnx.NewTensor([]int{2, 3, 1, 1}, make([]float32, 6))}}
	m := &onnx.Model{IR: 8, Opset: 13, Graph: g}
	if err := shape.Infer(m, nil); err != nil {
		t.Fatal(err)
	}
	if err := batchedOutputs(m); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"y", "z"} {
		if d := g.Info[name].Dims; !slices.Equal(d, []int{1, 1024, 2}) {
			t.Errorf("%s is %v", name, d)
		}
	}
	if err := g.Sort(); err != nil || len(g.Nodes) != 5 {
		t.Errorf("%d nodes, %v", len(g.Nodes), err)
	}
}
