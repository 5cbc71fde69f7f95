package calib

import (
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/testenv"
)

// bottleneck is a stem, a residual block as in YOLOv5 and a head.
func bottleneck(t *testing.T) *onnx.Model {
	s := newSketch(t, 1, 3, 16, 16)
	a := s.silu("a", s.conv("c0", "x", 3, 16, 3, 1))
	b := s.silu("b", s.conv("c1", a, 16, 16, 1, 1))
	c := s.silu("c", s.conv("c2", b, 16, 16, 3, 1))
	sum := s.node("Add", "sum", nil, a, c)
	d := s.silu("d", s.conv("c3", sum, 16, 32, 1, 1))
	return s.done(s.node("Sigmoid", "out", nil, s.conv("head", d, 32, 5, 1, 1)))
}

func TestPlaceRules(t *testing.T) {
	for _, c := range []struct {
		name  string
		graph func(t *testing.T) *onnx.Model
		opt   func(o *Options)
		want  string
	}{
		{"residual and head", bottleneck, nil, `
site x -> [c0] group 0: input of Conv
site a -> [c1 sum] group 0: input of Conv, shortcut of Add
site b -> [c2] group 0: input of Conv
site sum -> [c3] group 0: input of Conv
weights c0.w [c0] axis 0 x16
weights c1.w [c1] axis 0 x16
weights c2.w [c2] axis 0 x16
weights c3.w [c3] axis 0 x32
float head: last layer of an output branch
`},
		{"no residual, head wanted, one excluded", bottleneck, func(o *Options) {
			o.Residual, o.QuantizeHeads, o.Thin, o.Exclude = false, true, true, []string{"^c1$"}
		}, `
site x -> [c0] group 0: input of Conv
site b -> [c2] group 0: input of Conv
site sum -> [c3] group 0: input of Conv
site d -> [head] group 0: input of Conv
weights c0.w [c0] axis 0 x16
weights c2.w [c2] axis 0 x16
weights c3.w [c3] axis 0 x32
weights head.w [head] axis 0 x5
float c1: excluded by pattern
`},
		{"only what is included", bottleneck, func(o *Options) { o.Include = []string{"c[12]"} }, `
site a -> [c1] group 0: input of Conv
site b -> [c2] group 0: input of Conv
weights c1.w [c1] axis 0 x16
weights c2.w [c2] axis 0 x16
float c0: not among the included layers
float c3: not among the included layers
float head: not among the included layers
`},
		{"the sum goes nowhere quantised: no quantised shortcut", bottleneck, func(o *Options) { o.Exclude = []string{"c3"} }, `
site x -> [c0] group 0: input of Conv
site a -> [c1] group 0: input of Conv
site b -> [c2] group 0: input of Conv
weights c0.w [c0] axis 0 x16
weights c1.w [c1] axis 0 x16
weights c2.w [c2] axis 0 x16
float c3: excluded by pattern
float head: last layer of an output branch
`},
		{"pool, resize and concat share a scale", pyramid, nil, `
site x -> [c0] group 0: input of Conv
site a -> [c1] group 1: input of Conv
site cat -> [c2] group 1: input of Conv
weights c0.w [c0] axis 0 x16
weights c1.w [c1] axis 0 x16
weights c2.w [c2] axis 0 x16
group 1 [a cat] via [Concat MaxPool Resize]
float head: last layer of an output branch
`},
		{"concat switched off", pyramid, func(o *Options) { o.Concat = false }, `
site x -> [c0] group 0: input of Conv
site a -> [c1] group 0: input of Conv
site cat -> [c2] group 0: input of Conv
weights c0.w [c0] axis 0 x16
weights c1.w [c1] axis 0 x16
weights c2.w [c2] axis 0 x16
float head: last layer of an output branch
`},
		{"ReLU does not share", func(t *testing.T) *onnx.Model {
			s := newSketch(t, 1, 16, 8, 8)
			s.conv("c1", "x", 16, 16, 1, 1)
			r := s.node("Relu", "r", nil, "x")
			s.conv("c2", r, 16, 16, 1, 1)
			sum := s.node("Add", "sum", nil, "c1", "c2")
			return s.done(s.conv("head", sum, 16, 16, 1, 1))
		}, nil, `
site x -> [c1] group 0: input of Conv
site r -> [c2] group 0: input of Conv
weights c1.w [c1] axis 0 x16
weights c2.w [c2] axis 0 x16
float head: last layer of an output branch
`},
		{"split of which one part is quantised", func(t *testing.T) *onnx.Model {
			s := newSketch(t, 1, 32, 8, 8)
			s.ints("sizes", 16, 16)
			s.m.Graph.Nodes = append(s.m.Graph.Nodes, &onnx.Node{Name: "split", Op: "Split", Inputs: []string{"x", "sizes"}, Outputs: []string{"p", "q"}, Attrs: map[string]onnx.Attr{"axis": int64(1)}})
			s.conv("c0", "x", 32, 16, 1, 1)
			s.conv("c1", "p", 16, 16, 1, 1)
			s.node("Concat", "cat", map[string]onnx.Attr{"axis": int64(1)}, "c0", "c1", "q")
			return s.done(s.conv("head", "cat", 48, 16, 1, 1))
		}, nil, `
site x -> [c0] group 1: input of Conv
site p -> [c1] group 1: input of Conv
weights c0.w [c0] axis 0 x16
weights c1.w [c1] axis 0 x16
group 1 [x p] via [Split]
float head: last layer of an output branch
`},
		{"depthwise, grouped, thin, squeeze-and-excite", mobile, nil, `
site x -> [c0] group 0: input of Conv
site c0 -> [grouped] group 0: input of Conv
site gated -> [c1] group 0: input of Conv
weights c0.w [c0] axis 0 x16
weights grouped.w [grouped] axis 0 x16
weights c1.w [c1] axis 0 x32
float grouped1x1: grouped convolution (2 groups, 16 output channels, kernel [1 1]) without a fast INT8 kernel
float dw: depthwise: one input scale for channels of very different range loses most accuracy, and INT8 gains least there
float se1: works on a single position (as squeeze-and-excite does): a matrix-vector product, INT8 gains nothing
float se2: works on a single position (as squeeze-and-excite does): a matrix-vector product, INT8 gains nothing
float thinout: thin: 8 output channels, INT8 kernels want 16
float thinin: thin: 8 input channels, INT8 kernels want 16
float head: last layer of an output branch
`},
		{"everything asked for", mobile, func(o *Options) {
			o.Depthwise, o.Thin, o.Pooled, o.QuantizeHeads = true, true, true, true
		}, `
site x -> [c0] group 0: input of Conv
site c0 -> [grouped] group 0: input of Conv
site grouped -> [grouped1x1] group 0: input of Conv
site grouped1x1 -> [dw] group 0: input of Conv
site pooled -> [se1] group 0: input of Conv
site se1r -> [se2] group 0: input of Conv
site gated -> [c1] group 0: input of Conv
site c1 -> [thinout] group 0: input of Conv
site thinout -> [thinin] group 0: input of Conv
site thinin -> [head] group 0: input of Conv
weights c0.w [c0] axis 0 x16
weights grouped.w [grouped] axis 0 x16
weights grouped1x1.w [grouped1x1] axis 0 x16
weights dw.w [dw] axis 0 x16
weights se1.w [se1] axis 0 x16
weights se2.w [se2] axis 0 x16
weights c1.w [c1] axis 0 x32
weights thinout.w [thinout] axis 0 x8
weights thinin.w [thinin] axis 0 x16
weights head.w [head] axis 0 x16
`},
		{"padding, transposed convolution, matrices, shared weights", func(t *testing.T) *onnx.Model {
			s := newSketch(t, 1, 16, 8, 8)
			s.ints("pads", 0, 0, 1, 1, 0, 0, 1, 1)
			s.node("Pad", "padded", nil, "x", "pads")
			s.conv("c0", "padded", 16, 16, 3, 1)
			s.random("half")
			s.node("Pad", "odd", nil, "c0", "pads", "half")
			s.conv("c1", "odd", 16, 16, 3, 1)
			s.random("up.w", 16, 24, 2, 2)
			s.node("ConvTranspose", "up", map[string]onnx.Attr{"strides": []int64{2, 2}}, "c1", "up.w")
			s.conv("twin", "up", 24, 24, 1, 1)
			s.node("Conv", "twin2", map[string]onnx.Attr{"kernel_shape": []int64{1, 1}}, "twin", "twin.w", "twin.b")
			s.ints("rows", 1, -1, 24)
			s.node("Reshape", "flat", nil, "twin2", "rows")
			s.random("mm.w", 24, 32)
			s.node("MatMul", "mm", nil, "flat", "mm.w")
			s.ints("table", -1, 32)
			s.node("Reshape", "mat", nil, "mm", "table")
			s.random("fc.w", 40, 32)
			s.node("Gemm", "fc", map[string]onnx.Attr{"transB": int64(1)}, "mat", "fc.w")
			s.node("Transpose", "fct", map[string]onnx.Attr{"perm": []int64{1, 0}}, "fc")
			s.node("MatMul", "free", nil, "fct", "fc")
			s.random("head.w", 40, 16)
			return s.done(s.node("MatMul", "head", nil, "free", "head.w"))
		}, nil, `
site x -> [padded] group 0: input of Conv
site c1 -> [up] group 0: input of ConvTranspose
site up -> [twin] group 0: input of Conv
site twin -> [twin2] group 0: input of Conv
site flat -> [mm] group 0: input of MatMul
site mat -> [fc] group 0: input of Gemm
weights c0.w [c0] axis 0 x16
weights up.w [up] axis 1 x24
weights twin.w [twin twin2] axis 0 x24
weights mm.w [mm] axis 1 x32
weights fc.w [fc] axis 0 x40
float c1: reads a Pad that does not fill with zeros
float free: its weights are not constant
float head: last layer of an output branch
`},
		{"distribution focal loss projection is no head", func(t *testing.T) *onnx.Model {
			s := newSketch(t, 1, 16, 4, 4)
			s.conv("c0", "x", 16, 16, 1, 1)
			s.conv("box", "c0", 16, 64, 1, 1)
			s.conv("cls", "c0", 16, 80, 1, 1)
			s.ints("shape", 1, 4, 16, 16)
			s.node("Reshape", "bins", nil, "box", "shape")
			s.node("Transpose", "moved", map[string]onnx.Attr{"perm": []int64{0, 2, 1, 3}}, "bins")
			s.node("Softmax", "soft", map[string]onnx.Attr{"axis": int64(1)}, "moved")
			s.conv("dfl", "soft", 16, 1, 1, 1)
			return s.done("dfl", s.node("Sigmoid", "score", nil, "cls"))
		}, nil, `
site x -> [c0] group 0: input of Conv
weights c0.w [c0] axis 0 x16
float box: last layer of an output branch
float cls: last layer of an output branch
float dfl: behind the heads: decodes their outputs
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			opt := DefaultOptions()
			if c.opt != nil {
				c.opt(&opt)
			}
			p, err := Place(c.graph(t).Graph, opt)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := describe(p), strings.TrimPrefix(c.want, "\n"); got != want {
				t.Errorf("placement is\n%swant\n%s", got, want)
			}
		})
	}
}

// pyramid has two ways from one tensor that meet again in a Concat.
func pyramid(t *testing.T) *onnx.Model {
	s := newSketch(t, 1, 3, 16, 16)
	a := s.node("Relu", "a", nil, s.conv("c0", "x", 3, 16, 3, 1))
	b := s.node("Relu", "b", nil, s.conv("c1", a, 16, 16, 1, 1))
	s.node("MaxPool", "pool", map[string]onnx.Attr{"kernel_shape": []int64{2, 2}, "strides": []int64{2, 2}}, a)
	s.m.Graph.Init["scales"] = onnx.Vector[float32](1, 1, 2, 2)
	s.node("Resize", "up", map[string]onnx.Attr{"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, "pool", "", "scales")
	s.node("Concat", "cat", map[string]onnx.Attr{"axis": int64(1)}, "up", b)
	s.conv("c2", "cat", 32, 16, 1, 1)
	return s.done(s.conv("head", s.node("Relu", "c", nil, "c2"), 16, 16, 1, 1))
}

// mobile has every kind of convolution that stays float by default.
func mobile(t *testing.T) *onnx.Model {
	s := newSketch(t, 1, 3, 8, 8)
	s.conv("c0", "x", 3, 16, 3, 1)
	s.conv("grouped", "c0", 16, 16, 3, 2)
	s.conv("grouped1x1", "grouped", 16, 16, 1, 2)
	s.conv("dw", "grouped1x1", 16, 16, 3, 16)
	s.node("GlobalAveragePool", "pooled", nil, "dw")
	s.conv("se1", "pooled", 16, 16, 1, 1)
	s.node("Relu", "se1r", nil, "se1")
	s.conv("se2", "se1r", 16, 16, 1, 1)
	s.node("HardSigmoid", "gate", nil, "se2")
	s.node("Mul", "gated", nil, "dw", "gate")
	s.conv("c1", "gated", 16, 32, 1, 1)
	s.conv("thinout", "c1", 32, 8, 1, 1)
	s.conv("thinin", "thinout", 8, 16, 1, 1)
	return s.done(s.conv("head", "thinin", 16, 16, 1, 1))
}

func TestPlaceRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  Options
		edit func(g *onnx.Graph)
		code int
		want string
	}{
		{"bad pattern", Options{Exclude: []string{"("}}, nil, fault.CodeUsage, `exclude pattern "("`},
		{"unknown head", Options{Heads: []string{"nose"}}, nil, fault.CodeUsage, `head "nose" is not a node`},
		{"already quantised", Options{}, func(g *onnx.Graph) { g.Nodes[1].Op = "QuantizeLinear" }, fault.CodeBadInput, "already has QuantizeLinear"},
		{"weights not finite", Options{}, func(g *onnx.Graph) {
			g.Init["c1.w"].Data.([]float32)[40] /= 0 * g.Init["c1.w"].Data.([]float32)[0]
		}, fault.CodeBadInput, `weights "c1.w" of node "c1": channel 2 holds a value that is not finite`},
	} {
		g := bottleneck(t).Graph
		if c.edit != nil {
			c.edit(g)
		}
		_, err := Place(g, c.opt)
		if err == nil || fault.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v (code %d), want %q (code %d)", c.name, err, fault.Code(err), c.want, c.code)
		}
	}
}

// TestPlaceRealModels counts what is quantised of real detectors.
func TestPlaceRealModels(t *testing.T) {
	for _, c := range []struct {
		model                                 string
		sites, weights, groups, skipped, head int
	}{
		{"yolov5n", 49, 57, 2, 3, 3},
		{"yolov8n_deq", 52, 57, 10, 7, 6},
		{"picodet_s_416", 62, 68, 5, 65, 4},
		{"yolov6lite_s", 66, 72, 5, 82, 8},
		{"yolov6lite_l", 68, 74, 5, 80, 8},
		{"v5lite_e_320", 40, 40, 3, 26, 3},
	} {
		m, err := onnx.Load(testenv.Data(t, "models", c.model+".onnx"))
		if err != nil {
			t.Fatal(err)
		}
		if err := shape.Infer(m, nil); err != nil {
			t.Errorf("%s: %v", c.model, err)
			continue
		}
		p, err := Place(m.Graph, DefaultOptions())
		if err != nil {
			t.Errorf("%s: %v", c.model, err)
			continue
		}
		if len(p.Sites) != c.sites || len(p.Weights) != c.weights || len(p.Groups) != c.groups || len(p.Skipped) != c.skipped || len(p.Options.Heads) != c.head {
			t.Errorf("%s: %d sites, %d weights, %d groups, %d skipped, %d heads; want %d, %d, %d, %d, %d", c.model,
				len(p.Sites), len(p.Weights), len(p.Groups), len(p.Skipped), len(p.Options.Heads), c.sites, c.weights, c.groups, c.skipped, c.head)
		}
		for _, s := range p.Skipped {
			if s.Reason == "" {
				t.Errorf("%s: %s is skipped without a reason", c.model, s.Node)
			}
		}
	}
}
