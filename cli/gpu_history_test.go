package cli

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"trtact/internal/report"
)

func TestGraph(t *testing.T) {
	text, last := graph([]float64{0, 0.5, math.NaN(), 1}, 6)
	if text != "▁▅ █  " || last != 1 {
		t.Errorf("got %q, %v", text, last)
	}
	if text, _ := graph([]float64{0, 0, 0.3, 0.9}, 2); text != "▃█" {
		t.Errorf("the last two are %q", text)
	}
	if text, _ := graph([]float64{math.NaN()}, 4); text != "" {
		t.Errorf("nothing known gives %q", text)
	}
}

// TestHistory: graphs fit the window, figures that a GPU does not tell have none, and
// what is kept is bounded.
func TestHistory(t *testing.T) {
	past := newHistory()
	for range historyLength + 5 {
		past.add(twoGPUs())
	}
	if n := len(past.seen[0].load); n != historyLength {
		t.Errorf("%d samples are kept", n)
	}
	for _, width := range []int{40, 80, 200} {
		var out bytes.Buffer
		if err := past.write(&out, twoGPUs(), width); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(out.String(), "\n") {
			if report.Width(line) > width {
				t.Errorf("width %d: line of %d columns", width, report.Width(line))
			}
		}
		for _, want := range []string{"GPU 0, the last ", "load   ", "memory ", "power  ", "█", " 97 %", " 99 %"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("width %d: no %q in\n%s", width, want, out.String())
			}
		}
		if strings.Contains(out.String(), "GPU 2") || strings.Count(out.String(), "load") != 1 {
			t.Errorf("graphs of what is not known:\n%s", out.String())
		}
	}
}

// TestScreenIsCut: what does not fit in the window would make it scroll.
func TestScreenIsCut(t *testing.T) {
	l := lines{[]byte("a\nb\nc\n")}
	if l.cut(2); string(l.text) != "a\nb\n" {
		t.Errorf("got %q", l.text)
	}
	if l.cut(0); string(l.text) != "a\nb\n" {
		t.Errorf("got %q", l.text)
	}
}
