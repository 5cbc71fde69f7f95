package bench

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// machine is a clock that only running moves on.
type machine struct {
	t     time.Time
	trace []string
}

func (m *machine) now() time.Time { return m.t }

func (m *machine) run(name string, d time.Duration) func() error {
	return func() error {
		m.t = m.t.Add(d)
		m.trace = append(m.trace, name)
		return nil
	}
}

func TestMeasureInterleaves(t *testing.T) {
	m := &machine{t: time.Unix(0, 0)}
	var rounds []int
	times, err := measure(context.Background(), []func() error{m.run("a", time.Second), m.run("b", 3*time.Second)},
		Options{WarmUp: 1, Rounds: 3, OnRound: func(n int) { rounds = append(rounds, n) }}, m.now)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(m.trace, ""); got != "ab"+"ab"+"ba"+"ab" {
		t.Errorf("order %s", got)
	}
	for i, want := range []float64{1, 3} {
		if len(times[i]) != 3 {
			t.Fatalf("run %d: %d times", i, len(times[i]))
		}
		for _, v := range times[i] {
			if v != want {
				t.Errorf("run %d took %v s, want %v", i, v, want)
			}
		}
	}
	if len(rounds) != 3 || rounds[2] != 3 {
		t.Errorf("rounds told: %v", rounds)
	}
}

func TestMeasureLimits(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want int
	}{
		{Options{Rounds: 5}, 5},
		{Options{Duration: 10 * time.Second}, 10},
		{Options{Rounds: 50, Duration: 4 * time.Second}, 4},
		{Options{Rounds: 2, Duration: 4 * time.Second}, 2},
		{Options{Duration: 2 * time.Second, MinRounds: 7}, 7},
	} {
		m := &machine{t: time.Unix(0, 0)}
		times, err := measure(context.Background(), []func() error{m.run("a", time.Second)}, c.o, m.now)
		if err != nil || len(times[0]) != c.want {
			t.Errorf("%+v: %d rounds, %v; want %d", c.o, len(times[0]), err, c.want)
		}
	}
}

func TestMeasureStops(t *testing.T) {
	broken := errors.New("broken")
	if _, err := Measure(context.Background(), []func() error{func() error { return broken }}, Options{Rounds: 3}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	_, err := Measure(ctx, []func() error{func() error {
		if n++; n == 4 {
			cancel()
		}
		return nil
	}}, Options{Rounds: 100})
	if !errors.Is(err, context.Canceled) || n != 4 {
		t.Errorf("%d runs, %v", n, err)
	}
}
