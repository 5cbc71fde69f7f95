// Networks whose graphs do not hold their anchors: which published one a graph is, by what
// its layers are made of, and what its boxes are read with.
package detect

import (
	"fmt"
	"slices"

	"trtact/internal/onnx"
)

// priors is what the boxes of a published network are read with.
type priors struct {
	family  string
	coding  string         // Anchors or Darknet
	finest  int            // the smallest stride
	most    int            // parameters; 0: any number
	scales  []float32      // scale_x_y of each level, finest first; nil: 1
	anchors [][][2]float32 // of each level, finest first
}

// published are the networks whose anchors are known, those of COCO. The first that fits counts.
func published() []priors {
	yolov3 := [][][2]float32{{{10, 13}, {16, 30}, {33, 23}}, {{30, 61}, {62, 45}, {59, 119}}, {{116, 90}, {156, 198}, {373, 326}}}
	yolov4 := [][][2]float32{{{12, 16}, {19, 36}, {40, 28}}, {{36, 75}, {76, 55}, {72, 146}}, {{142, 110}, {192, 243}, {459, 401}}}
	tinyEnd := [][2]float32{{81, 82}, {135, 169}, {344, 319}}
	yolov3Tiny := [][][2]float32{{{10, 14}, {23, 27}, {37, 58}}, tinyEnd}
	yolov4Tiny := [][][2]float32{{{23, 27}, {37, 58}, {81, 82}}, tinyEnd} // its mask is 1, 2, 3
	p6 := [][][2]float32{{{19, 27}, {44, 40}, {38, 94}}, {{96, 68}, {86, 152}, {180, 137}}, {{140, 301}, {303, 264}, {238, 542}}, {{436, 615}, {739, 380}, {925, 792}}}
	const smallYOLOv7 = 20_000_000 // YOLOv7-tiny has 6 million
	return []priors{
		{family: "yolov3", coding: Darknet, finest: 8, anchors: yolov3},
		{family: "yolov3", coding: Darknet, finest: 16, anchors: yolov3Tiny},
		{family: "yolov4", coding: Darknet, finest: 8, anchors: yolov4, scales: []float32{1.2, 1.1, 1.05}},
		{family: "yolov4", coding: Darknet, finest: 16, anchors: yolov4Tiny, scales: []float32{1.05, 1.05}},
		{family: "yolov5", coding: Anchors, finest: 8, anchors: yolov3},
		{family: "yolov5", coding: Anchors, finest: 8, anchors: p6},
		{family: "yolov5", coding: Anchors, finest: 16, anchors: yolov3Tiny}, // YOLOv3-tiny as Ultralytics trains it
		{family: "yolov7", coding: Anchors, finest: 8, anchors: yolov3, most: smallYOLOv7},
		{family: "yolov7", coding: Anchors, finest: 8, anchors: yolov4},
		{family: "yolov7", coding: Anchors, finest: 8, anchors: p6},
	}
}

// setAnchors gives a head's levels the anchors of the published network of a family with as
// many, and what else its boxes are read with. Levels have their strides, in any order.
func (s *subject) setAnchors(h *Head, family string) error {
	strides := make([]int, len(h.Levels))
	for i, l := range h.Levels {
		strides[i] = l.Stride
	}
	rising := slices.Sorted(slices.Values(strides))
	for _, p := range published() {
		if p.family != family || len(p.anchors) != len(rising) || p.finest != rising[0] || p.most > 0 && s.parameters() > p.most {
			continue
		}
		h.Coding = p.coding
		for i := range h.Levels {
			rank := slices.Index(rising, strides[i])
			h.Levels[i].Anchors = p.anchors[rank]
			if p.scales != nil {
				h.Levels[i].Scale = p.scales[rank]
			}
		}
		return nil
	}
	return fmt.Errorf("boxes are not decoded in the graph and no anchors are known for strides %v of %s: export the model with its decoding (YOLOv7: --grid)", strides, family)
}

