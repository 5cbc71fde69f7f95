package simplify_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

// Old operators and what they are rewritten to compute the same in onnxruntime.
func TestUpgradeInOnnxruntime(t *testing.T) {
	image := []int{1, 2, 5, 7}
	cases := []struct {
		name  string
		opset int
		init  tensors
		node  *onnx.Node
	}{
		{"upsample 7 nearest", 7, nil, node("y = Upsample x", attrs{"scales": []float32{1, 1, 2, 3}})},
		{"upsample 7 linear", 7, nil, node("y = Upsample x", attrs{"mode": "linear", "scales": []float32{1, 1, 2, 2}})},
		{"upsample 9", 9, tensors{"k": onnx.Vector[float32](1, 1, 1.5, 2.5)}, node("y = Upsample x k", attrs{"mode": "nearest"})},
		{"resize 10 enlarging", 10, tensors{"k": onnx.Vector[float32](1, 1, 2, 1.7)}, node("y = Resize x k", attrs{"mode": "nearest"})},
		{"resize 10 shrinking", 10, tensors{"k": onnx.Vector[float32](1, 1, 0.5, 0.6)}, node("y = Resize x k", attrs{"mode": "nearest"})},
		{"resize 10 linear", 10, tensors{"k": onnx.Vector[float32](1, 1, 2, 0.6)}, node("y = Resize x k", attrs{"mode": "linear"})},
		{"softmax 11", 11, nil, node("y = Softmax x", nil)},
		{"softmax 11 inner axis", 11, nil, node("y = Softmax x", attrs{"axis": int64(2)})},
		{"log softmax 11", 11, nil, node("y = LogSoftmax x", attrs{"axis": int64(-2)})},
		{"clip 7", 7, nil, node("y = Clip x", attrs{"min": float32(0.25), "max": float32(0.5)})},
		{"pad 7 reflect", 7, nil, node("y = Pad x", attrs{"mode": "reflect", "pads": []int64{0, 0, 1, 2, 0, 0, 2, 3}})},
		{"slice 9", 9, nil, node("y = Slice x", attrs{"starts": []int64{1, -3}, "ends": []int64{4, 100}, "axes": []int64{2, 3}})},
		{"sum 11", 11, nil, node("y = ReduceSum x", attrs{"axes": []int64{1, -1}})},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := model(c.opset, image, c.init, "y", c.node)
			dir := t.TempDir()
			before, after := filepath.Join(dir, "before.onnx"), filepath.Join(dir, "after.onnx")
			if err := m.Save(before); err != nil {
				t.Fatal(err)
			}
			report, err := simplify.Run(m)
			if err != nil {
				t.Fatal(err)
			}
			if report[simplify.Upgraded] != 1 || m.Opset != 13 {
				t.Errorf("opset %d, %v", m.Opset, report)
			}
			if err := m.Save(after); err != nil {
				t.Fatal(err)
			}
			var errors map[string]float64
			if err := json.Unmarshal([]byte(testenv.RunPython(t, compareOutputs, before, after, "[]")), &errors); err != nil {
				t.Fatal(err)
			}
			if e, ok := errors["y"]; !ok || !(e <= 1e-6) {
				t.Errorf("they differ: %v", errors)
			}
		})
	}
}
