package compute

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

const torchOptimizers = `
import json, sys, torch
D = torch.float64
out = []
for c in json.load(open(sys.argv[1])):
    w = torch.tensor(c["w"], dtype=D)
    p = [torch.nn.Parameter(w[s["From"]:s["From"] + s["Count"]].clone()) for s in c["segments"]]
    groups = [dict(params=[q], lr=c["rate"] * s["Rate"], weight_decay=s["Decay"]) for q, s in zip(p, c["segments"])]
    o = eval("torch.optim." + c["torch"])
    for g in c["g"]:
        g = torch.tensor(g, dtype=D) * c["scale"]
        for q, s in zip(p, c["segments"]):
            q.grad = g[s["From"]:s["From"] + s["Count"]].clone()
        if c["norm"] > 0:
            n = g.norm()
            for q in p:
                q.grad *= min(1.0, c["norm"] / n)
        o.step()
    for q, s in zip(p, c["segments"]):
        w[s["From"]:s["From"] + s["Count"]] = q.detach()
    out.append([w.tolist()])
json.dump(out, open(sys.argv[2], "w"))
`

type optimizerCase struct {
	name  string
	p     Optimize
	norm  GradientNorm
	torch string
}

func optimizerCases() []optimizerCase {
	segments := []Segment{{0, 20000, 1, 0.01}, {20000, 30, 0.1, 0}, {20035, 70, 2, 0.3}} // 5 stay as they are
	adam := Optimize{Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Segments: segments, Kind: Adam}
	adamw := adam
	adamw.Kind = AdamW
	one := GradientNorm{Scale: 1}
	return []optimizerCase{
		{"sgd", Optimize{Kind: SGD, Segments: segments}, one, "SGD(groups)"},
		{"sgd, clipped", Optimize{Kind: SGD, Segments: segments}, GradientNorm{0.25, 3}, "SGD(groups)"},
		{"sgd, not reaching the limit", Optimize{Kind: SGD, Segments: segments}, GradientNorm{0.25, 3e5}, "SGD(groups)"},
		{"momentum", Optimize{Kind: Momentum, Momentum: 0.9, Segments: segments}, one, "SGD(groups, momentum=0.9)"},
		{"nesterov", Optimize{Kind: Momentum, Momentum: 0.9, Nesterov: true, Segments: segments}, one, "SGD(groups, momentum=0.9, nesterov=True)"},
		{"adam", adam, one, "Adam(groups)"},
		{"adamw", adamw, GradientNorm{0.5, 10}, "AdamW(groups)"},
	}
}

const optimizerSteps, optimizerRate = 5, 0.01

func optimizerData() (w []float32, g [][]float32) {
	r := rand.New(rand.NewPCG(8, 9))
	w = random(r, 20110)
	for range optimizerSteps {
		g = append(g, random(r, len(w)))
	}
	return w, g
}

// optimized runs the steps on a device.
func (c *optimizerCase) optimized(t *testing.T, d *Device, threads int) []float32 {
	w, gradients := optimizerData()
	n, two := Tensor{Dims: []int{len(w)}}, Tensor{Dims: []int{2}}
	state := [][]float32{w}
	switch c.p.Kind {
	case Momentum:
		state = append(state, make([]float32, len(w)))
	case Adam, AdamW:
		state = append(state, make([]float32, len(w)), make([]float32, len(w)))
	}
	for i, g := range gradients {
		norm := execute(t, d, OpDesc{Params: c.norm, Inputs: []Tensor{n}, Outputs: []Tensor{two}, Threads: threads}, [][]float32{g}, nil)
		state = execute(t, d, OpDesc{Params: c.p, Inputs: []Tensor{n, two, two}, Outputs: all(len(state), func(int) Tensor { return n }), Threads: threads},
			[][]float32{g, {optimizerRate, float32(i + 1)}, norm[0]}, state)
	}
	return state[0]
}

