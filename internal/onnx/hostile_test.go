package onnx

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"trtact/internal/fault"
	"trtact/internal/onnx/onnxpb"
)

// hostile is files that are no model, by name, with what the error has to say.
func hostile(t testing.TB) map[string]struct {
	data []byte
	want string
} {
	t.Helper()
	good := pbBytes(t, pbModel(nil))
	spoil := func(change func(*onnxpb.ModelProto)) []byte { return pbBytes(t, pbModel(change)) }
	graph := func(change func(*onnxpb.GraphProto)) []byte {
		return spoil(func(m *onnxpb.ModelProto) { change(m.Graph) })
	}
	constant := func(change func(*onnxpb.TensorProto)) []byte {
		return graph(func(g *onnxpb.GraphProto) {
			c := &onnxpb.TensorProto{Name: proto.String("c"), DataType: proto.Int32(int32(Float)), Dims: []int64{2}}
			change(c)
			g.Initializer = append(g.Initializer, c)
		})
	}
	manyNodes := protowire.AppendTag(nil, 7, protowire.BytesType)
	manyNodes = protowire.AppendBytes(manyNodes, bytes.Repeat([]byte{1<<3 | 2, 0}, 17<<20))
	return map[string]struct {
		data []byte
		want string
	}{
		"empty":          {nil, "not an ONNX file: it is empty"},
		"text":           {[]byte("this is not\nthe model you are looking for\n"), "not an ONNX file: it is text"},
		"json":           {[]byte(`{"ir_version": 7}`), "not an ONNX file: it is text"},
		"lfs":            {[]byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), "Git LFS"},
		"html":           {[]byte("<!DOCTYPE html><html></html>"), "a web page"},
		"zip":            {[]byte("PK\x03\x04\x00\x00"), "a zip archive"},
		"garbage":        {bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef, 0x00}, 1000), "not an ONNX file: "},
		"zeros":          {make([]byte, 4096), "not an ONNX file: "},
		"no graph":       {pbBytes(t, &onnxpb.ModelProto{IrVersion: proto.Int64(7)}), "it holds no graph"},
		"truncated":      {good[:len(good)-5], "cut short"},
		"truncated half": {good[:len(good)/2], "cut short"},
		"many nodes":     {manyNodes, "of memory"},
		"short varint":   {append(bytes.Clone(good), 0x08, 0xff), "cut short"},

		"no opset":   {spoil(func(m *onnxpb.ModelProto) { m.OpsetImport = nil }), "does not name its version"},
		"opset 6":    {spoil(func(m *onnxpb.ModelProto) { m.OpsetImport[0].Version = proto.Int64(6) }), "version 6; 7 to 22"},
		"opset 23":   {spoil(func(m *onnxpb.ModelProto) { m.OpsetImport[0].Version = proto.Int64(23) }), "version 23; 7 to 22"},
		"opset huge": {spoil(func(m *onnxpb.ModelProto) { m.OpsetImport[0].Version = proto.Int64(1<<32 + 13) }), "7 to 22"},
		"two opsets": {spoil(func(m *onnxpb.ModelProto) {
			m.OpsetImport = append(m.OpsetImport, &onnxpb.OperatorSetIdProto{Domain: proto.String("ai.onnx"), Version: proto.Int64(12)})
		}), "two versions"},
		"function": {spoil(func(m *onnxpb.ModelProto) {
			m.Functions = []*onnxpb.FunctionProto{{Name: proto.String("Swish"), Domain: proto.String("my")}}
		}), `function "Swish" of domain "my"`},
		"sparse": {graph(func(g *onnxpb.GraphProto) {
			g.SparseInitializer = []*onnxpb.SparseTensorProto{{Values: &onnxpb.TensorProto{Name: proto.String("s")}}}
		}), `constant "s" is a sparse tensor`},
		"no outputs":    {graph(func(g *onnxpb.GraphProto) { g.Output = nil }), "no outputs"},
		"lost output":   {graph(func(g *onnxpb.GraphProto) { g.Output[0].Name = proto.String("z") }), `output "z" is made by no node`},
		"output twice":  {graph(func(g *onnxpb.GraphProto) { g.Output = append(g.Output, g.Output[0]) }), `output "y" is listed twice`},
		"lost input":    {graph(func(g *onnxpb.GraphProto) { g.Node[0].Input[0] = "z" }), `node "Relu_of_y" (Relu): its input "z" is made by no earlier node`},
		"made twice":    {graph(func(g *onnxpb.GraphProto) { g.Node = append(g.Node, pbNode("Abs", list("x"), list("y"))) }), `tensor "y" is defined twice`},
		"input twice":   {graph(func(g *onnxpb.GraphProto) { g.Input = append(g.Input, g.Input[0]) }), `tensor "x" is defined twice`},
		"makes input":   {graph(func(g *onnxpb.GraphProto) { g.Node[0].Output[0] = "x" }), "cycle"},
		"reads itself":  {graph(func(g *onnxpb.GraphProto) { g.Node[0].Input[0] = "y" }), "cycle"},
		"nameless":      {graph(func(g *onnxpb.GraphProto) { g.Input[0].Name = nil }), "no name"},
		"no operator":   {graph(func(g *onnxpb.GraphProto) { g.Node[0].OpType = nil }), "no operator"},
		"untyped input": {graph(func(g *onnxpb.GraphProto) { g.Input[0].Type = nil }), `input "x" has no element type`},
		"few inputs":    {graph(func(g *onnxpb.GraphProto) { g.Node[0] = pbNode("Conv", list("x"), list("y")) }), "it has 1 inputs, at opset 13 it takes 2 to 3"},
		"empty input":   {graph(func(g *onnxpb.GraphProto) { g.Node[0] = pbNode("Conv", list("", "x"), list("y")) }), "not optional"},
		"wrong attr": {graph(func(g *onnxpb.GraphProto) {
			g.Node[0] = pbNode("LeakyRelu", list("x"), list("y"), pbAttr(t, "alpha", int64(1)))
		}), "attribute alpha is an integer, not a number"},
		"missing attr": {graph(func(g *onnxpb.GraphProto) { g.Node[0] = pbNode("Concat", list("x"), list("y")) }), "attribute axis is missing"},
		"attr twice": {graph(func(g *onnxpb.GraphProto) {
			a := pbAttr(t, "alpha", float32(1))
			g.Node[0].Attribute = []*onnxpb.AttributeProto{a, a}
		}), `two attributes "alpha"`},
		"attr kind": {graph(func(g *onnxpb.GraphProto) {
			g.Node[0].Attribute = []*onnxpb.AttributeProto{{Name: proto.String("a"), Type: onnxpb.AttributeProto_TYPE_PROTO.Enum()}}
		}), "TYPE_PROTO are not read"},
		"attr no graph": {graph(func(g *onnxpb.GraphProto) {
			g.Node[0].Attribute = []*onnxpb.AttributeProto{{Name: proto.String("a"), Type: onnxpb.AttributeProto_GRAPH.Enum()}}
		}), "its graph is missing"},
		"sequence": {graph(func(g *onnxpb.GraphProto) {
			g.Input[0].Type = &onnxpb.TypeProto{Value: &onnxpb.TypeProto_SequenceType{SequenceType: &onnxpb.TypeProto_Sequence{}}}
		}), "only dense tensors"},
		"cycle": {graph(func(g *onnxpb.GraphProto) {
			g.Node = []*onnxpb.NodeProto{
				pbNode("Add", list("x", "b"), list("a")), pbNode("Relu", list("a"), list("b")), pbNode("Relu", list("b"), list("y")),
			}
		}), `the graph has a cycle: node "Add_of_a" (Add) -> node "Relu_of_b" (Relu) -> node "Add_of_a" (Add)`},
		"line break in names": {graph(func(g *onnxpb.GraphProto) {
			g.Node[0].Name = proto.String("a\nb")
			g.Node[0].OpType = proto.String("Re\nlu")
			g.Node[0].Input[0] = "z\n"
		}), `node "a\nb" ("Re\nlu"): its input "z\n"`},
		"deep": {spoil(func(m *onnxpb.ModelProto) {
			m.Graph = nest(maxDepth)
			m.Graph.Input = []*onnxpb.ValueInfoProto{pbValue("x", Float), pbValue("c", Bool)}
		}), "deeper than 64"},
		"very deep": {spoil(func(m *onnxpb.ModelProto) { m.Graph = nest(2000) }), "deeper than 64"},

		"huge shape": {constant(func(c *onnxpb.TensorProto) { c.Dims = []int64{1 << 31, 1 << 31, 1 << 31}; c.RawData = []byte{0} }), "impossible size"},
		"overflow": {constant(func(c *onnxpb.TensorProto) {
			c.Dims = []int64{1 << 30, 1 << 30, 1 << 30, 1 << 30}
			c.RawData = []byte{}
		}), "more than 2^40 elements"},
		"big shape":     {constant(func(c *onnxpb.TensorProto) { c.Dims = []int64{1 << 20, 1 << 18}; c.RawData = make([]byte, 8) }), "8 raw bytes for float32"},
		"big, no data":  {constant(func(c *onnxpb.TensorProto) { c.Dims = []int64{1 << 20, 1 << 18} }), "0 elements for float32"},
		"negative":      {constant(func(c *onnxpb.TensorProto) { c.Dims = []int64{-1, 2}; c.RawData = make([]byte, 8) }), "impossible size -1"},
		"high rank":     {constant(func(c *onnxpb.TensorProto) { c.Dims = make([]int64, 1000); c.RawData = []byte{} }), "1000 dimensions"},
		"short raw":     {constant(func(c *onnxpb.TensorProto) { c.RawData = make([]byte, 7) }), "7 raw bytes for float32 of shape [2], which needs 8"},
		"short floats":  {constant(func(c *onnxpb.TensorProto) { c.FloatData = make([]float32, 3) }), "3 elements for float32"},
		"wrong field":   {constant(func(c *onnxpb.TensorProto) { c.Int32Data = make([]int32, 2) }), "0 elements for float32"},
		"two forms":     {constant(func(c *onnxpb.TensorProto) { c.FloatData = make([]float32, 2); c.RawData = make([]byte, 8) }), "more than one form"},
		"segment":       {constant(func(c *onnxpb.TensorProto) { c.Segment = &onnxpb.TensorProto_Segment{} }), "segments"},
		"complex":       {constant(func(c *onnxpb.TensorProto) { c.DataType = proto.Int32(14) }), "complex64 are not read"},
		"int4":          {constant(func(c *onnxpb.TensorProto) { c.DataType = proto.Int32(22) }), "int4 are not read"},
		"no type":       {constant(func(c *onnxpb.TensorProto) { c.DataType = nil }), "undefined are not read"},
		"type 99":       {constant(func(c *onnxpb.TensorProto) { c.DataType = proto.Int32(99) }), "type 99 are not read"},
		"negative type": {constant(func(c *onnxpb.TensorProto) { c.DataType = proto.Int32(-1) }), "type -1 are not read"},
		"int8 range":    {constant(func(c *onnxpb.TensorProto) { c.DataType = proto.Int32(int32(Int8)); c.Int32Data = []int32{1, 300} }), "element 1 is 300, which is no int8"},
		"raw string":    {constant(func(c *onnxpb.TensorProto) { c.DataType = proto.Int32(int32(String)); c.RawData = []byte("ab") }), "strings cannot be stored as raw bytes"},
		"constant twice": {graph(func(g *onnxpb.GraphProto) {
			c := &onnxpb.TensorProto{Name: proto.String("c"), DataType: proto.Int32(1), FloatData: []float32{1}}
			g.Initializer = []*onnxpb.TensorProto{c, c}
		}), "two of that name"},
		"no constant": {graph(func(g *onnxpb.GraphProto) { g.Node = append(g.Node, pbNode("Constant", nil, list("k"))) }), "one value"},
		"sparse constant": {graph(func(g *onnxpb.GraphProto) {
			g.Node = append(g.Node, pbNode("Constant", nil, list("k"), &onnxpb.AttributeProto{Name: proto.String("sparse_value"), Type: onnxpb.AttributeProto_SPARSE_TENSOR.Enum()}))
		}), "SPARSE_TENSOR are not read"},
		"external of bytes": {constant(func(c *onnxpb.TensorProto) {
			c.DataLocation = onnxpb.TensorProto_EXTERNAL.Enum()
			c.ExternalData = []*onnxpb.StringStringEntryProto{{Key: proto.String("location"), Value: proto.String("w.bin")}}
		}), "not read from a folder"},
	}
}

