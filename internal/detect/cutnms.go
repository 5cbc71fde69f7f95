// Finding where non-maximum suppression begins. Suppression is data dependent,
// has nothing to quantise and differs between tools; detectors are quantised
// and measured without it, and the suppression of this package takes its place.
package detect

import (
	"slices"

	"trtact/internal/onnx"
)

// suppresses says whether an operator is a suppression whose first two inputs
// are boxes and scores.
func suppresses(op string) bool {
	switch op {
	case "NonMaxSuppression", "EfficientNMS_TRT", "EfficientNMS_ONNX_TRT", "EfficientNMSX_TRT", "EfficientNMSExplicit_TRT",
		"BatchedNMS_TRT", "BatchedNMSDynamic_TRT", "BatchedNMS",
		"multiclass_nms", "multiclass_nms2", "multiclass_nms3", "matrix_nms", "MulticlassNms":
		return true
	}
	return false
}

// CutNMS names the tensors to make the outputs of a model that ends in
// non-maximum suppression (ONNX's own or a plugin of TensorRT or Paddle) or in
// a choice: of the best boxes (TopK, as in end-to-end heads) or of each box's best class
// (ArgMax, as DeepStream wants it). They are the tensor of predictions where all outputs
// come from a single one, else boxes and scores: those from which is chosen, or which go
// into the suppression. found is false when the model has no such end. Shapes must have been inferred; the caller extracts the graph up
// to these tensors and then calls Recognize.
func CutNMS(m *onnx.Model) (tensors []string, found bool) {
	w := newWalker(m.Graph)
	var first, nms *onnx.Node // the first node of the end, and the first suppression
	for _, n := range m.Graph.Nodes {
		if n.Op != "TopK" && n.Op != "ArgMax" && !suppresses(n.Op) || w.constant[n.Output(0)] || !w.afterHeads(n) {
			continue
		}
		if first == nil {
			first = n
		}
		if suppresses(n.Op) {
			nms = n
			break
		}
	}
	if first == nil {
		return nil, false
	}
	end := w.ix.Order[first]
	if one := w.source(func(front []string) bool { return len(front) == 1 && w.rows(front[0], end) && w.columns(front[0]) > 4 }); one != nil {
		return one, true
	}
	if first != nms { // a choice of the best comes before the suppression
		two := w.source(func(front []string) bool {
			return len(front) == 2 && w.rows(front[0], end) && w.rows(front[1], end) && (w.columns(front[0]) == 4) != (w.columns(front[1]) == 4)
		})
		if two != nil && w.columns(two[0]) != 4 {
			two[0], two[1] = two[1], two[0]
		}
		if two != nil {
			return two, true
		}
	}
	if nms == nil || w.constant[nms.Input(0)] || w.constant[nms.Input(1)] || nms.Input(1) == "" {
		return nil, false
	}
	return []string{w.turned(nms.Input(0)), w.allClasses(nms.Input(1))}, true
}

// turned is the boxes from which those of a suppression were made by putting y before x.
func (w *walker) turned(boxes string) string {
	if n := w.ix.Producer[boxes]; n != nil && n.Op == "Gather" {
		if t := w.g.Init[n.Input(1)]; t != nil {
			if at, err := t.Ints(); err == nil && slices.Equal(at, []int64{1, 0, 3, 2}) {
				return n.Input(0)
			}
		}
	}
	return boxes
}

// allClasses is the scores of every class where a suppression is given the best of them.
func (w *walker) allClasses(scores string) string {
	for name := scores; ; {
		n := w.ix.Producer[name]
		if n == nil {
			return scores
		}
		switch n.Op {
		case "Unsqueeze", "Transpose", "Reshape":
			name = n.Input(0)
			continue
		case "ReduceMax":
			if d := w.dims(n.Input(0)); len(d) == 3 {
				return n.Input(0)
			}
		}
		return scores
	}
}

// afterHeads says whether no trained layer follows a node.
func (w *walker) afterHeads(n *onnx.Node) bool {
	seen := map[*onnx.Node]bool{n: true}
	for queue := []*onnx.Node{n}; len(queue) > 0; queue = queue[1:] {
		for _, out := range queue[0].Outputs {
			for _, next := range w.ix.Consumers[out] {
				if w.trainable(next) {
					return false
				}
				if !seen[next] {
					seen[next] = true
					queue = append(queue, next)
				}
			}
		}
	}
	return true
}

// rows reports whether a tensor is made before the node at place end and has rows and
// columns of a batch; columns is the smaller of the two numbers.
func (w *walker) rows(name string, end int) bool {
	return w.order(name) < end && len(w.dims(name)) == 3
}

func (w *walker) columns(name string) int {
	d := w.dims(name)
	return min(d[1], d[2])
}

// source is the latest cut of the graph, behind the trained layers, for which found is
// true; nil when there is none. The latest-made tensor of a front is replaced by what it
// is made from, so the front is a cut of the graph at every step.
func (w *walker) source(found func(front []string) bool) []string {
	var front []string
	add := func(name string) {
		if !w.constant[name] && !slices.Contains(front, name) {
			front = append(front, name)
		}
	}
	for _, out := range w.g.Outputs {
		add(out.Name)
	}
	for len(front) > 0 {
		latest := 0
		for i, name := range front {
			if w.order(name) > w.order(front[latest]) {
				latest = i
			}
		}
		if found(front) {
			return front
		}
		name := front[latest]
		n := w.ix.Producer[name]
		if n == nil || w.trainable(n) {
			return nil
		}
		front = slices.Delete(front, latest, latest+1)
		for _, in := range w.variable(n) {
			add(in)
		}
	}
	return nil
}

func (w *walker) order(tensor string) int {
	if n := w.ix.Producer[tensor]; n != nil {
		return w.ix.Order[n]
	}
	return -1
}
