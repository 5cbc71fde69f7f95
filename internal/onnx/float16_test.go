package onnx

import (
	"math"
	"slices"
	"testing"
)

// Every number of half precision comes back as it was, and what lies between
// two neighbours goes to the nearer one, halfway to the even one.
func TestFloat16Bits(t *testing.T) {
	for b := range 1 << 16 {
		bits := uint16(b)
		v := Float16Value(bits)
		if v != v {
			if got := Float16Bits(v); Float16Value(got) == Float16Value(got) {
				t.Fatalf("not a number (%#04x) became %#04x", bits, got)
			}
			continue
		}
		if got := Float16Bits(v); got != bits {
			t.Fatalf("%v: %#04x, want %#04x", v, got, bits)
		}
		if bits&0x7fff >= 0x7bff { // nothing finite follows
			continue
		}
		up := Float16Value(bits + 1) // the next farther from zero
		middle := (v + up) / 2
		even := bits + bits&1
		for _, c := range []struct {
			v    float32
			want uint16
		}{{middle, even}, {math.Nextafter32(middle, v), bits}, {math.Nextafter32(middle, up), bits + 1}} {
			if got := Float16Bits(c.v); got != c.want {
				t.Fatalf("%v: %#04x, want %#04x", c.v, got, c.want)
			}
		}
	}
	for v, want := range map[float32]uint16{65519.996: 0x7bff, 65520: 0x7c00, -math.MaxFloat32: 0xfc00, 1e-30: 0, 0.1: 0x2e66} {
		if got := Float16Bits(v); got != want {
			t.Errorf("%v: %#04x, want %#04x", v, got, want)
		}
	}
}

// A constant in half precision is written as such and read back as float32.
func TestFloat16Tensor(t *testing.T) {
	half := NewTensor([]int{2, 2}, []float32{1, -0.1, 70000, 0}).Float16()
	want := []float32{1, Float16Value(0xae66), float32(math.Inf(1)), 0}
	if half.Type != Float16 || half.Len() != 4 || half.verify() != nil || !slices.Equal(half.Floats(), want) {
		t.Fatalf("%+v: %v", half, half.Floats())
	}
	if _, err := half.Ints(); err == nil {
		t.Error("its bits were taken for integers")
	}
	m := &Model{Opset: 13, Graph: &Graph{
		Nodes:   []*Node{node("Add", list("x", "c"), list("y"))},
		Inputs:  []Value{{Name: "x", Type: Float16, Dims: []int{2, 2}}},
		Outputs: []Value{{Name: "y", Type: Float16, Dims: []int{2, 2}}},
		Init:    map[string]*Tensor{"c": half.Clone()},
	}}
	data, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(data, "")
	if err != nil {
		t.Fatal(err)
	}
	c := back.Graph.Init["c"]
	if !back.WasFloat16 || back.Graph.Inputs[0].Type != Float || c.Type != Float || !slices.Equal(c.Floats(), want) {
		t.Errorf("read back: %+v, %+v", back.Graph.Inputs[0], c)
	}
	if (&Tensor{Type: Uint16, Dims: []int{1}, Data: []uint16{1}}).verify() != nil || (&Tensor{Type: BFloat16, Dims: []int{1}, Data: []uint16{1}}).verify() == nil {
		t.Error("bits under another type")
	}
}
