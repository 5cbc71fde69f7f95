package nn

// Trials: small models made in the test, run here in every way that must not
// make a difference, and in onnxruntime.

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"trtact/internal/compute"
	"trtact/internal/npy"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

// trial is one small model with its inputs.
type trial struct {
	name  string
	r     *rand.Rand
	model *onnx.Model
	feed  map[string]*onnx.Tensor
	ask   []string // tensors named in Options.Outputs
	// pole says that outputs are reciprocals: the last bits of what goes in, which are other
	// ones on another device, grow by the square of what comes out.
	pole bool
	// step is the quantisation step of the outputs, 0 for none: values on a
	// rounding tie may fall to either side.
	step float64
}

type attrs = map[string]onnx.Attr

func newTrial(name string) *trial {
	seed := uint64(len(name))
	for _, c := range name {
		seed = seed*1000003 + uint64(c)
	}
	return &trial{name: name, r: rand.New(rand.NewPCG(seed, 1)), feed: map[string]*onnx.Tensor{},
		model: &onnx.Model{IR: 9, Opset: 19, Graph: &onnx.Graph{Name: "trial",
			Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{}}}}
}

// input adds a float input of standard normal values.
func (t *trial) input(name string, dims ...int) {
	t.model.Graph.Inputs = append(t.model.Graph.Inputs, onnx.Value{Name: name, Type: onnx.Float, Dims: dims})
	t.feed[name] = t.normal(1, dims...)
}

// constant adds a float constant of normal values, scaled for sums over its
// second and later dimensions.
func (t *trial) constant(name string, dims ...int) {
	spread := 1.0
	if len(dims) > 1 {
		spread = 1 / math.Sqrt(float64(max(1, product(dims[1:]))))
	}
	t.model.Graph.Init[name] = t.normal(spread, dims...)
}

func (t *trial) normal(spread float64, dims ...int) *onnx.Tensor {
	data := make([]float32, product(dims))
	for i := range data {
		data[i] = float32(t.r.NormFloat64() * spread)
	}
	return onnx.NewTensor(dims, data)
}

func (t *trial) ints(name string, list ...int64) { t.model.Graph.Init[name] = onnx.Vector(list...) }
func (t *trial) scalar(name string, v float32)   { t.model.Graph.Init[name] = onnx.Scalar(v) }
func (t *trial) vector(name string, v ...float32) {
	t.model.Graph.Init[name] = onnx.Vector(v...)
}

// node adds a node written as "y = Conv x w", or "a b = Split x"; "_" is an input
// left out.
func (t *trial) node(line string, a attrs) {
	left, right, _ := strings.Cut(line, "=")
	words := strings.Fields(right)
	n := &onnx.Node{Name: "node_" + strings.Fields(left)[0], Op: words[0], Outputs: strings.Fields(left), Inputs: words[1:], Attrs: a}
	for i, name := range n.Inputs {
		if name == "_" {
			n.Inputs[i] = ""
		}
	}
	t.model.Graph.Nodes = append(t.model.Graph.Nodes, n)
}

// blocked puts a 1x1 convolution between input x and a new tensor, which the
// device then holds in its blocked layout, and gives its name.
func (t *trial) blocked(x string) string {
	dims := t.feed[x].Dims
	c := dims[1]
	w := append([]int{c, c}, ones(len(dims)-2)...)
	t.constant(x+"_mix", w...)
	t.node(fmt.Sprintf("%s_b = Conv %s %s_mix", x, x, x), nil)
	return x + "_b"
}

func (t *trial) outputs(names ...string) *trial {
	for _, name := range names {
		t.model.Graph.Outputs = append(t.model.Graph.Outputs, onnx.Value{Name: name, Type: onnx.Float})
	}
	return t
}

// runTrials runs each trial's model.onnx on its inputs in onnxruntime as it
// stands: no optimisation, no fusion of Q/DQ.
const runTrialsScript = `
import glob, os, sys, numpy as np, onnxruntime as ort
from onnx import numpy_helper
for folder in sorted(glob.glob(sys.argv[1] + "/*")):
    o = ort.SessionOptions(); o.log_severity_level = 4; o.intra_op_num_threads = 1
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    o.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        s = ort.InferenceSession(folder + "/model.onnx", o, providers=["CPUExecutionProvider"])
        feed = {i.name: np.load(folder + "/in_" + i.name + ".npy") for i in s.get_inputs()}
        for k, y in zip(s.get_outputs(), s.run(None, feed)):
            with open(folder + "/out_" + k.name + ".pb", "wb") as f:
                f.write(numpy_helper.from_array(np.asarray(y), k.name).SerializeToString())
    except Exception as e:
        with open(folder + "/error", "w") as f: f.write(str(e))
`

