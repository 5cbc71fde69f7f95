// Package parallel runs functions on several goroutines. A panic in one of them is the
// caller's, once all have ended: who recovers from panics need not know of goroutines.
package parallel

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Panic is one that was caught.
type Panic struct{ value any }

// Catch calls f and returns its panic, or nil.
func Catch(f func()) (p *Panic) {
	defer func() {
		if v := recover(); v != nil {
			slog.Debug("stack", "trace", string(debug.Stack()))
			p = &Panic{v}
		}
	}()
	f()
	return nil
}

// Raise panics as what was caught did; where nothing was (nil), it does nothing.
func (p *Panic) Raise() {
	if p != nil {
		panic(p.value)
	}
}

// Workers calls f for every k below n, each on a goroutine of its own, and waits for all.
func Workers(n int, f func(k int)) {
	var wait sync.WaitGroup
	panics := make([]*Panic, max(n, 0))
	for k := range n {
		wait.Add(1)
		go func() {
			defer wait.Done()
			panics[k] = Catch(func() { f(k) })
		}()
	}
	wait.Wait()
	for _, p := range panics {
		p.Raise()
	}
}

// Each calls f for every i below count, from as many workers as are asked for, in no
// certain order. The first error, a panic or the end of ctx ends the context that f gets
// and stops the rest; the error is returned.
func Each(ctx context.Context, workers, count int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	Workers(min(workers, count), func(int) {
		panicked := true
		defer func() {
			if panicked {
				cancel(nil)
			}
		}()
		for ctx.Err() == nil {
			i := int(next.Add(1)) - 1
			if i >= count {
				break
			}
			if err := f(ctx, i); err != nil {
				cancel(err)
			}
		}
		panicked = false
	})
	return context.Cause(ctx)
}
