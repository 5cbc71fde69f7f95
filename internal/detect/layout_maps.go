// Heads that keep one or more maps for each stride: YOLOv3 to YOLOv5 before their decoding,
// PicoDet, FastestDet, Yolo-Fastest.
package detect

import (
	"fmt"
	"slices"
)

// fieldMap is an output seen as values of channels at the cells of one grid.
type fieldMap struct {
	Output
	stride, h, w int
	channels     int
	axis         int // of the channels
	before       int // rows of other grids in the same output, where the channels are last
}

// slot is where a map's channel first lies.
func (f fieldMap) slot(first int) Slot {
	cell, channel := 1, f.h*f.w
	if f.axis == len(f.Dims)-1 {
		cell, channel = f.channels, 1
	}
	return Slot{Output: f.Name, Offset: f.before*cell + first*channel, Cell: cell, Channel: channel}
}

// maps sees every output as a map, by stride: B x C x H x W, B x H x W x C,
// B x HW x C or B x C x HW.
func (s *subject) maps() ([]fieldMap, error) {
	var all []fieldMap
	for _, o := range s.outputs {
		f, ok := s.asMap(o)
		if !ok {
			return nil, fmt.Errorf("output %q %v is no map of a known stride", o.Name, o.Dims)
		}
		all = append(all, f)
	}
	// A cube, with as many channels as rows and columns, has its channels where the others
	// have them.
	cube := func(f fieldMap) bool { return len(f.Dims) == 4 && f.Dims[1] == f.Dims[3] && f.Dims[2] == f.Dims[3] }
	if slices.ContainsFunc(all, func(f fieldMap) bool { return len(f.Dims) == 4 && f.axis == 3 }) {
		for i := range all {
			if cube(all[i]) {
				all[i].axis = 3
			}
		}
	}
	slices.SortStableFunc(all, func(a, b fieldMap) int { return a.stride - b.stride })
	return all, nil
}

func (s *subject) asMap(o Output) (fieldMap, bool) {
	for _, stride := range []int{4, 8, 16, 32, 64, 128} {
		h, w := s.cells(stride)
		f := fieldMap{Output: o, stride: stride, h: h, w: w}
		d := o.Dims
		switch {
		case len(d) == 4 && d[2] == h && d[3] == w:
			f.axis = 1
		case len(d) == 4 && d[1] == h && d[2] == w:
			f.axis = 3
		case len(d) == 3 && d[1] == h*w:
			f.axis = 2
		case len(d) == 3 && d[2] == h*w:
			f.axis = 1
		default:
			continue
		}
		f.channels = d[f.axis]
		return f, true
	}
	return fieldMap{}, false
}

// stacked sees the only output as the rows of these strides' grids, one after the other; nil
// where they do not fit.
func (s *subject) stacked(strides ...int) []fieldMap {
	if len(s.outputs) != 1 || len(s.outputs[0].Dims) != 3 {
		return nil
	}
	o, rows := s.outputs[0], 0
	var all []fieldMap
	for _, stride := range strides {
		h, w := s.cells(stride)
		all = append(all, fieldMap{Output: o, stride: stride, h: h, w: w, channels: o.Dims[2], axis: 2, before: rows})
		rows += h * w
	}
	if rows != o.Dims[1] {
		return nil
	}
	return all
}

