package dims

import (
	"fmt"
	"strings"
)

// Einsum is the output shape of an Einstein sum without ellipsis ("bij,bjk->bik").
// Without "->" the output has the letters that occur once, in their order.
func Einsum(equation string, shapes [][]int) ([]int, error) {
	left, right, explicit := strings.Cut(equation, "->")
	terms := strings.Split(left, ",")
	if strings.Contains(equation, ".") || len(terms) != len(shapes) {
		return nil, fmt.Errorf("equation %q for %d inputs is not handled", equation, len(shapes))
	}
	size := map[rune]int{}
	count := map[rune]int{}
	for i, term := range terms {
		if len(term) != len(shapes[i]) {
			return nil, fmt.Errorf("equation %q: term %q for shape %v", equation, term, shapes[i])
		}
		for k, letter := range term {
			n := shapes[i][k]
			have, seen := size[letter]
			if seen && have >= 0 && n >= 0 && have != n {
				return nil, fmt.Errorf("equation %q: %c is %d and %d", equation, letter, have, n)
			}
			if !seen || have < 0 {
				size[letter] = n
			}
			count[letter]++
		}
	}
	if !explicit {
		for letter := 'A'; letter <= 'z'; letter++ {
			if count[letter] == 1 {
				right += string(letter)
			}
		}
	}
	out := []int{}
	for _, letter := range right {
		n, ok := size[letter]
		if !ok {
			return nil, fmt.Errorf("equation %q: %c comes from no input", equation, letter)
		}
		out = append(out, n)
	}
	return out, nil
}
