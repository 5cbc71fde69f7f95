package trttest

import (
	"testing"

	"trtact/internal/onnx"
)

func TestStoredWeights(t *testing.T) {
	w := Weight{Name: "w", Dims: []int{4, 3, 2, 2}, Values: make([]float32, 48), INT8: make([]int8, 48)}
	for i := range w.Values {
		w.INT8[i] = int8(i*7 - 100)
		w.Values[i] = float32(w.INT8[i]) * 0.01
	}
	padded := make([]byte, 0, 64) // channels last, filled up to four
	for o := range 4 {
		for p := range 4 {
			for c := range 3 {
				padded = append(padded, byte(w.INT8[(o*3+c)*4+p]))
			}
			padded = append(padded, 0)
		}
	}
	var half []byte
	for _, v := range w.Values {
		half = append(half, byte(onnx.Float16Bits(v)), byte(onnx.Float16Bits(v)>>8))
	}
	floatOnly := w
	floatOnly.INT8 = nil
	zeros := Weight{Name: "zeros", Dims: []int{40}, Values: make([]float32, 40), INT8: make([]int8, 40)}
	for _, c := range []struct {
		name   string
		engine []byte
		w      Weight
		want   StoredWeight
	}{
		{"padded INT8", append([]byte("head"), padded...), w, StoredWeight{"w", 48, "int8", 48}},
		{"FP16", append([]byte("head"), half...), w, StoredWeight{"w", 48, "fp16", 96}},
		{"INT8 in the engine, float in the model", padded, floatOnly, StoredWeight{"w", 48, "", 0}},
		{"one byte off", append([]byte{padded[0] + 1}, padded[1:]...), w, StoredWeight{"w", 48, "", 0}},
		{"zeros prove nothing", make([]byte, 1000), zeros, StoredWeight{"zeros", 40, "", 0}},
	} {
		if got := StoredWeights(c.engine, []Weight{c.w}); got[0] != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got[0], c.want)
		}
	}
}
