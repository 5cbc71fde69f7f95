package bench

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"trtact/trt"
)

// machine is a clock that only running moves on.
type machine struct {
	t     time.Time
	trace []string
}

func (m *machine) now() time.Time { return m.t }

func (m *machine) timer(name string, d time.Duration) Timer {
	return function{func() error {
		m.t = m.t.Add(d)
		m.trace = append(m.trace, name)
		return nil
	}, m.now}
}

func TestMeasureTakesTurns(t *testing.T) {
	m := &machine{t: time.Unix(0, 0)}
	var told []int
	runs, err := measure(context.Background(), []Timer{m.timer("a", time.Second), m.timer("b", 3*time.Second), m.timer("c", time.Second)},
		Options{WarmUp: trt.TimeOptions{Iterations: 2}, Turn: trt.TimeOptions{WarmUp: 1, Iterations: 2}, Rounds: 12, Seed: 1, OnRound: func(n int) { told = append(told, n) }}, m.now)
	if err != nil {
		t.Fatal(err)
	}
	trace := strings.Join(m.trace, "")
	if !strings.HasPrefix(trace, "aabbcc") {
		t.Errorf("warm-up %s", trace)
	}
	trace = trace[len("aabbcc"):]
	orders := map[string]bool{}
	for round := range 12 {
		turns := trace[9*round : 9*round+9]
		orders[turns] = true
		letters := slices.Sorted(slices.Values(strings.Split(turns, "")))
		if strings.Join(letters, "") != "aaabbbccc" {
			t.Errorf("round %d: %s", round, turns)
		}
	}
	if len(orders) < 3 {
		t.Errorf("12 rounds in %d orders", len(orders))
	}
	for i, want := range []float64{1000, 3000, 1000} {
		if len(runs[i].Blocks) != 12 || len(runs[i].Spans) != 12 {
			t.Fatalf("timer %d: %d blocks, %d spans", i, len(runs[i].Blocks), len(runs[i].Spans))
		}
		for k, b := range runs[i].Blocks {
			if len(b.Samples) != 2 || b.Wall != 2*want || b.Samples[0].EndToEnd != want || b.Samples[1].Start != want {
				t.Errorf("timer %d, block %d: %+v", i, k, b)
			}
			if got := runs[i].Spans[k].To.Sub(runs[i].Spans[k].From).Seconds() * 1000; got != 3*want { // with the turn's warm-up
				t.Errorf("timer %d, span %d: %v ms", i, k, got)
			}
		}
	}
	if len(told) != 12 || told[11] != 12 {
		t.Errorf("rounds told: %v", told)
	}
	again := &machine{t: time.Unix(0, 0)}
	if _, err := measure(context.Background(), []Timer{again.timer("a", time.Second), again.timer("b", 3*time.Second), again.timer("c", time.Second)},
		Options{Turn: trt.TimeOptions{WarmUp: 1, Iterations: 2}, Rounds: 12, Seed: 1}, again.now); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(again.trace, ""); got != trace {
		t.Errorf("the same seed gives another order:\n%s\n%s", got, trace)
	}
}

func TestMeasureLimits(t *testing.T) {
	one := trt.TimeOptions{Iterations: 1}
	for _, c := range []struct {
		o    Options
		want []int // samples of each block
	}{
		{Options{Turn: one, Rounds: 5}, []int{1, 1, 1, 1, 1}},
		{Options{Turn: one, Duration: 3 * time.Second}, []int{1, 1, 1}},
		{Options{Turn: one, Rounds: 50, Duration: 2 * time.Second}, []int{1, 1}},
		{Options{Turn: one, Rounds: 2, Duration: 4 * time.Second}, []int{1, 1}},
		{Options{Turn: one, Duration: time.Second, MinRounds: 4}, []int{1, 1, 1, 1}},
		{Options{Turn: trt.TimeOptions{Duration: 2500 * time.Millisecond}, Rounds: 2}, []int{3, 3}},
		{Options{Turn: trt.TimeOptions{Duration: time.Millisecond}, Rounds: 2}, []int{1, 1}},
		{Options{Turn: trt.TimeOptions{Duration: time.Hour}, Iterations: 8, Rounds: 3}, []int{3, 3, 2}},
	} {
		m := &machine{t: time.Unix(0, 0)}
		runs, err := measure(context.Background(), []Timer{m.timer("a", time.Second)}, c.o, m.now)
		if err != nil {
			t.Errorf("%+v: %v", c.o, err)
			continue
		}
		var got []int
		for _, b := range runs[0].Blocks {
			got = append(got, len(b.Samples))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: blocks of %v, want %v", c.o, got, c.want)
		}
	}
}

func TestMeasureStops(t *testing.T) {
	broken := errors.New("broken")
	fails := Function(func() error { return broken })
	for _, o := range []Options{
		{Turn: trt.TimeOptions{Iterations: 1}, Rounds: 3},
		{Turn: trt.TimeOptions{Iterations: 1, WarmUp: 1}, Rounds: 3},
		{WarmUp: trt.TimeOptions{Iterations: 1}, Rounds: 3},
	} {
		if _, err := Measure(context.Background(), []Timer{fails}, o); !errors.Is(err, broken) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, turn := range []trt.TimeOptions{{Iterations: 1}, {Iterations: 100}, {WarmUp: 100, Iterations: 1}} {
		ctx, cancel := context.WithCancel(context.Background())
		n := 0
		_, err := Measure(ctx, []Timer{Function(func() error {
			if n++; n == 4 {
				cancel()
			}
			return nil
		})}, Options{Turn: turn, Rounds: 100})
		if !errors.Is(err, context.Canceled) || n != 4 {
			t.Errorf("%+v: %d runs, %v", turn, n, err)
		}
	}
}
