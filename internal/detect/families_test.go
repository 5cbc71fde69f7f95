package detect

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
)

// builder puts small graphs together that end as the published exporters end
// their models; the backbone is one convolution for every stride.
type builder struct {
	g    *onnx.Graph
	size int
	next int
	nas  bool // distanceBoxes of 17 bins are YOLO-NAS's, without PP-YOLOE's attention
	rtm  bool // distanceBoxes have RTMDet's attention and depthwise windows
}

func newBuilder(size int) *builder {
	return &builder{size: size, g: &onnx.Graph{Init: map[string]*onnx.Tensor{},
		Inputs: []onnx.Value{{Name: "images", Type: onnx.Float, Dims: []int{1, 3, size, size}}}}}
}

func (b *builder) name() string { b.next++; return fmt.Sprintf("t%d", b.next) }

func (b *builder) op(op string, attrs map[string]onnx.Attr, inputs ...string) string {
	return b.ops(op, 1, attrs, inputs...)[0]
}

func (b *builder) ops(op string, outputs int, attrs map[string]onnx.Attr, inputs ...string) []string {
	n := &onnx.Node{Name: fmt.Sprintf("n%d", b.next), Op: op, Inputs: inputs, Attrs: attrs}
	for range outputs {
		n.Outputs = append(n.Outputs, b.name())
	}
	b.g.Nodes = append(b.g.Nodes, n)
	return n.Outputs
}

func (b *builder) constant(dims []int, at func(i int) float32) string {
	data := make([]float32, onnx.Volume(dims))
	for i := range data {
		data[i] = at(i)
	}
	name := b.name()
	b.g.Init[name] = onnx.NewTensor(dims, data)
	return name
}

func (b *builder) ints(v ...int64) string {
	name := b.name()
	b.g.Init[name] = onnx.Vector(v...)
	return name
}

func (b *builder) scalar(v float32) string {
	name := b.name()
	b.g.Init[name] = onnx.Scalar(v)
	return name
}

func weight(i int) float32 { return float32(math.Sin(float64(i))) * 0.3 }

// feature is the map of a stride, 8 channels.
func (b *builder) feature(stride int) string {
	w := b.constant([]int{8, 3, stride, stride}, weight)
	s := int64(stride)
	return b.op("Relu", nil, b.op("Conv", map[string]onnx.Attr{"strides": []int64{s, s}, "kernel_shape": []int64{s, s}}, "images", w))
}

func (b *builder) conv(in string, channelsIn, channels int) string {
	return b.op("Conv", map[string]onnx.Attr{"kernel_shape": []int64{1, 1}}, in, b.constant([]int{channels, channelsIn, 1, 1}, weight))
}

func axis(a int64) map[string]onnx.Attr { return map[string]onnx.Attr{"axis": a} }

func perm(p ...int64) map[string]onnx.Attr { return map[string]onnx.Attr{"perm": p} }

func (b *builder) concat(a int64, in ...string) string { return b.op("Concat", axis(a), in...) }

func (b *builder) reshape(in string, dims ...int64) string {
	return b.op("Reshape", nil, in, b.ints(dims...))
}

// slice takes columns from..to of the last axis of a rank-3 tensor.
func (b *builder) slice(in string, from, to int64) string {
	return b.op("Slice", nil, in, b.ints(from), b.ints(to), b.ints(2))
}

func (b *builder) cells(strides ...int) int {
	n := 0
	for _, s := range strides {
		n += (b.size / s) * (b.size / s)
	}
	return n
}

func (b *builder) model(t testing.TB, outputs ...string) *onnx.Model {
	t.Helper()
	for _, o := range outputs {
		b.g.Outputs = append(b.g.Outputs, onnx.Value{Name: o, Type: onnx.Float})
	}
	m := &onnx.Model{Opset: 13, IR: 7, Graph: b.g, Metadata: map[string]string{}}
	if err := shape.Infer(m, nil); err != nil {
		t.Fatal(err)
	}
	return m
}

// anchorHead is YOLOv5's map of a stride as B x 3 x H x W x (5+classes).
func (b *builder) anchorHead(stride, classes int) string {
	side := int64(b.size / stride)
	c := b.conv(b.feature(stride), 8, 3*(5+classes))
	return b.op("Transpose", perm(0, 1, 3, 4, 2), b.reshape(c, 1, 3, int64(5+classes), side, side))
}

// elan is a block of YOLOv7, joining four layers, as the trunk of a further output;
// pooled makes it the pooling pyramid that YOLOv5 has too.
func (b *builder) elan(pooled bool) string {
	y := []string{b.feature(16)}
	for range 3 {
		if pooled {
			y = append(y, b.op("MaxPool", map[string]onnx.Attr{"kernel_shape": []int64{5, 5}, "pads": []int64{2, 2, 2, 2}, "strides": []int64{1, 1}}, y[len(y)-1]))
		} else {
			y = append(y, b.op("Relu", nil, b.conv(y[len(y)-1], 8, 8)))
		}
	}
	return b.conv(b.concat(1, y...), 8*len(y), 8)
}

// trunk gives the graph layers as YOLOv3 has them or, where they join two of one size, YOLOv4.
func (b *builder) trunk(joins bool) {
	f := b.feature(16)
	for range 8 { // more than the Relu of the other features
		f = b.op("LeakyRelu", nil, f)
	}
	if joins {
		b.conv(b.concat(1, f, b.op("LeakyRelu", nil, b.conv(f, 8, 8))), 16, 8)
	}
}

// darknetRows is the rows of YOLOv3's and YOLOv4's decoding of each level, in pixels or in
// shares of the picture.
func (b *builder) darknetRows(shares bool) (levels []string) {
	for _, stride := range []int{8, 16, 32} {
		side := b.size / stride
		p := b.ops("Split", 3, axis(4), b.anchorHead(stride, 80), b.ints(2, 2, 81))
		grid := b.constant([]int{1, 1, side, side, 2}, func(i int) float32 { return float32(i) })
		anchors := b.constant([]int{1, 3, 1, 1, 2}, func(i int) float32 { return float32(10 + i) })
		xy := b.op("Add", nil, b.op("Sigmoid", nil, p[0]), grid)
		wh := b.op("Mul", nil, b.op("Exp", nil, p[1]), anchors)
		if shares {
			xy, wh = b.op("Div", nil, xy, b.scalar(float32(side))), b.op("Div", nil, wh, b.scalar(float32(b.size)))
		} else {
			xy = b.op("Mul", nil, xy, b.scalar(float32(stride)))
		}
		levels = append(levels, b.reshape(b.concat(4, xy, wh, b.op("Sigmoid", nil, p[2])), 1, int64(3*side*side), 85))
	}
	return levels
}

