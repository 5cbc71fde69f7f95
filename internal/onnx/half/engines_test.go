package half_test

// What TensorRT for RTX, whose types are those of the graph, makes of the models.

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"trtact/calib"
	"trtact/internal/onnx"
	"trtact/internal/onnx/half"
	"trtact/internal/testenv"
	"trtact/trt"
	"trtact/trt/trttest"
)

// The test program plays the child in which engines are built.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == trt.ChildCommand {
		os.Exit(trt.RunChild(os.Stdin, os.Stderr))
	}
	os.Exit(m.Run())
}

func rtx(t *testing.T) (trt.Family, trt.Places) {
	t.Helper()
	places := trt.DefaultPlaces()
	if os.Getenv("TRTACT_LIB") == "" {
		places.Shims = []string{filepath.Join(testenv.Root(), "build", "lib")}
	}
	families, err := trt.Find(context.Background(), places)
	if err != nil {
		t.Fatal(err)
	}
	family, err := trt.Choose(families, trt.BackendRTX, nil, places)
	if err != nil {
		t.Skipf("skipped: needs TensorRT for RTX: %v", err)
	}
	return family, places
}

// TestEngines: both forms of pairs build for Turing to Blackwell, TensorRT finds
// as many INT8 layers as in float32 and, but on Turing, runs them in INT8, and the
// engine stores what the model says.
func TestEngines(t *testing.T) {
	family, places := rtx(t)
	names := []string{"fastestdet_352.onnx"}
	if figures() {
		names = append(names, "yolov5n.onnx")
	}
	for _, name := range names {
		m := load(t, name)
		q := quantised(t, m, calib.FloatWeights)
		h, _ := convert(t, m, half.Options{})
		casts, _ := convert(t, q, half.Options{})
		opset19, _ := convert(t, q, half.Options{Opset19: true})
		int8 := map[string]int{} // layers
		for _, c := range []struct {
			form      string
			m         *onnx.Model
			precision string
			float     string // type of the weights that are not INT8
		}{
			{"float32", m, "fp32", "fp32"},
			{"float16", h, "fp16", "fp16"},
			{"Q/DQ, float32", q, "int8, fp32", "fp32"},
			{"Q/DQ, float16 between casts", casts, "int8, fp16", "fp16"},
			{"Q/DQ, float16 at opset 19", opset19, "int8, fp16", "fp16"},
		} {
			data, err := c.m.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			e, err := trt.Build(context.Background(), family, data, trt.BuildOptions{Places: &places, Targets: []int{86, 89, 120}, Model: name})
			if err != nil {
				t.Errorf("%s, %s: %v", name, c.form, err)
				continue
			}
			turing, err := trt.Build(context.Background(), family, data, trt.BuildOptions{Places: &places, Targets: []int{75}, Model: name})
			if err != nil {
				t.Errorf("%s, %s: %v", name, c.form, err)
				continue
			}
			a := e.Artifact
			if a.Convolutions == nil || turing.Artifact.Convolutions == nil {
				t.Fatalf("%s, %s: the engine's plan cannot be read", name, c.form)
			}
			runs := [2]int{a.Convolutions.INT8, turing.Artifact.Convolutions.INT8}
			for _, l := range a.Layers {
				if l.Quantized {
					int8[c.form]++
				}
			}
			stored := map[string]int{}
			weights := weightsOf(c.m)
			for _, s := range trttest.StoredWeights(e.Bytes, weights) {
				stored[s.Type]++
			}
			if found := stored["int8"] + stored[c.float]; a.Precision != c.precision || found < len(weights)*9/10 || stored["int8"] != int8[c.form] {
				t.Errorf("%s, %s: precision %s, %d layers in INT8, weights stored as %v of %d", name, c.form, a.Precision, int8[c.form], stored, len(weights))
			}
			if runs != [2]int{int8[c.form], 0} {
				t.Errorf("%s, %s: %d convolutions run in INT8, on Turing %d, of %d", name, c.form, runs[0], runs[1], int8[c.form])
			}
			if figures() {
				t.Logf("%s, %s: ONNX %d bytes, engine %d bytes (for Turing %d), %.2f s, %s, %d layers in INT8, weights %v", name, c.form, len(data), len(e.Bytes), len(turing.Bytes), a.BuildSeconds, a.Precision, int8[c.form], stored)
			}
		}
		if n := int8["Q/DQ, float32"]; n == 0 || int8["Q/DQ, float16 between casts"] != n || int8["Q/DQ, float16 at opset 19"] != n {
			t.Errorf("%s: layers in INT8 %v", name, int8)
		}
	}
}

// weightsOf lists the constants that convolutions weigh with.
func weightsOf(m *onnx.Model) []trttest.Weight {
	ix := m.Graph.Index()
	var list []trttest.Weight
	for _, n := range m.Graph.Nodes {
		if n.Op != "Conv" {
			continue
		}
		name := n.Inputs[1]
		var scale []float32
		for p := ix.Producer[name]; p != nil; p = ix.Producer[name] { // DQ, Q, Cast
			name = p.Inputs[0]
			if p.Op == "DequantizeLinear" {
				scale = m.Graph.Init[p.Inputs[1]].Floats()
			}
		}
		t := m.Graph.Init[name]
		w := trttest.Weight{Name: n.Name, Dims: t.Dims, Values: append([]float32{}, t.Floats()...)}
		if scale != nil {
			w.INT8 = make([]int8, len(w.Values))
			for i, v := range w.Values {
				s := scale[i/(len(w.Values)/t.Dims[0])]
				if t.Type == onnx.Int8 {
					w.INT8[i], w.Values[i] = int8(v), v*s
				} else {
					w.INT8[i] = calib.QuantizeWeight(v, s)
				}
			}
		}
		list = append(list, w)
	}
	return list
}
