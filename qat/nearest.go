// "Did you mean" for names of a graph, which are long and differ in their ends:
// names that contain the wrong one, or that it contains, come before those that a few
// letters part from it.
package qat

import (
	"cmp"
	"slices"
	"strings"
)

// nearest gives up to n of the known names, the nearest first.
func nearest(name string, known []string, n int) []string {
	type candidate struct {
		name   string
		slips  int
		length int
	}
	var list []candidate
	seen := map[string]bool{}
	lower := strings.ToLower(name)
	for _, k := range known {
		if k == "" || seen[k] {
			continue
		}
		seen[k] = true
		other := strings.ToLower(k)
		c := candidate{k, 0, len(k)}
		if len(lower) < 3 || !strings.Contains(other, lower) && !strings.Contains(lower, other) {
			c.slips = slips(lower, other, max(1, len(name)/4))
		}
		if c.slips <= max(1, len(name)/4) {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.slips, b.slips), cmp.Compare(a.length, b.length))
	})
	var names []string
	for _, c := range list[:min(n, len(list))] {
		names = append(names, c.name)
	}
	return names
}

// slips is the number of letters to insert, drop or change that make b of a; more
// than most means only that it is more.
func slips(a, b string, most int) int {
	if d := len(a) - len(b); d > most || -d > most {
		return most + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0] // row i, column j
		row[0] = i + 1
		for j := range len(b) {
			next := min(row[j+1], row[j]) + 1
			if same := corner; a[i] == b[j] {
				next = min(next, same)
			} else {
				next = min(next, same+1)
			}
			corner, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
