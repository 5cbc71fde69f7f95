package half_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/calib"
	"trtact/internal/compute"
	"trtact/internal/nn"
	"trtact/internal/onnx"
	"trtact/internal/onnx/half"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

// load is a detector of the data folder, simplified.
func load(t testing.TB, name string) *onnx.Model {
	t.Helper()
	m, err := onnx.Load(filepath.Join(testenv.Data(t, "models"), name))
	if err != nil {
		t.Fatal(err)
	}
	in := m.Graph.Inputs[0]
	sizes := map[string][]int{}
	if slices.Contains(in.Dims, onnx.Dynamic) {
		sizes[in.Name] = []int{1, 3, 640, 640}
	}
	if err := shape.Infer(m, sizes); err != nil {
		t.Fatal(err)
	}
	if _, err := simplify.Run(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func models(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testenv.Data(t, "models"), "*.onnx"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for i, f := range files {
		files[i] = filepath.Base(f)
	}
	return files
}

// quantised is m with Q/DQ pairs, scales from the absmax of one noise image.
func quantised(t testing.TB, m *onnx.Model, form calib.WeightForm) *onnx.Model {
	t.Helper()
	plan, err := calib.Place(m.Graph, calib.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	stats := observe(t, m, plan)
	if err := plan.Assign(stats, calib.AbsMax); err != nil {
		t.Fatal(err)
	}
	if err := plan.AssignWeights(m.Graph, calib.AbsMax); err != nil {
		t.Fatal(err)
	}
	q, err := calib.Apply(m, plan, form)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func observe(t testing.TB, m *onnx.Model, plan *calib.Plan) map[string]*calib.Statistics {
	t.Helper()
	testenv.Libraries(t)
	d, err := compute.OpenCPU()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var tensors []string
	for _, s := range plan.Sites {
		tensors = append(tensors, s.Tensor)
	}
	n, err := nn.Compile(m, d, nn.Options{Outputs: tensors})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	c, err := n.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := rand.New(rand.NewPCG(1, 1))
	image := make([]float32, elements(m.Graph.Inputs[0].Dims))
	for i := range image {
		image[i] = r.Float32()
	}
	if err := c.SetInput(m.Graph.Inputs[0].Name, image); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	observer := calib.NewObserver(tensors)
	if err := observer.Image(0, c); err != nil {
		t.Fatal(err)
	}
	stats, err := observer.Statistics()
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

func elements(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// compare checks models with onnx.checker and runs them in onnxruntime with the
// photograph given first, any other input being noise. Models come in groups. For
// each model of a group but the first, it prints the relative L2 error of the worst
// output against the first.
const compare = `
import sys, json, numpy as np, onnx, onnxruntime as ort
from PIL import Image
picture = Image.open(sys.argv[1]).convert("RGB")
def run(path):
    onnx.checker.check_model(path, full_check=True)
    o = ort.SessionOptions(); o.log_severity_level = 3; o.intra_op_num_threads = 1
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    s = ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])
    feed = {}
    for i in s.get_inputs():
        size = [d if isinstance(d, int) else (1, 3, 640, 640)[k] for k, d in enumerate(i.shape)]
        if len(size) == 4 and size[1] == 3:
            x = np.asarray(picture.resize((size[3], size[2])), np.float32) / 255
            x = np.ascontiguousarray(x.transpose(2, 0, 1)[None])
        else:
            x = np.random.default_rng(7).random(size, dtype=np.float32)
        feed[i.name] = x
    got = [y.astype(np.float64) for y in s.run(None, feed)]
    assert all(np.isfinite(g).all() for g in got), path
    return got
found = []
for group in sys.argv[2:]:
    models = [run(path) for path in group.split("|")]
    found.append([max(float(np.linalg.norm(g - w) / max(np.linalg.norm(w), 1e-30)) for g, w in zip(got, models[0])) for got in models[1:]])
print(json.dumps(found))
`

func errorsAgainst(t testing.TB, models ...*onnx.Model) []float64 {
	t.Helper()
	return errorsOf(t, models)[0]
}

func errorsOf(t testing.TB, groups ...[]*onnx.Model) [][]float64 {
	t.Helper()
	images, err := filepath.Glob(filepath.Join(testenv.Data(t, "coco", "images"), "*.jpg"))
	if err != nil || len(images) == 0 {
		t.Fatalf("%v, %v", images, err)
	}
	args := images[:1]
	dir := t.TempDir()
	for i, models := range groups {
		var files []string
		for j, m := range models {
			files = append(files, filepath.Join(dir, fmt.Sprintf("%d.%d.onnx", i, j)))
			if err := m.Save(files[j]); err != nil {
				t.Fatal(err)
			}
		}
		args = append(args, strings.Join(files, "|"))
	}
	var found [][]float64
	if err := json.Unmarshal([]byte(testenv.RunPython(t, compare, args...)), &found); err != nil {
		t.Fatal(err)
	}
	return found
}

func convert(t testing.TB, m *onnx.Model, o half.Options) (*onnx.Model, half.Report) {
	t.Helper()
	h, r, err := half.Convert(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return h, r
}

// figures are wanted in the log.
func figures() bool { return os.Getenv("TRTACT_FIGURES") != "" }

func describe(r half.Report) string {
	var kept strings.Builder
	for _, k := range r.Kept {
		fmt.Fprintf(&kept, "\n  %s (%s): %s", k.Node, k.Op, k.Reason)
	}
	return fmt.Sprintf("%d nodes in float16, %d in float32 (%d behind the heads), %d casts, %d constants, %d pairs, %d with casts%s",
		r.Half, r.Float, r.Behind, r.Casts, r.Constants, r.Pairs, r.CastPairs, kept.String())
}

// rounded is the model h as a float32 model that rounds every float16 tensor
// after the node that makes it, which onnxruntime's CPU kernels do not: they
// take the casts between two nodes out. Rounding is Veltkamp's splitting, right
// for float16's normal numbers: with c = x (2^13 + 1), c - (c - x) is x to 11 bits.
func rounded(t testing.TB, h *onnx.Model) *onnx.Model {
	t.Helper()
	data, err := h.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Parse(data, "")
	if err != nil {
		t.Fatal(err)
	}
	g := m.Graph
	g.Init["splitter"] = onnx.Scalar[float32](1<<13 + 1)
	var nodes []*onnx.Node
	for _, n := range g.Nodes {
		nodes = append(nodes, n)
		for i, name := range n.Outputs {
			if h.Graph.Info[name].Type != onnx.Float16 {
				continue
			}
			exact, c, d := name+"/exact", name+"/c", name+"/d"
			n.Outputs[i] = exact
			nodes = append(nodes,
				&onnx.Node{Name: c, Op: "Mul", Inputs: []string{exact, "splitter"}, Outputs: []string{c}},
				&onnx.Node{Name: d, Op: "Sub", Inputs: []string{c, exact}, Outputs: []string{d}},
				&onnx.Node{Name: name + "/rounded", Op: "Sub", Inputs: []string{c, d}, Outputs: []string{name}})
		}
	}
	g.Nodes = nodes
	return m
}

// Every detector in float16, with the decoding in float32 and in float16: valid
// for onnx.checker, run by onnxruntime, and as close to float32 as 11 bits in
// every layer allow.
func TestModels(t *testing.T) {
	const tolerance = 1.5e-2 // rounding is 2^-11, 5e-4; 60 to 150 layers lie in a row
	for _, name := range models(t) {
		t.Run(name, func(t *testing.T) {
			m := load(t, name)
			before, err := m.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			h, r := convert(t, m, half.Options{})
			all, rAll := convert(t, m, half.Options{Heads: outputs(m)})
			if after, err := m.Marshal(); err != nil || string(after) != string(before) {
				t.Error("the model itself was changed")
			}
			if len(r.Kept) != 0 || r.Half < 3*r.Float || rAll.Half <= r.Half {
				t.Errorf("%s\n%s", describe(r), describe(rAll))
			}
			data, err := h.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if size := float64(len(data)) / float64(len(before)); size > 0.56 {
				t.Errorf("the file has %.2f of its size", size)
			}
			e := errorsAgainst(t, m, h, rounded(t, h), all, rounded(t, all))
			if worst := slices.Max(e); !(worst <= tolerance) {
				t.Errorf("relative L2 errors %.1e, at most %.1e", e, tolerance)
			}
			if figures() {
				t.Logf("errors %.1e; %d bytes of %d; %s\nwith the decoding: %s", e, len(data), len(before), describe(r), describe(rAll))
			}
		})
	}
}

// A quantised model loses no more to float16 than to INT8: values on a rounding
// tie of INT8 move by a whole step, so the two are as far apart as either is from
// float32, but neither is farther.
func TestQuantisedModels(t *testing.T) {
	const slack = 1.2 // of one image
	for _, name := range []string{"yolov5n.onnx", "yolov8n_deq.onnx", "v5lite_e_320.onnx", "yolov6lite_s.onnx", "picodet_s_320.onnx", "fastestdet_352.onnx"} {
		t.Run(name, func(t *testing.T) {
			m := load(t, name)
			q := quantised(t, m, calib.FloatWeights)
			casts, r := convert(t, q, half.Options{})
			h, r19 := convert(t, q, half.Options{Opset19: true})
			int8, _ := convert(t, quantised(t, m, calib.Int8Weights), half.Options{Opset19: true})
			if q.Opset != 13 && q.Opset != m.Opset || casts.Opset != q.Opset || h.Opset != 19 {
				t.Errorf("opsets %d, %d, %d", q.Opset, casts.Opset, h.Opset)
			}
			if r.Pairs != 0 || r.CastPairs == 0 || r19.Pairs < 9*r19.CastPairs || r19.Casts > r.Casts/4 || len(r.Kept)+len(r19.Kept) != 0 {
				t.Errorf("%s\n%s", describe(r), describe(r19))
			}
			e := errorsAgainst(t, m, q, casts, h, int8, rounded(t, casts), rounded(t, h))
			for _, got := range e[1:] {
				if !(got <= slack*e[0]) {
					t.Errorf("relative L2 errors %.3f, of INT8 alone %.3f", e[1:], e[0])
				}
			}
			if figures() {
				t.Logf("errors against float32: Q/DQ %.4f, with casts, opset 19, INT8 weights, and the first two rounded %.4f\n%s\n%s",
					e[0], e[1:], describe(r), describe(r19))
			}
		})
	}
}

func outputs(m *onnx.Model) []string {
	var list []string
	for _, v := range m.Graph.Outputs {
		list = append(list, v.Name)
	}
	return list
}
