package compute

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// step is fake quantisation of one value with its gradients, as written down in
// csrc/kernels/quantize.h: the integer, whether it was inside the range, and the
// derivative of scale*q by the scale.
func step(x, scale, low, high float64, r Rounding) (q float64, inside bool, slope float64) {
	v := x / scale
	q = math.RoundToEven(v)
	if r == HalfAway {
		q = math.Round(v)
	}
	if q < low {
		return low, false, low
	}
	if q > high {
		return high, false, high
	}
	return q, true, q - v
}

// The straight-through estimator, LSQ and PACT in PyTorch's own operators.
const torchSilu = "F.silu(i[0])"

func torchQuantize(a, scale string) string {
	return fmt.Sprintf("(lambda a, s: clipped(rounded(a / s), -128, 127) * s)(%s, %s)", a, scale)
}

func quantizeCases() []gradientCase {
	var list []gradientCase
	silu := func(x float64) (float64, float64) {
		s := sigmoidOf(x)
		return x * s, s * (1 + x*(1-s))
	}
	base := ActQuantizeBackward{ActQuantize: ActQuantize{Act: Activation{Kind: Silu}, Low: -128, High: 127}}
	lsq, pact, both, outside, away := base, base, base, base, base
	lsq.GradientScale = 0.03125
	pact.HasClip = true
	both.HasDY = true
	both.GradientScale = 1
	outside.PassOutside = true
	away.Rounding, away.Act = HalfAway, Activation{}
	for _, s := range []struct {
		name  string
		p     ActQuantizeBackward
		sums  bool
		torch string
	}{
		{"straight-through", base, false, torchQuantize(torchSilu, "i[1]")},
		{"LSQ", lsq, true, torchQuantize(torchSilu, "(i[1] * 0.03125 + (i[1] * 0.96875).detach())")},
		{"PACT", pact, true, torchQuantize("(lambda a, u: a - F.relu(a - u) + F.relu(-u - a))("+torchSilu+", i[2])", "i[1]")},
		{"also read as float", both, true, torchSilu + " + " + torchQuantize(torchSilu, "i[1]")},
		{"passing outside", outside, false, torchSilu + " + (" + torchQuantize(torchSilu, "i[1]") + " - " + torchSilu + ").detach()"},
		{"half away, no activation", away, false, torchQuantize("i[0]", "i[1]")},
	} {
		for _, c := range []int{32, 19} {
			dims, one := []int{2, c, 20, 20}, []int{1}
			value := func(x, scale, clip float64) (a, slope, clipped, q float64, inside bool, bySc float64) {
				a, slope = x, 1
				if s.p.Act.Kind == Silu {
					a, slope = silu(x)
				}
				clipped = a
				if s.p.HasClip {
					clipped = clampOf(a, -clip, clip)
				}
				q, inside, bySc = step(clipped, scale, -128, 127, s.p.Rounding)
				return
			}
			list = append(list, gradientCase{
				name: fmt.Sprintf("quantise, %s, %d channels", s.name, c), in: [][]int{dims, one, one}, out: dims,
				torch: s.torch, layouts: bothLayouts,
				put: func(v [][]float32) { v[1][0], v[2][0] = 0.025, 2.5 },
				forward: func(in [][]float64) []float64 {
					return all(len(in[0]), func(i int) float64 {
						_, _, _, q, _, _ := value(in[0][i], in[1][0], in[2][0])
						return q * in[1][0]
					})
				},
				formula: func(in [][]float64, dy []float64) [][]float64 {
					dx, ds, dc := make([]float64, len(dy)), 0.0, 0.0
					for i, g := range dy {
						a, slope, clipped, _, inside, by := value(in[0][i], in[1][0], in[2][0])
						da := 0.0
						if inside || s.p.PassOutside {
							da = g
						}
						if clipped != a {
							dc += da * math.Copysign(1, a)
							da = 0
						}
						if s.p.HasDY {
							da += g
						}
						ds += g * by * float64(s.p.GradientScale)
						dx[i] = da * slope
					}
					return [][]float64{dx, {ds}, {dc}}
				},
				gradients: func(l Layout) []gradient {
					t, o := Tensor{dims, l}, Tensor{Dims: one}
					g := gradient{OpDesc{Params: s.p, Inputs: []Tensor{t, o, t}, Outputs: []Tensor{t}}, []any{0, 1, dy}, []int{0}}
					if s.p.HasClip {
						g.desc.Inputs, g.from = append(g.desc.Inputs, o), append(g.from, 2)
					}
					if s.p.HasDY {
						g.desc.Inputs, g.from = append(g.desc.Inputs, t), append(g.from, dy)
					}
					if s.sums {
						g.desc.Outputs = append(g.desc.Outputs, o)
						g.of = append(g.of, map[bool]int{false: 1, true: 2}[s.p.HasClip])
					}
					return []gradient{g}
				},
			})
		}
	}
	for axis, view := range []string{"view(-1, 1, 1, 1)", "view(1, -1, 1, 1)"} {
		dims := []int{12, 7, 3, 3}
		n := dims[axis]
		channel := func(i int) int { return i / []int{63, 9}[axis] % n }
		p := QuantizeWeightsBackward{QuantizeWeights: QuantizeWeights{Axis: axis, Low: -127, High: 127, Learned: true}, GradientScale: 0.5}
		expression := "(lambda a, s: clipped(rounded(a / s), -127, 127) * s)(i[0], (i[1] * 0.5 + (i[1] * 0.5).detach())." + view + ")"
		list = append(list, gradientCase{
			name: fmt.Sprintf("quantise weights, axis %d", axis), in: [][]int{dims, {n}}, out: dims, torch: expression, layouts: []Layout{Plain},
			put: func(v [][]float32) {
				for i := range v[1] {
					v[1][i] = 0.01 + 0.005*float32(i)
				}
			},
			forward: func(in [][]float64) []float64 { return in[0] },
			formula: func(in [][]float64, dy []float64) [][]float64 {
				dw, ds := make([]float64, len(dy)), make([]float64, n)
				for i, g := range dy {
					_, inside, by := step(in[0][i], in[1][channel(i)], -127, 127, HalfEven)
					if inside {
						dw[i] = g
					}
					ds[channel(i)] += 0.5 * g * by
				}
				return [][]float64{dw, ds}
			},
			gradients: func(Layout) []gradient {
				w, s := Tensor{Dims: dims}, Tensor{Dims: []int{n}}
				return []gradient{{OpDesc{Params: p, Inputs: []Tensor{w, s, w}, Outputs: []Tensor{w, s}}, []any{0, 1, dy}, []int{0, 1}}}
			},
		})
	}
	return list
}

