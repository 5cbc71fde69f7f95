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
// a selection of the best boxes (TopK, as in end-to-end heads): the tensor of
// predictions where all outputs come from a single one, else the boxes and
// scores that go into the suppression. found is false when the model has no
// such end. Shapes must have been inferred; the caller extracts the graph up
// to these tensors and then calls Recognize.
func CutNMS(m *onnx.Model) (tensors []string, found bool) {
	w := newWalker(m.Graph)
	var first, nms *onnx.Node // the first node of the end, and the first suppression
	for _, n := range m.Graph.Nodes {
		if n.Op != "TopK" && !suppresses(n.Op) || w.constant[n.Output(0)] || !w.afterHeads(n) {
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
	if one := w.source(w.ix.Order[first]); one != "" {
		return []string{one}, true
	}
	if nms == nil || w.constant[nms.Input(0)] || w.constant[nms.Input(1)] || nms.Input(1) == "" {
		return nil, false
	}
	return []string{nms.Input(0), nms.Input(1)}, true
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

// source is the tensor of predictions (batch, rows and columns, at least five
// of them), made before the node at place end, from which all outputs of the
// graph come; "" when there is none behind the trained layers. The latest-made
// tensor of a front is replaced by what it is made from, so the front is a cut
// of the graph at every step.
func (w *walker) source(end int) string {
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
		name := front[latest]
		d := w.dims(name)
		if len(front) == 1 && w.order(name) < end && len(d) == 3 && min(d[1], d[2]) > 4 {
			return name
		}
		n := w.ix.Producer[name]
		if n == nil || w.trainable(n) {
			return ""
		}
		front = slices.Delete(front, latest, latest+1)
		for _, in := range w.variable(n) {
			add(in)
		}
	}
	return ""
}

func (w *walker) order(tensor string) int {
	if n := w.ix.Producer[tensor]; n != nil {
		return w.ix.Order[n]
	}
	return -1
}
