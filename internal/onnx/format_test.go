package onnx

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"trtact/internal/onnx/onnxpb"
	"trtact/internal/testenv"
)

// Our description of the format against that of the Python package onnx: every
// field's number, type, repetition and packing, and every constant's value.
func TestFormatAgainstOnnx(t *testing.T) {
	theirs := map[string]string{}
	for line := range strings.Lines(testenv.RunPython(t, `
import onnx.onnx_ml_pb2 as pb
def label(f): return f.label if hasattr(f, "label") else 3 if f.is_repeated else 1
def enum(e):
    for v in e.values: print(e.full_name + "." + v.name, v.number)
def message(m):
    for f in m.fields:
        of = f.message_type or f.enum_type
        print(m.full_name + "." + f.name, f.number, f.type, label(f), bool(f.GetOptions().packed), of.full_name if of else "")
    for e in m.enum_types: enum(e)
    for n in m.nested_types: message(n)
for m in pb.DESCRIPTOR.message_types_by_name.values(): message(m)`)) {
		name, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		theirs[name] = rest
	}
	compared := 0
	compare := func(name protoreflect.FullName, ours string) {
		compared++
		if want := theirs[string(name)]; want != ours {
			t.Errorf("%s is %q, onnx has %q", name, ours, want)
		}
	}
	var message func(protoreflect.MessageDescriptor)
	message = func(m protoreflect.MessageDescriptor) {
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			of := protoreflect.FullName("")
			if f.Message() != nil {
				of = f.Message().FullName()
			} else if f.Enum() != nil {
				of = f.Enum().FullName()
			}
			packed := "False"
			if f.IsPacked() {
				packed = "True"
			}
			compare(f.FullName(), fmt.Sprintf("%d %d %d %s %s", f.Number(), f.Kind(), f.Cardinality(), packed, of))
		}
		for i := range m.Enums().Len() {
			e := m.Enums().Get(i)
			for j := range e.Values().Len() {
				v := e.Values().Get(j)
				if v.Name() == "FLOAT4E2M1" { // younger than the package
					continue
				}
				compare(e.FullName().Append(v.Name()), fmt.Sprint(v.Number()))
			}
		}
		for i := range m.Messages().Len() {
			message(m.Messages().Get(i))
		}
	}
	file := onnxpb.File_onnx_proto
	for i := range file.Messages().Len() {
		message(file.Messages().Get(i))
	}
	if compared < 100 {
		t.Errorf("only %d fields were compared", compared)
	}
	for i := range onnxpb.TensorProto_DataType_name { // our names of types go as far as the format's
		if strings.HasPrefix(DType(i).String(), "type ") {
			t.Errorf("element type %d has no name", i)
		}
	}
}
