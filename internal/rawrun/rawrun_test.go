package rawrun

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/compute"
	"trtact/internal/fault"
	"trtact/internal/npy"
	"trtact/internal/onnx"
)

func device(t *testing.T) *compute.Device {
	t.Helper()
	d, err := compute.OpenCPU()
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// save writes a model: z = (x + y) * 2 over any number of rows of three, and
// k = the whole number n plus one.
func save(t *testing.T) string {
	t.Helper()
	m := &onnx.Model{IR: 8, Opset: 13, Graph: &onnx.Graph{
		Name: "two",
		Inputs: []onnx.Value{
			{Name: "x", Type: onnx.Float, Dims: []int{onnx.Dynamic, 3}, Symbols: []string{"rows", ""}},
			{Name: "y", Type: onnx.Float, Dims: []int{onnx.Dynamic, 3}, Symbols: []string{"rows", ""}},
			{Name: "n", Type: onnx.Int64, Dims: []int{2}},
		},
		Outputs: []onnx.Value{
			{Name: "z", Type: onnx.Float, Dims: []int{onnx.Dynamic, 3}},
			{Name: "k", Type: onnx.Int64, Dims: []int{2}},
		},
		Init: map[string]*onnx.Tensor{"two": onnx.Vector[float32](2), "one": onnx.Vector[int64](1)},
		Nodes: []*onnx.Node{
			{Name: "add", Op: "Add", Inputs: []string{"x", "y"}, Outputs: []string{"sum"}},
			{Name: "same", Op: "Identity", Inputs: []string{"sum"}, Outputs: []string{"copy"}},
			{Name: "double", Op: "Mul", Inputs: []string{"copy", "two"}, Outputs: []string{"z"}},
			{Name: "next", Op: "Add", Inputs: []string{"n", "one"}, Outputs: []string{"k"}},
		},
	}}
	path := filepath.Join(t.TempDir(), "two.onnx")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func arrays() map[string]*npy.Array {
	return map[string]*npy.Array{
		"x": {Shape: []int{2, 3}, Data: []float32{1, 2, 3, 4, 5, 6}},
		"y": {Shape: []int{2, 3}, Data: []float32{10, 20, 30, 40, 50, 60}},
		"n": {Shape: []int{2}, Data: []int64{1 << 40, -7}},
	}
}

func TestRun(t *testing.T) {
	d, path := device(t), save(t)
	for _, threads := range []int{0, 1, 3} {
		got, spent, err := Run(d, path, Options{Inputs: arrays(), Tensors: []string{"copy", "sum", "z"}, Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		if spent <= 0 {
			t.Errorf("the run took %v", spent)
		}
		var names []string
		for _, o := range got {
			names = append(names, o.Name)
		}
		if strings.Join(names, " ") != "z k copy sum" { // the outputs, then what was asked for, each once
			t.Fatalf("outputs %q", names)
		}
		for i, want := range []float32{22, 44, 66, 88, 110, 132} {
			if v := got[0].Tensor.Floats()[i]; math.Abs(float64(v-want)) > 1e-5 {
				t.Errorf("z[%d] = %v, want %v", i, v, want)
			}
			for _, inner := range got[2:] {
				if v := inner.Tensor.Floats()[i]; math.Abs(float64(v-want/2)) > 1e-5 {
					t.Errorf("%s[%d] = %v, want %v", inner.Name, i, v, want/2)
				}
			}
		}
		k, err := got[1].Tensor.Ints()
		if err != nil || k[0] != 1<<40+1 || k[1] != -6 || got[1].Tensor.Type != onnx.Int64 {
			t.Errorf("k = %v of %v, %v", k, got[1].Tensor.Type, err)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	d, path := device(t), save(t)
	for _, c := range []struct {
		name   string
		change func(o *Options)
		code   int
		want   string
	}{
		{"missing input", func(o *Options) { delete(o.Inputs, "y") }, fault.CodeUsage, `input "y" has no array`},
		{"unknown input", func(o *Options) { o.Inputs["q"] = o.Inputs["x"] }, fault.CodeUsage, `no input "q"`},
		{"nameless input", func(o *Options) { o.Inputs = map[string]*npy.Array{"": o.Inputs["x"]} }, fault.CodeUsage, "without a name"},
		{"unknown tensor", func(o *Options) { o.Tensors = []string{"q"} }, fault.CodeUsage, `no tensor "q"`},
		{"type", func(o *Options) { o.Inputs["n"] = &npy.Array{Shape: []int{2}, Data: []int32{1, 2}} }, fault.CodeBadInput, "astype(numpy.int64)"},
		{"rank", func(o *Options) { o.Inputs["x"] = &npy.Array{Shape: []int{3}, Data: make([]float32, 3)} }, fault.CodeBadInput, `"x"`},
		{"size", func(o *Options) { o.Inputs["x"] = &npy.Array{Shape: []int{2, 4}, Data: make([]float32, 8)} }, fault.CodeBadInput, `"x"`},
		{"rows differ", func(o *Options) { o.Inputs["x"] = &npy.Array{Shape: []int{5, 3}, Data: make([]float32, 15)} }, fault.CodeBadInput, "two.onnx"},
	} {
		o := Options{Inputs: arrays()}
		c.change(&o)
		got, _, err := Run(d, path, o)
		if got != nil || fault.Code(err) != c.code || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v (exit code %d), want exit code %d and %q", c.name, err, fault.Code(err), c.code, c.want)
		}
	}
	if _, _, err := Run(d, filepath.Join(t.TempDir(), "absent.onnx"), Options{Inputs: arrays()}); fault.Code(err) != fault.CodeBadInput {
		t.Errorf("an absent model: %v", err)
	}
}