func writeTensor(t testing.TB, path string, tensor *onnx.Tensor) {
	t.Helper()
	if err := npy.Write(path, &npy.Array{Shape: tensor.Dims, Data: tensor.Data}); err != nil {
		t.Fatal(err)
	}
}

func readTensor(t testing.TB, path string) *onnx.Tensor {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tensor, _, err := onnx.ParseTensor(data)
	if err != nil {
		t.Fatal(err)
	}
	return tensor
}

// runTrials runs all trials there and here, here in every way.
func runTrials(t *testing.T, trials []*trial) {
	t.Helper()
	runTrialsIn(t, openAll(t), trials, true)
}

// runTrialsIn runs all trials there and here on the devices; everyWay as
// (*trial).check has it. On the emulated device it runs only some of them, one way.
func runTrialsIn(t *testing.T, devices []testDevice, trials []*trial, everyWay bool) {
	t.Helper()
	// The lists come from maps; which trials the emulated device takes must not change.
	slices.SortFunc(trials, func(a, b *trial) int { return strings.Compare(a.name, b.name) })
	root := t.TempDir()
	folder := func(i int) string { return filepath.Join(root, fmt.Sprintf("%05d", i)) }
	for i, c := range trials {
		if err := os.Mkdir(folder(i), 0o700); err != nil {
			t.Fatal(err)
		}
		m := c.model.Clone()
		for _, name := range c.ask {
			m.Graph.Outputs = append(m.Graph.Outputs, onnx.Value{Name: name, Type: onnx.Float})
		}
		if err := m.Save(filepath.Join(folder(i), "model.onnx")); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for name, tensor := range c.feed {
			writeTensor(t, filepath.Join(folder(i), "in_"+name+".npy"), tensor)
		}
	}
	testenv.RunPython(t, runTrialsScript, root)
	values := 0
	for i, c := range trials {
		if text, err := os.ReadFile(filepath.Join(folder(i), "error")); err == nil {
			t.Errorf("%s: onnxruntime: %s", c.name, text)
			continue
		}
		want := map[string]*onnx.Tensor{}
		for _, name := range c.names() {
			want[name] = readTensor(t, filepath.Join(folder(i), "out_"+name+".pb"))
			values += want[name].Len()
		}
		for _, d := range devices {
			if i%d.every(8) == 0 {
				c.check(t, d.Device, want, everyWay && d.kind != "emulated")
			}
		}
	}
	t.Logf("%d models, %d values", len(trials), values)
}

// TestTrialsAVX2 runs every trial on the library for processors without AVX-512.
func TestTrialsAVX2(t *testing.T) {
	inAVX2(t, func(d *compute.Device) {
		runTrialsIn(t, []testDevice{{d, "cpu"}}, allTrials(), false)
	})
}

// names are the tensors to compare.
func (c *trial) names() []string {
	names := slices.Clone(c.ask)
	for _, o := range c.model.Graph.Outputs {
		names = append(names, o.Name)
	}
	return names
}

// check runs the model with one thread and compares with want; everyWay: also with
// two threads, with all tensors kept and simplified, making sure that what must
// not change the result's bits does not.
func (c *trial) check(t *testing.T, d *compute.Device, want map[string]*onnx.Tensor, everyWay bool) {
	t.Helper()
	m := c.model.Clone()
	if err := shape.Infer(m, nil); err != nil {
		t.Errorf("%s: %v", c.name, err)
		return
	}
	first, err := c.run(t, d, m, Options{Outputs: c.ask})
	if err != nil {
		t.Errorf("%s: %v", c.name, err)
		return
	}
	c.compare(t, "", first, want)
	if !everyWay {
		return
	}
	kept, err := c.run(t, d, m, Options{Outputs: c.ask, KeepAll: true})
	if err != nil || !sameBits(first, kept) {
		t.Errorf("%s: keeping all tensors changes the result (%v)", c.name, err)
	}
	both, err := c.run(t, d, m, Options{Outputs: c.ask, Threads: 2})
	if err != nil {
		t.Errorf("%s: two threads: %v", c.name, err)
		return
	}
	c.compare(t, "two threads: ", both, want)
	if len(c.ask) > 0 {
		return // simplification may remove what was asked for
	}
	s := c.model.Clone()
	if _, err := simplify.Run(s); err != nil {
		t.Errorf("%s: %v", c.name, err)
		return
	}
	simple, err := c.run(t, d, s, Options{})
	if err != nil {
		t.Errorf("%s: simplified: %v", c.name, err)
		return
	}
	c.compare(t, "simplified: ", simple, want)
}

