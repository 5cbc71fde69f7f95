package job

import (
	"testing"

	"trtact/calib"
	"trtact/internal/onnx"
)

// TestSizes: an INT8 weight takes a quarter and its scales come on top, a weight
// that two layers share is counted once, and a layer left float says why.
func TestSizes(t *testing.T) {
	g := &onnx.Graph{Init: map[string]*onnx.Tensor{
		"w": onnx.NewTensor([]int{10, 4}, make([]float32, 40)),
		"v": onnx.NewTensor([]int{4, 5}, make([]float32, 20)),
		"b": onnx.NewTensor([]int{6}, make([]float32, 6)),
	}}
	for _, n := range []struct{ name, op, weight string }{
		{"first", "Conv", "w"}, {"second", "Conv", "w"}, {"third", "Gemm", "v"}, {"sum", "Add", "b"},
	} {
		g.Nodes = append(g.Nodes, &onnx.Node{Name: n.name, Op: n.op, Inputs: []string{"x", n.weight}, Outputs: []string{n.name + "_y"}})
	}
	m := &onnx.Model{Graph: g}
	plan := &calib.Plan{
		Method:  "mse",
		Sites:   []calib.Site{{Tensor: "x"}},
		Weights: []calib.WeightSite{{Tensor: "w", Nodes: []string{"first", "second"}, Scales: make([]float32, 10)}},
		Skipped: []calib.Skip{{Node: "third", Op: "Gemm", Reason: "thin"}},
	}
	var s Size
	s.model(m, m, plan)
	if s.WeightsFloat != 4*66 || s.WeightsInt8 != 4*66-(160-40-40) {
		t.Errorf("weights %d and %d bytes, want %d and %d", s.WeightsFloat, s.WeightsInt8, 4*66, 4*66-80)
	}
	want := []LayerSize{{"first", 160, 40, ""}, {"second", 160, 40, ""}, {"third", 80, 80, "thin"}}
	if len(s.Layers) != len(want) {
		t.Fatalf("layers %+v", s.Layers)
	}
	for i := range want {
		if s.Layers[i] != want[i] {
			t.Errorf("layer %+v, want %+v", s.Layers[i], want[i])
		}
	}
	var q Quantization
	q.describe(m, plan)
	if q.Layers != 2 || q.Sites != 1 || q.Method != "mse" || q.Share != 0.8 {
		t.Errorf("quantization %+v", q)
	}
}