// matchAnchorMaps takes the maps of YOLOv3 to YOLOv7 before their decoding: for every stride
// B x 3 x H x W x (5+classes), B x 3(5+classes) x H x W, or either with the channels last.
func matchAnchorMaps(s *subject) (Head, string, error) {
	h := Head{}
	for _, o := range s.outputs {
		l, columns, axis, err := s.anchorLevel(o)
		if err != nil {
			return Head{}, "", err
		}
		if columns < 6 || h.Classes > 0 && h.Classes != columns-5 {
			return Head{}, "", fmt.Errorf("output %q %v: %d values an anchor", o.Name, o.Dims, columns)
		}
		if slices.ContainsFunc(h.Levels, func(other Level) bool { return other.Stride == l.Stride }) {
			return Head{}, "", fmt.Errorf("output %q %v is a second map of stride %d", o.Name, o.Dims, l.Stride)
		}
		parts := s.parts(o.Name, axis)
		whole := boundaries(parts)[len(parts)]
		if whole != columns && len(parts) > 1 && columns-5 != s.classHint() {
			return Head{}, "", fmt.Errorf("output %q is put together from different channels", o.Name)
		}
		if anyPart(parts, decoded) {
			return Head{}, "", fmt.Errorf("output %q is decoded, but is no tensor of rows", o.Name)
		}
		h.Classes = columns - 5
		h.BoxLogits = !anyPart(within(parts, 0, 2), probability)
		h.ObjectLogits = !anyPart(within(parts, 4, 5), probability)
		h.ClassLogits = !anyPart(within(parts, 5, columns), probability)
		l.Object, l.Class = l.Box, l.Box
		l.Object.Offset += 4 * l.Box.Channel
		l.Class.Offset += 5 * l.Box.Channel
		h.Levels = append(h.Levels, l)
	}
	family := s.mapFamily()
	return h, family, s.setAnchors(&h, family)
}

// anchorLevel is the grid of a map of three anchors a cell, with the place of the boxes, how
// many values an anchor has, and the axis on which they lie.
func (s *subject) anchorLevel(o Output) (l Level, columns, axis int, err error) {
	const per = 3
	d := o.Dims
	for _, stride := range []int{8, 16, 32, 64} {
		h, w := s.cells(stride)
		l = Level{Stride: stride, Height: h, Width: w, Box: Slot{Output: o.Name}}
		grid := func(at int) bool { return d[at] == h && d[at+1] == w }
		switch {
		case len(d) == 5 && d[1] == per && grid(2):
			columns, axis = d[4], 4
			l.Box.Anchor, l.Box.Cell, l.Box.Channel = h*w*columns, columns, 1
		case len(d) == 5 && d[3] == per && grid(1):
			columns, axis = d[4], 4
			l.Box.Anchor, l.Box.Cell, l.Box.Channel = columns, per*columns, 1
		case len(d) == 4 && d[1]%per == 0 && grid(2):
			columns, axis = d[1]/per, 1
			l.Box.Anchor, l.Box.Cell, l.Box.Channel = columns*h*w, 1, h*w
		case len(d) == 4 && d[3]%per == 0 && grid(1):
			columns, axis = d[3]/per, 3
			l.Box.Anchor, l.Box.Cell, l.Box.Channel = columns, per*columns, 1
		default:
			continue
		}
		return l, columns, axis, nil
	}
	return l, 0, 0, fmt.Errorf("output %q %v is no map of three anchors of a known stride", o.Name, d)
}

// matchObjectMaps takes YOLOX's maps: for every stride box, objectness and classes, in one or
// in three.
func matchObjectMaps(s *subject) (Head, string, error) {
	all, err := s.maps()
	if err != nil {
		return Head{}, "", err
	}
	h := Head{Coding: Exponential}
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].stride == all[0].stride {
			n++
		}
		l, err := s.objectLevel(&h, all[:n])
		if err != nil {
			return Head{}, "", err
		}
		h.Levels, all = append(h.Levels, l), all[n:]
	}
	if len(h.Levels) < 2 {
		return Head{}, "", fmt.Errorf("a single map")
	}
	return h, "yolox", nil
}

// objectLevel reads one stride's map, or its three in any order, and what h has of them.
func (s *subject) objectLevel(h *Head, maps []fieldMap) (Level, error) {
	first := maps[0]
	l := Level{Stride: first.stride, Height: first.h, Width: first.w}
	classes := 0
	switch len(maps) {
	case 1:
		parts := s.parts(first.Name, first.axis)
		at := boundaries(parts)
		if !slices.Contains(at, 4) || !slices.Contains(at, 5) || anyPart(within(parts, 0, 4), func(p part) bool { return p.probability() || p.decoded() }) {
			break
		}
		l.Box, l.Object, l.Class, classes = first.slot(0), first.slot(4), first.slot(5), first.channels-5
		h.ObjectLogits = !anyPart(within(parts, 4, 5), probability)
		h.ClassLogits = !anyPart(within(parts, 5, first.channels), probability)
	case 3:
		for _, f := range maps {
			logits := !anyPart(s.parts(f.Name, f.axis), probability)
			switch {
			case f.channels == 4 && l.Box.Output == "":
				l.Box = f.slot(0)
			case f.channels == 1 && l.Object.Output == "" && !s.summed(f):
				l.Object, h.ObjectLogits = f.slot(0), logits
			default:
				l.Class, h.ClassLogits, classes = f.slot(0), logits, f.channels
			}
		}
	}
	if l.Box.Output == "" || l.Object.Output == "" || classes < 1 || h.Classes > 0 && classes != h.Classes {
		return l, fmt.Errorf("stride %d has not box, objectness and classes", l.Stride)
	}
	h.Classes = classes
	return l, nil
}

