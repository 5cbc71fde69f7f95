// From output tensors to detections: scores first, boxes only for what the
// suppression gets to see.
//
// A detector makes 2,000 to 25,000 predictions of 80 scores, of which a few
// thousand pass the threshold. So scores are read in the order they lie in
// memory, predictions whose objectness alone is too low are passed over, the
// best are sorted, and a box is worked out when its turn comes.
package detect

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"trtact/internal/onnx"
)

// Options of decoding. DefaultOptions has those of COCO evaluation.
type Options struct {
	Score      float32 // detections must score more than this
	IoU        float32 // boxes of a class that overlap a better one by more are dropped
	MultiLabel bool    // one prediction may be several classes
	TopK       int     // predictions that enter suppression
	Keep       int     // detections of an image
}

// DefaultOptions are for measuring average precision: score 0.001, IoU 0.65,
// several labels a box, 30,000 candidates, 300 kept.
func DefaultOptions() Options {
	return Options{Score: 0.001, IoU: 0.65, MultiLabel: true, TopK: 30000, Keep: 300}
}

// candidate is one class score of one prediction.
type candidate struct {
	score  float32
	level  int32
	anchor int32
	cell   int32
	class  int32
}

// field is one kind of values of a level at one image and one anchor.
type field struct {
	data          []float32 // from channel 0 of cell 0 on
	cell, channel int
}

func (f field) at(cell, channel int) float32 { return f.data[cell*f.cell+channel*f.channel] }

// Decode finds the detections of one image of a batch in the outputs, by name,
// best score first. Boxes are in pixels of the image that t belongs to. An
// output that is missing, has another shape than the Spec says, or holds a
// value that is not finite is an error; no detections are none.
func (s *Spec) Decode(outputs map[string]*onnx.Tensor, batch int, t Transform, o Options) ([]Detection, error) {
	if t.ScaleX <= 0 || t.ScaleY <= 0 {
		return nil, fmt.Errorf("decode: scale of %gx%g from image to input: want both above 0", t.ScaleX, t.ScaleY)
	}
	found, images, err := s.candidates(outputs, batch, o)
	if err != nil {
		return nil, err
	}
	return s.suppress(found, images, t, o), nil
}

// candidates are the scores of one image that pass the threshold, and the image's
// part of each output.
func (s *Spec) candidates(outputs map[string]*onnx.Tensor, batch int, o Options) ([]candidate, map[string][]float32, error) {
	if s.Head.Coding == None || len(s.Head.Levels) == 0 {
		return nil, nil, fmt.Errorf("family %q: outputs of a network that is no known detector cannot be decoded", s.Family)
	}
	images, err := s.slices(outputs, batch)
	if err != nil {
		return nil, nil, err
	}
	if err := s.checkSlots(); err != nil {
		return nil, nil, err
	}
	var found []candidate
	for l := range s.Head.Levels {
		level := &s.Head.Levels[l]
		for a := range max(1, len(level.Anchors)) {
			found = s.scan(found, images, l, a, o)
		}
	}
	return found, images, nil
}

// slices is every output's values for one image, checked.
func (s *Spec) slices(outputs map[string]*onnx.Tensor, batch int) (map[string][]float32, error) {
	images := make(map[string][]float32, len(s.Outputs))
	for _, out := range s.Outputs {
		tensor := outputs[out.Name]
		if tensor == nil {
			return nil, fmt.Errorf("decode: output %q is missing", out.Name)
		}
		data, ok := tensor.Data.([]float32)
		if !ok {
			return nil, fmt.Errorf("decode: output %q holds %v: want float32", out.Name, tensor.Type)
		}
		if len(out.Dims) < 2 || len(tensor.Dims) != len(out.Dims) || !slices.Equal(tensor.Dims[1:], out.Dims[1:]) {
			return nil, fmt.Errorf("decode: output %q has shape %v: want %v", out.Name, tensor.Dims, out.Dims)
		}
		size := onnx.Volume(out.Dims[1:])
		if batch < 0 || batch >= tensor.Dims[0] || len(data) < (batch+1)*size {
			return nil, fmt.Errorf("decode: output %q has shape %v: no image %d in the batch", out.Name, tensor.Dims, batch)
		}
		image := data[batch*size : (batch+1)*size]
		if i := notFinite(image); i >= 0 {
			return nil, fmt.Errorf("decode: output %q of image %d holds %v at element %d: the network overflows, compare it layer by layer with the float model", out.Name, batch, image[i], i)
		}
		images[out.Name] = image
	}
	return images, nil
}

