// Heads that hold their predictions as rows, in one tensor or in one for each level: YOLOv3
// to YOLOv8, YOLOX, NanoDet, and boxes beside scores as PP-YOLOE has them.
package detect

import (
	"fmt"
	"slices"
)

// boundaries are the channels at which parts begin, and the end of the last.
func boundaries(parts []part) []int {
	b := []int{0}
	for _, p := range parts {
		b = append(b, b[len(b)-1]+p.channels)
	}
	return b
}

func anyPart(parts []part, f func(part) bool) bool { return slices.ContainsFunc(parts, f) }

func probability(p part) bool { return p.probability() }
func decoded(p part) bool     { return p.decoded() }
func unit(p part) bool        { return p.measure == shares }
func yx(p part) bool          { return p.has(swapped) }
func exponential(p part) bool { return p.has("Exp") }
func softmax(p part) bool     { return p.has("Softmax") }

// rowAxes says which axis of a rank-3 output holds the channels. The other one
// has as many entries as the grids have predictions; if that leaves a choice,
// it is put together from the levels; else it is the longer one.
func (s *subject) rowAxes(o Output) (channel, row int) {
	rows := func(axis int) (evidence int) {
		if _, _, ok := s.pyramid(o.Dims[axis], nil); !ok {
			return 0
		}
		levels := s.lengths(o.Name, axis)
		for _, length := range levels {
			if _, _, ok := s.pyramid(length, nil); !ok { // one level is a pyramid too
				return 1
			}
		}
		return 1 + len(levels)
	}
	first, second := rows(1), rows(2)
	if first > second || first == second && o.Dims[1] >= o.Dims[2] {
		return 2, 1
	}
	return 1, 2
}

// rowSlot is where channel first of a rank-3 output lies.
func rowSlot(o Output, channelAxis, first int) Slot {
	if channelAxis == 2 {
		return Slot{Output: o.Name, Offset: first, Cell: o.Dims[2], Channel: 1}
	}
	return Slot{Output: o.Name, Offset: first * o.Dims[2], Cell: 1, Channel: o.Dims[2]}
}

// rows is the outputs that are rows of columns; others of rank 4 or 5 (the maps before the
// decoding, mask prototypes) may stand beside them. Boxes may have an axis of one between, as
// pytorch-YOLOv4 gives them.
func (s *subject) rows() []Output {
	var found []Output
	for _, o := range s.outputs {
		switch d := o.Dims; {
		case len(d) == 3:
			found = append(found, o)
		case len(d) == 4 && d[2] == 1 && d[3] == 4:
			found = append(found, Output{o.Name, []int{d[0], d[1], 4}})
		}
	}
	return found
}

// flattened is outputs of grids with the anchors on an axis of their own, seen as rows.
func (s *subject) flattened() []Output {
	var found []Output
	for _, o := range s.outputs {
		if d := o.Dims; len(d) == 5 {
			found = append(found, Output{o.Name, []int{d[0], d[1] * d[2] * d[3], d[4]}})
		}
	}
	return found
}

// columns takes one of rows' or flattened's outputs apart along its axis 1 or 2.
func (s *subject) columns(o Output, axis int) []part {
	if axis == 2 {
		axis = len(s.dims(o.Name)) - 1
	}
	return s.parts(o.Name, axis)
}

// classHint is the number of classes that the model is known to have, or 80.
func (s *subject) classHint() int {
	if len(s.names) > 0 {
		return len(s.names)
	}
	return 80
}

// matchRows takes all rows in one output, or each level's in one of its own.
func matchRows(s *subject) (h Head, family string, err error) {
	outs := s.rows()
	if len(outs) == 0 {
		outs = s.flattened()
	}
	if len(outs) == 0 {
		return Head{}, "", errOutputs
	}
	for i, o := range outs {
		level, found, err := s.rowHead(o)
		switch {
		case err != nil:
			return Head{}, "", err
		case i == 0:
			h, family = level, found
			continue
		case level.Classes != h.Classes || level.Coding != h.Coding:
			return Head{}, "", errOutputs
		}
		h.Levels = append(h.Levels, level.Levels...)
	}
	if h.Coding == Anchors {
		err = s.setAnchors(&h, family)
	}
	return h, family, err
}

