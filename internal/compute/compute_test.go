package compute

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// run runs one operator on plain inputs and gives its first output as stored.
func run(t *testing.T, d *Device, desc OpDesc, inputs ...[]float32) []float32 {
	t.Helper()
	op, err := d.NewOp(desc)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	alloc := func(bytes int) *Buffer {
		b, err := d.Alloc(bytes)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	step := Step{Op: op}
	for i, in := range desc.Inputs {
		b := alloc(in.Bytes(d.Block()))
		if i < len(inputs) {
			if err := b.Upload(0, inputs[i]); err != nil {
				t.Fatal(err)
			}
		}
		step.Inputs = append(step.Inputs, Address{b, 0})
	}
	out := alloc(desc.Outputs[0].Bytes(d.Block()))
	step.Outputs = []Address{{out, 0}}
	if n := op.Workspace(); n > 0 {
		step.Workspace = Address{alloc(n), 0}
	}
	p, err := d.NewProgram([]Step{step}, desc.Threads)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Run(0, 1); err != nil {
		t.Fatal(err)
	}
	y := make([]float32, out.Len()/4)
	if err := out.Download(0, y); err != nil {
		t.Fatal(err)
	}
	return y
}

func random(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * 3)
	}
	return x
}

// TestActivations compares every vectorised function with float64 mathematics.
func TestActivations(t *testing.T) { eachDevice(t, testActivations) }

func testActivations(t *testing.T, d *Device) {
	x := random(rand.New(rand.NewPCG(1, 2)), 1003)
	copy(x, []float32{0, -0.5, 0.5, 1.5, -1.5, 2.5, 87, -87, 30, -30, 1e-6, -1e-6})
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	clamp := func(x, a, b float64) float64 { return math.Min(math.Max(x, a), b) }
	for _, c := range []struct {
		name string
		act  Activation
		want func(float64) float64
	}{
		{"relu", Activation{Kind: Relu}, func(x float64) float64 { return math.Max(x, 0) }},
		{"leaky relu", Activation{Kind: LeakyRelu, A: 0.1}, func(x float64) float64 {
			if x < 0 {
				return x * float64(float32(0.1))
			}
			return x
		}},
		{"sigmoid", Activation{Kind: Sigmoid}, sigmoid},
		{"hard sigmoid", Activation{Kind: HardSigmoid, A: 0.2, B: 0.5}, func(x float64) float64 { return clamp(float64(float32(0.2))*x+0.5, 0, 1) }},
		{"hard swish", Activation{Kind: HardSwish}, func(x float64) float64 { return x * clamp(x/6+0.5, 0, 1) }},
		{"silu", Activation{Kind: Silu}, func(x float64) float64 { return x * sigmoid(x) }},
		{"tanh", Activation{Kind: Tanh}, math.Tanh},
		{"clip", Activation{Kind: Clip, A: -1, B: 6}, func(x float64) float64 { return clamp(x, -1, 6) }},
		{"mish", Activation{Kind: Mish}, func(x float64) float64 { return x * math.Tanh(math.Log1p(math.Exp(x))) }},
		{"gelu", Activation{Kind: Gelu}, func(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }},
		{"gelu tanh", Activation{Kind: GeluTanh}, func(x float64) float64 {
			return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		}},
		{"elu", Activation{Kind: Elu, A: 1}, func(x float64) float64 {
			if x < 0 {
				return math.Expm1(x)
			}
			return x
		}},
		{"softplus", Activation{Kind: Softplus}, func(x float64) float64 { return math.Max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }},
		{"round", Activation{Kind: Round}, math.RoundToEven},
		{"erf", Activation{Kind: Erf}, math.Erf},
	} {
		shape := Tensor{Dims: []int{len(x)}}
		y := run(t, d, OpDesc{Params: Unary{c.act}, Inputs: []Tensor{shape}, Outputs: []Tensor{shape}}, x)
		for i := range x {
			want := c.want(float64(x[i]))
			// A few units in the last place of single precision, or of the
			// function's scale where it crosses zero.
			if diff := math.Abs(float64(y[i]) - want); diff > 1e-6*math.Abs(want)+2e-7*math.Max(1, math.Abs(float64(x[i]))) {
				t.Errorf("%s(%g) = %g, want %g", c.name, x[i], y[i], want)
				break
			}
		}
	}
}

// TestConvIsExactOnIntegers: integer-valued operands give exact integer sums,
// which is what makes the INT8 simulation bit-exact.
func TestConvIsExactOnIntegers(t *testing.T) { eachDevice(t, testConvIsExactOnIntegers) }

