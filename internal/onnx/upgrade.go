package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// maxUpgrade is the last opset whose changes are known here.
const maxUpgrade = 19

// UpgradeOpset rewrites a model's operators in the forms that opset to has, at
// most 19, and leaves what the model computes as it was. A model at that opset
// or a later one is left alone. On an error m is left half-way.
//
// Every entry of the table below is one operator's one change of form, in the
// words of its change notes in ONNX's operator documentation; a model goes
// through all that lie between its opset and the one asked for, one after the
// other, as the format itself grew.
func UpgradeOpset(m *Model, to int) error {
	if to > maxUpgrade {
		return fmt.Errorf("upgrade the operators to opset %d: at most %d is known", to, maxUpgrade)
	}
	if m.Opset >= to {
		return nil
	}
	if err := verify(m); err != nil {
		return fmt.Errorf("upgrade the operators to opset %d: %w", to, err)
	}
	taken := map[string]bool{}
	m.Graph.collectNames(taken)
	for _, s := range upgradeSteps() {
		if s.since <= m.Opset || s.since > to {
			continue
		}
		if err := upgradeGraph(m.Graph, s, taken, nil); err != nil {
			return fmt.Errorf("upgrade the operators to opset %d: %w", to, err)
		}
	}
	m.Opset = to
	return nil
}

// upgradeStep rewrites the operators that changed their form at one opset.
type upgradeStep struct {
	since int
	forms map[string]func(*upgrader, *Node) error
}

func upgradeSteps() []upgradeStep {
	softmax, axes := (*upgrader).softmax, (*upgrader).axes
	return []upgradeStep{
		{9, map[string]func(*upgrader, *Node) error{
			"Upsample":           (*upgrader).upsampleScales,
			"BatchNormalization": (*upgrader).batchNormSpatial,
			"Scan":               (*upgrader).scan,
		}},
		{10, map[string]func(*upgrader, *Node) error{
			"Upsample": (*upgrader).upsampleToResize,
			"Slice":    (*upgrader).slice,
			"TopK":     (*upgrader).topK,
			"Dropout":  (*upgrader).dropoutMask,
		}},
		{11, map[string]func(*upgrader, *Node) error{
			"Resize":  (*upgrader).resize,
			"Clip":    (*upgrader).clip,
			"Pad":     (*upgrader).pad,
			"Scatter": (*upgrader).scatter,
		}},
		{12, map[string]func(*upgrader, *Node) error{
			"Dropout": (*upgrader).dropoutRatio,
		}},
		{13, map[string]func(*upgrader, *Node) error{
			"Squeeze":    axes,
			"Unsqueeze":  axes,
			"ReduceSum":  axes,
			"Split":      (*upgrader).split,
			"Softmax":    softmax,
			"LogSoftmax": softmax,
			"Hardmax":    softmax,
		}},
		{14, map[string]func(*upgrader, *Node) error{
			"BatchNormalization": (*upgrader).batchNormTraining,
		}},
		{16, map[string]func(*upgrader, *Node) error{
			"RoiAlign": (*upgrader).roiAlign,
		}},
		{18, map[string]func(*upgrader, *Node) error{
			"Split":           (*upgrader).splitEvenly,
			"Resize":          (*upgrader).resizeOnce,
			"ReduceL1":        axes,
			"ReduceL2":        axes,
			"ReduceLogSum":    axes,
			"ReduceLogSumExp": axes,
			"ReduceMax":       axes,
			"ReduceMean":      axes,
			"ReduceMin":       axes,
			"ReduceProd":      axes,
			"ReduceSumSquare": axes,
		}},
	}
}

// upgrader is at work on one graph.
type upgrader struct {
	g      *Graph
	facts  *facts
	taken  map[string]bool   // names in use anywhere in the model
	before map[*Node][]*Node // nodes to put in front of a node
	after  map[*Node][]*Node // and behind it
	reads  map[string]bool   // tensors that somebody reads
}

