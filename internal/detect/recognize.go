// Recognising the family of a detector from its graph: the shapes of its
// outputs, how many predictions they hold for the input size, and what happens
// to the values after the last trained layers. File and tensor names are never
// looked at.
package detect

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// subject is a graph under examination.
type subject struct {
	*walker
	height, width int
	outputs       []Output
	names         []string // class names of the metadata, nil if none
	want          string   // the family asked for, "auto" if any
}

// layout is one way of holding detections. match returns the head and the
// family it looks like, or why the outputs do not fit.
type layout struct {
	name     string
	families []string
	match    func(*subject) (Head, string, error)
}

func layouts() []layout {
	return []layout{
		{"objectness, box and softmax classes in one map", []string{"fastestdet"}, matchFastestDet},
		{"one map per stride with three anchors and softmax classes", []string{"yolofastest"}, matchYoloFastest},
		{"rows of classes and distance bins", []string{"nanodet"}, matchNanoDet},
		{"boxes beside class scores", []string{"ppyoloe", "picodet", "yolov3", "yolov4", "yolov5", "yolov6", "yolov7", "yolov8", "yolox", "rtmdet"}, matchBoxesScores},
		{"rows of box, objectness and classes", []string{"yolov3", "yolov4", "yolov5", "yolov6", "yolov7", "yolov8", "yolox", "ppyoloe"}, matchRows},
		{"one map per stride of box, objectness and classes", []string{"yolox"}, matchObjectMaps},
		{"one map per stride with three anchors", []string{"yolov3", "yolov4", "yolov5", "yolov7"}, matchAnchorMaps},
		{"class and distance maps per stride", []string{"picodet", "nanodet", "yolov6", "yolov8", "ppyoloe"}, matchDistanceMaps},
	}
}

// Recognize works out how to use a detector, from a model whose shapes have
// been inferred and which has been simplified. family is one of Families();
// another than "auto" restricts the search and decides between families that
// share a layout. With "none" the outputs are not looked at: the Spec can
// preprocess, not decode. Errors are marked as bad input or wrong use; they do
// not name the model's file.
func Recognize(m *onnx.Model, family string) (*Spec, error) {
	if !slices.Contains(Families(), family) {
		return nil, fault.Usage(fmt.Errorf("--family %s: want one of %s", family, strings.Join(Families(), ", ")))
	}
	s, err := recognize(m, family)
	if err != nil {
		return nil, fault.BadInput(err)
	}
	return s, nil
}

func recognize(m *onnx.Model, family string) (*Spec, error) {
	s := &subject{walker: newWalker(m.Graph), want: family, names: metadataNames(m.Metadata)}
	spec := &Spec{Family: family}
	if err := s.inputs(spec); err != nil {
		return nil, err
	}
	s.height, s.width = spec.Height, spec.Width
	if names, cut := CutNMS(m); cut && family != "none" {
		return nil, fmt.Errorf("the model ends in its own non-maximum suppression; it has to be cut at %s first", quotedList(names))
	}
	for _, out := range m.Graph.Outputs {
		dims := s.dims(out.Name)
		if dims == nil && family != "none" {
			return nil, s.shapeless(out.Name)
		}
		if !s.again(out.Name) {
			s.outputs = append(s.outputs, Output{Name: out.Name, Dims: dims})
		}
	}
	if family == "none" {
		spec.Pixels, spec.Head.Coding = s.normalised(spec.Input, pixelFormat(family)), None
		return spec, nil
	}
	var reasons []string
	for _, l := range layouts() {
		if family != "auto" && !slices.Contains(l.families, family) {
			continue
		}
		head, found, err := l.match(s)
		if err == nil && family != "auto" && !slices.Contains(l.families, found) {
			err = fmt.Errorf("looks like %s", found)
		}
		if err != nil {
			reasons = append(reasons, fmt.Sprintf("%s: %v", l.name, err))
			continue
		}
		spec.Family = found
		if family != "auto" {
			spec.Family = family
		}
		spec.Head = head
		spec.Pixels = s.normalised(spec.Input, pixelFormat(spec.Family))
		spec.Names = classNames(s.names, head.Classes)
		spec.Outputs = s.used(head)
		return spec, nil
	}
	why := strings.Join(reasons, "; ")
	if family != "auto" {
		return nil, fmt.Errorf("the outputs %s of an input of %dx%d are not those of --family %s: %s", s.describe(), s.height, s.width, family, why)
	}
	slog.Debug("looked for " + why)
	if s.yolov2() {
		return nil, fmt.Errorf("the output %s is YOLOv2's, five anchors a cell with softmax classes, which is not decoded here: --family none quantises it without measuring its boxes", s.describe())
	}
	return nil, fmt.Errorf("the outputs %s of an input of %dx%d are of no known detector (--verbose tells why); give --family: %s; none is a network that is no detector",
		s.describe(), s.height, s.width, strings.Join(Families()[1:], ", "))
}

