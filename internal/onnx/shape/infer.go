// Package shape finds the type and the static shape of every tensor of a model
// for given input sizes.
//
// Exporters compute sizes inside the graph (Shape, Gather, Floor, Concat,
// Reshape chains), so shapes alone do not suffice: the values of small tensors
// are followed too, by evaluating their nodes on the host. A size that depends
// on image data (the rows of NonMaxSuppression or NonZero) is marked Dynamic,
// and so is what follows from it.
package shape

import (
	"errors"
	"fmt"
	"strings"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
	"trtact/internal/onnx/host"
)

// Bounds on the tensors whose values are followed. Shape tensors have a few
// elements; the index grids that some exporters make out of them, thousands.
const (
	maxFollowed = 1 << 16 // elements of a result
	maxInput    = 1 << 20 // elements of all inputs of an evaluated node
)

// Infer fills m.Graph.Info with the type and shape of every tensor: inputs,
// initialisers, and all nodes' outputs. inputs maps an input's name to its
// sizes; inputs whose declared sizes are static may be left out, and a given
// size has to agree with a declared static one (Resize changes those). After an
// error, marked fault.BadInput where the model contradicts itself, Info is as it
// was. A graph's own declarations of inner tensors are not trusted: they serve
// only where an operator is unknown here.
func Infer(m *onnx.Model, inputs map[string][]int) error {
	s := begin(m)
	if err := s.inputs(inputs); err != nil {
		return fault.BadInput(fmt.Errorf("infer shapes%s: %w", of(m), err))
	}
	s.initialisers()
	for _, n := range m.Graph.Nodes {
		if err := s.node(n); err != nil {
			return fault.BadInput(fmt.Errorf("infer shapes%s: %w", of(m), err))
		}
	}
	if err := s.outputs(); err != nil {
		return fault.BadInput(fmt.Errorf("infer shapes%s: %w", of(m), err))
	}
	m.Graph.Info = s.info
	return nil
}

func of(m *onnx.Model) string {
	if m.Path == "" {
		return ""
	}
	return " of " + m.Path
}

type inference struct {
	model  *onnx.Model
	info   map[string]onnx.Value
	values map[string]*onnx.Tensor // tensors whose elements are known
}

func begin(m *onnx.Model) *inference {
	return &inference{m, map[string]onnx.Value{}, map[string]*onnx.Tensor{}}
}

func constant(name string, t *onnx.Tensor) onnx.Value {
	return onnx.Value{Name: name, Type: t.Type, Dims: dims.Clone(t.Dims)}
}

// inputs enters the graph's inputs with their sizes.
func (s *inference) inputs(given map[string][]int) error {
	known := map[string]bool{}
	for _, v := range s.model.Graph.Inputs {
		known[v.Name] = true
		size, ok := given[v.Name]
		if !ok {
			size = v.Dims
			if size == nil {
				return fmt.Errorf("input %q is declared without a shape: give its size", v.Name)
			}
			for i, n := range size {
				if n < 0 {
					return fmt.Errorf("input %q has no fixed size in dimension %d%s: give it", v.Name, i, symbol(v, i))
				}
			}
		}
		if _, err := dims.Count(size); err != nil {
			return fmt.Errorf("input %q: %w", v.Name, err)
		}
		if v.Dims != nil && len(v.Dims) != len(size) {
			return fmt.Errorf("input %q has rank %d in the model (%v), the size given is %v", v.Name, len(v.Dims), v.Dims, size)
		}
		for i, n := range v.Dims {
			if n >= 0 && n != size[i] {
				return fmt.Errorf("input %q is fixed to %v in the model, the size given is %v", v.Name, v.Dims, size)
			}
		}
		s.info[v.Name] = onnx.Value{Name: v.Name, Type: stored(v.Type), Dims: dims.Clone(size)}
	}
	for name := range given {
		if !known[name] {
			return fmt.Errorf("a size is given for %q, which is not an input of the model", name)
		}
	}
	return nil
}