// summed reports a map of the sums of each cell's scores, which Rockchip's exporters put
// beside them to find the best cells faster.
func (s *subject) summed(f fieldMap) bool {
	return f.channels == 1 && anyPart(s.parts(f.Name, f.axis), func(p part) bool { return p.has("ReduceSum") })
}

// matchDistanceMaps takes, for every stride, a map of class scores and one of
// distances to the sides (softmax bins or plain), apart or in one.
func matchDistanceMaps(s *subject) (Head, string, error) {
	all, err := s.maps()
	if err != nil {
		return Head{}, "", err
	}
	h := Head{Coding: Distances, CellCentre: 0.5}
	family := "yolov8"
	all = slices.DeleteFunc(all, s.summed)
	for i := 0; i < len(all); {
		pair := all[i : i+1]
		if i+1 < len(all) && all[i+1].stride == all[i].stride {
			pair = all[i : i+2]
		}
		i += len(pair)
		l, classes, bins, logits, err := s.distanceLevel(pair)
		if err != nil {
			return Head{}, "", err
		}
		if h.Classes > 0 && (classes != h.Classes || bins != h.Bins) {
			return Head{}, "", fmt.Errorf("levels differ in classes or bins")
		}
		h.Classes, h.Bins, h.ClassLogits = classes, bins, logits
		h.Levels = append(h.Levels, l)
		if len(pair) == 2 && len(pair[0].Dims) == 3 {
			family = "picodet"
		}
	}
	if len(h.Levels) < 2 {
		return Head{}, "", fmt.Errorf("a single map")
	}
	if family == "picodet" && len(h.Levels) == 3 { // PicoDet has a fourth
		family = "nanodet"
	}
	if family == "yolov8" && h.Bins != 16 { // YOLOv6 has no bins or 17
		family = "yolov6"
	}
	if s.want == "nanodet" && len(h.Levels) == 4 {
		h.CellCentre = 0
	}
	return h, family, nil
}

// distanceLevel reads one stride's map, or its pair of maps in any order.
func (s *subject) distanceLevel(pair []fieldMap) (l Level, classes, bins int, logits bool, err error) {
	first := pair[0]
	l = Level{Stride: first.stride, Height: first.h, Width: first.w}
	if len(pair) == 2 {
		box, class := pair[1], pair[0]
		if isBox := s.boxChannels(pair[0]); isBox && (!s.boxChannels(pair[1]) || pair[1].channels == s.classHint() ||
			binned(pair[0].channels) && !binned(pair[1].channels) && pair[0].channels != s.classHint()) {
			box, class = pair[0], pair[1]
		} else if !s.boxChannels(box) {
			return l, 0, 0, false, fmt.Errorf("neither %q nor %q holds distances", pair[0].Name, pair[1].Name)
		}
		logits = !anyPart(s.parts(class.Name, class.axis), probability)
		l.Box, l.Class = box.slot(0), class.slot(0)
		return l, class.channels, box.channels / 4, logits, nil
	}
	parts := s.parts(first.Name, first.axis)
	at := boundaries(parts)
	for i := 1; i < len(parts); i++ {
		before, after := at[i], at[len(parts)]-at[i]
		switch {
		case anyPart(parts[:i], decoded) || anyPart(parts[i:], decoded):
			return l, 0, 0, false, fmt.Errorf("output %q is decoded, but is no tensor of rows", first.Name)
		case after == s.classHint() && before%4 == 0, anyPart(parts[i:], probability) && !anyPart(parts[:i], probability) && before%4 == 0:
			l.Box, l.Class = first.slot(0), first.slot(before)
			return l, after, before / 4, !anyPart(parts[i:], probability), nil
		case before == s.classHint() && after%4 == 0, anyPart(parts[:i], probability) && !anyPart(parts[i:], probability) && after%4 == 0:
			l.Box, l.Class = first.slot(before), first.slot(0)
			return l, before, after / 4, !anyPart(parts[:i], probability), nil
		case binned(before) && !anyPart(parts, probability):
			l.Box, l.Class = first.slot(0), first.slot(before)
			return l, after, before / 4, true, nil
		}
	}
	return l, 0, 0, false, fmt.Errorf("output %q %v is not put together from classes and distances", first.Name, first.Dims)
}

