package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"trtact/internal/atomicfile"
	"trtact/internal/onnx/onnxpb"
)

// producer is what files say they were written by.
const producer = "trtact"

// fileIR is the oldest version of the file format that has an opset. Older
// readers, TensorRT 8.4 among them, refuse or warn of newer ones than needed.
// It is at least 4, from which on constants need not be listed among the inputs.
func fileIR(opset int) int64 {
	switch {
	case opset <= 9:
		return 4
	case opset == 10:
		return 5
	case opset == 11:
		return 6
	case opset <= 14:
		return 7
	case opset <= 18:
		return 8
	case opset <= 20:
		return 9
	}
	return 10
}

// Marshal is the model as an ONNX file: the same bytes for the same model.
// Weights lie within; a model that is larger than 2 GiB with them is an error.
// Info is not written but for inputs and outputs.
func (m *Model) Marshal() ([]byte, error) {
	data, err := m.marshal()
	if err != nil {
		return nil, fmt.Errorf("write model: %w", err)
	}
	return data, nil
}

// Save writes the model to a file, which appears whole or not at all.
func (m *Model) Save(path string) error {
	data, err := m.marshal()
	if err != nil {
		return fmt.Errorf("write model %s: %w", path, err)
	}
	return atomicfile.Write(path, data)
}

