package compute

import (
	"math"
)

func poolCases() []gradientCase {
	var list []gradientCase
	for _, s := range []struct {
		name                        string
		kind                        PoolKind
		kernel, stride, dilation, p int
		c                           int
		size                        []int
		torch                       string
	}{
		{"max 5x5", PoolMax, 5, 1, 1, 2, 19, []int{8, 9}, "F.max_pool2d(i[0], 5, 1, 2)"},
		{"max 2x2", PoolMax, 2, 2, 1, 0, 32, []int{8, 6}, "F.max_pool2d(i[0], 2, 2)"},
		{"max dilated", PoolMax, 3, 1, 2, 1, 3, []int{8, 7}, "F.max_pool2d(i[0], 3, 1, 1, 2)"},
		{"max, one dimension", PoolMax, 3, 2, 1, 1, 5, []int{11}, "F.max_pool1d(i[0], 3, 2, 1)"},
		{"average", PoolAverage, 3, 2, 1, 1, 19, []int{7, 8}, "F.avg_pool2d(i[0], 3, 2, 1, count_include_pad=False)"},
		{"average with padding", PoolAverageWithPadding, 3, 1, 1, 1, 16, []int{5, 6}, "F.avg_pool2d(i[0], 3, 1, 1)"},
		{"average, three dimensions", PoolAverage, 2, 2, 1, 0, 4, []int{4, 4, 6}, "F.avg_pool3d(i[0], 2, 2)"},
	} {
		n := len(s.size)
		pool := Pool{Window{repeat(n, s.kernel), repeat(n, s.stride), repeat(n, s.dilation), repeat(n, s.p), repeat(n, s.p)}, s.kind}
		in := append([]int{2, s.c}, s.size...)
		out := append([]int{2, s.c}, all(n, func(i int) int {
			return (s.size[i]+2*s.p-s.dilation*(s.kernel-1)-1)/s.stride + 1
		})...)
		list = append(list, gradientCase{
			name: "pool " + s.name, in: [][]int{in}, out: out, torch: s.torch, layouts: bothLayouts,
			forward: func(v [][]float64) []float64 {
				var y []float64
				indices(out, func(at []int) {
					sum, top, count := 0.0, math.Inf(-1), 0
					indices(pool.Kernel, func(k []int) {
						from := []int{at[0], at[1]}
						for i := range k {
							p := at[2+i]*s.stride - s.p + k[i]*s.dilation
							if p < 0 || p >= s.size[i] {
								return
							}
							from = append(from, p)
						}
						x := v[0][flat(in, from)]
						sum, top, count = sum+x, math.Max(top, x), count+1
					})
					switch s.kind {
					case PoolMax:
						y = append(y, top)
					case PoolAverage:
						y = append(y, sum/float64(count))
					default:
						y = append(y, sum/float64(product(pool.Kernel)))
					}
				})
				return y
			},
			gradients: func(l Layout) []gradient {
				tx, ty := Tensor{in, l}, Tensor{out, l}
				g := gradient{OpDesc{Params: PoolBackward{pool}, Inputs: []Tensor{ty}, Outputs: []Tensor{tx}}, []any{dy}, []int{0}}
				if s.kind == PoolMax {
					g.desc.Inputs, g.from = []Tensor{tx, ty}, []any{0, dy}
				}
				return []gradient{g}
			},
		})
	}
	for _, max := range []bool{false, true} {
		in, out := []int{2, 21, 4, 5}, []int{2, 21, 1, 1}
		c := gradientCase{
			name: "global mean", in: [][]int{in}, out: out, torch: "i[0].mean((2, 3), keepdim=True)", layouts: bothLayouts,
			forward: func(v [][]float64) []float64 {
				return all(42, func(k int) float64 {
					sum, top := 0.0, math.Inf(-1)
					for _, x := range v[0][k*20 : k*20+20] {
						sum, top = sum+x, math.Max(top, x)
					}
					if max {
						return top
					}
					return sum / 20
				})
			},
			gradients: func(l Layout) []gradient {
				if max {
					return []gradient{{OpDesc{Params: GlobalPoolBackward{ReduceMax}, Inputs: []Tensor{{in, l}, {out, l}}, Outputs: []Tensor{{in, l}}}, []any{0, dy}, []int{0}}}
				}
				return []gradient{{OpDesc{Params: GlobalPoolBackward{ReduceMean}, Inputs: []Tensor{{out, l}}, Outputs: []Tensor{{in, l}}}, []any{dy}, []int{0}}}
			},
		}
		if max {
			c.name, c.torch = "global max", "i[0].amax((2, 3), keepdim=True)"
		}
		list = append(list, c)
	}
	return list
}

// tapsOf is ONNX's half_pixel linear interpolation, or nearest with floor.
func tapsOf(in, out int, linear bool) Taps {
	if !linear {
		return Taps{1, all(out, func(o int) int32 { return int32(o * in / out) }), all(out, func(int) float32 { return 1 })}
	}
	t := Taps{N: 2}
	for o := range out {
		x := (float64(o)+0.5)*float64(in)/float64(out) - 0.5
		x = math.Max(0, x)
		low := min(int(x), in-1)
		t.Index = append(t.Index, int32(low), int32(min(low+1, in-1)))
		t.Weight = append(t.Weight, float32(1-(x-float64(low))), float32(x-float64(low)))
	}
	return t
}

