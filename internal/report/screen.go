// Screen is standard error shared by log lines and one progress bar: a line
// written while a bar stands first wipes the bar and then puts it back, so that
// neither tears the other.

package report

import (
	"io"
	"os"
	"strconv"
	"sync"

	"golang.org/x/term"
)

// DefaultWidth is taken where no terminal says how wide it is.
const DefaultWidth = 80

// Screen writes lines and at most one bar below them. It may be used from
// several goroutines.
type Screen struct {
	mu    sync.Mutex
	w     io.Writer
	bar   string // what stands on the last line, "" for nothing
	Live  bool   // a terminal that can redraw a line
	Color bool   // colours are wanted and understood
	Width int    // columns
}

// NewScreen looks at w and the environment (NO_COLOR, TERM, COLUMNS) to find
// what can be shown. getenv is os.Getenv outside tests.
func NewScreen(w io.Writer, getenv func(string) string) *Screen {
	s := &Screen{w: w, Width: Columns(w, getenv)}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && getenv("TERM") != "dumb" {
		s.Live = true
		s.Color = getenv("NO_COLOR") == ""
	}
	return s
}

// Columns is the width of the terminal behind w, else of COLUMNS, else
// DefaultWidth.
func Columns(w io.Writer, getenv func(string) string) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	if width, err := strconv.Atoi(getenv("COLUMNS")); err == nil && width >= 20 && width <= 1000 {
		return width
	}
	return DefaultWidth
}

const clearLine = "\r\x1b[K"

// Write prints whole lines above the bar.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar == "" {
		return s.w.Write(p)
	}
	out := append([]byte(clearLine), p...)
	out = append(out, s.bar...)
	if _, err := s.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// setBar replaces the bar; "" takes it away.
func (s *Screen) setBar(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if text == s.bar {
		return
	}
	s.bar = text
	io.WriteString(s.w, clearLine+text)
}
