// Package nearest answers "did you mean": the known word nearest to a mistyped one.
package nearest

import (
	"cmp"
	"slices"
	"strings"
)

// longest is the length of a word that could still be a key or a flag; comparing is
// quadratic.
const longest = 64

// Word is the known word within a third of its letters of word, or the one that word
// begins or that begins word; "" when none is near. Case does not count, nor which of
// - and _ joins words.
func Word(word string, known []string) string {
	if len(word) > longest {
		return ""
	}
	plain := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	word = plain(word)
	best, least := "", max(1, len(word)/3)+1
	for _, k := range known {
		if d := slips(word, plain(k)); d < least {
			best, least = k, d
		}
	}
	if best != "" || len(word) < 3 {
		return best
	}
	for _, k := range known {
		if strings.HasPrefix(plain(k), word) || strings.HasPrefix(word, plain(k)) {
			return k
		}
	}
	return ""
}

// Names gives up to n of the known names of a graph, the nearest first. Such names are
// long and differ in their ends: those that contain the wrong one, or that it
// contains, come before those that a few letters part from it.
func Names(name string, known []string, n int) []string {
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
			if c.slips = max(len(k)-len(name), len(name)-len(k)); c.slips <= max(1, len(name)/4) {
				c.slips = slips(lower, other)
			}
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

// slips counts the letters to insert, drop, change or swap with a neighbour that
// make b of a.
func slips(a, b string) int {
	above := make([]int, len(b)+1) // distances of a[:i-1] to b[:j]
	var higher []int               // and of a[:i-2]
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			row[j] = min(above[j]+1, row[j-1]+1)
			if a[i-1] == b[j-1] {
				row[j] = min(row[j], above[j-1])
			} else {
				row[j] = min(row[j], above[j-1]+1)
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], higher[j-2]+1)
			}
		}
		higher, above = above, row
	}
	return above[len(b)]
}