// TestActQuantize: integers and float result of the forward pass, both layouts,
// with the values that rounding is about.
func TestActQuantize(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) {
		for _, p := range []ActQuantize{
			{Low: -128, High: 127}, {Low: -128, High: 127, Rounding: HalfAway}, {Low: -128, High: 127, HasClip: true},
			{Act: Activation{Kind: Relu}, Low: -4, High: 3},
		} {
			for _, l := range bothLayouts {
				dims := []int{2, 19, 3, 5}
				x := all(product(dims), func(i int) float32 { return float32(i-285) / 8 }) // ties at scale 1/4
				const scale, clip = 0.25, 7.3
				one := Tensor{Dims: []int{1}}
				desc := OpDesc{Params: p, Inputs: []Tensor{{dims, l}, one}, Outputs: []Tensor{{dims, l}, {dims, l}}, Threads: 2}
				in := [][]float32{x, {scale}}
				if p.HasClip {
					desc.Inputs, in = append(desc.Inputs, one), append(in, []float32{clip})
				}
				out := execute(t, d, desc, in, nil)
				for i, v := range x {
					a := float64(v)
					if p.Act.Kind == Relu {
						a = math.Max(a, 0)
					}
					if out[1][i] != float32(a) {
						t.Fatalf("%+v %v: y(%g) = %g", p, l, v, out[1][i])
					}
					if p.HasClip {
						a = clampOf(a, -float64(float32(clip)), float64(float32(clip)))
					}
					if q, _, _ := step(a, scale, float64(p.Low), float64(p.High), p.Rounding); out[0][i] != float32(q) {
						t.Fatalf("%+v %v: q(%g) = %g, want %g", p, l, v, out[0][i], q)
					}
				}
			}
		}
	})
}

// TestQuantizeQuotient: the quotient is that of a division, where a product with the
// reciprocal is not: at ties and beside them, for scales of every size.
func TestQuantizeQuotient(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) {
		r := rand.New(rand.NewPCG(5, 6))
		scales := []float32{1, 0x1p-126, 1e-29, 1e-20, 1.0 / 127, 0x1.fffffep-7, 0x1.000002p-7, 1e20}
		for range 50 {
			scales = append(scales, float32(math.Exp(r.Float64()*10-8)))
		}
		moved := 0
		for _, scale := range scales {
			var x []float32
			for q := -130; q < 130; q++ {
				tie := (float32(q) + 0.5) * scale
				for range 3 {
					x = append(x, tie, -tie)
					tie = math.Nextafter32(tie, float32(r.IntN(600)-300)*scale)
				}
			}
			x = append(x, 0, math.MaxFloat32, -math.MaxFloat32, 0x1p-149)
			one, many := Tensor{Dims: []int{1}}, Tensor{Dims: []int{len(x)}}
			got := execute(t, d, OpDesc{Params: Quantize{Axis: -1, Low: -128, High: 127}, Inputs: []Tensor{many, one},
				Outputs: []Tensor{many}}, [][]float32{x, {scale}}, nil)[0]
			for i, v := range x {
				want := min(max(math.RoundToEven(float64(v/scale)), -128), 127)
				if float64(got[i]) != want {
					t.Fatalf("%g / %g: got %g, want %g", v, scale, got[i], want)
				}
				if min(max(math.RoundToEven(float64(v*(1/scale))), -128), 127) != want {
					moved++
				}
			}
		}
		if moved == 0 {
			t.Error("no value tells a division from a product with the reciprocal")
		}
	})
}