// notFinite is the place of the first NaN or infinity, -1 if there is none. A
// finite value times 0 is 0, any other is NaN, so one sum tells for a block.
func notFinite(v []float32) int {
	const block = 4096
	for start := 0; start < len(v); start += block {
		part := v[start:min(start+block, len(v))]
		var a, b, c, d float32
		i := 0
		for ; i+4 <= len(part); i += 4 {
			a += part[i] * 0
			b += part[i+1] * 0
			c += part[i+2] * 0
			d += part[i+3] * 0
		}
		for ; i < len(part); i++ {
			a += part[i] * 0
		}
		if a+b+c+d == 0 {
			continue
		}
		for i, x := range part {
			if x*0 != 0 {
				return start + i
			}
		}
	}
	return -1
}

// checkSlots refuses positions outside the outputs, which a Spec read from a
// damaged file could hold.
func (s *Spec) checkSlots() error {
	size := make(map[string]int, len(s.Outputs))
	for _, o := range s.Outputs {
		size[o.Name] = onnx.Volume(o.Dims[1:])
	}
	h := &s.Head
	boxes := 4
	if h.Coding == Distances {
		const mostBins = 1 << 16 // so that the product cannot overflow
		if h.Bins > mostBins {
			return fmt.Errorf("decode: family %q has %d bins a side", s.Family, h.Bins)
		}
		boxes = 4 * h.Bins
	}
	for i := range h.Levels {
		l := &h.Levels[i]
		anchors := max(1, len(l.Anchors))
		for _, c := range []struct {
			slot     Slot
			channels int
		}{{l.Box, boxes}, {l.Object, 1}, {l.Class, h.Classes}} {
			if c.slot.Output == "" && c.slot == l.Object {
				continue
			}
			elements := size[c.slot.Output]
			low := min(c.slot.Offset, c.slot.Anchor, c.slot.Cell, c.slot.Channel, l.Height-1, l.Width-1, c.channels-1)
			high := max(c.slot.Offset, c.slot.Anchor, c.slot.Cell, c.slot.Channel, l.Height, l.Width, c.channels, anchors)
			if low < 0 || high > elements || // so that the sum below cannot overflow
				c.slot.Offset+(anchors-1)*c.slot.Anchor+(l.Height*l.Width-1)*c.slot.Cell+(c.channels-1)*c.slot.Channel >= elements {
				return fmt.Errorf("decode: level %d of family %q reads beyond output %q, which has %d elements", i, s.Family, c.slot.Output, elements)
			}
		}
		if (h.Coding == Anchors || h.Coding == Darknet) && len(l.Anchors) == 0 {
			return fmt.Errorf("decode: level %d of family %q has no anchors", i, s.Family)
		}
	}
	return nil
}

func (slot Slot) field(images map[string][]float32, anchor int) field {
	return field{images[slot.Output][slot.Offset+anchor*slot.Anchor:], slot.Cell, slot.Channel}
}

// scan adds the candidates of one anchor of one level that pass the threshold.
func (s *Spec) scan(found []candidate, images map[string][]float32, l, a int, o Options) []candidate {
	level, h := &s.Head.Levels[l], &s.Head
	class := level.Class.field(images, a)
	cells := level.Height * level.Width
	if level.Object.Output == "" && o.MultiLabel && class.channel > class.cell {
		return scanPlanes(found, class, cells, l, a, h, o)
	}
	var objects field
	if level.Object.Output != "" {
		objects = level.Object.field(images, a)
	}
	for cell := range cells {
		object := float32(1)
		if objects.data != nil {
			object = objects.at(cell, 0)
			if h.ObjectLogits {
				object = sigmoid(object)
			}
		}
		least, ok := h.leastClass(object, o.Score)
		if !ok {
			continue
		}
		weight := h.weight(object)
		best := candidate{class: -1, score: o.Score, level: int32(l), anchor: int32(a), cell: int32(cell)}
		at := cell * class.cell
		for c := range h.Classes {
			v := class.data[at]
			at += class.channel
			if v < least {
				continue
			}
			score := h.score(weight, v)
			if o.MultiLabel {
				if score > o.Score {
					found = append(found, candidate{score, int32(l), int32(a), int32(cell), int32(c)})
				}
			} else if score > best.score {
				best.score, best.class = score, int32(c)
			}
		}
		if best.class >= 0 {
			found = append(found, best)
		}
	}
	return found
}

// scanPlanes is scan for scores that lie class after class, without objectness.
func scanPlanes(found []candidate, class field, cells, l, a int, h *Head, o Options) []candidate {
	least, ok := h.leastClass(1, o.Score)
	if !ok {
		return found
	}
	for c := range h.Classes {
		for cell := range cells {
			if v := class.at(cell, c); v >= least {
				if score := h.score(1, v); score > o.Score {
					found = append(found, candidate{score, int32(l), int32(a), int32(cell), int32(c)})
				}
			}
		}
	}
	return found
}

// weight is what a prediction's objectness counts for in its scores.
func (h *Head) weight(object float32) float64 {
	if h.ObjectPower > 0 {
		return math.Pow(float64(max(object, 0)), float64(h.ObjectPower))
	}
	return float64(object)
}

