// Progress of one stage: a bar that redraws itself on a terminal, and elsewhere
// (a pipe, a CI log) a line now and then, so that a log stays short and a
// watcher still sees that the run lives.

package report

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"time"
)

const (
	barEvery  = 100 * time.Millisecond
	lineEvery = 10 * time.Second
)

// Progress counts the steps of one stage. It may be used from several
// goroutines. A nil Progress does nothing.
type Progress struct {
	screen *Screen
	log    func(line string) // where the lines of a dull terminal go
	now    func() time.Time
	stage  string
	unit   string // "images"
	total  int    // 0 when not known

	stop func() // ends the ticking

	mu    sync.Mutex
	done  int
	start time.Time
	shown time.Time
	note  string
	ended bool
}

// NewProgress starts a stage of total steps (0: not known), counted in unit; a
// stage without a unit has no steps and shows the time spent. On a terminal it
// draws on screen; otherwise it gives a line to log every ten seconds and at the
// end of a stage that took as long. Finish must be called.
func NewProgress(screen *Screen, log func(line string), stage string, total int, unit string) *Progress {
	p := newProgress(screen, log, stage, total, unit, time.Now)
	if screen.Live {
		p.draw(p.start)
	}
	p.tick()
	return p
}

// tick shows that a stage lives whose steps are long, or that has none.
func (p *Progress) tick() {
	ticker, done := time.NewTicker(time.Second), make(chan struct{})
	p.stop = func() { close(done) }
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				p.mu.Lock()
				if !p.ended {
					p.show()
				}
				p.mu.Unlock()
			}
		}
	}()
}

func newProgress(screen *Screen, log func(string), stage string, total int, unit string, now func() time.Time) *Progress {
	t := now()
	return &Progress{screen: screen, log: log, now: now, stage: stage, unit: unit, total: total, start: t, shown: t, stop: func() {}}
}

// Set says how many steps are done, and may correct the total (0 keeps it).
func (p *Progress) Set(done, total int) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = done
	if total > 0 {
		p.total = total
	}
	p.show()
}

// Note shows a short text behind the figures, such as a loss.
func (p *Progress) Note(text string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note = text
}

// Finish takes the bar away. A stage that gave lines gives a last one. It may be
// called again.
func (p *Progress) Finish() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.ended = true
	p.stop()
	if p.screen.Live {
		p.screen.setBar("")
	} else if spent := p.now().Sub(p.start); spent >= lineEvery {
		text := Duration(spent)
		if p.unit != "" {
			text = p.counted() + " in " + text
		}
		p.log(p.stage + ": " + text)
	}
}

func (p *Progress) show() {
	t := p.now()
	every := lineEvery
	if p.screen.Live {
		every = barEvery
	}
	if t.Sub(p.shown) >= every {
		p.draw(t)
	}
}

func (p *Progress) draw(t time.Time) {
	p.shown = t
	figures := p.figures(t.Sub(p.start))
	if !p.screen.Live {
		p.log(p.stage + ": " + figures)
		return
	}
	p.screen.setBar(drawBar(p.stage, figures, p.done, p.total, p.screen.Width))
}

func (p *Progress) counted() string {
	if p.total > 0 {
		return fmt.Sprintf("%s/%s %s", Count(int64(p.done)), Count(int64(p.total)), p.unit)
	}
	return fmt.Sprintf("%s %s", Count(int64(p.done)), p.unit)
}

// figures is what follows the stage's name: count, rate, time left, note.
func (p *Progress) figures(spent time.Duration) string {
	if p.unit == "" {
		return wholeSeconds(spent.Seconds())
	}
	parts := []string{p.counted()}
	if p.done > 0 && spent > 0 {
		rate := float64(p.done) / spent.Seconds()
		if rate >= 1 {
			parts = append(parts, significant(rate)+" "+p.unit+"/s")
		} else {
			parts = append(parts, Duration(time.Duration(float64(spent)/float64(p.done)))+" each")
		}
		if left := p.total - p.done; p.total > 0 && left > 0 {
			parts = append(parts, wholeSeconds(float64(left)/rate)+" left")
		}
	}
	if p.note != "" {
		parts = append(parts, p.note)
	}
	return strings.Join(parts, ", ")
}

// wholeSeconds is a time in whole seconds, at least one: a guess has no fractions.
func wholeSeconds(seconds float64) string {
	s := max(1, math.Round(min(seconds, 1e6)))
	if s < 60 {
		return fmt.Sprintf("%.0f s", s)
	}
	return Duration(time.Duration(s) * time.Second)
}

// drawBar fits "stage [####----] figures" in width columns, one left free so
// that no terminal wraps; the bar goes first when there is no room.
func drawBar(stage, figures string, done, total, width int) string {
	room := width - 1 - Width(stage) - Width(figures) - 4
	text := stage + "  " + figures
	if total > 0 && room >= 8 {
		cells := min(room, 30)
		full := max(0, min(cells, cells*done/total))
		text = stage + " [" + strings.Repeat("#", full) + strings.Repeat("-", cells-full) + "] " + figures
	}
	if Width(text) > width-1 {
		text = fitting(text, width-1)
	}
	return text
}