// TestQuantizeWeights: scales from absmax, a dead channel's, and learned ones.
func TestQuantizeWeights(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) {
		dims := []int{6, 5, 3, 3}
		w := all(product(dims), func(i int) float32 { return float32(math.Sin(float64(i))) * float32(1+i/45) })
		for i := 45; i < 90; i++ {
			w[i] = 0 // channel 1 of axis 0
		}
		for _, axis := range []int{-1, 0, 1} {
			n := 1
			if axis >= 0 {
				n = dims[axis]
			}
			channel := func(i int) int { return map[int]int{-1: 0, 0: i / 45, 1: i / 9 % 5}[axis] }
			tw, ts := Tensor{Dims: dims}, Tensor{Dims: []int{n}}
			p := QuantizeWeights{Axis: axis, Low: -127, High: 127}
			out := execute(t, d, OpDesc{Params: p, Inputs: []Tensor{tw}, Outputs: []Tensor{tw, ts}, Threads: 2}, [][]float32{w}, nil)
			want := make([]float32, n)
			for i, v := range w {
				want[channel(i)] = max(want[channel(i)], float32(math.Abs(float64(v)))/127)
			}
			for c, s := range want {
				if s == 0 {
					s = 0x1p-126 // the smallest normal number
				}
				if out[1][c] != s {
					t.Errorf("axis %d: scale of %d is %g, want %g", axis, c, out[1][c], s)
				}
			}
			for i, v := range w {
				if q := math.RoundToEven(float64(v / out[1][channel(i)])); float64(out[0][i]) != q {
					t.Fatalf("axis %d: q[%d] = %g, want %g", axis, i, out[0][i], q)
				}
			}
			p.Learned = true
			learned := all(n, func(c int) float32 { return 0.5 / 127 })
			out = execute(t, d, OpDesc{Params: p, Inputs: []Tensor{tw, ts}, Outputs: []Tensor{tw}}, [][]float32{w, learned}, nil)
			for i, v := range w {
				if q := clampOf(math.RoundToEven(float64(v/learned[0])), -127, 127); float64(out[0][i]) != q {
					t.Fatalf("axis %d, learned: q[%d] = %g, want %g", axis, i, out[0][i], q)
				}
			}
		}
	})
}

// TestActQuantizeObserves: the greatest magnitude over several tensors beside the values,
// which are those of the quantiser that does not look.
func TestActQuantizeObserves(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) {
		for _, l := range bothLayouts {
			for _, c := range []int{16, 5} {
				x := Tensor{[]int{1, c, 40, 31}, l}
				one := Tensor{Dims: []int{1}}
				// sigmoid(0) is above the values: padding lanes must not count.
				plain := ActQuantize{Act: Activation{Kind: Sigmoid}, Low: -128, High: 127}
				observed := plain
				observed.HasAbsMax = true
				for _, withY := range []bool{false, true} {
					out := []Tensor{x}
					if withY {
						out = append(out, x)
					}
					top, want := []float32{0}, 0.0
					for _, m := range []float64{-3, -2, -2.5} {
						values := all(x.Len(), func(int) float32 { return -5 })
						values[len(values)/2] = float32(m)
						in := [][]float32{values, {0.001}}
						initial := make([][]float32, len(out), len(out)+1)
						for i := range initial {
							initial[i] = make([]float32, x.Len())
						}
						got := execute(t, d, OpDesc{Params: observed, Inputs: []Tensor{x, one}, Outputs: append(slices.Clone(out), one), Threads: 2}, in, append(initial, top))
						same := execute(t, d, OpDesc{Params: plain, Inputs: []Tensor{x, one}, Outputs: out, Threads: 2}, in, nil)
						top, want = got[len(out)], math.Max(want, sigmoidOf(m))
						if math.Abs(float64(top[0])-want) > 1e-6*want {
							t.Errorf("%v, %d channels, y %v: the greatest is %g, want %g", l, c, withY, top[0], want)
						}
						if !reflect.DeepEqual(got[:len(out)], same) {
							t.Errorf("%v, %d channels, y %v: other values than without looking", l, c, withY)
						}
					}
				}
				values := make([]float32, x.Len())
				values[3] = float32(math.NaN())
				got := execute(t, d, OpDesc{Params: ActQuantize{Low: -128, High: 127, HasAbsMax: true}, Inputs: []Tensor{x, one}, Outputs: []Tensor{x, one}},
					[][]float32{values, {1}}, [][]float32{make([]float32, x.Len()), {2}})
				if top := got[1][0]; top == top {
					t.Errorf("the greatest of a tensor with NaN is %g", top)
				}
			}
		}
	})
}