func TestHostileFiles(t *testing.T) {
	for name, c := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			m, err := Parse(c.data, "")
			if err == nil {
				t.Fatalf("accepted: %v", m.Graph)
			}
			wantBad(t, err, c.want)
		})
	}
}

// wantBad holds an error against what an error on bad input has to be.
func wantBad(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatal("accepted")
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %q, it has to say %q", err, want)
	}
	if strings.ContainsAny(err.Error(), "\n\r") || len(err.Error()) > 700 {
		t.Errorf("the error is not one line: %q", err)
	}
	if fault.Code(err) != fault.CodeBadInput {
		t.Errorf("exit code %d, not %d", fault.Code(err), fault.CodeBadInput)
	}
}

func TestLoadPaths(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.onnx")
	if err := os.WriteFile(good, pbBytes(t, pbModel(nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Load(good)
	if err != nil || m.Path != good || len(m.SHA256) != 64 || m.Opset != 13 || m.IR != 7 {
		t.Fatalf("%+v, %v", m, err)
	}
	_, err = Load(filepath.Join(dir, "none.onnx"))
	wantBad(t, err, "file does not exist")
	_, err = Load(dir)
	wantBad(t, err, "it is a folder")
	pipe := filepath.Join(dir, "pipe.onnx")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	_, err = Load(pipe)
	wantBad(t, err, "not a regular file")
	large := filepath.Join(dir, "large.onnx")
	f, err := os.Create(large)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 31); err != nil { // takes no room on the disk
		t.Skip(err)
	}
	_, err = Load(large)
	wantBad(t, err, "more than the 2 GiB")
}

// A byte of a packed list becomes an integer of eight.
func TestScanCountsPackedIntegers(t *testing.T) {
	m := pbModel(func(m *onnxpb.ModelProto) {
		m.Graph.Initializer = []*onnxpb.TensorProto{{Name: proto.String("c"), DataType: proto.Int32(int32(Int64)), Int64Data: make([]int64, 1<<20)}}
	})
	var s scanner
	if err := s.walk(msgModel, pbBytes(t, m), 0, 0); err != nil || s.cost < 8<<20 || s.cost > 9<<20 {
		t.Errorf("a million integers cost %d bytes, %v", s.cost, err)
	}
	s = scanner{cost: maxMemory - 8<<20}
	if err := s.walk(msgModel, pbBytes(t, m), 0, 0); err == nil {
		t.Error("accepted beyond the memory that a model may take")
	}
}

// A model of which any part is missing is refused, and never with a panic.
func TestEveryTruncation(t *testing.T) {
	whole := pbBytes(t, pbModel(func(m *onnxpb.ModelProto) {
		m.Graph.Initializer = []*onnxpb.TensorProto{{Name: proto.String("c"), DataType: proto.Int32(1), Dims: []int64{4}, RawData: make([]byte, 16)}}
		m.Graph.Node[0].Attribute = []*onnxpb.AttributeProto{pbAttr(t, "note", "x")}
	}))
	for n := range whole {
		if _, err := Parse(whole[:n], ""); err == nil {
			t.Errorf("accepted without its last %d bytes", len(whole)-n)
		}
	}
}

// Depth that is allowed is read, sorted and written again.
func TestDeepSubgraphs(t *testing.T) {
	data := pbBytes(t, pbModel(func(m *onnxpb.ModelProto) {
		m.Graph = nest(maxDepth - 1)
		m.Graph.Input = []*onnxpb.ValueInfoProto{pbValue("x", Float), pbValue("c", Bool)}
	}))
	m, err := Parse(data, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(m); err != nil {
		t.Error(err)
	}
	if again, err := m.Marshal(); err != nil {
		t.Error(err)
	} else if _, err := Parse(again, ""); err != nil {
		t.Error(err)
	}
}
