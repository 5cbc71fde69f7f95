package nn

import (
	"path/filepath"
	"testing"

	"trtact/calib"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

// TestQuantizedModelsAgainstOnnxruntime: the simulated INT8 of a Q/DQ graph is
// what onnxruntime computes from the exported file. A value that falls on a
// rounding tie in one and beside it in the other moves by a whole step, and what
// follows with it, so two orders of summation part by up to the quantisation
// noise itself: onnxruntime parts from itself just as far, which is the measure
// where the noise is larger than the tolerance.
func TestQuantizedModelsAgainstOnnxruntime(t *testing.T) {
	const tolerance = 1e-2
	d := openCPU(t)
	for _, name := range []string{"yolov5n", "yolov8n_deq", "v5lite_e_320", "yolov6lite_s", "picodet_s_320"} {
		t.Run(name, func(t *testing.T) {
			m, err := onnx.Load(filepath.Join(testenv.Data(t, "models"), name+".onnx"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := simplify.Run(m); err != nil {
				t.Fatal(err)
			}
			if err := shape.Infer(m, nil); err != nil {
				t.Fatal(err)
			}
			q := absmaxPlan(t, m)
			folder := t.TempDir()
			file := filepath.Join(folder, "q.onnx")
			if err := q.Save(file); err != nil {
				t.Fatal(err)
			}
			in := q.Graph.Inputs[0]
			compareWithOnnxruntime(t, d, q, file, in.Dims[2], in.Dims[3], tolerance)
		})
	}
}

// absmaxPlan quantises a model with the absmax of one noise image.
func absmaxPlan(t *testing.T, m *onnx.Model) *onnx.Model {
	t.Helper()
	plan, err := calib.Place(m.Graph, calib.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	var tensors []string
	for _, s := range plan.Sites {
		tensors = append(tensors, s.Tensor)
	}
	n, err := Compile(m, openCPU(t), Options{Outputs: tensors})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	c, err := n.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := m.Graph.Inputs[0]
	if err := c.SetInput(in.Name, noise(product(in.Dims))); err != nil {
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
	if err := plan.Assign(stats, calib.AbsMax); err != nil {
		t.Fatal(err)
	}
	if err := plan.AssignWeights(m.Graph, calib.AbsMax); err != nil {
		t.Fatal(err)
	}
	q, err := calib.Apply(m, plan, calib.FloatWeights)
	if err != nil {
		t.Fatal(err)
	}
	if err := shape.Infer(q, nil); err != nil {
		t.Fatal(err)
	}
	return q
}