// decodedRows is YOLOv7's decoding with --grid: the stride is multiplied in
// before the grid is added. yolov5 adds the grid first.
func (b *builder) decodedRows(yolov5 bool, classes int) string {
	var levels []string
	for _, stride := range []int{8, 16, 32} {
		side := b.size / stride
		p := b.ops("Split", 3, axis(4), b.op("Sigmoid", nil, b.anchorHead(stride, classes)), b.ints(2, 2, int64(1+classes)))
		grid := b.constant([]int{1, 1, side, side, 2}, func(i int) float32 { return float32(i) })
		var xy string
		if yolov5 {
			xy = b.op("Mul", nil, b.op("Add", nil, b.op("Mul", nil, p[0], b.scalar(2)), grid), b.scalar(float32(stride)))
		} else {
			xy = b.op("Add", nil, b.op("Mul", nil, p[0], b.scalar(2*float32(stride))), grid)
		}
		wh := b.op("Mul", nil, b.op("Pow", nil, p[1], b.scalar(2)), b.constant([]int{1, 3, 1, 1, 2}, func(i int) float32 { return float32(10 * i) }))
		levels = append(levels, b.reshape(b.concat(4, xy, wh, p[2]), 1, int64(3*side*side), int64(5+classes)))
	}
	return b.concat(1, levels...)
}

// freeRows concatenates the parts that level makes of each stride, as rows.
func (b *builder) freeRows(strides []int, columns int, level func(feature string, side int) []string) string {
	var levels []string
	for _, stride := range strides {
		side := b.size / stride
		levels = append(levels, b.reshape(b.concat(1, level(b.feature(stride), side)...), 1, int64(columns), int64(side*side)))
	}
	return b.op("Transpose", perm(0, 2, 1), b.concat(2, levels...))
}

// perStride is what level makes of each of three strides.
func (b *builder) perStride(level func(feature string) []string) []string {
	var all []string
	for _, stride := range []int{8, 16, 32} {
		all = append(all, level(b.feature(stride))...)
	}
	return all
}

func (b *builder) yolox(decoded bool) string {
	rows := b.freeRows([]int{8, 16, 32}, 85, func(f string, _ int) []string {
		return []string{b.conv(f, 8, 4), b.op("Sigmoid", nil, b.conv(f, 8, 1)), b.op("Sigmoid", nil, b.conv(f, 8, 80))}
	})
	if !decoded {
		return rows
	}
	n := b.cells(8, 16, 32)
	grid := b.constant([]int{1, n, 2}, func(i int) float32 { return float32(i) })
	strides := b.constant([]int{1, n, 1}, func(int) float32 { return 8 })
	xy := b.op("Mul", nil, b.op("Add", nil, b.slice(rows, 0, 2), grid), strides)
	wh := b.op("Mul", nil, b.op("Exp", nil, b.slice(rows, 2, 4)), strides)
	return b.concat(2, xy, wh, b.slice(rows, 4, 85))
}

// distanceBoxes is the decoding of YOLOv8 (16 bins), PP-YOLOE and YOLO-NAS (17) and YOLO26 (1):
// softmax bins, their expectation by a convolution with 0, 1, ..., corners around the cells.
func (b *builder) distanceBoxes(bins int, centre bool) (boxes, scores string) {
	n := b.cells(8, 16, 32)
	var dist, cls []string
	for _, stride := range []int{8, 16, 32} {
		f, cells := b.feature(stride), int64(b.cells(stride))
		if b.rtm {
			f = b.op("Conv", map[string]onnx.Attr{"group": int64(8), "kernel_shape": []int64{5, 5}, "pads": []int64{2, 2, 2, 2}}, f, b.constant([]int{8, 1, 5, 5}, weight))
		}
		if bins == 17 && !b.nas || b.rtm {
			f = b.op("Mul", nil, f, b.op("Sigmoid", nil, b.conv(b.op("GlobalAveragePool", nil, f), 8, 8)))
		}
		dist = append(dist, b.reshape(b.conv(f, 8, 4*bins), 1, int64(4*bins), cells))
		cls = append(cls, b.reshape(b.conv(f, 8, 80), 1, 80, cells))
	}
	d := b.op("Transpose", perm(0, 2, 1, 3), b.reshape(b.concat(2, dist...), 1, 4, int64(bins), int64(n)))
	if bins > 1 {
		d = b.op("Conv", nil, b.op("Softmax", axis(1), d), b.constant([]int{1, bins, 1, 1}, func(i int) float32 { return float32(i) }))
	}
	sides := b.ops("Split", 2, axis(1), b.reshape(d, 1, 4, int64(n)), b.ints(2, 2))
	points := b.constant([]int{1, 2, n}, func(i int) float32 { return float32(i) })
	low, high := b.op("Sub", nil, points, sides[0]), b.op("Add", nil, points, sides[1])
	if centre {
		low, high = b.op("Div", nil, b.op("Add", nil, low, high), b.scalar(2)), b.op("Sub", nil, high, low)
	}
	boxes = b.op("Mul", nil, b.concat(1, low, high), b.constant([]int{1, 1, n}, func(int) float32 { return 8 }))
	return boxes, b.op("Sigmoid", nil, b.concat(2, cls...))
}

// cornersBesideScores takes rows of centre, size, objectness and classes apart.
func (b *builder) cornersBesideScores(rows string) []string {
	xy, half := b.slice(rows, 0, 2), b.op("Mul", nil, b.slice(rows, 2, 4), b.scalar(0.5))
	boxes := b.concat(2, b.op("Sub", nil, xy, half), b.op("Add", nil, xy, half))
	return []string{boxes, b.op("Mul", nil, b.slice(rows, 5, 85), b.slice(rows, 4, 5))}
}

