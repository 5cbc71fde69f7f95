package half

// Which nodes compute in float16. Layers with weights do whenever they can: they
// are what float16 is for. The rest follows its inputs, so that what has to be
// float32 stays so as far as the next layer and nothing is narrowed for the sake
// of a Reshape.

import (
	"fmt"
	"math"
	"slices"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// kind is how an operator takes to float16. Operators that are not listed stay
// float32: Exp, Log, Pow and sums over many elements leave the range of float16
// easily, sizes and indices its 11 bits.
type kind int

const (
	unlisted kind = iota
	layer         // computes in float16 whatever its inputs are in
	follower      // computes in float16 when its inputs are
)

var operators = map[string]kind{
	"Conv": layer, "ConvTranspose": layer, "Gemm": layer, "MatMul": layer,

	"BatchNormalization": follower, "AveragePool": follower, "GlobalAveragePool": follower, "GlobalMaxPool": follower,
	"MaxPool": follower, "ReduceMax": follower, "ReduceMean": follower, "ReduceMin": follower, "Softmax": follower,

	"Abs": follower, "Add": follower, "Clip": follower, "Div": follower, "Elu": follower, "Erf": follower, "Gelu": follower,
	"HardSigmoid": follower, "HardSwish": follower, "LeakyRelu": follower, "Max": follower, "Mean": follower, "Min": follower,
	"Mish": follower, "Mul": follower, "Neg": follower, "PRelu": follower, "Relu": follower, "Sigmoid": follower,
	"Softplus": follower, "Softsign": follower, "Sqrt": follower, "Sub": follower, "Sum": follower, "Tanh": follower,

	"Concat": follower, "DepthToSpace": follower, "Expand": follower, "Flatten": follower, "Gather": follower,
	"Identity": follower, "Pad": follower, "Reshape": follower, "Resize": follower, "Slice": follower,
	"SpaceToDepth": follower, "Split": follower, "Squeeze": follower, "Tile": follower, "Transpose": follower,
	"Unsqueeze": follower, "Upsample": follower, "Where": follower,
}

// moves tells an operator that gives its inputs' values as they are.
func moves(n *onnx.Node) bool {
	switch n.Op {
	case "Cast", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice",
		"SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze":
		return true
	}
	return false
}

// maxSoftmax is the largest number of elements that a Softmax in float16 goes
// over: their mean is then 16 times the smallest normal number.
const maxSoftmax = 1 << 10

// converts tells whether input i of an operator changes its type with the
// node's. The scales and regions of a resize are always float32.
func converts(op string, i int) bool {
	return i == 0 || op != "Resize" && op != "Upsample"
}

// takesAny tells an operator whose inputs may have any type whatever its output
// has, so that none needs a Cast in front.
func takesAny(n *onnx.Node) bool {
	return n.Domain == "" && (n.Op == "Cast" || n.Op == "Shape" || n.Op == "Size")
}

// lean is what a tensor asks of the nodes that follow it.
type lean int

const (
	onlyFloat   lean = iota // made in float32 on purpose: followers stay
	ratherFloat             // float32, but float16 would hold it: what a pair with casts gives
	ratherHalf              // could be either at no cost: inputs of the graph, pairs
	isHalf
)

// isFloat tells a float32 tensor.
func (c *converter) isFloat(name string) bool {
	return name != "" && c.g.Info[name].Type == onnx.Float
}

func (c *converter) decideAll() {
	for _, v := range c.g.Inputs {
		if v.Type == onnx.Float {
			c.lean[v.Name] = ratherHalf
		}
	}
	for _, n := range c.g.Nodes {
		if isDequantize(n) {
			c.lean[n.Outputs[0]] = c.dequantized(n)
			continue
		}
		if isQuantize(n) || !c.computes(n) {
			continue
		}
		l, reason := c.decide(n)
		switch {
		case l == isHalf:
			c.half[n] = true
			c.report.Half++
		case !c.before[n]:
			c.report.Behind++
			c.report.Float++
		default:
			c.report.Kept = append(c.report.Kept, Kept{n.Name, n.Op, reason})
			c.report.Float++
		}
		for _, name := range n.Outputs {
			if c.isFloat(name) {
				c.lean[name] = l
			}
		}
	}
}

// computes tells a node that makes float32 tensors of float32 tensors, or would
// have to be told in which precision to work.
func (c *converter) computes(n *onnx.Node) bool {
	return slices.ContainsFunc(n.Outputs, c.isFloat)
}

// decide says in which type a node computes, and why when in float32.
func (c *converter) decide(n *onnx.Node) (lean, string) {
	if !c.before[n] {
		return onlyFloat, "no head depends on it"
	}
	if c.keep[n.Name] {
		return onlyFloat, "it was asked for"
	}
	k := operators[n.Op]
	if n.Op == "Cast" && c.isFloat(n.Input(0)) {
		k = follower // left over from a model that was half precision
	}
	if n.Domain != "" || k == unlisted {
		return onlyFloat, fmt.Sprintf("%s is computed in float32", n.Op)
	}
	for _, name := range slices.Concat(n.Inputs, n.Outputs) {
		switch t := c.g.Info[name].Type; {
		case name != "" && t == onnx.Undefined:
			return onlyFloat, fmt.Sprintf("the type of tensor %q is not known", name)
		case t == onnx.Double:
			return onlyFloat, fmt.Sprintf("tensor %q is float64", name)
		}
		if c.wide[name] {
			return onlyFloat, fmt.Sprintf("tensor %q reaches beyond %d", name, MaxRange)
		}
	}
	if n.Op == "Softmax" {
		if size := c.axisSize(n); size < 1 || size > maxSoftmax {
			return onlyFloat, fmt.Sprintf("a Softmax over more than %d elements", maxSoftmax)
		}
	}
	most, constants := onlyFloat, true
	for i, name := range n.Inputs {
		if !c.isFloat(name) || !converts(n.Op, i) {
			continue
		}
		if t := c.g.Init[name]; t != nil {
			if problem := misfit(t, n.Op); problem != "" {
				return onlyFloat, fmt.Sprintf("constant %q %s", name, problem)
			}
			continue
		}
		constants = false
		if k == follower && c.lean[name] == onlyFloat {
			return onlyFloat, fmt.Sprintf("its input %q is float32", name)
		}
		most = max(most, c.lean[name])
	}
	switch {
	case constants:
		return onlyFloat, "it computes with constants alone"
	case k == follower && most == ratherFloat:
		return ratherFloat, "its inputs are dequantised to float32"
	}
	return isHalf, ""
}

// axisSize is the number of elements that a Softmax goes over, 0 where it is not
// known.
func (c *converter) axisSize(n *onnx.Node) int {
	d := c.g.Info[n.Input(0)].Dims
	def := int64(-1)
	if c.m.Opset < 13 {
		def = 1
	}
	axis, err := dims.Axis(n.Int("axis", def), len(d))
	if err != nil {
		return 0
	}
	if c.m.Opset >= 13 {
		return d[axis]
	}
	size := 1 // it goes over all from axis on
	for _, s := range d[axis:] {
		size *= s
	}
	return size
}

// Bounds on what rounding a constant to float16 may lose, relative to it. The
// rounding of normal numbers loses at most 2^-11.
const (
	maxLoss        = 1.0 / (1 << 10) // of the whole, in the L2 norm
	maxElementLoss = 1.0 / (1 << 9)  // of each factor
)

// misfit says why a constant of an operator cannot be float16, "" when it can.
// Small weights beside large ones may vanish, as they do in any sum; a constant
// that is small altogether, and a factor, may not.
func misfit(t *onnx.Tensor, op string) string {
	factors := op == "Mul" || op == "Div" || op == "BatchNormalization"
	var lost, norm float64
	for _, v := range t.Floats() {
		x := float64(v)
		h := float64(onnx.Float16Value(onnx.Float16Bits(v)))
		if h == x || math.IsInf(x, 0) || math.IsNaN(x) {
			norm += squareOfFinite(x)
			continue
		}
		if math.IsInf(h, 0) {
			return fmt.Sprintf("holds %g, more than float16 can", v)
		}
		if factors && math.Abs(h-x) > maxElementLoss*math.Abs(x) {
			return fmt.Sprintf("holds %g, too small for float16", v)
		}
		lost += (h - x) * (h - x)
		norm += x * x
	}
	if lost > maxLoss*maxLoss*norm {
		return "is too small for float16"
	}
	return ""
}

func squareOfFinite(x float64) float64 {
	if math.IsInf(x, 0) || math.IsNaN(x) {
		return 0
	}
	return x * x
}
