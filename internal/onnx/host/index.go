package host

// Operators that pick or place elements by computed positions.

import (
	"fmt"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// position checks an index against a size; negative ones count from the end.
func position(i int64, size int) (int, error) {
	if i < -int64(size) || i >= int64(size) {
		return 0, fmt.Errorf("index %d is outside a size of %d", i, size)
	}
	if i < 0 {
		i += int64(size)
	}
	return int(i), nil
}

// dataAndIndices reads inputs 0 and 1 of the gathers and scatters.
func (c *call) dataAndIndices() (t, at *onnx.Tensor, index []int64, err error) {
	if t, err = c.input(0); err != nil {
		return
	}
	if at, err = c.input(1); err != nil {
		return
	}
	index, err = at.Ints()
	return
}

func gather(c *call) ([]*onnx.Tensor, error) {
	t, at, index, err := c.dataAndIndices()
	if err != nil {
		return nil, err
	}
	axis, err := c.axis("axis", 0, len(t.Dims))
	if err != nil {
		return nil, err
	}
	d := append(append(dims.Clone(t.Dims[:axis]), at.Dims...), t.Dims[axis+1:]...)
	n, err := dims.Count(d)
	if err != nil {
		return nil, err
	}
	outer, inner := 1, 1
	for _, s := range t.Dims[:axis] {
		outer *= s
	}
	for _, s := range t.Dims[axis+1:] {
		inner *= s
	}
	size := t.Dims[axis]
	from := make([]int, len(index))
	for i, v := range index {
		if from[i], err = position(v, size); err != nil {
			return nil, err
		}
	}
	out := make([]int, 0, n)
	for o := 0; o < outer; o++ {
		for _, f := range from {
			base := (o*size + f) * inner
			for k := 0; k < inner; k++ {
				out = append(out, base+k)
			}
		}
	}
	return one(tensor(d, take(t.Data, out, nil)), nil)
}

// along is, for every element of an index tensor of shape shape, the position
// in a tensor of shape d that has the element's coordinates but for the axis,
// where it has the index.
func along(d, shape []int, axis int, index []int64) ([]int, error) {
	if len(shape) != len(d) {
		return nil, fmt.Errorf("indices of rank %d for data of rank %d", len(shape), len(d))
	}
	for i, n := range shape {
		if i != axis && n > d[i] {
			return nil, fmt.Errorf("indices of shape %v reach outside data of shape %v", shape, d)
		}
	}
	own := dims.Strides(d)
	rest := dims.Clone(own)
	rest[axis] = 0
	out, err := walk(shape, rest, 0)
	if err != nil {
		return nil, err
	}
	for i, v := range index {
		p, err := position(v, d[axis])
		if err != nil {
			return nil, err
		}
		out[i] += p * own[axis]
	}
	return out, nil
}

func gatherElements(c *call) ([]*onnx.Tensor, error) {
	t, at, index, err := c.dataAndIndices()
	if err != nil {
		return nil, err
	}
	axis, err := c.axis("axis", 0, len(t.Dims))
	if err != nil {
		return nil, err
	}
	from, err := along(t.Dims, at.Dims, axis, index)
	if err != nil {
		return nil, err
	}
	return one(tensor(at.Dims, take(t.Data, from, nil)), nil)
}

// blocks resolves index tuples (the last axis of an index tensor) to offsets of
// blocks in data of shape d, the first batch axes of which run along with the
// indices. size is the number of elements of a block.
func blocks(d, shape []int, batch int, index []int64) (offsets []int, size int, err error) {
	if len(shape) == 0 || batch < 0 || batch >= len(shape) || batch > len(d) {
		return nil, 0, fmt.Errorf("indices of shape %v with %d batch axes", shape, batch)
	}
	tuple := shape[len(shape)-1]
	if tuple < 1 || batch+tuple > len(d) {
		return nil, 0, fmt.Errorf("index tuples of %d for data of shape %v with %d batch axes", tuple, d, batch)
	}
	batches := 1
	for i := 0; i < batch; i++ {
		if shape[i] != d[i] {
			return nil, 0, fmt.Errorf("batch axes of indices %v and data %v differ", shape, d)
		}
		batches *= d[i]
	}
	own := dims.Strides(d)
	size = 1
	for _, n := range d[batch+tuple:] {
		size *= n
	}
	offsets = make([]int, len(index)/tuple)
	for i := range offsets {
		at := 0
		if batch > 0 {
			at = i / (len(offsets) / batches) * own[batch-1]
		}
		for k, v := range index[i*tuple : (i+1)*tuple] {
			p, err := position(v, d[batch+k])
			if err != nil {
				return nil, 0, err
			}
			at += p * own[batch+k]
		}
		offsets[i] = at
	}
	return offsets, size, nil
}

func gatherND(c *call) ([]*onnx.Tensor, error) {
	t, at, index, err := c.dataAndIndices()
	if err != nil {
		return nil, err
	}
	batch := int(c.node.Int("batch_dims", 0))
	offsets, size, err := blocks(t.Dims, at.Dims, batch, index)
	if err != nil {
		return nil, err
	}
	last := len(at.Dims) - 1
	d := append(dims.Clone(at.Dims[:last]), t.Dims[batch+at.Dims[last]:]...)
	n, err := dims.Count(d)
	if err != nil {
		return nil, err
	}
	from := make([]int, 0, n)
	for _, o := range offsets {
		for k := 0; k < size; k++ {
			from = append(from, o+k)
		}
	}
	return one(tensor(d, take(t.Data, from, nil)), nil)
}

func scatterElements(c *call) ([]*onnx.Tensor, error) {
	t, at, index, err := c.dataAndIndices()
	if err != nil {
		return nil, err
	}
	updates, err := c.input(2)
	if err != nil {
		return nil, err
	}
	axis, err := c.axis("axis", 0, len(t.Dims))
	if err != nil {
		return nil, err
	}
	if !dims.Equal(updates.Dims, at.Dims) {
		return nil, fmt.Errorf("updates of shape %v for indices of shape %v", updates.Dims, at.Dims)
	}
	to, err := along(t.Dims, at.Dims, axis, index)
	if err != nil {
		return nil, err
	}
	return one(place(t, updates, to, c.node.Str("reduction", "none")))
}

func scatterND(c *call) ([]*onnx.Tensor, error) {
	t, at, index, err := c.dataAndIndices()
	if err != nil {
		return nil, err
	}
	updates, err := c.input(2)
	if err != nil {
		return nil, err
	}
	offsets, size, err := blocks(t.Dims, at.Dims, 0, index)
	if err != nil {
		return nil, err
	}
	if updates.Len() != len(offsets)*size {
		return nil, fmt.Errorf("updates of shape %v for indices of shape %v", updates.Dims, at.Dims)
	}
	to := make([]int, 0, len(offsets)*size)
	for _, o := range offsets {
		for k := 0; k < size; k++ {
			to = append(to, o+k)
		}
	}
	return one(place(t, updates, to, c.node.Str("reduction", "none")))
}

// place writes updates into a copy of t at the given positions, combining with
// what is there as reduction says.
func place(t, updates *onnx.Tensor, to []int, reduction string) (*onnx.Tensor, error) {
	if t.Type != updates.Type {
		return nil, fmt.Errorf("updates of type %s for data of type %s", updates.Type, t.Type)
	}
	if reduction == "none" {
		// Choose from data and updates laid one behind the other.
		data, err := join([]any{t.Data, updates.Data})
		if err != nil {
			return nil, err
		}
		n := t.Len()
		from := make([]int, n)
		for i := range from {
			from[i] = i
		}
		for i, p := range to {
			from[p] = n + i
		}
		return tensor(t.Dims, take(data, from, nil)), nil
	}
	op, ok := map[string]string{"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}[reduction]
	if !ok {
		return nil, fmt.Errorf("reduction %q is unknown", reduction)
	}
	if isFloat(t.Type) {
		v, _ := float64s(t)
		u, _ := float64s(updates)
		r, err := accumulate(op, v, u, to)
		if err != nil {
			return nil, err
		}
		return floats(t.Type, t.Dims, r)
	}
	v, err := t.Ints()
	if err != nil {
		return nil, err
	}
	u, err := updates.Ints()
	if err != nil {
		return nil, err
	}
	r, err := accumulate(op, v, u, to)
	if err != nil {
		return nil, err
	}
	data, err := fromInt64(t.Type, r)
	if err != nil {
		return nil, err
	}
	return tensor(t.Dims, data), nil
}

func accumulate[T int64 | float64](op string, v, u []T, to []int) ([]T, error) {
	out := append([]T(nil), v...)
	for i, p := range to {
		switch op {
		case "Add":
			out[p] += u[i]
		case "Mul":
			out[p] *= u[i]
		case "Max":
			out[p] = max(out[p], u[i])
		case "Min":
			out[p] = min(out[p], u[i])
		}
	}
	return out, nil
}

// nonZero lists the coordinates of the elements that are not zero, one column
// each.
func nonZero(c *call) ([]*onnx.Tensor, error) {
	t, err := c.input(0)
	if err != nil {
		return nil, err
	}
	v, err := float64s(t)
	if err != nil {
		return nil, err
	}
	var hits []int
	for i, x := range v {
		if x != 0 {
			hits = append(hits, i)
		}
	}
	rank := len(t.Dims)
	own := dims.Strides(t.Dims)
	out := make([]int64, rank*len(hits))
	for k, i := range hits {
		for a := 0; a < rank; a++ {
			out[a*len(hits)+k] = int64(i / own[a] % t.Dims[a])
		}
	}
	return one(tensor([]int{rank, len(hits)}, out), nil)
}

// oneHot writes values[1] where the new axis equals the index, values[0]
// elsewhere; indices outside give no hit.
func oneHot(c *call) ([]*onnx.Tensor, error) {
	at, err := c.input(0)
	if err != nil {
		return nil, err
	}
	v, err := float64s(at)
	if err != nil {
		return nil, err
	}
	depthValue, err := c.scalar(1, 0)
	if err != nil {
		return nil, err
	}
	values, err := c.input(2)
	if err != nil {
		return nil, err
	}
	if values.Len() != 2 || !(depthValue >= 0 && depthValue <= dims.MaxElements) {
		return nil, fmt.Errorf("one-hot of depth %g with values of shape %v", depthValue, values.Dims)
	}
	depth := int(depthValue)
	axis, err := c.axis("axis", -1, len(at.Dims)+1)
	if err != nil {
		return nil, err
	}
	d := append(append(dims.Clone(at.Dims[:axis]), depth), at.Dims[axis:]...)
	n, err := dims.Count(d)
	if err != nil {
		return nil, err
	}
	inner := 1
	for _, s := range at.Dims[axis:] {
		inner *= s
	}
	from := make([]int, n)
	for i, x := range v {
		k := int64(x)
		if k < 0 {
			k += int64(depth)
		}
		if k >= 0 && k < int64(depth) {
			from[(i/inner*depth+int(k))*inner+i%inner] = 1
		}
	}
	return one(tensor(d, take(values.Data, from, nil)), nil)
}
