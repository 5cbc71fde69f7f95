package dims

// Sizes of Resize and Upsample.

import (
	"fmt"
	"math"
	"slices"

	"trtact/internal/onnx"
)

// Resized is what a Resize does on every axis of its input: the output's size
// and the factor that coordinates are divided by (output size / input size up
// to rounding, as the operator was told).
type Resized struct {
	Out   []int
	Scale []float64
}

// Resize resolves the scales or sizes of a Resize or Upsample node to the input
// shape in. One of scales and sizes is nil or empty; they name all axes, or
// those of attribute axes (opset 18). roi is for coordinate mode
// tf_crop_and_resize only, nil otherwise.
func Resize(n *onnx.Node, in []int, scales []float64, sizes []int64, roi []float64) (*Resized, error) {
	rank := len(in)
	axes := make([]int, rank)
	for i := range axes {
		axes[i] = i
	}
	if list := n.IntList("axes"); list != nil {
		axes = axes[:0]
		for _, a := range list {
			axis, err := Axis(a, rank)
			if err != nil {
				return nil, err
			}
			axes = append(axes, axis)
		}
	}
	r := &Resized{Clone(in), make([]float64, rank)}
	for i := range r.Scale {
		r.Scale[i] = 1
	}
	switch {
	case len(scales) > 0 && len(sizes) > 0:
		return nil, fmt.Errorf("both scales and sizes are given")
	case len(scales) > 0:
		if len(scales) != len(axes) {
			return nil, fmt.Errorf("%d scales for %d axes", len(scales), len(axes))
		}
		crop := n.Str("coordinate_transformation_mode", "") == "tf_crop_and_resize" && len(roi) == 2*len(axes)
		for i, s := range scales {
			if !(s > 0) || math.IsInf(s, 0) {
				return nil, fmt.Errorf("scale %g on axis %d", s, axes[i])
			}
			size := in[axes[i]]
			r.Scale[axes[i]] = s
			if size < 0 {
				if s != 1 {
					r.Out[axes[i]] = onnx.Dynamic
				}
				continue
			}
			length := float64(size) * s
			if crop {
				length *= roi[len(axes)+i] - roi[i]
			}
			if length > MaxElements {
				return nil, fmt.Errorf("scale %g on axis %d of %v is too large", s, axes[i], in)
			}
			r.Out[axes[i]] = int(math.Floor(length))
		}
	case len(sizes) > 0:
		if len(sizes) != len(axes) {
			return nil, fmt.Errorf("%d sizes for %d axes", len(sizes), len(axes))
		}
		out, err := FromInt64(sizes)
		if err != nil {
			return nil, err
		}
		ratios := make([]float64, len(axes))
		for i, a := range axes {
			if in[a] <= 0 {
				if in[a] == 0 {
					return nil, fmt.Errorf("an empty axis %d of %v cannot be resized", a, in)
				}
				ratios[i] = math.NaN() // the executor will know
			} else {
				ratios[i] = float64(out[i]) / float64(in[a])
			}
		}
		policy := n.Str("keep_aspect_ratio_policy", "stretch")
		if policy != "stretch" && len(ratios) > 0 {
			ratio := slices.Min(ratios)
			if policy == "not_smaller" {
				ratio = slices.Max(ratios)
			}
			for i, a := range axes {
				ratios[i] = ratio
				out[i] = int(math.Floor(ratio*float64(in[a]) + 0.5))
			}
		}
		for i, a := range axes {
			r.Out[a], r.Scale[a] = out[i], ratios[i]
		}
	default:
		return nil, fmt.Errorf("neither scales nor sizes are given")
	}
	return r, nil
}
