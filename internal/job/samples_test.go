package job

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/calib"
	"trtact/internal/compute"
	"trtact/internal/fault"
	"trtact/internal/npy"
	"trtact/internal/onnx"
	"trtact/internal/testenv"
)

// filters writes a model that is no detector: inputs x and y of 1x16x6x6 go
// through two convolutions and a sum, and a third one makes the output.
func filters(t *testing.T) *Detector {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	g := &onnx.Graph{Name: "filters", Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{}}
	for _, name := range []string{"x", "y"} {
		g.Inputs = append(g.Inputs, onnx.Value{Name: name, Type: onnx.Float, Dims: []int{1, 16, 6, 6}})
	}
	node := func(op, out string, attrs map[string]onnx.Attr, in ...string) {
		g.Nodes = append(g.Nodes, &onnx.Node{Name: out, Op: op, Inputs: in, Outputs: []string{out}, Attrs: attrs})
	}
	conv := func(out, in string) {
		w := make([]float32, 16*16*9)
		for i := range w {
			w[i] = float32(rng.NormFloat64()) / 12
		}
		g.Init[out+".w"] = onnx.NewTensor([]int{16, 16, 3, 3}, w)
		node("Conv", out, map[string]onnx.Attr{"pads": []int64{1, 1, 1, 1}, "kernel_shape": []int64{3, 3}}, in, out+".w")
	}
	conv("a", "x")
	conv("b", "y")
	node("Add", "sum", nil, "a", "b")
	node("Relu", "positive", nil, "sum")
	conv("c", "positive")
	node("Relu", "more", nil, "c")
	conv("out", "more")
	g.Outputs = []onnx.Value{{Name: "out", Type: onnx.Float, Dims: []int{1, 16, 6, 6}}}
	m := &onnx.Model{IR: 8, Opset: 13, Graph: g}
	path := filepath.Join(t.TempDir(), "filters.onnx")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	d, err := LoadDetector(path, LoadOptions{Family: "none"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// cpu is a machine to calibrate on.
func cpu(t *testing.T) *Machine {
	t.Helper()
	testenv.Libraries(t)
	device, err := compute.OpenCPU()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { device.Close() })
	return &Machine{Device: device, Threads: 2}
}

func normal(shape []int, seed uint64) *npy.Array {
	rng := rand.New(rand.NewPCG(seed, 1))
	data := make([]float32, volume(shape))
	for i := range data {
		data[i] = float32(rng.NormFloat64())
	}
	return &npy.Array{Shape: shape, Data: data}
}

// oneInput is filters with y as a constant.
func oneInput(t *testing.T) *Detector {
	t.Helper()
	d := filters(t)
	g := d.Model.Graph
	g.Init["y"] = onnx.NewTensor([]int{1, 16, 6, 6}, make([]float32, 16*36))
	g.Inputs = g.Inputs[:1]
	return d
}

func TestCalibrateOnArrays(t *testing.T) {
	m, d := cpu(t), filters(t)
	// What numpy.savez would write, out of two .npy files.
	x, y := normal([]int{20, 16, 6, 6}, 1), normal([]int{20, 16, 6, 6}, 2)
	x.Data.([]float32)[5000] = -9
	a := &arrays{inputs: d.Model.Graph.Inputs, count: 20, files: []arrayFile{{path: "pair.npz", count: 20, npz: map[string]*npy.Array{"x": x, "y": y}}}}
	c, err := m.CalibrateOn(context.Background(), d, a, CalibrateOptions{Placement: calib.DefaultOptions()})
	if err != nil {
		t.Fatal(err)
	}
	if c.Images != 20 || c.Statistics["x"].AbsMax != 9 {
		t.Errorf("%d samples, largest magnitude of x %v: want 20 and 9", c.Images, c.Statistics["x"].AbsMax)
	}
	if e := c.NodeError["out"]; !(e > 1e-4 && e < 0.03) {
		t.Errorf("error at the output %v", e)
	}
	for _, s := range c.Plan.Sites {
		if s.Scale <= 0 {
			t.Errorf("site %+v", s)
		}
	}
	if len(c.Plan.Sites) < 3 || !strings.HasPrefix(c.Plan.Method, "auto: ") {
		t.Errorf("%d sites by %s", len(c.Plan.Sites), c.Plan.Method)
	}
	if c.Trials[0].Score <= 0 || math.IsInf(c.Trials[0].Score, 0) {
		t.Errorf("trial %+v", c.Trials[0])
	}
}

// TestChosen: without a number no more samples than DefaultImages, from everywhere.
func TestChosen(t *testing.T) {
	many := &arrays{count: 3 * DefaultImages, files: []arrayFile{{path: "many.npy", count: 3 * DefaultImages}}}
	for _, c := range []struct{ images, want, last int }{
		{0, DefaultImages, 3 * (DefaultImages - 1)}, {10, 10, 9}, {4 * DefaultImages, 3 * DefaultImages, 3*DefaultImages - 1},
	} {
		s := CalibrateOptions{Images: c.images}.chosen(many)
		if got, want := s.Name(s.Len()-1), many.Name(c.last); s.Len() != c.want || got != want {
			t.Errorf("%d images: %d samples, the last %s; want %d and %s", c.images, s.Len(), got, c.want, want)
		}
	}
	few := CalibrateOptions{}.chosen(First(many, 7))
	if few.Len() != 7 {
		t.Errorf("%d of 7 samples", few.Len())
	}
}

// TestCalibrateRefuses: flags that leave nothing to quantise are the flags' fault, values
// that are no numbers the data's, with channels to even out and without.
func TestCalibrateRefuses(t *testing.T) {
	m, d := cpu(t), filters(t)
	x := normal([]int{4, 16, 6, 6}, 1)
	samples := &arrays{inputs: d.Model.Graph.Inputs, count: 4, files: []arrayFile{{path: "pair.npz", count: 4, npz: map[string]*npy.Array{"x": x, "y": x}}}}
	calibrate := func(change func(*CalibrateOptions)) error {
		o := CalibrateOptions{Placement: calib.DefaultOptions()}
		change(&o)
		_, err := m.CalibrateOn(context.Background(), d, samples, o)
		return err
	}
	check := func(name string, err error, code int, want string) {
		t.Helper()
		if err == nil || fault.Code(err) != code || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want exit code %d and %q", name, err, code, want)
		}
	}
	check("all excluded", calibrate(func(o *CalibrateOptions) { o.Placement.Exclude = []string{"."} }), fault.CodeUsage, "left to quantise")
	x.Data.([]float32)[700] = float32(math.NaN())
	for _, equalise := range []Equalise{EqualiseAuto, EqualiseOff} {
		check("equalise "+string(equalise), calibrate(func(o *CalibrateOptions) { o.Equalise = equalise }), fault.CodeBadInput, "pair.npz[1]")
	}
}

// TestOpenSamplesFolder: a folder of .npy files is read item by item, in the
// order of names.
func TestOpenSamplesFolder(t *testing.T) {
	d, dir := oneInput(t), t.TempDir()
	for i, name := range []string{"a.npy", "b.npy"} {
		a := normal([]int{3 + i, 16, 6, 6}, uint64(i))
		a.Data.([]float32)[0] = float32(i + 100)
		if err := npy.Write(filepath.Join(dir, name), a); err != nil {
			t.Fatal(err)
		}
	}
	s, _, err := OpenSamples(dir, "", d)
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() != 7 || filepath.Base(s.Name(4)) != "b.npy[1]" {
		t.Errorf("%d samples, the fifth is %s", s.Len(), s.Name(4))
	}
	for i, want := range map[int]float32{0: 100, 3: 101} {
		v, err := s.Read(i)
		if err != nil || v["x"].Floats()[0] != want || v["x"].Len() != 16*36 {
			t.Errorf("sample %d: %v, %v", i, v, err)
		}
	}
	if n := First(s, 5).Len(); n != 5 {
		t.Errorf("the first 5 are %d", n)
	}
	// Beside a picture they are no samples but for a model that takes none.
	if err := os.WriteFile(filepath.Join(dir, "c.JPG"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if files, err := arrayFiles(dir, true); err != nil || files != nil {
		t.Errorf("beside a picture: %q, %v", files, err)
	}
	if s, _, err := OpenSamples(dir, "", d); err != nil || s.Len() != 7 {
		t.Errorf("beside a picture, for a model without: %v, %v", s, err)
	}
}

func TestOpenSamplesRefuses(t *testing.T) {
	one, two := oneInput(t), filters(t)
	write := func(shape ...int) string {
		path := filepath.Join(t.TempDir(), "a.npy")
		if err := npy.Write(path, normal(shape, 1)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	broken := filepath.Join(t.TempDir(), "a.npz")
	if err := os.WriteFile(broken, []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		d    *Detector
		code int
		want string
	}{
		"shape":     {write(4, 16, 6, 7), one, fault.CodeBadInput, "want [N 16 6 6]"},
		"rank":      {write(16, 6, 6), one, fault.CodeBadInput, "want [N 16 6 6]"},
		"none":      {write(0, 16, 6, 6), one, fault.CodeBadInput, "no samples"},
		"inputs":    {write(4, 16, 6, 6), two, fault.CodeUsage, ".npz"},
		"broken":    {broken, two, fault.CodeBadInput, "npz"},
		"pictures":  {t.TempDir(), one, fault.CodeUsage, "arrays"},
		"not there": {filepath.Join(t.TempDir(), "x.npy"), one, fault.CodeBadInput, "x.npy"},
	} {
		if _, _, err := OpenSamples(c.path, "", c.d); err == nil || fault.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v: want %q in it", name, err, c.want)
		}
	}
}

func TestTensorOf(t *testing.T) {
	float := onnx.Value{Name: "x", Type: onnx.Float, Dims: []int{1, 2}}
	if v, err := tensorOf(float, []uint8{3, 255}); err != nil || v.Type != onnx.Float || v.Floats()[1] != 255 {
		t.Errorf("uint8 for a float input: %v, %v", v, err)
	}
	index := onnx.Value{Name: "x", Type: onnx.Int64, Dims: []int{1, 2}}
	if v, err := tensorOf(index, []int64{3, 4}); err != nil || v.Type != onnx.Int64 {
		t.Errorf("int64: %v, %v", v, err)
	}
	if _, err := tensorOf(index, []float32{3, 4}); err == nil {
		t.Error("float for an int64 input is taken")
	}
}