// binned says whether so many channels are those of four sides in the bins of YOLOv8 or of
// YOLOv6 and PP-YOLOE.
func binned(channels int) bool { return channels == 4*16 || channels == 4*17 }

// boxChannels says whether a map could hold distances to four sides.
func (s *subject) boxChannels(f fieldMap) bool {
	parts := s.parts(f.Name, f.axis)
	return f.channels%4 == 0 && f.channels/4 <= 64 && !anyPart(parts, func(p part) bool { return p.probability() || p.decoded() })
}

// matchFastestDet takes one map of sigmoid objectness, box and softmax classes.
func matchFastestDet(s *subject) (Head, string, error) {
	if len(s.outputs) != 1 || len(s.outputs[0].Dims) != 4 && len(s.outputs[0].Dims) != 3 {
		return Head{}, "", errOutputs
	}
	f, ok := s.asMap(s.outputs[0])
	if !ok {
		return Head{}, "", fmt.Errorf("no map of a known stride")
	}
	parts := s.parts(f.Name, f.axis)
	at := boundaries(parts)
	if !slices.Contains(at, 1) || !slices.Contains(at, 5) || f.channels < 6 || !anyPart(within(parts, 5, f.channels), softmax) {
		return Head{}, "", fmt.Errorf("channels are not one objectness, four of a box and softmax classes")
	}
	h := Head{Coding: TanhSigmoid, Classes: f.channels - 5, ObjectPower: 0.6,
		Levels: []Level{{Stride: f.stride, Height: f.h, Width: f.w, Box: f.slot(1), Object: f.slot(0), Class: f.slot(5)}}}
	return h, "fastestdet", nil
}

// matchYoloFastest takes, for strides 16 and 32, in an output each or in one, a map of 3x4 box values, 3
// objectnesses and classes shared by the anchors.
func matchYoloFastest(s *subject) (Head, string, error) {
	const per = 3
	all, err := s.stacked(16, 32), error(nil)
	if all == nil {
		all, err = s.maps()
	}
	if err != nil {
		return Head{}, "", err
	}
	if len(all) != 2 || all[0].stride != 16 || all[1].stride != 32 {
		return Head{}, "", fmt.Errorf("want one map each for strides 16 and 32")
	}
	anchors := [][][2]float32{{{12.64, 19.39}, {37.88, 51.48}, {55.71, 138.31}}, {{126.91, 78.23}, {131.57, 214.55}, {279.92, 258.87}}}
	h := Head{Coding: Anchors}
	for i, f := range all {
		parts := s.parts(f.Name, f.axis)
		at := boundaries(parts)
		if !slices.Contains(at, 4*per) || !slices.Contains(at, 5*per) || f.channels <= 5*per || !anyPart(within(parts, 5*per, f.channels), softmax) {
			return Head{}, "", fmt.Errorf("channels of %q are not 12 of boxes, 3 of objectness and softmax classes", f.Name)
		}
		l := Level{Stride: f.stride, Height: f.h, Width: f.w, Anchors: anchors[i], Box: f.slot(0), Object: f.slot(4 * per), Class: f.slot(5 * per)}
		l.Box.Anchor, l.Object.Anchor = 4*l.Box.Channel, l.Object.Channel
		h.Classes = f.channels - 5*per
		h.BoxLogits = !anyPart(within(parts, 0, 4*per), probability)
		h.ObjectLogits = !anyPart(within(parts, 4*per, 5*per), probability)
		h.Levels = append(h.Levels, l)
	}
	return h, "yolofastest", nil
}
