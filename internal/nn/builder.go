package nn

import (
	"fmt"
	"slices"

	"trtact/internal/compute"
	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/host"
)

// tensor is device memory with a lifetime in steps. An alias shows the memory of
// another tensor under other sizes.
type tensor struct {
	desc        compute.Tensor
	alias       *tensor
	shift       int       // bytes from where alias begins
	constant    []float32 // row-major value, when it never changes
	home        home      // where it lies, when it is no constant
	first, last int       // steps that write it first and read it last
	offset      int       // byte offset in its buffer
	used        bool      // a constant that some step reads at run time
	trained     bool      // it depends on what is trained
	sink        *tensor   // derived from a parameter: where its gradient is summed up
}

// home is the buffer that a tensor lies in.
type home int

const (
	inArena      home = iota // of a context; shared by tensors with other lifetimes
	inParameters             // of a trainer: what the optimiser changes
	inDerived                // of a trainer: made from the parameters once a step
	inGradients              // of a context: what its images add up
)

func (t *tensor) root() *tensor {
	for t.alias != nil {
		t = t.alias
	}
	return t
}

// shifted is how far into its root a tensor begins, in bytes.
func (t *tensor) shifted() int {
	n := 0
	for ; t.alias != nil; t = t.alias {
		n += t.shift
	}
	return n
}

// value is what a graph tensor's name stands for while compiling and running: a
// device tensor in one or both layouts, a constant, a host tensor, or the product
// of integers and a scale that nobody has yet asked for in full.
type value struct {
	name           string
	info           onnx.Value
	plain, blocked *tensor
	constant       *onnx.Tensor
	onHost         bool
	quantized      *quantized
	scale          *tensor    // in training: of these integers
	parameter      *parameter // in training: whose integers these are
}

// quantized is q * scale with q integer-valued: a tensor on the device, or a
// constant.
type quantized struct {
	q        *value    // not nil: the device tensor of integers
	integers []float32 // constant integers, row-major
	scales   []float32 // one, or one for each index of axis
	axis     int
	scale    *tensor // in training: the scales as they are now
}

// step is one operator on the device, or one function on the host.
type step struct {
	node, what string
	source     *onnx.Node
	params     compute.Params
	op         *compute.Op
	args       []*tensor // all inputs
	in         []*tensor // nil entry: given to the operator as a constant
	out        []*tensor
	host       func(c *Context) error
}

type builder struct {
	g      *onnx.Graph
	index  *onnx.Index
	opset  int
	device *compute.Device
	o      Options
	keep   map[string]bool
	values map[string]*value
	done   map[*onnx.Node]bool // computed as a part of an earlier step

	training *training // nil: the graph is only run

	node    *onnx.Node // being lowered
	steps   []step
	tensors []*tensor
	ops     []*compute.Op
}

func newBuilder(g *onnx.Graph, opset int, d *compute.Device, o Options, keep map[string]bool) *builder {
	return &builder{g: g, index: g.Index(), opset: opset, device: d, o: o, keep: keep,
		values: map[string]*value{}, done: map[*onnx.Node]bool{}}
}

func (b *builder) close() {
	for _, op := range b.ops {
		op.Close()
	}
}

func (b *builder) build() (*Network, error) {
	for name, t := range b.g.Init {
		b.values[name] = &value{name: name, constant: t, info: t.Value(name)}
	}
	for _, in := range b.g.Inputs {
		info := b.g.Info[in.Name]
		v := &value{name: in.Name, info: info}
		switch {
		case slices.Contains(info.Dims, onnx.Dynamic) || info.Dims == nil:
			return nil, fmt.Errorf("compile: input %q has shape %v: infer shapes at a fixed size first", in.Name, info.Dims)
		case info.Type == onnx.Float:
			v.plain = b.newTensor(info.Dims, compute.Plain)
			v.plain.first = -1
		default:
			v.onHost = true
		}
		b.values[in.Name] = v
	}
	if b.training != nil {
		if err := b.training.begin(b); err != nil {
			return nil, err
		}
	}
	for _, n := range b.g.Nodes {
		if b.done[n] {
			continue
		}
		if err := b.lower(n); err != nil {
			return nil, fmt.Errorf("compile: node %q (%s): %w", n.Name, n.Op, err)
		}
	}
	if b.training != nil {
		b.node = nil
		if err := b.training.end(b); err != nil {
			return nil, err
		}
	}
	return b.finish()
}

