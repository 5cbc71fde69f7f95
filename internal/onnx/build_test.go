package onnx

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"trtact/internal/onnx/onnxpb"
)

// The messages that the tests put together by hand.

func pbValue(name string, typ DType, dims ...int64) *onnxpb.ValueInfoProto {
	shape := &onnxpb.TensorShapeProto{}
	for _, d := range dims {
		shape.Dim = append(shape.Dim, &onnxpb.TensorShapeProto_Dimension{
			Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d}})
	}
	return &onnxpb.ValueInfoProto{Name: proto.String(name), Type: &onnxpb.TypeProto{
		Value: &onnxpb.TypeProto_TensorType{TensorType: &onnxpb.TypeProto_Tensor{ElemType: proto.Int32(int32(typ)), Shape: shape}}}}
}

func pbNode(op string, in, out []string, attrs ...*onnxpb.AttributeProto) *onnxpb.NodeProto {
	return &onnxpb.NodeProto{OpType: proto.String(op), Name: proto.String(op + "_of_" + out[0]), Input: in, Output: out, Attribute: attrs}
}

func pbAttr(t testing.TB, name string, v Attr) *onnxpb.AttributeProto {
	t.Helper()
	a, err := encodeAttr(name, v)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func list(names ...string) []string { return names }

// pbModel is y = Relu(x) over two numbers, for the tests to spoil.
func pbModel(change func(*onnxpb.ModelProto)) *onnxpb.ModelProto {
	m := &onnxpb.ModelProto{
		IrVersion:   proto.Int64(7),
		OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: proto.Int64(13)}},
		Graph: &onnxpb.GraphProto{
			Name:   proto.String("g"),
			Node:   []*onnxpb.NodeProto{pbNode("Relu", list("x"), list("y"))},
			Input:  []*onnxpb.ValueInfoProto{pbValue("x", Float, 2)},
			Output: []*onnxpb.ValueInfoProto{pbValue("y", Float, 2)},
		},
	}
	if change != nil {
		change(m)
	}
	return m
}

func pbBytes(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// nest is a graph in the attribute of an If in a graph, depth times over.
func nest(depth int) *onnxpb.GraphProto {
	g := &onnxpb.GraphProto{
		Name:   proto.String("innermost"),
		Node:   []*onnxpb.NodeProto{pbNode("Identity", list("x"), list("y"))},
		Output: []*onnxpb.ValueInfoProto{pbValue("y", Float)},
	}
	for range depth {
		branch := func(name string, g *onnxpb.GraphProto) *onnxpb.AttributeProto {
			return &onnxpb.AttributeProto{Name: proto.String(name), Type: onnxpb.AttributeProto_GRAPH.Enum(), G: g}
		}
		empty := &onnxpb.GraphProto{Name: proto.String("else"), Output: []*onnxpb.ValueInfoProto{pbValue("x", Float)}}
		g = &onnxpb.GraphProto{
			Name:   proto.String("outer"),
			Node:   []*onnxpb.NodeProto{pbNode("If", list("c"), list("y"), branch("then_branch", g), branch("else_branch", empty))},
			Output: []*onnxpb.ValueInfoProto{pbValue("y", Float)},
		}
	}
	return g
}

// The graphs that the tests put together by hand.

func node(op string, in, out []string) *Node {
	return &Node{Name: op + "_of_" + out[0], Op: op, Inputs: in, Outputs: out}
}

func value(name string, dims ...int) Value { return Value{Name: name, Type: Float, Dims: dims} }