func resizeCases() []gradientCase {
	var list []gradientCase
	for _, s := range []struct {
		name     string
		in, out  []int
		linear   bool
		torch    string
		channels int
	}{
		{"nearest", []int{5, 4}, []int{10, 8}, false, "F.interpolate(i[0], size=(10, 8))", 19},
		{"nearest down", []int{8, 6}, []int{4, 3}, false, "F.interpolate(i[0], size=(4, 3))", 16},
		{"linear", []int{5, 4}, []int{10, 7}, true, "F.interpolate(i[0], size=(10, 7), mode='bilinear')", 19},
		{"linear, one dimension", []int{5}, []int{9}, true, "F.interpolate(i[0], size=9, mode='linear')", 3},
	} {
		dims, out := append([]int{2, s.channels}, s.in...), append([]int{2, s.channels}, s.out...)
		axes := all(len(s.in), func(i int) Taps { return tapsOf(s.in[i], s.out[i], s.linear) })
		list = append(list, gradientCase{
			name: "resize " + s.name, in: [][]int{dims}, out: out, torch: s.torch, layouts: bothLayouts,
			forward: func(v [][]float64) []float64 {
				var y []float64
				indices(out, func(at []int) {
					sum := 0.0
					indices(all(len(axes), func(i int) int { return axes[i].N }), func(tap []int) {
						weight, from := 1.0, []int{at[0], at[1]}
						for i, a := range axes {
							k := at[2+i]*a.N + tap[i]
							weight *= float64(a.Weight[k])
							from = append(from, int(a.Index[k]))
						}
						sum += weight * v[0][flat(dims, from)]
					})
					y = append(y, sum)
				})
				return y
			},
			gradients: func(l Layout) []gradient {
				return []gradient{{OpDesc{Params: ResizeBackward{axes}, Inputs: []Tensor{{out, l}}, Outputs: []Tensor{{dims, l}}}, []any{dy}, []int{0}}}
			},
		})
	}
	return list
}

func reduceCases() []gradientCase {
	var list []gradientCase
	const outer, axis, inner = 4, 37, 3
	dims, less := []int{outer, axis, inner}, []int{outer, inner}
	each := func(x []float64, f func(at func(k int) int)) {
		for i := range outer * inner {
			f(func(k int) int { return (i/inner*axis+k)*inner + i%inner })
		}
	}
	for _, log := range []bool{false, true} {
		c := gradientCase{
			name: "softmax", in: [][]int{dims}, out: dims, torch: "F.softmax(i[0], 1)", layouts: []Layout{Plain},
			forward: func(v [][]float64) []float64 {
				out := make([]float64, len(v[0]))
				each(v[0], func(at func(int) int) {
					sum := 0.0
					for k := range axis {
						sum += math.Exp(v[0][at(k)])
					}
					for k := range axis {
						out[at(k)] = math.Exp(v[0][at(k)]) / sum
						if log {
							out[at(k)] = v[0][at(k)] - math.Log(sum)
						}
					}
				})
				return out
			},
			gradients: func(l Layout) []gradient {
				s := Tensor{Dims: dims}
				return []gradient{{OpDesc{Params: SoftmaxBackward{1, log}, Inputs: []Tensor{s, s}, Outputs: []Tensor{s}}, []any{y, dy}, []int{0}}}
			},
		}
		if log {
			c.name, c.torch = "log softmax", "F.log_softmax(i[0], 1)"
		}
		list = append(list, c)
	}
	for _, s := range []struct {
		kind  ReduceKind
		torch string
	}{
		{ReduceMean, "i[0].mean(1)"}, {ReduceSum, "i[0].sum(1)"}, {ReduceMax, "i[0].amax(1)"},
		{ReduceMin, "i[0].amin(1)"}, {ReduceL2, "i[0].norm(dim=1)"},
	} {
		list = append(list, gradientCase{
			name: "reduce " + s.torch, in: [][]int{dims}, out: less, torch: s.torch, layouts: []Layout{Plain},
			forward: func(v [][]float64) []float64 {
				var out []float64
				each(v[0], func(at func(int) int) {
					sum, square, low, high := 0.0, 0.0, math.Inf(1), math.Inf(-1)
					for k := range axis {
						x := v[0][at(k)]
						sum, square, low, high = sum+x, square+x*x, math.Min(low, x), math.Max(high, x)
					}
					out = append(out, map[ReduceKind]float64{ReduceMean: sum / axis, ReduceSum: sum, ReduceMax: high,
						ReduceMin: low, ReduceL2: math.Sqrt(square)}[s.kind])
				})
				return out
			},
			gradients: func(l Layout) []gradient {
				tx, ty := Tensor{Dims: dims}, Tensor{Dims: less}
				g := gradient{OpDesc{Params: ReduceBackward{s.kind, outer, axis, inner}, Inputs: []Tensor{tx, ty}, Outputs: []Tensor{tx}}, []any{0, dy}, []int{0}}
				if s.kind == ReduceMean || s.kind == ReduceSum {
					g.desc.Inputs, g.from = []Tensor{ty}, []any{dy}
				}
				return []gradient{g}
			},
		})
	}
	return list
}

