package shape_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/testenv"
)

// batchAgainstSingles runs the original on two random images one after the other
// and the changed model on both at once, in onnxruntime, and prints the relative
// L2 error of every output, joined along axis 0. float16 originals are
// run in float32.
const batchAgainstSingles = `
import sys, json, numpy as np, onnx, onnxruntime as ort
from onnx import numpy_helper, TensorProto
a, b, size = onnx.load(sys.argv[1]), onnx.load(sys.argv[2]), json.loads(sys.argv[3])
onnx.checker.check_model(b, full_check=True)
for t in list(a.graph.initializer):
    if t.data_type == TensorProto.FLOAT16:
        t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name))
for v in list(a.graph.input) + list(a.graph.output):
    if v.type.tensor_type.elem_type == TensorProto.FLOAT16:
        v.type.tensor_type.elem_type = TensorProto.FLOAT
del a.graph.value_info[:]
for n in a.graph.node:
    for at in n.attribute:
        if at.name == "to" and at.i == TensorProto.FLOAT16:
            at.i = TensorProto.FLOAT
        if at.type == onnx.AttributeProto.TENSOR and at.t.data_type == TensorProto.FLOAT16:
            at.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(at.t).astype(np.float32)))
so = ort.SessionOptions()
so.log_severity_level = 3
so.intra_op_num_threads = 1
so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
def session(m):
    return ort.InferenceSession(m.SerializeToString(), so, providers=["CPUExecutionProvider"])
one, two = session(a), session(b)
name = two.get_inputs()[0].name
x = np.random.default_rng(1).random(size, np.float32)
names = [o.name for o in two.get_outputs()]
both = two.run(names, {name: x})
singles = [one.run(names, {name: x[i:i+1]}) for i in range(len(x))]
err = {}
for k, n in enumerate(names):
    want = np.concatenate([s[k] for s in singles], 0).astype(np.float64)
    assert want.shape == both[k].shape, (n, want.shape, both[k].shape)
    # Images that came out alike would hide a mix-up.
    assert np.linalg.norm(want[0] - want[1]) > 1e-4 * np.linalg.norm(want[0]), n
    err[n] = float(np.linalg.norm(want - both[k]) / max(np.linalg.norm(want), 1e-30))
print(json.dumps(err))
`

// Every real detector gives at batch 2 what it gives for each image alone,
// whatever batch its exporter stored.
func TestBatchModels(t *testing.T) {
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
			h, w := 0, 0
			if strings.HasSuffix(file, "_fp16.onnx") { // its sizes are free
				h, w = 640, 640
			}
			if err := shape.Resize(m, h, w, 2); err != nil {
				t.Fatal(err)
			}
			size, err := json.Marshal(m.Graph.Inputs[0].Dims)
			if err != nil {
				t.Fatal(err)
			}
			saved := filepath.Join(t.TempDir(), file)
			if err := m.Save(saved); err != nil {
				t.Fatal(err)
			}
			var errors map[string]float64
			if err := json.Unmarshal([]byte(testenv.RunPython(t, batchAgainstSingles, path, saved, string(size))), &errors); err != nil {
				t.Fatal(err)
			}
			if len(errors) != len(m.Graph.Outputs) {
				t.Errorf("%d of %d outputs compared", len(errors), len(m.Graph.Outputs))
			}
			for name, e := range errors {
				t.Logf("output %q: relative L2 error %.2g", name, e)
				if !(e <= maxBatchError) {
					t.Errorf("output %q differs by %g", name, e)
				}
			}
		})
	}
}

// maxBatchError: without onnxruntime's fusions every image is computed alike.
const maxBatchError = 1e-6
