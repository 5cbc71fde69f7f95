// "Did you mean": the known word nearest to a mistyped one.

package config

import "strings"

// nearest is the known word within a third of its letters of word, or the one
// that word begins or that begins word; "" when none is near.
func nearest(word string, known []string) string {
	if len(word) > 64 { // no key is; and the comparison is quadratic
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
