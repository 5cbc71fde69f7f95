package report

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }

func TestProgressOnAPipeGivesALineNowAndThen(t *testing.T) {
	c := &clock{time.Unix(0, 0)}
	var lines []string
	var out bytes.Buffer
	p := newProgress(&Screen{w: &out, Width: 80}, func(l string) { lines = append(lines, l) }, "calibrate", 100, "images", c.now)
	for i := 1; i <= 50; i++ {
		c.pass(500 * time.Millisecond)
		p.Set(i, 0)
	}
	p.Finish()
	p.Finish()
	want := []string{
		"calibrate: 20/100 images, 2.00 images/s, 40 s left",
		"calibrate: 40/100 images, 2.00 images/s, 30 s left",
		"calibrate: 50/100 images in 25.0 s",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if out.Len() != 0 {
		t.Errorf("a bar went to a pipe: %q", out.String())
	}
}

func TestProgressShortStageIsSilentOnAPipe(t *testing.T) {
	c := &clock{time.Unix(0, 0)}
	p := newProgress(&Screen{w: &bytes.Buffer{}, Width: 80}, func(l string) { t.Errorf("line %q", l) }, "load", 3, "files", c.now)
	c.pass(2 * time.Second)
	p.Set(3, 0)
	p.Finish()
}

func TestProgressBarOnATerminal(t *testing.T) {
	c := &clock{time.Unix(0, 0)}
	var out bytes.Buffer
	screen := &Screen{w: &out, Width: 80, Live: true}
	p := newProgress(screen, func(l string) { t.Errorf("line %q", l) }, "calibrate", 4, "images", c.now)
	c.pass(time.Second)
	p.Set(1, 0)
	if got, want := out.String(), clearLine+"calibrate [#######-----------------------] 1/4 images, 1.00 images/s, 3 s left"; got != want {
		t.Errorf("bar\n%q, want\n%q", got, want)
	}
	out.Reset()
	screen.Write([]byte("a line\n"))
	if got := out.String(); !strings.HasPrefix(got, clearLine+"a line\ncalibrate [") {
		t.Errorf("a log line tore the bar: %q", got)
	}
	out.Reset()
	p.Finish()
	if got := out.String(); got != clearLine {
		t.Errorf("after the end: %q", got)
	}
}

// A stage without steps shows for how long it has been going on.
func TestProgressWithoutSteps(t *testing.T) {
	c := &clock{time.Unix(0, 0)}
	var lines []string
	p := newProgress(&Screen{w: &bytes.Buffer{}, Width: 80}, func(l string) { lines = append(lines, l) }, "build engine", 0, "", c.now)
	for range 14 {
		c.pass(time.Second)
		p.show()
	}
	p.Finish()
	if got, want := strings.Join(lines, "|"), "build engine: 10 s|build engine: 14.0 s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The bar stands from the start, goes on by itself and is gone after the end.
func TestProgressTicks(t *testing.T) {
	var out lockedBuffer
	p := NewProgress(&Screen{w: &out, Width: 80, Live: true}, nil, "build engine", 0, "")
	if got, want := out.String(), clearLine+"build engine  1 s"; got != want {
		t.Errorf("at the start %q, want %q", got, want)
	}
	for end := time.Now().Add(20 * time.Second); !strings.Contains(out.String(), "2 s") && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	p.Finish()
	ended := out.String()
	if !strings.Contains(ended, "2 s") || !strings.HasSuffix(ended, clearLine) {
		t.Errorf("in the end %q", ended)
	}
	time.Sleep(1200 * time.Millisecond)
	if out.String() != ended {
		t.Errorf("a bar came after the end: %q", out.String())
	}
}

// lockedBuffer may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestBarNeverWraps(t *testing.T) {
	for width := 20; width <= 130; width++ {
		for _, done := range []int{0, 3, 7, 9} {
			bar := drawBar("evaluate the INT8 model", "3/7 images, 12.3 images/s, 1 min 20 s left", done, 7, width)
			if Width(bar) >= width {
				t.Fatalf("width %d: %d columns: %q", width, Width(bar), bar)
			}
		}
	}
}

func TestNilProgress(t *testing.T) {
	var p *Progress
	p.Set(1, 2)
	p.Note("x")
	p.Finish()
}

func TestTextLogger(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out, slog.LevelInfo, false, false)
	log.Debug("hidden")
	log.Info("read the model", "nodes", 12)
	log.With("file", "a\nb").WithGroup("g").Warn("odd", slog.Group("at", "x", 1))
	log.Error("failed: \x1b[31mred")
	want := "trtact: read the model (nodes 12)\n" +
		"trtact: warning: odd (file a b, g.at.x 1)\n" +
		"trtact: error: failed: ?[31mred\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	out.Reset()
	NewLogger(&out, slog.LevelWarn, false, true).Warn("x")
	if got := out.String(); got != "trtact: \x1b[33mwarning: \x1b[0mx\n" {
		t.Errorf("coloured: %q", got)
	}
	out.Reset()
	NewLogger(&out, slog.LevelInfo, true, false).Info("x", "n", 1)
	if !strings.Contains(out.String(), `"msg":"x","n":1}`) {
		t.Errorf("JSON: %q", out.String())
	}
}

func TestJSONWritesNothingOnFailure(t *testing.T) {
	var out bytes.Buffer
	if err := JSON(&out, map[string]any{"f": func() {}}); err == nil || out.Len() != 0 {
		t.Errorf("err %v, wrote %q", err, out.String())
	}
	if err := JSON(&out, map[string]string{"a": "<b>"}); err != nil || out.String() != "{\n  \"a\": \"<b>\"\n}\n" {
		t.Errorf("err %v, wrote %q", err, out.String())
	}
}