// initialisers enters the graph's constants.
func (s *inference) initialisers() {
	for name, t := range s.model.Graph.Init {
		s.info[name] = constant(name, t)
		s.values[name] = t
	}
}

func symbol(v onnx.Value, i int) string {
	if i < len(v.Symbols) && v.Symbols[i] != "" {
		return fmt.Sprintf(" (%s)", v.Symbols[i])
	}
	return ""
}

// stored is the type under which half floats are held: Load widens them.
func stored(t onnx.DType) onnx.DType {
	if t == onnx.Float16 || t == onnx.BFloat16 {
		return onnx.Float
	}
	return t
}

// call is one node with what is known of its inputs.
type call struct {
	n     *onnx.Node
	opset int
	in    []onnx.Value   // Name "" where an input is left out
	value []*onnx.Tensor // nil where the elements are not known
}

// result is one output's type and shape; nil Dims for an unknown rank.
type result struct {
	Type onnx.DType
	Dims []int
}

// call gathers what is known of a node's inputs.
func (s *inference) call(n *onnx.Node) (*call, error) {
	c := &call{n: n, opset: s.model.Opset, in: make([]onnx.Value, len(n.Inputs)), value: make([]*onnx.Tensor, len(n.Inputs))}
	for i, name := range n.Inputs {
		if name == "" {
			continue
		}
		v, ok := s.info[name]
		if !ok {
			return nil, fmt.Errorf("%v: input %q is made by no node before it", n, name)
		}
		c.in[i], c.value[i] = v, s.values[name]
	}
	return c, nil
}

// node infers one node's outputs.
func (s *inference) node(n *onnx.Node) error {
	c, err := s.call(n)
	if err != nil {
		return err
	}
	out, err := s.results(c)
	if err != nil {
		return fmt.Errorf("%v, output %q: inputs %s: %w%s", n, n.Output(0), c.describe(), err, s.bakedIn(n))
	}
	values, err := c.evaluate(out)
	if err != nil {
		return err
	}
	for i, name := range n.Outputs {
		if name == "" {
			continue
		}
		v := onnx.Value{Name: name}
		switch {
		case i < len(values) && values[i] != nil:
			s.values[name] = values[i]
			v = constant(name, values[i])
		case i < len(out):
			v.Type, v.Dims = stored(out[i].Type), out[i].Dims
		}
		if dims.Static(v.Dims) {
			if _, err := dims.Count(v.Dims); err != nil {
				return fmt.Errorf("%v, output %q: inputs %s: %w", n, name, c.describe(), err)
			}
		}
		s.info[name] = v
	}
	return nil
}

// bakedIn explains a contradiction at a node with a stored operand: a box grid or
// a reshape target that the exporter computed for one input size. A detector
// with such constants can only be run at that size.
func (s *inference) bakedIn(n *onnx.Node) string {
	switch n.Op {
	case "Reshape", "Add", "Sub", "Mul", "Div", "Expand", "Concat", "Where":
	default:
		return ""
	}
	for _, name := range n.Inputs {
		if t := s.model.Graph.Init[name]; t != nil && t.Len() > 1 {
			return fmt.Sprintf("; the constant %q was probably made for another input size, the one the model was exported for", name)
		}
	}
	return ""
}

// describe lists the inputs for a message: "x" float32[1 3 8 8].
func (c *call) describe() string {
	var list []string
	for i, v := range c.in {
		switch {
		case c.n.Inputs[i] == "":
			list = append(list, "none")
		case v.Dims == nil:
			list = append(list, fmt.Sprintf("%q %v of unknown rank", v.Name, v.Type))
		default:
			list = append(list, fmt.Sprintf("%q %v%v", v.Name, v.Type, v.Dims))
		}
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, ", ")
}

