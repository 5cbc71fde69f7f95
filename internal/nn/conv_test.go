package nn

import (
	"fmt"
	"testing"
)

// channelCounts straddle the blocks of 8 and 16: below, at, above, and the odd
// sizes of shuffle networks.
var channelCounts = []int{1, 3, 5, 8, 12, 17, 24, 58, 116}

// spatial are sizes of one to three dimensions, odd and unequal.
var spatialSizes = map[int][]int{1: {19}, 2: {11, 9}, 3: {5, 7, 6}}

func repeat(v int64, n int) []int64 {
	list := make([]int64, n)
	for i := range list {
		list[i] = v
	}
	return list
}

func convTrials() []*trial {
	var list []*trial
	// One convolution, of the input and of a blocked tensor.
	conv := func(name string, rank, batch, cin, cout, groups, kernel int, a attrs) {
		for _, blocked := range []bool{false, true} {
			t := newTrial(fmt.Sprintf("conv %s, blocked %v", name, blocked))
			t.input("x", append([]int{batch, cin}, spatialSizes[rank]...)...)
			x := "x"
			if blocked {
				x = t.blocked(x)
			}
			k := make([]int, rank)
			for i := range k {
				k[i] = kernel
			}
			t.constant("w", append([]int{cout, cin / groups}, k...)...)
			t.constant("b", cout)
			b := attrs{"group": int64(groups)}
			for name, v := range a {
				b[name] = v
			}
			t.node("y = Conv "+x+" w b", b)
			list = append(list, t.outputs("y"))
		}
	}
	for i, cin := range channelCounts {
		for j, cout := range channelCounts {
			kernel := 1 + 2*((i+j)%2)
			a := attrs{"pads": repeat(int64(kernel/2), 4)}
			if (i+2*j)%3 == 0 {
				a["strides"] = []int64{2, 2}
			}
			conv(fmt.Sprintf("%d to %d, kernel %d", cin, cout, kernel), 2, 1+(i+j)%3, cin, cout, 1, kernel, a)
		}
		same := attrs{"pads": repeat(1, 4)}
		conv(fmt.Sprintf("depthwise %d", cin), 2, 2, cin, cin, cin, 3, same)
		conv(fmt.Sprintf("depthwise %d times 2", cin), 2, 1, cin, 2*cin, cin, 3, same)
		conv(fmt.Sprintf("depthwise %d, step 2, kernel 5", cin), 2, 1, cin, cin, cin, 5, attrs{"pads": repeat(2, 4), "strides": []int64{2, 2}})
		conv(fmt.Sprintf("3 groups of %d", cin), 2, 2, 3*cin, 3*cin, 3, 3, same)
		conv(fmt.Sprintf("2 groups of %d, to 2 of 5", cin), 2, 1, 2*cin, 10, 2, 1, nil)
		for _, rank := range []int{1, 3} {
			conv(fmt.Sprintf("%d dimensions, %d channels", rank, cin), rank, 2, cin, 17, 1, 3, attrs{"pads": repeat(1, 2*rank)})
			conv(fmt.Sprintf("%d dimensions, depthwise %d", rank, cin), rank, 1, cin, cin, cin, 3, attrs{"strides": repeat(2, rank)})
		}
	}
	for name, a := range map[string]attrs{
		"dilation":         {"dilations": []int64{2, 2}, "pads": repeat(2, 4)},
		"unequal dilation": {"dilations": []int64{1, 3}, "pads": []int64{0, 3, 2, 1}},
		"unequal pads":     {"pads": []int64{0, 2, 1, 0}},
		"unequal strides":  {"pads": repeat(1, 4), "strides": []int64{1, 3}},
		"wide pads":        {"pads": repeat(4, 4)},
		"same upper":       {"auto_pad": "SAME_UPPER", "strides": []int64{2, 2}},
		"same lower":       {"auto_pad": "SAME_LOWER", "strides": []int64{2, 3}},
		"valid":            {"auto_pad": "VALID"},
	} {
		for _, c := range []int{3, 16, 20} {
			conv(fmt.Sprintf("%s, %d channels", name, c), 2, 2, c, 24, 1, 3, a)
			conv(fmt.Sprintf("%s, depthwise %d", name, c), 2, 1, c, c, c, 3, a)
		}
	}
	return list
}

