package nn

import (
	"math"
	"slices"

	"trtact/internal/compute"
	"trtact/internal/onnx"
)

// lowerResize makes the interpolation tables of ONNX's Resize: modes nearest,
// linear and cubic with all coordinate transformations but tf_crop_and_resize.
func lowerResize(b *builder, n *onnx.Node) error {
	in, out := b.dims(n.Inputs[0]), b.g.Info[n.Outputs[0]].Dims
	r := resizeRule{
		mode:       n.Str("mode", "nearest"),
		coordinate: n.Str("coordinate_transformation_mode", "half_pixel"),
		rounding:   n.Str("nearest_mode", "round_prefer_floor"),
		cubic:      float64(n.Float("cubic_coeff_a", -0.75)),
		exclude:    n.Int("exclude_outside", 0) != 0,
	}
	if n.Op == "Upsample" || b.opset < 11 {
		r.coordinate, r.rounding = "asymmetric", "floor"
	}
	if len(in) < 3 || len(in) > 5 || in[0] != out[0] || in[1] != out[1] || product(out) == 0 ||
		n.Int("antialias", 0) != 0 || len(n.IntList("axes")) > 0 ||
		n.Str("keep_aspect_ratio_policy", "stretch") != "stretch" {
		return errUseHost
	}
	if !r.known() {
		return errUseHost
	}
	// Scales that were given count, even where the output's size was rounded.
	var scales []float32
	at := 2
	if n.Op == "Upsample" || b.opset < 11 {
		at = 1
	}
	if name := n.Input(at); name != "" {
		if scales = b.floats(name); scales == nil || len(scales) == len(in) && (scales[0] != 1 || scales[1] != 1) {
			return errUseHost
		}
	}
	var params compute.Resize
	for i := 2; i < len(in); i++ {
		scale := float32(out[i]) / float32(in[i])
		if len(scales) == len(in) {
			scale = scales[i]
		}
		params.Axes = append(params.Axes, r.table(in[i], out[i], scale))
	}
	src, err := b.any(n.Inputs[0])
	if err != nil {
		return err
	}
	return b.emit(params, []*tensor{src}, b.output(n.Outputs[0], src.desc.Layout))
}

type resizeRule struct {
	mode, coordinate, rounding string
	cubic                      float64
	exclude                    bool // taps outside the input have weight 0
}

func (r resizeRule) known() bool {
	return slices.Contains([]string{"nearest", "linear", "cubic"}, r.mode) &&
		slices.Contains([]string{"half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "tf_half_pixel_for_nn", "half_pixel_symmetric"}, r.coordinate) &&
		slices.Contains([]string{"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}, r.rounding)
}

// table gives each output index its source indices and weights, by the formulas
// of ONNX's operator description.
func (r resizeRule) table(in, out int, scale float32) compute.Taps {
	taps := map[string]int{"nearest": 1, "linear": 2, "cubic": 4}[r.mode]
	t := compute.Taps{N: taps}
	for o := range out {
		x := float64(r.source(float32(o), float32(in), float32(out), scale))
		switch taps {
		case 1:
			addTap(&t, in, r.round(x), 1)
		case 2:
			low := math.Floor(x)
			addTap(&t, in, low, 1-(x-low))
			addTap(&t, in, low+1, x-low)
		default:
			low := math.Floor(x)
			w := r.cubicWeights(x - low)
			if r.exclude {
				sum := 0.0
				for k := range w {
					if p := low + float64(k) - 1; p < 0 || p >= float64(in) {
						w[k] = 0
					}
					sum += w[k]
				}
				for k := range w {
					w[k] /= sum
				}
			}
			for k := range w {
				addTap(&t, in, low+float64(k)-1, w[k])
			}
		}
	}
	return t
}

// source is the place in the input that an output index is taken from. It is
// computed in single precision, as onnxruntime does: (3 + 0.5)/0.7 - 0.5 is a tie
// in single precision and just above one in double.
func (r resizeRule) source(o, in, out, scale float32) float32 {
	switch r.coordinate {
	case "asymmetric":
		return o / scale
	case "align_corners":
		if out == 1 {
			return 0
		}
		return o * (in - 1) / (out - 1)
	case "pytorch_half_pixel":
		if out == 1 {
			return 0
		}
	case "tf_half_pixel_for_nn":
		return (o + 0.5) / scale
	case "half_pixel_symmetric":
		// What rounding the output's size has cut off, half on each side. Only
		// the shift is single there.
		shift := in / 2 * (1 - out/(scale*in))
		return float32(float64(shift) + (float64(o)+0.5)/float64(scale) - 0.5)
	}
	return (o+0.5)/scale - 0.5
}

func (r resizeRule) round(x float64) float64 {
	switch r.rounding {
	case "floor":
		return math.Floor(x)
	case "ceil":
		return math.Ceil(x)
	case "round_prefer_ceil":
		return math.Floor(x + 0.5)
	}
	return math.Ceil(x - 0.5)
}

// cubicWeights is Keys' kernel (1981) with parameter a at distances 1+d, d, 1-d
// and 2-d.
func (r resizeRule) cubicWeights(d float64) [4]float64 {
	a := r.cubic
	near := func(t float64) float64 { return ((a+2)*t-(a+3))*t*t + 1 }
	far := func(t float64) float64 { return ((a*t-5*a)*t+8*a)*t - 4*a }
	return [4]float64{far(1 + d), near(d), near(1 - d), far(2 - d)}
}

// addTap adds a source index, clamped to the input, with its weight.
func addTap(t *compute.Taps, in int, at, weight float64) {
	t.Index = append(t.Index, int32(min(max(at, 0), float64(in-1))))
	t.Weight = append(t.Weight, float32(weight))
}