// lower computes one node: by the device's operators when it has them and the
// tensors are float32, else on the host.
func (b *builder) lower(n *onnx.Node) error {
	b.node = n
	eval := host.Eval
	if !host.Supports(n.Op, n.Domain) {
		if !host.HasReference(n.Op, n.Domain) {
			return fault.BadInput(fmt.Errorf("operator is not supported (domain %q, inputs %s); docs/operators.md lists those that are", n.Domain, b.describe(n)))
		}
		eval = host.Reference // slow, but the forms that the device lacks are rare
	}
	if l := lowerings[n.Op]; l != nil && b.fits(n) {
		if err := l(b, n); err != errUseHost {
			return err
		}
	}
	return b.onHost(n, eval)
}

// errUseHost is a lowering's answer for a form that the device has no operator for.
var errUseHost = fmt.Errorf("use the host")

// fits reports whether a node's first input and outputs are tensors that can live
// on the device: float32 with known shape and elements, or INT8 between Q and DQ.
func (b *builder) fits(n *onnx.Node) bool {
	if n.Op == "QuantizeLinear" || n.Op == "DequantizeLinear" {
		return true // decided by their lowering
	}
	ok := func(v onnx.Value) bool { return v.Type == onnx.Float && fitsDevice(v.Dims) }
	for _, name := range n.Outputs {
		if name != "" && !ok(b.g.Info[name]) {
			return false
		}
	}
	if len(n.Inputs) == 0 {
		return false
	}
	first := b.values[n.Inputs[0]]
	return first != nil && ok(first.info)
}

// fitsDevice reports whether a tensor of that shape can lie on the device.
func fitsDevice(dims []int) bool {
	return dims != nil && !slices.Contains(dims, onnx.Dynamic) && len(dims) <= compute.MaxRank && product(dims) > 0
}

func (b *builder) describe(n *onnx.Node) string {
	s := ""
	for i, name := range n.Inputs {
		if i > 0 {
			s += ", "
		}
		if v := b.values[name]; v != nil {
			s += fmt.Sprintf("%v", v.info.Dims)
		} else {
			s += "none"
		}
	}
	return s
}

func (b *builder) newTensor(dims []int, layout compute.Layout) *tensor {
	t := &tensor{desc: compute.Tensor{Dims: dims, Layout: b.layout(layout)}, first: len(b.steps), last: len(b.steps)}
	b.tensors = append(b.tensors, t)
	return t
}

// layout is the one that is used where this one is wanted: with a block of 1 there is
// only one, and no reorder.
func (b *builder) layout(wanted compute.Layout) compute.Layout {
	if b.device.Block() == 1 {
		return compute.Plain
	}
	return wanted
}

// output makes the device tensor of a node's output.
func (b *builder) output(name string, layout compute.Layout) *tensor {
	info := b.g.Info[name]
	t := b.newTensor(info.Dims, layout)
	v := &value{name: name, info: info}
	b.setTensor(v, t)
	b.values[name] = v
	return t
}

func (b *builder) setTensor(v *value, t *tensor) {
	if t.desc.Layout == compute.Blocked {
		v.blocked = t
	} else {
		v.plain = t
	}
}

// alias makes name another view, with its own sizes, of a plain tensor.
func (b *builder) alias(name string, of *tensor) {
	info := b.g.Info[name]
	t := &tensor{desc: compute.Tensor{Dims: info.Dims, Layout: of.desc.Layout}, alias: of}
	v := &value{name: name, info: info}
	b.setTensor(v, t)
	b.values[name] = v
}