func testConvIsExactOnIntegers(t *testing.T, d *Device) {
	r := rand.New(rand.NewPCG(3, 4))
	const c, k, size = 64, 48, 13
	grid := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.IntN(255) - 127)
		}
		return x
	}
	x, w := grid(c*size*size), grid(k*c*9)
	scale, bias := random(r, k), random(r, k)
	for i := range scale {
		scale[i] *= 1e-4
	}
	desc := OpDesc{
		Params: Conv{Window: Window{[]int{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, []int{1, 1}},
			Groups: 1, HasBias: true, HasScale: true},
		Inputs:    []Tensor{{Dims: []int{1, c, size, size}}, {Dims: []int{k, c, 3, 3}}, {Dims: []int{k}}, {Dims: []int{k}}},
		Outputs:   []Tensor{{Dims: []int{1, k, size, size}}},
		Constants: [][]float32{nil, w, bias, scale},
		Threads:   2,
	}
	y := run(t, d, desc, x)
	for o := 0; o < k; o++ {
		for yy := 0; yy < size; yy++ {
			for xx := 0; xx < size; xx++ {
				sum := 0
				for i := 0; i < c; i++ {
					for dy := 0; dy < 3; dy++ {
						for dx := 0; dx < 3; dx++ {
							py, px := yy+dy-1, xx+dx-1
							if py >= 0 && py < size && px >= 0 && px < size {
								sum += int(x[(i*size+py)*size+px]) * int(w[((o*c+i)*3+dy)*3+dx])
							}
						}
					}
				}
				got := y[(o*size+yy)*size+xx]
				// One rounding of the product and one of the sum, fused or not.
				want := float64(sum)*float64(scale[o]) + float64(bias[o])
				if math.Abs(float64(got)-want) > 3e-7*(math.Abs(float64(sum)*float64(scale[o]))+math.Abs(want))+1e-9 {
					t.Fatalf("y[%d,%d,%d] = %g, want %g", o, yy, xx, got, want)
				}
			}
		}
	}
}

func TestBlockedRoundTrip(t *testing.T) { eachDevice(t, testBlockedRoundTrip) }

func testBlockedRoundTrip(t *testing.T, d *Device) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, c := range []int{1, 3, 8, 16, 17, 40} {
		plain := Tensor{Dims: []int{2, c, 5, 7}}
		blocked := Tensor{Dims: plain.Dims, Layout: Blocked}
		x := random(r, plain.Len())
		stored := run(t, d, OpDesc{Params: Reorder{}, Inputs: []Tensor{plain}, Outputs: []Tensor{blocked}}, x)
		zeros := len(stored) - plain.Len()
		for _, v := range stored {
			if v == 0 {
				zeros--
			}
		}
		if zeros != 0 {
			t.Errorf("%d channels: padding lanes are not zero", c)
		}
		back := run(t, d, OpDesc{Params: Reorder{}, Inputs: []Tensor{blocked}, Outputs: []Tensor{plain}}, stored)
		for i := range x {
			if back[i] != x[i] {
				t.Fatalf("%d channels: element %d changed", c, i)
			}
		}
	}
}

func TestHistogramCountsOnlyRealElements(t *testing.T) {
	eachDevice(t, testHistogramCountsOnlyRealElements)
}

func testHistogramCountsOnlyRealElements(t *testing.T, d *Device) {
	r := rand.New(rand.NewPCG(7, 8))
	plain := Tensor{Dims: []int{1, 5, 9, 9}}
	blocked := Tensor{Dims: plain.Dims, Layout: Blocked}
	x := random(r, plain.Len())
	stored := run(t, d, OpDesc{Params: Reorder{}, Inputs: []Tensor{plain}, Outputs: []Tensor{blocked}}, x)
	b, err := d.Alloc(4 * len(stored))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Upload(0, stored); err != nil {
		t.Fatal(err)
	}
	const n, upper = 64, 4.0
	got := make([]int64, n)
	if err := d.Histogram(blocked, Address{b, 0}, upper, got); err != nil {
		t.Fatal(err)
	}
	want := make([]int64, n)
	top := float32(0)
	for _, v := range x {
		a := float32(math.Abs(float64(v)))
		top = max(top, a)
		want[min(n-1, int(a*(n/upper)))]++
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("bin %d: %d, want %d", i, got[i], want[i])
		}
	}
	if m, err := d.AbsMax(blocked, Address{b, 0}); err != nil || m != top {
		t.Errorf("absmax %g (%v), want %g", m, err, top)
	}
	sums := make([]float64, 5)
	if err := d.ChannelSums(blocked, Address{b, 0}, sums); err != nil {
		t.Fatal(err)
	}
	for c := range sums {
		sum := 0.0
		for _, v := range x[c*81 : (c+1)*81] {
			sum += float64(v)
		}
		if math.Abs(sum-sums[c]) > 1e-9 {
			t.Errorf("channel %d sums to %g, want %g", c, sums[c], sum)
		}
	}
}

