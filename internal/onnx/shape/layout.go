package shape

// Rules of the operators that move, pick and reduce elements.

import (
	"fmt"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

func reshape(c *call) ([]result, error) {
	in := c.in[0]
	target, known, err := c.list(1, "shape")
	if err != nil {
		return nil, err
	}
	if !known {
		return one(in.Type, c.rankFrom(1), nil)
	}
	d, err := dims.Reshape(in.Dims, target, c.n.Int("allowzero", 0) != 0)
	return one(in.Type, d, err)
}

func flatten(c *call) ([]result, error) {
	d, err := dims.Flatten(c.in[0].Dims, c.n.Int("axis", 1))
	return one(c.in[0].Type, d, err)
}

func squeeze(c *call) ([]result, error) {
	axes, known, err := c.list(1, "axes")
	if err != nil || !known {
		return one(c.in[0].Type, nil, err)
	}
	d, err := dims.Squeeze(c.in[0].Dims, axes)
	return one(c.in[0].Type, d, err)
}

func unsqueeze(c *call) ([]result, error) {
	axes, known, err := c.list(1, "axes")
	if err != nil || !known {
		return one(c.in[0].Type, nil, err)
	}
	d, err := dims.Unsqueeze(c.in[0].Dims, axes)
	return one(c.in[0].Type, d, err)
}

func transpose(c *call) ([]result, error) {
	in := c.in[0].Dims
	perm, err := dims.Permutation(c.n.IntList("perm"), len(in))
	if err != nil {
		return nil, err
	}
	d := make([]int, len(in))
	for i, p := range perm {
		d[i] = in[p]
	}
	return one(c.in[0].Type, d, nil)
}

func expand(c *call) ([]result, error) {
	list, known, err := c.list(1, "")
	if err != nil {
		return nil, err
	}
	if !known {
		target := c.rankFrom(1)
		if target == nil {
			return one(c.in[0].Type, nil, nil)
		}
		d, err := dims.Broadcast(c.in[0].Dims, target)
		return one(c.in[0].Type, d, err)
	}
	target, err := dims.FromInt64(list)
	if err != nil {
		return nil, err
	}
	d, err := dims.Broadcast(c.in[0].Dims, target)
	return one(c.in[0].Type, d, err)
}

func tile(c *call) ([]result, error) {
	in := c.in[0]
	list, known, err := c.list(1, "")
	if err != nil {
		return nil, err
	}
	if !known {
		return one(in.Type, dynamic(len(in.Dims)), nil)
	}
	repeats, err := dims.FromInt64(list)
	if err != nil {
		return nil, err
	}
	if len(repeats) != len(in.Dims) {
		return nil, fmt.Errorf("%d repeats for rank %d", len(repeats), len(in.Dims))
	}
	d := dims.Clone(in.Dims)
	for i, r := range repeats {
		if d[i] >= 0 {
			d[i] *= r
		}
	}
	return one(in.Type, d, nil)
}

func concat(c *call) ([]result, error) {
	for _, v := range c.in {
		if v.Type != c.in[0].Type && v.Type != onnx.Undefined && c.in[0].Type != onnx.Undefined {
			return nil, fmt.Errorf("the inputs differ in type")
		}
	}
	d, _, err := dims.Concat(c.shapes(), c.n.Int("axis", 1))
	return one(c.in[0].Type, d, err)
}

func slice(c *call) ([]result, error) {
	in := c.in[0]
	var lists [4][]int64
	all := true
	for i, name := range []string{"starts", "ends", "axes", "steps"} {
		list, known, err := c.list(i+1, name)
		if err != nil {
			return nil, err
		}
		lists[i] = list
		all = all && known
	}
	if !all {
		d := dims.Clone(in.Dims)
		axes := lists[2]
		if axes == nil { // which axes are cut is not known
			return one(in.Type, dynamic(len(d)), nil)
		}
		for _, a := range axes {
			axis, err := dims.Axis(a, len(d))
			if err != nil {
				return nil, err
			}
			d[axis] = onnx.Dynamic
		}
		return one(in.Type, d, nil)
	}
	ranges, err := dims.Slice(in.Dims, lists[0], lists[1], lists[2], lists[3])
	if err != nil {
		return nil, err
	}
	d := make([]int, len(ranges))
	for i, r := range ranges {
		d[i] = r.Length
	}
	return one(in.Type, d, nil)
}

func split(c *call) ([]result, error) {
	in := c.in[0]
	axis, err := dims.Axis(c.n.Int("axis", 0), len(in.Dims))
	if err != nil {
		return nil, err
	}
	sizes, known, err := c.list(1, "split")
	if err != nil {
		return nil, err
	}
	parts := make([]int, len(c.n.Outputs))
	for i := range parts {
		parts[i] = onnx.Dynamic
	}
	if known {
		if parts, err = dims.Split(in.Dims[axis], sizes, len(c.n.Outputs), c.opset >= 18); err != nil {
			return nil, err
		}
	}
	out := make([]result, len(parts))
	for i, n := range parts {
		d := dims.Clone(in.Dims)
		d[axis] = n
		out[i] = result{in.Type, d}
	}
	return out, nil
}

func pad(c *call) ([]result, error) {
	in := c.in[0]
	name := "pads"
	if c.n.IntList(name) == nil && c.n.Has("paddings") {
		name = "paddings"
	}
	pads, known, err := c.list(1, name)
	if err != nil {
		return nil, err
	}
	axes, knownAxes, err := c.list(3, "")
	if err != nil {
		return nil, err
	}
	if !known || !knownAxes {
		return one(in.Type, dynamic(len(in.Dims)), nil)
	}
	begin, end, err := dims.Pads(pads, axes, len(in.Dims))
	if err != nil {
		return nil, err
	}
	d := dims.Clone(in.Dims)
	for i := range d {
		if d[i] < 0 {
			continue
		}
		if d[i] += begin[i] + end[i]; d[i] < 0 {
			return nil, fmt.Errorf("pads %v cut away more than there is", pads)
		}
	}
	return one(in.Type, d, nil)
}

func depthToSpace(c *call) ([]result, error) {
	d, err := dims.DepthToSpace(c.in[0].Dims, c.n.Int("blocksize", 0))
	return one(c.in[0].Type, d, err)
}

func spaceToDepth(c *call) ([]result, error) {
	d, err := dims.SpaceToDepth(c.in[0].Dims, c.n.Int("blocksize", 0))
	return one(c.in[0].Type, d, err)
}

func resize(c *call) ([]result, error) {
	in := c.in[0]
	r, err := c.resized()
	if err != nil {
		return nil, err
	}
	if r == nil {
		return one(in.Type, dynamic(len(in.Dims)), nil)
	}
	return one(in.Type, r.Out, nil)
}

// resized resolves Upsample (scales as attribute or input 1), Resize 10 (scales
// as input 1) and Resize 11 and later (roi, scales, sizes); nil where one of these
// is not known.
func (c *call) resized() (*dims.Resized, error) {
	scales, sizes, roi := 1, -1, -1
	if c.n.Op == "Resize" && c.opset >= 11 {
		roi, scales, sizes = 1, 2, 3
	}
	floats := func(i int) ([]float64, bool) {
		if i < 0 || i >= len(c.in) || c.in[i].Name == "" {
			return nil, true
		}
		if c.value[i] == nil {
			return nil, false
		}
		return float64s(c.value[i].Floats()), true
	}
	factor, known := floats(scales)
	if factor == nil && known && c.n.Has("scales") {
		factor = float64s(c.n.FloatList("scales"))
	}
	crop, knownCrop := floats(roi)
	var size []int64
	knownSize := true
	if sizes >= 0 {
		var err error
		if size, knownSize, err = c.list(sizes, ""); err != nil {
			return nil, err
		}
	}
	if !known || !knownSize || !knownCrop {
		return nil, nil
	}
	return dims.Resize(c.n, c.in[0].Dims, factor, size, crop)
}

func float64s(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

func gather(c *call) ([]result, error) {
	in, at := c.in[0].Dims, c.in[1].Dims
	axis, err := dims.Axis(c.n.Int("axis", 0), len(in))
	if err != nil {
		return nil, err
	}
	d := append(append(dims.Clone(in[:axis]), at...), in[axis+1:]...)
	return one(c.in[0].Type, d, nil)
}

func gatherElements(c *call) ([]result, error) {
	if len(c.in[0].Dims) != len(c.in[1].Dims) {
		return nil, fmt.Errorf("indices and data differ in rank")
	}
	return one(c.in[0].Type, c.in[1].Dims, nil)
}

func gatherND(c *call) ([]result, error) {
	in, at := c.in[0].Dims, c.in[1].Dims
	batch := int(c.n.Int("batch_dims", 0))
	last := len(at) - 1
	if last < 0 || batch < 0 || batch > last {
		return nil, fmt.Errorf("indices of shape %v with %d batch axes", at, batch)
	}
	if at[last] < 0 {
		return one(c.in[0].Type, nil, nil)
	}
	if batch+at[last] > len(in) {
		return nil, fmt.Errorf("index tuples of %d with %d batch axes for rank %d", at[last], batch, len(in))
	}
	return one(c.in[0].Type, append(dims.Clone(at[:last]), in[batch+at[last]:]...), nil)
}

func nonZero(c *call) ([]result, error) {
	return one(onnx.Int64, []int{len(c.in[0].Dims), onnx.Dynamic}, nil)
}

func oneHot(c *call) ([]result, error) {
	in := c.in[0].Dims
	axis, err := dims.Axis(c.n.Int("axis", -1), len(in)+1)
	if err != nil {
		return nil, err
	}
	depth := onnx.Dynamic
	if v := c.value[1]; v != nil && v.Len() == 1 {
		if depth = int(v.Floats()[0]); depth < 0 {
			return nil, fmt.Errorf("depth %d", depth)
		}
	}
	d := append(append(dims.Clone(in[:axis]), depth), in[axis:]...)
	return one(c.in[2].Type, d, nil)
}

func topK(c *call) ([]result, error) {
	in := c.in[0]
	axis, err := dims.Axis(c.n.Int("axis", -1), len(in.Dims))
	if err != nil {
		return nil, err
	}
	d := dims.Clone(in.Dims)
	d[axis] = onnx.Dynamic
	if c.n.Has("k") {
		d[axis] = int(c.n.Int("k", 0))
	} else if list, known, err := c.list(1, ""); err != nil {
		return nil, err
	} else if known && len(list) == 1 {
		d[axis] = int(list[0])
	}
	if in.Dims[axis] >= 0 && d[axis] > in.Dims[axis] || d[axis] < onnx.Dynamic {
		return nil, fmt.Errorf("the top %d of %d elements", d[axis], in.Dims[axis])
	}
	return []result{{in.Type, d}, {onnx.Int64, d}}, nil
}

// nonMaxSuppression has one row (batch, class, box) for each box kept, known
// only when it runs.
func nonMaxSuppression(c *call) ([]result, error) {
	return one(onnx.Int64, []int{onnx.Dynamic, 3}, nil)
}

func argMax(c *call) ([]result, error) {
	axis, err := dims.Axis(c.n.Int("axis", 0), len(c.in[0].Dims))
	if err != nil {
		return nil, err
	}
	return one(onnx.Int64, dims.Reduce(c.in[0].Dims, []int{axis}, c.n.Int("keepdims", 1) != 0), nil)
}

func reduce(c *call) ([]result, error) {
	in := c.in[0]
	list, known, err := c.list(1, "axes")
	if err != nil {
		return nil, err
	}
	keep := c.n.Int("keepdims", 1) != 0
	if !known {
		if keep {
			return one(in.Type, dynamic(len(in.Dims)), nil)
		}
		return one(in.Type, nil, nil)
	}
	axes, err := dims.ReduceAxes(list, len(in.Dims), c.n.Int("noop_with_empty_axes", 0) != 0)
	if err != nil {
		return nil, err
	}
	return one(in.Type, dims.Reduce(in.Dims, axes, keep), nil)
}