// in is a value's tensor in a layout, reordered if need be.
func (b *builder) in(name string, layout compute.Layout) (*tensor, error) {
	v := b.values[name]
	if v == nil {
		return nil, fmt.Errorf("input %q was not computed", name)
	}
	if err := b.materialize(v); err != nil {
		return nil, err
	}
	layout = b.layout(layout)
	have, other := v.plain, v.blocked
	if layout == compute.Blocked {
		have, other = other, have
	}
	if have != nil {
		return have, nil
	}
	t := b.newTensor(v.info.Dims, layout)
	if err := b.emit(compute.Reorder{}, []*tensor{other}, t); err != nil {
		return nil, err
	}
	b.setTensor(v, t)
	return t, nil
}

// any is a value's tensor in the layout it has; blocked when it has both.
func (b *builder) any(name string) (*tensor, error) {
	v := b.values[name]
	if v == nil {
		return nil, fmt.Errorf("input %q was not computed", name)
	}
	if err := b.materialize(v); err != nil {
		return nil, err
	}
	if v.blocked != nil {
		return v.blocked, nil
	}
	return v.plain, nil
}

// isBlocked reports whether a value already lies in the blocked layout.
func (b *builder) isBlocked(name string) bool {
	v := b.values[name]
	if v != nil && v.quantized != nil && v.quantized.q != nil {
		v = v.quantized.q
	}
	return v != nil && v.blocked != nil
}

// materialize gives a value a device tensor: uploads a constant or a host
// tensor, multiplies out a quantised one.
func (b *builder) materialize(v *value) error {
	switch {
	case v.plain != nil || v.blocked != nil:
		return nil
	case v.constant != nil:
		if v.constant.Type != onnx.Float {
			return fmt.Errorf("constant %q is %v: the device computes with float32", v.name, v.constant.Type)
		}
		v.plain = &tensor{desc: compute.Tensor{Dims: v.constant.Dims}, constant: v.constant.Floats()}
		b.tensors = append(b.tensors, v.plain)
		return nil
	case v.quantized != nil:
		return b.dequantize(v)
	case v.onHost:
		if v.info.Type != onnx.Float {
			return fmt.Errorf("tensor %q is %v: the device computes with float32", v.name, v.info.Type)
		}
		if slices.Contains(v.info.Dims, onnx.Dynamic) {
			return fmt.Errorf("tensor %q has a size that depends on data", v.name)
		}
		t := b.newTensor(v.info.Dims, compute.Plain)
		b.steps = append(b.steps, step{node: b.nodeName(), what: "upload", out: []*tensor{t}, host: func(c *Context) error {
			return c.uploadTo(t, v.name)
		}})
		v.plain = t
		return nil
	}
	return fmt.Errorf("tensor %q has no value", v.name)
}

// emit adds an operator.
func (b *builder) emit(p compute.Params, in []*tensor, out ...*tensor) error {
	s, err := b.newStep(p, b.o.Threads, in, out)
	if err != nil {
		return err
	}
	at := len(b.steps)
	for i, t := range s.args {
		if s.in[i] != nil {
			t.root().last = max(t.root().last, at)
		}
	}
	trained := b.training != nil && slices.ContainsFunc(in, func(t *tensor) bool { return t.root().trained })
	for _, t := range out {
		root := t.root()
		root.first = min(root.first, at)
		root.last = max(root.last, at)
		root.trained = root.trained || trained
	}
	b.steps = append(b.steps, s)
	return nil
}

// newStep makes an operator with its tensors. Constant inputs are handed to the
// operator itself where it can pack them, else they are kept in device memory.
func (b *builder) newStep(p compute.Params, threads int, in, out []*tensor) (step, error) {
	desc := compute.OpDesc{Params: p, Math: b.o.Math, Threads: threads}
	s := step{node: b.nodeName(), source: b.node, what: fmt.Sprintf("%T", p)[len("compute."):], params: p, args: in, out: out}
	packs := packsConstants(p)
	_, binary := p.(compute.Binary) // takes a constant on either side
	for i, t := range in {
		desc.Inputs = append(desc.Inputs, t.desc)
		root := t.root()
		if root.constant != nil && (i > 0 && packs || i == 0 && binary) {
			if desc.Constants == nil {
				desc.Constants = make([][]float32, len(in))
			}
			desc.Constants[i] = root.constant
			s.in = append(s.in, nil)
			continue
		}
		if root.constant != nil {
			root.used = true
		}
		s.in = append(s.in, t)
	}
	for _, t := range out {
		desc.Outputs = append(desc.Outputs, t.desc)
	}
	op, err := b.device.NewOp(desc)
	if err != nil {
		return step{}, err
	}
	s.op = op
	b.ops = append(b.ops, op)
	return s, nil
}

