package nn

// Hostile graphs: small models changed at random, and their bytes. Whatever they
// say, an error or a result is the answer, never a crash of the process.

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"trtact/internal/compute"
	"trtact/internal/onnx"
	"trtact/internal/onnx/host"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
)

// Bounds that keep a hostile model within a test's time and memory.
const (
	mutantElements = 1 << 16
	mutantBytes    = 32 << 20
)

// survive takes a model as far as it goes. It returns an error only for what must
// not happen.
func survive(d *compute.Device, m *onnx.Model, simplified bool) (ran bool, err error) {
	for _, v := range m.Graph.Inputs {
		if len(v.Dims) > 16 {
			return false, nil
		}
		n := 1
		for _, d := range v.Dims {
			if d < 0 || d > mutantElements {
				return false, nil
			}
			if n *= d; n > mutantElements {
				return false, nil
			}
		}
	}
	if err := shape.Infer(m, nil); err != nil {
		return false, nil
	}
	if simplified {
		if _, err := simplify.Run(m); err != nil {
			return false, nil
		}
	}
	for _, v := range m.Graph.Info {
		n := 1.0
		for _, d := range v.Dims {
			n *= math.Abs(float64(d))
		}
		if n > mutantElements {
			return false, nil
		}
	}
	n, err := Compile(m, d, Options{MaxBytes: mutantBytes})
	if errors.Is(err, errUnforeseen) {
		return false, err
	}
	if err != nil {
		return false, nil
	}
	defer n.Close()
	c, err := n.NewContext()
	if err != nil {
		return false, err
	}
	defer c.Close()
	r := rand.New(rand.NewPCG(1, 2))
	feed := map[string]*onnx.Tensor{}
	for _, v := range n.Inputs() {
		feed[v.Name] = someTensor(r, v)
		if feed[v.Name].Data == nil {
			return false, nil // of a type that tests make no values of
		}
		if err := c.SetTensor(v.Name, feed[v.Name]); err != nil {
			return false, fmt.Errorf("input %v: %w", v, err)
		}
	}
	if err := c.Run(); err != nil {
		return false, nil // a host operator may refuse its operands
	}
	want, err := onHost(m, feed)
	if err != nil {
		return true, nil // stricter than the device, with what is no ONNX
	}
	for _, v := range n.Outputs() {
		out, err := c.Output(v.Name)
		if err != nil {
			return false, err
		}
		if err := agree(out, want[v.Name]); err != nil && !amplifies(m.Graph) {
			return false, fmt.Errorf("output %q: %w", v.Name, err)
		}
		if v.Dims == nil || slices.Contains(v.Dims, onnx.Dynamic) {
			continue
		}
		if out.Type != v.Type || out.Len() != product(v.Dims) {
			return false, fmt.Errorf("output %q came out as %v%v, shapes said %v%v", v.Name, out.Type, out.Dims, v.Type, v.Dims)
		}
	}
	return true, nil
}

// onHost computes a model node by node in Go.
func onHost(m *onnx.Model, feed map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
	values := maps.Clone(m.Graph.Init)
	maps.Copy(values, feed)
	read := map[string]bool{} // by somebody, in the end by an output
	for _, v := range m.Graph.Outputs {
		read[v.Name] = true
	}
	for _, n := range slices.Backward(m.Graph.Nodes) {
		if slices.ContainsFunc(n.Outputs, func(name string) bool { return read[name] }) {
			for _, name := range n.Inputs {
				read[name] = true
			}
		}
	}
	for _, n := range m.Graph.Nodes {
		if !slices.ContainsFunc(n.Outputs, func(name string) bool { return read[name] }) {
			continue
		}
		in := make([]*onnx.Tensor, len(n.Inputs))
		for i, name := range n.Inputs {
			in[i] = values[name]
		}
		eval := host.Eval
		if !host.Supports(n.Op, n.Domain) {
			eval = host.Reference
		}
		out, err := eval(n, m.Opset, in)
		if err != nil {
			return nil, err
		}
		for i, name := range n.Outputs {
			if i < len(out) && name != "" {
				values[name] = out[i]
			}
		}
	}
	return values, nil
}

// amplifies reports whether a graph has a step or a pole in it, beside which small
// differences grow, or constants so large that single precision overflows.
func amplifies(g *onnx.Graph) bool {
	for _, t := range g.Init {
		for _, v := range t.Floats() {
			if !(math.Abs(float64(v)) < 1e6) {
				return true
			}
		}
	}
	return slices.ContainsFunc(g.Nodes, func(n *onnx.Node) bool {
		switch n.Op {
		case "Resize":
			if n.Int("exclude_outside", 0) != 0 {
				return true
			}
		case "QuantizeLinear", "Round", "Floor", "Ceil", "Cast", "Div", "Reciprocal", "Pow", "Log":
			return true
		}
		return false
	})
}

