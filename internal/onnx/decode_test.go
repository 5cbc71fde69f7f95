package onnx

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"trtact/internal/onnx/onnxpb"
	"trtact/internal/testenv"
)

// Each element type from each of the forms it can be stored in.
func TestTensorForms(t *testing.T) {
	for _, c := range []struct {
		name string
		pb   *onnxpb.TensorProto
		typ  DType
		want any
	}{
		{"float", &onnxpb.TensorProto{FloatData: []float32{1.5, -2}}, Float, []float32{1.5, -2}},
		{"float raw", &onnxpb.TensorProto{RawData: []byte{0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0}}, Float, []float32{1.5, -2}},
		{"double", &onnxpb.TensorProto{DoubleData: []float64{1e300, -2}}, Double, []float64{1e300, -2}},
		{"int8", &onnxpb.TensorProto{Int32Data: []int32{-128, 127}}, Int8, []int8{-128, 127}},
		{"int8 raw", &onnxpb.TensorProto{RawData: []byte{0x80, 0x7f}}, Int8, []int8{-128, 127}},
		{"uint8", &onnxpb.TensorProto{Int32Data: []int32{0, 255}}, Uint8, []uint8{0, 255}},
		{"uint8 raw", &onnxpb.TensorProto{RawData: []byte{0, 255}}, Uint8, []uint8{0, 255}},
		{"int16", &onnxpb.TensorProto{Int32Data: []int32{-32768, 2}}, Int16, []int16{-32768, 2}},
		{"uint16", &onnxpb.TensorProto{Int32Data: []int32{65535, 2}}, Uint16, []uint16{65535, 2}},
		{"int32", &onnxpb.TensorProto{Int32Data: []int32{-1, 2}}, Int32, []int32{-1, 2}},
		{"int32 raw", &onnxpb.TensorProto{RawData: []byte{255, 255, 255, 255, 2, 0, 0, 0}}, Int32, []int32{-1, 2}},
		{"uint32", &onnxpb.TensorProto{Uint64Data: []uint64{1<<32 - 1, 2}}, Uint32, []uint32{1<<32 - 1, 2}},
		{"int64", &onnxpb.TensorProto{Int64Data: []int64{-1, math.MinInt64}}, Int64, []int64{-1, math.MinInt64}},
		{"uint64", &onnxpb.TensorProto{Uint64Data: []uint64{math.MaxUint64, 2}}, Uint64, []uint64{math.MaxUint64, 2}},
		{"bool", &onnxpb.TensorProto{Int32Data: []int32{0, 1}}, Bool, []bool{false, true}},
		{"bool raw", &onnxpb.TensorProto{RawData: []byte{0, 1}}, Bool, []bool{false, true}},
		{"string", &onnxpb.TensorProto{StringData: [][]byte{[]byte("a"), {0xff}}}, String, []string{"a", "\xff"}},
		{"float16", &onnxpb.TensorProto{Int32Data: []int32{0x3e00, 0xc000}}, Float16, []float32{1.5, -2}},
		{"float16 raw", &onnxpb.TensorProto{RawData: []byte{0, 0x3e, 0, 0xc0}}, Float16, []float32{1.5, -2}},
		{"bfloat16", &onnxpb.TensorProto{Int32Data: []int32{0x3fc0, 0xc000}}, BFloat16, []float32{1.5, -2}},
		{"bfloat16 raw", &onnxpb.TensorProto{RawData: []byte{0xc0, 0x3f, 0, 0xc0}}, BFloat16, []float32{1.5, -2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.pb.Name, c.pb.DataType, c.pb.Dims = proto.String("w"), proto.Int32(int32(c.typ)), []int64{2, 1}
			got, name, err := ParseTensor(pbBytes(t, c.pb))
			if err != nil {
				t.Fatal(err)
			}
			if name != "w" || got.Type != widened(c.typ) || !reflect.DeepEqual(got.Dims, []int{2, 1}) || !reflect.DeepEqual(got.Data, c.want) {
				t.Errorf("read %q %+v, want %v", name, got, c.want)
			}
			again, err := encodeTensor(got, "w")
			if err != nil {
				t.Fatal(err)
			}
			if back, _, err := ParseTensor(pbBytes(t, again)); err != nil || !reflect.DeepEqual(back, got) {
				t.Errorf("written and read again it is %+v, %v", back, err)
			}
		})
	}
}

