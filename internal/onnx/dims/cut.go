package dims

// Shapes of the operators that cut tensors apart, join and pad them.

import (
	"fmt"
	"math"

	"trtact/internal/onnx"
)

// Range is one axis of a Slice: elements Start, Start+Step, ... Length of them.
type Range struct{ Start, Step, Length int }

// Slice gives, for every axis of a tensor, what a Slice keeps. axes and steps
// may be nil. Sliced axes of unknown size come out with Length Dynamic.
func Slice(in []int, starts, ends, axes, steps []int64) ([]Range, error) {
	out := make([]Range, len(in))
	for i, n := range in {
		out[i] = Range{0, 1, n}
	}
	if len(ends) != len(starts) || (axes != nil && len(axes) != len(starts)) || (steps != nil && len(steps) != len(starts)) {
		return nil, fmt.Errorf("slice has %d starts, %d ends, %d axes, %d steps", len(starts), len(ends), len(axes), len(steps))
	}
	if axes == nil && len(starts) > len(in) {
		return nil, fmt.Errorf("slice has %d starts for rank %d", len(starts), len(in))
	}
	if _, err := Axes(axes, len(in)); err != nil {
		return nil, err
	}
	for i := range starts {
		axis := i
		if axes != nil {
			axis, _ = Axis(axes[i], len(in))
		}
		step := int64(1)
		if steps != nil {
			step = steps[i]
		}
		if step == 0 {
			return nil, fmt.Errorf("slice has step 0 on axis %d", axis)
		}
		step = clamp(step, -math.MaxInt32, math.MaxInt32) // a larger step keeps one element just so
		if in[axis] < 0 {
			out[axis] = Range{0, int(step), onnx.Dynamic}
			continue
		}
		n := int64(in[axis])
		from, to := starts[i], ends[i]
		if from < 0 {
			from += n
		}
		if to < 0 && to >= -n {
			to += n
		} else if to < -n {
			to = -1
		}
		length := int64(0)
		if step > 0 {
			from, to = clamp(from, 0, n), clamp(to, 0, n)
			if to > from {
				length = (to - from + step - 1) / step
			}
		} else {
			from, to = clamp(from, 0, n-1), clamp(to, -1, n-1)
			if from > to && n > 0 {
				length = (from - to - step - 1) / -step
			}
		}
		out[axis] = Range{int(from), int(step), int(length)}
	}
	return out, nil
}

func clamp(v, lo, hi int64) int64 { return max(lo, min(v, hi)) }

// Concat joins shapes along an axis.
func Concat(shapes [][]int, axis int64) ([]int, int, error) {
	if len(shapes) == 0 {
		return nil, 0, fmt.Errorf("nothing to concatenate")
	}
	at, err := Axis(axis, len(shapes[0]))
	if err != nil {
		return nil, 0, err
	}
	out := Clone(shapes[0])
	for _, d := range shapes[1:] {
		if len(d) != len(out) {
			return nil, 0, fmt.Errorf("shapes %v to concatenate differ in rank", shapes)
		}
		for i, n := range d {
			switch {
			case i == at:
				if n < 0 || out[i] < 0 {
					out[i] = onnx.Dynamic
				} else {
					out[i] += n
				}
			case out[i] < 0:
				out[i] = n
			case n >= 0 && n != out[i]:
				return nil, 0, fmt.Errorf("shapes %v to concatenate on axis %d differ on axis %d: %d against %d", shapes, at, i, out[i], n)
			}
		}
	}
	return out, at, nil
}

// Split divides size total over parts outputs: by the given sizes, or evenly
// with a smaller last one (the num_outputs form, opset 18; before that the
// division has to be exact).
func Split(total int, sizes []int64, parts int, uneven bool) ([]int, error) {
	out := make([]int, parts)
	if sizes != nil {
		if len(sizes) != parts {
			return nil, fmt.Errorf("split has %d sizes for %d outputs", len(sizes), parts)
		}
		sum := int64(0)
		for i, n := range sizes {
			if n < 0 || n > math.MaxInt32 {
				return nil, fmt.Errorf("split has the size %d", n)
			}
			out[i] = int(n)
			sum += n
		}
		if total >= 0 && sum != int64(total) {
			return nil, fmt.Errorf("split sizes %v do not add up to %d", sizes, total)
		}
		return out, nil
	}
	if parts == 0 {
		return nil, fmt.Errorf("split has no outputs")
	}
	chunk := (total + parts - 1) / parts
	for i := range out {
		switch {
		case total < 0:
			out[i] = onnx.Dynamic
		case total%parts != 0 && !uneven:
			return nil, fmt.Errorf("cannot split %d into %d equal parts", total, parts)
		default:
			out[i] = max(0, min(chunk, total-i*chunk))
		}
	}
	return out, nil
}

// Pads sorts a Pad's list (all beginnings, then all ends, of the given axes;
// nil for all axes) by axis.
func Pads(pads, axes []int64, rank int) (begin, end []int, err error) {
	begin, end = make([]int, rank), make([]int, rank)
	if axes == nil {
		axes = make([]int64, rank)
		for i := range axes {
			axes[i] = int64(i)
		}
	}
	if len(pads) != 2*len(axes) {
		return nil, nil, fmt.Errorf("%d pads for %d axes", len(pads), len(axes))
	}
	if _, err := Axes(axes, rank); err != nil {
		return nil, nil, err
	}
	for i, a := range axes {
		axis, _ := Axis(a, rank)
		for _, p := range []int64{pads[i], pads[i+len(axes)]} {
			if p < -math.MaxInt32 || p > math.MaxInt32 {
				return nil, nil, fmt.Errorf("padding by %d", p)
			}
		}
		begin[axis], end[axis] = int(pads[i]), int(pads[i+len(axes)])
	}
	return begin, end, nil
}