// yolov2 reports one map of stride 32 with five boxes, objectnesses and VOC's or COCO's classes.
func (s *subject) yolov2() bool {
	if len(s.outputs) != 1 || len(s.outputs[0].Dims) != 4 {
		return false
	}
	f, ok := s.asMap(s.outputs[0])
	return ok && f.stride == 32 && (f.channels == 5*(5+20) || f.channels == 5*(5+80))
}

// shapeless is the error of an output without a shape: the nearest node behind which there is
// none may be of another tool's own operators.
func (s *subject) shapeless(output string) error {
	for _, n := range s.g.Nodes {
		if n.Domain != "" && n.Domain != "ai.onnx" && s.dims(n.Output(0)) == nil {
			return fmt.Errorf("node %q (%s) is of the operators of %s, which are not ONNX's: export the model anew; onnxruntime saves one without them at its optimisation levels disabled and basic", n.Name, n.Op, n.Domain)
		}
	}
	return fmt.Errorf("output %q has no static shape: give the input size with --shape", output)
}

// again reports an output that is another one under a second name.
func (s *subject) again(name string) bool {
	n := s.ix.Producer[name]
	return n != nil && n.Op == "Identity" && slices.ContainsFunc(s.outputs, func(o Output) bool { return o.Name == n.Input(0) })
}

// inputs finds the image input and what else has to be fed.
func (s *subject) inputs(spec *Spec) error {
	var found []string
	for _, in := range s.g.Inputs {
		d := s.dims(in.Name)
		declared := in.Dims
		if len(d) == 4 && d[1] == 3 {
			spec.Input, spec.Batch, spec.Height, spec.Width = in.Name, d[0], d[2], d[3]
			found = append(found, in.Name)
		} else if len(declared) == 4 && declared[1] == 3 {
			return fmt.Errorf("image input %q has no static size: give it with --shape", in.Name)
		}
	}
	switch {
	case len(found) > 1:
		return fmt.Errorf("inputs %s could all be the image: want one input of 3 channels", quotedList(found))
	case len(found) == 0 && spec.Family == None: // no pictures: fed with arrays
		return nil
	case len(found) == 0:
		var have []string
		for _, in := range s.g.Inputs {
			have = append(have, fmt.Sprintf("%q %v", in.Name, in.Dims))
		}
		return fmt.Errorf("no image input: want one of batch x 3 x height x width, found %s", strings.Join(have, ", "))
	}
	for _, in := range s.g.Inputs {
		if in.Name == spec.Input {
			continue
		}
		values := fedWith(in.Name, spec.Height, spec.Width)
		if values == nil && spec.Family == None {
			continue
		}
		if values == nil {
			return fmt.Errorf("input %q is neither the image nor one of scale_factor, im_shape, image_shape: nothing is known to feed it with", in.Name)
		}
		if spec.Extra == nil {
			spec.Extra = map[string][]float32{}
		}
		spec.Extra[in.Name] = values
	}
	return nil
}

// fedWith is what an input beside the picture is fed with for every picture, by the names
// that PaddleDetection's exports (scale_factor, im_shape) and keras-yolo3's (image_shape)
// fix; nil for others. Boxes stay in input pixels.
func fedWith(name string, height, width int) []float32 {
	switch name {
	case "scale_factor":
		return []float32{1, 1}
	case "im_shape", "image_shape":
		return []float32{float32(height), float32(width)}
	}
	return nil
}