// rowHead is the head of one output of rows, without its anchors.
func (s *subject) rowHead(o Output) (Head, string, error) {
	channel, row := s.rowAxes(o)
	channels, rows := o.Dims[channel], o.Dims[row]
	if channels < 5 {
		return Head{}, "", fmt.Errorf("%d columns are too few for a box and a class", channels)
	}
	parts := s.columns(o, channel)
	at := boundaries(parts)
	strides, per, known := s.pyramid(rows, s.lengths(o.Name, row))
	object, err := s.hasObjectness(at, per)
	if err != nil {
		return Head{}, "", err
	}
	first := 4
	if object {
		first = 5
	}
	last := channels
	if end := first + len(s.names); len(s.names) > 0 && slices.Contains(at, end) {
		last = end
	}
	classes := within(parts, first, last)
	for len(classes) > 1 && !probability(classes[len(classes)-1]) && probability(classes[0]) {
		last -= classes[len(classes)-1].channels // mask coefficients, key points
		classes = classes[:len(classes)-1]
	}
	if last <= first {
		return Head{}, "", fmt.Errorf("%d columns leave no class", channels)
	}
	box := within(parts, 0, 4)
	h := Head{Coding: Centre, Classes: last - first, ClassLogits: !anyPart(classes, probability), YX: anyPart(box, yx)}
	level := Level{Height: 1, Width: rows, Box: rowSlot(o, channel, 0), Class: rowSlot(o, channel, first)}
	constant := false
	if object {
		level.Object = rowSlot(o, channel, 4)
		in := within(parts, 4, 5)
		constant = in[0].constant
		h.ObjectLogits = !constant && !anyPart(in, probability)
	}
	if anyPart(box, decoded) {
		h.Levels, h.Unit = []Level{level}, anyPart(box, unit)
		if !object && !sized(box) { // before a suppression, or a choice of the best
			h.Coding = Corners
			return h, s.cornerFamily(per, box), nil
		}
		return h, s.rowFamily(object, constant, per, parts), nil
	}
	if !known || len(s.dims(o.Name)) > 3 {
		return Head{}, "", fmt.Errorf("%d rows of undecoded boxes fit no pyramid of grids", rows)
	}
	if !object {
		return Head{}, "", fmt.Errorf("boxes are neither decoded nor accompanied by objectness")
	}
	if per == 1 && !(slices.Contains(at, 4) && slices.Contains(at, 5)) {
		return Head{}, "", fmt.Errorf("box, objectness and classes do not come apart: the channels may have been reshaped where they should have been transposed")
	}
	family := "yolox"
	h.Coding = Exponential
	if per == 3 {
		family, h.Coding, h.BoxLogits = s.mapFamily(), Anchors, !anyPart(within(box, 0, 2), probability)
	}
	done := 0
	for _, stride := range strides {
		l := level
		l.Stride = stride
		l.Height, l.Width = s.cells(stride)
		for _, slot := range []*Slot{&l.Box, &l.Object, &l.Class} {
			slot.Offset += done * slot.Cell
			slot.Anchor = l.Height * l.Width * slot.Cell
		}
		done += per * l.Height * l.Width
		h.Levels = append(h.Levels, l)
	}
	return h, family, nil
}

// hasObjectness decides whether column 4 is objectness or the first class,
// from the channels at which parts begin and end.
func (s *subject) hasObjectness(at []int, per int) (bool, error) {
	channels := at[len(at)-1]
	named := len(s.names)
	switch {
	case per == 3 && s.want == "yolov8":
		return false, fmt.Errorf("three predictions a cell: yolov8 has one")
	case per == 3 && slices.Contains(at, 4) && channels-4 == s.classHint(): // multiplied into the classes
		return false, nil
	case per == 3:
		return true, nil
	case named > 0 && slices.Contains(at, 5+named):
		return true, nil
	case named > 0 && slices.Contains(at, 4+named):
		return false, nil
	case slices.Contains(at, 5) && channels > 5:
		return true, nil
	case per == 1 && slices.Contains(at, 4), s.want == "yolov8":
		return false, nil
	case slices.Contains([]string{"yolov5", "yolov7", "yolox"}, s.want):
		return true, nil
	case channels-5 == s.classHint():
		return true, nil
	case channels-4 == s.classHint():
		return false, nil
	}
	return false, fmt.Errorf("cannot tell whether the fifth of %d columns is objectness", channels)
}