func TestRecognizePublishedForms(t *testing.T) {
	const size = 128
	forms := []struct {
		name    string
		ask     string // the family asked for, "" for auto
		build   func(b *builder) []string
		family  string
		coding  string
		classes int
		heads   int
	}{
		{"yolov5 raw, rank 5", "", func(b *builder) []string {
			return []string{b.anchorHead(8, 80), b.anchorHead(16, 80), b.anchorHead(32, 80)}
		}, "yolov5", Anchors, 80, 3},
		{"yolov5 raw, rank 4, coarse first", "", func(b *builder) []string {
			return []string{b.conv(b.feature(32), 8, 21), b.conv(b.feature(16), 8, 21), b.conv(b.feature(8), 8, 21)}
		}, "yolov5", Anchors, 2, 3},
		{"yolov3 raw", "", func(b *builder) []string {
			b.trunk(false)
			return []string{b.anchorHead(32, 80), b.anchorHead(16, 80), b.anchorHead(8, 80)}
		}, "yolov3", Darknet, 80, 3},
		{"yolov4 raw", "", func(b *builder) []string {
			b.trunk(true)
			return []string{b.anchorHead(8, 80), b.anchorHead(16, 80), b.anchorHead(32, 80)}
		}, "yolov4", Darknet, 80, 3},
		{"the first yolov5, with LeakyReLU behind its Focus", "", func(b *builder) []string {
			b.trunk(true)
			b.op("Slice", nil, "images", b.ints(0), b.ints(1), b.ints(2))
			return []string{b.anchorHead(8, 80), b.anchorHead(16, 80), b.anchorHead(32, 80)}
		}, "yolov5", Anchors, 80, 3},
		{"yolov7-tiny raw, with LeakyReLU", "", func(b *builder) []string {
			b.trunk(true)
			b.elan(false)
			return []string{b.anchorHead(8, 80), b.anchorHead(16, 80), b.anchorHead(32, 80)}
		}, "yolov7", Anchors, 80, 3},
		{"yolov3-tiny of Ultralytics, without LeakyReLU", "", func(b *builder) []string {
			return []string{b.anchorHead(16, 80), b.anchorHead(32, 80)}
		}, "yolov5", Anchors, 80, 2},
		{"yolov3 rows", "", func(b *builder) []string {
			b.trunk(false)
			return []string{b.concat(1, b.darknetRows(false)...)}
		}, "yolov3", Centre, 80, 3},
		{"yolov3 rows of each level", "", func(b *builder) []string {
			b.trunk(false)
			return b.darknetRows(false)
		}, "yolov3", Centre, 80, 3},
		{"yolov4 boxes, objectness and classes apart", "", func(b *builder) []string {
			b.trunk(true)
			rows := b.concat(1, b.darknetRows(true)...)
			return []string{b.slice(rows, 0, 4), b.slice(rows, 4, 5), b.slice(rows, 5, 85)}
		}, "yolov4", Centre, 80, 3},
		{"yolov4 corners with an axis of one, and scores", "", func(b *builder) []string {
			b.trunk(true)
			out := b.cornersBesideScores(b.concat(1, b.darknetRows(true)...))
			return []string{b.reshape(out[0], 1, int64(3*b.cells(8, 16, 32)), 1, 4), out[1]}
		}, "yolov4", Corners, 80, 3},
		{"yolov7 raw", "yolov7", func(b *builder) []string {
			return []string{b.anchorHead(8, 80), b.anchorHead(16, 80), b.anchorHead(32, 80)}
		}, "yolov7", Anchors, 80, 3},
		{"yolov7 raw, told by its blocks", "", func(b *builder) []string {
			b.elan(false)
			return []string{b.anchorHead(8, 80), b.anchorHead(16, 80), b.anchorHead(32, 80)}
		}, "yolov7", Anchors, 80, 3},
		{"yolov7 decoded as yolov5 does", "", func(b *builder) []string {
			b.elan(false)
			return []string{b.decodedRows(true, 80)}
		}, "yolov7", Centre, 80, 3},
		{"yolov5 with its pooling pyramid", "", func(b *builder) []string {
			b.elan(true)
			return []string{b.anchorHead(8, 80), b.anchorHead(16, 80), b.anchorHead(32, 80)}
		}, "yolov5", Anchors, 80, 3},
		{"yolov5 decoded", "", func(b *builder) []string { return []string{b.decodedRows(true, 80)} }, "yolov5", Centre, 80, 3},
		{"yolov5 decoded, 3 classes", "", func(b *builder) []string { return []string{b.decodedRows(true, 3)} }, "yolov5", Centre, 3, 3},
		{"yolov5 decoded beside raw maps", "", func(b *builder) []string {
			return []string{b.decodedRows(true, 80), b.anchorHead(8, 80), b.anchorHead(16, 80)}
		}, "yolov5", Centre, 80, 5},
		{"yolov7 --grid", "", func(b *builder) []string { return []string{b.decodedRows(false, 80)} }, "yolov7", Centre, 80, 3},
		{"yolov7 rows asked for as yolov5", "yolov5", func(b *builder) []string { return []string{b.decodedRows(false, 80)} }, "yolov5", Centre, 80, 3},
		{"yolox undecoded", "", func(b *builder) []string { return []string{b.yolox(false)} }, "yolox", Exponential, 80, 9},
		{"yolox decoded", "yolox", func(b *builder) []string { return []string{b.yolox(true)} }, "yolox", Centre, 80, 9},
		{"nanodet-plus", "", func(b *builder) []string {
			return []string{b.freeRows([]int{8, 16, 32, 64}, 112, func(f string, _ int) []string {
				return []string{b.op("Sigmoid", nil, b.conv(f, 8, 80)), b.conv(f, 8, 32)}
			})}
		}, "nanodet", Distances, 80, 8},
		{"nanodet, shared convolution", "", func(b *builder) []string {
			return []string{b.freeRows([]int{8, 16, 32}, 35, func(f string, _ int) []string {
				p := b.ops("Split", 2, axis(1), b.conv(f, 8, 35), b.ints(3, 32))
				return []string{b.op("Sigmoid", nil, p[0]), p[1]}
			})}
		}, "nanodet", Distances, 3, 3},
		{"yolov8", "", func(b *builder) []string {
			boxes, scores := b.distanceBoxes(16, true)
			return []string{b.concat(1, boxes, scores)}
		}, "yolov8", Centre, 80, 6},
		{"yolov8 transposed", "", func(b *builder) []string {
			boxes, scores := b.distanceBoxes(16, true)
			return []string{b.op("Transpose", perm(0, 2, 1), b.concat(1, boxes, scores))}
		}, "yolov8", Centre, 80, 6},
		{"yolov8-seg with prototypes", "", func(b *builder) []string {
			boxes, scores := b.distanceBoxes(16, true)
			var masks []string
			for _, stride := range []int{8, 16, 32} {
				masks = append(masks, b.reshape(b.conv(b.feature(stride), 8, 32), 1, 32, int64(b.cells(stride))))
			}
			return []string{b.concat(1, boxes, scores, b.concat(2, masks...)), b.conv(b.feature(4), 8, 32)}
		}, "yolov8", Centre, 80, 10},
		{"yolov8 boxes beside scores", "", func(b *builder) []string {
			boxes, scores := b.distanceBoxes(16, true)
			return []string{boxes, scores}
		}, "yolov8", Centre, 80, 6},
		{"yolov8, one class", "", func(b *builder) []string {
			boxes, scores := b.distanceBoxes(16, true)
			return []string{b.concat(1, boxes, b.op("Slice", nil, scores, b.ints(0), b.ints(1), b.ints(1)))}
		}, "yolov8", Centre, 1, 6},
		{"four classes beside boxes", "ppyoloe", func(b *builder) []string {
			boxes, scores := b.distanceBoxes(17, false)
			return []string{b.op("Slice", nil, scores, b.ints(0), b.ints(4), b.ints(1)), boxes}
		}, "ppyoloe", Corners, 4, 6},
		{"yolov8 raw, a map a stride", "", func(b *builder) []string {
			var outs []string
			for _, stride := range []int{8, 16, 32} {
				f := b.feature(stride)
				outs = append(outs, b.concat(1, b.conv(f, 8, 64), b.conv(f, 8, 80)))
			}
			return outs
		}, "yolov8", Distances, 80, 6},
		{"yolov8 raw, two maps a stride", "", func(b *builder) []string {
			var outs []string
			for _, stride := range []int{8, 16, 32} {
				f := b.feature(stride)
				outs = append(outs, b.conv(f, 8, 64), b.conv(f, 8, 80))
			}
			return outs
		}, "yolov8", Distances, 80, 6},
		{"nanodet, three levels", "", func(b *builder) []string {
			var outs []string
			for _, stride := range []int{8, 16, 32} {
				f, cells := b.feature(stride), int64(b.cells(stride))
				outs = append(outs, b.op("Transpose", perm(0, 2, 1), b.reshape(b.op("Sigmoid", nil, b.conv(f, 8, 80)), 1, 80, cells)),
					b.op("Transpose", perm(0, 2, 1), b.reshape(b.conv(f, 8, 32), 1, 32, cells)))
			}
			return outs
		}, "nanodet", Distances, 80, 6},
		{"yolov6 plain distances, two maps a stride", "", func(b *builder) []string {
			var outs []string
			for _, stride := range []int{8, 16, 32} {
				f := b.feature(stride)
				outs = append(outs, b.op("Sigmoid", nil, b.conv(f, 8, 80)), b.conv(f, 8, 4))
			}
			return outs
		}, "yolov6", Distances, 80, 6},
		{"yolov6 with 17 bins, two maps a stride", "", func(b *builder) []string {
			var outs []string
			for _, stride := range []int{8, 16, 32} {
				f := b.feature(stride)
				outs = append(outs, b.op("Sigmoid", nil, b.conv(f, 8, 80)), b.conv(f, 8, 68))
			}
			return outs
		}, "yolov6", Distances, 80, 6},
		{"yolov8 corners beside scores", "", func(b *builder) []string {
			boxes, scores := b.distanceBoxes(16, false)
			return []string{b.op("Transpose", perm(0, 2, 1), boxes), scores}
		}, "yolov8", Corners, 80, 6},
		{"yolov10 before its choice of the best", "", func(b *builder) []string {
			boxes, scores := b.distanceBoxes(16, false)
			return []string{b.op("Transpose", perm(0, 2, 1), b.concat(1, boxes, scores))}
		}, "yolov8", Corners, 80, 6},
		{"yolo26 before its choice of the best", "", func(b *builder) []string {
			boxes, scores := b.distanceBoxes(1, false)
			return []string{b.op("Transpose", perm(0, 2, 1), b.concat(1, boxes, scores))}
		}, "yolov8", Corners, 80, 6},
		{"yolox corners beside scores", "", func(b *builder) []string {
			b.op("Slice", nil, "images", b.ints(0), b.ints(1), b.ints(2)) // Focus
			return b.cornersBesideScores(b.yolox(true))
		}, "yolox", Corners, 80, 9},
		{"yolov5 corners beside scores", "", func(b *builder) []string {
			return b.cornersBesideScores(b.decodedRows(true, 80))
		}, "yolov5", Corners, 80, 3},
		{"ppyoloe corners and scores in rows", "", func(b *builder) []string {
			boxes, scores := b.distanceBoxes(17, false)
			return []string{b.op("Transpose", perm(0, 2, 1), b.concat(1, boxes, scores))}
		}, "ppyoloe", Corners, 80, 6},
		{"rtmdet", "", func(b *builder) []string {
			b.rtm = true
			boxes, scores := b.distanceBoxes(1, false)
			return []string{b.op("Transpose", perm(0, 2, 1), boxes), b.op("Transpose", perm(0, 2, 1), scores)}
		}, "rtmdet", Corners, 80, 6},
		{"yolov6lite corners beside scores", "", func(b *builder) []string {
			b.rtm = true
			boxes, scores := b.distanceBoxes(1, false)
			for range 8 { // what its layers end in
				boxes = b.op("HardSwish", nil, boxes)
			}
			return []string{b.op("Transpose", perm(0, 2, 1), boxes), b.op("Transpose", perm(0, 2, 1), scores)}
		}, "yolov8", Corners, 80, 6},
		{"yolo-nas", "", func(b *builder) []string {
			b.nas = true
			boxes, scores := b.distanceBoxes(17, false)
			return []string{b.op("Transpose", perm(0, 2, 1), boxes), b.op("Transpose", perm(0, 2, 1), scores)}
		}, "yolov8", Corners, 80, 6},
		{"yolo-fastestv2, both grids in one output", "", func(b *builder) []string {
			return []string{b.freeRows([]int{16, 32}, 95, func(f string, _ int) []string {
				return []string{b.op("Sigmoid", nil, b.conv(f, 8, 12)), b.op("Sigmoid", nil, b.conv(f, 8, 3)), b.op("Softmax", axis(1), b.conv(f, 8, 80))}
			})}
		}, "yolofastest", Anchors, 80, 6},
		{"yolox, a map a stride", "", func(b *builder) []string {
			return b.perStride(func(f string) []string {
				return []string{b.concat(1, b.conv(f, 8, 4), b.op("Sigmoid", nil, b.conv(f, 8, 1)), b.op("Sigmoid", nil, b.conv(f, 8, 80)))}
			})
		}, "yolox", Exponential, 80, 9},
		{"yolox, three maps a stride", "", func(b *builder) []string {
			return b.perStride(func(f string) []string { return []string{b.conv(f, 8, 80), b.conv(f, 8, 1), b.conv(f, 8, 4)} })
		}, "yolox", Exponential, 80, 9},
		{"yolox without its Focus, told by its SiLU", "", func(b *builder) []string {
			for range 9 {
				b.op("Mul", nil, "images", b.op("Sigmoid", nil, "images"))
			}
			return []string{b.yolox(true)}
		}, "yolox", Centre, 80, 9},
		{"yolox boxes beside scores", "", func(b *builder) []string {
			b.op("Slice", nil, "images", b.ints(0), b.ints(1), b.ints(2)) // Focus
			rows := b.yolox(true)
			return []string{b.slice(rows, 0, 4), b.op("Mul", nil, b.slice(rows, 5, 85), b.slice(rows, 4, 5))}
		}, "yolox", Centre, 80, 9},
		{"yolov8 as Rockchip has it, with the sums of the scores", "", func(b *builder) []string {
			return b.perStride(func(f string) []string {
				scores := b.op("Sigmoid", nil, b.conv(f, 8, 80))
				sum := b.op("ReduceSum", map[string]onnx.Attr{"keepdims": int64(1)}, scores, b.ints(1))
				return []string{b.conv(f, 8, 64), scores, b.op("Clip", nil, sum, b.scalar(0), b.scalar(1))}
			})
		}, "yolov8", Distances, 80, 6},
		{"yolov8 raw, 20 classes, two maps a stride", "", func(b *builder) []string {
			return b.perStride(func(f string) []string { return []string{b.conv(f, 8, 64), b.conv(f, 8, 20)} })
		}, "yolov8", Distances, 20, 6},
		{"yolov8 raw, 20 classes, a map a stride", "", func(b *builder) []string {
			return b.perStride(func(f string) []string { return []string{b.concat(1, b.conv(f, 8, 64), b.conv(f, 8, 20))} })
		}, "yolov8", Distances, 20, 6},
		{"yolov8 raw, channels last, as many classes as rows", "", func(b *builder) []string {
			return b.perStride(func(f string) []string {
				return []string{b.op("Transpose", perm(0, 2, 3, 1), b.conv(f, 8, 64)), b.op("Transpose", perm(0, 2, 3, 1), b.op("Sigmoid", nil, b.conv(f, 8, 16)))}
			})
		}, "yolov8", Distances, 16, 6},
		{"yolov8 rows with logits for scores", "", func(b *builder) []string {
			boxes, scores := b.distanceBoxes(16, true)
			logits := b.g.Nodes[len(b.g.Nodes)-1].Input(0)
			if scores != b.g.Nodes[len(b.g.Nodes)-1].Output(0) {
				return nil
			}
			return []string{b.op("Transpose", perm(0, 2, 1), b.concat(1, boxes, logits))}
		}, "yolov8", Centre, 80, 6},
		{"yolov5, objectness multiplied into the scores", "", func(b *builder) []string {
			rows := b.decodedRows(true, 80)
			return []string{b.concat(2, b.slice(rows, 0, 4), b.op("Mul", nil, b.slice(rows, 5, 85), b.slice(rows, 4, 5)))}
		}, "yolov8", Centre, 80, 3},
		{"yolov8, the same output twice", "", func(b *builder) []string {
			boxes, scores := b.distanceBoxes(16, true)
			rows := b.concat(1, boxes, scores)
			return []string{rows, b.op("Identity", nil, rows)}
		}, "yolov8", Centre, 80, 6},
		{"ppyoloe with scale_factor", "", func(b *builder) []string {
			b.g.Inputs = append(b.g.Inputs, onnx.Value{Name: "scale_factor", Type: onnx.Float, Dims: []int{1, 2}})
			boxes, scores := b.distanceBoxes(17, false)
			four := b.reshape(b.concat(1, "scale_factor", "scale_factor"), 1, 1, 4)
			return []string{b.op("Div", nil, b.op("Transpose", perm(0, 2, 1), boxes), four), scores}
		}, "ppyoloe", Corners, 80, 6},
	}
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			b := newBuilder(size)
			m := b.model(t, form.build(b)...)
			ask := form.ask
			if ask == "" {
				ask = "auto"
			}
			s, err := Recognize(m, ask)
			if err != nil {
				t.Fatal(err)
			}
			if s.Family != form.family || s.Head.Coding != form.coding || s.Head.Classes != form.classes || len(s.Names) != form.classes {
				t.Errorf("%s, %s, %d classes, %d names: want %s, %s, %d", s.Family, s.Head.Coding, s.Head.Classes, len(s.Names), form.family, form.coding, form.classes)
			}
			if heads := HeadNodes(m.Graph); len(heads) != form.heads {
				t.Errorf("%d heads: want %d", len(heads), form.heads)
			}
			// Whatever was found must be readable: zeros everywhere decode.
			outputs := map[string]*onnx.Tensor{}
			for _, o := range s.Outputs {
				outputs[o.Name] = onnx.NewTensor(o.Dims, make([]float32, onnx.Volume(o.Dims)))
			}
			if _, err := s.Decode(outputs, 0, Transform{Width: size, Height: size, ScaleX: 1, ScaleY: 1}, DefaultOptions()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRecognizePose: with the class names known, the one class of a pose model
// is neither objectness nor joined to the key points behind it.
func TestRecognizePose(t *testing.T) {
	b := newBuilder(128)
	boxes, scores := b.distanceBoxes(16, true)
	points := b.op("Mul", nil, b.op("Slice", nil, scores, b.ints(1), b.ints(52), b.ints(1)), b.scalar(640))
	m := b.model(t, b.concat(1, boxes, b.op("Slice", nil, scores, b.ints(0), b.ints(1), b.ints(1)), points))
	m.Metadata["names"] = "{0: 'person'}"
	s, err := Recognize(m, "auto")
	if err != nil {
		t.Fatal(err)
	}
	if s.Family != "yolov8" || s.Head.Classes != 1 || s.Head.Levels[0].Object.Output != "" || s.Names[0] != "person" {
		t.Errorf("%s, %+v, %v", s.Family, s.Head, s.Names)
	}
}

// TestRecognizeSmallInput: 84 predictions of 85 columns are not 85 of 84.
func TestRecognizeSmallInput(t *testing.T) {
	b := newBuilder(64)
	s, err := Recognize(b.model(t, b.yolox(false)), "auto")
	if err != nil {
		t.Fatal(err)
	}
	if s.Family != "yolox" || s.Head.Classes != 80 || len(s.Head.Levels) != 3 {
		t.Errorf("%s, %d classes, %d levels", s.Family, s.Head.Classes, len(s.Head.Levels))
	}
}

func TestCutNMS(t *testing.T) {
	nms := func(b *builder, boxes, scores string) []string {
		selected := b.op("NonMaxSuppression", nil, boxes, scores, b.ints(100), b.scalar(0.65), b.scalar(0.001))
		return []string{selected, b.op("Gather", axis(1), boxes, b.op("Gather", axis(1), selected, b.ints(2)))}
	}
	for _, c := range []struct {
		name   string
		build  func(b *builder) (outputs, want []string)
		family string
	}{
		{"none", func(b *builder) ([]string, []string) { return []string{b.decodedRows(true, 80)}, nil }, "yolov5"},
		{"yolov7 end to end", func(b *builder) ([]string, []string) {
			rows := b.decodedRows(false, 80)
			convert := b.constant([]int{4, 4}, func(i int) float32 {
				return []float32{1, 0, 1, 0, 0, 1, 0, 1, -0.5, 0, 0.5, 0, 0, -0.5, 0, 0.5}[i]
			})
			boxes := b.op("MatMul", nil, b.slice(rows, 0, 4), convert)
			scores := b.op("Mul", nil, b.slice(rows, 5, 85), b.slice(rows, 4, 5))
			best := b.op("ReduceMax", map[string]onnx.Attr{"axes": []int64{2}, "keepdims": int64(1)}, scores)
			class := b.op("ArgMax", map[string]onnx.Attr{"axis": int64(2), "keepdims": int64(1)}, scores)
			apart := b.op("Add", nil, boxes, b.op("Mul", nil, b.op("Cast", map[string]onnx.Attr{"to": int64(1)}, class), b.scalar(640)))
			return nms(b, apart, b.op("Transpose", perm(0, 2, 1), best)), []string{rows}
		}, "yolov7"},
		{"ppyoloe", func(b *builder) ([]string, []string) {
			boxes, scores := b.distanceBoxes(17, false)
			boxes = b.op("Transpose", perm(0, 2, 1), boxes)
			return nms(b, boxes, scores), []string{boxes, scores}
		}, "ppyoloe"},
		{"rtmdet, the best before the suppression", func(b *builder) ([]string, []string) {
			b.rtm = true
			boxes, scores := b.distanceBoxes(1, false)
			boxes, scores = b.op("Transpose", perm(0, 2, 1), boxes), b.op("Transpose", perm(0, 2, 1), scores)
			best := b.op("ReduceMax", map[string]onnx.Attr{"axes": []int64{2}, "keepdims": int64(0)}, scores)
			picked := b.reshape(b.ops("TopK", 2, nil, best, b.ints(20))[1], 20)
			return nms(b, b.op("Gather", axis(1), boxes, picked), b.op("Transpose", perm(0, 2, 1), b.op("Gather", axis(1), scores, picked))), []string{boxes, scores}
		}, "rtmdet"},
		{"corners turned to y, x for the suppression", func(b *builder) ([]string, []string) {
			boxes, scores := b.distanceBoxes(16, false)
			boxes = b.op("Transpose", perm(0, 2, 1), boxes)
			return nms(b, b.op("Gather", axis(2), boxes, b.ints(1, 0, 3, 2)), scores), []string{boxes, scores}
		}, "yolov8"},
		{"the best score alone goes into the suppression", func(b *builder) ([]string, []string) {
			boxes, scores := b.distanceBoxes(16, false)
			boxes = b.op("Transpose", perm(0, 2, 1), boxes)
			return nms(b, boxes, b.op("ReduceMax", map[string]onnx.Attr{"axes": []int64{1}, "keepdims": int64(1)}, scores)), []string{boxes, scores}
		}, "yolov8"},
		{"each box's best class, as DeepStream wants it", func(b *builder) ([]string, []string) {
			boxes, scores := b.distanceBoxes(16, false)
			rows := b.op("Transpose", perm(0, 2, 1), b.concat(1, boxes, scores))
			cls := b.slice(rows, 4, 84)
			best := b.op("ReduceMax", map[string]onnx.Attr{"axes": []int64{2}, "keepdims": int64(1)}, cls)
			label := b.op("Cast", map[string]onnx.Attr{"to": int64(onnx.Float)}, b.op("ArgMax", map[string]onnx.Attr{"axis": int64(2), "keepdims": int64(1)}, cls))
			return []string{b.concat(2, b.slice(rows, 0, 4), best, label)}, []string{rows}
		}, "yolov8"},
		{"yolov10, best of all", func(b *builder) ([]string, []string) {
			boxes, scores := b.distanceBoxes(16, false)
			rows := b.op("Transpose", perm(0, 2, 1), b.concat(1, boxes, scores))
			cls := b.slice(rows, 4, 84)
			best := b.op("ReduceMax", map[string]onnx.Attr{"axes": []int64{2}, "keepdims": int64(0)}, cls)
			top := b.ops("TopK", 2, nil, best, b.ints(20))
			picked := b.op("Gather", axis(1), b.slice(rows, 0, 4), b.reshape(top[1], 20))
			return []string{b.concat(2, picked, b.reshape(top[0], 1, 20, 1))}, []string{rows}
		}, "yolov8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(128)
			outputs, want := c.build(b)
			m := b.model(t, outputs...)
			got, found := CutNMS(m)
			if found != (want != nil) || !slices.Equal(got, want) {
				t.Fatalf("cut at %v, %v: want %v", got, found, want)
			}
			if found {
				if _, err := Recognize(m, "auto"); err == nil || !strings.Contains(err.Error(), "non-maximum suppression") {
					t.Errorf("an uncut model was recognised: %v", err)
				}
				if err := m.Graph.Extract(got); err != nil {
					t.Fatal(err)
				}
				if err := shape.Infer(m, nil); err != nil {
					t.Fatal(err)
				}
			}
			s, err := Recognize(m, "auto")
			if err != nil {
				t.Fatal(err)
			}
			if s.Family != c.family {
				t.Errorf("family %s: want %s", s.Family, c.family)
			}
		})
	}
}

// TestDecodePlanted puts one prediction into otherwise silent outputs of
// undecoded forms and looks for the box that the family's formula gives.
func TestDecodePlanted(t *testing.T) {
	const size, class = 128, 7
	type plant struct {
		output string
		index  int
		value  float32
	}
	for _, c := range []struct {
		name   string
		build  func(b *builder) []string
		silent float32 // what all other values are
		plants func(s *Spec) []plant
		want   Detection
	}{
		{"yolov5 raw rank 4: stride 16, anchor 1, row 3, column 5", func(b *builder) []string {
			return []string{b.conv(b.feature(8), 8, 255), b.conv(b.feature(16), 8, 255), b.conv(b.feature(32), 8, 255)}
		}, -20, func(s *Spec) []plant {
			at := func(c int) int { return (85+c)*64 + 3*8 + 5 }
			name := s.Outputs[1].Name
			return []plant{{name, at(0), 0}, {name, at(1), 0}, {name, at(2), 0}, {name, at(3), 0}, {name, at(4), 20}, {name, at(5 + class), 20}}
		}, Detection{X1: 5.5*16 - 31, Y1: 3.5*16 - 22.5, X2: 5.5*16 + 31, Y2: 3.5*16 + 22.5, Class: class, Score: 1}},
		// The boxes of the next four are numpy's: sigmoid centres and exponential sizes of
		// (0.5, -1, -0.7, -0.4), (1.5, -2, -0.3, 0.2) and twice (2, 0.25, 0.1, -0.2).
		{"yolov3 raw: stride 16, anchor 1, row 3, column 5", func(b *builder) []string {
			b.trunk(false)
			return []string{b.conv(b.feature(32), 8, 255), b.conv(b.feature(16), 8, 255), b.conv(b.feature(8), 8, 255)}
		}, -20, func(s *Spec) []plant {
			at := func(c int) int { return (85+c)*64 + 3*8 + 5 }
			name := s.Outputs[1].Name
			return []plant{{name, at(0), 0.5}, {name, at(1), -1}, {name, at(2), -0.7}, {name, at(3), -0.4}, {name, at(4), 2}, {name, at(5 + class), 1.5}}
		}, Detection{X1: 74.565205, Y1: 37.220862, X2: 105.353494, Y2: 67.385264, Class: class, Score: 0.7201172}},
		{"yolov4 channels last, scores decoded: stride 8, anchor 2, row 6, column 4", func(b *builder) []string {
			b.trunk(true)
			var outs []string
			for _, stride := range []int{8, 16, 32} {
				side := int64(size / stride)
				last := b.reshape(b.op("Transpose", perm(0, 2, 3, 1), b.conv(b.feature(stride), 8, 255)), 1, side, side, 3, 85)
				p := b.ops("Split", 2, axis(4), last, b.ints(4, 81))
				outs = append(outs, b.concat(4, p[0], b.op("Sigmoid", nil, p[1])))
			}
			return outs
		}, 0, func(s *Spec) []plant {
			at, name := ((6*16+4)*3+2)*85, s.Outputs[0].Name
			return []plant{{name, at, 1.5}, {name, at + 1, -2}, {name, at + 2, -0.3}, {name, at + 3, 0.2}, {name, at + 4, 0.5}, {name, at + 5 + class, 0.8}}
		}, Detection{X1: 24.232351, Y1: 31.244709, X2: 53.865079, Y2: 65.443987, Class: class, Score: 0.4}},
		{"yolov4-tiny raw: stride 16, anchor 0, row 3, column 2", func(b *builder) []string {
			b.trunk(true)
			return []string{b.conv(b.feature(32), 8, 255), b.conv(b.feature(16), 8, 255)}
		}, -20, func(s *Spec) []plant {
			at := func(c int) int { return c*64 + 3*8 + 2 }
			name := s.Outputs[1].Name
			return []plant{{name, at(0), 2}, {name, at(1), 0.25}, {name, at(2), 0.1}, {name, at(3), -0.2}, {name, at(4), 2}, {name, at(5 + class), 1.5}}
		}, Detection{X1: 33.687925, Y1: 45.9917, X2: 59.106856, Y2: 68.09743, Class: class, Score: 0.7201172}},
		{"yolov3-tiny raw: stride 16, anchor 0, row 3, column 2", func(b *builder) []string {
			b.trunk(false)
			return []string{b.conv(b.feature(32), 8, 255), b.conv(b.feature(16), 8, 255)}
		}, -20, func(s *Spec) []plant {
			at := func(c int) int { return c*64 + 3*8 + 2 }
			name := s.Outputs[1].Name
			return []plant{{name, at(0), 2}, {name, at(1), 0.25}, {name, at(2), 0.1}, {name, at(3), -0.2}, {name, at(4), 2}, {name, at(5 + class), 1.5}}
		}, Detection{X1: 40.5669, Y1: 51.263709, X2: 51.618608, Y2: 62.725939, Class: class, Score: 0.7201172}},
		{"yolov8 in shares of the input, cell 3", func(b *builder) []string {
			boxes, scores := b.distanceBoxes(16, true)
			return []string{b.concat(1, b.op("Mul", nil, boxes, b.scalar(1.0/size)), scores)}
		}, 0, func(s *Spec) []plant {
			n, name := s.Outputs[0].Dims[2], s.Outputs[0].Name
			return []plant{{name, 3, 0.5}, {name, n + 3, 0.25}, {name, 2*n + 3, 0.25}, {name, 3*n + 3, 0.125}, {name, (4+class)*n + 3, 0.75}}
		}, Detection{X1: 48, Y1: 24, X2: 80, Y2: 40, Class: class, Score: 0.75}},
		{"yolox: stride 32, row 2, column 1", func(b *builder) []string { return []string{b.yolox(false)} }, 0, func(s *Spec) []plant {
			at := (16*16 + 8*8 + 2*4 + 1) * 85
			name := s.Outputs[0].Name
			return []plant{{name, at, 0.25}, {name, at + 1, -0.25}, {name, at + 2, float32(math.Log(0.5))}, {name, at + 3, 0}, {name, at + 4, 0.5}, {name, at + 5 + class, 0.8}}
		}, Detection{X1: 1.25*32 - 8, Y1: 1.75*32 - 16, X2: 1.25*32 + 8, Y2: 1.75*32 + 16, Class: class, Score: 0.4}},
		{"yolov8 raw: stride 8, row 10, column 9", func(b *builder) []string {
			var outs []string
			for _, stride := range []int{8, 16, 32} {
				f := b.feature(stride)
				outs = append(outs, b.concat(1, b.conv(f, 8, 64), b.conv(f, 8, 80)))
			}
			return outs
		}, -20, func(s *Spec) []plant {
			name, p := s.Outputs[0].Name, []plant{}
			cell := 10*16 + 9
			for side, bin := range []int{1, 2, 3, 4} {
				p = append(p, plant{name, (side*16+bin)*256 + cell, 40})
			}
			return append(p, plant{name, (64+class)*256 + cell, 20})
		}, Detection{X1: 8.5 * 8, Y1: 8.5 * 8, X2: 12.5 * 8, Y2: 14.5 * 8, Class: class, Score: 1}},
		{"nanodet-plus: stride 64, row 1, column 0", func(b *builder) []string {
			return []string{b.freeRows([]int{8, 16, 32, 64}, 112, func(f string, _ int) []string {
				return []string{b.op("Sigmoid", nil, b.conv(f, 8, 80)), b.conv(f, 8, 32)}
			})}
		}, 0, func(s *Spec) []plant {
			at := (16*16 + 8*8 + 4*4 + 2) * 112
			name := s.Outputs[0].Name
			p := []plant{{name, at + class, 0.9}}
			for side, bin := range []int{0, 1, 1, 0} {
				p = append(p, plant{name, at + 80 + side*8 + bin, 60})
			}
			return p
		}, Detection{X1: 0, Y1: 0, X2: 64, Y2: 64, Class: class, Score: 0.9}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(size)
			s, err := Recognize(b.model(t, c.build(b)...), "auto")
			if err != nil {
				t.Fatal(err)
			}
			outputs := map[string]*onnx.Tensor{}
			for _, o := range s.Outputs {
				outputs[o.Name] = onnx.NewTensor(o.Dims, make([]float32, onnx.Volume(o.Dims)))
				for i := range outputs[o.Name].Data.([]float32) {
					outputs[o.Name].Data.([]float32)[i] = c.silent
				}
			}
			for _, p := range c.plants(s) {
				outputs[p.output].Data.([]float32)[p.index] = p.value
			}
			got, err := s.Decode(outputs, 0, Transform{Width: size, Height: size, ScaleX: 1, ScaleY: 1}, Options{Score: 0.1, IoU: 0.5, MultiLabel: true, TopK: 100, Keep: 10})
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 {
				t.Fatalf("found %+v: want one", got)
			}
			g, w := got[0], c.want
			if math.Abs(float64(g.X1-w.X1))+math.Abs(float64(g.Y1-w.Y1))+math.Abs(float64(g.X2-w.X2))+math.Abs(float64(g.Y2-w.Y2)) > 1e-3 ||
				g.Class != w.Class || math.Abs(float64(g.Score-w.Score)) > 1e-5 {
				t.Errorf("found %+v: want %+v", g, w)
			}
			planted(t, s, outputs, c.want)
		})
	}
}

