package trt

import (
	"context"
	"math"
	"os"
	"strings"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/testenv"
	"trtact/trt/trttest"
)

// quantizeConvs puts Q/DQ before every convolution but the first and the last
// three, with INT8 weights, and returns all convolution weights.
func quantizeConvs(m *onnx.Model) []trttest.Weight {
	g := m.Graph
	var convs []*onnx.Node
	for _, n := range g.Nodes {
		if n.Op == "Conv" {
			convs = append(convs, n)
		}
	}
	float := map[*onnx.Node]bool{convs[0]: true}
	for _, n := range convs[len(convs)-3:] {
		float[n] = true
	}
	g.Init["q_scale"], g.Init["q_zero"] = onnx.Scalar(float32(0.05)), onnx.Scalar(int8(0))
	var nodes []*onnx.Node
	var weights []trttest.Weight
	done := map[string]bool{}
	for _, n := range g.Nodes {
		if n.Op != "Conv" {
			nodes = append(nodes, n)
			continue
		}
		name := n.Inputs[1]
		t := g.Init[name]
		values, channels := t.Data.([]float32), t.Dims[0]
		w := trttest.Weight{Name: n.Name, Dims: t.Dims, Values: values}
		if !float[n] {
			each := len(values) / channels
			scale := make([]float32, channels)
			w.INT8, w.Values = make([]int8, len(values)), make([]float32, len(values))
			for o := range channels {
				for _, v := range values[o*each : (o+1)*each] {
					scale[o] = max(scale[o], float32(math.Abs(float64(v)))/127)
				}
				scale[o] = max(scale[o], 1e-12)
				for i := o * each; i < (o+1)*each; i++ {
					w.INT8[i] = int8(math.RoundToEven(float64(values[i] / scale[o])))
					w.Values[i] = float32(w.INT8[i]) * scale[o]
				}
			}
			delete(g.Init, name)
			g.Init[name+"_q"] = onnx.NewTensor(t.Dims, w.INT8)
			g.Init[name+"_s"], g.Init[name+"_z"] = onnx.Vector(scale...), onnx.Vector(make([]int8, channels)...)
			nodes = append(nodes, &onnx.Node{Name: n.Name + "_wdq", Op: "DequantizeLinear", Attrs: map[string]onnx.Attr{"axis": int64(0)},
				Inputs: []string{name + "_q", name + "_s", name + "_z"}, Outputs: []string{name + "_dq"}})
			x := n.Inputs[0]
			if !done[x] {
				done[x] = true
				nodes = append(nodes,
					&onnx.Node{Name: n.Name + "_q", Op: "QuantizeLinear", Inputs: []string{x, "q_scale", "q_zero"}, Outputs: []string{x + "_q"}},
					&onnx.Node{Name: n.Name + "_dq", Op: "DequantizeLinear", Inputs: []string{x + "_q", "q_scale", "q_zero"}, Outputs: []string{x + "_dq"}})
			}
			n.Inputs[0], n.Inputs[1] = x+"_dq", name+"_dq"
		}
		weights = append(weights, w)
		nodes = append(nodes, n)
	}
	g.Nodes = nodes
	return weights
}

