package shape

// Sizes that a node stores for one image, written anew for more.

import (
	"math"
	"slices"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// rewrite replaces the sizes that a node stores, so that its output has the
// images at p; false where it stores none.
func (s *step) rewrite(p place) bool {
	if p < alike || len(s.made) == 0 || !dims.Static(s.made[0].Dims) {
		return false
	}
	want := s.scaled(s.made[0].Dims, p)
	sizes := make([]int64, len(want))
	for i, n := range want {
		sizes[i] = int64(n)
	}
	switch s.n.Op {
	case "Expand":
		s.set(1, onnx.Vector(sizes...))
		return true
	case "Reshape":
		target, known, err := s.list(1, "shape")
		if !known || err != nil || slices.Contains(sizes, 0) {
			return false
		}
		for i, n := range target {
			if n == -1 {
				sizes[i] = -1 // as it was: still what is left
			}
		}
		if len(s.in) > 1 {
			s.set(1, onnx.Vector(sizes...))
		} else {
			s.edit()
			s.n.Set("shape", sizes)
		}
		return true
	case "Resize":
		return p >= 0 && s.rewriteList(3, "", s.n.IntList("axes"), p, int64(want[p]))
	case "Slice":
		axes, _, err := s.list(3, "axes")
		return p >= 0 && err == nil && s.rewriteList(2, "ends", axes, p, math.MaxInt64)
	}
	return false
}

// rewriteList changes the entry for one axis in a list of sizes, an input or an
// attribute; axes says which axes the list is for, nil for all.
func (s *step) rewriteList(i int, attr string, axes []int64, p place, v int64) bool {
	list, known, err := s.list(i, attr)
	at := int(p)
	if axes != nil {
		at = slices.IndexFunc(axes, func(a int64) bool {
			axis, err := dims.Axis(a, s.rank())
			return err == nil && axis == int(p)
		})
	}
	if !known || err != nil || at < 0 || at >= len(list) {
		return false
	}
	list = slices.Clone(list)
	list[at] = v
	if i < len(s.in) && s.in[i].Name != "" {
		s.set(i, onnx.Vector(list...))
	} else {
		s.edit()
		s.n.Set(attr, list)
	}
	return true
}