func upgradeGraph(g *Graph, s upgradeStep, taken map[string]bool, around *facts) error {
	u := &upgrader{g, factsOf(g, around), taken, map[*Node][]*Node{}, map[*Node][]*Node{}, map[string]bool{}}
	for _, out := range g.Outputs {
		u.reads[out.Name] = true
	}
	for _, n := range g.Nodes {
		for _, in := range n.Uses() {
			u.reads[in] = true
		}
	}
	for _, n := range g.Nodes {
		for _, sub := range n.Subgraphs() {
			if err := upgradeGraph(sub, s, taken, u.facts); err != nil {
				return err
			}
		}
		form, ok := s.forms[n.Op]
		if !ok || n.Domain != "" {
			continue
		}
		if err := form(u, n); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	if len(u.before)+len(u.after) == 0 {
		return nil
	}
	nodes := make([]*Node, 0, len(g.Nodes)+len(u.before)+len(u.after))
	for _, n := range g.Nodes {
		nodes = append(append(append(nodes, u.before[n]...), n), u.after[n]...)
	}
	g.Nodes = nodes
	return nil
}

// fresh is a name for something that belongs to n.
func (u *upgrader) fresh(n *Node, what string) string {
	name := freshIn(u.taken, n.Name+"_"+what)
	u.taken[name] = true
	return name
}

// constant makes t a constant that n reads.
func (u *upgrader) constant(n *Node, what string, t *Tensor) string {
	name := u.fresh(n, what)
	u.g.Init[name] = t
	if u.g.Info == nil {
		u.g.Info = map[string]Value{}
	}
	u.g.Info[name] = t.Value(name)
	return name
}

// intsToInput turns a list attribute into the node's next input, where it is
// there at all.
func (u *upgrader) intsToInput(n *Node, attr string) {
	list, ok := n.Attrs[attr].([]int64)
	delete(n.Attrs, attr)
	if ok {
		n.Inputs = append(n.Inputs, u.constant(n, attr, Vector(slices.Clone(list)...)))
	}
}

// number is a scalar of the element type that the node's first input has, which
// is Float unless something says otherwise.
func (u *upgrader) number(n *Node, v float32) *Tensor {
	if u.facts.typeOf(n.Input(0)) == Double {
		return Scalar(float64(v))
	}
	return Scalar(v)
}

// 9: the scales become an input.
func (u *upgrader) upsampleScales(n *Node) error {
	scales := n.FloatList("scales")
	delete(n.Attrs, "scales")
	n.Inputs = append(n.Inputs[:1], u.constant(n, "scales", Vector(slices.Clone(scales)...)))
	return nil
}

// 9: spatial is gone; statistics are always one for each channel.
func (u *upgrader) batchNormSpatial(n *Node) error {
	if n.Int("spatial", 1) != 1 {
		return fmt.Errorf("spatial=%d (statistics for every pixel) has no form in later opsets", n.Int("spatial", 1))
	}
	delete(n.Attrs, "spatial")
	return nil
}

// 9: Scan lost its batch and its lengths, which no other form can express.
func (u *upgrader) scan(*Node) error {
	return errors.New("the Scan of opset 8 has no form in later opsets")
}

// 10: Resize takes Upsample's place.
func (u *upgrader) upsampleToResize(n *Node) error {
	n.Op = "Resize"
	return nil
}

// 10: starts, ends and axes become inputs.
func (u *upgrader) slice(n *Node) error {
	u.intsToInput(n, "starts")
	u.intsToInput(n, "ends")
	u.intsToInput(n, "axes")
	return nil
}

// 10: k becomes an input.
func (u *upgrader) topK(n *Node) error {
	k := n.Int("k", 0)
	delete(n.Attrs, "k")
	n.Inputs = append(n.Inputs[:1], u.constant(n, "k", Vector(k)))
	return nil
}

// 10: the mask becomes bool. One that nobody reads is left out; others would
// change their type under their reader.
func (u *upgrader) dropoutMask(n *Node) error {
	mask := n.Output(1)
	if mask != "" && u.reads[mask] {
		return fmt.Errorf("its mask %s is read, whose type changes at opset 10", quoted(mask))
	}
	n.Outputs = n.Outputs[:1]
	return nil
}

// 11: Resize says how it finds the source of a pixel. Before, that was the
// pixel's place divided by the scale, and for nearest the whole number below.
func (u *upgrader) resize(n *Node) error {
	n.Inputs = []string{n.Input(0), u.constant(n, "roi", Vector[float32]()), n.Input(1)}
	n.Set("coordinate_transformation_mode", "asymmetric")
	if n.Str("mode", "nearest") == "nearest" {
		n.Set("nearest_mode", "floor")
	}
	return nil
}

// 11: the bounds become inputs; one that is not there does not bound.
func (u *upgrader) clip(n *Node) error {
	bounds := []string{"", ""}
	for i, name := range []string{"min", "max"} {
		v := n.Float(name, float32(math.Inf(2*i-1)))
		delete(n.Attrs, name)
		if float64(v) > -math.MaxFloat32 && float64(v) < math.MaxFloat32 {
			bounds[i] = u.constant(n, name, u.number(n, v))
		}
	}
	for len(bounds) > 0 && bounds[len(bounds)-1] == "" {
		bounds = bounds[:len(bounds)-1]
	}
	n.Inputs = append(n.Inputs[:1], bounds...)
	return nil
}

// 11: the widths and the value become inputs.
func (u *upgrader) pad(n *Node) error {
	u.intsToInput(n, "pads")
	if n.Has("value") {
		v := n.Float("value", 0)
		delete(n.Attrs, "value")
		n.Inputs = append(n.Inputs, u.constant(n, "value", u.number(n, v)))
	}
	return nil
}

// 11: the operator has a new name.
func (u *upgrader) scatter(n *Node) error {
	n.Op = "ScatterElements"
	return nil
}

// 12: the ratio becomes an input.
func (u *upgrader) dropoutRatio(n *Node) error {
	ratio, ok := n.Attrs["ratio"].(float32)
	delete(n.Attrs, "ratio")
	if ok {
		n.Inputs = append(n.Inputs[:1], u.constant(n, "ratio", Scalar(ratio)))
	}
	return nil
}

// 13 and 18: the axes become an input.
func (u *upgrader) axes(n *Node) error {
	u.intsToInput(n, "axes")
	return nil
}

// 13: the sizes of the parts become an input.
func (u *upgrader) split(n *Node) error {
	u.intsToInput(n, "split")
	return nil
}

// 13: before, the dimensions from axis on counted as one, and the operator went
// over all of them; since, it goes over axis alone. For the last axis that is the
// same. For others the tensor is made a matrix for the time.
func (u *upgrader) softmax(n *Node) error {
	axis := n.Int("axis", 1)
	rank, known := u.facts.rankOf(n.Input(0))
	if known && axis >= 0 {
		axis -= int64(rank)
	}
	if axis == -1 {
		n.Set("axis", int64(-1))
		return nil
	}
	in, out := n.Inputs[0], n.Outputs[0]
	shape := &Node{Name: u.fresh(n, "shape"), Op: "Shape", Inputs: []string{in}}
	shape.Outputs = []string{u.fresh(n, "shape_of")}
	flat := &Node{Name: u.fresh(n, "flatten"), Op: "Flatten", Inputs: []string{in}, Attrs: map[string]Attr{"axis": axis}}
	flat.Outputs = []string{u.fresh(n, "flat")}
	back := &Node{Name: u.fresh(n, "reshape"), Op: "Reshape", Outputs: []string{out}}
	n.Set("axis", int64(1))
	n.Inputs, n.Outputs = []string{flat.Outputs[0]}, []string{u.fresh(n, "result")}
	back.Inputs = []string{n.Outputs[0], shape.Outputs[0]}
	u.before[n] = []*Node{shape, flat}
	u.after[n] = []*Node{back}
	return nil
}

// 14: the outputs for training are others.
func (u *upgrader) batchNormTraining(n *Node) error {
	for _, out := range n.Outputs[1:] {
		if out != "" {
			return fmt.Errorf("its output %s is one of training, which opset 14 does not have", quoted(out))
		}
	}
	n.Outputs = n.Outputs[:1]
	return nil
}

// 16: regions are by default half a pixel elsewhere than before.
func (u *upgrader) roiAlign(n *Node) error {
	n.Set("coordinate_transformation_mode", "output_half_pixel")
	return nil
}

// 18: equal parts are asked for by their number.
func (u *upgrader) splitEvenly(n *Node) error {
	if n.Input(1) == "" {
		n.Inputs = n.Inputs[:1]
		n.Set("num_outputs", int64(len(n.Outputs)))
	}
	return nil
}

// 18: scales or sizes, never both, and what is not used is left out. Before, an
// empty tensor could stand in its place.
func (u *upgrader) resizeOnce(n *Node) error {
	for i := 1; i < len(n.Inputs); i++ {
		if t := u.g.Init[n.Inputs[i]]; t != nil && t.Len() == 0 {
			n.Inputs[i] = ""
		}
	}
	return nil
}