// run runs the model twice in each of two contexts at once, which have to agree to
// the bit, and checks the observers.
func (c *trial) run(t *testing.T, d *compute.Device, m *onnx.Model, o Options) (map[string]*onnx.Tensor, error) {
	t.Helper()
	n, err := Compile(m, d, o)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	var results [2]map[string]*onnx.Tensor
	var errs [2]error
	var wg sync.WaitGroup
	for i := range results {
		wg.Add(1)
		go func() {
			defer wg.Done()
			results[i], errs[i] = c.runContext(n)
		}()
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	if !sameBits(results[0], results[1]) {
		t.Errorf("%s: two contexts disagree", c.name)
	}
	return results[0], nil
}

func (c *trial) runContext(n *Network) (map[string]*onnx.Tensor, error) {
	x, err := n.NewContext()
	if err != nil {
		return nil, err
	}
	defer x.Close()
	var before map[string]*onnx.Tensor
	for run := range 2 {
		if run == 0 { // the second run finds its inputs where they were
			values := maps.Clone(c.feed)
			values["of no input"] = onnx.NewTensor([]int{1}, []float32{1})
			if err := x.SetInputs(values); err != nil {
				return nil, err
			}
		}
		if err := x.Run(); err != nil {
			return nil, err
		}
		out := map[string]*onnx.Tensor{}
		for _, name := range c.names() {
			if out[name], err = x.Output(name); err != nil {
				return nil, err
			}
			if err := observersAgree(x, name, out[name]); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		if before != nil && !sameBits(before, out) {
			return nil, fmt.Errorf("a second run gives another result")
		}
		before = out
	}
	return before, nil
}

// observersAgree compares AbsMax and Histogram with the tensor's elements: they
// look at memory in its own layout, padding included.
func observersAgree(x *Context, name string, t *onnx.Tensor) error {
	if v, _ := x.n.value(name); v == nil || v.constant != nil || v.onHost || t.Type != onnx.Float {
		return nil
	}
	top := float32(0)
	for _, v := range t.Floats() {
		top = max(top, float32(math.Abs(float64(v))))
	}
	got, err := x.AbsMax(name)
	if err != nil {
		return err
	}
	if got != top && !(got != got && top != top) {
		return fmt.Errorf("absmax is %g, of the elements %g", got, top)
	}
	if !(top > 0) || math.IsInf(float64(top), 0) {
		return nil
	}
	const n = 16
	bins, want := make([]int64, n), make([]int64, n)
	if err := x.Histogram(name, top, bins); err != nil {
		return err
	}
	for _, v := range t.Floats() {
		want[int(min(float32(math.Abs(float64(v)))*(n/top), n-1))]++
	}
	if !slices.Equal(bins, want) {
		return fmt.Errorf("histogram is %v, of the elements %v", bins, want)
	}
	return nil
}

func sameBits(a, b map[string]*onnx.Tensor) bool {
	for name, x := range a {
		y := b[name]
		if y == nil || x.Type != y.Type || !slices.Equal(x.Dims, y.Dims) {
			return false
		}
		p, q := x.Floats(), y.Floats()
		for i := range p {
			if math.Float32bits(p[i]) != math.Float32bits(q[i]) {
				return false
			}
		}
	}
	return true
}

// Two orders of summation in single precision part by a few units in the last
// place of the largest summands.
const trialTolerance = 2e-5

// compare compares values with those of onnxruntime.
func (c *trial) compare(t *testing.T, how string, got, want map[string]*onnx.Tensor) {
	t.Helper()
	for _, name := range c.names() {
		g, w := got[name], want[name]
		if g.Type != w.Type || !slices.Equal(g.Dims, w.Dims) {
			t.Errorf("%s: %s%s is %v%v, want %v%v", c.name, how, name, g.Type, g.Dims, w.Type, w.Dims)
			continue
		}
		a, b := g.Floats(), w.Floats()
		scale := 0.0
		for _, v := range b {
			if x := math.Abs(float64(v)); !math.IsInf(x, 0) && x > scale {
				scale = x
			}
		}
		ties := 0
		for i := range b {
			p, q := float64(a[i]), float64(b[i])
			if p == q || p != p && q != q {
				continue
			}
			diff := math.Abs(p - q)
			if diff <= trialTolerance*(scale+math.Abs(q)) || c.pole && diff <= trialTolerance*q*q {
				continue
			}
			if c.step > 0 && diff <= 1.001*c.step {
				if ties++; ties <= 1+len(b)/100 {
					continue
				}
			}
			t.Errorf("%s: %s%s%v: element %d is %s, want %s", c.name, how, name, g.Dims, i,
				strconv.FormatFloat(p, 'g', 8, 64), strconv.FormatFloat(q, 'g', 8, 64))
			break
		}
	}
}

// context compiles the trial's model, with other outputs beside its own, for the time of
// the test.
func (c *trial) context(t *testing.T, d *compute.Device, outputs ...string) *Context {
	t.Helper()
	if err := shape.Infer(c.model, nil); err != nil {
		t.Fatal(err)
	}
	n, err := Compile(c.model, d, Options{Outputs: outputs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	ctx, err := n.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ctx.Close)
	return ctx
}
