package host

// Operators that run along axes: reductions, softmax, running sums, ordering.

import (
	"fmt"
	"math"
	"slices"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// reduction folds values into one: start is where it begins, step takes the
// next value in, finish makes the result of what was gathered from n values.
type reduction[T int64 | float64] struct {
	start  T
	step   func(sum, v T) T
	finish func(sum T, n int) T
}

func floatReduction(op string) (r reduction[float64], ok bool) {
	add := func(s, v float64) float64 { return s + v }
	asIs := func(s float64, _ int) float64 { return s }
	switch op {
	case "ReduceSum":
		return reduction[float64]{0, add, asIs}, true
	case "ReduceMean":
		return reduction[float64]{0, add, func(s float64, n int) float64 { return s / float64(n) }}, true
	case "ReduceMax":
		return reduction[float64]{math.Inf(-1), math.Max, asIs}, true
	case "ReduceMin":
		return reduction[float64]{math.Inf(1), math.Min, asIs}, true
	case "ReduceProd":
		return reduction[float64]{1, func(s, v float64) float64 { return s * v }, asIs}, true
	case "ReduceL1":
		return reduction[float64]{0, func(s, v float64) float64 { return s + math.Abs(v) }, asIs}, true
	case "ReduceL2":
		return reduction[float64]{0, func(s, v float64) float64 { return s + v*v }, func(s float64, _ int) float64 { return math.Sqrt(s) }}, true
	case "ReduceSumSquare":
		return reduction[float64]{0, func(s, v float64) float64 { return s + v*v }, asIs}, true
	case "ReduceLogSum":
		return reduction[float64]{0, add, func(s float64, _ int) float64 { return math.Log(s) }}, true
	}
	return r, false
}

func intReduction(op string) (r reduction[int64], ok bool) {
	add := func(s, v int64) int64 { return s + v }
	asIs := func(s int64, _ int) int64 { return s }
	switch op {
	case "ReduceSum":
		return reduction[int64]{0, add, asIs}, true
	case "ReduceMean":
		return reduction[int64]{0, add, func(s int64, n int) int64 { return s / int64(max(1, n)) }}, true
	case "ReduceMax":
		return reduction[int64]{math.MinInt64, func(s, v int64) int64 { return max(s, v) }, asIs}, true
	case "ReduceMin":
		return reduction[int64]{math.MaxInt64, func(s, v int64) int64 { return min(s, v) }, asIs}, true
	case "ReduceProd":
		return reduction[int64]{1, func(s, v int64) int64 { return s * v }, asIs}, true
	}
	return r, false
}

func reduce(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	list, err := c.ints(1, "axes")
	if err != nil {
		return nil, err
	}
	axes, err := dims.ReduceAxes(list, len(t.Dims), c.node.Int("noop_with_empty_axes", 0) != 0)
	if err != nil {
		return nil, err
	}
	if len(axes) == 0 && len(t.Dims) > 0 && len(list) == 0 {
		return one(t, nil)
	}
	out := dims.Reduce(t.Dims, axes, c.node.Int("keepdims", 1) != 0)
	to, n, err := targets(t.Dims, axes)
	if err != nil {
		return nil, err
	}
	if r, ok := intReduction(c.node.Op); ok && !isFloat(t.Type) {
		v, err := t.Ints()
		if err != nil {
			return nil, err
		}
		data, err := fromInt64(t.Type, gatherInto(r, v, to, n))
		if err != nil {
			return nil, err
		}
		return one(tensor(out, data), nil)
	}
	v, err := float64s(t)
	if err != nil {
		return nil, err
	}
	if c.node.Op == "ReduceLogSumExp" {
		return one(floats(t.Type, out, logSumExp(v, to, n)))
	}
	r, ok := floatReduction(c.node.Op)
	if !ok {
		return nil, fmt.Errorf("unknown reduction")
	}
	return one(floats(t.Type, out, gatherInto(r, v, to, n)))
}

// targets is, for every element of a tensor of shape d, the index of the result
// that it goes into, and the number of results.
func targets(d, axes []int) (to []int, results int, err error) {
	kept := dims.Reduce(d, axes, true)
	if results, err = dims.Count(kept); err != nil {
		return nil, 0, err
	}
	strides := dims.Strides(kept)
	for _, a := range axes {
		strides[a] = 0
	}
	to, err = walk(d, strides, 0)
	return to, results, err
}

func gatherInto[T int64 | float64](r reduction[T], v []T, to []int, n int) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = r.start
	}
	for i, x := range v {
		out[to[i]] = r.step(out[to[i]], x)
	}
	if n > 0 {
		for i := range out {
			out[i] = r.finish(out[i], len(v)/n)
		}
	}
	return out
}

// logSumExp subtracts the largest value before taking exponentials.
func logSumExp(v []float64, to []int, n int) []float64 {
	top := make([]float64, n)
	for i := range top {
		top[i] = math.Inf(-1)
	}
	for i, x := range v {
		top[to[i]] = math.Max(top[to[i]], x)
	}
	sum := make([]float64, n)
	for i, x := range v {
		if !math.IsInf(top[to[i]], -1) {
			sum[to[i]] += math.Exp(x - top[to[i]])
		}
	}
	for i := range sum {
		sum[i] = math.Log(sum[i]) + max(top[i], -math.MaxFloat64)
	}
	return sum
}

// lines cuts a shape at an axis: outer x size x inner.
func lines(d []int, axis int) (outer, size, inner int) {
	outer, inner = 1, 1
	for _, n := range d[:axis] {
		outer *= n
	}
	for _, n := range d[axis+1:] {
		inner *= n
	}
	return outer, d[axis], inner
}

