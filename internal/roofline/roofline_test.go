package roofline

import (
	"math"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
)

// network is a 3x3 convolution of 64 channels at 80x80, a depthwise one, a transposed
// one and one of three channels.
func network(t *testing.T) *onnx.Graph {
	t.Helper()
	g := &onnx.Graph{Inputs: []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{1, 64, 80, 80}}, {Name: "p", Type: onnx.Float, Dims: []int{1, 3, 80, 80}}},
		Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{}}
	add := func(op, in, out string, attrs map[string]onnx.Attr, dims ...int) {
		n := 1
		for _, d := range dims {
			n *= d
		}
		g.Init[out+".w"] = onnx.NewTensor(dims, make([]float32, n))
		g.Nodes = append(g.Nodes, &onnx.Node{Name: out, Op: op, Inputs: []string{in, out + ".w"}, Outputs: []string{out}, Attrs: attrs})
		g.Outputs = append(g.Outputs, onnx.Value{Name: out, Type: onnx.Float})
	}
	pads := []int64{1, 1, 1, 1}
	add("Conv", "x", "dense", map[string]onnx.Attr{"pads": pads}, 64, 64, 3, 3)
	add("Conv", "x", "depthwise", map[string]onnx.Attr{"pads": pads, "group": int64(64)}, 64, 1, 3, 3)
	add("ConvTranspose", "x", "up", map[string]onnx.Attr{"strides": []int64{2, 2}}, 64, 32, 2, 2)
	add("Conv", "p", "thin", map[string]onnx.Attr{"pads": pads}, 8, 3, 3, 3)
	m := &onnx.Model{IR: 8, Opset: 13, Graph: g}
	if err := shape.Infer(m, nil); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestLayers(t *testing.T) {
	list := Layers(network(t))
	if len(list) != 4 {
		t.Fatalf("%d layers", len(list))
	}
	for i, want := range []Layer{
		{Node: "dense", Op: "Conv", Operations: 2 * 6400 * 64 * 64 * 9, Inputs: 409600, Outputs: 409600, Weights: 36864, in: 64, out: 64},
		{Node: "depthwise", Op: "Conv", Depthwise: true, Operations: 2 * 6400 * 64 * 9, Inputs: 409600, Outputs: 409600, Weights: 576, in: 1, out: 1},
		{Node: "up", Op: "ConvTranspose", Operations: 2 * 6400 * 64 * 32 * 4, Inputs: 409600, Outputs: 819200, Weights: 8192, in: 64, out: 32},
		{Node: "thin", Op: "Conv", Operations: 2 * 6400 * 3 * 8 * 9, Inputs: 19200, Outputs: 51200, Weights: 216, in: 3, out: 8},
	} {
		if list[i] != want {
			t.Errorf("got  %+v\nwant %+v", list[i], want)
		}
	}
}

// TestTimes: a dense layer is bound by bytes on a T4 (worked out by hand), INT8 halves
// it; a depthwise one has no INT8 on Turing and has on Ampere.
func TestTimes(t *testing.T) {
	list, t4 := Layers(network(t)), Default()
	bytes := 2 * float64(409600+409600+36864)
	if got, want := list[0].FP16(t4), 1e3*math.Max(471859200/65e12, bytes/320e9); math.Abs(got/want-1) > 1e-12 {
		t.Errorf("FP16 takes %v ms, want %v", got, want)
	}
	if r := list[0].FP16(t4) / list[0].INT8(t4); math.Abs(r-2) > 1e-9 {
		t.Errorf("INT8 is %v times as fast", r)
	}
	ampere, err := Find("rtx 3060")
	if err != nil {
		t.Fatal(err)
	}
	if list[1].INT8(t4) != list[1].FP16(t4) || list[1].HasINT8(t4) || !(list[1].INT8(ampere) < list[1].FP16(ampere)) {
		t.Error("the depthwise layer: INT8 on Turing, or none on Ampere")
	}
	if got := list[3].padding(padINT8); got != 16./3*16/8 {
		t.Errorf("three channels to eight compute %v times as much", got)
	}
}

func TestFind(t *testing.T) {
	for name, want := range map[string]string{"t4": "T4", "RTX3090": "RTX 3090", "sm_87": "Orin Nano 8GB", "agx-orin-64gb": "AGX Orin 64GB"} {
		if g, err := Find(name); err != nil || g.Name != want {
			t.Errorf("%s: %v, %v", name, g.Name, err)
		}
	}
	if _, err := Find("RTX 309"); fault.Code(err) != fault.CodeUsage || !strings.Contains(err.Error(), `did you mean "RTX 3090"`) {
		t.Errorf("got %v", err)
	}
	for _, g := range GPUs() {
		if !(g.INT8 > g.FP16 && g.FP16 > g.Plain && g.Plain > 1 && g.Bandwidth > 50 && g.Capability >= 75) {
			t.Errorf("%+v", g)
		}
	}
}