// reference is the same in float64.
func (c *optimizerCase) reference() []float64 {
	w32, gradients := optimizerData()
	w := doubles([][]float32{w32})[0]
	first, second := make([]float64, len(w)), make([]float64, len(w))
	for step, g32 := range gradients {
		g := doubles([][]float32{g32})[0]
		norm := 0.0
		for i := range g {
			g[i] *= float64(c.norm.Scale)
			norm += g[i] * g[i]
		}
		norm = math.Sqrt(norm)
		if m := float64(c.norm.MaxNorm); m > 0 && norm > m {
			for i := range g {
				g[i] *= m / norm
			}
		}
		for _, s := range c.p.Segments {
			rate, decay := optimizerRate*float64(s.Rate), float64(s.Decay)
			for i := s.From; i < s.From+s.Count; i++ {
				v := g[i]
				if c.p.Kind == AdamW {
					w[i] -= rate * decay * w[i]
				} else {
					v += decay * w[i]
				}
				switch c.p.Kind {
				case SGD:
					w[i] -= rate * v
				case Momentum:
					first[i] = 0.9*first[i] + v
					if c.p.Nesterov {
						v += 0.9 * first[i]
					} else {
						v = first[i]
					}
					w[i] -= rate * v
				default:
					first[i] = 0.9*first[i] + 0.1*v
					second[i] = 0.999*second[i] + 0.001*v*v
					m, u := first[i]/(1-math.Pow(0.9, float64(step+1))), second[i]/(1-math.Pow(0.999, float64(step+1)))
					w[i] -= rate * m / (math.Sqrt(u) + 1e-8)
				}
			}
		}
	}
	return w
}

// A parameter's value after a few steps in single precision, of about 3.
const optimizerTolerance = 3e-6

func TestOptimizers(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) {
		for _, c := range optimizerCases() {
			want := c.reference()
			one := c.optimized(t, d, 1)
			for i, v := range c.optimized(t, d, 2) {
				if math.Abs(float64(v)-want[i]) > optimizerTolerance*math.Max(1, math.Abs(want[i])) {
					t.Errorf("%s: parameter %d is %g, want %g", c.name, i, v, want[i])
					break
				}
				if v != one[i] {
					t.Errorf("%s: parameter %d is %g, with one thread %g", c.name, i, v, one[i])
					break
				}
			}
		}
	})
}

func TestOptimizersAgainstTorch(t *testing.T) {
	type request struct {
		Torch    string      `json:"torch"`
		W        []float32   `json:"w"`
		G        [][]float32 `json:"g"`
		Segments []Segment   `json:"segments"`
		Rate     float64     `json:"rate"`
		Scale    float32     `json:"scale"`
		Norm     float32     `json:"norm"`
	}
	var requests []request
	var names []string
	for _, c := range optimizerCases() {
		names = append(names, c.name)
		w, g := optimizerData()
		requests = append(requests, request{c.torch, w, g, c.p.Segments, optimizerRate, c.norm.Scale, c.norm.MaxNorm})
	}
	found := references(t, "optimizers.json", torchOptimizers, names, requests)
	eachDevice(t, func(t *testing.T, d *Device) {
		for _, c := range optimizerCases() {
			got, want := c.optimized(t, d, 2), found[c.name][0]
			for i, w := range want.Values {
				if v := got[i*want.Step]; math.Abs(float64(v)-w) > optimizerTolerance*math.Max(1, math.Abs(w)) {
					t.Errorf("%s: parameter %d is %g, PyTorch's %g", c.name, i*want.Step, v, w)
					break
				}
			}
		}
	})
}

// TestGradientNorm: the norm that is shown, and a NaN that is not hidden.
func TestGradientNorm(t *testing.T) { eachDevice(t, testGradientNorm) }

func testGradientNorm(t *testing.T, d *Device) {
	g := []float32{3, 0, -4}
	n, two := Tensor{Dims: []int{3}}, Tensor{Dims: []int{2}}
	for _, c := range []struct{ scale, limit, norm, factor float32 }{
		{1, 0, 5, 1}, {2, 0, 10, 2}, {1, 10, 5, 1}, {1, 2.5, 5, 0.5}, {0.5, 1.25, 2.5, 0.25},
	} {
		out := execute(t, d, OpDesc{Params: GradientNorm{c.scale, c.limit}, Inputs: []Tensor{n}, Outputs: []Tensor{two}}, [][]float32{g}, nil)[0]
		if out[0] != c.norm || out[1] != c.factor {
			t.Errorf("%+v: %v", c, out)
		}
	}
	g[1] = float32(math.NaN())
	out := execute(t, d, OpDesc{Params: GradientNorm{1, 1}, Inputs: []Tensor{n}, Outputs: []Tensor{two}}, [][]float32{g}, nil)[0]
	if out[0] == out[0] || out[1] == out[1] {
		t.Errorf("a gradient with NaN: %v", out)
	}
}