// The weights of a quantised detector are INT8 in the engine itself, byte for
// byte as in the model; those of the layers left in float are FP32.
func TestRTXStoresINT8(t *testing.T) {
	family, places := rtx(t)
	m, err := onnx.Load(testenv.Data(t, "models", "yolov5n.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	floatModel, err := os.ReadFile(m.Path)
	if err != nil {
		t.Fatal(err)
	}
	weights := quantizeConvs(m)
	data, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, targets := range [][]int{{75}, nil} {
		e, err := Build(context.Background(), family, data, BuildOptions{Places: &places, Targets: targets, Model: "yolov5n.int8.onnx"})
		if err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		var bytes, float int64
		for i, s := range trttest.StoredWeights(e.Bytes, weights) {
			count[s.Type]++
			bytes += s.Bytes
			float += int64(s.Elements) * 4
			quantized := weights[i].INT8 != nil
			if (s.Type == "int8") != quantized || (s.Type == "" && !strings.Contains(s.Name, "model.0")) {
				t.Errorf("%v: %s %v: stored as %q, quantised: %v", targets, s.Name, weights[i].Dims, s.Type, quantized)
			}
		}
		// And nowhere in the engine is a float copy of them.
		asFloat := make([]trttest.Weight, len(weights))
		for i, w := range weights {
			asFloat[i] = trttest.Weight{Name: w.Name, Dims: w.Dims, Values: w.Values}
		}
		for i, s := range trttest.StoredWeights(e.Bytes, asFloat) {
			if weights[i].INT8 != nil && s.Type != "" {
				t.Errorf("%v: %s is also stored as %s", targets, s.Name, s.Type)
			}
		}
		share := float64(bytes) / float64(float)
		inNetwork, _ := e.Artifact.WeightBytes()
		t.Logf("%v: engine %d bytes in %.2f s, model %d bytes (float %d), weights %d of %d bytes (%.1f %%), stored as %v",
			e.Artifact.Targets, len(e.Bytes), e.Artifact.BuildSeconds, len(data), len(floatModel), bytes, float, 100*share, count)
		if share > 0.35 {
			t.Errorf("%v: weights are %.1f %% of float, want at most 35", targets, 100*share)
		}
		if count[""] == 0 && inNetwork != bytes {
			t.Errorf("%v: %d bytes of weights in the engine, %d in the network", targets, bytes, inNetwork)
		}
	}
}

// FP16 weights are FP16 in the engine, whether the model has them so or casts
// FP32 constants.
func TestRTXStoresFP16(t *testing.T) {
	family, places := rtx(t)
	for _, c := range []struct {
		file string
		cast bool
	}{{"yolov5n_fp16.onnx", false}, {"yolov5n.onnx", true}} {
		m, err := onnx.Load(testenv.Data(t, "models", c.file))
		if err != nil {
			t.Fatal(err)
		}
		var weights []trttest.Weight
		for _, n := range m.Graph.Nodes {
			if n.Op == "Conv" {
				w := m.Graph.Init[n.Inputs[1]]
				weights = append(weights, trttest.Weight{Name: n.Name, Dims: w.Dims, Values: w.Data.([]float32)})
			}
		}
		o := BuildOptions{Places: &places, Targets: []int{86}, Model: c.file}
		model, err := os.ReadFile(m.Path)
		if err != nil {
			t.Fatal(err)
		}
		if c.cast {
			model = castToFP16(t, m)
		} else {
			o.Shapes = map[string]Profile{m.Graph.Inputs[0].Name: fixed(1, 3, 640, 640)}
		}
		e, err := Build(context.Background(), family, model, o)
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		count := map[string]int{}
		for i, s := range trttest.StoredWeights(e.Bytes, weights) {
			count[s.Type]++
			if s.Type != "fp16" {
				t.Errorf("%s: %s %v is stored as %q", c.file, s.Name, weights[i].Dims, s.Type)
			}
		}
		bytes, float := e.Artifact.WeightBytes()
		t.Logf("%s: engine %d bytes, %s, weights stored as %v", c.file, len(e.Bytes), e.Artifact.Precision, count)
		if e.Artifact.Precision != "fp16" || bytes != float/2 {
			t.Errorf("%s: %s, %d of %d bytes", c.file, e.Artifact.Precision, bytes, float)
		}
	}
}

// castToFP16 casts inputs and constants to FP16 in the graph, as a program does
// that has FP32 tensors only: for models without arithmetic on shapes.
func castToFP16(t *testing.T, m *onnx.Model) []byte {
	t.Helper()
	g := m.Graph
	var nodes []*onnx.Node
	cast := func(from, to string, typ onnx.DType) {
		nodes = append(nodes, &onnx.Node{Name: "cast_" + to, Op: "Cast", Attrs: map[string]onnx.Attr{"to": int64(typ)},
			Inputs: []string{from}, Outputs: []string{to}})
	}
	done := map[string]bool{}
	for i, input := range g.Inputs {
		g.Inputs[i].Type = onnx.Float
		cast(input.Name, input.Name+"_half", onnx.Float16)
		done[input.Name] = true
	}
	for _, n := range g.Nodes {
		for i, x := range n.Inputs {
			if c := g.Init[x]; c != nil && c.Type == onnx.Float && n.Op != "Resize" && !done[x] {
				cast(x, x+"_half", onnx.Float16)
				done[x] = true
			}
			if done[x] && n.Op != "Resize" && n.Op != "Shape" {
				n.Inputs[i] = x + "_half"
			}
		}
		nodes = append(nodes, n)
	}
	for i, output := range g.Outputs {
		g.Outputs[i].Type = onnx.Float
		for _, n := range nodes {
			for k, y := range n.Outputs {
				if y == output.Name {
					n.Outputs[k] = y + "_half"
				}
			}
		}
		cast(output.Name+"_half", output.Name, onnx.Float)
	}
	g.Nodes = nodes
	data, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}
