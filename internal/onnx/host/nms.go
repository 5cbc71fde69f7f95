package host

import (
	"fmt"
	"math"
	"slices"

	"trtact/internal/onnx"
)

// nonMaxSuppression picks, for every image and class, boxes in order of score
// and drops those that overlap a picked one by more than the threshold. Each row
// of the result is (image, class, box).
func nonMaxSuppression(c *call) ([]*onnx.Tensor, error) {
	boxes, err := c.input(0)
	if err != nil {
		return nil, err
	}
	scores, err := c.input(1)
	if err != nil {
		return nil, err
	}
	b, s := boxes.Dims, scores.Dims
	if len(b) != 3 || len(s) != 3 || b[0] != s[0] || b[1] != s[2] || b[2] != 4 {
		return nil, fmt.Errorf("boxes %v and scores %v do not fit", b, s)
	}
	var p [3]float64 // most boxes per class, overlap, score
	for i, def := range []float64{0, 0, math.Inf(-1)} {
		if p[i], err = c.scalar(i+2, def); err != nil {
			return nil, err
		}
	}
	box, err := corners(boxes, c.node.Int("center_point_box", 0) != 0)
	if err != nil {
		return nil, err
	}
	score, err := float64s(scores)
	if err != nil {
		return nil, err
	}
	var rows []int64
	for image := 0; image < s[0]; image++ {
		for class := 0; class < s[1]; class++ {
			list := score[(image*s[1]+class)*s[2]:][:s[2]]
			for _, k := range pickBoxes(box[image*s[2]:][:s[2]], list, p[0], p[1], p[2]) {
				rows = append(rows, int64(image), int64(class), int64(k))
			}
		}
	}
	return one(tensor([]int{len(rows) / 3, 3}, rows), nil)
}

// rectangle is y0, x0, y1, x1 with y0 <= y1 and x0 <= x1.
type rectangle [4]float64

// corners reads boxes, given by any two opposite corners or by centre and size
// (x, y, width, height).
func corners(t *onnx.Tensor, centre bool) ([]rectangle, error) {
	v, err := float64s(t)
	if err != nil {
		return nil, err
	}
	out := make([]rectangle, len(v)/4)
	for i := range out {
		q := v[4*i:]
		if centre {
			x, y, w, h := q[0], q[1], q[2], q[3]
			out[i] = rectangle{y - h/2, x - w/2, y + h/2, x + w/2}
			continue
		}
		out[i] = rectangle{min(q[0], q[2]), min(q[1], q[3]), max(q[0], q[2]), max(q[1], q[3])}
	}
	return out, nil
}

// overlap is the intersection over union of two rectangles.
func overlap(a, b rectangle) float64 {
	h, w := min(a[2], b[2])-max(a[0], b[0]), min(a[3], b[3])-max(a[1], b[1])
	if h <= 0 || w <= 0 {
		return 0
	}
	area := func(r rectangle) float64 { return (r[2] - r[0]) * (r[3] - r[1]) }
	return h * w / (area(a) + area(b) - h*w)
}

// pickBoxes is the greedy choice for one class; the indices come in order of
// score, of equal scores the first first.
func pickBoxes(box []rectangle, score []float64, most, threshold, least float64) []int {
	var order []int
	for i, s := range score {
		if s > least {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case score[a] > score[b]:
			return -1
		case score[a] < score[b]:
			return 1
		}
		return 0
	})
	var picked []int
	for _, k := range order {
		if float64(len(picked)) >= most {
			break
		}
		if !slices.ContainsFunc(picked, func(j int) bool { return overlap(box[j], box[k]) > threshold }) {
			picked = append(picked, k)
		}
	}
	return picked
}
