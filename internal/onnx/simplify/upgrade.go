package simplify

// Older operator sets are brought to 13, so that everything behind this has one
// form of each operator to know, and because per-channel QuantizeLinear needs
// 13. What changed between 7 and 13 is little: list attributes became inputs,
// Softmax stopped flattening, Upsample became Resize.

import (
	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// wanted is the operator set that old models are brought to.
const wanted = 13

// unchanged are the operators that mean the same in every set from 7 to 13 (new
// element types and new optional attributes apart).
var unchanged = func() map[string]bool {
	set := map[string]bool{}
	for _, op := range []string{
		"Abs", "Acos", "Add", "And", "ArgMax", "ArgMin", "Asin", "Atan", "AveragePool", "Cast", "Ceil", "Concat",
		"Constant", "ConstantOfShape", "Conv", "ConvTranspose", "Cos", "CumSum", "DepthToSpace", "DequantizeLinear",
		"Div", "Einsum", "Elu", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements",
		"GatherND", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "HardSigmoid",
		"Identity", "InstanceNormalization", "LRN", "LeakyRelu", "Less", "LessOrEqual", "Log", "MatMul", "Max",
		"MaxPool", "Mean", "Min", "Mod", "Mul", "Neg", "NonMaxSuppression", "NonZero", "Not", "OneHot", "Or",
		"PRelu", "Pow", "QuantizeLinear", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean",
		"ReduceMin", "ReduceProd", "Relu", "Reshape", "Round", "ScatterElements", "ScatterND", "Selu", "Shape",
		"Sigmoid", "Sign", "Sin", "Size", "Softplus", "Softsign", "SpaceToDepth", "Sqrt", "Sub", "Sum", "Tan",
		"Tanh", "Tile", "Transpose", "Where", "Xor",
	} {
		set[op] = true
	}
	return set
}()

// upgrade rewrites the model to operator set 13. A model with an operator that
// is not known here, or with subgraphs, stays at its own.
func (s *simplifier) upgrade(e *editor) error {
	m := s.model
	if m.Opset >= wanted {
		return nil
	}
	for _, n := range e.nodes {
		if n.Domain == "" && (rewrites[n.Op] == nil && !unchanged[n.Op] || len(n.Subgraphs()) > 0) {
			return nil
		}
		if n.Op == "BatchNormalization" && n.Int("spatial", 1) == 0 { // one statistic for each pixel
			return nil
		}
	}
	for _, n := range e.nodes {
		if f := rewrites[n.Op]; n.Domain == "" && f != nil && f(s, e, n) {
			s.did(Upgraded)
		}
	}
	m.Opset = wanted
	return nil
}

// rewrites brings one node to set 13 and tells whether it changed it. Never
// changed.
var rewrites = map[string]func(s *simplifier, e *editor, n *onnx.Node) bool{
	"BatchNormalization": func(_ *simplifier, _ *editor, n *onnx.Node) bool {
		delete(n.Attrs, "spatial") // until 8: 1 is what all later versions do
		return false
	},
	"Dropout": func(s *simplifier, _ *editor, n *onnx.Node) bool {
		if s.model.Opset >= 12 {
			return false
		}
		delete(n.Attrs, "ratio") // of training only
		return true
	},
	"Clip": func(s *simplifier, e *editor, n *onnx.Node) bool {
		if s.model.Opset >= 11 {
			return false
		}
		inputs := []string{n.Inputs[0]}
		for i, name := range []string{"min", "max"} {
			if !n.Has(name) {
				continue
			}
			for len(inputs) <= i {
				inputs = append(inputs, "")
			}
			inputs = append(inputs, e.addConstant(n.Name+"."+name, onnx.Scalar(n.Float(name, 0))))
		}
		n.Attrs = nil
		e.setInputs(n, inputs...)
		return true
	},
	"Pad": func(s *simplifier, e *editor, n *onnx.Node) bool {
		if s.model.Opset >= 11 {
			return false
		}
		pads := e.addConstant(n.Name+".pads", onnx.Vector(n.IntList("pads")...))
		value := e.addConstant(n.Name+".value", onnx.Scalar(n.Float("value", 0)))
		delete(n.Attrs, "pads")
		delete(n.Attrs, "value")
		e.setInputs(n, n.Inputs[0], pads, value)
		return true
	},
	"Slice": func(s *simplifier, e *editor, n *onnx.Node) bool {
		if s.model.Opset >= 10 {
			return false
		}
		return listsToInputs(e, n, "starts", "ends", "axes")
	},
	"Split":     func(_ *simplifier, e *editor, n *onnx.Node) bool { return listsToInputs(e, n, "split") },
	"Squeeze":   func(_ *simplifier, e *editor, n *onnx.Node) bool { return listsToInputs(e, n, "axes") },
	"Unsqueeze": func(_ *simplifier, e *editor, n *onnx.Node) bool { return listsToInputs(e, n, "axes") },
	"ReduceSum": func(_ *simplifier, e *editor, n *onnx.Node) bool { return listsToInputs(e, n, "axes") },
	"TopK": func(s *simplifier, e *editor, n *onnx.Node) bool {
		if s.model.Opset >= 10 {
			return false
		}
		k := n.Int("k", 0)
		delete(n.Attrs, "k")
		e.setInputs(n, n.Inputs[0], e.addConstant(n.Name+".k", onnx.Vector(k)))
		return true
	},
	"Scatter": func(_ *simplifier, _ *editor, n *onnx.Node) bool {
		n.Op = "ScatterElements"
		return true
	},
	"Upsample":   upgradeResize,
	"Resize":     upgradeResize,
	"Softmax":    upgradeSoftmax,
	"LogSoftmax": upgradeSoftmax,
	"Hardmax":    upgradeSoftmax,
}

// listsToInputs moves list attributes to inputs behind the first.
func listsToInputs(e *editor, n *onnx.Node, attrs ...string) bool {
	inputs := n.Inputs[:1:1]
	changed := false
	for _, name := range attrs {
		list := n.IntList(name)
		if list == nil {
			continue
		}
		inputs = append(inputs, e.addConstant(n.Name+"."+name, onnx.Vector(list...)))
		delete(n.Attrs, name)
		changed = true
	}
	if changed {
		e.setInputs(n, inputs...)
	}
	return changed
}

// upgradeResize turns Upsample and Resize 10 to Resize 13. Both measured
// coordinates from the corner; nearest took the sample before when enlarging and
// the one behind when shrinking.
func upgradeResize(s *simplifier, e *editor, n *onnx.Node) bool {
	if n.Op == "Resize" && s.model.Opset >= 11 {
		return false
	}
	scales := n.Input(1)
	if list := n.FloatList("scales"); list != nil {
		scales = e.addConstant(n.Name+".scales", onnx.Vector(list...))
	}
	nearest := "floor"
	if t := e.constant(scales); t != nil && n.Op == "Resize" {
		for _, v := range t.Floats() {
			if v < 1 {
				nearest = "ceil"
			}
		}
	}
	mode := n.Str("mode", "nearest")
	if mode == "bilinear" {
		mode = "linear"
	}
	n.Op = "Resize"
	n.Attrs = map[string]onnx.Attr{
		"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": nearest,
	}
	e.setInputs(n, n.Inputs[0], "", scales)
	return true
}

// upgradeSoftmax: before 13 a softmax ran over all axes from its axis (default
// 1) on, flattened; since then over its axis (default -1) alone.
func upgradeSoftmax(s *simplifier, e *editor, n *onnx.Node) bool {
	axis := n.Int("axis", 1)
	d := e.g.Info[n.Inputs[0]].Dims
	if d != nil {
		at, err := dims.Axis(axis, len(d))
		if err != nil {
			return false // shape inference refuses it
		}
		single := true
		for _, size := range d[at+1:] {
			single = single && size == 1
		}
		if single {
			n.Set("axis", int64(at))
			return true
		}
	}
	x, y := n.Inputs[0], n.Outputs[0]
	flat, soft, shape := e.name(y+"_flat"), e.name(y+"_rows"), e.name(y+"_shape")
	e.insert(n, &onnx.Node{Name: n.Name + ".flatten", Op: "Flatten", Inputs: []string{x}, Outputs: []string{flat}, Attrs: map[string]onnx.Attr{"axis": axis}})
	e.insert(n, &onnx.Node{Name: n.Name, Op: n.Op, Inputs: []string{flat}, Outputs: []string{soft}, Attrs: map[string]onnx.Attr{"axis": int64(-1)}})
	e.insert(n, &onnx.Node{Name: n.Name + ".shape", Op: "Shape", Inputs: []string{x}, Outputs: []string{shape}})
	e.remove(n)
	e.insert(n, &onnx.Node{Name: n.Name + ".reshape", Op: "Reshape", Inputs: []string{soft, shape}, Outputs: []string{y}})
	return true
}