// TestAbsMaxOfNonFinite: calibration refuses what is not finite, so the maximum
// must not lose it, wherever it stands.
func TestAbsMaxOfNonFinite(t *testing.T) { eachDevice(t, testAbsMaxOfNonFinite) }

func testAbsMaxOfNonFinite(t *testing.T, d *Device) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		name string
		put  []float32
		want float32
	}{
		{"none", nil, 0.5}, {"negative", []float32{-3}, 3}, {"infinity", []float32{inf}, inf},
		{"minus infinity", []float32{-inf}, inf}, {"nan", []float32{nan}, nan},
		{"nan of negative sign", []float32{float32(math.Copysign(math.NaN(), -1))}, nan},
		{"nan and infinity", []float32{inf, nan, -inf}, nan},
	} {
		for _, at := range []int{0, 17, 96} {
			x := make([]float32, 99)
			for i := range x {
				x[i] = 0.5
			}
			copy(x[at:], c.put)
			b, err := d.Alloc(4 * len(x))
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Upload(0, x); err != nil {
				t.Fatal(err)
			}
			got, err := d.AbsMax(Tensor{Dims: []int{len(x)}}, Address{b, 0})
			b.Close()
			if err != nil || got != c.want && !(got != got && c.want != c.want) {
				t.Errorf("%s at %d: absmax %g (%v), want %g", c.name, at, got, err, c.want)
			}
		}
	}
}

// TestNaNIsKept: no operator turns a NaN into a number, so that a broken model
// shows at its outputs.
func TestNaNIsKept(t *testing.T) { eachDevice(t, testNaNIsKept) }

func testNaNIsKept(t *testing.T, d *Device) {
	x := make([]float32, 37)
	for i := range x {
		x[i] = float32(i) - 18
	}
	nan := float32(math.NaN())
	x[5], x[20], x[36] = nan, nan, nan
	shape := Tensor{Dims: []int{len(x)}}
	check := func(what string, y []float32) {
		t.Helper()
		for i := range x {
			if (x[i] != x[i]) != (y[i] != y[i]) {
				t.Errorf("%s(%g) = %g", what, x[i], y[i])
			}
		}
	}
	for kind := Relu; kind <= Erf; kind++ {
		if kind == Log || kind == Sqrt {
			continue // have NaN of their own
		}
		act := Activation{Kind: kind, A: 0.1, B: 0.5}
		check(fmt.Sprintf("activation %d", kind), run(t, d, OpDesc{Params: Unary{act}, Inputs: []Tensor{shape}, Outputs: []Tensor{shape}}, x))
	}
	for _, kind := range []BinaryKind{Add, Sub, Mul, Div, Min, Max, PRelu} {
		one := []float32{1}
		in := []Tensor{shape, {Dims: []int{1}}}
		check(fmt.Sprintf("binary %d, left", kind), run(t, d, OpDesc{Params: Binary{kind}, Inputs: in, Outputs: []Tensor{shape}}, x, one))
		if kind != PRelu && kind != Div {
			in[0], in[1] = in[1], in[0]
			check(fmt.Sprintf("binary %d, right", kind), run(t, d, OpDesc{Params: Binary{kind}, Inputs: in, Outputs: []Tensor{shape}}, one, x))
		}
	}
	scale := Tensor{Dims: []int{1}}
	check("quantize", run(t, d, OpDesc{Params: Quantize{-1, -128, 127}, Inputs: []Tensor{shape, scale}, Outputs: []Tensor{shape}}, x, []float32{0.5}))
	for _, kind := range []ReduceKind{ReduceMean, ReduceSum, ReduceMax, ReduceMin, ReduceProd, ReduceL2} {
		y := run(t, d, OpDesc{Params: Reduce{kind, 1, len(x), 1}, Inputs: []Tensor{shape}, Outputs: []Tensor{{Dims: []int{1}}}}, x)
		if y[0] == y[0] {
			t.Errorf("reduction %d gives %g", kind, y[0])
		}
	}
}

// TestBadDescriptions: what does not fit is refused, and never runs.
func TestBadDescriptions(t *testing.T) { eachDevice(t, testBadDescriptions) }