// rowFamily tells apart the families whose rows are decoded alike; they differ
// in how pixels are prepared.
func (s *subject) rowFamily(object, constant bool, per int, parts []part) string {
	switch {
	case per == 3 && anyPart(within(parts, 0, 4), exponential):
		return s.exponentialFamily()
	case !object:
		return "yolov8"
	case constant:
		return "yolov6"
	case per == 1 && (s.focus() || s.smooth()):
		return "yolox"
	case per == 1:
		return "yolov6"
	}
	// YOLOv5 adds the grid, then multiplies by the stride; YOLOv7 the other way,
	// but at first it did as YOLOv5 does.
	if p := within(parts, 0, 1); len(p) > 0 && p[0].first == "Add" {
		return "yolov7"
	}
	return s.anchorFamily()
}

// cornerFamily tells apart the families that give corners and scores, which differ in how
// pixels are prepared. PP-YOLOE reads a side off 17 bins; YOLOv8 and what came after it off
// 16, or it is one value (YOLO26). YOLO-NAS has 17, too, but is fed as YOLOv8 is: it lacks
// PP-YOLOE's attention, which begins with the mean over the plane. RTMDet has attention and
// no bins, depthwise windows of 5x5, and SiLU, where YOLOv6Lite has HardSwish. The others are
// so before a suppression.
func (s *subject) cornerFamily(per int, box []part) string {
	if s.want != "auto" {
		return s.want
	}
	if per == 3 && anyPart(box, exponential) {
		return s.exponentialFamily()
	}
	bins, attention, depthwise, smooth, hard := false, false, false, 0, 0
	for _, n := range s.g.Nodes {
		switch n.Op {
		case "Conv":
			depthwise = depthwise || n.Int("group", 1) > 1 && slices.Equal(n.IntList("kernel_shape"), []int64{5, 5})
		case "Softmax":
			bins = bins || slices.Contains(s.dims(n.Output(0)), 17)
		case "GlobalAveragePool", "ReduceMean":
			attention = true
		case "Sigmoid":
			smooth++
		case "HardSwish", "HardSigmoid", "Clip":
			hard++
		}
	}
	switch {
	case bins && attention:
		return "ppyoloe"
	case attention && depthwise && smooth > hard && per == 1:
		return "rtmdet"
	}
	switch {
	case per == 3:
		return s.anchorFamily()
	case s.focus():
		return "yolox"
	}
	return "yolov8"
}

// sized says whether the last two of four box values are width and height: a
// difference of corners, a power or an exponential. A far corner is a sum.
func sized(box []part) bool {
	return len(box) > 1 && anyPart(within(box, 2, 4), func(p part) bool {
		return p.between == "Sub" || p.between == "" && p.has("Pow", "Exp")
	})
}

// smooth says whether the activations are SiLU: YOLOX without its Focus; YOLOv6 that had an
// objectness has ReLU.
func (s *subject) smooth() bool {
	n := 0
	for _, node := range s.g.Nodes {
		switch node.Op {
		case "Sigmoid":
			n++
		case "Relu", "HardSwish":
			n--
		}
	}
	return n > 8
}

// focus says whether the image, normalised or not, is first taken apart into four, as
// YOLOX does.
func (s *subject) focus() bool {
	for _, in := range s.g.Inputs {
		tensor := in.Name
		for range 8 {
			next := s.ix.Consumers[tensor]
			for _, n := range next {
				if n.Op == "Slice" && !s.reverses(n) || n.Op == "SpaceToDepth" {
					return true
				}
			}
			if len(next) != 1 || s.trainable(next[0]) {
				break
			}
			tensor = next[0].Output(0)
		}
	}
	return false
}

