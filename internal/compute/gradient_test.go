package compute

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// stored is a row-major tensor as it lies in memory.
func stored(t Tensor, x []float32, block int) []float32 {
	if t.Layout == Plain {
		return x
	}
	y := make([]float32, t.Bytes(block)/4)
	for i, v := range x {
		y[storedIndex(t, i, block)] = v
	}
	return y
}

func storedIndex(t Tensor, i, block int) int {
	space := 1
	for _, d := range t.Dims[2:] {
		space *= d
	}
	c := t.Dims[1]
	n, ch, s := i/(c*space), i/space%c, i%space
	return ((n*((c+block-1)/block)+ch/block)*space+s)*block + ch%block
}

// execute runs an operator on row-major values and gives its outputs row-major.
// initial, where given, is what an output holds before; otherwise it is rubbish,
// so that what is not written shows. Padding lanes must come out as zeros.
func execute(t *testing.T, d *Device, desc OpDesc, inputs, initial [][]float32) [][]float32 {
	t.Helper()
	op, err := d.NewOp(desc)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	if strings.Contains(op.Info(), "ref") {
		t.Errorf("%s: reference loops, hundreds of times as slow as a matrix product", op.Info())
	}
	alloc := func(bytes int) *Buffer {
		b, err := d.Alloc(bytes)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	step := Step{Op: op}
	defer func() {
		for _, list := range [][]Address{step.Inputs, step.Outputs, {step.Workspace}} {
			for _, a := range list {
				a.Buffer.Close()
			}
		}
	}()
	place := func(list []Tensor, values [][]float32) (at []Address) {
		for i, s := range list {
			b := alloc(s.Bytes(d.Block()))
			at = append(at, Address{b, 0})
			x := make([]float32, b.Len()/4)
			for i := range x {
				x[i] = 12345
			}
			if i < len(values) && values[i] != nil {
				x = stored(s, values[i], d.Block())
			}
			if err := b.Upload(0, x); err != nil {
				t.Fatal(err)
			}
		}
		return at
	}
	step.Inputs = place(desc.Inputs, inputs)
	step.Outputs = place(desc.Outputs, initial)
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
	var out [][]float32
	for i, s := range desc.Outputs {
		all := make([]float32, s.Bytes(d.Block())/4)
		if err := step.Outputs[i].Buffer.Download(0, all); err != nil {
			t.Fatal(err)
		}
		y := all
		if s.Layout == Blocked {
			y = make([]float32, s.Len())
			for k := range y {
				at := storedIndex(s, k, d.Block())
				y[k] = all[at]
				all[at] = 0
			}
			for _, v := range all {
				if v != 0 {
					t.Errorf("output %d: a padding lane holds %g", i, v)
					break
				}
			}
		}
		out = append(out, y)
	}
	return out
}

// gradientCase is a function with gradients to be checked: by finite differences
// of its float64 form here, by PyTorch's autograd in torch_test.go.
type gradientCase struct {
	name    string
	in      [][]int // dimensions of the inputs
	out     []int
	put     func(values [][]float32) // changes the random inputs, if not nil
	forward func(in [][]float64) []float64
	torch   string // the same in Python, of the list i
	// The operators that make gradients, for tensors in a layout.
	gradients func(l Layout) []gradient
	layouts   []Layout
	cotangent []float32 // dy, if not random
	// The gradients by formula, where they are no derivatives (straight-through).
	formula func(in [][]float64, dy []float64) [][]float64
}

// gradient is one operator: from names its inputs ("0", "1", ... are those of
// the case, "dy", "y"), of the case's inputs whose gradients it gives (-1: that
// output is none).
type gradient struct {
	desc OpDesc
	from []any
	of   []int
}

const (
	dy = "dy"
	y  = "y"
)

var bothLayouts = []Layout{Plain, Blocked}

// values are the inputs and dy, the same in every test.
func (c *gradientCase) values() (in [][]float32, dy []float32) {
	r := rand.New(rand.NewPCG(11, uint64(len(c.name))))
	for _, dims := range c.in {
		in = append(in, random(r, Tensor{Dims: dims}.Len()))
	}
	if c.put != nil {
		c.put(in)
	}
	if c.cotangent != nil {
		return in, c.cotangent
	}
	return in, random(r, Tensor{Dims: c.out}.Len())
}

func doubles(list [][]float32) [][]float64 {
	out := make([][]float64, len(list))
	for i, x := range list {
		out[i] = make([]float64, len(x))
		for k, v := range x {
			out[i][k] = float64(v)
		}
	}
	return out
}

// A gradient is right when it differs by less than this of itself, and of the
// largest one of its tensor: sums of up to some thousand single-precision terms.
const (
	gradientTolerance      = 1e-5
	gradientToleranceOfTop = 2e-6
)

func agrees(got float32, want, top float64) bool {
	return math.Abs(float64(got)-want) <= gradientTolerance*math.Abs(want)+gradientToleranceOfTop*top
}

// slopes are derivatives by some elements of input k, by central differences.
func (c *gradientCase) slopes(in [][]float32, dy []float32, k int) map[int]float64 {
	x := doubles(in)
	out := map[int]float64{}
	if c.formula != nil {
		for i, v := range c.formula(x, doubles([][]float32{dy})[0])[k] {
			out[i] = v
		}
		return out
	}
	loss := func() float64 {
		sum := 0.0
		for i, v := range c.forward(x) {
			sum += v * float64(dy[i])
		}
		return sum
	}
	r := rand.New(rand.NewPCG(5, uint64(k)))
	for range 8 {
		at := r.IntN(len(x[k]))
		was := x[k][at]
		h := 1e-6 * math.Max(1, math.Abs(was))
		x[k][at] = was + h
		up := loss()
		x[k][at] = was - h
		out[at] = (up - loss()) / (2 * h)
		x[k][at] = was
	}
	return out
}

// run gives every gradient of the case: of input k, by each operator.
func (c *gradientCase) run(t *testing.T, d *Device, l Layout, threads int, check func(name string, k int, got []float32)) {
	in, cotangent := c.values()
	var result []float32
	for _, v := range c.forward(doubles(in)) {
		result = append(result, float32(v))
	}
	for _, g := range c.gradients(l) {
		g.desc.Threads = threads
		var inputs [][]float32
		for _, from := range g.from {
			switch v := from.(type) {
			case int:
				inputs = append(inputs, in[v])
			case string:
				inputs = append(inputs, map[string][]float32{dy: cotangent, y: result}[v])
			}
		}
		out := execute(t, d, g.desc, inputs, nil)
		for i, k := range g.of {
			if k < 0 {
				continue
			}
			check(fmt.Sprintf("%s, %v, %d threads, gradient of %d", c.name, l, threads, k), k, out[i])
		}
	}
}

// TestGradients compares every backward operator with finite differences.
func TestGradients(t *testing.T) {
	cases := gradientCases()
	type key struct{ c, k int }
	slopes := map[key]map[int]float64{}
	eachDevice(t, func(t *testing.T, d *Device) {
		for i := range cases {
			c := &cases[i]
			in, dy := c.values()
			check := func(t *testing.T, name string, k int, got []float32) {
				want, ok := slopes[key{i, k}]
				if !ok {
					want = c.slopes(in, dy, k)
					slopes[key{i, k}] = want
				}
				top := 0.0
				for _, v := range got {
					top = math.Max(top, math.Abs(float64(v)))
				}
				for at, w := range want {
					if !agrees(got[at], w, top) {
						t.Errorf("%s: element %d is %g, by finite differences %g", name, at, got[at], w)
						return
					}
				}
			}
			t.Run(c.name, func(t *testing.T) {
				for _, l := range c.layouts {
					for _, threads := range []int{1, 2} {
						c.run(t, d, l, threads, func(name string, k int, got []float32) { check(t, name, k, got) })
					}
				}
			})
		}
	})
}

// TestGradientsDoNotDependOnThreads: all but oneDNN's weight gradients and matrix
// products come out bit for bit the same with one thread and with two.
func TestGradientsDoNotDependOnThreads(t *testing.T) {
	eachDevice(t, testGradientsDoNotDependOnThreads)
}

func testGradientsDoNotDependOnThreads(t *testing.T, d *Device) {
	for _, c := range gradientCases() {
		switch c.gradients(Plain)[0].desc.Params.(type) {
		case ConvBackwardData, MatMul:
			continue
		}
		for _, l := range c.layouts {
			var one [][]float32
			c.run(t, d, l, 1, func(_ string, _ int, got []float32) { one = append(one, got) })
			c.run(t, d, l, 2, func(name string, _ int, got []float32) {
				for i, v := range one[0] {
					if got[i] != v {
						t.Errorf("%s: element %d is %g, with one thread %g", name, i, got[i], v)
						break
					}
				}
				one = one[1:]
			})
		}
	}
}
