package calib

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/testenv"
)

// text prints a graph's nodes.
func text(g *onnx.Graph) string {
	s := ""
	for _, n := range g.Nodes {
		s += fmt.Sprintf("%s %v -> %v\n", n.Op, n.Inputs, n.Outputs)
	}
	return s
}

// planFor places a plan and gives every site a scale.
func planFor(t *testing.T, m *onnx.Model, opt Options) *Plan {
	t.Helper()
	p, err := Place(m.Graph, opt)
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Sites {
		p.Sites[i].Scale = 0.02
	}
	return p
}

// TestApplyLeavesPadOfASkippedLayer: the pair before a Pad is there for the layer
// behind it, and goes with it.
func TestApplyLeavesPadOfASkippedLayer(t *testing.T) {
	s := newSketch(t, 1, 16, 8, 8)
	s.ints("pads", 0, 0, 1, 1, 0, 0, 1, 1)
	s.node("Pad", "padded", nil, "x", "pads")
	s.conv("c0", "padded", 16, 16, 3, 1)
	s.conv("c1", "c0", 16, 16, 1, 1)
	m := s.done(s.conv("head", "c1", 16, 16, 1, 1))
	p := planFor(t, m, DefaultOptions())
	if len(p.Sites) != 2 || p.Sites[0].Tensor != "x" {
		t.Fatalf("sites %+v, want those of x and c0", p.Sites)
	}
	p.Skip("c0", "Conv", "by hand")
	q, err := Apply(m, p, FloatWeights)
	if err != nil {
		t.Fatal(err)
	}
	if first := q.Graph.Nodes[0]; first.Op != "Pad" || first.Inputs[0] != "x" {
		t.Errorf("the graph begins with %v, want the Pad on the float input:\n%s", first, text(q.Graph))
	}
}

func TestApplyGraph(t *testing.T) {
	m := bottleneck(t)
	before := text(m.Graph)
	p := planFor(t, m, DefaultOptions())
	p.Skip("c3", "Conv", "by hand")
	q, err := Apply(m, p, FloatWeights)
	if err != nil {
		t.Fatal(err)
	}
	want := `QuantizeLinear [x x_scale zero_point] -> [x_q]
DequantizeLinear [x_q x_scale zero_point] -> [x_dq]
QuantizeLinear [c0.w c0.w_scale c0.w_zero_point] -> [c0.w_q]
DequantizeLinear [c0.w_q c0.w_scale c0.w_zero_point] -> [c0.w_dq]
Conv [x_dq c0.w_dq c0.b] -> [c0]
Sigmoid [c0] -> [a.gate]
Mul [c0 a.gate] -> [a]
QuantizeLinear [a a_scale zero_point] -> [a_q]
DequantizeLinear [a_q a_scale zero_point] -> [a_dq]
QuantizeLinear [c1.w c1.w_scale c1.w_zero_point] -> [c1.w_q]
DequantizeLinear [c1.w_q c1.w_scale c1.w_zero_point] -> [c1.w_dq]
Conv [a_dq c1.w_dq c1.b] -> [c1]
Sigmoid [c1] -> [b.gate]
Mul [c1 b.gate] -> [b]
QuantizeLinear [b b_scale zero_point] -> [b_q]
DequantizeLinear [b_q b_scale zero_point] -> [b_dq]
QuantizeLinear [c2.w c2.w_scale c2.w_zero_point] -> [c2.w_q]
DequantizeLinear [c2.w_q c2.w_scale c2.w_zero_point] -> [c2.w_dq]
Conv [b_dq c2.w_dq c2.b] -> [c2]
Sigmoid [c2] -> [c.gate]
Mul [c2 c.gate] -> [c]
Add [a_dq c] -> [sum]
Conv [sum c3.w c3.b] -> [c3]
Sigmoid [c3] -> [d.gate]
Mul [c3 d.gate] -> [d]
Conv [d head.w head.b] -> [head]
Sigmoid [head] -> [out]
`
	if got := text(q.Graph); got != want {
		t.Errorf("the quantised graph is\n%swant\n%s", got, want)
	}
	if text(m.Graph) != before {
		t.Error("Apply changed the model it was given")
	}
	q, err = Apply(m, p, Int8Weights)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text(q.Graph), "QuantizeLinear [c0.w ") || q.Graph.Init["c0.w"] != nil {
		t.Error("with INT8 weights the float constant stays")
	}
	if w := q.Graph.Init["c0.w_q"]; w == nil || w.Type != onnx.Int8 {
		t.Error("with INT8 weights there is no INT8 constant")
	}
}