func TestRecognizeRefuses(t *testing.T) {
	for _, c := range []struct {
		name, family string
		build        func(b *builder) []string
		code         int
		want         []string
	}{
		{"a classifier", "auto", func(b *builder) []string {
			pooled := b.reshape(b.op("GlobalAveragePool", nil, b.feature(32)), 1, 8)
			return []string{b.op("Gemm", nil, pooled, b.constant([]int{8, 10}, weight))}
		}, fault.CodeBadInput, []string{"[1 10]", "--family", "none"}},
		{"rows of another family", "fastestdet", func(b *builder) []string { return []string{b.decodedRows(true, 80)} },
			fault.CodeBadInput, []string{"objectness, box and softmax classes", "--family"}},
		{"anchors asked for as yolov8", "yolov8", func(b *builder) []string { return []string{b.decodedRows(true, 80)} },
			fault.CodeBadInput, []string{"three predictions a cell"}},
		{"no such family", "yolov99", func(b *builder) []string { return []string{b.decodedRows(true, 80)} }, fault.CodeUsage, []string{"yolov99", "picodet"}},
		{"a softmax of SSD's", "auto", func(b *builder) []string {
			boxes, scores := b.distanceBoxes(16, false)
			return []string{b.op("Transpose", perm(0, 2, 1), boxes), b.op("Softmax", axis(2), b.op("Transpose", perm(0, 2, 1), scores))}
		}, fault.CodeBadInput, []string{"--family"}},
		{"rows reshaped where they should have been transposed", "yolox", func(b *builder) []string {
			f := b.feature(32)
			return []string{b.reshape(b.concat(1, b.conv(f, 8, 4), b.conv(f, 8, 1), b.conv(f, 8, 80)), 1, 16, 85)}
		}, fault.CodeBadInput, []string{"--family yolox"}},
		{"yolov2", "auto", func(b *builder) []string { return []string{b.conv(b.feature(32), 8, 125)} },
			fault.CodeBadInput, []string{"YOLOv2", "five anchors", "--family none"}},
		{"an operator of onnxruntime's own", "auto", func(b *builder) []string {
			y := b.op("QuickGelu", nil, b.feature(32))
			b.g.Nodes[len(b.g.Nodes)-1].Domain = "com.microsoft"
			return []string{b.conv(y, 8, 5)}
		}, fault.CodeBadInput, []string{"QuickGelu", "com.microsoft"}},
		{"a second input", "auto", func(b *builder) []string {
			b.g.Inputs = append(b.g.Inputs, onnx.Value{Name: "prompt", Type: onnx.Float, Dims: []int{1, 7}})
			return []string{b.decodedRows(true, 80)}
		}, fault.CodeBadInput, []string{`"prompt"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(128)
			_, err := Recognize(b.model(t, c.build(b)...), c.family)
			if err == nil {
				t.Fatal("recognised")
			}
			if fault.Code(err) != c.code {
				t.Errorf("exit code %d: want %d", fault.Code(err), c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
		})
	}
}

func TestRecognizeNone(t *testing.T) {
	b := newBuilder(128)
	s, err := Recognize(b.model(t, b.conv(b.feature(32), 8, 5)), "none")
	if err != nil || s.Head.Coding != None || s.Width != 128 {
		t.Fatalf("%+v, %v", s, err)
	}
	if _, err := preprocess(s, noise(50, 40, 1), make([]float32, 3*128*128)); err != nil {
		t.Error(err)
	}
	if _, err := s.Decode(nil, 0, identity(), DefaultOptions()); err == nil {
		t.Error("decoded")
	}
}

func TestRecognizeNormalisationInGraph(t *testing.T) {
	for name, c := range map[string]struct {
		head func(b *builder) string
		std  float32
	}{
		"divides by 255": {func(b *builder) string { return b.op("Div", nil, "images", b.scalar(255)) }, 1},
		"multiplies":     {func(b *builder) string { return b.op("Mul", nil, "images", b.scalar(1.0/255)) }, 1},
		"mean and deviation of 0..1": {func(b *builder) string {
			centred := b.op("Sub", nil, "images", b.constant([]int{1, 3, 1, 1}, func(int) float32 { return 0.45 }))
			return b.op("Div", nil, centred, b.constant([]int{1, 3, 1, 1}, func(int) float32 { return 0.22 }))
		}, 255},
		"mean and deviation of 0..255": {func(b *builder) string {
			centred := b.op("Sub", nil, "images", b.constant([]int{1, 3, 1, 1}, func(int) float32 { return 110 }))
			return b.op("Div", nil, centred, b.constant([]int{1, 3, 1, 1}, func(int) float32 { return 57 }))
		}, 1},
		"nothing": {func(b *builder) string { return b.op("Relu", nil, "images") }, 255},
		"channels turned round by Gather": {func(b *builder) string {
			return b.op("Div", nil, b.op("Gather", axis(1), "images", b.ints(2, 1, 0)), b.scalar(255))
		}, 1},
		"channels turned round by Slice": {func(b *builder) string {
			return b.op("Slice", nil, "images", b.ints(-1), b.ints(-9), b.ints(1), b.ints(-1))
		}, 255},
	} {
		b := newBuilder(128)
		image := c.head(b)
		conv := b.op("Conv", map[string]onnx.Attr{"strides": []int64{16, 16}, "kernel_shape": []int64{16, 16}}, image, b.constant([]int{8, 3, 16, 16}, weight))
		s, err := Recognize(b.model(t, conv), "none")
		if err != nil || s.Pixels.Std[0] != c.std || s.Pixels.Mean[0] != 0 {
			t.Errorf("%s: %+v, %v: want a deviation of %g", name, s.Pixels, err, c.std)
		}
		if turned := strings.Contains(name, "turned"); err == nil && (s.Pixels.Order == "bgr") != turned {
			t.Errorf("%s: pixels in the order %s", name, s.Pixels.Order)
		}
	}
}

// TestTurnedChannels: where the graph turns the channels round, what each of them is
// normalised by goes with it.
func TestTurnedChannels(t *testing.T) {
	b := newBuilder(128)
	turned := b.op("Gather", axis(1), "images", b.ints(2, 1, 0))
	conv := b.op("Conv", map[string]onnx.Attr{"strides": []int64{16, 16}, "kernel_shape": []int64{16, 16}}, turned, b.constant([]int{8, 3, 16, 16}, weight))
	g := b.model(t, conv).Graph
	f := (&subject{walker: &walker{g: g, ix: g.Index()}}).normalised("images", PixelFormat{Order: "rgb", Mean: [3]float32{1, 2, 3}, Std: [3]float32{4, 5, 6}})
	if f.Order != "bgr" || f.Mean != [3]float32{3, 2, 1} || f.Std != [3]float32{6, 5, 4} {
		t.Errorf("%+v", f)
	}
}

func TestHeadNodesPassesDecoding(t *testing.T) {
	b := newBuilder(128)
	f := b.feature(32)
	// Weights behind QuantizeLinear and DequantizeLinear are weights still.
	w, scale, zero := b.constant([]int{6, 8, 1, 1}, weight), b.scalar(0.01), b.name()
	b.g.Init[zero] = onnx.Scalar(int8(0))
	w = b.op("DequantizeLinear", nil, b.op("QuantizeLinear", nil, w, scale, zero), scale, zero)
	head := b.op("Conv", nil, f, w)
	// A squeeze-and-excite gate after the last convolution: its layers are last
	// ones as well, and so is what it gates.
	gate := b.op("Sigmoid", nil, b.conv(b.op("GlobalAveragePool", nil, head), 6, 6))
	m := b.model(t, b.op("Mul", nil, head, gate))
	if got, want := HeadNodes(m.Graph), []string{head, b.g.Nodes[len(b.g.Nodes)-3].Outputs[0]}; !slices.Equal(got, want) {
		t.Errorf("heads %v: want %v", got, want)
	}
}

func TestMetadataNames(t *testing.T) {
	for text, want := range map[string][]string{
		`{0: 'person', 1: "driver's seat"}`: {"person", "driver's seat"},
		`{0: 'a', 10: 'k', 1: 'b'}`:         nil,
		`{0: 'a', 2: 'c', 1: 'b'}`:          {"a", "b", "c"},
		`{0: 'a', 0: 'b'}`:                  nil,
		`{'0': 'a', '1': 'b\'c'}`:           {"a", "b'c"},
		`['x', 'y']`:                        {"x", "y"},
		``:                                  nil,
		`{}`:                                nil,
		`{1: 'a'}`:                          nil,
		`{0: 'a'`:                           nil,
		`{0: 'a}`:                           nil,
		`{0: 5}`:                            nil,
		`garbage`:                           nil,
	} {
		if got := metadataNames(map[string]string{"names": text}); !slices.Equal(got, want) {
			t.Errorf("%s: %q: want %q", text, got, want)
		}
	}
	if got := metadataNames(map[string]string{"character": "text\r\ntitle\n"}); !slices.Equal(got, []string{"text", "title"}) {
		t.Errorf("a name in each line: %q", got)
	}
	if got := classNames([]string{"cat", "dog"}, 2); got[1] != "dog" {
		t.Errorf("metadata not used: %v", got)
	}
	if got := classNames([]string{"cat", "dog"}, 3); got[2] != "class2" {
		t.Errorf("too few names used: %v", got)
	}
}

func TestMetadataSize(t *testing.T) {
	for text, want := range map[string][2]int{
		"[320, 416]": {320, 416}, "[640]": {640, 640}, "512": {512, 512}, "(96,128)": {96, 128},
		"": {}, "[]": {}, "[a, b]": {}, "[1, 2, 3]": {}, "[-1, 640]": {}, "[640, 99999999]": {},
	} {
		if h, w := MetadataSize(map[string]string{"imgsz": text}); h != want[0] || w != want[1] {
			t.Errorf("%q: %dx%d, want %dx%d", text, h, w, want[0], want[1])
		}
	}
}
