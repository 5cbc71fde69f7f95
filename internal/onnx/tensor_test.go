package onnx

import (
	"reflect"
	"slices"
	"testing"
)

func TestTensorConversions(t *testing.T) {
	for _, c := range []struct {
		t      *Tensor
		floats []float32
		ints   []int64 // nil for types that hold no integers
	}{
		{Vector[float32](1.5, -2), []float32{1.5, -2}, nil},
		{Vector(1.5, -2.0), []float32{1.5, -2}, nil},
		{Vector[int8](-128, 127), []float32{-128, 127}, []int64{-128, 127}},
		{Vector[uint8](0, 255), []float32{0, 255}, []int64{0, 255}},
		{Vector[int16](-3, 4), []float32{-3, 4}, []int64{-3, 4}},
		{Vector[uint16](3, 65535), []float32{3, 65535}, []int64{3, 65535}},
		{Vector[int32](-3, 4), []float32{-3, 4}, []int64{-3, 4}},
		{Vector[uint32](3, 1<<32-1), []float32{3, 1 << 32}, []int64{3, 1<<32 - 1}},
		{Vector[int64](-3, 4), []float32{-3, 4}, []int64{-3, 4}},
		{Vector[uint64](3, 4), []float32{3, 4}, []int64{3, 4}},
		{Vector(true, false), []float32{1, 0}, []int64{1, 0}},
		{Vector("a", "b"), nil, nil},
	} {
		if got := c.t.Floats(); !slices.Equal(got, c.floats) {
			t.Errorf("%s as floats: %v", c.t.Type, got)
		}
		got, err := c.t.Ints()
		if !slices.Equal(got, c.ints) || (err == nil) != (c.ints != nil) {
			t.Errorf("%s as integers: %v, %v", c.t.Type, got, err)
		}
		if c.t.Len() != 2 || c.t.verify() != nil {
			t.Errorf("%s: %d elements, %v", c.t.Type, c.t.Len(), c.t.verify())
		}
		if clone := c.t.Clone(); !reflect.DeepEqual(clone, c.t) {
			t.Errorf("%s: the clone is %v", c.t.Type, clone)
		}
	}
	if s := Scalar[int64](3); s.Len() != 1 || len(s.Dims) != 0 {
		t.Errorf("a scalar is %v", s)
	}
}

func TestNodeAttributes(t *testing.T) {
	n := node("Conv", list("x", "", "b"), list("y"))
	if n.Has("group") || n.Int("group", 1) != 1 || n.IntList("pads") != nil || n.Str("auto_pad", "NOTSET") != "NOTSET" {
		t.Error("attributes that are not there are found")
	}
	n.Set("group", int64(4))
	n.Set("alpha", float32(0.5))
	n.Set("auto_pad", "VALID")
	n.Set("pads", []int64{1, 1})
	n.Set("scales", []float32{2})
	n.Set("value", Scalar[float32](1))
	if n.Int("group", 1) != 4 || n.Float("alpha", 0) != 0.5 || n.Str("auto_pad", "") != "VALID" || len(n.IntList("pads")) != 2 ||
		n.FloatList("scales")[0] != 2 || n.Tensor("value").Len() != 1 || !n.Has("group") {
		t.Errorf("attributes are %v", n.Attrs)
	}
	if n.Int("alpha", 7) != 7 { // of another kind
		t.Error("a number was taken for an integer")
	}
	if n.Input(0) != "x" || n.Input(5) != "" || n.Input(-1) != "" || n.Output(0) != "y" || n.Output(1) != "" {
		t.Error("inputs and outputs by place")
	}
	if got := n.Uses(); !slices.Equal(got, list("x", "b")) {
		t.Errorf("uses %v", got)
	}
}