// softmax serves Softmax and LogSoftmax. Before opset 13 all axes from the axis
// on are one.
func softmax(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	d := t.Dims
	var axis int
	if c.opset < 13 {
		if d, err = dims.Flatten(d, c.node.Int("axis", 1)); err != nil {
			return nil, err
		}
		axis = 1
	} else if axis, err = c.axis("axis", -1, len(d)); err != nil {
		return nil, err
	}
	v, err := float64s(t)
	if err != nil {
		return nil, err
	}
	outer, size, inner := lines(d, axis)
	out := make([]float64, len(v))
	for o := 0; o < outer; o++ {
		for k := 0; k < inner; k++ {
			at := func(i int) int { return (o*size+i)*inner + k }
			top, sum := math.Inf(-1), 0.0
			for i := 0; i < size; i++ {
				top = math.Max(top, v[at(i)])
			}
			for i := 0; i < size; i++ {
				sum += math.Exp(v[at(i)] - top)
			}
			for i := 0; i < size; i++ {
				if c.node.Op == "LogSoftmax" {
					out[at(i)] = v[at(i)] - top - math.Log(sum)
				} else {
					out[at(i)] = math.Exp(v[at(i)]-top) / sum
				}
			}
		}
	}
	return one(floats(t.Type, t.Dims, out))
}

// argMax serves ArgMax and ArgMin.
func argMax(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	axis, err := c.axis("axis", 0, len(t.Dims))
	if err != nil {
		return nil, err
	}
	v, err := float64s(t)
	if err != nil {
		return nil, err
	}
	last := c.node.Int("select_last_index", 0) != 0
	outer, size, inner := lines(t.Dims, axis)
	if size == 0 {
		return nil, fmt.Errorf("axis %d is empty", axis)
	}
	out := make([]int64, 0, outer*inner)
	for o := 0; o < outer; o++ {
		for k := 0; k < inner; k++ {
			best := 0
			for i := 1; i < size; i++ {
				x, y := v[(o*size+i)*inner+k], v[(o*size+best)*inner+k]
				if c.node.Op == "ArgMin" {
					x, y = -x, -y
				}
				if x > y || last && x == y {
					best = i
				}
			}
			out = append(out, int64(best))
		}
	}
	return one(tensor(dims.Reduce(t.Dims, []int{axis}, c.node.Int("keepdims", 1) != 0), out), nil)
}

func cumSum(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	at, err := c.scalar(1, 0)
	if err != nil {
		return nil, err
	}
	axis, err := dims.Axis(int64(at), len(t.Dims))
	if err != nil {
		return nil, err
	}
	exclusive, reverse := c.node.Int("exclusive", 0) != 0, c.node.Int("reverse", 0) != 0
	if isFloat(t.Type) {
		v, _ := float64s(t)
		return one(floats(t.Type, t.Dims, running(v, t.Dims, axis, exclusive, reverse)))
	}
	v, err := t.Ints()
	if err != nil {
		return nil, err
	}
	data, err := fromInt64(t.Type, running(v, t.Dims, axis, exclusive, reverse))
	if err != nil {
		return nil, err
	}
	return one(tensor(t.Dims, data), nil)
}

func running[T int64 | float64](v []T, d []int, axis int, exclusive, reverse bool) []T {
	outer, size, inner := lines(d, axis)
	out := make([]T, len(v))
	for o := 0; o < outer; o++ {
		for k := 0; k < inner; k++ {
			var sum T
			for i := 0; i < size; i++ {
				p := i
				if reverse {
					p = size - 1 - i
				}
				at := (o*size+p)*inner + k
				if exclusive {
					out[at] = sum
					sum += v[at]
				} else {
					sum += v[at]
					out[at] = sum
				}
			}
		}
	}
	return out
}

// topK gives the k largest (or smallest) elements along an axis and their
// indices; of equal elements the first comes first.
func topK(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	axis, err := c.axis("axis", -1, len(t.Dims))
	if err != nil {
		return nil, err
	}
	list, err := c.ints(1, "")
	if err != nil {
		return nil, err
	}
	want := c.node.Int("k", 0)
	if len(list) == 1 {
		want = list[0]
	}
	outer, size, inner := lines(t.Dims, axis)
	if want < 0 || want > int64(size) {
		return nil, fmt.Errorf("the top %d of %d elements", want, size)
	}
	k := int(want)
	v, err := float64s(t)
	if err != nil {
		return nil, err
	}
	smallest := c.node.Int("largest", 1) == 0
	d := dims.Clone(t.Dims)
	d[axis] = k
	n, err := dims.Count(d)
	if err != nil {
		return nil, err
	}
	from, index := make([]int, n), make([]int64, n)
	order := make([]int, size)
	for o := 0; o < outer; o++ {
		for in := 0; in < inner; in++ {
			for i := range order {
				order[i] = i
			}
			slices.SortStableFunc(order, func(a, b int) int {
				x, y := v[(o*size+a)*inner+in], v[(o*size+b)*inner+in]
				if smallest {
					x, y = y, x
				}
				switch {
				case x > y:
					return -1
				case x < y:
					return 1
				}
				return 0
			})
			for i, p := range order[:k] {
				at := (o*k+i)*inner + in
				from[at], index[at] = (o*size+p)*inner+in, int64(p)
			}
		}
	}
	return []*onnx.Tensor{tensor(d, take(t.Data, from, nil)), tensor(d, index)}, nil
}
