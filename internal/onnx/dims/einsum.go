package dims

import (
	"fmt"
	"strings"
)

// Einsum reads the equation of an Einstein sum without ellipsis
// ("bij,bjk->bik") for the given operand shapes. sizes is the size of every
// letter, in order of first appearance; terms lists the letters of every operand,
// and of the output last, as indices into sizes; out is the output's shape.
// Without "->" the output has the letters that occur once, in alphabetical order.
func Einsum(equation string, shapes [][]int) (sizes []int, terms [][]int, out []int, err error) {
	left, right, explicit := strings.Cut(equation, "->")
	operands := strings.Split(left, ",")
	if strings.Contains(equation, ".") || len(operands) != len(shapes) {
		return nil, nil, nil, fmt.Errorf("equation %q for %d inputs is not handled", equation, len(shapes))
	}
	index := map[rune]int{}
	count := map[rune]int{}
	for i, operand := range operands {
		if len(operand) != len(shapes[i]) {
			return nil, nil, nil, fmt.Errorf("equation %q: term %q for shape %v", equation, operand, shapes[i])
		}
		var term []int
		for k, letter := range operand {
			n := shapes[i][k]
			at, seen := index[letter]
			if !seen {
				at = len(sizes)
				index[letter] = at
				sizes = append(sizes, n)
			}
			if sizes[at] < 0 {
				sizes[at] = n
			} else if n >= 0 && sizes[at] != n {
				return nil, nil, nil, fmt.Errorf("equation %q: %c is %d and %d", equation, letter, sizes[at], n)
			}
			count[letter]++
			term = append(term, at)
		}
		terms = append(terms, term)
	}
	if !explicit {
		for letter := 'A'; letter <= 'z'; letter++ {
			if count[letter] == 1 {
				right += string(letter)
			}
		}
	}
	var term []int
	out = []int{}
	for _, letter := range right {
		at, ok := index[letter]
		if !ok {
			return nil, nil, nil, fmt.Errorf("equation %q: %c comes from no input", equation, letter)
		}
		term = append(term, at)
		out = append(out, sizes[at])
	}
	return sizes, append(terms, term), out, nil
}