func TestEmptyAndScalarTensors(t *testing.T) {
	for _, c := range []struct {
		dims []int64
		data []float32
		ok   bool
	}{
		{nil, []float32{3}, true},
		{nil, nil, false},
		{[]int64{0}, nil, true},
		{[]int64{1 << 30, 0, 1 << 30, 1 << 30}, nil, false}, // strides would overflow
		{[]int64{1 << 31, 0}, nil, false},
		{[]int64{0}, []float32{3}, false},
	} {
		pb := &onnxpb.TensorProto{DataType: proto.Int32(1), Dims: c.dims, FloatData: c.data}
		if _, _, err := ParseTensor(pbBytes(t, pb)); (err == nil) != c.ok {
			t.Errorf("dims %v with %d elements: %v", c.dims, len(c.data), err)
		}
	}
}

// All 65,536 half-precision numbers against numpy's conversion.
func TestHalfAgainstNumpy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "floats")
	testenv.RunPython(t, `
import sys, numpy as np
np.arange(65536, dtype=np.uint16).view(np.float16).astype("<f4").tofile(sys.argv[1])`, path)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for bits := range 1 << 16 {
		want := math.Float32frombits(binary.LittleEndian.Uint32(raw[4*bits:]))
		got := half(uint16(bits), Float16)
		if math.Float32bits(got) != math.Float32bits(want) && !(got != got && want != want) {
			t.Fatalf("%#04x is %v, numpy has %v", bits, got, want)
		}
	}
}

// Every form of Constant becomes an entry of Init.
func TestConstants(t *testing.T) {
	for _, c := range []struct {
		attr string
		v    Attr
		want *Tensor
	}{
		{"value", Vector[int32](1, 2), Vector[int32](1, 2)},
		{"value_float", float32(1.5), Scalar[float32](1.5)},
		{"value_floats", []float32{1.5, 2}, Vector[float32](1.5, 2)},
		{"value_int", int64(7), Scalar[int64](7)},
		{"value_ints", []int64{7, 8}, Vector[int64](7, 8)},
		{"value_string", "s", Scalar("s")},
		{"value_strings", []string{"s", "t"}, Vector("s", "t")},
	} {
		m, err := Parse(pbBytes(t, pbModel(func(m *onnxpb.ModelProto) {
			m.Graph.Node = append(m.Graph.Node, pbNode("Constant", nil, list("k"), pbAttr(t, c.attr, c.v)))
		})), "")
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Graph.Nodes) != 1 || !reflect.DeepEqual(m.Graph.Init["k"], c.want) {
			t.Errorf("%s: %d nodes, k is %+v", c.attr, len(m.Graph.Nodes), m.Graph.Init["k"])
		}
	}
}

// A half-precision model is a float32 model throughout: inputs, constants,
// casts, and the value of ConstantOfShape.
func TestHalfPrecisionModel(t *testing.T) {
	halves := func() *onnxpb.TensorProto {
		return &onnxpb.TensorProto{Name: proto.String("w"), DataType: proto.Int32(int32(Float16)), Dims: []int64{1}, RawData: []byte{0, 0x3e}}
	}
	tensorAttr := &onnxpb.AttributeProto{Name: proto.String("value"), Type: onnxpb.AttributeProto_TENSOR.Enum(), T: halves()}
	m, err := Parse(pbBytes(t, pbModel(func(m *onnxpb.ModelProto) {
		g := m.Graph
		g.Input[0], g.Output[0] = pbValue("x", Float16, 2), pbValue("y", BFloat16, 2)
		g.Initializer = []*onnxpb.TensorProto{halves()}
		g.Node = []*onnxpb.NodeProto{
			pbNode("Shape", list("x"), list("s")),
			pbNode("ConstantOfShape", list("s"), list("c"), tensorAttr),
			pbNode("Cast", list("c"), list("d"), pbAttr(t, "to", int64(Float16))),
			pbNode("Add", list("d", "w"), list("e")),
			pbNode("Cast", list("e"), list("i"), pbAttr(t, "to", int64(Int64))),
			pbNode("Cast", list("i"), list("y"), pbAttr(t, "to", int64(BFloat16))),
		}
	})), "")
	if err != nil {
		t.Fatal(err)
	}
	g := m.Graph
	if !m.WasFloat16 || g.Inputs[0].Type != Float || g.Outputs[0].Type != Float || g.Init["w"].Type != Float ||
		g.Nodes[1].Tensor("value").Type != Float || g.Nodes[2].Int("to", 0) != int64(Float) || g.Nodes[5].Int("to", 0) != int64(Float) {
		t.Errorf("half precision is left: %+v", m)
	}
	if g.Nodes[4].Int("to", 0) != int64(Int64) {
		t.Error("the Cast to int64 has changed")
	}
	if g.Info["x"].Type != Float || g.Info["w"].Type != Float {
		t.Errorf("half precision is left in Info: %v", g.Info)
	}
}

