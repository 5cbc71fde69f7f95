package onnx

//go:generate python3 operators.py

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// verifier looks at a model after it is read, before it is upgraded and before it
// is written: each tensor is made once and before it is used, constants have the
// elements that their shape says, and ONNX's own operators have the inputs, outputs
// and attributes that they have at the model's opset. Operators and attributes that
// are not ONNX's pass, since they may lie in a part of the graph that is cut off,
// such as a plugin after the detector's heads.
type verifier struct{ opset int }

// scope is the tensors that can be seen in a graph: its own, and for a
// subgraph those of the graphs around it.
type scope struct {
	own    map[string]bool
	around *scope
}

func (s *scope) sees(name string) bool {
	for ; s != nil; s = s.around {
		if s.own[name] {
			return true
		}
	}
	return false
}

func (s *scope) define(name string) error {
	if s.own[name] {
		return fmt.Errorf("tensor %s is defined twice", quoted(name))
	}
	s.own[name] = true
	return nil
}

func verify(m *Model) error {
	if m.Opset < MinOpset || m.Opset > MaxOpset {
		return fmt.Errorf("operator set version %d; %d to %d are known", m.Opset, MinOpset, MaxOpset)
	}
	if m.Graph == nil {
		return errors.New("it has no graph")
	}
	if len(m.Graph.Outputs) == 0 {
		return errors.New("the graph has no outputs")
	}
	return (&verifier{m.Opset}).graph(m.Graph, nil, 0)
}

func (v *verifier) graph(g *Graph, around *scope, depth int) error {
	if depth >= maxDepth {
		return fmt.Errorf("subgraphs lie deeper than %d within each other", maxDepth)
	}
	here := &scope{make(map[string]bool, len(g.Inputs)+len(g.Init)+len(g.Nodes)), around}
	for _, in := range g.Inputs {
		if in.Name == "" {
			return errors.New("an input has no name")
		}
		if err := here.define(in.Name); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.Init)) {
		if name == "" {
			return errors.New("a constant has no name")
		}
		if err := here.define(name); err != nil {
			return err
		}
		if err := g.Init[name].verify(); err != nil {
			return fmt.Errorf("constant %s: %w", quoted(name), err)
		}
	}
	nodeNames := make(map[string]bool, len(g.Nodes))
	for _, n := range g.Nodes {
		if n.Name != "" && nodeNames[n.Name] {
			return fmt.Errorf("there are two nodes %s", quoted(n.Name))
		}
		nodeNames[n.Name] = true
		if err := v.node(n, here, depth); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	listed := make(map[string]bool, len(g.Outputs))
	for _, out := range g.Outputs {
		if !here.sees(out.Name) {
			return fmt.Errorf("output %s is made by no node, input or constant", quoted(out.Name))
		}
		if listed[out.Name] {
			return fmt.Errorf("output %s is listed twice", quoted(out.Name))
		}
		listed[out.Name] = true
	}
	return nil
}

func (v *verifier) node(n *Node, here *scope, depth int) error {
	if n.Op == "" {
		return errors.New("it has no operator")
	}
	for _, in := range n.Inputs {
		if in != "" && !here.sees(in) {
			return fmt.Errorf("its input %s is made by no earlier node, input or constant", quoted(in))
		}
	}
	if err := v.signature(n); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(n.Attrs)) {
		switch a := n.Attrs[name].(type) {
		case int64, float32, string, []int64, []float32, []string:
		case *Tensor:
			if err := a.verify(); err != nil {
				return fmt.Errorf("attribute %s: %w", quoted(name), err)
			}
		case *Graph:
			if a == nil {
				return fmt.Errorf("attribute %s has no graph", quoted(name))
			}
			if err := v.graph(a, here, depth+1); err != nil {
				return fmt.Errorf("attribute %s: %w", quoted(name), err)
			}
		default:
			return fmt.Errorf("attribute %s holds a %T, which no ONNX attribute can", quoted(name), a)
		}
	}
	for _, out := range n.Outputs {
		if out == "" { // an optional output left out
			continue
		}
		if err := here.define(out); err != nil {
			return err
		}
	}
	return nil
}

// signature is what an operator takes and gives from an opset on.
type signature struct {
	op             string
	since          int
	minIn, maxIn   int // maxIn -1: any number
	minOut, maxOut int
	withdrawn      bool
	attrs          string // "axis:i perm:I ...", ! behind those that must be there
}

// signatureOf is an operator's signature at an opset, nil where the default
// domain has no such operator.
func signatureOf(op string, opset int) *signature {
	after := sort.Search(len(operators), func(i int) bool {
		return cmp.Or(cmp.Compare(operators[i].op, op), cmp.Compare(operators[i].since, opset)) > 0
	})
	if after == 0 || operators[after-1].op != op {
		return nil
	}
	return &operators[after-1]
}

var kindNames = map[byte]string{
	'f': "a number", 'i': "an integer", 's': "a string", 't': "a tensor", 'g': "a graph",
	'F': "a list of numbers", 'I': "a list of integers", 'S': "a list of strings",
}

func kindOf(a Attr) byte {
	switch a.(type) {
	case float32:
		return 'f'
	case int64:
		return 'i'
	case string:
		return 's'
	case *Tensor:
		return 't'
	case *Graph:
		return 'g'
	case []float32:
		return 'F'
	case []int64:
		return 'I'
	case []string:
		return 'S'
	}
	return '?'
}

// signature holds a node against its operator's signature.
func (v *verifier) signature(n *Node) error {
	if n.Domain != "" {
		return nil
	}
	s := signatureOf(n.Op, v.opset)
	if s == nil || s.withdrawn {
		return nil
	}
	given := len(n.Inputs)
	for given > s.minIn && n.Inputs[given-1] == "" {
		given--
	}
	if given < s.minIn || s.maxIn >= 0 && given > s.maxIn {
		return fmt.Errorf("it has %d inputs, at opset %d it takes %s", given, v.opset, span(s.minIn, s.maxIn))
	}
	for i := range s.minIn {
		if n.Inputs[i] == "" && !mayLeaveOut(n.Op, i) {
			return fmt.Errorf("its input %d is left out, but is not optional", i)
		}
	}
	given = len(n.Outputs)
	for given > 0 && n.Outputs[given-1] == "" {
		given--
	}
	if given < s.minOut || s.maxOut >= 0 && given > s.maxOut {
		return fmt.Errorf("it has %d outputs, at opset %d it gives %s", given, v.opset, span(s.minOut, s.maxOut))
	}
	for field := range strings.FieldsSeq(s.attrs) {
		name, kind, _ := strings.Cut(field, ":")
		a, ok := n.Attrs[name]
		if !ok {
			if strings.HasSuffix(kind, "!") {
				return fmt.Errorf("attribute %s is missing", name)
			}
			continue
		}
		if kindOf(a) != kind[0] {
			return fmt.Errorf("attribute %s is %s, not %s", name, kindNames[kindOf(a)], kindNames[kind[0]])
		}
	}
	return nil
}

// mayLeaveOut tells whether an input that an operator has to list may be empty.
// Opset 11 asks Resize for regions and scales, yet exporters leave out whichever
// the resize does not need, and every reader takes that.
func mayLeaveOut(op string, input int) bool {
	return op == "Loop" || op == "Scan" || op == "Resize" && input > 0
}

func span(low, high int) string {
	switch {
	case high < 0:
		return fmt.Sprintf("%d or more", low)
	case low == high:
		return fmt.Sprint(low)
	}
	return fmt.Sprintf("%d to %d", low, high)
}