// agree compares with a tolerance for other orders of summation and for what
// later operators make of it.
func agree(got, want *onnx.Tensor) error {
	if want == nil {
		return errors.New("the host has no such tensor")
	}
	if got.Type != want.Type || !slices.Equal(got.Dims, want.Dims) {
		return fmt.Errorf("it is %v%v, on the host %v%v", got.Type, got.Dims, want.Type, want.Dims)
	}
	if !got.Type.IsFloat() {
		return nil
	}
	g, w := got.Floats(), want.Floats()
	scale := 0.0
	for _, v := range w {
		scale = math.Max(scale, math.Abs(float64(v)))
	}
	if !(scale < 1e30) {
		return nil // partial sums overflow in single precision
	}
	for i := range w {
		p, q := float64(g[i]), float64(w[i])
		if p == q || p != p && q != q || math.Abs(p-q) <= 1e-4*(scale+math.Abs(q)) {
			continue
		}
		return fmt.Errorf("element %d of %v is %g, on the host %g", i, got.Dims, p, q)
	}
	return nil
}

// someTensor is a value for an input: small numbers, as sizes and indices are.
func someTensor(r *rand.Rand, v onnx.Value) *onnx.Tensor {
	n := product(v.Dims)
	number := func() int { return r.IntN(5) - 1 }
	switch v.Type {
	case onnx.Float:
		return onnx.NewTensor(v.Dims, fill(n, func() float32 { return float32(r.NormFloat64()) }))
	case onnx.Double:
		return onnx.NewTensor(v.Dims, fill(n, func() float64 { return r.NormFloat64() }))
	case onnx.Int64:
		return onnx.NewTensor(v.Dims, fill(n, func() int64 { return int64(number()) }))
	case onnx.Int32:
		return onnx.NewTensor(v.Dims, fill(n, func() int32 { return int32(number()) }))
	case onnx.Int8:
		return onnx.NewTensor(v.Dims, fill(n, func() int8 { return int8(number()) }))
	case onnx.Uint8:
		return onnx.NewTensor(v.Dims, fill(n, func() uint8 { return uint8(number()) }))
	case onnx.Bool:
		return onnx.NewTensor(v.Dims, fill(n, func() bool { return r.IntN(2) == 0 }))
	}
	return &onnx.Tensor{Type: v.Type, Dims: v.Dims}
}

func fill[T any](n int, f func() T) []T {
	list := make([]T, n)
	for i := range list {
		list[i] = f()
	}
	return list
}

