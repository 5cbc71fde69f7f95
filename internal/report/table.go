// Package report is how results and progress look: tables, progress, sizes and
// durations for people, one JSON object for machines.
//
// A table never loses a character and never breaks a word: a cell that does not
// fit its column goes on in the next line, and a path too long for the terminal
// sticks out, since a path that is cut or broken cannot be used.
package report

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Column is one column of a Table.
type Column struct {
	Title string
	Right bool // numbers stand right
}

// Table is rows of text under titles.
type Table struct {
	Columns []Column
	rows    [][]string
}

// NewTable makes a table; a title that starts with ">" makes its column stand
// right.
func NewTable(titles ...string) *Table {
	t := &Table{}
	for _, title := range titles {
		text, right := strings.CutPrefix(title, ">")
		t.Columns = append(t.Columns, Column{printable(text), right})
	}
	return t
}

// Add appends a row; missing cells are empty and cells beyond the columns are
// dropped.
func (t *Table) Add(cells ...string) {
	row := make([]string, len(t.Columns))
	for i := range min(len(row), len(cells)) {
		row[i] = printable(cells[i])
	}
	t.rows = append(t.rows, row)
}

// printable is text each of whose lines is safe to print.
func printable(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = OneLine(lines[i])
	}
	return strings.Join(lines, "\n")
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

const columnGap = 2

// Write prints the table, at most width columns wide where breaking cells can
// make it so. Titles are left out when all are empty.
func (t *Table) Write(w io.Writer, width int) error {
	sizes := t.sizes(width)
	var out strings.Builder
	titled := false
	titles := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		titles[i] = c.Title
		titled = titled || c.Title != ""
	}
	if titled {
		t.line(&out, titles, sizes)
	}
	for _, row := range t.rows {
		t.line(&out, row, sizes)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// sizes is the width of every column: the widest cell's, then the widest
// columns narrowed, never below their longest word, until the table fits.
func (t *Table) sizes(width int) []int {
	sizes := make([]int, len(t.Columns))
	least := make([]int, len(t.Columns))
	measure := func(i int, cell string) {
		for _, part := range strings.Split(cell, "\n") {
			sizes[i] = max(sizes[i], Width(part))
		}
		for _, word := range strings.Fields(cell) {
			least[i] = max(least[i], Width(word))
		}
	}
	for i, c := range t.Columns {
		measure(i, c.Title)
	}
	for _, row := range t.rows {
		for i, cell := range row {
			measure(i, cell)
		}
	}
	total := columnGap * (len(sizes) - 1)
	fewest := total
	for i := range sizes {
		total += sizes[i]
		fewest += least[i]
	}
	if fewest > width { // some word sticks out whatever is done: keep the rest readable
		for i := range sizes {
			sizes[i] = max(least[i], min(sizes[i], width/2))
		}
		return sizes
	}
	for total > width {
		widest := -1
		for i := range sizes {
			if sizes[i] > least[i] && !t.Columns[i].Right && (widest < 0 || sizes[i] > sizes[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		sizes[widest]--
		total--
	}
	return sizes
}

func (t *Table) line(out *strings.Builder, row []string, sizes []int) {
	cells := make([][]string, len(row))
	height := 1
	for i, cell := range row {
		cells[i] = Wrap(cell, sizes[i])
		height = max(height, len(cells[i]))
	}
	for y := 0; y < height; y++ {
		var line strings.Builder
		for i := range row {
			text := ""
			if y < len(cells[i]) {
				text = cells[i][y]
			}
			pad := strings.Repeat(" ", max(0, sizes[i]-Width(text)))
			if i > 0 {
				line.WriteString(strings.Repeat(" ", columnGap))
			}
			if t.Columns[i].Right {
				line.WriteString(pad + text)
			} else {
				line.WriteString(text + pad)
			}
		}
		out.WriteString(strings.TrimRight(line.String(), " "))
		out.WriteByte('\n')
	}
}

// Width is the number of terminal columns text takes: two for the wide East
// Asian and emoji ranges, none for control characters and combining marks.
func Width(text string) int {
	n := 0
	for _, r := range text {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	switch {
	case unicode.IsControl(r), unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf,
		r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff,
		r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60,
		r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1faff,
		r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// Wrap breaks text into lines of at most width columns, between words where it
// can and inside a word where it must.
func Wrap(text string, width int) []string {
	if width < 1 {
		width = 1
	}
	var lines []string
	for _, part := range strings.Split(text, "\n") {
		line, used := "", 0
		for _, word := range strings.Fields(part) {
			if used > 0 && used+1+Width(word) <= width {
				line, used = line+" "+word, used+1+Width(word)
				continue
			}
			if used > 0 {
				lines = append(lines, line)
			}
			for Width(word) > width {
				head := fitting(word, width)
				lines = append(lines, head)
				word = word[len(head):]
			}
			line, used = word, Width(word)
		}
		lines = append(lines, line)
	}
	return lines
}

// fitting is the longest start of word that takes at most width columns, at
// least one character.
func fitting(word string, width int) string {
	used := 0
	for i, r := range word {
		used += runeWidth(r)
		if used > width && i > 0 {
			return word[:i]
		}
	}
	_, size := utf8.DecodeRuneInString(word)
	return word[:max(size, 0)]
}