// normalised adapts a family's pixel format to a graph that normalises its
// input itself before the first trained layer.
func (s *subject) normalised(input string, f PixelFormat) PixelFormat {
	tensor, scaled, shifted, unit := input, false, false, false
	for range 8 {
		next := s.ix.Consumers[tensor]
		if len(next) != 1 {
			break
		}
		n := next[0]
		var constant []float32
		for _, in := range n.Inputs {
			if t, ok := s.g.Init[in]; ok && t.Type.IsFloat() {
				constant = t.Floats()
			}
		}
		largest := float32(0)
		for _, v := range constant {
			largest = max(largest, v, -v)
		}
		switch {
		case n.Op == "Cast" || n.Op == "Identity":
		case s.reverses(n):
			f.Order = map[string]string{"rgb": "bgr", "bgr": "rgb"}[f.Order]
			slices.Reverse(f.Mean[:])
			slices.Reverse(f.Std[:])
		case n.Op == "Div" && len(constant) > 0 && n.Input(0) == tensor:
			scaled, unit = true, unit || !shifted && largest < 2
		case n.Op == "Mul" && len(constant) > 0:
			scaled, unit = true, unit || !shifted && largest > 0.5
		case (n.Op == "Sub" || n.Op == "Add") && len(constant) > 0:
			shifted, unit = true, unit || !scaled && largest < 2
		default:
			n = nil
		}
		if n == nil {
			break
		}
		tensor = n.Output(0)
	}
	if scaled || shifted {
		f.Mean, f.Std = [3]float32{}, [3]float32{1, 1, 1}
		if unit { // the constants are those of pixels in 0..1
			f.Std = [3]float32{255, 255, 255}
		}
	}
	return f
}

// reverses reports whether a node turns the order of the channels round.
func (s *subject) reverses(n *onnx.Node) bool {
	ints := func(i int) []int64 {
		t := s.g.Init[n.Input(i)]
		if t == nil {
			return nil
		}
		list, _ := t.Ints()
		return list
	}
	switch n.Op {
	case "Gather":
		return n.Int("axis", 0) == 1 && slices.Equal(ints(1), []int64{2, 1, 0})
	case "Slice":
		return slices.Equal(ints(3), []int64{1}) && slices.Equal(ints(4), []int64{-1})
	}
	return false
}

// used is the outputs that a head reads, in the order of the graph.
func (s *subject) used(h Head) []Output {
	var outs []Output
	for _, o := range s.outputs {
		for _, l := range h.Levels {
			if l.Box.Output == o.Name || l.Object.Output == o.Name || l.Class.Output == o.Name {
				outs = append(outs, o)
				break
			}
		}
	}
	return outs
}

func (s *subject) describe() string {
	const most = 4
	var b []string
	for _, o := range s.outputs[:min(most, len(s.outputs))] {
		b = append(b, fmt.Sprintf("%q %v", o.Name, o.Dims))
	}
	text := strings.Join(b, ", ")
	if more := len(s.outputs) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func quotedList(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(q, ", ")
}

// cells is the size of the grid of a stride: h rows of w.
func (s *subject) cells(stride int) (h, w int) {
	return (s.height + stride - 1) / stride, (s.width + stride - 1) / stride
}

// strideSets are the pyramids that detectors of these families have.
func strideSets() [][]int {
	return [][]int{{8, 16, 32}, {8, 16, 32, 64}, {16, 32}, {8, 16, 32, 64, 128}, {4, 8, 16, 32}, {8, 16}, {4, 8, 16}, {16}, {32}, {8}, {4}}
}

// pyramid finds the strides whose grids together have rows predictions, with
// one or three a cell. lengths, when known, are the predictions of each level
// in the order they come in and fix the order of the strides.
func (s *subject) pyramid(rows int, lengths []int) (strides []int, anchors int, ok bool) {
	for _, set := range strideSets() {
		for _, per := range []int{1, 3} {
			total, byLength := 0, map[int]int{}
			for _, stride := range set {
				h, w := s.cells(stride)
				total += per * h * w
				byLength[per*h*w] = stride
			}
			if total != rows {
				continue
			}
			if len(lengths) == len(set) {
				order := make([]int, len(set))
				for i, length := range lengths {
					order[i] = byLength[length]
				}
				if !slices.Contains(order, 0) {
					return order, per, true
				}
			}
			return set, per, true
		}
	}
	return nil, 0, false
}

var errOutputs = errors.New("number or rank of the outputs is different")
