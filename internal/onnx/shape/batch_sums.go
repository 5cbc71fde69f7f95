package shape

// Where operators that sum over an axis leave the images of a batch: reductions and
// products of matrices.

import (
	"fmt"
	"slices"

	"trtact/internal/onnx/dims"
)

func reducedOne(s *step) ([]place, error) {
	axis, err := dims.Axis(s.n.Int("axis", 0), s.rank())
	if err != nil {
		return nil, err
	}
	return s.without([]int{axis})
}

func reduced(s *step) ([]place, error) {
	list, known, err := s.list(1, "axes")
	if err != nil || !known {
		return nil, fmt.Errorf("its axes are not known")
	}
	axes, err := dims.ReduceAxes(list, s.rank(), s.n.Int("noop_with_empty_axes", 0) != 0)
	if err != nil {
		return nil, err
	}
	return s.without(axes)
}

// without is a reduction over the given axes.
func (s *step) without(axes []int) ([]place, error) {
	p, err := s.first(axes...)
	if p < 0 || err != nil || s.n.Int("keepdims", 1) != 0 {
		return only(p, err)
	}
	out := p
	for _, a := range axes {
		if a < int(p) {
			out--
		}
	}
	return only(out, nil)
}

// multiplied: rows of the left and columns of the right operand come out as
// such, the axes before them broadcast, the summed axis must not hold images.
func multiplied(s *step) ([]place, error) {
	rank := len(s.made[0].Dims)
	a, b := len(s.in[0].Dims), len(s.in[1].Dims)
	if p := s.placeOf(0); p >= 0 && int(p) == a-1 {
		return nil, fmt.Errorf("it sums over the images")
	}
	if p := s.placeOf(1); p >= 0 && (b == 1 || int(p) == b-2) {
		return nil, fmt.Errorf("it sums over the images")
	}
	stack := max(a, b) - 2 // axes that broadcast
	at := func(i int, p place) place {
		n := []int{a, b}[i]
		switch {
		case i == 0 && int(p) == a-2:
			return place(stack)
		case i == 1 && int(p) == b-1:
			return place(rank - 1)
		}
		return p + place(stack-(n-2))
	}
	own := func(i int, p place) int {
		n := []int{a, b}[i]
		if int(p) >= stack { // rows or columns: of the other operand
			return -1
		}
		return int(p) - (stack - (n - 2))
	}
	return only(s.shared([]int{0, 1}, at, own))
}

func gemmed(s *step) ([]place, error) {
	rows := place(0)
	if s.n.Int("transA", 0) != 0 {
		rows = 1
	}
	if s.placeOf(0) != rows || s.placeOf(1) >= 0 {
		return nil, fmt.Errorf("it sums over the images")
	}
	if len(s.in) < 3 {
		return only(0, nil)
	}
	return only(s.shared([]int{0, 2},
		func(i int, p place) place {
			if i == 0 {
				return 0
			}
			return p + place(2-len(s.in[i].Dims))
		},
		func(i int, p place) int { return int(p) - (2 - len(s.in[i].Dims)) }))
}

// summed: the letter of the images has to be in the output.
func summed(s *step) ([]place, error) {
	_, terms, _, err := dims.Einsum(s.equation(), s.shapes())
	if err != nil {
		return nil, err
	}
	result := terms[len(terms)-1]
	letter := -1
	for i := range s.in {
		if p := s.placeOf(i); p >= 0 {
			if at := terms[i][p]; letter >= 0 && at != letter {
				return nil, fmt.Errorf("its operands have the images on different axes")
			} else {
				letter = at
			}
		}
	}
	for i := range s.in {
		if axis := slices.Index(terms[i], letter); axis >= 0 && s.placeOf(i) < 0 {
			if err := s.repeatInput(i, axis); err != nil {
				return nil, err
			}
		}
	}
	at := slices.Index(result, letter)
	if at < 0 {
		return nil, fmt.Errorf("it sums over the images")
	}
	return only(place(at), nil)
}