// matchNanoDet takes rows of sigmoid class scores followed by distance bins.
func matchNanoDet(s *subject) (Head, string, error) {
	if len(s.outputs) != 1 || len(s.outputs[0].Dims) != 3 {
		return Head{}, "", errOutputs
	}
	o := s.outputs[0]
	channel, row := s.rowAxes(o)
	parts := s.parts(o.Name, channel)
	at := boundaries(parts)
	classes := 0
	for i := 1; i < len(parts); i++ {
		if rest := at[len(parts)] - at[i]; rest >= 8 && rest%4 == 0 && !anyPart(parts[:i], func(p part) bool { return !probability(p) || p.decoded() }) &&
			!anyPart(parts[i:], func(p part) bool { return p.probability() || p.decoded() }) {
			classes = at[i]
			break
		}
	}
	if classes == 0 {
		return Head{}, "", fmt.Errorf("columns are not class scores followed by distances")
	}
	strides, per, ok := s.pyramid(o.Dims[row], s.lengths(o.Name, row))
	if !ok || per != 1 {
		return Head{}, "", fmt.Errorf("%d rows fit no pyramid of grids", o.Dims[row])
	}
	h := Head{Coding: Distances, Classes: classes, Bins: (o.Dims[channel] - classes) / 4, CellCentre: 0.5}
	if len(strides) == 4 {
		h.CellCentre = 0 // NanoDet-Plus measures from the cell's corner
	}
	done := 0
	for _, stride := range strides {
		l := Level{Stride: stride, Box: rowSlot(o, channel, classes), Class: rowSlot(o, channel, 0)}
		l.Height, l.Width = s.cells(stride)
		l.Box.Offset += done * l.Box.Cell
		l.Class.Offset += done * l.Class.Cell
		done += l.Height * l.Width
		h.Levels = append(h.Levels, l)
	}
	return h, "nanodet", nil
}

// matchBoxesScores takes a tensor of placed boxes and one of class scores, perhaps with one of
// objectness.
func matchBoxesScores(s *subject) (Head, string, error) {
	outs := s.rows()
	object := s.objectRows(outs)
	if object != nil {
		outs = slices.DeleteFunc(outs, func(o Output) bool { return o.Name == object.Name })
	}
	if len(outs) != 2 {
		return Head{}, "", errOutputs
	}
	placed := func(o Output) bool { // four columns, added to a grid
		at := slices.Index(o.Dims[1:], 4) + 1
		return at > 0 && anyPart(s.columns(o, at), decoded)
	}
	if !slices.Contains(outs[0].Dims[1:], 4) || !placed(outs[0]) && placed(outs[1]) {
		outs[0], outs[1] = outs[1], outs[0]
	}
	box, score := outs[0], outs[1]
	boxAxis := slices.Index(box.Dims[1:], 4) + 1
	if boxAxis == 0 {
		return Head{}, "", fmt.Errorf("no output has 4 columns")
	}
	if box.Dims[2] == 4 {
		boxAxis = 2
	}
	rows := box.Dims[3-boxAxis]
	rowAxis := slices.Index(score.Dims[1:], rows) + 1
	if rowAxis == 0 {
		return Head{}, "", fmt.Errorf("%d boxes but scores of shape %v", rows, score.Dims)
	}
	classAxis := 3 - rowAxis
	boxes := s.columns(box, boxAxis)
	if !anyPart(boxes, func(p part) bool { return p.decoded() || p.first != "" }) {
		return Head{}, "", fmt.Errorf("boxes %q are not decoded in the graph", box.Name)
	}
	classes := s.columns(score, classAxis)
	if anyPart(classes, softmax) {
		return Head{}, "", fmt.Errorf("the scores %q are a softmax with a background, of SSD's kind", score.Name)
	}
	h := Head{Coding: Corners, Classes: score.Dims[classAxis], ClassLogits: !anyPart(classes, probability)}
	strides, per, _ := s.pyramid(rows, nil)
	family := s.cornerFamily(per, boxes)
	switch {
	case sized(boxes):
		h.Coding = Centre
		if !s.focus() && per != 3 {
			family = "yolov8"
		}
	case slices.Contains(strides, 64):
		family = "picodet"
	}
	h.Unit, h.YX = anyPart(boxes, unit), anyPart(boxes, yx)
	level := Level{Height: 1, Width: rows, Box: rowSlot(box, boxAxis, 0), Class: rowSlot(score, classAxis, 0)}
	if object != nil {
		level.Object = rowSlot(*object, 2, 0)
		h.ObjectLogits = !anyPart(s.parts(object.Name, len(s.dims(object.Name))-1), probability)
	}
	h.Levels = []Level{level}
	return h, family, nil
}

// objectRows is the output of one objectness for each row of three outputs; nil if there is
// none.
func (s *subject) objectRows(rows []Output) *Output {
	if len(s.outputs) != 3 {
		return nil
	}
	for _, o := range s.outputs {
		d := o.Dims
		if (len(d) == 2 || len(d) == 3 && d[2] == 1) && slices.ContainsFunc(rows, func(r Output) bool { return r.Name != o.Name && r.Dims[1] == d[1] }) {
			return &Output{o.Name, []int{d[0], d[1], 1}}
		}
	}
	return nil
}
