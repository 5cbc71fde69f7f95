package onnx

import (
	"bytes"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/onnx/onnxpb"
)

// FuzzParse: whatever the bytes, an error on one line that counts as bad input,
// or a model that can be cloned, indexed, upgraded and written, and is the same
// when read back.
func FuzzParse(f *testing.F) {
	for _, c := range hostile(f) {
		if len(c.data) < 1<<16 {
			f.Add(c.data)
		}
	}
	f.Add(pbBytes(f, pbModel(nil)))
	f.Add(pbBytes(f, modelWithExternal("location", "w.bin")))
	for _, g := range []*Graph{diamond()} {
		for _, opset := range []int{7, 9, 11, 13, 22} {
			data, err := (&Model{Opset: opset, Graph: g}).Marshal()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	for _, op := range []string{"Softmax", "Squeeze", "Split", "Clip", "Pad", "Upsample", "Slice", "TopK", "Dropout", "Resize", "ReduceSum"} {
		for _, opset := range []int64{7, 9, 10, 11, 12} {
			f.Add(pbBytes(f, pbModel(func(m *onnxpb.ModelProto) {
				m.OpsetImport[0].Version = &opset
				n := pbNode(op, list("x"), list("y"), pbAttr(f, "axes", []int64{0}), pbAttr(f, "axis", int64(0)), pbAttr(f, "k", int64(1)),
					pbAttr(f, "scales", []float32{2}), pbAttr(f, "starts", []int64{0}), pbAttr(f, "ends", []int64{1}), pbAttr(f, "pads", []int64{0, 1}))
				m.Graph.Node[0] = n
			})))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data, "")
		if err != nil {
			if fault.Code(err) != fault.CodeBadInput {
				t.Errorf("not marked as bad input: %v", err)
			}
			if bytes.ContainsAny([]byte(err.Error()), "\n\r") {
				t.Errorf("not one line: %q", err)
			}
			return
		}
		m.Graph.Index()
		first, err := m.Clone().Marshal()
		if err != nil {
			if m.Graph.Outputs[0].Type != Undefined && len(m.Graph.Outputs) == 1 {
				t.Errorf("what was read cannot be written: %v", err)
			}
			return
		}
		back, err := Parse(first, "")
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		again, err := back.Marshal()
		if err != nil || !bytes.Equal(first, again) {
			t.Errorf("written again it is other bytes: %v", err)
		}
		if UpgradeOpset(back, 13) == nil {
			if _, err := back.Marshal(); err != nil {
				t.Errorf("upgraded it cannot be written: %v", err)
			}
		}
	})
}
