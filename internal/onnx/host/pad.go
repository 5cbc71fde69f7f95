package host

import (
	"fmt"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// pad adds elements around a tensor (or cuts them off, for negative pads): a
// constant, the edge's, mirrored ones, or those of the other side ("wrap").
func pad(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	pads, err := c.ints(1, "pads")
	if err != nil {
		return nil, err
	}
	axes, err := c.ints(3, "")
	if err != nil {
		return nil, err
	}
	begin, end, err := dims.Pads(pads, axes, len(t.Dims))
	if err != nil {
		return nil, err
	}
	fill := c.optional(2)
	if fill == nil {
		if fill, err = cast(tensor([]int{}, []float32{c.node.Float("value", 0)}), t.Type); err != nil {
			fill = tensor([]int{}, []bool{false}) // strings and the like: take's zero
		}
	}
	if fill.Type != t.Type && fill.Type != onnx.Bool {
		return nil, fmt.Errorf("padding of type %s for data of type %s", fill.Type, t.Type)
	}
	mode := c.node.Str("mode", "constant")
	d := dims.Clone(t.Dims)
	source := make([][]int, len(d)) // along each axis; -1 for the constant
	for a, n := range t.Dims {
		if d[a] += begin[a] + end[a]; d[a] < 0 {
			return nil, fmt.Errorf("pads %v cut away more than there is", pads)
		}
		if _, err := dims.Count(d[a : a+1]); err != nil {
			return nil, err
		}
		source[a] = make([]int, d[a])
		for i := range source[a] {
			p, err := mirrored(i-begin[a], n, mode)
			if err != nil {
				return nil, err
			}
			source[a][i] = p
		}
	}
	count, err := dims.Count(d)
	if err != nil {
		return nil, err
	}
	own := dims.Strides(t.Dims)
	index := make([]int, count)
	each(d, func(i int, at []int) {
		for a, p := range at {
			if source[a][p] < 0 {
				index[i] = -1
				return
			}
			index[i] += source[a][p] * own[a]
		}
	})
	return one(tensor(d, take(t.Data, index, fill.Data)), nil)
}

// mirrored maps a position that may lie outside 0..n-1 to one inside.
func mirrored(p, n int, mode string) (int, error) {
	if p >= 0 && p < n {
		return p, nil
	}
	switch {
	case mode == "constant":
		return -1, nil
	case n == 0:
		return 0, fmt.Errorf("mode %q on an empty axis", mode)
	case mode == "edge":
		return max(0, min(p, n-1)), nil
	case mode == "reflect":
		if n == 1 {
			return 0, nil
		}
		period := 2 * (n - 1)
		if p = (p%period + period) % period; p >= n {
			p = period - p
		}
		return p, nil
	case mode == "wrap":
		return (p%n + n) % n, nil
	}
	return 0, fmt.Errorf("mode %q is unknown", mode)
}
