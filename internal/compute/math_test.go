package compute

import (
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// mathError is the part of a result, by its norm, that may come from rounding factors:
// two of half a unit in the last place, which mostly cancel; in BF16 the result's too.
var mathError = map[Math]float64{FP32: 1e-6, TF32: 1.0 / 1024, BF16: 1.0 / 128}

// TestMath: products in TF32 and BF16 are as near to those in single precision as their
// formats are; whole numbers stay exact.
func TestMath(t *testing.T) { eachDevice(t, testMath) }

func testMath(t *testing.T, d *Device) {
	r := rand.New(rand.NewPCG(3, 4))
	window := Window{Kernel: []int{3, 3}, Stride: []int{1, 1}, Dilation: []int{1, 1}, PadBegin: []int{1, 1}, PadEnd: []int{1, 1}}
	lopsided := window
	lopsided.Stride, lopsided.PadEnd = []int{2, 2}, []int{0, 2}
	conv := func(w Window, groups int) Conv { return Conv{Window: w, Groups: groups} }
	x, y, small := Tensor{[]int{2, 8, 7, 6}, Blocked}, Tensor{[]int{2, 12, 7, 6}, Blocked}, Tensor{[]int{2, 12, 3, 4}, Blocked}
	w, transposed, thin := Tensor{Dims: []int{12, 8, 3, 3}}, Tensor{Dims: []int{8, 12, 3, 3}}, Tensor{Dims: []int{12, 2, 3, 3}}
	if op, err := d.NewOp(OpDesc{Params: Unary{}, Math: TF32, Inputs: []Tensor{{Dims: []int{1}}}, Outputs: []Tensor{{Dims: []int{1}}}}); err != nil {
		t.Skip("skipped: ", err) // sm_75
	} else {
		op.Close()
	}
	one, back := conv(window, 1), conv(window, 1)
	back.Transposed = true
	for _, c := range []struct {
		name    string
		p       Params
		in, out []Tensor
		as      Math // that BF16 is made in
	}{
		{"convolution", one, []Tensor{x, w}, []Tensor{y}, TF32},
		{"padded", conv(lopsided, 1), []Tensor{x, w}, []Tensor{small}, TF32},
		{"in groups", conv(window, 4), []Tensor{x, thin}, []Tensor{y}, TF32},
		{"transposed", back, []Tensor{x, transposed}, []Tensor{y}, TF32},
		{"gradient of x", ConvBackwardData{one}, []Tensor{y, w}, []Tensor{x}, BF16},
		{"gradient of padded x", ConvBackwardData{conv(lopsided, 1)}, []Tensor{small, w}, []Tensor{x}, BF16},
		{"gradient of weights", ConvBackwardWeights{one}, []Tensor{x, y}, []Tensor{w}, BF16},
		{"gradient of weights, padded", ConvBackwardWeights{conv(lopsided, 1)}, []Tensor{x, small}, []Tensor{w}, BF16},
		{"gradient of transposed x", ConvBackwardData{back}, []Tensor{y, transposed}, []Tensor{x}, BF16},
		{"gradient of transposed weights", ConvBackwardWeights{back}, []Tensor{x, y}, []Tensor{transposed}, BF16},
		{"product", MatMul{}, []Tensor{{Dims: []int{3, 9, 17}}, {Dims: []int{17, 5}}}, []Tensor{{Dims: []int{3, 9, 5}}}, BF16},
	} {
		var inputs [][]float32
		for _, in := range c.in {
			inputs = append(inputs, random(r, in.Len()))
		}
		got := map[Math][]float32{}
		for _, m := range []Math{FP32, TF32, BF16} {
			got[m] = execute(t, d, OpDesc{Params: c.p, Math: m, Inputs: c.in, Outputs: c.out}, inputs, nil)[0]
			off := apart(got[m], got[FP32])
			// A GPU may use it, the emulated device does.
			used, emulated := off > 0, strings.Contains(d.Version(), "emulated")
			if off > mathError[m] || used && d.Name() == "cpu" || !used && emulated && m != FP32 {
				t.Errorf("%s, math %d: %g from single precision", c.name, m, off)
			}
		}
		if c.as == TF32 && !reflect.DeepEqual(got[BF16], got[TF32]) {
			t.Errorf("%s: BF16 is not made in TF32", c.name)
		}
	}

	whole := func(n int) []float32 { return all(n, func(int) float32 { return float32(r.IntN(256) - 128) }) }
	for _, c := range []struct {
		p Conv
		w Tensor
	}{{one, w}, {back, transposed}} {
		c.p.Integers = true
		inputs := [][]float32{whole(x.Len()), whole(c.w.Len())}
		desc := OpDesc{Params: c.p, Inputs: []Tensor{x, c.w}, Outputs: []Tensor{y}}
		want := execute(t, d, desc, inputs, nil)
		for _, m := range []Math{TF32, BF16} {
			desc.Math = m
			if !reflect.DeepEqual(execute(t, d, desc, inputs, nil), want) {
				t.Errorf("math %d, transposed %v: whole numbers are not exact", m, c.p.Transposed)
			}
		}
	}
}

// apart is the norm of the difference beside that of want.
func apart(got, want []float32) float64 {
	off, all := 0.0, 0.0
	for i, w := range want {
		off += math.Pow(float64(got[i])-float64(w), 2)
		all += float64(w) * float64(w)
	}
	return math.Sqrt(off / all)
}
