// What a detector predicts before suppression: class scores above a threshold,
// and the box of any prediction. Two forms of one network (float and INT8) are
// compared by these, prediction by prediction, which suppression would not allow:
// it drops a box in one form and its neighbour in the other.
package detect

import (
	"cmp"
	"slices"
	"sort"

	"trtact/internal/onnx"
)

// Score is the score of one class of one prediction, objectness multiplied in as
// the family does.
type Score struct {
	Prediction int32 // in order of level, anchor, cell
	Class      int32
	Value      float32
}

// Predictions are those of one image.
type Predictions struct {
	// Scores are those above the threshold, by prediction and class.
	Scores []Score

	spec   *Spec
	images map[string][]float32
	first  []int32 // prediction at which each level begins
}

// Predictions reads one image of a batch as Decode does, up to suppression. The
// result reads boxes from the outputs when asked for, so these must stay as they
// are while it is in use.
func (s *Spec) Predictions(outputs map[string]*onnx.Tensor, batch int, threshold float32) (*Predictions, error) {
	found, images, err := s.candidates(outputs, batch, Options{Score: threshold, MultiLabel: true})
	if err != nil {
		return nil, err
	}
	p := &Predictions{Scores: make([]Score, len(found)), spec: s, images: images}
	next := int32(0)
	for l := range s.Head.Levels {
		p.first = append(p.first, next)
		level := &s.Head.Levels[l]
		next += int32(max(1, len(level.Anchors)) * level.Height * level.Width)
	}
	ordered := true
	for i, c := range found {
		level := &s.Head.Levels[c.level]
		p.Scores[i] = Score{p.first[c.level] + c.anchor*int32(level.Height*level.Width) + c.cell, c.class, c.score}
		ordered = ordered && (i == 0 || p.Scores[i-1].Compare(p.Scores[i]) < 0)
	}
	if !ordered {
		slices.SortFunc(p.Scores, Score.Compare)
	}
	return p, nil
}

// Compare orders scores by prediction and class, as they stand in Predictions.
func (s Score) Compare(o Score) int {
	if s.Prediction != o.Prediction {
		return cmp.Compare(s.Prediction, o.Prediction)
	}
	return cmp.Compare(s.Class, o.Class)
}

// Box is the corners x1, y1, x2, y2 of a prediction in pixels of the network's
// input, not clipped to it. The prediction must be one that a Score may name.
func (p *Predictions) Box(prediction int32) [4]float32 {
	l := sort.Search(len(p.first), func(i int) bool { return p.first[i] > prediction }) - 1
	level := &p.spec.Head.Levels[l]
	cells := int32(level.Height * level.Width)
	within := prediction - p.first[l]
	return p.spec.box(candidate{level: int32(l), anchor: within / cells, cell: within % cells}, p.images)
}
