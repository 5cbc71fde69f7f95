// Package host evaluates single ONNX nodes in plain Go.
//
// It serves three users: constant folding, shape inference (which has to know
// the values of shape tensors), and the tails of detectors that stay on the
// host (Shape, Gather, TopK, NonMaxSuppression ...). It aims at being right for
// every element type and every operator-set version from 7 to 22; speed matters
// only in so far as no copy is made twice. The heavy operators (convolution and
// pooling) run on a compute backend; reference.go holds plain loops for them
// that the backend is tested against.
package host

import (
	"errors"
	"fmt"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// ErrNotHandled is wrapped by errors about a form of a supported operator that is
// not evaluated here (training mode, blocked quantisation): the node may be
// valid all the same.
var ErrNotHandled = errors.New("not evaluated on the host")

// call is one evaluation of one node.
type call struct {
	node  *onnx.Node
	opset int
	in    []*onnx.Tensor // nil where an optional input is left out
}

type operator func(c *call) ([]*onnx.Tensor, error)

// Supports tells whether Eval can evaluate an operator of a domain ("" and
// "ai.onnx" for ONNX's own, "trtact" for the fused activations of
// simplify.Fuse). The reference operators of reference.go do not count.
func Supports(op, domain string) bool { return find(op, domain) != nil }

func find(op, domain string) operator {
	switch domain {
	case "", "ai.onnx":
		return operators[op]
	case "trtact":
		return fused[op]
	}
	return nil
}

// Eval computes a node's outputs from its inputs, one tensor for each entry of
// n.Inputs, nil for an input left out. opset is the version of the default
// operator set. The outputs may share memory with the inputs. An output the node
// leaves out ("") may be nil. Errors name the node and are marked fault.BadInput.
func Eval(n *onnx.Node, opset int, in []*onnx.Tensor) ([]*onnx.Tensor, error) {
	f := find(n.Op, n.Domain)
	if f == nil {
		return nil, fault.BadInput(fmt.Errorf("node %q: operator %s of domain %q cannot be evaluated on the host", n.Name, n.Op, n.Domain))
	}
	return run(n, opset, in, f)
}

func run(n *onnx.Node, opset int, in []*onnx.Tensor, f operator) (out []*onnx.Tensor, err error) {
	c := &call{n, opset, in}
	defer func() {
		// The graph is hostile and the operators many: should one of them trip
		// over a combination that nobody thought of, the file is refused rather
		// than the program stopped.
		if r := recover(); r != nil {
			out, err = nil, fault.BadInput(fmt.Errorf("node %q (%s): inputs %s: %v", n.Name, n.Op, c.describe(), r))
		}
	}()
	for i, t := range in {
		if t == nil {
			continue
		}
		if count, err := dims.Count(t.Dims); err != nil || count != t.Len() {
			return nil, fault.BadInput(fmt.Errorf("node %q (%s): input %d has shape %v but %d elements", n.Name, n.Op, i, t.Dims, t.Len()))
		}
	}
	out, err = f(c)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("node %q (%s), inputs %s: %w", n.Name, n.Op, c.describe(), err))
	}
	return out, nil
}

// describe lists the inputs' types and shapes for a message.
func (c *call) describe() string {
	s := ""
	for i, t := range c.in {
		if i > 0 {
			s += ", "
		}
		if t == nil {
			s += "none"
			continue
		}
		s += fmt.Sprintf("%s%v", t.Type, t.Dims)
	}
	return s
}

// input is a required input.
func (c *call) input(i int) (*onnx.Tensor, error) {
	if t := c.optional(i); t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("input %d is missing", i)
}

// optional is an input or nil.
func (c *call) optional(i int) *onnx.Tensor {
	if i < len(c.in) {
		return c.in[i]
	}
	return nil
}

// ints is input i as a list of int64, or the attribute's list where the input
// is missing (most list arguments moved from attribute to input over time). nil
// if there is neither.
func (c *call) ints(i int, attr string) ([]int64, error) {
	if t := c.optional(i); t != nil {
		return t.Ints()
	}
	if attr == "" {
		return nil, nil
	}
	return c.node.IntList(attr), nil
}

// scalar is optional input i as a number, or def.
func (c *call) scalar(i int, def float64) (float64, error) {
	t := c.optional(i)
	if t == nil {
		return def, nil
	}
	if t.Len() != 1 {
		return 0, fmt.Errorf("input %d has %d elements, one needed", i, t.Len())
	}
	v, err := float64s(t)
	if err != nil {
		return 0, err
	}
	return v[0], nil
}

// axis reads an axis attribute for a given rank.
func (c *call) axis(name string, def int64, rank int) (int, error) {
	return dims.Axis(c.node.Int(name, def), rank)
}

// one wraps a single result.
func one(t *onnx.Tensor, err error) ([]*onnx.Tensor, error) {
	if err != nil {
		return nil, err
	}
	return []*onnx.Tensor{t}, nil
}