func (b *builder) nodeName() string {
	if b.node == nil {
		return "(output)"
	}
	return b.node.Name
}

// packsConstants reports whether an operator takes constant second and later
// inputs into itself.
func packsConstants(p compute.Params) bool {
	switch p.(type) {
	case compute.Conv, compute.MatMul, compute.Binary, compute.Affine, compute.Quantize, compute.Dequantize:
		return true
	}
	return false
}

// constantTensor is a constant of our own making, as an operator's input.
func (b *builder) constantTensor(dims []int, layout compute.Layout, data []float32) *tensor {
	t := &tensor{desc: compute.Tensor{Dims: dims, Layout: b.layout(layout)}, constant: data}
	b.tensors = append(b.tensors, t)
	return t
}

// floats is the row-major value of a constant float input, nil when the input is
// not constant.
func (b *builder) floats(name string) []float32 {
	if v := b.values[name]; v != nil && v.constant != nil && v.constant.Type == onnx.Float {
		return v.constant.Floats()
	}
	return nil
}

// ints is the value of a constant integer input, nil when it is not constant.
func (b *builder) ints(name string) []int64 {
	if v := b.values[name]; v != nil && v.constant != nil {
		if list, err := v.constant.Ints(); err == nil {
			return list
		}
	}
	return nil
}

func (b *builder) dims(name string) []int { return b.values[name].info.Dims }

// only is the single node that reads a tensor, nil when there are several, none,
// or the tensor must stay readable.
func (b *builder) only(name string) *onnx.Node {
	users := b.index.Consumers[name]
	if len(users) != 1 || b.keep[name] {
		return nil
	}
	reads := 0
	for _, in := range users[0].Inputs {
		if in == name {
			reads++
		}
	}
	if reads != 1 {
		return nil
	}
	return users[0]
}

// onHost computes a node in Go, by eval.
func (b *builder) onHost(n *onnx.Node, eval func(*onnx.Node, int, []*onnx.Tensor) ([]*onnx.Tensor, error)) error {
	sources := make([]*value, len(n.Inputs))
	for i, name := range n.Inputs {
		if name == "" {
			continue
		}
		v := b.values[name]
		if v == nil {
			return fmt.Errorf("input %q was not computed", name)
		}
		sources[i] = v
		if v.constant != nil || v.onHost {
			continue
		}
		if b.isTrained(v) {
			return fmt.Errorf("cannot train through it: it runs in Go, which has no gradient for it")
		}
		t, err := b.in(name, compute.Plain)
		if err != nil {
			return err
		}
		t.root().last = max(t.root().last, len(b.steps))
	}
	opset := b.opset
	b.steps = append(b.steps, step{node: n.Name, what: n.Op, host: func(c *Context) error {
		in := make([]*onnx.Tensor, len(sources))
		for i, v := range sources {
			if v == nil {
				continue
			}
			t, err := c.get(v)
			if err != nil {
				return err
			}
			in[i] = t
		}
		out, err := eval(n, opset, in)
		if err != nil {
			return err
		}
		for i, name := range n.Outputs {
			if name == "" {
				continue
			}
			if i >= len(out) || out[i] == nil {
				return fmt.Errorf("output %q is not computed", name)
			}
			c.host[name] = out[i]
		}
		return nil
	}})
	for _, name := range n.Outputs {
		if name != "" {
			b.values[name] = &value{name: name, info: b.g.Info[name], onHost: true}
		}
	}
	return nil
}