func (m *Model) marshal() ([]byte, error) {
	if err := verify(m); err != nil {
		return nil, err
	}
	if size := weightBytes(m.Graph); size > maxFile {
		return nil, fmt.Errorf("its weights take %d bytes, more than the 2 GiB an ONNX file can have", size)
	}
	graph, err := encodeGraph(m.Graph, true)
	if err != nil {
		return nil, err
	}
	name := m.Producer
	if name == "" {
		name = producer
	}
	pb := &onnxpb.ModelProto{
		IrVersion:    proto.Int64(fileIR(m.Opset)),
		ProducerName: proto.String(name),
		Graph:        graph,
		OpsetImport:  []*onnxpb.OperatorSetIdProto{{Domain: proto.String(""), Version: proto.Int64(int64(m.Opset))}},
	}
	domains := map[string]bool{}
	foreignDomains(m.Graph, domains)
	for _, domain := range slices.Sorted(maps.Keys(domains)) {
		pb.OpsetImport = append(pb.OpsetImport, &onnxpb.OperatorSetIdProto{
			Domain: proto.String(domain), Version: proto.Int64(int64(max(1, m.Domains[domain]))),
		})
	}
	for _, key := range slices.Sorted(maps.Keys(m.Metadata)) {
		pb.MetadataProps = append(pb.MetadataProps, &onnxpb.StringStringEntryProto{
			Key: proto.String(key), Value: proto.String(m.Metadata[key]),
		})
	}
	if size := proto.Size(pb); size > maxFile {
		return nil, fmt.Errorf("it takes %d bytes, more than the 2 GiB an ONNX file can have", size)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(pb)
}

// weightBytes is the size of all tensors that the graph and its subgraphs hold.
func weightBytes(g *Graph) int64 {
	total := int64(0)
	add := func(t *Tensor) { total += int64(t.Len()) * int64(t.Type.Size()) }
	for _, t := range g.Init {
		add(t)
	}
	for _, n := range g.Nodes {
		for _, a := range n.Attrs {
			switch a := a.(type) {
			case *Tensor:
				add(a)
			case *Graph:
				total += weightBytes(a)
			}
		}
	}
	return total
}

// foreignDomains collects the domains of nodes that are not ONNX's own.
func foreignDomains(g *Graph, domains map[string]bool) {
	for _, n := range g.Nodes {
		if n.Domain != "" {
			domains[n.Domain] = true
		}
		for _, sub := range n.Subgraphs() {
			foreignDomains(sub, domains)
		}
	}
}

// withRanks gives outputs without a shape one of unknown sizes, where a look at
// the graph tells the rank: readers ask for a shape.
func withRanks(g *Graph) []Value {
	outputs := slices.Clone(g.Outputs)
	var known *facts
	for i := range outputs {
		if outputs[i].Dims != nil {
			continue
		}
		if known == nil {
			known = factsOf(g, nil)
		}
		if rank, ok := known.rankOf(outputs[i].Name); ok {
			outputs[i].Dims = slices.Repeat([]int{Dynamic}, rank)
		}
	}
	return outputs
}

// encodeGraph writes a graph. The inputs and outputs of the outermost one have
// to have a type; those of a subgraph follow from the graph around it.
func encodeGraph(g *Graph, outermost bool) (*onnxpb.GraphProto, error) {
	name := g.Name
	if name == "" {
		name = "graph" // a reader may insist on one
	}
	pb := &onnxpb.GraphProto{Name: proto.String(name)}
	for _, n := range g.Nodes {
		node, err := encodeNode(n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		pb.Node = append(pb.Node, node)
	}
	for _, name := range slices.Sorted(maps.Keys(g.Init)) {
		t, err := encodeTensor(g.Init[name], name)
		if err != nil {
			return nil, fmt.Errorf("constant %s: %w", quoted(name), err)
		}
		pb.Initializer = append(pb.Initializer, t)
	}
	for _, v := range g.Inputs {
		if outermost && v.Type == Undefined {
			return nil, fmt.Errorf("input %s has no element type", quoted(v.Name))
		}
		pb.Input = append(pb.Input, encodeValue(v))
	}
	outputs := g.Outputs
	if outermost {
		outputs = withRanks(g)
	}
	for _, v := range outputs {
		if outermost && v.Type == Undefined {
			return nil, fmt.Errorf("output %s has no element type", quoted(v.Name))
		}
		pb.Output = append(pb.Output, encodeValue(v))
	}
	return pb, nil
}

func encodeNode(n *Node) (*onnxpb.NodeProto, error) {
	pb := &onnxpb.NodeProto{Input: n.Inputs, Output: n.Outputs, Name: proto.String(n.Name), OpType: proto.String(n.Op)}
	if n.Domain != "" {
		pb.Domain = proto.String(n.Domain)
	}
	for _, name := range slices.Sorted(maps.Keys(n.Attrs)) {
		a, err := encodeAttr(name, n.Attrs[name])
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", quoted(name), err)
		}
		pb.Attribute = append(pb.Attribute, a)
	}
	return pb, nil
}

func encodeAttr(name string, a Attr) (*onnxpb.AttributeProto, error) {
	pb := &onnxpb.AttributeProto{Name: proto.String(name)}
	var err error
	switch a := a.(type) {
	case int64:
		pb.Type, pb.I = onnxpb.AttributeProto_INT.Enum(), proto.Int64(a)
	case float32:
		pb.Type, pb.F = onnxpb.AttributeProto_FLOAT.Enum(), proto.Float32(a)
	case string:
		pb.Type, pb.S = onnxpb.AttributeProto_STRING.Enum(), []byte(a)
	case []int64:
		pb.Type, pb.Ints = onnxpb.AttributeProto_INTS.Enum(), a
	case []float32:
		pb.Type, pb.Floats = onnxpb.AttributeProto_FLOATS.Enum(), a
	case []string:
		pb.Type, pb.Strings = onnxpb.AttributeProto_STRINGS.Enum(), asBytes(a)
	case *Tensor:
		pb.Type = onnxpb.AttributeProto_TENSOR.Enum()
		pb.T, err = encodeTensor(a, "")
	case *Graph:
		pb.Type = onnxpb.AttributeProto_GRAPH.Enum()
		pb.G, err = encodeGraph(a, false)
	default:
		err = fmt.Errorf("a %T cannot be stored", a)
	}
	return pb, err
}

func asBytes(list []string) [][]byte {
	b := make([][]byte, len(list))
	for i, s := range list {
		b[i] = []byte(s)
	}
	return b
}

func encodeTensor(t *Tensor, name string) (*onnxpb.TensorProto, error) {
	if err := t.verify(); err != nil {
		return nil, err
	}
	pb := &onnxpb.TensorProto{DataType: proto.Int32(int32(t.Type))}
	if name != "" {
		pb.Name = proto.String(name)
	}
	for _, d := range t.Dims {
		pb.Dims = append(pb.Dims, int64(d))
	}
	if list, ok := t.Data.([]string); ok {
		pb.StringData = asBytes(list)
		return pb, nil
	}
	raw, err := binary.Append(make([]byte, 0, t.Len()*t.Type.Size()), binary.LittleEndian, t.Data)
	if err != nil {
		return nil, errors.New("its elements cannot be written")
	}
	pb.RawData = raw
	return pb, nil
}

func encodeValue(v Value) *onnxpb.ValueInfoProto {
	pb := &onnxpb.ValueInfoProto{Name: proto.String(v.Name)}
	if v.Type == Undefined {
		return pb
	}
	tensor := &onnxpb.TypeProto_Tensor{ElemType: proto.Int32(int32(v.Type))}
	if v.Dims != nil {
		tensor.Shape = &onnxpb.TensorShapeProto{}
	}
	for i, d := range v.Dims {
		dim := &onnxpb.TensorShapeProto_Dimension{}
		switch {
		case d >= 0:
			dim.Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: int64(d)}
		case i < len(v.Symbols) && v.Symbols[i] != "":
			dim.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: v.Symbols[i]}
		}
		tensor.Shape.Dim = append(tensor.Shape.Dim, dim)
	}
	pb.Type = &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{TensorType: tensor}}
	return pb
}