func transposedTrials() []*trial {
	var list []*trial
	conv := func(name string, rank, batch, cin, cout, groups, kernel int, a attrs) {
		for _, blocked := range []bool{false, true} {
			t := newTrial(fmt.Sprintf("transposed %s, blocked %v", name, blocked))
			t.input("x", append([]int{batch, cin}, spatialSizes[rank]...)...)
			x := "x"
			if blocked {
				x = t.blocked(x)
			}
			k := make([]int, rank)
			for i := range k {
				k[i] = kernel
			}
			t.constant("w", append([]int{cin, cout / groups}, k...)...)
			t.constant("b", cout)
			b := attrs{"group": int64(groups)}
			for name, v := range a {
				b[name] = v
			}
			t.node("y = ConvTranspose "+x+" w b", b)
			list = append(list, t.outputs("y"))
		}
	}
	for name, a := range map[string]attrs{
		"plain":                       {},
		"step 2":                      {"strides": []int64{2, 2}},
		"step 2, pads":                {"strides": []int64{2, 2}, "pads": repeat(1, 4)},
		"step 2, output padding":      {"strides": []int64{2, 2}, "output_padding": []int64{1, 1}},
		"step 3, output padding 2":    {"strides": []int64{3, 3}, "output_padding": []int64{2, 1}, "pads": []int64{1, 0, 0, 2}},
		"step 2, pads, output":        {"strides": []int64{2, 2}, "pads": repeat(1, 4), "output_padding": []int64{1, 1}},
		"dilation":                    {"dilations": []int64{2, 2}},
		"dilation, step 2":            {"dilations": []int64{2, 1}, "strides": []int64{2, 2}, "pads": repeat(1, 4)},
		"unequal pads":                {"pads": []int64{0, 2, 1, 0}, "strides": []int64{2, 1}},
		"output shape":                {"strides": []int64{2, 2}, "output_shape": []int64{24, 19}},
		"output shape, same upper":    {"strides": []int64{2, 2}, "output_shape": []int64{22, 18}, "auto_pad": "SAME_UPPER"},
		"same upper":                  {"strides": []int64{2, 2}, "auto_pad": "SAME_UPPER"},
		"same lower":                  {"strides": []int64{2, 2}, "auto_pad": "SAME_LOWER"},
		"output shape beyond strides": {"strides": []int64{2, 2}, "output_shape": []int64{21, 17}},
	} {
		for _, c := range []struct{ in, out, groups int }{{3, 5, 1}, {16, 16, 1}, {17, 24, 1}, {6, 6, 6}, {16, 8, 2}, {20, 12, 4}, {32, 32, 32}} {
			conv(fmt.Sprintf("%s, %d to %d in %d groups", name, c.in, c.out, c.groups), 2, 2, c.in, c.out, c.groups, 3, a)
		}
	}
	for _, rank := range []int{1, 3} {
		conv(fmt.Sprintf("%d dimensions", rank), rank, 2, 8, 12, 1, 2, attrs{"strides": repeat(2, rank)})
		conv(fmt.Sprintf("%d dimensions, groups", rank), rank, 1, 8, 12, 4, 3, attrs{"strides": repeat(2, rank), "pads": repeat(1, 2*rank)})
	}
	return list
}

