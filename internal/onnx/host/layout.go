package host

// Operators that move elements without changing them.

import (
	"fmt"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

func reshape(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	target, err := c.ints(1, "shape")
	if err != nil {
		return nil, err
	}
	d, err := dims.Reshape(t.Dims, target, c.node.Int("allowzero", 0) != 0)
	if err != nil {
		return nil, err
	}
	return one(reshaped(t, d), nil)
}

func flatten(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	d, err := dims.Flatten(t.Dims, c.node.Int("axis", 1))
	if err != nil {
		return nil, err
	}
	return one(reshaped(t, d), nil)
}

func squeeze(c *call) ([]*onnx.Tensor, error)   { return insertAxes(c, dims.Squeeze) }
func unsqueeze(c *call) ([]*onnx.Tensor, error) { return insertAxes(c, dims.Unsqueeze) }

func insertAxes(c *call, f func([]int, []int64) ([]int, error)) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	axes, err := c.ints(1, "axes")
	if err != nil {
		return nil, err
	}
	d, err := f(t.Dims, axes)
	if err != nil {
		return nil, err
	}
	return one(reshaped(t, d), nil)
}

func transpose(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	perm, err := dims.Permutation(c.node.IntList("perm"), len(t.Dims))
	if err != nil {
		return nil, err
	}
	return one(permute(t, perm))
}

func permute(t *onnx.Tensor, perm []int) (*onnx.Tensor, error) {
	own := dims.Strides(t.Dims)
	d, s := make([]int, len(perm)), make([]int, len(perm))
	for i, p := range perm {
		d[i], s[i] = t.Dims[p], own[p]
	}
	return view(t, d, s, 0)
}

func expandTo(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	list, err := c.ints(1, "")
	if err != nil {
		return nil, err
	}
	target, err := dims.FromInt64(list)
	if err != nil {
		return nil, err
	}
	d, err := dims.Broadcast(t.Dims, target)
	if err != nil {
		return nil, err
	}
	return one(expand(t, d))
}

func tile(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	list, err := c.ints(1, "")
	if err != nil {
		return nil, err
	}
	repeats, err := dims.FromInt64(list)
	if err != nil {
		return nil, err
	}
	if len(repeats) != len(t.Dims) {
		return nil, fmt.Errorf("%d repeats for rank %d", len(repeats), len(t.Dims))
	}
	// As a view of rank 2r: (repeat, own) for every axis, repeats with stride 0.
	own := dims.Strides(t.Dims)
	var d, s, out []int
	for i, n := range t.Dims {
		d = append(d, repeats[i], n)
		s = append(s, 0, own[i])
		out = append(out, repeats[i]*n)
	}
	r, err := view(t, d, s, 0)
	if err != nil {
		return nil, err
	}
	return one(reshaped(r, out), nil)
}

func concat(c *call) ([]*onnx.Tensor, error) {
	var shapes [][]int
	var parts []any
	for i := range c.in {
		t, err := c.input(i)
		if err != nil {
			return nil, err
		}
		shapes = append(shapes, t.Dims)
		parts = append(parts, t.Data)
	}
	d, axis, err := dims.Concat(shapes, c.node.Int("axis", 1))
	if err != nil {
		return nil, err
	}
	if _, err := dims.Count(d); err != nil {
		return nil, err
	}
	data, err := join(parts)
	if err != nil {
		return nil, err
	}
	outer := 1
	for _, n := range d[:axis] {
		outer *= n
	}
	if outer == 1 {
		return one(tensor(d, data), nil)
	}
	// The joined parts lie one behind the other; take row by row from each.
	index := make([]int, 0, length(data))
	for row := 0; row < outer; row++ {
		base := 0
		for _, p := range parts {
			chunk := length(p) / outer
			for k := 0; k < chunk; k++ {
				index = append(index, base+row*chunk+k)
			}
			base += length(p)
		}
	}
	return one(tensor(d, take(data, index, nil)), nil)
}

func slice(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	var lists [4][]int64
	for i, name := range []string{"starts", "ends", "axes", "steps"} {
		if lists[i], err = c.ints(i+1, name); err != nil {
			return nil, err
		}
	}
	ranges, err := dims.Slice(t.Dims, lists[0], lists[1], lists[2], lists[3])
	if err != nil {
		return nil, err
	}
	own := dims.Strides(t.Dims)
	d, s, offset := make([]int, len(ranges)), make([]int, len(ranges)), 0
	for i, r := range ranges {
		d[i], s[i] = r.Length, r.Step*own[i]
		offset += r.Start * own[i]
	}
	return one(view(t, d, s, offset))
}

func split(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	axis, err := c.axis("axis", 0, len(t.Dims))
	if err != nil {
		return nil, err
	}
	sizes, err := c.ints(1, "split")
	if err != nil {
		return nil, err
	}
	parts, err := dims.Split(t.Dims[axis], sizes, len(c.node.Outputs), c.opset >= 18)
	if err != nil {
		return nil, err
	}
	own := dims.Strides(t.Dims)
	out := make([]*onnx.Tensor, len(parts))
	offset := 0
	for i, n := range parts {
		d := dims.Clone(t.Dims)
		d[axis] = n
		if out[i], err = view(t, d, own, offset); err != nil {
			return nil, err
		}
		offset += n * own[axis]
	}
	return out, nil
}

// depthToSpace moves blocks of channels to blocks of pixels: mode DCR takes the
// block's axes before the channel, CRD behind it.
func depthToSpace(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	d, err := dims.DepthToSpace(t.Dims, c.node.Int("blocksize", 0))
	if err != nil {
		return nil, err
	}
	b := int(c.node.Int("blocksize", 0))
	n, h, w, depth := t.Dims[0], t.Dims[2], t.Dims[3], d[1]
	six, perm := []int{n, b, b, depth, h, w}, []int{0, 3, 4, 1, 5, 2}
	if c.node.Str("mode", "DCR") == "CRD" {
		six, perm = []int{n, depth, b, b, h, w}, []int{0, 1, 4, 2, 5, 3}
	}
	r, err := permute(reshaped(t, six), perm)
	if err != nil {
		return nil, err
	}
	return one(reshaped(r, d), nil)
}

func spaceToDepth(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	d, err := dims.SpaceToDepth(t.Dims, c.node.Int("blocksize", 0))
	if err != nil {
		return nil, err
	}
	b := int(c.node.Int("blocksize", 0))
	six := []int{t.Dims[0], t.Dims[1], d[2], b, d[3], b}
	r, err := permute(reshaped(t, six), []int{0, 3, 5, 1, 2, 4})
	if err != nil {
		return nil, err
	}
	return one(reshaped(r, d), nil)
}
