package compute

import (
	"fmt"
	"math"
	"strings"
)

// The functions whose gradients are checked, each in float64 Go and in PyTorch.

func all[T any](n int, f func(i int) T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = f(i)
	}
	return out
}

func repeat(n, v int) []int { return all(n, func(int) int { return v }) }

func product(dims []int) int { return Tensor{Dims: dims}.Len() }

// indices calls f with every index of dims, last fastest.
func indices(dims []int, f func(at []int)) {
	at := make([]int, len(dims))
	for range product(dims) {
		f(at)
		for i := len(at) - 1; i >= 0; i-- {
			if at[i]++; at[i] < dims[i] {
				break
			}
			at[i] = 0
		}
	}
}

func flat(dims, at []int) int {
	n := 0
	for i, d := range dims {
		n = n*d + at[i]
	}
	return n
}

// broadcast is the element of a tensor of dims that stands beside index at.
func broadcast(dims, at []int) int {
	n := 0
	for i, d := range dims {
		k := at[len(at)-len(dims)+i]
		if d == 1 {
			k = 0
		}
		n = n*d + k
	}
	return n
}

func gradientCases() []gradientCase {
	var list []gradientCase
	list = append(list, convCases()...)
	list = append(list, unaryCases()...)
	list = append(list, binaryCases()...)
	list = append(list, poolCases()...)
	list = append(list, resizeCases()...)
	list = append(list, reduceCases()...)
	list = append(list, moveCases()...)
	list = append(list, quantizeCases()...)
	list = append(list, lossCases()...)
	return list
}

