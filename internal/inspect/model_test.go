package inspect

import (
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/testenv"
)

// Parameters and operators of real detectors, as data/README.md lists them;
// PicoDet has 2,063 more than there, which lie in Constant nodes.
func TestRealModels(t *testing.T) {
	for _, c := range []struct {
		file   string
		params int64
		layers int
		op     OpCount // the first one
		half   bool
	}{
		{"yolov5n.onnx", 1867405, 60, OpCount{"Mul", 69}, false},
		{"yolov5n_bn.onnx", 1872157, 60, OpCount{"Mul", 69}, false},
		{"yolov5n_fp16.onnx", 1867405, 60, OpCount{"Mul", 79}, true},
		{"yolov8n_deq.onnx", 3151904, 64, OpCount{"Conv", 64}, false},
		{"picodet_s_320.onnx", 983891, 133, OpCount{"Conv", 133}, false},
		{"v5lite_e_320.onnx", 779669, 66, OpCount{"Conv", 66}, false},
		{"fastestdet_352.onnx", 240301, 70, OpCount{"Conv", 70}, false},
		{"yolo_fastestv2_352.onnx", 238847, 79, OpCount{"Conv", 79}, false},
	} {
		t.Run(c.file, func(t *testing.T) {
			m, err := onnx.Load(testenv.Data(t, "models", c.file))
			if err != nil {
				t.Fatal(err)
			}
			got := Of(m)
			if got.Params != c.params || len(got.Layers) != c.layers || got.Ops[0] != c.op || got.Float16 != c.half {
				t.Errorf("%d parameters, %d layers, first operator %v, half %v", got.Params, len(got.Layers), got.Ops[0], got.Float16)
			}
			if got.Quantized != nil {
				t.Errorf("a float model is said to be quantised: %+v", got.Quantized)
			}
		})
	}
}

// quantised is x -> Q -> DQ -> Conv(w -> Q -> DQ) -> Conv(w2 -> DQ, float input)
// -> Conv(float): one of each precision.
func quantised() *onnx.Model {
	filter := func(data any, kind onnx.DType) *onnx.Tensor {
		return &onnx.Tensor{Type: kind, Dims: []int{2, 2, 1, 1}, Data: data}
	}
	pair := func(in, out string) []*onnx.Node {
		return []*onnx.Node{
			{Name: "q " + in, Op: "QuantizeLinear", Inputs: []string{in, "s", "z"}, Outputs: []string{in + "_q"}},
			{Name: "dq " + in, Op: "DequantizeLinear", Inputs: []string{in + "_q", "s", "z"}, Outputs: []string{out}},
		}
	}
	g := &onnx.Graph{
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{1, 2, onnx.Dynamic, 4}, Symbols: []string{"", "", "h", ""}}},
		Outputs: []onnx.Value{{Name: "y", Type: onnx.Float}},
		Init: map[string]*onnx.Tensor{
			"w": filter(make([]float32, 4), onnx.Float), "w2": filter(make([]int8, 4), onnx.Int8), "w3": filter(make([]float32, 4), onnx.Float),
			"b": {Type: onnx.Float, Dims: []int{2}, Data: make([]float32, 2)},
			"s": onnx.Scalar(float32(1)), "z": onnx.Scalar(int8(0)),
		},
	}
	g.Nodes = append(g.Nodes, pair("x", "xd")...)
	g.Nodes = append(g.Nodes, pair("w", "wd")...)
	g.Nodes = append(g.Nodes,
		&onnx.Node{Name: "c1", Op: "Conv", Inputs: []string{"xd", "wd", "b"}, Outputs: []string{"a"}},
		&onnx.Node{Name: "d2", Op: "DequantizeLinear", Inputs: []string{"w2", "s", "z"}, Outputs: []string{"w2d"}},
		&onnx.Node{Name: "c2", Op: "Conv", Inputs: []string{"a", "w2d"}, Outputs: []string{"c"}},
		&onnx.Node{Name: "c3", Op: "Conv", Inputs: []string{"c", "w3"}, Outputs: []string{"d"}},
		&onnx.Node{Name: "m", Op: "MatMul", Inputs: []string{"a", "d"}, Outputs: []string{"y"}})
	return &onnx.Model{Opset: 13, Graph: g}
}

func TestPrecisions(t *testing.T) {
	got := Of(quantised())
	want := []string{Int8, Weights, Float} // and no MatMul, since it has no constant
	if len(got.Layers) != len(want) {
		t.Fatalf("layers %+v", got.Layers)
	}
	for i, l := range got.Layers {
		if l.Precision != want[i] {
			t.Errorf("%s is %s, want %s", l.Name, l.Precision, want[i])
		}
	}
	if q := got.Quantized; q == nil || *q != (Quantized{Layers: 1, AllLayers: 3, Params: 6, AllParams: 14, Activation: 1}) {
		t.Errorf("quantised %+v", got.Quantized)
	}
	if got.Params != 14 {
		t.Errorf("%d parameters, want 14", got.Params)
	}
	if got.WeightSize != 4*4+4+4*4+2*4+4+1 {
		t.Errorf("%d bytes of constants", got.WeightSize)
	}
	if in := got.Inputs[0]; in.Dims[2] != onnx.Dynamic || in.Symbols[2] != "h" {
		t.Errorf("input %+v", in)
	}
}
