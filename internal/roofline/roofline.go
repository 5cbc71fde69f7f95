// Package roofline estimates how long the layers of a network take on a GPU that is not
// there: the larger of operations over the peak rate and bytes over the bandwidth
// (Williams, Waterman and Patterson 2009). That is a bound from below. Real kernels reach
// a part of either, starting one takes microseconds, and small networks are made of
// little else, so what INT8 gains over FP16 in truth is less than here: for YOLOv8n an
// RTX 2060 gained 1.45 times, an RTX 3060 1.08. An estimate ranks layers; it
// promises nothing.
package roofline

import (
	"math"
	"slices"

	"trtact/internal/onnx"
)

// Layer is a layer with weights and what it has to do for one picture.
type Layer struct {
	Node       string  `json:"node"`
	Op         string  `json:"op"`
	Depthwise  bool    `json:"depthwise,omitempty"`
	Operations float64 `json:"operations"` // multiplications and additions
	Inputs     float64 `json:"inputs"`     // values read
	Weights    float64 `json:"weights"`
	Outputs    float64 `json:"outputs"`
	// channels that tensor cores pad: those of one group
	in, out float64
}

// Layers are those of a graph whose shapes are inferred, in its order. What stands
// between them counts as part of them.
func Layers(g *onnx.Graph) []Layer {
	var list []Layer
	for _, n := range g.Nodes {
		w := g.Init[n.Input(1)]
		if w == nil || !slices.Contains([]string{"Conv", "ConvTranspose", "Gemm", "MatMul"}, n.Op) || len(w.Dims) < 2 {
			continue
		}
		in, out := volume(g.Info[n.Input(0)].Dims), volume(g.Info[n.Output(0)].Dims)
		if in == 0 || out == 0 {
			continue
		}
		l := Layer{Node: n.Name, Op: n.Op, Inputs: in, Outputs: out, Weights: float64(w.Len())}
		groups := float64(max(1, n.Int("group", 1)))
		window := 1.0
		for _, d := range w.Dims[2:] {
			window *= float64(d)
		}
		switch n.Op {
		case "Conv":
			l.in, l.out = float64(w.Dims[1]), float64(w.Dims[0])/groups
			l.Operations = 2 * out * l.in * window
		case "ConvTranspose":
			l.in, l.out = float64(w.Dims[0])/groups, float64(w.Dims[1])
			l.Operations = 2 * in * l.out * window
		default:
			l.in, l.out = float64(w.Dims[len(w.Dims)-2]), float64(w.Dims[len(w.Dims)-1])
			if n.Op == "Gemm" && n.Int("transB", 0) != 0 {
				l.in, l.out = l.out, l.in
			}
			l.Operations = 2 * out * l.in
		}
		l.Depthwise = groups > 1 && l.in == 1 && l.out == 1
		list = append(list, l)
	}
	return list
}

func volume(dims []int) float64 {
	if dims == nil {
		return 0
	}
	n := 1.0
	for _, d := range dims {
		n *= float64(max(0, d))
	}
	return n
}

// The channels that tensor cores work on at once; fewer are filled up.
const (
	padINT8 = 16
	padFP16 = 8
)

// FP16 and INT8 are the least milliseconds a layer takes for one picture.
func (l Layer) FP16(g GPU) float64 {
	if l.Depthwise {
		return bound(l.Operations, g.Plain, l.bytes(2), g)
	}
	return bound(l.Operations*l.padding(padFP16), g.FP16, l.bytes(2), g)
}

func (l Layer) INT8(g GPU) float64 {
	switch {
	case !l.HasINT8(g):
		return l.FP16(g)
	case l.Depthwise:
		return bound(l.Operations, g.Plain, l.bytes(1), g)
	}
	return bound(l.Operations*l.padding(padINT8), g.INT8, l.bytes(1), g)
}

// HasINT8 says whether there is a kernel for the layer in INT8.
func (l Layer) HasINT8(g GPU) bool { return !l.Depthwise || g.DepthwiseINT8() }

// padding is how many times as much tensor cores compute, with channels filled up.
func (l Layer) padding(to float64) float64 {
	up := func(c float64) float64 { return math.Ceil(c/to) * to / math.Max(1, c) }
	return up(l.in) * up(l.out)
}

func (l Layer) bytes(each float64) float64 { return each * (l.Inputs + l.Weights + l.Outputs) }

func bound(operations, tera, bytes float64, g GPU) float64 {
	return 1e3 * math.Max(operations/(tera*1e12), bytes/(g.Bandwidth*1e9))
}