// x, w, bias, scale -> conv(x, w) * scale + bias.
func convCases() []gradientCase {
	var list []gradientCase
	for _, s := range []struct {
		name                                                      string
		n, c, o, groups, kernel, stride, dilation, pad, outputPad int
		size                                                      []int
		transposed                                                bool
	}{
		{"3x3", 2, 19, 21, 1, 3, 1, 1, 1, 0, []int{7, 9}, false},
		{"3x3 stride 2", 1, 32, 48, 1, 3, 2, 1, 1, 0, []int{8, 8}, false},
		{"1x1", 3, 40, 24, 1, 1, 1, 1, 0, 0, []int{5, 6}, false},
		{"3x3 over many rows", 1, 5, 59, 1, 3, 1, 1, 1, 0, []int{17, 23}, false},
		{"6x6 stride 2 of 3 channels", 2, 3, 16, 1, 6, 2, 1, 2, 0, []int{12, 12}, false},
		{"dilated", 1, 16, 16, 1, 3, 1, 2, 2, 0, []int{9, 7}, false},
		{"grouped", 2, 12, 18, 3, 3, 1, 1, 1, 0, []int{6, 5}, false},
		{"grouped by blocks", 1, 32, 64, 2, 3, 1, 1, 1, 0, []int{6, 5}, false},
		{"depthwise 5x5", 2, 24, 24, 24, 5, 1, 1, 2, 0, []int{9, 8}, false},
		{"depthwise stride 2, odd channels", 1, 21, 21, 21, 3, 2, 1, 1, 0, []int{9, 8}, false},
		{"depthwise 5x5 stride 2", 2, 37, 37, 37, 5, 2, 1, 2, 0, []int{9, 11}, false},
		{"depthwise dilated", 1, 19, 19, 19, 3, 1, 2, 2, 0, []int{9, 8}, false},
		{"depthwise 7x7", 1, 11, 11, 11, 7, 1, 1, 3, 0, []int{9, 8}, false},
		{"depthwise over many pieces", 2, 3, 3, 3, 3, 1, 1, 1, 0, []int{90, 100}, false},
		{"one dimension", 2, 5, 7, 1, 3, 1, 1, 1, 0, []int{11}, false},
		{"three dimensions", 1, 4, 6, 1, 3, 2, 1, 1, 0, []int{5, 6, 5}, false},
		{"transposed 2x2 stride 2", 2, 20, 17, 1, 2, 2, 1, 0, 0, []int{5, 6}, true},
		{"transposed 3x3 stride 2", 1, 16, 16, 1, 3, 2, 1, 1, 1, []int{5, 4}, true},
		{"transposed grouped", 1, 12, 18, 3, 3, 1, 1, 1, 0, []int{6, 5}, true},
		{"transposed, one dimension", 2, 6, 4, 1, 4, 2, 1, 1, 0, []int{7}, true},
	} {
		n := len(s.size)
		conv := Conv{Window: Window{repeat(n, s.kernel), repeat(n, s.stride), repeat(n, s.dilation), repeat(n, s.pad), repeat(n, s.pad)},
			Transposed: s.transposed, Groups: s.groups, HasBias: true, HasScale: true}
		x := append([]int{s.n, s.c}, s.size...)
		w := append([]int{s.o, s.c / s.groups}, repeat(n, s.kernel)...)
		out := append([]int{s.n, s.o}, all(n, func(i int) int {
			return (s.size[i]+2*s.pad-s.dilation*(s.kernel-1)-1)/s.stride + 1
		})...)
		if s.transposed {
			w[0], w[1] = s.c, s.o/s.groups
			for i := range s.size {
				out[2+i] = (s.size[i]-1)*s.stride - 2*s.pad + s.dilation*(s.kernel-1) + 1 + s.outputPad
				conv.PadEnd[i] = s.pad - s.outputPad
			}
		}
		expression := fmt.Sprintf("F.conv%dd(i[0], i[1], None, %d, %d, %d, %d)", n, s.stride, s.pad, s.dilation, s.groups)
		if s.transposed {
			expression = fmt.Sprintf("F.conv_transpose%dd(i[0], i[1], None, %d, %d, %d, %d, %d)", n, s.stride, s.pad, s.outputPad, s.groups, s.dilation)
		}
		view := "view(1, -1" + strings.Repeat(", 1", n) + ")"
		list = append(list, gradientCase{
			name: "conv " + s.name, in: [][]int{x, w, {s.o}, {s.o}}, out: out, layouts: bothLayouts,
			torch:   expression + " * i[3]." + view + " + i[2]." + view,
			forward: convolution(conv, x, w, out),
			gradients: func(l Layout) []gradient {
				tx, tw, ty, tb := Tensor{x, l}, Tensor{Dims: w}, Tensor{out, l}, Tensor{Dims: []int{s.o}}
				return []gradient{
					{OpDesc{Params: ConvBackwardData{conv}, Inputs: []Tensor{ty, tw, tb}, Outputs: []Tensor{tx}}, []any{dy, 1, 3}, []int{0}},
					{OpDesc{Params: ConvBackwardWeights{conv}, Inputs: []Tensor{tx, ty, tb}, Outputs: []Tensor{tw, tb}}, []any{0, dy, 3}, []int{1, 2}},
				}
			},
		})
	}
	return list
}

func convolution(p Conv, xd, wd, yd []int) func([][]float64) []float64 {
	return func(in [][]float64) []float64 {
		x, w := in[0], in[1]
		out := make([]float64, product(yd))
		co, ci := yd[1]/p.Groups, xd[1]/p.Groups
		// Small: the end of the convolution with the window's origin. Large: the other.
		small, large := yd, xd
		if p.Transposed {
			small, large = xd, yd
		}
		indices(append([]int{xd[0], p.Groups, co, ci}, small[2:]...), func(at []int) {
			n, o, c := at[0], at[1]*co+at[2], at[1]*ci+at[3]
			indices(wd[2:], func(k []int) {
				there := make([]int, len(k))
				for i := range k {
					there[i] = at[4+i]*p.Stride[i] - p.PadBegin[i] + k[i]*p.Dilation[i]
					if there[i] < 0 || there[i] >= large[2+i] {
						return
					}
				}
				s, l, kk := flat(small[2:], at[4:]), flat(large[2:], there), flat(wd[2:], k)
				space := product(wd[2:])
				if p.Transposed {
					out[(n*yd[1]+o)*product(yd[2:])+l] += x[(n*xd[1]+c)*product(xd[2:])+s] * w[(c*co+at[2])*space+kk]
				} else {
					out[(n*yd[1]+o)*product(yd[2:])+s] += x[(n*xd[1]+c)*product(xd[2:])+l] * w[(o*ci+at[3])*space+kk]
				}
			})
		})
		space := product(yd[2:])
		for i := range out {
			o := i / space % yd[1]
			out[i] = out[i]*in[3][o] + in[2][o]
		}
		return out
	}
}

