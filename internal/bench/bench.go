// Package bench times things that are run again and again, side by side, and
// says what the times mean.
//
// What is compared takes turns: a round gives each a turn, in an order drawn
// anew, so that a slow spell of the machine (another process, a falling clock)
// falls on all of them and their ratios stay true. Rounds are also what the
// intervals of package stats are made from.
package bench

import (
	"context"
	"math/rand/v2"
	"time"

	"trtact/internal/gpu"
	"trtact/trt"
)

// Timer is one thing to time: an engine, or a model on the CPU.
type Timer interface {
	// Time runs it a turn long.
	Time(ctx context.Context, o trt.TimeOptions) (trt.Block, error)
}

// Options say what a turn is and how many there are.
type Options struct {
	// WarmUp is done by each once before the first round and not counted. It is
	// left out when it has no length.
	WarmUp trt.TimeOptions
	// Turn is done by each in every round.
	Turn trt.TimeOptions
	// Iterations, when above 0, is the number of runs that each does in all Rounds
	// together; it takes the place of the length of Turn.
	Iterations int
	// Measuring ends when Rounds are done or Duration has passed, whichever is
	// first, but not before MinRounds; a zero Rounds or Duration is no limit.
	Rounds, MinRounds int
	Duration          time.Duration
	Seed              uint64 // of the order
	// OnRound, when set, is told the number of rounds done, after each.
	OnRound func(done int)
}

// Run is what one timer did: a block for each round, and when.
type Run struct {
	Blocks []trt.Block
	Spans  []gpu.Span
}

// Measure gives every timer its turns and returns what they did. The first
// error, or the end of ctx, ends it.
func Measure(ctx context.Context, timers []Timer, o Options) ([]Run, error) {
	return measure(ctx, timers, o, time.Now)
}

func measure(ctx context.Context, timers []Timer, o Options, now func() time.Time) ([]Run, error) {
	if o.WarmUp.Iterations > 0 || o.WarmUp.Duration > 0 {
		for _, t := range timers {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if _, err := t.Time(ctx, o.WarmUp); err != nil {
				return nil, err
			}
		}
	}
	runs := make([]Run, len(timers))
	random := rand.New(rand.NewPCG(o.Seed, 0))
	start := now()
	for round := 0; ; round++ {
		enough := o.Rounds > 0 && round >= o.Rounds || o.Duration > 0 && now().Sub(start) >= o.Duration
		if enough && round >= o.MinRounds {
			return runs, nil
		}
		for _, i := range random.Perm(len(timers)) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			from := now()
			b, err := timers[i].Time(ctx, o.turn(round))
			if err != nil {
				return nil, err
			}
			runs[i].Blocks = append(runs[i].Blocks, b)
			runs[i].Spans = append(runs[i].Spans, gpu.Span{From: from, To: now()})
		}
		if o.OnRound != nil {
			o.OnRound(round + 1)
		}
	}
}

// turn is the turn of a round. Iterations that do not divide evenly go to the
// first rounds.
func (o Options) turn(round int) trt.TimeOptions {
	t := o.Turn
	if o.Iterations > 0 && o.Rounds > 0 {
		t.Duration = 0
		t.Iterations = o.Iterations / o.Rounds
		if round < o.Iterations%o.Rounds {
			t.Iterations++
		}
	}
	return t
}