// TestOptimizersLeave: a gradient that is not finite changes nothing.
func TestOptimizersLeave(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) {
		for _, c := range optimizerCases() {
			for _, norm := range []float64{math.NaN(), math.Inf(1), 1} {
				n, two := Tensor{Dims: []int{4}}, Tensor{Dims: []int{2}}
				p := c.p
				p.Segments = []Segment{{0, 4, 1, 0.01}}
				states := map[OptimizerKind]int{SGD: 1, Momentum: 2, Adam: 3, AdamW: 3}[p.Kind]
				before := all(states, func(int) []float32 { return []float32{1, 2, 3, 4} })
				after := execute(t, d, OpDesc{Params: p, Inputs: []Tensor{n, two, two}, Outputs: all(states, func(int) Tensor { return n })},
					[][]float32{{1, float32(norm), 1, 1}, {optimizerRate, 1}, {float32(norm), 1}}, all(states, func(i int) []float32 { return slices.Clone(before[i]) }))
				if kept := reflect.DeepEqual(after, before); kept != (norm != 1) {
					t.Errorf("%s, a gradient of norm %v: %v", c.name, norm, after)
				}
			}
		}
	})
}

// TestSumAccumulates: y += x1 + x2 in place, padding lanes stay zero.
func TestSumAccumulates(t *testing.T) { eachDevice(t, testSumAccumulates) }

func testSumAccumulates(t *testing.T, d *Device) {
	for _, l := range bothLayouts {
		s := Tensor{[]int{2, 19, 3, 3}, l}
		ramp := func(k float32) []float32 { return all(s.Len(), func(i int) float32 { return k * float32(i) }) }
		y := execute(t, d, OpDesc{Params: Sum{Accumulate: true}, Inputs: []Tensor{s, s}, Outputs: []Tensor{s}}, [][]float32{ramp(1), ramp(2)}, [][]float32{ramp(4)})[0]
		for i, v := range y {
			if v != 7*float32(i) {
				t.Fatalf("%v: y[%d] = %g", l, i, v)
			}
		}
	}
}

// TestBadTrainingDescriptions: what does not fit is refused, and never runs.
func TestBadTrainingDescriptions(t *testing.T) { eachDevice(t, testBadTrainingDescriptions) }

