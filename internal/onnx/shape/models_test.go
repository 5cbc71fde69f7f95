package shape_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/testenv"
)

// everyShape makes onnxruntime compute every tensor of a model and prints
// {tensor: [type, shape]}. Arguments: model, input sizes as JSON.
const everyShape = `
import sys, json, numpy as np, onnx, onnxruntime as ort
m = onnx.load(sys.argv[1])
sizes = json.loads(sys.argv[2])
init = {t.name for t in m.graph.initializer}
have = {o.name for o in m.graph.output}
for n in m.graph.node:
    for o in n.output:
        if o and o not in have:
            m.graph.output.append(onnx.ValueInfoProto(name=o)); have.add(o)
so = ort.SessionOptions()
so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
so.log_severity_level = 3
so.intra_op_num_threads = 1
s = ort.InferenceSession(m.SerializeToString(), so, providers=["CPUExecutionProvider"])
feed = {}
for i in s.get_inputs():
    if i.name in init: continue
    t = np.float16 if "float16" in i.type else np.float32
    feed[i.name] = np.zeros(sizes.get(i.name, i.shape), t)
names = [o.name for o in s.get_outputs()]
out = {}
for k, v in zip(names, s.run(names, feed)):
    out[k] = [str(v.dtype).replace("float16", "float32"), list(v.shape)]
print(json.dumps(out))
`

// Every tensor of every real detector has the type and shape that onnxruntime
// computes.
func TestInferModels(t *testing.T) {
	cases := []struct {
		file  string
		sizes map[string][]int
	}{
		{"yolov5n_fp16.onnx", map[string][]int{"images": {1, 3, 640, 640}}},
		{"yolov5n_fp16.onnx", map[string][]int{"images": {2, 3, 640, 640}}},
	}
	files, err := filepath.Glob(filepath.Join(testenv.Data(t, "models"), "*.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := filepath.Base(f); name != "yolov5n_fp16.onnx" {
			cases = append(cases, struct {
				file  string
				sizes map[string][]int
			}{name, map[string][]int{}})
		}
	}
	for _, c := range cases {
		t.Run(c.file, func(t *testing.T) {
			path := testenv.Data(t, "models", c.file)
			m, err := onnx.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := shape.Infer(m, c.sizes); err != nil {
				t.Fatal(err)
			}
			for name, v := range m.Graph.Info {
				if v.Type == onnx.Undefined || v.Dims == nil {
					t.Errorf("%q: nothing inferred: %v", name, v)
				}
			}
			sizes, err := json.Marshal(c.sizes)
			if err != nil {
				t.Fatal(err)
			}
			var want map[string][2]json.RawMessage
			if err := json.Unmarshal([]byte(testenv.RunPython(t, everyShape, path, string(sizes))), &want); err != nil {
				t.Fatal(err)
			}
			for name, w := range want {
				var kind string
				var d []int
				if err := json.Unmarshal(w[0], &kind); err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal(w[1], &d); err != nil {
					t.Fatal(err)
				}
				v, ok := m.Graph.Info[name]
				if !ok || v.Type.String() != kind || !slices.Equal(v.Dims, d) {
					t.Errorf("%q: inferred %v%v, onnxruntime has %s%v", name, v.Type, v.Dims, kind, d)
				}
			}
			t.Logf("%d tensors agree with onnxruntime", len(want))
		})
	}
}
