package host

// Resize and Upsample. Every mode is separable, so the axes are done one after
// the other: each output position is a weighted sum of a few input positions.

import (
	"fmt"
	"math"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// sampling says how one axis is resized.
type sampling struct {
	coordinates string // attribute coordinate_transformation_mode
	mode        string // nearest, linear, cubic
	nearest     string // attribute nearest_mode
	cubicA      float64
	excludes    bool // attribute exclude_outside
	antialias   bool
	start, end  float64 // of the crop, as fractions, for tf_crop_and_resize
}

// original is the input coordinate of output position x, for sizes in and out
// and the scale out/in that the operator was told. It is computed in single
// precision, as onnxruntime does: (3 + 0.5)/0.7 - 0.5 is a tie between two pixels
// in single precision and just above one in double.
func (s *sampling) original(x, in, out int, told float64) float64 {
	p, scale := float32(x), float32(told)
	switch s.coordinates {
	case "asymmetric":
		return float64(p / scale)
	case "align_corners":
		if out == 1 {
			return 0
		}
		return float64(p * float32(in-1) / float32(out-1))
	case "pytorch_half_pixel":
		if out == 1 {
			return 0
		}
	case "tf_half_pixel_for_nn":
		return float64((p + 0.5) / scale)
	case "half_pixel_symmetric":
		// The output may be a fraction of a pixel shorter than scale*in. Only
		// the shift is single there.
		shift := float32(in) / 2 * (1 - float32(out)/(scale*float32(in)))
		return float64(float32(float64(shift) + (float64(p)+0.5)/float64(scale) - 0.5))
	case "tf_crop_and_resize":
		if out == 1 {
			return 0.5 * (s.start + s.end) * float64(in-1)
		}
		return s.start*float64(in-1) + float64(x)*(s.end-s.start)*float64(in-1)/float64(out-1)
	}
	return float64((p+0.5)/scale - 0.5)
}

// tap is one input position with its weight.
type tap struct {
	at     int
	weight float64
}

// taps are the input positions that output position at coordinate p sees.
func (s *sampling) taps(p float64, in int, scale float64) []tap {
	inside := func(i int) int { return max(0, min(i, in-1)) }
	if s.mode == "nearest" {
		var i float64
		switch s.nearest {
		case "round_prefer_ceil":
			i = math.Floor(p + 0.5)
		case "floor":
			i = math.Floor(p)
		case "ceil":
			i = math.Ceil(p)
		default: // round_prefer_floor
			i = math.Ceil(p - 0.5)
		}
		return []tap{{inside(int(i)), 1}}
	}
	filter, reach := func(t float64) float64 { return math.Max(0, 1-math.Abs(t)) }, 1.0
	if s.mode == "cubic" {
		filter, reach = s.cubic, 2
	}
	stretch := 1.0
	if s.antialias && scale < 1 { // a wider filter, as wide as an output pixel
		stretch = scale
	}
	reach /= stretch
	var list []tap
	sum := 0.0
	for i := int(math.Floor(p-reach)) + 1; float64(i) < p+reach; i++ {
		w := filter((float64(i) - p) * stretch)
		if (i < 0 || i >= in) && s.excludes {
			continue
		}
		list = append(list, tap{inside(i), w})
		sum += w
	}
	for i := range list {
		list[i].weight /= sum
	}
	return list
}

// cubic is Keys' convolution kernel with parameter a.
func (s *sampling) cubic(t float64) float64 {
	a := s.cubicA
	switch t = math.Abs(t); {
	case t <= 1:
		return ((a+2)*t-(a+3))*t*t + 1
	case t < 2:
		return ((a*t-5*a)*t+8*a)*t - 4*a
	}
	return 0
}

func resize(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	scales, sizes, roi, err := c.resizeInputs()
	if err != nil {
		return nil, err
	}
	r, err := dims.Resize(c.node, t.Dims, scales, sizes, roi)
	if err != nil {
		return nil, err
	}
	n, err := dims.Count(r.Out)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return one(floats(t.Type, r.Out, nil))
	}
	s := sampling{
		coordinates: c.node.Str("coordinate_transformation_mode", "half_pixel"),
		mode:        c.node.Str("mode", "nearest"),
		nearest:     c.node.Str("nearest_mode", "round_prefer_floor"),
		cubicA:      float64(c.node.Float("cubic_coeff_a", -0.75)),
		excludes:    c.node.Int("exclude_outside", 0) != 0,
		antialias:   c.node.Int("antialias", 0) != 0,
	}
	if s.mode == "bilinear" {
		s.mode = "linear"
	}
	if s.mode != "nearest" && s.mode != "linear" && s.mode != "cubic" {
		return nil, fmt.Errorf("mode %q is unknown", s.mode)
	}
	if c.opset < 11 || c.node.Op == "Upsample" {
		s.coordinates, s.nearest = "asymmetric", "floor"
	}
	crop, err := cropOf(c.node, roi, len(t.Dims))
	if err != nil {
		return nil, err
	}
	v, err := float64s(t)
	if err != nil {
		return nil, err
	}
	d := dims.Clone(t.Dims)
	outside := make([][]bool, len(d))
	for _, a := range shrinkingFirst(d, r.Out) {
		s.start, s.end = crop[a][0], crop[a][1]
		cropped := s.coordinates == "tf_crop_and_resize" && (s.start != 0 || s.end != 1)
		if r.Out[a] == d[a] && r.Scale[a] == 1 && !cropped {
			continue
		}
		if c.opset < 11 && c.node.Op == "Resize" {
			s.nearest = map[bool]string{true: "ceil", false: "floor"}[r.Scale[a] < 1]
		}
		v, outside[a] = s.along(v, d, a, r.Out[a], r.Scale[a])
		d[a] = r.Out[a]
	}
	if s.coordinates == "tf_crop_and_resize" {
		value := float64(c.node.Float("extrapolation_value", 0))
		v = append([]float64(nil), v...)
		each(d, func(i int, at []int) {
			for a, p := range at {
				if outside[a] != nil && outside[a][p] {
					v[i] = value
				}
			}
		})
	}
	if !isFloat(t.Type) && s.mode != "nearest" {
		for i := range v {
			v[i] = math.RoundToEven(v[i])
		}
	}
	return one(floats(t.Type, d, v))
}

