package onnx

import (
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/onnx/onnxpb"
	"trtact/internal/testenv"
)

func TestVerify(t *testing.T) {
	if err := verify(model(diamond())); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil func(*Model)
		want  string
	}{
		"no graph":         {func(m *Model) { m.Graph = nil }, "no graph"},
		"opset":            {func(m *Model) { m.Opset = 6 }, "operator set version 6"},
		"attribute's type": {func(m *Model) { m.Graph.Nodes[0].Domain = "my"; m.Graph.Nodes[0].Set("alpha", 1) }, `attribute "alpha" holds a int`},
		"too many inputs":  {func(m *Model) { m.Graph.Nodes[0].Inputs = list("x", "w") }, "it has 2 inputs, at opset 13 it takes 1"},
		"too many outputs": {func(m *Model) { m.Graph.Nodes[0].Outputs = list("a", "a2") }, "it has 2 outputs, at opset 13 it gives 1"},
		"order":            {func(m *Model) { n := m.Graph.Nodes; n[0], n[1] = n[1], n[0] }, `its input "a" is made by no earlier node`},
		"two names":        {func(m *Model) { m.Graph.Nodes[1].Name = m.Graph.Nodes[0].Name }, `two nodes "Relu_of_a"`},
		"shape and data":   {func(m *Model) { m.Graph.Init["w"].Dims[0] = 3 }, `constant "w": 2 elements for shape [3]`},
		"type and data":    {func(m *Model) { m.Graph.Init["w"].Type = Int8 }, `constant "w": elements are []float32 but the type is int8`},
		"no tensor":        {func(m *Model) { m.Graph.Init["w"] = nil }, "there is no tensor"},
		"in a subgraph":    {func(m *Model) { m.Graph.Nodes[5].Attrs["else_branch"].(*Graph).Nodes[0].Inputs[0] = "z" }, `node "If_of_e" (If): attribute "else_branch": node "Add_of_else_y" (Add): its input "z"`},
		"branch's tensor":  {func(m *Model) { m.Graph.Outputs[0].Name = "then_y" }, `output "then_y" is made by no node`},
	} {
		t.Run(name, func(t *testing.T) {
			m := model(diamond())
			c.spoil(m)
			if err := verify(m); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// What is not ONNX's own is read, since it may be cut off, and kept on saving.
func TestForeignOperators(t *testing.T) {
	m, err := Parse(pbBytes(t, pbModel(func(m *onnxpb.ModelProto) {
		m.Graph.Node[0] = pbNode("EfficientNMS_TRT", list("x"), list("y"), pbAttr(t, "plugin_version", "1"))
	})), "")
	if err != nil {
		t.Fatal(err)
	}
	m.Graph.Nodes[0].Domain = "TRT"
	m.Domains = map[string]int{"TRT": 2, "gone": 1}
	data, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(data, "")
	if err != nil {
		t.Fatal(err)
	}
	if n := back.Graph.Nodes[0]; n.Domain != "TRT" || n.Str("plugin_version", "") != "1" || len(back.Domains) != 1 || back.Domains["TRT"] != 2 {
		t.Errorf("read back: %v %v", n, back.Domains)
	}
}

func TestMarshalRefuses(t *testing.T) {
	m := model(diamond())
	m.Graph.Init["w"] = &Tensor{Type: Float, Dims: []int{1 << 29}, Data: make([]float32, 1<<29)} // never touched: no memory
	if _, err := m.Marshal(); err == nil || !strings.Contains(err.Error(), "more than the 2 GiB") {
		t.Errorf("2 GiB of weights: %v", err)
	}
	m = model(diamond())
	m.Graph.Outputs[0].Type = Undefined
	if _, err := m.Marshal(); err == nil || !strings.Contains(err.Error(), `output "d" has no element type`) {
		t.Errorf("untyped output: %v", err)
	}
	m = model(diamond())
	m.Graph.Nodes[0].Set("a", struct{}{})
	if err := m.Save(filepath.Join(t.TempDir(), "m.onnx")); err == nil || !strings.Contains(err.Error(), "m.onnx") {
		t.Errorf("impossible attribute: %v", err)
	}
}

// A graph made here, with int8 weights behind a DequantizeLinear, in onnxruntime.
func TestQuantisedModelInOnnxruntime(t *testing.T) {
	weight := node("DequantizeLinear", list("w8", "scale", "zero"), list("w"))
	weight.Set("axis", int64(0))
	m := &Model{Opset: 13, Metadata: map[string]string{"stride": "32", "names": "x"}, Graph: &Graph{
		Inputs:  []Value{{Name: "x", Type: Float, Dims: []int{Dynamic, 2, 4, 4}, Symbols: list("batch", "", "", "")}},
		Nodes:   []*Node{weight, node("Conv", list("x", "w"), list("y"))},
		Outputs: []Value{value("y", Dynamic, 3, 4, 4)},
		Init: map[string]*Tensor{
			"w8":    NewTensor([]int{3, 2, 1, 1}, []int8{-127, 1, 2, 3, -4, 127}),
			"scale": Vector[float32](0.5, 0.25, 2),
			"zero":  Vector[int8](0, 0, 0),
		},
	}}
	path := filepath.Join(t.TempDir(), "q.onnx")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	got := testenv.RunPython(t, `
import sys, numpy as np, onnx, onnxruntime as ort
onnx.checker.check_model(sys.argv[1], full_check=True)
m = onnx.load(sys.argv[1])
s = ort.InferenceSession(sys.argv[1])
x = np.random.default_rng(0).random((5, 2, 4, 4), dtype=np.float32)
w = np.array([[-127, 1], [2, 3], [-4, 127]], np.float32) * np.array([[.5], [.25], [2]], np.float32)
want = np.einsum("oc,nchw->nohw", w, x)
print(m.ir_version, m.opset_import[0].version, m.producer_name, [(p.key, p.value) for p in m.metadata_props],
      s.get_inputs()[0].shape, np.abs(s.run(None, {"x": x})[0] - want).max() < 1e-4)`, path)
	if want := "7 13 trtact [('names', 'x'), ('stride', '32')] ['batch', 2, 4, 4] True\n"; got != want {
		t.Errorf("onnxruntime says %q, want %q", got, want)
	}
}