// score is that of a class of a prediction: of its weight and a class value as the
// network gave it.
func (h *Head) score(weight float64, class float32) float32 {
	if h.ClassLogits {
		class = sigmoid(class)
	}
	if h.ObjectPower > 0 {
		// What math.Pow computes for a power below 1/2, without its special cases: a good
		// part of what FastestDet takes.
		return float32(weight * math.Exp((1-float64(h.ObjectPower))*math.Log(float64(max(class, 0)))))
	}
	return float32(weight * float64(class))
}

// leastClass is a class value below which a score cannot exceed the threshold;
// a little less, so that rounding loses nothing. ok is false when none can.
func (h *Head) leastClass(object, threshold float32) (least float32, ok bool) {
	if threshold <= 0 {
		return float32(math.Inf(-1)), true
	}
	if object <= 0 {
		return 0, false
	}
	p := float64(threshold) / float64(object)
	if h.ObjectPower > 0 {
		p = math.Pow(float64(threshold)/math.Pow(float64(object), float64(h.ObjectPower)), 1/(1-float64(h.ObjectPower)))
	}
	const slack = 1e-5
	p *= 1 - slack
	switch {
	case !h.ClassLogits:
		return float32(p), p <= 1+slack || h.Coding == Corners || h.Coding == Centre
	case p >= 1:
		return 0, false
	}
	return float32(math.Log(p/(1-p)) - slack), true
}

func sigmoid(v float32) float32 { return float32(1 / (1 + math.Exp(-float64(v)))) }

// box works out a candidate's corners in input pixels.
func (s *Spec) box(c candidate, images map[string][]float32) [4]float32 {
	h, level := &s.Head, &s.Head.Levels[c.level]
	f := level.Box.field(images, int(c.anchor))
	cell, stride := int(c.cell), float32(level.Stride)
	x, y := float32(cell%level.Width), float32(cell/level.Width)
	if h.Coding == Distances {
		cx, cy := (x+h.CellCentre)*stride, (y+h.CellCentre)*stride
		d := h.distances(f, cell)
		return [4]float32{cx - d[0]*stride, cy - d[1]*stride, cx + d[2]*stride, cy + d[3]*stride}
	}
	var v [4]float32
	for i := range v {
		v[i] = f.at(cell, i)
		if h.BoxLogits && (i < 2 || h.Coding != Darknet) {
			v[i] = sigmoid(v[i])
		}
	}
	if h.YX {
		v = [4]float32{v[1], v[0], v[3], v[2]}
	}
	if h.Unit {
		w, h := float32(s.Width), float32(s.Height)
		v = [4]float32{v[0] * w, v[1] * h, v[2] * w, v[3] * h}
	}
	switch h.Coding {
	case Corners:
		return v
	case Anchors:
		anchor := level.Anchors[c.anchor]
		v = [4]float32{(2*v[0] - 0.5 + x) * stride, (2*v[1] - 0.5 + y) * stride,
			4 * v[2] * v[2] * anchor[0], 4 * v[3] * v[3] * anchor[1]}
	case Darknet:
		anchor, scale := level.Anchors[c.anchor], cmp.Or(level.Scale, 1)
		edge := (scale - 1) / 2
		v = [4]float32{(scale*v[0] - edge + x) * stride, (scale*v[1] - edge + y) * stride, exp(v[2]) * anchor[0], exp(v[3]) * anchor[1]}
	case Exponential:
		v = [4]float32{(v[0] + x) * stride, (v[1] + y) * stride, exp(v[2]) * stride, exp(v[3]) * stride}
	case TanhSigmoid:
		v = [4]float32{(x + tanh(v[0])) * stride, (y + tanh(v[1])) * stride,
			sigmoid(v[2]) * float32(s.Width), sigmoid(v[3]) * float32(s.Height)}
	}
	return [4]float32{v[0] - v[2]/2, v[1] - v[3]/2, v[0] + v[2]/2, v[1] + v[3]/2}
}

// distances to the four sides in strides: as they are, or the expectation of a
// softmax over bins 0, 1, ... (Generalized Focal Loss, Li et al., 2020).
func (h *Head) distances(f field, cell int) (d [4]float32) {
	for side := range d {
		if h.Bins == 1 {
			d[side] = f.at(cell, side)
			continue
		}
		largest := float32(math.Inf(-1))
		for b := range h.Bins {
			largest = max(largest, f.at(cell, side*h.Bins+b))
		}
		var sum, weighted float64
		for b := range h.Bins {
			e := math.Exp(float64(f.at(cell, side*h.Bins+b) - largest))
			sum += e
			weighted += e * float64(b)
		}
		d[side] = float32(weighted / sum)
	}
	return d
}

func exp(v float32) float32  { return float32(math.Exp(float64(v))) }
func tanh(v float32) float32 { return float32(math.Tanh(float64(v))) }
