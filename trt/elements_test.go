package trt

import (
	"fmt"
	"math"
	"testing"
)

func TestElements(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range []struct {
		kind       string
		values     []float32
		want, back string
	}{
		{"fp32", []float32{1, -0.1}, "[0 0 128 63 205 204 204 189]", "[1 -0.1]"},
		{"fp16", []float32{1, -2.5, 65504, 65520, 5.9604645e-8, 2e-8, inf}, "[0 60 0 193 255 123 0 124 1 0 0 0 0 124]", "[1 -2.5 65504 +Inf 5.9604645e-08 0 +Inf]"},
		{"bf16", []float32{1, 1.00390625, 1.01171875, nan}, "[128 63 128 63 130 63 192 127]", "[1 1 1.015625 NaN]"},
		{"int8", []float32{0.5, 1.5, -2.5, 200, -200, nan, inf}, "[0 2 254 127 128 0 127]", "[0 2 -2 127 -128 0 127]"},
		{"uint8", []float32{-1, 255.5, 2.5}, "[0 255 2]", "[0 255 2]"},
		{"bool", []float32{0, -0.5, nan}, "[0 1 0]", "[0 1 0]"},
		{"int32", []float32{-1, 1e30}, "[255 255 255 255 255 255 255 127]", "[-1 2.1474836e+09]"},
		{"int64", []float32{-2, 1e30}, "[254 255 255 255 255 255 255 255 0 252 255 255 255 255 255 127]", "[-2 9.223372e+18]"},
	} {
		data, err := EncodeFloats(c.kind, c.values)
		if err != nil || fmt.Sprint(data) != c.want {
			t.Errorf("%s: %v, %v, want %s", c.kind, data, err, c.want)
		}
		if values, err := DecodeFloats(c.kind, data); err != nil || fmt.Sprint(values) != c.back {
			t.Errorf("%s: %v, %v, want %s", c.kind, values, err, c.back)
		}
	}
	if _, err := EncodeFloats("fp8", []float32{1}); err == nil {
		t.Error("fp8 was encoded")
	}
	if _, err := DecodeFloats("fp32", make([]byte, 6)); err == nil {
		t.Error("six bytes were decoded as fp32")
	}
}

func TestOrigins(t *testing.T) {
	a := &Artifact{Layers: []Layer{{Name: "/model.1/conv/Conv"}, {Name: "/model.1/act/Mul"}, {Name: "/model.1/act/Sigmoid"},
		{Name: "/model.11/conv/Conv"}, {Name: "Conv"}, {Name: ""}}}
	inspection := []byte("{\"Layers\": [\"plain\", {\"Name\": \"fused_7\", \"Metadata\": \"[ONNX Layer: b]\\u001e[ONNX Layer: a]\\u001e[ONNX Layer: b]\"}, {\"Name\": \"none\"}]}")
	o := newOrigins(a, inspection)
	for layer, want := range map[string]string{
		"/model.1/conv/Conv + PWN(PWN(/model.1/act/Sigmoid), /model.1/act/Mul)": "[/model.1/conv/Conv /model.1/act/Sigmoid /model.1/act/Mul]",
		"/model.11/conv/Conv": "[/model.11/conv/Conv]",
		"Reformatting CopyNode for Input Tensor 0 to /model.11/conv/Conv": "[/model.11/conv/Conv]",
		"Conv + Conv":                  "[Conv]",
		"fused_7":                      "[b a]",
		"none":                         "[]",
		"(Unnamed Layer* 3) [Shuffle]": "[]",
	} {
		if got := fmt.Sprint(o.of(layer)); got != want {
			t.Errorf("%s: %s, want %s", layer, got, want)
		}
	}
	if got := newOrigins(&Artifact{}, []byte("{broken")).of("x"); got != nil {
		t.Errorf("out of nothing: %v", got)
	}
}
