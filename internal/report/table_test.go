package report

import (
	"strings"
	"testing"
)

func render(t *testing.T, table *Table, width int) string {
	t.Helper()
	var out strings.Builder
	if err := table.Write(&out, width); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTableAligns(t *testing.T) {
	table := NewTable("model", ">ms", "note")
	table.Add("yolov5n", "7.25", "float")
	table.Add("größer", "12.50", "")
	table.Add("検出", "3")
	want := `model       ms  note
yolov5n   7.25  float
größer   12.50
検出         3
`
	if got := render(t, table, 80); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestTableControl: what would move a terminal's cursor is not written; lines stay.
func TestTableControl(t *testing.T) {
	table := NewTable("", "\x1b[2Jx")
	table.Add("a\x1b[31mb.jpg", "one\ttwo\nthree")
	if got, want := render(t, table, 80), "             ?[2Jx\na?[31mb.jpg  one two\n             three\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestTableWithoutTitles(t *testing.T) {
	table := NewTable("", "")
	table.Add("a", "b")
	if got := render(t, table, 80); got != "a  b\n" {
		t.Errorf("got %q", got)
	}
}

// A narrow table breaks cells over lines, keeps numbers whole and loses nothing.
func TestTableWraps(t *testing.T) {
	table := NewTable("name", ">bytes", "reason")
	table.Add("conv1", "1234567", "grouped convolution with eight channels in each group stays float")
	got := render(t, table, 40)
	want := `name     bytes  reason
conv1  1234567  grouped convolution with
                eight channels in each
                group stays float
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A word longer than the terminal stays whole, and short cells beside it are not
// broken for nothing.
func TestTableKeepsLongWordsWhole(t *testing.T) {
	path := strings.Repeat("a", 50)
	table := NewTable("part", "path", "found on it")
	table.Add("CPU part", path, "two giraffes and a bird")
	got := render(t, table, 30)
	if !strings.Contains(got, "\nCPU part  "+path+"  two giraffes\n") || !strings.Contains(got, " and a bird\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestWrap(t *testing.T) {
	got := Wrap("one twelve 123456789", 6)
	if strings.Join(got, "|") != "one|twelve|123456|789" {
		t.Errorf("got %q", got)
	}
}

func TestWidth(t *testing.T) {
	for _, c := range []struct {
		text string
		want int
	}{{"", 0}, {"abc", 3}, {"µs", 2}, {"検出", 4}, {"e\u0301", 1}, {"\x1b", 0}, {"🚗", 2}, {"│─", 2}} {
		if got := Width(c.text); got != c.want {
			t.Errorf("Width(%q) = %d, want %d", c.text, got, c.want)
		}
	}
}