// Copies and moves of channels.
func moveCases() []gradientCase {
	var list []gradientCase
	for _, s := range []struct {
		name    string
		in, out []int
		parts   []CopyPart
		torch   string
	}{
		{"expand", []int{3, 1, 5}, []int{2, 3, 4, 5}, []CopyPart{{Dims: []int{2, 3, 4, 5}, InStride: []int{0, 5, 0, 1}, OutStride: []int{60, 20, 5, 1}}},
			"i[0].expand(2, 3, 4, 5)"},
		{"transpose", []int{4, 6, 5}, []int{5, 4, 6}, []CopyPart{{Dims: []int{5, 4, 6}, InStride: []int{1, 30, 5}, OutStride: []int{24, 6, 1}}},
			"i[0].permute(2, 0, 1)"},
		{"reversed slice", []int{3, 8}, []int{3, 4}, []CopyPart{{Dims: []int{3, 4}, InOffset: 7, InStride: []int{8, -2}, OutStride: []int{4, 1}}},
			"i[0].flip(1)[:, ::2]"},
		{"windows that overlap", []int{10}, []int{4, 4}, []CopyPart{{Dims: []int{4, 4}, InStride: []int{2, 1}, OutStride: []int{4, 1}}},
			"i[0].unfold(0, 4, 2)"},
		{"twice", []int{2, 3}, []int{2, 2, 3}, []CopyPart{
			{Dims: []int{2, 3}, InStride: []int{3, 1}, OutStride: []int{6, 1}},
			{Dims: []int{2, 3}, InStride: []int{3, 1}, OutOffset: 3, OutStride: []int{6, 1}}}, "torch.stack([i[0], i[0]], 1)"},
		{"part", []int{4, 6}, []int{2, 6}, []CopyPart{{Dims: []int{12}, InOffset: 6, InStride: []int{1}, OutStride: []int{1}}}, "i[0][1:3]"},
	} {
		list = append(list, gradientCase{
			name: "copy " + s.name, in: [][]int{s.in}, out: s.out, torch: s.torch, layouts: []Layout{Plain},
			forward: func(v [][]float64) []float64 {
				out := make([]float64, product(s.out))
				for _, p := range s.parts {
					indices(p.Dims, func(at []int) {
						from, to := p.InOffset, p.OutOffset
						for i, k := range at {
							from, to = from+k*p.InStride[i], to+k*p.OutStride[i]
						}
						out[to] = v[0][from]
					})
				}
				return out
			},
			gradients: func(l Layout) []gradient {
				return []gradient{{OpDesc{Params: CopyBackward{Copy{Parts: s.parts}, 0}, Inputs: []Tensor{{Dims: s.out}}, Outputs: []Tensor{{Dims: s.in}}}, []any{dy}, []int{0}}}
			},
		})
	}
	// Slice and concatenation of channels: the runs turned round, zeros where
	// nobody reads.
	a, b, out := []int{2, 21, 3, 4}, []int{2, 9, 3, 4}, []int{2, 19, 3, 4}
	list = append(list, gradientCase{
		name: "channels", in: [][]int{a, b}, out: out, torch: "torch.cat([i[0][:, 5:15], i[1]], 1)", layouts: []Layout{Blocked},
		forward: func(v [][]float64) []float64 {
			var y []float64
			for n := range 2 {
				y = append(y, v[0][(n*21+5)*12:(n*21+15)*12]...)
				y = append(y, v[1][n*9*12:(n+1)*9*12]...)
			}
			return y
		},
		gradients: func(l Layout) []gradient {
			g := func(dims []int, runs ...ChannelRun) OpDesc {
				return OpDesc{Params: Channels{runs}, Inputs: []Tensor{{out, l}}, Outputs: []Tensor{{dims, l}}}
			}
			return []gradient{
				{g(a, ChannelRun{-1, 0, 0, 5}, ChannelRun{0, 0, 5, 10}, ChannelRun{-1, 0, 15, 6}), []any{dy}, []int{0}},
				{g(b, ChannelRun{0, 10, 0, 9}), []any{dy}, []int{1}},
			}
		},
	})
	// A tensor with three readers.
	dims := []int{2, 19, 5, 4}
	list = append(list, gradientCase{
		name: "sum", in: [][]int{dims}, out: dims, torch: "i[0] * 3", layouts: bothLayouts,
		forward: func(v [][]float64) []float64 {
			return all(len(v[0]), func(i int) float64 { return 3 * v[0][i] })
		},
		gradients: func(l Layout) []gradient {
			s := Tensor{dims, l}
			return []gradient{{OpDesc{Params: Sum{}, Inputs: []Tensor{s, s, s}, Outputs: []Tensor{s}}, []any{dy, dy, dy}, []int{0}}}
		},
	})
	return list
}