func testBadTrainingDescriptions(t *testing.T, d *Device) {
	four, one, two := Tensor{Dims: []int{1, 4, 4, 4}}, Tensor{Dims: []int{1}}, Tensor{Dims: []int{2}}
	eight := Tensor{Dims: []int{1, 8, 4, 4}}
	window := Window{[]int{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, []int{1, 1}}
	weights := Tensor{Dims: []int{4, 4, 3, 3}}
	for i, desc := range []OpDesc{
		{Params: ConvBackwardData{Conv{Window: window, Groups: 1}}, Inputs: []Tensor{eight, weights}, Outputs: []Tensor{four}},
		{Params: ConvBackwardData{Conv{Window: window, Groups: 1}}, Inputs: []Tensor{four}, Outputs: []Tensor{four}},
		{Params: ConvBackwardData{Conv{Window: window, Groups: 3}}, Inputs: []Tensor{four, weights}, Outputs: []Tensor{four}},
		{Params: ConvBackwardWeights{Conv{Window: window, Groups: 1, HasBias: true}}, Inputs: []Tensor{four, four}, Outputs: []Tensor{weights, one}},
		{Params: ConvBackwardWeights{Conv{Window: window, Groups: 1, HasScale: true}}, Inputs: []Tensor{four, four, one}, Outputs: []Tensor{weights}},
		{Params: UnaryBackward{Activation{Kind: Relu}}, Inputs: []Tensor{four, eight}, Outputs: []Tensor{four}},
		{Params: UnaryBackward{Activation{Kind: 99}}, Inputs: []Tensor{four, four}, Outputs: []Tensor{four}},
		{Params: BinaryBackward{Kind: Mul}, Inputs: []Tensor{four, {Dims: []int{3}}, four}, Outputs: []Tensor{four}},
		{Params: AffineBackward{}, Inputs: []Tensor{four, one, one, four}, Outputs: []Tensor{four}},
		{Params: PoolBackward{Pool{Window: Window{[]int{2, 2}, []int{2, 2}, []int{1, 1}, []int{0, 0}, []int{0, 0}}}}, Inputs: []Tensor{four, four}, Outputs: []Tensor{four}},
		{Params: ResizeBackward{[]Taps{{1, []int32{0}, []float32{1}}}}, Inputs: []Tensor{{Dims: []int{1, 1, 4}}}, Outputs: []Tensor{{Dims: []int{1, 1, 2}}}},
		{Params: SoftmaxBackward{Axis: 4}, Inputs: []Tensor{four, four}, Outputs: []Tensor{four}},
		{Params: ReduceBackward{ReduceSum, 4, 4, 3}, Inputs: []Tensor{{Dims: []int{16}}}, Outputs: []Tensor{four}},
		{Params: ReduceBackward{ReduceProd, 4, 4, 4}, Inputs: []Tensor{four, {Dims: []int{16}}}, Outputs: []Tensor{four}},
		{Params: CopyBackward{Copy{Parts: []CopyPart{{Dims: []int{65}, InStride: []int{1}, OutStride: []int{1}}}}, 0}, Inputs: []Tensor{eight}, Outputs: []Tensor{four}},
		{Params: CopyBackward{Copy{Parts: []CopyPart{{Dims: []int{65}, InStride: []int{1}, OutStride: []int{1}}}}, 0}, Inputs: []Tensor{four}, Outputs: []Tensor{eight}},
		{Params: SumTo{}, Inputs: []Tensor{four}, Outputs: []Tensor{{Dims: []int{3, 1, 1}}}},
		{Params: SumTo{}, Inputs: []Tensor{{four.Dims, Blocked}}, Outputs: []Tensor{{Dims: []int{4, 4, 1}}}},
		{Params: SumTo{}, Inputs: []Tensor{four, eight}, Outputs: []Tensor{one}},
		{Params: Sum{}, Inputs: []Tensor{four, eight}, Outputs: []Tensor{four}},
		{Params: ActQuantize{}, Inputs: []Tensor{four, two}, Outputs: []Tensor{four}},
		{Params: ActQuantize{HasClip: true}, Inputs: []Tensor{four, one}, Outputs: []Tensor{four}},
		{Params: ActQuantizeBackward{}, Inputs: []Tensor{four, one}, Outputs: []Tensor{four}},
		{Params: QuantizeWeights{Axis: 4, High: 127}, Inputs: []Tensor{weights}, Outputs: []Tensor{weights, one}},
		{Params: QuantizeWeights{Axis: 0, High: 127}, Inputs: []Tensor{weights}, Outputs: []Tensor{weights, one}},
		{Params: QuantizeWeights{Axis: 0}, Inputs: []Tensor{weights}, Outputs: []Tensor{weights, {Dims: []int{4}}}},
		{Params: ActQuantize{HasAbsMax: true}, Inputs: []Tensor{four, one}, Outputs: []Tensor{four, two}},
		{Params: Loss{Axis: 4, Temperature: 1}, Inputs: []Tensor{four, four}, Outputs: []Tensor{two, four}},
		{Params: Loss{Axis: 1}, Inputs: []Tensor{four, four}, Outputs: []Tensor{two, four}},
		{Params: Loss{Kind: LossL2}, Inputs: []Tensor{four, eight}, Outputs: []Tensor{two, four}},
		{Params: GradientNorm{}, Inputs: []Tensor{four}, Outputs: []Tensor{one}},
		{Params: Optimize{Segments: []Segment{{60, 5, 1, 0}}}, Inputs: []Tensor{four, two}, Outputs: []Tensor{four}},
		{Params: Optimize{Kind: Adam}, Inputs: []Tensor{four, two}, Outputs: []Tensor{four, four}},
		{Params: Channels{[]ChannelRun{{-2, 0, 0, 4}}}, Inputs: []Tensor{{four.Dims, Blocked}}, Outputs: []Tensor{{four.Dims, Blocked}}},
	} {
		if op, err := d.NewOp(desc); err == nil {
			op.Close()
			t.Errorf("description %d, %s: accepted", i, fmt.Sprintf("%T", desc.Params))
		}
	}
}