// scalarFunctions are the operators of one tensor, by name.
var scalarFunctions = map[string]struct {
	op string
	a  attrs
}{
	"Relu": {"Relu", nil}, "LeakyRelu": {"LeakyRelu", attrs{"alpha": float32(0.1)}}, "Sigmoid": {"Sigmoid", nil},
	"HardSigmoid": {"HardSigmoid", attrs{"alpha": float32(0.3), "beta": float32(0.4)}}, "HardSwish": {"HardSwish", nil},
	"Tanh": {"Tanh", nil}, "Mish": {"Mish", nil}, "Elu": {"Elu", attrs{"alpha": float32(0.7)}}, "Softplus": {"Softplus", nil},
	"Exp": {"Exp", nil}, "Log": {"Log", nil}, "Sqrt": {"Sqrt", nil}, "Abs": {"Abs", nil}, "Neg": {"Neg", nil},
	"Reciprocal": {"Reciprocal", nil}, "Floor": {"Floor", nil}, "Ceil": {"Ceil", nil}, "Round": {"Round", nil}, "Erf": {"Erf", nil},
	"Relu6": {"Clip six", nil}, "Clip": {"Clip range", nil}, "ClipAbove": {"Clip above", nil}, "Silu": {"silu", nil}, "GeluErf": {"gelu", nil},
}

// function adds a scalar function y of x.
func (t *trial) function(name, y, x string) {
	f := scalarFunctions[name]
	switch f.op {
	case "Clip six":
		t.scalar("zero", 0)
		t.scalar("six", 6)
		t.node(y+" = Clip "+x+" zero six", nil)
	case "Clip range": // limits that do not hold zero
		t.scalar("low", 0.2)
		t.scalar("high", 0.9)
		t.node(y+" = Clip "+x+" low high", nil)
	case "Clip above":
		t.scalar("high", 0.5)
		t.node(y+" = Clip "+x+" _ high", nil)
	case "silu":
		t.node(y+"_s = Sigmoid "+x, nil)
		t.node(y+" = Mul "+x+" "+y+"_s", nil)
	case "gelu":
		t.scalar("root", 1.41421356)
		t.scalar("one", 1)
		t.scalar("half", 0.5)
		t.node(y+"_d = Div "+x+" root", nil)
		t.node(y+"_e = Erf "+y+"_d", nil)
		t.node(y+"_a = Add "+y+"_e one", nil)
		t.node(y+"_m = Mul "+x+" "+y+"_a", nil)
		t.node(y+" = Mul "+y+"_m half", nil)
	default:
		t.node(y+" = "+f.op+" "+x, f.a)
	}
}

// activationTrials puts every scalar function behind everything that takes one
// over, and alone in both layouts.
func activationTrials() []*trial {
	var list []*trial
	for name := range scalarFunctions {
		add := func(where string, build func(t *trial)) {
			t := newTrial(name + " " + where)
			t.pole = name == "Reciprocal"
			build(t)
			list = append(list, t.outputs("y"))
		}
		for _, c := range []int{3, 5, 16} {
			add(fmt.Sprintf("after a convolution to %d", c), func(t *trial) {
				t.input("x", 2, 3, 7, 6)
				t.constant("w", c, 3, 3, 3)
				t.constant("b", c)
				t.node("h = Conv x w b", nil)
				t.function(name, "y", "h")
			})
			add(fmt.Sprintf("after a depthwise convolution of %d", c), func(t *trial) {
				t.input("x", 1, c, 7, 6)
				t.constant("w", c, 1, 3, 3)
				t.node("h = Conv x w", attrs{"group": int64(c)})
				t.function(name, "y", "h")
			})
			add(fmt.Sprintf("of a blocked tensor of %d", c), func(t *trial) {
				t.input("x", 2, c, 7, 6)
				h := t.blocked("x")
				t.node("o = Neg "+h, nil) // a second reader
				t.function(name, "y", h)
				t.outputs("o")
			})
		}
		add("after a transposed convolution", func(t *trial) {
			t.input("x", 1, 4, 5, 6)
			t.constant("w", 4, 5, 2, 2)
			t.node("h = ConvTranspose x w", attrs{"strides": []int64{2, 2}})
			t.function(name, "y", "h")
		})
		for _, blocked := range []bool{false, true} {
			add(fmt.Sprintf("after a batch normalisation, blocked %v", blocked), func(t *trial) {
				t.input("x", 2, 5, 4, 3)
				x := "x"
				if blocked {
					x = t.blocked(x)
					t.node("o = Neg "+x, nil)
					t.outputs("o")
				}
				t.constant("gamma", 5)
				t.constant("beta", 5)
				t.constant("mean", 5)
				t.vector("var", 0.5, 1, 2, 0.1, 3)
				t.node("h = BatchNormalization "+x+" gamma beta mean var", nil)
				t.function(name, "y", "h")
			})
		}
		add("after a matrix product", func(t *trial) {
			t.input("x", 2, 7, 5)
			t.constant("w", 5, 9)
			t.node("h = MatMul x w", nil)
			t.function(name, "y", "h")
		})
		add("after a Gemm", func(t *trial) {
			t.input("x", 7, 5)
			t.constant("w", 9, 5)
			t.constant("b", 9)
			t.node("h = Gemm x w b", attrs{"transB": int64(1)})
			t.function(name, "y", "h")
		})
		add("of a vector", func(t *trial) {
			t.input("x", 37)
			t.function(name, "y", "x")
		})
	}
	return list
}