func TestApplyHonoursSkippedLines(t *testing.T) {
	// A person adds only a line to skipped and leaves the sites as they are.
	m := bottleneck(t)
	p := planFor(t, m, DefaultOptions())
	p.Skipped = append(p.Skipped, Skip{Node: "sum", Op: "Add", Reason: "mine"}, Skip{Node: "c1", Op: "Conv", Reason: "mine"})
	q, err := Apply(m, p, FloatWeights)
	if err != nil {
		t.Fatal(err)
	}
	got := text(q.Graph)
	for _, line := range []string{"Conv [a c1.w c1.b] -> [c1]", "Add [a c] -> [sum]", "Conv [sum_dq c3.w_dq c3.b]"} {
		if !strings.Contains(got, line) {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
}

func TestApplyRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(p *Plan)
		want string
	}{
		{"another model", func(p *Plan) { p.Model.SHA256 = strings.Repeat("b", 64) }, "calibrate this model"},
		{"unknown node", func(p *Plan) { p.Sites[0].Consumers[0] = "nose" }, `node "nose" is not in the model`},
		{"not a reader", func(p *Plan) { p.Sites[0].Consumers[0] = "c3" }, `node "c3" does not read it`},
		{"a constant as a site", func(p *Plan) { p.Sites[0].Tensor = "c0.w" }, "is a constant"},
		{"number of weight scales", func(p *Plan) { p.Weights[0].Scales = p.Weights[0].Scales[1:] }, "15 scales for axis 0"},
		{"axis", func(p *Plan) { p.Weights[0].Axis = 9 }, "for axis 9"},
		{"an activation as weights", func(p *Plan) { p.Weights[0].Tensor = "x" }, "are not a constant"},
		{"an equalised tensor that is none", func(p *Plan) { p.Equalised = []Equalisation{{"q", []string{"c1"}, []float32{1}}} }, "1 factors for a tensor"},
		{"length of a bias", func(p *Plan) { p.Biases = []BiasCorrection{{"c0", []float32{1}}} }, "1 values"},
		{"bias of no layer", func(p *Plan) { p.Biases = []BiasCorrection{{"sum", []float32{1}}} }, "1 values for a Add"},
	} {
		m := bottleneck(t)
		m.SHA256 = strings.Repeat("a", 64)
		p := planFor(t, m, DefaultOptions())
		c.edit(p)
		_, err := Apply(m, p, FloatWeights)
		if err == nil || fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q and a bad-input code", c.name, err, c.want)
		}
	}
	m := bottleneck(t)
	p, err := Place(m.Graph, DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Apply(m, p, FloatWeights); err == nil || !strings.Contains(err.Error(), "no scales yet") {
		t.Errorf("a plan without scales: error %v", err)
	}
}

func TestApplyFindsFreshNames(t *testing.T) {
	m := bottleneck(t)
	for _, n := range m.Graph.Nodes { // names that Apply would like to use
		for i, in := range n.Inputs {
			if in == "b" {
				n.Inputs[i] = "a_dq"
			}
		}
		if n.Outputs[0] == "b" {
			n.Outputs[0] = "a_dq"
		}
	}
	m.Graph.Info["a_dq"] = m.Graph.Info["b"]
	p := planFor(t, m, DefaultOptions())
	q, err := Apply(m, p, FloatWeights)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, n := range q.Graph.Nodes {
		for _, o := range n.Outputs {
			if seen[o] {
				t.Errorf("tensor %q is made twice", o)
			}
			seen[o] = true
		}
	}
	if !seen["a_dq_2"] {
		t.Errorf("the pair behind a has no name of its own:\n%s", text(q.Graph))
	}
}

// runModels checks models with onnx.checker and gives the relative L2 distance
// of each one's outputs from the first one's, in onnxruntime on random input,
// integer kernels switched off.
const runModels = `
import json, sys, numpy as np, onnx, onnxruntime as ort
out = []; ref = None
for path in sys.argv[1:]:
    m = onnx.load(path); onnx.checker.check_model(m, full_check=True)
    o = ort.SessionOptions(); o.log_severity_level = 3
    o.add_session_config_entry("session.disable_quant_qdq", "1")
    s = ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(1)
    feed = {i.name: rng.standard_normal([d if isinstance(d, int) else 1 for d in i.shape]).astype(np.float32) for i in s.get_inputs()}
    y = np.concatenate([v.ravel() for v in s.run(None, feed)]).astype(np.float64)
    if ref is None: ref = y
    out.append(float(np.linalg.norm(y - ref) / np.linalg.norm(ref)))
print(json.dumps(out))
`