// shrinkingFirst orders the axes so that no tensor in between is larger than both
// the input and the output.
func shrinkingFirst(in, out []int) []int {
	var order []int
	for _, growing := range []bool{false, true} {
		for a := range in {
			if out[a] > in[a] == growing {
				order = append(order, a)
			}
		}
	}
	return order
}

// along resizes one axis to size out, and tells which output positions lie
// outside the input.
func (s *sampling) along(v []float64, d []int, axis, out int, scale float64) ([]float64, []bool) {
	outer, in, inner := lines(d, axis)
	taps := make([][]tap, out)
	outside := make([]bool, out)
	for x := range taps {
		p := s.original(x, in, out, scale)
		taps[x] = s.taps(p, in, scale)
		outside[x] = p < 0 || p > float64(in-1)
	}
	r := make([]float64, outer*out*inner)
	for o := 0; o < outer; o++ {
		for x, list := range taps {
			to := r[(o*out+x)*inner:][:inner]
			for _, tp := range list {
				from := v[(o*in+tp.at)*inner:][:inner]
				for k, value := range from {
					to[k] += tp.weight * value
				}
			}
		}
	}
	return r, outside
}

// resizeInputs reads scales, sizes and roi from where the node's version has
// them.
func (c *call) resizeInputs() (scales []float64, sizes []int64, roi []float64, err error) {
	at := 1
	if c.node.Op == "Resize" && c.opset >= 11 {
		at = 2
		if t := c.optional(1); t != nil {
			if roi, err = float64s(t); err != nil {
				return
			}
		}
		if sizes, err = c.ints(3, ""); err != nil {
			return
		}
	}
	if t := c.optional(at); t != nil {
		scales, err = float64s(t)
		return
	}
	for _, f := range c.node.FloatList("scales") {
		scales = append(scales, float64(f))
	}
	return
}

// cropOf spreads a roi over all axes: {0, 1} where it says nothing.
func cropOf(n *onnx.Node, roi []float64, rank int) ([][2]float64, error) {
	crop := make([][2]float64, rank)
	for i := range crop {
		crop[i] = [2]float64{0, 1}
	}
	if n.Str("coordinate_transformation_mode", "") != "tf_crop_and_resize" {
		return crop, nil
	}
	axes := n.IntList("axes")
	if axes == nil {
		for i := range rank {
			axes = append(axes, int64(i))
		}
	}
	if len(roi) != 2*len(axes) {
		return nil, fmt.Errorf("the region has %d values for %d axes", len(roi), len(axes))
	}
	for i, a := range axes {
		axis, err := dims.Axis(a, rank)
		if err != nil {
			return nil, err
		}
		crop[axis] = [2]float64{roi[i], roi[i+len(axes)]}
	}
	return crop, nil
}