func productTrials() []*trial {
	var list []*trial
	for _, c := range []struct{ a, b []int }{
		{[]int{4, 5}, []int{5, 6}}, {[]int{1, 5}, []int{5, 1}}, {[]int{3, 4, 5}, []int{5, 6}}, {[]int{3, 4, 5}, []int{3, 5, 6}},
		{[]int{3, 4, 5}, []int{1, 5, 6}}, {[]int{4, 5}, []int{3, 5, 6}}, {[]int{2, 1, 4, 5}, []int{3, 5, 6}},
		{[]int{2, 3, 17, 33}, []int{2, 3, 33, 15}}, {[]int{5}, []int{5, 6}}, {[]int{4, 5}, []int{5}}, {[]int{5}, []int{5}},
		{[]int{3, 4, 5}, []int{5}}, {[]int{5}, []int{3, 5, 6}},
	} {
		for _, constant := range []bool{false, true} {
			t := newTrial(fmt.Sprintf("matmul %v %v, constant %v", c.a, c.b, constant))
			t.input("a", c.a...)
			if constant {
				t.constant("b", c.b...)
			} else {
				t.input("b", c.b...)
			}
			t.node("y = MatMul a b", nil)
			list = append(list, t.outputs("y"))
			t = newTrial(fmt.Sprintf("matmul with a constant on the left, %v %v", c.a, c.b))
			t.constant("a", c.a...)
			t.input("b", c.b...)
			t.node("y = MatMul a b", nil)
			list = append(list, t.outputs("y"))
		}
	}
	for _, bias := range [][]int{nil, {6}, {1, 6}, {4, 1}, {4, 6}, {1}, {}, {1, 1}} {
		for form := range 8 {
			for _, factors := range []attrs{{}, {"alpha": float32(0.5)}, {"beta": float32(0.25)}} {
				t := newTrial(fmt.Sprintf("gemm bias %v (nil %v), form %d, %v", bias, bias == nil, form, factors))
				a := attrs{"transA": int64(form & 1), "transB": int64(form >> 1 & 1)}
				for k, v := range factors {
					a[k] = v
				}
				t.input("a", [][]int{{4, 5}, {5, 4}}[form&1]...)
				put := t.constant
				if form&4 != 0 {
					put = func(name string, dims ...int) { t.input(name, dims...) }
				}
				put("b", [][]int{{5, 6}, {6, 5}}[form>>1&1]...)
				line := "y = Gemm a b"
				if bias != nil {
					put("c", bias...)
					line += " c"
				}
				t.node(line, a)
				list = append(list, t.outputs("y"))
			}
		}
	}
	// The weights of a convolution may be computed.
	t := newTrial("convolution with computed weights")
	t.input("x", 1, 5, 6, 6)
	t.input("w", 7, 5, 3, 3)
	t.input("b", 7)
	t.node("v = Neg w", nil)
	t.node("h = Conv x v b", nil)
	t.node("y = Sigmoid h", nil)
	return append(list, t.outputs("y"))
}

func TestConvolutions(t *testing.T)           { runTrials(t, convTrials()) }
func TestTransposedConvolutions(t *testing.T) { runTrials(t, transposedTrials()) }
func TestActivations(t *testing.T)            { runTrials(t, activationTrials()) }
func TestProducts(t *testing.T)               { runTrials(t, productTrials()) }