func TestGraphIsTidiedOnLoading(t *testing.T) {
	m, err := Parse(pbBytes(t, pbModel(func(m *onnxpb.ModelProto) {
		g := m.Graph
		m.OpsetImport = append(m.OpsetImport, &onnxpb.OperatorSetIdProto{Domain: proto.String("com.example"), Version: proto.Int64(3)})
		m.MetadataProps = []*onnxpb.StringStringEntryProto{{Key: proto.String("names"), Value: proto.String("{0: 'cat'}")}}
		g.Initializer = []*onnxpb.TensorProto{{Name: proto.String("w"), DataType: proto.Int32(1), Dims: []int64{1}, FloatData: []float32{2}}}
		g.Input = append(g.Input, pbValue("w", Float, 1)) // as before IR 4
		name := func(n *onnxpb.NodeProto, name string) *onnxpb.NodeProto { n.Name = proto.String(name); return n }
		g.Node = []*onnxpb.NodeProto{ // out of order, nameless, and with names that come twice
			name(pbNode("Add", list("c", "w"), list("y")), "n"),
			name(pbNode("Relu", list("x"), list("a")), ""),
			name(pbNode("Abs", list("b"), list("c")), "n"),
			name(pbNode("Relu", list("a"), list("b")), ""),
			name(pbNode("Relu", list("x"), list("z")), "Relu_3"),
		}
		g.Node[2].Domain = proto.String("ai.onnx")
	})), "")
	if err != nil {
		t.Fatal(err)
	}
	g := m.Graph
	if len(g.Inputs) != 1 || g.Inputs[0].Name != "x" {
		t.Errorf("inputs %v", g.Inputs)
	}
	var got []string
	for _, n := range g.Nodes {
		got = append(got, n.Name+":"+n.Domain+n.Outputs[0])
	}
	if want := list("Relu_1:a", "Relu_4:b", "n_1:c", "n:y", "Relu_3:z"); !reflect.DeepEqual(got, want) {
		t.Errorf("nodes %v, want %v", got, want)
	}
	if m.Domains["com.example"] != 3 || m.Metadata["names"] != "{0: 'cat'}" {
		t.Errorf("%v %v", m.Domains, m.Metadata)
	}
}

func TestValueSizes(t *testing.T) {
	m, err := Parse(pbBytes(t, pbModel(func(m *onnxpb.ModelProto) {
		v := pbValue("x", Float, 1, -1, 0)
		dims := &v.Type.GetTensorType().Shape.Dim
		*dims = append(*dims, &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: "height"}}, &onnxpb.TensorShapeProto_Dimension{})
		m.Graph.Input[0] = v
		m.Graph.Output[0].Type.GetTensorType().Shape = nil
	})), "")
	if err != nil {
		t.Fatal(err)
	}
	in := m.Graph.Inputs[0]
	if !reflect.DeepEqual(in.Dims, []int{1, Dynamic, 0, Dynamic, Dynamic}) || !reflect.DeepEqual(in.Symbols, list("", "", "", "height", "")) {
		t.Errorf("%+v", in)
	}
	if m.Graph.Outputs[0].Dims != nil {
		t.Errorf("%+v", m.Graph.Outputs[0])
	}
	if data, err := m.Marshal(); err != nil {
		t.Error(err)
	} else if back, err := Parse(data, ""); err != nil || !reflect.DeepEqual(back.Graph.Inputs[0], in) {
		t.Errorf("%+v, %v", back, err)
	}
}