func testBadDescriptions(t *testing.T, d *Device) {
	four := Tensor{Dims: []int{1, 4, 4, 4}}
	for name, desc := range map[string]OpDesc{
		"copy outside its input": {Params: Copy{Parts: []CopyPart{{Dims: []int{65}, InStride: []int{1}, OutStride: []int{1}}}},
			Inputs: []Tensor{four}, Outputs: []Tensor{{Dims: []int{65}}}},
		"shapes that do not broadcast": {Params: Binary{Add}, Inputs: []Tensor{four, {Dims: []int{3}}}, Outputs: []Tensor{four}},
		"resize index":                 {Params: Resize{[]Taps{{1, []int32{9}, []float32{1}}}}, Inputs: []Tensor{{Dims: []int{1, 1, 4}}}, Outputs: []Tensor{{Dims: []int{1, 1, 1}}}},
		"conv groups": {Params: Conv{Window: Window{[]int{1, 1}, []int{1, 1}, []int{1, 1}, []int{0, 0}, []int{0, 0}}, Groups: 3},
			Inputs: []Tensor{four, {Dims: []int{4, 1, 1, 1}}}, Outputs: []Tensor{four}},
		"pooling without a step": {Params: Pool{Window: Window{[]int{2, 2}, []int{0, 0}, []int{1, 1}, []int{0, 0}, []int{0, 0}}},
			Inputs: []Tensor{four}, Outputs: []Tensor{{Dims: []int{1, 4, 3, 3}}}},
		"conv without a step": {Params: Conv{Window: Window{[]int{1, 1}, []int{0, 0}, []int{1, 1}, []int{0, 0}, []int{0, 0}}, Groups: 1},
			Inputs: []Tensor{four, {Dims: []int{4, 4, 1, 1}}}, Outputs: []Tensor{four}},
		"short bias": {Params: Conv{Window: Window{[]int{1, 1}, []int{1, 1}, []int{1, 1}, []int{0, 0}, []int{0, 0}}, Groups: 1, HasBias: true},
			Inputs: []Tensor{four, {Dims: []int{4, 4, 1, 1}}, {Dims: []int{3}}}, Outputs: []Tensor{four}},
		"short resize table": {Params: Resize{[]Taps{{1, []int32{0}, []float32{1}}}}, Inputs: []Tensor{{Dims: []int{1, 1, 4}}}, Outputs: []Tensor{{Dims: []int{1, 1, 4}}}},
		"short matmul bias": {Params: MatMul{HasBias: true}, Inputs: []Tensor{{Dims: []int{2, 2}}, {Dims: []int{2, 2}}, {Dims: []int{1}}},
			Outputs: []Tensor{{Dims: []int{2, 2}}}},
		"no elements":        {Params: Unary{Activation{Kind: Relu}}, Inputs: []Tensor{{Dims: []int{0}}}, Outputs: []Tensor{{Dims: []int{0}}}},
		"huge":               {Params: Unary{Activation{Kind: Relu}}, Inputs: []Tensor{{Dims: []int{1 << 40, 1 << 40}}}, Outputs: []Tensor{{Dims: []int{1 << 40, 1 << 40}}}},
		"blocked vector":     {Params: Unary{Activation{Kind: Relu}}, Inputs: []Tensor{{Dims: []int{8}, Layout: Blocked}}, Outputs: []Tensor{{Dims: []int{8}, Layout: Blocked}}},
		"unknown activation": {Params: Unary{Activation{Kind: 999}}, Inputs: []Tensor{four}, Outputs: []Tensor{four}},
	} {
		if op, err := d.NewOp(desc); err == nil {
			op.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestCopy: bytes move within the device's memory, and never beyond a buffer.
func TestCopy(t *testing.T) { eachDevice(t, testCopy) }

func testCopy(t *testing.T, d *Device) {
	var buffers [2]*Buffer
	for i := range buffers {
		b, err := d.Alloc(32)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		buffers[i] = b
	}
	from, to := buffers[0], buffers[1]
	if err := from.Upload(0, []float32{1, 2, 3, 4, 5, 6, 7, 8}); err != nil {
		t.Fatal(err)
	}
	if err := to.Copy(20, Address{from, 8}, 12); err != nil {
		t.Fatal(err)
	}
	got := make([]float32, 8)
	if err := to.Download(0, got); err != nil {
		t.Fatal(err)
	}
	if want := []float32{0, 0, 0, 0, 0, 3, 4, 5}; !slices.Equal(got, want) {
		t.Errorf("copied %v, want %v", got, want)
	}
	for _, c := range []struct{ at, from, bytes int }{{24, 0, 12}, {0, 24, 12}, {-4, 0, 4}, {0, -4, 4}, {0, 0, -4}} {
		if err := to.Copy(c.at, Address{from, c.from}, c.bytes); err == nil {
			t.Errorf("%d bytes from %d to %d were copied", c.bytes, c.from, c.at)
		}
	}
}