// distances saves models and runs them.
func distances(t *testing.T, models ...*onnx.Model) []float64 {
	t.Helper()
	dir := t.TempDir()
	var args []string
	for i, m := range models {
		path := filepath.Join(dir, fmt.Sprintf("%d.onnx", i))
		if err := m.Save(path); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	var d []float64
	if err := json.Unmarshal([]byte(testenv.RunPython(t, runModels, args...)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAppliedModelsRunInOnnxruntime(t *testing.T) {
	testenv.Python(t)
	all := DefaultOptions()
	all.Depthwise, all.Thin, all.Pooled, all.QuantizeHeads = true, true, true, true
	for name, m := range map[string]*onnx.Model{"bottleneck": bottleneck(t), "pyramid": pyramid(t), "mobile": mobile(t)} {
		p := planFor(t, m, all)
		for i := range p.Sites { // wide enough for random weights
			p.Sites[i].Scale = 1e-3
		}
		fine := p.Clone()
		for i := range fine.Weights {
			for c := range fine.Weights[i].Scales {
				fine.Weights[i].Scales[c] *= 0.7 // clips
			}
		}
		var models []*onnx.Model
		for _, c := range []struct {
			p    *Plan
			form WeightForm
		}{{p, FloatWeights}, {p, Int8Weights}, {fine, FloatWeights}, {fine, Int8Weights}} {
			q, err := Apply(m, c.p, c.form)
			if err != nil {
				t.Fatal(err)
			}
			models = append(models, q)
		}
		d := distances(t, models...)
		// Both forms of weights hold the same numbers.
		if d[1] != 0 {
			t.Errorf("%s: INT8 weights compute something else than float weights: %v", name, d[1])
		}
		if e := distances(t, models[2], models[3]); e[1] != 0 {
			t.Errorf("%s: clipped INT8 weights compute something else than clipped float weights: %v", name, e[1])
		}
		if d[2] == 0 {
			t.Errorf("%s: clipping the weights changed nothing", name)
		}
	}
}

func TestAppliedWeightsStayWithin127(t *testing.T) {
	w := onnx.NewTensor([]int{1, 4}, []float32{-1, 1, 0.5, -0.2})
	scales := []float32{0.5 / 127}
	clamped, changed := clampWeights(w.Data.([]float32), w.Dims, 0, scales)
	if !changed {
		t.Fatal("nothing was clamped")
	}
	for i, v := range clamped {
		q := math.RoundToEven(float64(v / scales[0]))
		if q < -127 || q > 127 || int8(q) != QuantizeWeight(w.Data.([]float32)[i], scales[0]) {
			t.Errorf("weight %d becomes %v, want %d", i, q, QuantizeWeight(w.Data.([]float32)[i], scales[0]))
		}
	}
}

// uneven is a model in which an activation of each kind that Equalise knows has
// channels of very different range, with these ranges.
func uneven(t *testing.T) (*onnx.Model, map[string][]float32) {
	s := newSketch(t, 1, 3, 12, 12)
	s.conv("c0", "x", 3, 16, 3, 1)
	s.node("Relu", "r0", nil, "c0") // divided in c0
	s.conv("d1", "r0", 16, 16, 3, 16)
	s.silu("s1", "d1") // a Mul behind it
	s.conv("d2", "s1", 16, 16, 3, 16)
	s.silu("s2", "d2") // read by another too
	s.conv("c3", "s2", 16, 16, 3, 1)
	s.node("Concat", "cat", map[string]onnx.Attr{"axis": int64(1)}, "s2", "c3") // a Mul on each branch
	s.conv("d4", "cat", 32, 32, 3, 32)
	m := s.done(s.conv("head", s.node("Relu", "r4", nil, "d4"), 32, 8, 1, 1))
	ranges := map[string][]float32{}
	for tensor, n := range map[string]int{"r0": 16, "s1": 16, "s2": 16, "cat": 32} {
		r := ones(n)
		r[1], r[2], r[3] = 100, 0, 0.01
		ranges[tensor] = r
	}
	return m, ranges
}

func ones(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

func TestEqualiseKeepsTheFloatModel(t *testing.T) {
	m, ranges := uneven(t)
	p := planFor(t, m, Options{Depthwise: true, Thin: true})
	list := Equalise(m.Graph, p, ranges)
	var tensors []string
	for _, e := range list {
		tensors = append(tensors, e.Tensor)
	}
	if got, want := fmt.Sprint(tensors), "[r0 s1 s2 cat]"; got != want {
		t.Fatalf("equalised %s, want %s", got, want)
	}
	after, err := Rescale(m, list)
	if err != nil {
		t.Fatal(err)
	}
	var divisions []string
	for _, n := range after.Graph.Nodes {
		if n.Op == "Mul" && after.Graph.Init[n.Input(1)] != nil {
			divisions = append(divisions, n.Input(0))
		}
	}
	// r0's is in c0's weights.
	if got, want := fmt.Sprint(divisions), "[s1 s2 s2 c3]"; got != want {
		t.Errorf("divided %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(EqualisedTensors(after)), "[r0 c0 cat]"; got != want || EqualisedTensors(m) != nil {
		t.Errorf("other values in %s, want %s", got, want)
	}
	if d := distances(t, m, after); d[1] > 1e-5 {
		t.Errorf("the equalised model's outputs are %v off the float model's", d[1])
	}
	if again := Equalise(m.Graph, p, map[string][]float32{"r0": ones(16)}); len(again) != 0 {
		t.Errorf("even channels are equalised: %v", again)
	}
}

// TestEqualiseFactors: depthwise convolutions take the ranges as they are, others
// share them with the weights; the geometric mean is 1 and nothing goes beyond
// mostUneven.
func TestEqualiseFactors(t *testing.T) {
	m, ranges := uneven(t)
	list := Equalise(m.Graph, planFor(t, m, Options{Depthwise: true, Thin: true}), ranges)
	for _, e := range list {
		logs := 0.0
		for _, f := range e.Factors {
			logs += math.Log(float64(f))
		}
		if math.Abs(logs) > 1e-4 {
			t.Errorf("%s: the factors' logarithms add up to %v, want 0", e.Tensor, logs)
		}
	}
	depthwise := list[1].Factors
	if r := depthwise[1] / depthwise[0]; math.Abs(float64(r)/100-1) > 1e-4 {
		t.Errorf("a channel of a hundred times the range has a factor %v times as large", r)
	}
	if r := depthwise[1] / depthwise[2]; math.Abs(float64(r)/mostUneven-1) > 1e-4 {
		t.Errorf("a dead channel's factor is %v times smaller than the largest, want %v", r, mostUneven)
	}
	weights := inputRanges(m.Graph, nodesByName(m.Graph)["c3"])
	want := math.Sqrt(100 * float64(weights[0]) / float64(weights[1]))
	if r := float64(list[2].Factors[1] / list[2].Factors[0]); math.Abs(r/want-1) > 1e-4 {
		t.Errorf("a dense layer's factors are %v apart, want %v", r, want)
	}
}

// TestEqualisedPlanWithoutItsReaders: when all readers of an equalised tensor are float
// after all, a Mul that divides it goes. A division in weights stays, whose scales are
// those of the divided weights.
func TestEqualisedPlanWithoutItsReaders(t *testing.T) {
	m, ranges := uneven(t)
	list := Equalise(m.Graph, planFor(t, m, Options{Depthwise: true, Thin: true}), ranges)
	float, err := Rescale(m, list)
	if err != nil {
		t.Fatal(err)
	}
	without := func(layer string) *onnx.Model {
		p := planFor(t, float, Options{Depthwise: true, Thin: true})
		p.Equalised = list
		p.Skip(layer, "Conv", "mine")
		q, err := Apply(m, p, FloatWeights)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	q := without("d2")
	if n := nodesByName(q.Graph)["d2"]; n.Input(0) != "s1" {
		t.Errorf("the skipped layer reads %q, want s1", n.Input(0))
	}
	if d := distances(t, m, q); d[1] > 1 {
		t.Errorf("the quantised model is %v off", d[1])
	}
	q = without("d1")
	for _, weights := range []string{"c0.w", "c0.b", "d1.w"} { // divided, divided, multiplied
		got := q.Graph.Init[weights] // nil where its values had to be clamped to the grid
		if got == nil || !reflect.DeepEqual(got.Data, float.Graph.Init[weights].Data) {
			t.Errorf("%s is not what the scales were found for", weights)
		}
	}
}

func TestBiasCorrectionTakesBackTheMeanShift(t *testing.T) {
	s := newSketch(t, 1, 16, 2, 2)
	s.conv("c0", "x", 16, 32, 1, 1)
	m := s.done(s.conv("head", s.node("Relu", "r", nil, "c0"), 32, 8, 1, 1))
	p, err := Place(m.Graph, DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	for c := range p.Weights[0].Scales {
		p.Weights[0].Scales[c] *= 20 // six bits fewer: a visible error
	}
	mean := make([]float32, 16)
	for i := range mean {
		mean[i] = float32(i) - 3
	}
	if err := p.CorrectBiases(m.Graph, func(string) ([]float32, error) { return mean, nil }); err != nil {
		t.Fatal(err)
	}
	w, b := m.Graph.Init["c0.w"].Data.([]float32), m.Graph.Init["c0.b"].Data.([]float32)
	for o := range 32 {
		exact, rounded := float64(b[o]), float64(b[o])+float64(p.Biases[0].Delta[o])
		shift := 0.0
		for i := range 16 {
			v := w[o*16+i]
			q := float64(QuantizeWeight(v, p.Weights[0].Scales[o])) * float64(p.Weights[0].Scales[o])
			exact += float64(v) * float64(mean[i])
			rounded += q * float64(mean[i])
			shift += math.Abs(q - float64(v))
		}
		if shift == 0 {
			t.Fatal("the weights lost nothing to rounding; the test shows nothing")
		}
		if math.Abs(exact-rounded) > 1e-4 {
			t.Errorf("output %d has mean %v after correction, want %v", o, rounded, exact)
		}
	}
	for i := range p.Sites {
		p.Sites[i].Scale = 0.1
	}
	q, err := Apply(m, p, FloatWeights)
	if err != nil {
		t.Fatal(err)
	}
	got := q.Graph.Init["c0.b"].Data.([]float32)
	for o := range got {
		if got[o] != b[o]+p.Biases[0].Delta[o] {
			t.Errorf("bias %d is %v, want %v", o, got[o], b[o]+p.Biases[0].Delta[o])
		}
	}
	// A layer that is taken out keeps its weights as they are, and so its bias.
	p.Skipped = append(p.Skipped, Skip{Node: "c0", Reason: "by hand"})
	if q, err = Apply(m, p, FloatWeights); err != nil {
		t.Fatal(err)
	}
	baked, _, err := Bake(m, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []*onnx.Model{q, baked} {
		if got := form.Graph.Init["c0.b"].Data.([]float32); !slices.Equal(got, b) {
			t.Errorf("the bias of a float layer is %v, want %v", got, b)
		}
	}
}

func TestChannelScales(t *testing.T) {
	// Axis 1 of a 2x3x2 tensor; channel 1 is dead.
	w := onnx.NewTensor([]int{2, 3, 2}, []float32{1, -2, 0, 0, 5, 5, -3, 1, 0, 0, 4, -12.7})
	got, err := ChannelScales(w, 1, AbsMax)
	if err != nil {
		t.Fatal(err)
	}
	if want := []float32{3.0 / 127, MinScale, 12.7 / 127}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("scales %v, want %v", got, want)
	}
	if QuantizeWeight(0, MinScale) != 0 || QuantizeWeight(-12.7, 0.1) != -127 || QuantizeWeight(0.25, 0.1) != 2 || QuantizeWeight(0.35, 0.1) != 3 && QuantizeWeight(0.35, 0.1) != 4 {
		t.Error("rounding is not half to even within 127")
	}
	// The MSE scale of many small values and one outlier clips the outlier and
	// must have no larger squared error than the full scale.
	v := make([]float32, 4000)
	r := newSketch(t, 1).rng
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	v[7] = 9
	line := onnx.NewTensor([]int{1, len(v)}, v)
	full, _ := ChannelScales(line, 0, AbsMax)
	best, err := ChannelScales(line, 0, MSE)
	if err != nil {
		t.Fatal(err)
	}
	squared := func(s float32) (e float64) {
		for _, x := range v {
			d := float64(x) - float64(s)*float64(QuantizeWeight(x, s))
			e += d * d
		}
		return
	}
	if !(best[0] < full[0]) || squared(best[0]) >= squared(full[0]) {
		t.Errorf("MSE scale %v with error %v, full scale %v with error %v", best[0], squared(best[0]), full[0], squared(full[0]))
	}
	if _, err := ChannelScales(w, 1, Entropy); err == nil {
		t.Error("entropy for weights is accepted")
	}
}

func TestAppliedRealModel(t *testing.T) {
	path := testenv.Data(t, "models", "yolo_fastestv2_352.onnx") // opset 11, shared weights
	m, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	p := planFor(t, m, DefaultOptions())
	q, err := Apply(m, p, Int8Weights)
	if err != nil {
		t.Fatal(err)
	}
	if d := distances(t, m, q); !(d[1] > 0 && d[1] < 2) {
		t.Errorf("the quantised outputs are %v off the float ones", d[1])
	}
	out := filepath.Join(t.TempDir(), "q.onnx")
	if err := q.Save(out); err != nil {
		t.Fatal(err)
	}
	before, _ := os.Stat(path)
	after, _ := os.Stat(out)
	t.Logf("file %d bytes, INT8 %d bytes", before.Size(), after.Size())
}
