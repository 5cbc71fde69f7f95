package nn

import (
	"context"
	"slices"
	"testing"

	"trtact/internal/onnx"
)

// TestForEachPanic: a panic is the caller's, who can still end well.
func TestForEachPanic(t *testing.T) {
	c := newTrial("panic")
	c.input("x", 1, 4)
	c.node("y = Relu x", nil)
	c.outputs("y")
	n := c.context(t, openCPU(t)).n
	defer func() {
		if p := recover(); p != "mine" {
			t.Errorf("recovered %v", p)
		}
	}()
	err := n.ForEach(context.Background(), 5, func(*Context, int) error { panic("mine") })
	t.Errorf("came back with %v", err)
}

// TestPeek: what Output gave stays, what Peek gave is overwritten; both say the same, in
// either layout and for a tensor on the host.
func TestPeek(t *testing.T) {
	d := openCPU(t)
	c := newTrial("peek")
	c.input("x", 1, 20, 5, 3)
	b := c.blocked("x")
	c.node("y = Relu "+b, nil)
	c.node("s = Shape x", nil)
	c.node("z = Flatten y", nil)
	c.outputs("y", "z", "s")
	ctx := c.context(t, d, b)
	run := func(sign float32) {
		t.Helper()
		x := slices.Clone(c.feed["x"].Floats())
		for i := range x {
			x[i] *= sign
		}
		if err := ctx.SetInput("x", x); err != nil {
			t.Fatal(err)
		}
		if err := ctx.Run(); err != nil {
			t.Fatal(err)
		}
	}
	look := func(get func(string) (*onnx.Tensor, error), name string) *onnx.Tensor {
		t.Helper()
		v, err := get(name)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	run(1)
	for _, name := range []string{"y", "z", b, "s"} {
		if o, p := look(ctx.Output, name), look(ctx.Peek, name); !slices.Equal(o.Dims, p.Dims) || !slices.Equal(o.Floats(), p.Floats()) {
			t.Errorf("%s: Output %v, Peek %v", name, o.Floats(), p.Floats())
		}
	}
	copied, peeked := look(ctx.Output, "z").Floats(), look(ctx.Peek, "z").Floats()
	before := slices.Clone(copied)
	run(-1)
	now := look(ctx.Peek, "z").Floats()
	if slices.Equal(now, before) || !slices.Equal(copied, before) || !slices.Equal(peeked, now) {
		t.Errorf("after another run: copied %v, peeked %v, now %v", copied[:4], peeked[:4], now[:4])
	}
	if _, err := ctx.Peek("nothing"); err == nil {
		t.Error("a tensor that is not there was seen")
	}
}