// mutate changes a model in one to four places.
func mutate(r *rand.Rand, m *onnx.Model) {
	g := m.Graph
	number := func() int64 {
		return []int64{0, 1, 2, 3, -1, -2, 5, 16, 17, 100, math.MaxInt32, math.MinInt64, math.MaxInt64}[r.IntN(13)]
	}
	dim := func() int { return []int{0, 1, 2, 3, 5, 8, 16, 17, 33}[r.IntN(9)] }
	names := slices.Sorted(maps.Keys(g.Init))
	var tensors []string
	for _, v := range g.Inputs {
		tensors = append(tensors, v.Name)
	}
	tensors = append(tensors, names...)
	ops := slices.Sorted(maps.Keys(lowerings))
	for range 1 + r.IntN(4) {
		n := g.Nodes[r.IntN(len(g.Nodes))]
		switch r.IntN(9) {
		case 0: // an attribute's value
			keys := slices.Sorted(maps.Keys(n.Attrs))
			if len(keys) == 0 {
				continue
			}
			key := keys[r.IntN(len(keys))]
			attributes := maps.Clone(n.Attrs)
			switch v := n.Attrs[key].(type) {
			case int64:
				attributes[key] = number()
			case float32:
				attributes[key] = []float32{0, -1, float32(math.NaN()), float32(math.Inf(1)), 1e30}[r.IntN(5)]
			case []int64:
				list := slices.Clone(v)
				switch {
				case len(list) > 0 && r.IntN(3) > 0:
					list[r.IntN(len(list))] = number()
				case r.IntN(2) == 0:
					list = append(list, number())
				case len(list) > 0:
					list = list[1:]
				}
				attributes[key] = list
			case string:
				attributes[key] = []string{"", "SAME_UPPER", "SAME_LOWER", "VALID", "cubic", "linear", "align_corners"}[r.IntN(7)]
			}
			n.Attrs = attributes
		case 1: // an attribute more
			attributes := maps.Clone(n.Attrs)
			if attributes == nil {
				attributes = attrs{}
			}
			key := []string{"axis", "group", "strides", "pads", "dilations", "kernel_shape", "perm", "keepdims", "ceil_mode", "auto_pad", "transA", "transB", "blocksize", "output_padding", "output_shape", "axes", "alpha"}[r.IntN(17)]
			switch key {
			case "strides", "pads", "dilations", "kernel_shape", "perm", "output_padding", "output_shape", "axes":
				attributes[key] = repeat(number(), r.IntN(5))
			case "auto_pad":
				attributes[key] = "SAME_LOWER"
			case "alpha":
				attributes[key] = float32(0.5)
			default:
				attributes[key] = number()
			}
			n.Attrs = attributes
		case 2: // an input's size
			v := &g.Inputs[r.IntN(len(g.Inputs))]
			v.Dims = slices.Clone(v.Dims)
			switch {
			case len(v.Dims) > 0 && r.IntN(4) > 0:
				v.Dims[r.IntN(len(v.Dims))] = dim()
			case r.IntN(2) == 0:
				v.Dims = append(v.Dims, dim())
			case len(v.Dims) > 0:
				v.Dims = v.Dims[1:]
			}
		case 3: // a constant's shape or its numbers
			if len(names) == 0 {
				continue
			}
			name := names[r.IntN(len(names))]
			t := g.Init[name].Clone()
			if list, ok := t.Data.([]int64); ok && len(list) > 0 && r.IntN(2) == 0 {
				list[r.IntN(len(list))] = number()
			} else {
				v := onnx.Value{Type: t.Type, Dims: slices.Clone(t.Dims)}
				if len(v.Dims) > 0 && r.IntN(3) > 0 {
					v.Dims[r.IntN(len(v.Dims))] = dim()
				} else {
					v.Dims = append(v.Dims, dim())
				}
				if len(v.Dims) > 6 || product(v.Dims) > mutantElements {
					continue
				}
				t = someTensor(r, v)
			}
			g.Init[name] = t
		case 4: // another tensor read
			if len(n.Inputs) > 0 {
				n.Inputs[r.IntN(len(n.Inputs))] = tensors[r.IntN(len(tensors))]
			}
		case 5: // an input more or less
			if r.IntN(2) == 0 && len(n.Inputs) > 0 {
				i := r.IntN(len(n.Inputs))
				if r.IntN(2) == 0 {
					n.Inputs[i] = ""
				} else {
					n.Inputs = slices.Delete(n.Inputs, i, i+1)
				}
			} else {
				n.Inputs = append(n.Inputs, tensors[r.IntN(len(tensors))])
			}
		case 6: // another operator
			n.Op = ops[r.IntN(len(ops))]
		case 7: // another type
			v := &g.Inputs[r.IntN(len(g.Inputs))]
			v.Type = []onnx.DType{onnx.Float, onnx.Int8, onnx.Int64, onnx.Double, onnx.Bool, onnx.Uint8}[r.IntN(6)]
		case 8: // another operator set
			m.Opset = []int{7, 9, 10, 11, 12, 13, 18, 21}[r.IntN(8)]
		}
	}
}

// allTrials are the small models of this package.
func allTrials() []*trial {
	return slices.Concat(convTrials(), transposedTrials(), activationTrials(), productTrials(), windowTrials(),
		resizeTrials(), moveTrials(), binaryTrials(), outputTrials(), quantizedTrials())
}

// TestMutants changes every small model at random; TRTACT_MUTANTS says how often
// (once when unset).
func TestMutants(t *testing.T) {
	d := openBest(t)
	rounds := 1
	if n, err := strconv.Atoi(os.Getenv("TRTACT_MUTANTS")); err == nil {
		rounds = n
	}
	models, ran := 0, 0
	trials := allTrials()
	for round := range rounds {
		for i, c := range trials {
			m := c.model.Clone()
			mutate(rand.New(rand.NewPCG(uint64(round), uint64(i))), m)
			data, err := m.Marshal()
			if err != nil {
				continue
			}
			m, err = onnx.Parse(data, "")
			if err != nil {
				continue
			}
			models++
			ok, err := survive(d, m, i%2 == 1)
			if err != nil {
				t.Errorf("round %d, model %d (%s): %v", round, i, c.name, err)
			}
			if ok {
				ran++
			}
		}
	}
	t.Logf("%d models, %d of them ran", models, ran)
	if ran < models/10 {
		t.Errorf("only %d of %d models ran: the test hardly reaches the executor", ran, models)
	}
}

// FuzzCompile changes the bytes of small models.
func FuzzCompile(f *testing.F) {
	d := openBest(f)
	for i, c := range allTrials() {
		if i%29 != 0 {
			continue
		}
		data, err := c.model.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := onnx.Parse(data, "")
		if err != nil {
			return
		}
		if _, err := survive(d, m, len(data)%2 == 1); err != nil {
			t.Error(err)
		}
	})
}
