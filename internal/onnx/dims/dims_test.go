package dims_test

import (
	"math"
	"slices"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

const free = onnx.Dynamic

func TestCountBounds(t *testing.T) {
	cases := []struct {
		d    []int
		n    int
		fine bool
	}{
		{[]int{}, 1, true}, {[]int{2, 3}, 6, true}, {[]int{1 << 40, 0}, 0, true}, {[]int{1 << 31}, 1 << 31, true},
		{[]int{1<<31 + 1}, 0, false}, {[]int{1 << 32, 1 << 32}, 0, false}, {[]int{3, -1}, 0, false}, {[]int{0, -1}, 0, false},
		{[]int{math.MaxInt, math.MaxInt, 2}, 0, false},
	}
	for _, c := range cases {
		n, err := dims.Count(c.d)
		if (err == nil) != c.fine || n != c.n {
			t.Errorf("%v: %d, %v", c.d, n, err)
		}
	}
}

func TestBroadcast(t *testing.T) {
	cases := []struct{ a, b, want []int }{
		{[]int{2, 3}, []int{3}, []int{2, 3}}, {[]int{2, 1}, []int{1, 4}, []int{2, 4}}, {[]int{}, []int{5}, []int{5}},
		{[]int{free, 3}, []int{4, 1}, []int{4, 3}}, {[]int{free}, []int{1}, []int{free}}, {[]int{0}, []int{1}, []int{0}},
		{[]int{2}, []int{3}, nil}, {[]int{0}, []int{2}, nil},
	}
	for _, c := range cases {
		for _, pair := range [][2][]int{{c.a, c.b}, {c.b, c.a}} {
			got, err := dims.Broadcast(pair[0], pair[1])
			if (err != nil) != (c.want == nil) || !slices.Equal(got, c.want) {
				t.Errorf("%v: %v, %v", pair, got, err)
			}
		}
	}
}

func TestReshape(t *testing.T) {
	cases := []struct {
		in     []int
		target []int64
		zero   bool
		want   []int
	}{
		{[]int{2, 3, 4}, []int64{0, -1}, false, []int{2, 12}}, {[]int{2, 3, 4}, []int64{24}, false, []int{24}},
		{[]int{1}, []int64{}, false, []int{}}, {[]int{0, 4}, []int64{0, 2, 2}, true, []int{0, 2, 2}},
		{[]int{free, 3, 4}, []int64{0, -1}, false, []int{free, 12}}, // the free size is copied
		{[]int{free, 3, 4}, []int64{-1, 12}, false, []int{free, 12}},
		{[]int{2, 3}, []int64{4, -1}, false, nil}, {[]int{2, 3}, []int64{-1, -1}, false, nil}, {[]int{2}, []int64{1, 0}, false, nil},
		{[]int{2, 3}, []int64{-7}, false, nil}, {[]int{2, 3}, []int64{5}, false, nil}, {[]int{2}, []int64{math.MaxInt64, 2}, false, nil},
	}
	for _, c := range cases {
		got, err := dims.Reshape(c.in, c.target, c.zero)
		if (err != nil) != (c.want == nil) || !slices.Equal(got, c.want) {
			t.Errorf("%v to %v: %v, %v", c.in, c.target, got, err)
		}
	}
}

func TestSlice(t *testing.T) {
	cases := []struct {
		n                int
		start, end, step int64
		want             dims.Range
	}{
		{10, 2, 5, 1, dims.Range{Start: 2, Step: 1, Length: 3}},
		{10, -3, math.MaxInt64, 1, dims.Range{Start: 7, Step: 1, Length: 3}},
		{10, math.MinInt64, 100, 4, dims.Range{Start: 0, Step: 4, Length: 3}},
		{10, -1, math.MinInt64, -1, dims.Range{Start: 9, Step: -1, Length: 10}},
		{10, 8, 2, -3, dims.Range{Start: 8, Step: -3, Length: 2}},
		{10, 7, 3, 1, dims.Range{Start: 7, Step: 1, Length: 0}},
		{10, 0, 10, math.MaxInt64, dims.Range{Start: 0, Step: math.MaxInt32, Length: 1}},
		{0, 0, 5, 1, dims.Range{Start: 0, Step: 1, Length: 0}},
		{free, 0, 5, 1, dims.Range{Start: 0, Step: 1, Length: free}},
	}
	for _, c := range cases {
		got, err := dims.Slice([]int{c.n}, []int64{c.start}, []int64{c.end}, nil, []int64{c.step})
		if err != nil || got[0] != c.want {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
	if _, err := dims.Slice([]int{4}, []int64{0}, []int64{4}, nil, []int64{0}); err == nil {
		t.Error("step 0 was taken")
	}
}

// The geometry of convolutions with automatic padding and pooling that rounds
// up, against sizes worked out by hand.
func TestWindows(t *testing.T) {
	type attrs = map[string]onnx.Attr
	three := []int64{3}
	cases := []struct {
		name       string
		in         int
		attrs      attrs
		kind       string
		out        int
		begin, end int
	}{
		{"plain", 8, attrs{"kernel_shape": three}, "conv", 6, 0, 0},
		{"strided", 8, attrs{"kernel_shape": three, "strides": []int64{2}, "pads": []int64{1, 1}}, "conv", 4, 1, 1},
		{"dilated", 8, attrs{"kernel_shape": three, "dilations": []int64{3}}, "conv", 2, 0, 0},
		{"same upper", 8, attrs{"kernel_shape": three, "strides": []int64{2}, "auto_pad": "SAME_UPPER"}, "conv", 4, 0, 1},
		{"same lower", 8, attrs{"kernel_shape": three, "strides": []int64{2}, "auto_pad": "SAME_LOWER"}, "conv", 4, 1, 0},
		{"floor", 8, attrs{"kernel_shape": three, "strides": []int64{2}}, "pool", 3, 0, 0},
		{"ceil", 8, attrs{"kernel_shape": three, "strides": []int64{2}, "ceil_mode": int64(1)}, "pool", 4, 0, 0},
		// A window that would start behind the input and its leading padding is dropped.
		{"ceil, no empty window", 5, attrs{"kernel_shape": []int64{2}, "strides": []int64{3}, "pads": []int64{1, 1}, "ceil_mode": int64(1)}, "pool", 2, 1, 1},
		{"transposed", 4, attrs{"kernel_shape": three, "strides": []int64{2}, "pads": []int64{1, 1}, "output_padding": []int64{1}}, "transposed", 8, 1, 1},
		{"transposed to size", 4, attrs{"kernel_shape": three, "strides": []int64{2}, "output_shape": []int64{8}}, "transposed", 8, 1, 0},
	}
	for _, c := range cases {
		n := &onnx.Node{Attrs: c.attrs}
		var w *dims.Window
		var err error
		switch c.kind {
		case "conv":
			w, err = dims.Conv(n, []int{c.in}, nil)
		case "pool":
			w, err = dims.Pool(n, []int{c.in})
		case "transposed":
			w, err = dims.ConvTranspose(n, []int{c.in}, nil)
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if w.Output[0] != c.out || w.Begin[0] != c.begin || w.End[0] != c.end {
			t.Errorf("%s: %d from %d padded by %d and %d, want %d by %d and %d", c.name, w.Output[0], c.in, w.Begin[0], w.End[0], c.out, c.begin, c.end)
		}
	}
	for name, a := range map[string]attrs{
		"no kernel":      {},
		"zero stride":    {"kernel_shape": three, "strides": []int64{0}},
		"negative pad":   {"kernel_shape": three, "pads": []int64{-1, 0}},
		"too many pads":  {"kernel_shape": three, "pads": []int64{1, 1, 1}},
		"huge dilation":  {"kernel_shape": three, "dilations": []int64{math.MaxInt64}},
		"beyond input":   {"kernel_shape": []int64{9}},
		"unknown option": {"kernel_shape": three, "auto_pad": "SOME"},
	} {
		if w, err := dims.Pool(&onnx.Node{Attrs: a}, []int{8}); err == nil {
			t.Errorf("%s: %+v", name, w)
		}
	}
}
