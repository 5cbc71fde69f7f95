package simplify_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

// maxError is the relative L2 error that rounding in folded weights may cause
// at an output.
const maxError = 1e-5

// compareOutputs runs two models on one random image in onnxruntime and prints
// the relative L2 error of every output. It checks the second with onnx.checker
// first. float16 originals are computed in float32: their weights are the same.
const compareOutputs = `
import sys, json, numpy as np, onnx, onnxruntime as ort
from onnx import numpy_helper, TensorProto
a, b, size = onnx.load(sys.argv[1]), onnx.load(sys.argv[2]), json.loads(sys.argv[3])
onnx.checker.check_model(b, full_check=True)

def widen(m):
    for t in list(m.graph.initializer):
        if t.data_type == TensorProto.FLOAT16:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name))
    for v in list(m.graph.input) + list(m.graph.output):
        if v.type.tensor_type.elem_type == TensorProto.FLOAT16:
            v.type.tensor_type.elem_type = TensorProto.FLOAT
    del m.graph.value_info[:]
    for n in m.graph.node:
        for at in n.attribute:
            if at.name == "to" and at.i == TensorProto.FLOAT16:
                at.i = TensorProto.FLOAT
            if at.type == onnx.AttributeProto.TENSOR and at.t.data_type == TensorProto.FLOAT16:
                at.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(at.t).astype(np.float32)))

widen(a)
so = ort.SessionOptions()
so.log_severity_level = 3
# Its own fusions differ between the two and round by more than ours.
so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
so.intra_op_num_threads = 1
def run(m):
    s = ort.InferenceSession(m.SerializeToString(), so, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(1)
    init = {t.name for t in m.graph.initializer}
    feed = {i.name: rng.random(size or i.shape, np.float32) for i in s.get_inputs() if i.name not in init}
    names = [o.name for o in s.get_outputs()]
    return dict(zip(names, s.run(names, feed)))
x, y = run(a), run(b)
assert list(x) == list(y), (list(x), list(y))
err = {}
for k in x:
    assert x[k].shape == y[k].shape and x[k].dtype == y[k].dtype, k
    p, q = x[k].astype(np.float64), y[k].astype(np.float64)
    err[k] = float(np.linalg.norm(p - q) / max(np.linalg.norm(p), 1e-30))
print(json.dumps(err))
`

// Every real detector computes the same after simplification, passes ONNX's
// checker, and has nothing left of what should go.
func TestRunModels(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(testenv.Data(t, "models"), "*.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		file := filepath.Base(path)
		t.Run(file, func(t *testing.T) {
			m, err := onnx.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			var size []int
			var sizes map[string][]int
			if file == "yolov5n_fp16.onnx" {
				size = []int{1, 3, 640, 640}
				sizes = map[string][]int{"images": size}
			}
			if err := shape.Infer(m, sizes); err != nil {
				t.Fatal(err)
			}
			before := len(m.Graph.Nodes)
			report, err := simplify.Run(m)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d nodes, now %d:\n%v", before, len(m.Graph.Nodes), report)
			for _, n := range m.Graph.Nodes {
				switch n.Op {
				case "BatchNormalization", "Identity", "Dropout", "Shape", "Constant", "Cast", "Floor":
					t.Errorf("%v is left", n)
				}
			}
			if file == "yolov5n_bn.onnx" && report[simplify.BatchNorm] != 57 {
				t.Errorf("%d of 57 batch normalisations folded", report[simplify.BatchNorm])
			}
			saved := filepath.Join(t.TempDir(), file)
			if err := m.Save(saved); err != nil {
				t.Fatal(err)
			}
			arg, err := json.Marshal(size)
			if err != nil {
				t.Fatal(err)
			}
			var errors map[string]float64
			if err := json.Unmarshal([]byte(testenv.RunPython(t, compareOutputs, path, saved, string(arg))), &errors); err != nil {
				t.Fatal(err)
			}
			if len(errors) == 0 {
				t.Error("nothing compared")
			}
			for name, e := range errors {
				if !(e <= maxError) {
					t.Errorf("output %q differs by %g", name, e)
				}
				t.Logf("output %q: relative L2 error %.2g", name, e)
			}
		})
	}
}
