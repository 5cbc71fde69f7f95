package job

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"trtact/calib"
	"trtact/internal/analysis"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/testenv"
	"trtact/trt"
)

// lossy are layers that quantised alone make these errors.
func lossy(errors ...float64) (layers []analysis.Layer, t times) {
	t = times{gpu: "T4", fp16: map[string]float64{}, int8: map[string]float64{}}
	for i, e := range errors {
		l := analysis.Layer{}
		l.Node, l.Error = fmt.Sprintf("layer%d", i), analysis.Error{Mean: e}
		layers = append(layers, l)
		t.order = append(t.order, l.Node)
		t.fp16[l.Node], t.int8[l.Node] = 2, 1
	}
	return layers, t
}

// TestFront: layers leave INT8 by error for the time, those without gain first; every
// point has less error and, but for those, more latency than the one before.
func TestFront(t *testing.T) {
	layers, spent := lossy(0.03, 0.04, 0.01, 0.02)
	spent.order = append(spent.order, "head")
	spent.fp16["head"], spent.int8["head"] = 0.5, 0.25
	spent.fp16["layer0"] = 1.1 // little time for much error
	spent.fp16["layer2"] = 1   // INT8 gains nothing
	f := front(layers, 0.05, spent)
	if f.Measured || f.GPU != "T4" || len(f.Layers) != 5 || !slices.Equal(f.Slow(), []string{"layer2"}) {
		t.Errorf("%+v", f)
	}
	var order []string
	for i, p := range f.Points {
		order = append(order, p.Added...)
		if i > 0 && (p.Error >= f.Points[i-1].Error || p.Latency < f.Points[i-1].Latency || p.Float <= f.Points[i-1].Float) {
			t.Errorf("point %d is not on a front: %+v", i, f.Points)
		}
	}
	if want := []string{"layer2", "layer0", "layer1", "layer3"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	first, last := f.Points[0], f.Points[len(f.Points)-1]
	if first.Error != 0.05 || math.Abs(first.Latency-4.5) > 1e-9 || last.Error != 0 || math.Abs(last.Latency-6.6) > 1e-9 {
		t.Errorf("from %+v to %+v", first, last)
	}
	if front(layers[:0], 0, spent) != nil {
		t.Error("a front of nothing")
	}
}

func TestLongFront(t *testing.T) {
	var errors []float64
	for i := range 200 {
		errors = append(errors, 0.001*float64(i+1))
	}
	layers, spent := lossy(errors...)
	f := front(layers, 1, spent)
	count := 0
	for _, p := range f.Points {
		count += len(p.Added)
		if p.Float != count {
			t.Errorf("%d layers are float, %d were added", p.Float, count)
		}
	}
	if len(f.Points) > frontPoints || len(f.Points) < frontPoints/2 || count != 200 {
		t.Errorf("%d points with %d layers", len(f.Points), count)
	}
}

// TestByWorth: measured, a layer that INT8 does not make faster is left float first,
// then those whose error is large for what they cost.
func TestByWorth(t *testing.T) {
	_, spent := lossy(0, 0, 0)
	spent.int8["layer1"], spent.fp16["layer2"] = 3, 10
	var got []string
	for _, h := range spent.byWorth([]calib.Harm{{Node: "layer2", Score: 0.5}, {Node: "layer0", Score: 0.4}, {Node: "layer1", Score: 0.1}}) {
		got = append(got, h.Node)
	}
	if want := []string{"layer1", "layer0", "layer2"}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

// TestLayerTimes: the times of an engine's layers find the model's nodes, over the
// stand-in for TensorRT. What it has joined is divided.
func TestLayerTimes(t *testing.T) {
	testenv.StandInLibraries(t)
	write := func(name string, lines string) string {
		path := filepath.Join(t.TempDir(), name)
		text := "stand-in engine\nversion 1.0.0\ninput x fp32 1x3x8x8\noutput y fp32 1x2\ngpu 2\n" + lines
		err := trt.Write(path, &trt.Engine{Bytes: []byte(text), Artifact: trt.Artifact{Backend: trt.BackendTensorRT, Family: "standin", Version: "1.0.0",
			Inputs:  []trt.Tensor{{Name: "x", Type: "fp32", Dims: []int{1, 3, 8, 8}}},
			Outputs: []trt.Tensor{{Name: "y", Type: "fp32", Dims: []int{1, 2}}},
			Layers:  []trt.Layer{{Name: "conv1"}, {Name: "relu1"}, {Name: "conv2"}, {Name: "conv3"}}}})
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := write("a.engine", "layer 1.5 conv1 + relu1\nlayer 0.5 conv2 + conv3\nlayer 0.25 reformat\n")
	got, err := layerTimes(context.Background(), path, []string{"conv1", "conv2", "conv3"}, trt.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for node, want := range map[string]float64{"conv1": 1.5, "conv2": 0.25, "conv3": 0.25} {
		if math.Abs(got[node]-want) > 0.1*want {
			t.Errorf("%s takes %v ms, want about %v", node, got[node], want)
		}
	}
	if _, err := layerTimes(context.Background(), path, []string{"stem"}, trt.BuildOptions{}); err == nil {
		t.Error("an engine of another model was taken")
	}
}

// TestNoDepthwise: for a GPU without INT8 kernels for depthwise layers the search does
// not take them in.
func TestNoDepthwise(t *testing.T) {
	d := depthwiseNet(t)
	for _, without := range []bool{false, true} {
		o := CalibrateOptions{Placement: calib.DefaultOptions(), NoDepthwise: without}
		plan, err := o.place(d)
		if err != nil {
			t.Fatal(err)
		}
		var tensors []string
		if err := o.widen(d, plan, &tensors); err != nil {
			t.Fatal(err)
		}
		if taken := len(o.Search.Wider) > 0; taken == without {
			t.Errorf("without kernels %v: layers to take in %v", without, taken)
		}
	}
}

// depthwiseNet is a depthwise convolution between two others.
func depthwiseNet(t *testing.T) *Detector {
	t.Helper()
	d := oneInput(t)
	g := &onnx.Graph{Inputs: []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{1, 16, 6, 6}}}, Outputs: []onnx.Value{{Name: "out", Type: onnx.Float}},
		Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{}}
	in := "x"
	for _, l := range []struct {
		out  string
		dims []int
	}{{"a", []int{16, 16, 1, 1}}, {"b", []int{16, 1, 3, 3}}, {"c", []int{16, 16, 1, 1}}, {"out", []int{16, 16, 1, 1}}} {
		g.Init[l.out+".w"] = onnx.NewTensor(l.dims, make([]float32, volume(l.dims)))
		g.Nodes = append(g.Nodes, &onnx.Node{Name: l.out, Op: "Conv", Inputs: []string{in, l.out + ".w"}, Outputs: []string{l.out},
			Attrs: map[string]onnx.Attr{"group": int64(16 / l.dims[1]), "kernel_shape": []int64{int64(l.dims[2]), int64(l.dims[3])}}})
		in = l.out
	}
	m := &onnx.Model{IR: 8, Opset: 13, Graph: g}
	if err := shape.Infer(m, nil); err != nil {
		t.Fatal(err)
	}
	d.Model = m
	return d
}
