// Package bench times things that are run again and again, side by side: each
// round runs every one once, so that a slow spell of the machine (another
// process, a falling clock) falls on all of them and their ratios stay true.
package bench

import (
	"context"
	"time"
)

// Options say how long to measure. Measuring ends when Rounds are done or
// Duration has passed, whichever is first, but not before MinRounds; a zero
// Rounds or Duration is no limit. WarmUp rounds are run before and not counted.
type Options struct {
	WarmUp    int
	Rounds    int
	MinRounds int
	Duration  time.Duration
	// OnRound, when set, is told the number of rounds done, after each.
	OnRound func(done int)
}

// Measure runs every one of runs once a round and returns their times in
// seconds, by run and round. The first error, or the end of ctx, ends it.
func Measure(ctx context.Context, runs []func() error, o Options) ([][]float64, error) {
	return measure(ctx, runs, o, time.Now)
}

func measure(ctx context.Context, runs []func() error, o Options, now func() time.Time) ([][]float64, error) {
	for range o.WarmUp {
		for _, run := range runs {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := run(); err != nil {
				return nil, err
			}
		}
	}
	times := make([][]float64, len(runs))
	start := now()
	for round := 0; ; round++ {
		enough := o.Rounds > 0 && round >= o.Rounds || o.Duration > 0 && now().Sub(start) >= o.Duration
		if enough && round >= o.MinRounds {
			return times, nil
		}
		for k := range runs {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			i := (k + round) % len(runs) // none is always the one after another
			begin := now()
			if err := runs[i](); err != nil {
				return nil, err
			}
			times[i] = append(times[i], now().Sub(begin).Seconds())
		}
		if o.OnRound != nil {
			o.OnRound(round + 1)
		}
	}
}