func sigmoidOf(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
func clampOf(x, a, b float64) float64 {
	return math.Min(math.Max(x, a), b)
}

func unaryCases() []gradientCase {
	positive := func(v [][]float32) {
		for i, x := range v[0] {
			v[0][i] = 0.1 + float32(math.Abs(float64(x)))
		}
	}
	var list []gradientCase
	for _, a := range []struct {
		name  string
		act   Activation
		torch string
		f     func(float64) float64
		put   func([][]float32)
	}{
		{"identity", Activation{}, "i[0] * 1", func(x float64) float64 { return x }, nil},
		{"relu", Activation{Kind: Relu}, "F.relu(i[0])", func(x float64) float64 { return math.Max(0, x) }, nil},
		{"leaky relu", Activation{Kind: LeakyRelu, A: 0.125}, "F.leaky_relu(i[0], 0.125)", func(x float64) float64 { return math.Max(0, x) + 0.125*math.Min(0, x) }, nil},
		{"sigmoid", Activation{Kind: Sigmoid}, "F.sigmoid(i[0])", sigmoidOf, nil},
		{"hard sigmoid", Activation{Kind: HardSigmoid, A: 0.25, B: 0.5}, "torch.clamp(i[0] * 0.25 + 0.5, 0, 1)", func(x float64) float64 { return clampOf(0.25*x+0.5, 0, 1) }, nil},
		{"hard swish", Activation{Kind: HardSwish}, "F.hardswish(i[0])", func(x float64) float64 { return x * clampOf(x/6+0.5, 0, 1) }, nil},
		{"silu", Activation{Kind: Silu}, "F.silu(i[0])", func(x float64) float64 { return x * sigmoidOf(x) }, nil},
		{"tanh", Activation{Kind: Tanh}, "torch.tanh(i[0])", math.Tanh, nil},
		{"clip", Activation{Kind: Clip, A: -1, B: 2}, "torch.clamp(i[0], -1, 2)", func(x float64) float64 { return clampOf(x, -1, 2) }, nil},
		{"mish", Activation{Kind: Mish}, "F.mish(i[0])", func(x float64) float64 { return x * math.Tanh(math.Log1p(math.Exp(x))) }, nil},
		{"gelu", Activation{Kind: Gelu}, "F.gelu(i[0])", func(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }, nil},
		{"gelu tanh", Activation{Kind: GeluTanh}, "F.gelu(i[0], approximate='tanh')", func(x float64) float64 {
			return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		}, nil},
		{"elu", Activation{Kind: Elu, A: 1.5}, "F.elu(i[0], 1.5)", func(x float64) float64 {
			if x > 0 {
				return x
			}
			return 1.5 * math.Expm1(x)
		}, nil},
		{"softplus", Activation{Kind: Softplus}, "F.softplus(i[0], threshold=1000)", func(x float64) float64 { return math.Log1p(math.Exp(x)) }, nil},
		{"exp", Activation{Kind: Exp}, "torch.exp(i[0])", math.Exp, nil},
		{"log", Activation{Kind: Log}, "torch.log(i[0])", math.Log, positive},
		{"sqrt", Activation{Kind: Sqrt}, "torch.sqrt(i[0])", math.Sqrt, positive},
		{"abs", Activation{Kind: Abs}, "torch.abs(i[0])", math.Abs, nil},
		{"neg", Activation{Kind: Neg}, "-i[0]", func(x float64) float64 { return -x }, nil},
		{"reciprocal", Activation{Kind: Reciprocal}, "1 / i[0]", func(x float64) float64 { return 1 / x }, positive},
		{"erf", Activation{Kind: Erf}, "torch.erf(i[0])", math.Erf, nil},
	} {
		dims := []int{2, 19, 5, 3}
		list = append(list, gradientCase{
			name: a.name, in: [][]int{dims}, out: dims, put: a.put, torch: a.torch, layouts: bothLayouts,
			forward: func(in [][]float64) []float64 {
				return all(len(in[0]), func(i int) float64 { return a.f(in[0][i]) })
			},
			gradients: func(l Layout) []gradient {
				s := Tensor{dims, l}
				return []gradient{{OpDesc{Params: UnaryBackward{a.act}, Inputs: []Tensor{s, s}, Outputs: []Tensor{s}}, []any{0, dy}, []int{0}}}
			},
		})
	}
	// act(x * scale + shift) per channel.
	for _, c := range []int{16, 13} {
		dims, per := []int{2, c, 5, 3}, []int{c}
		list = append(list, gradientCase{
			name: fmt.Sprintf("affine with silu, %d channels", c), in: [][]int{dims, per, per}, out: dims, layouts: bothLayouts,
			torch: "F.silu(i[0] * i[1].view(1, -1, 1, 1) + i[2].view(1, -1, 1, 1))",
			forward: func(in [][]float64) []float64 {
				return all(len(in[0]), func(i int) float64 {
					v := in[0][i]*in[1][i/15%c] + in[2][i/15%c]
					return v * sigmoidOf(v)
				})
			},
			gradients: func(l Layout) []gradient {
				s, p := Tensor{dims, l}, Tensor{Dims: per}
				return []gradient{{OpDesc{Params: AffineBackward{Activation{Kind: Silu}}, Inputs: []Tensor{s, p, p, s}, Outputs: []Tensor{s, p, p}},
					[]any{0, 1, 2, dy}, []int{0, 1, 2}}}
			},
		})
	}
	return list
}

func binaryCases() []gradientCase {
	positive := func(v [][]float32) {
		for _, x := range v {
			for i := range x {
				x[i] = 0.3 + float32(math.Abs(float64(x[i])))
			}
		}
	}
	var list []gradientCase
	for _, b := range []struct {
		name  string
		kind  BinaryKind
		torch string
		f     func(a, b float64) float64
		put   func([][]float32)
	}{
		{"add", Add, "i[0] + i[1]", func(a, b float64) float64 { return a + b }, nil},
		{"sub", Sub, "i[0] - i[1]", func(a, b float64) float64 { return a - b }, nil},
		{"mul", Mul, "i[0] * i[1]", func(a, b float64) float64 { return a * b }, nil},
		{"div", Div, "i[0] / i[1]", func(a, b float64) float64 { return a / b }, positive},
		{"pow", Pow, "torch.pow(i[0], i[1])", math.Pow, positive},
		{"min", Min, "torch.minimum(i[0], i[1])", math.Min, nil},
		{"max", Max, "torch.maximum(i[0], i[1])", math.Max, nil},
		{"prelu", PRelu, "torch.where(i[0] > 0, i[0], i[0] * i[1])", func(a, b float64) float64 {
			if a > 0 {
				return a
			}
			return a * b
		}, nil},
	} {
		dims := []int{2, 11, 4, 3}
		list = append(list, gradientCase{
			name: b.name, in: [][]int{dims, dims}, out: dims, torch: b.torch, put: b.put, layouts: bothLayouts,
			forward: func(in [][]float64) []float64 {
				return all(len(in[0]), func(i int) float64 { return b.f(in[0][i], in[1][i]) })
			},
			gradients: func(l Layout) []gradient {
				s := Tensor{dims, l}
				return []gradient{
					{OpDesc{Params: BinaryBackward{Kind: b.kind}, Inputs: []Tensor{s, s, s}, Outputs: []Tensor{s}}, []any{0, 1, dy}, []int{0}},
					{OpDesc{Params: BinaryBackward{b.kind, true}, Inputs: []Tensor{s, s, s}, Outputs: []Tensor{s}}, []any{0, 1, dy}, []int{1}},
				}
			},
		})
	}
	// Broadcast operands: the gradient by the full one directly, the product with
	// it summed by SUM_TO.
	for _, s := range []struct {
		a, b    []int
		layouts []Layout
	}{
		{[]int{2, 21, 6, 5}, []int{2, 21, 1, 1}, bothLayouts},
		{[]int{1, 32, 6, 5}, []int{1, 32, 1, 1}, bothLayouts},
		{[]int{2, 16, 40, 40}, []int{1}, bothLayouts},
		{[]int{2, 7, 9, 9}, []int{1, 1, 1, 1}, bothLayouts},
		{[]int{3, 5, 4, 6}, []int{5, 1, 1}, []Layout{Plain}},
		{[]int{3, 5, 4, 6}, []int{6}, []Layout{Plain}},
		{[]int{3, 5, 4, 6}, []int{3, 1, 4, 1}, []Layout{Plain}},
		{[]int{3, 5, 4, 130}, []int{1, 5, 1, 130}, []Layout{Plain}},
		{[]int{12, 70}, []int{12, 1}, []Layout{Plain}},
	} {
		list = append(list, gradientCase{
			name: fmt.Sprintf("mul %v by %v", s.a, s.b), in: [][]int{s.a, s.b}, out: s.a, torch: "i[0] * i[1]", layouts: s.layouts,
			forward: func(in [][]float64) []float64 {
				out := make([]float64, len(in[0]))
				k := 0
				indices(s.a, func(at []int) {
					out[k] = in[0][k] * in[1][broadcast(s.b, at)]
					k++
				})
				return out
			},
			gradients: func(l Layout) []gradient {
				ta, tb := Tensor{s.a, l}, Tensor{Dims: s.b}
				if len(s.b) == len(s.a) {
					tb.Layout = l
				}
				return []gradient{
					{OpDesc{Params: BinaryBackward{Kind: Mul}, Inputs: []Tensor{ta, tb, ta}, Outputs: []Tensor{ta}}, []any{0, 1, dy}, []int{0}},
					{OpDesc{Params: Binary{Mul}, Inputs: []Tensor{ta, tb}, Outputs: []Tensor{ta}}, []any{dy, 1}, []int{0}},
					{OpDesc{Params: SumTo{}, Inputs: []Tensor{ta, ta}, Outputs: []Tensor{tb}}, []any{dy, 0}, []int{1}},
				}
			},
		})
	}
	// A bias per channel: dy alone is summed, also from a blocked tensor.
	for _, b := range [][]int{{1, 21, 1, 1}, {21, 1, 1}} {
		a := []int{2, 21, 6, 5}
		list = append(list, gradientCase{
			name: fmt.Sprintf("add %v", b), in: [][]int{a, b}, out: a, torch: "i[0] + i[1]", layouts: bothLayouts,
			forward: func(in [][]float64) []float64 {
				return all(len(in[0]), func(i int) float64 { return in[0][i] + in[1][i/30%21] })
			},
			gradients: func(l Layout) []gradient {
				return []gradient{{OpDesc{Params: SumTo{}, Inputs: []Tensor{{a, l}}, Outputs: []Tensor{{Dims: b}}}, []any{dy}, []int{1}}}
			},
		})
	}
	// MatMul's gradients are MatMuls.
	a, b, bias, out := []int{3, 5, 7}, []int{3, 7, 9}, []int{9}, []int{3, 5, 9}
	list = append(list, gradientCase{
		name: "matmul", in: [][]int{a, b, bias}, out: out, torch: "i[0] @ i[1] + i[2]", layouts: []Layout{Plain},
		forward: func(in [][]float64) []float64 {
			var y []float64
			indices(out, func(at []int) {
				sum := in[2][at[2]]
				for k := range 7 {
					sum += in[0][(at[0]*5+at[1])*7+k] * in[1][(at[0]*7+k)*9+at[2]]
				}
				y = append(y, sum)
			})
			return y
		},
		gradients: func(l Layout) []gradient {
			return []gradient{
				{OpDesc{Params: MatMul{TransposeB: true}, Inputs: []Tensor{{Dims: out}, {Dims: b}}, Outputs: []Tensor{{Dims: a}}}, []any{dy, 1}, []int{0}},
				{OpDesc{Params: MatMul{TransposeA: true}, Inputs: []Tensor{{Dims: a}, {Dims: out}}, Outputs: []Tensor{{Dims: b}}}, []any{0, dy}, []int{1}},
				{OpDesc{Params: SumTo{}, Inputs: []Tensor{{Dims: out}}, Outputs: []Tensor{{Dims: bias}}}, []any{dy}, []int{2}},
			}
		},
	})
	return list
}