// results applies the operator's rule.
func (s *inference) results(c *call) ([]result, error) {
	r, ok := find(c.n)
	if !ok {
		return s.declared(c.n), nil
	}
	for i, v := range c.in {
		if i < r.needs && v.Name == "" {
			return nil, fmt.Errorf("input %d is missing", i)
		}
		if v.Name != "" && v.Dims == nil {
			return c.unknown(), nil
		}
	}
	if len(c.in) < r.needs {
		return nil, fmt.Errorf("it has %d inputs, %d needed", len(c.in), r.needs)
	}
	return r.infer(c)
}

// declared is what the file says of an operator's outputs that is unknown here.
func (s *inference) declared(n *onnx.Node) []result {
	out := make([]result, len(n.Outputs))
	for i, name := range n.Outputs {
		v, ok := s.model.Graph.Info[name]
		for _, o := range s.model.Graph.Outputs {
			if o.Name == name && !ok {
				v = o
			}
		}
		out[i] = result{v.Type, nil}
		if v.Dims != nil {
			out[i].Dims = dims.Clone(v.Dims)
		}
	}
	return out
}

// unknown is the outputs of a node with an input of unknown rank.
func (c *call) unknown() []result {
	t := c.in[0].Type
	switch c.n.Op {
	case "Shape", "Size", "NonZero", "ArgMax", "ArgMin", "NonMaxSuppression":
		t = onnx.Int64
	case "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or", "Xor":
		t = onnx.Bool
	case "Cast":
		t = onnx.DType(c.n.Int("to", 0))
	case "Where", "CastLike":
		if len(c.in) > 1 {
			t = c.in[1].Type
		}
	}
	out := make([]result, len(c.n.Outputs))
	for i := range out {
		out[i].Type = t
	}
	return out
}

// evaluate computes the outputs' elements where that is cheap and all inputs
// are known; nil otherwise.
func (c *call) evaluate(out []result) ([]*onnx.Tensor, error) {
	if c.n.Op == "Shape" && len(c.in) > 0 && dims.Static(c.in[0].Dims) {
		// The shape is enough, the elements need not be known.
		from, to := dims.ShapeRange(c.n, len(c.in[0].Dims))
		v := make([]int64, 0, to-from)
		for _, n := range c.in[0].Dims[from:to] {
			v = append(v, int64(n))
		}
		return []*onnx.Tensor{onnx.Vector(v...)}, nil
	}
	if c.n.Op == "Size" && len(c.in) > 0 && dims.Static(c.in[0].Dims) {
		n, err := dims.Count(c.in[0].Dims)
		return []*onnx.Tensor{onnx.Scalar(int64(n))}, err
	}
	if !host.Supports(c.n.Op, c.n.Domain) {
		return nil, nil
	}
	total := 0
	for i, name := range c.n.Inputs {
		if name == "" {
			continue
		}
		if c.value[i] == nil {
			return nil, nil
		}
		total += c.value[i].Len()
	}
	for _, r := range out {
		if n, err := dims.Count(r.Dims); err == nil && n > maxFollowed {
			return nil, nil
		}
	}
	if total > maxInput {
		return nil, nil
	}
	values, err := host.Eval(c.n, c.opset, c.value)
	if errors.Is(err, host.ErrNotHandled) {
		return nil, nil
	}
	return values, err
}

// outputs checks the graph's outputs against their declarations.
func (s *inference) outputs() error {
	for _, o := range s.model.Graph.Outputs {
		v, ok := s.info[o.Name]
		if !ok {
			return fmt.Errorf("output %q is made by no node", o.Name)
		}
		if o.Dims == nil || v.Dims == nil {
			continue
		}
		if len(o.Dims) != len(v.Dims) {
			return fmt.Errorf("output %q is declared as %v but comes out as %v", o.Name, o.Dims, v.Dims)
		}
		for i, n := range o.Dims {
			if n >= 0 && v.Dims[i] >= 0 && n != v.Dims[i] {
				return fmt.Errorf("output %q is declared as %v but comes out as %v", o.Name, o.Dims, v.Dims)
			}
		}
	}
	return nil
}
