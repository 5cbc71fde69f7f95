package job

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// ortModel is a convolution as onnxruntime's quantiser writes it, with the zero point of
// its input.
func ortModel(t *testing.T, zero *onnx.Tensor) string {
	g := &onnx.Graph{Name: "g", Info: map[string]onnx.Value{},
		Nodes: []*onnx.Node{
			{Name: "q", Op: "QuantizeLinear", Inputs: []string{"x", "s", "zero"}, Outputs: []string{"xq"}},
			{Name: "dq", Op: "DequantizeLinear", Inputs: []string{"xq", "s", "zero"}, Outputs: []string{"xd"}},
			{Name: "w_dq", Op: "DequantizeLinear", Inputs: []string{"wq", "ws", "wz"}, Outputs: []string{"w"}, Attrs: map[string]onnx.Attr{"axis": int64(0)}},
			{Name: "b_dq", Op: "DequantizeLinear", Inputs: []string{"bq", "bs", "bz"}, Outputs: []string{"b"}, Attrs: map[string]onnx.Attr{"axis": int64(0)}},
			{Name: "conv", Op: "Conv", Inputs: []string{"xd", "w", "b"}, Outputs: []string{"y"}},
		},
		Inputs: []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{1, 3, 32, 32}}}, Outputs: []onnx.Value{{Name: "y", Type: onnx.Float}},
		Init: map[string]*onnx.Tensor{
			"s": onnx.Scalar(float32(0.5)), "zero": zero,
			"wq": onnx.NewTensor([]int{2, 3, 1, 1}, []int8{1, 2, 3, 4, 5, 6}), "ws": onnx.Vector[float32](0.5, 2), "wz": onnx.Vector[int8](0, 0),
			"bq": onnx.Vector[int32](100000, -3), "bs": onnx.Vector[float32](0.25, 1), "bz": onnx.Vector[int32](0, 0),
		}}
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := (&onnx.Model{IR: 8, Opset: 13, Graph: g}).Save(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFloatBiases: TensorRT dequantises no int32, so biases become what they stand for.
func TestFloatBiases(t *testing.T) {
	d, err := LoadDetector(ortModel(t, onnx.Scalar(int8(0))), LoadOptions{Family: "none"})
	if err != nil {
		t.Fatal(err)
	}
	g := d.Model.Graph
	if b := g.Init["b"]; b == nil || !slices.Equal(b.Floats(), []float32{25000, -3}) || g.Init["bq"] != nil {
		t.Errorf("bias %v, bq %v", b, g.Init["bq"])
	}
	if len(g.Nodes) != 4 || g.Init["wq"].Type != onnx.Int8 {
		t.Errorf("%d nodes, weights of %v: want the other pairs as they were", len(g.Nodes), g.Init["wq"].Type)
	}
}

// TestSymmetric: an engine is built of zero points 0 of int8 alone, and the others are
// refused before anything else is done.
func TestSymmetric(t *testing.T) {
	for _, c := range []struct {
		zero *onnx.Tensor
		want string // "": taken
	}{
		{onnx.Scalar(int8(0)), ""},
		{onnx.Scalar(int8(-128)), `zero point -128 (int8) at node "q"`},
		{onnx.Scalar(uint8(0)), `zero point of type uint8 at node "q"`},
		{onnx.Scalar(uint8(128)), `zero point 128 (uint8) at node "q"`},
	} {
		o := BuildOptions{Model: ortModel(t, c.zero), Load: LoadOptions{Family: "none"}}
		_, err := new(Machine).beginAt(o)
		if c.want == "" && err != nil || c.want != "" && (err == nil || fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("zero point %v: %v, want %q", c.zero.Data, err, c.want)
		}
	}
}
