package shape

// Where operators that move values leave the images of a batch: joining, reshaping,
// transposing, repeating, slicing, picking.

import (
	"fmt"
	"slices"

	"trtact/internal/onnx/dims"
)

func concatenated(s *step) ([]place, error) {
	axis, err := dims.Axis(s.n.Int("axis", 1), s.rank())
	if err != nil {
		return nil, err
	}
	p, err := s.shared(upTo(len(s.in)), func(_ int, p place) place { return p }, func(_ int, p place) int { return int(p) })
	if err == nil && int(p) == axis {
		err = fmt.Errorf("it joins along axis %d, on which the images lie", axis)
	}
	return only(p, err)
}

// reshaped: what lies before the images in memory stays before them. Where
// axes of size 1 leave a choice, the first.
func reshaped(s *step) ([]place, error) {
	p, err := s.first()
	if p < 0 || err != nil {
		return only(p, err)
	}
	before, in, out := 1, s.in[0].Dims, s.made[0].Dims
	for _, n := range in[:p] {
		before *= n
	}
	var options []place
	product := 1
	for i, n := range out {
		if product == before && n > 0 && n%s.from == 0 {
			options = append(options, place(i))
		}
		product *= n
	}
	if options == nil {
		return nil, fmt.Errorf("no axis of %v holds whole images", out)
	}
	return options, nil
}

func squeezed(s *step) ([]place, error) {
	p, err := s.first()
	if p < 0 || err != nil {
		return only(p, err)
	}
	list, _, err := s.list(1, "axes")
	if err != nil {
		return nil, err
	}
	axes, err := dims.Axes(list, s.rank())
	if err != nil {
		return nil, err
	}
	if list == nil {
		for i, n := range s.in[0].Dims {
			if n == 1 {
				axes = append(axes, i)
			}
		}
	}
	out := p
	for _, a := range axes {
		switch {
		case a == int(p):
			return nil, fmt.Errorf("it drops axis %d, on which the images lie", a)
		case a < int(p):
			out--
		}
	}
	return only(out, nil)
}

func unsqueezed(s *step) ([]place, error) {
	p, err := s.first()
	if p < 0 || err != nil {
		return only(p, err)
	}
	list, _, err := s.list(1, "axes")
	if err != nil {
		return nil, err
	}
	axes, err := dims.Axes(list, s.rank()+len(list))
	if err != nil {
		return nil, err
	}
	for _, a := range axes { // ascending
		if a <= int(p) {
			p++
		}
	}
	return only(p, nil)
}

func transposed(s *step) ([]place, error) {
	p, err := s.first()
	if p < 0 || err != nil {
		return only(p, err)
	}
	perm, err := dims.Permutation(s.n.IntList("perm"), s.rank())
	return only(place(slices.Index(perm, int(p))), err)
}

// grown are the places for operators that repeat one operand until it has a
// shape: the shape says.
func grown(rank int, may func(axis int) bool) []place {
	options := []place{alike}
	for a := range rank {
		if may(a) {
			options = append(options, place(a))
		}
	}
	return options
}

func expanded(s *step) ([]place, error) {
	rank := len(s.made[0].Dims)
	shift := rank - s.rank()
	p, err := s.first()
	if err != nil {
		return nil, err
	}
	if p >= 0 {
		return only(p+place(shift), nil)
	}
	return grown(rank, func(a int) bool { return a < shift || s.in[0].Dims[a-shift] == 1 }), nil
}

func filled(s *step) ([]place, error) {
	return grown(len(s.made[0].Dims), func(int) bool { return true }), nil
}

func tiled(s *step) ([]place, error) {
	p, err := s.first()
	if err != nil {
		return nil, err
	}
	if p < 0 {
		return grown(s.rank(), func(int) bool { return true }), nil
	}
	repeats, known, err := s.list(1, "")
	if err != nil {
		return nil, err
	}
	if !known || len(repeats) <= int(p) || repeats[p] != 1 {
		return nil, fmt.Errorf("it repeats the images themselves")
	}
	return only(p, nil)
}

func sliced(s *step) ([]place, error) {
	p, err := s.first()
	if p < 0 || err != nil {
		return only(p, err)
	}
	var lists [4][]int64
	for i, name := range []string{"starts", "ends", "axes", "steps"} {
		if lists[i], _, err = s.list(i+1, name); err != nil {
			return nil, err
		}
	}
	ranges, err := dims.Slice(s.in[0].Dims, lists[0], lists[1], lists[2], lists[3])
	if err != nil {
		return nil, err
	}
	if r := ranges[p]; r.Start != 0 || r.Step != 1 || r.Length != s.in[0].Dims[p] {
		return nil, fmt.Errorf("it picks some of the images")
	}
	return only(p, nil)
}

func padded(s *step) ([]place, error) {
	p, err := s.first()
	if p < 0 || err != nil {
		return only(p, err)
	}
	if len(s.made[0].Dims) <= int(p) || s.made[0].Dims[p] != s.in[0].Dims[p] {
		return nil, fmt.Errorf("it pads the batch")
	}
	pads, known, err := s.list(1, "pads")
	if err != nil || !known {
		return nil, fmt.Errorf("its pads are not known")
	}
	axes, _, err := s.list(3, "")
	if err != nil {
		return nil, err
	}
	begin, end, err := dims.Pads(pads, axes, s.rank())
	if err == nil && (begin[p] != 0 || end[p] != 0) {
		err = fmt.Errorf("it pads the batch")
	}
	return only(p, err)
}

func resized(s *step) ([]place, error) {
	p, err := s.first()
	if p < 0 || err != nil {
		return only(p, err)
	}
	if s.n.Str("coordinate_transformation_mode", "") == "tf_crop_and_resize" {
		return nil, fmt.Errorf("the images of a batch cannot be followed through a cropping resize")
	}
	r, err := s.call.resized()
	if err == nil && (r == nil || r.Scale[p] != 1) {
		err = fmt.Errorf("it resizes axis %d, on which the images lie", p)
	}
	return only(p, err)
}

func gathered(s *step) ([]place, error) {
	axis, err := dims.Axis(s.n.Int("axis", 0), s.rank())
	if err != nil {
		return nil, err
	}
	data, index := s.placeOf(0), s.placeOf(1)
	switch {
	case data >= 0 && index >= 0:
		return nil, fmt.Errorf("both the rows and what picks them differ from image to image")
	case index >= 0:
		return only(index+place(axis), nil)
	case int(data) == axis:
		return nil, fmt.Errorf("it picks some of the images")
	case int(data) > axis:
		data += place(len(s.in[1].Dims) - 1)
	}
	return only(data, nil)
}

func gatheredElements(s *step) ([]place, error) {
	axis, err := dims.Axis(s.n.Int("axis", 0), s.rank())
	if err != nil {
		return nil, err
	}
	p, i := s.placeOf(0), s.placeOf(1)
	if p != i || int(p) == axis {
		return nil, fmt.Errorf("the images of a batch cannot be followed through it")
	}
	return only(p, nil)
}