func (s *subject) parameters() int {
	n := 0
	for _, t := range s.g.Init {
		n += t.Len()
	}
	return n
}

// trunk is what a network's layers are made of: how many activations of each kind it has, and
// the most maps of one size that a node joins.
type trunk struct{ leaky, mish, others, joins int }

func (s *subject) trunk() (t trunk) {
	for _, n := range s.g.Nodes {
		switch n.Op {
		case "LeakyRelu":
			t.leaky++
		case "Mish", "Tanh": // x tanh(softplus(x))
			t.mish++
		case "HardSwish", "Relu":
			t.others++
		case "Sigmoid":
			for _, next := range s.ix.Consumers[n.Output(0)] { // x sigmoid(x); scores have sigmoids, too
				if next.Op == "Mul" && slices.Contains(next.Inputs, n.Input(0)) {
					t.others++
				}
			}
		case "Concat":
			if joins := s.joinsLayers(n); joins > t.joins && !s.afterHeads(n) {
				t.joins = joins
			}
		}
	}
	return t
}

// mapFamily is the family of a network with three anchors a cell whose boxes are not decoded.
func (s *subject) mapFamily() string {
	if family := s.darknetFamily(); family != "" {
		return family
	}
	return s.anchorFamily()
}

// darknetFamily tells YOLOv3 and YOLOv4 as Darknet trains them, with exponential sizes, from
// all others, for which it is "". They have LeakyReLU, YOLOv4's body Mish; those after them
// have SiLU, or LeakyReLU behind a Focus (the first YOLOv5) or in ELAN (YOLOv7-tiny). YOLOv3
// joins only maps of different sizes, YOLOv4's blocks (CSP) join two of the same.
func (s *subject) darknetFamily() string {
	switch s.want {
	case "yolov3", "yolov4":
		return s.want
	case "yolov5", "yolov7":
		return ""
	}
	t := s.trunk()
	switch {
	case t.leaky == 0 || t.others > t.leaky+t.mish || t.joins >= 4 || s.focus():
		return ""
	case t.mish > 0 || t.joins >= 2:
		return "yolov4"
	}
	return "yolov3"
}

// exponentialFamily is the family of a network of three anchors a cell that decodes its boxes
// with exponential sizes itself.
func (s *subject) exponentialFamily() string {
	family := s.darknetFamily()
	switch {
	case family != "":
		return family
	case s.trunk().mish > 0:
		return "yolov4"
	}
	return "yolov3"
}

// anchorFamily tells YOLOv7 from YOLOv5 where the head does not: YOLOv7's blocks
// (ELAN) join four layers or more that are no poolings, YOLOv5's (C3) two. YOLOv4-CSP, of
// Mish alone, has YOLOv7's boxes and anchors.
func (s *subject) anchorFamily() string {
	if s.want == "yolov5" || s.want == "yolov7" {
		return s.want
	}
	if t := s.trunk(); t.joins >= 4 || t.mish > t.others+t.leaky {
		return "yolov7"
	}
	return "yolov5"
}

// joinsLayers is how many feature maps a node joins along their channels; 0 if
// one of them comes from a pooling or was of another size.
func (s *subject) joinsLayers(n *onnx.Node) int {
	if d := s.dims(n.Output(0)); len(d) != 4 || d[2] < 2 || !sameAxis(n, 1, 4) {
		return 0
	}
	for _, in := range n.Inputs {
		p := s.ix.Producer[in]
		for p != nil && (p.Op == "DequantizeLinear" || p.Op == "QuantizeLinear" || p.Op == "Mul") {
			from := s.variable(p) // a channel's range may be evened out by a factor
			if len(from) != 1 {
				break
			}
			p = s.ix.Producer[from[0]]
		}
		if p == nil || slices.Contains([]string{"MaxPool", "Resize", "Upsample", "Reshape", "ConvTranspose"}, p.Op) {
			return 0
		}
	}
	return len(n.Inputs)
}
