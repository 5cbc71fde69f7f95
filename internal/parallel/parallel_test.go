package parallel

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
)

func TestEach(t *testing.T) {
	for _, workers := range []int{1, 3, 100} {
		var calls [50]atomic.Int32
		if err := Each(context.Background(), workers, len(calls), func(_ context.Context, i int) error {
			calls[i].Add(1)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for i := range calls {
			if n := calls[i].Load(); n != 1 {
				t.Errorf("%d workers: %d was called %d times", workers, i, n)
			}
		}
	}
	if err := Each(context.Background(), 2, 0, nil); err != nil {
		t.Error(err)
	}
}

// TestEachStops: an error, a panic and the end of the context stop the others, who wait for
// that.
func TestEachStops(t *testing.T) {
	mine := errors.New("mine")
	over, end := context.WithCancel(context.Background())
	for name, c := range map[string]struct {
		ctx  context.Context
		stop func() error
		want error
	}{
		"error":   {context.Background(), func() error { return mine }, mine},
		"panic":   {context.Background(), func() error { panic(mine) }, mine},
		"context": {over, func() error { end(); return nil }, context.Canceled},
	} {
		var calls atomic.Int32
		err := func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = p.(error)
				}
			}()
			return Each(c.ctx, 3, 1000, func(ctx context.Context, i int) error {
				calls.Add(1)
				if i == 5 {
					return c.stop()
				}
				if i > 5 {
					<-ctx.Done()
				}
				return nil
			})
		}()
		if !errors.Is(err, c.want) || calls.Load() > 8 {
			t.Errorf("%s: %v after %d calls", name, err, calls.Load())
		}
	}
}

// TestPanic: it comes to the caller when all workers have ended, or when it is raised.
func TestPanic(t *testing.T) {
	var ended atomic.Int32
	p := Catch(func() {
		Workers(4, func(k int) {
			defer ended.Add(1)
			if k == 2 {
				panic("mine")
			}
		})
	})
	if p == nil || p.value != "mine" || ended.Load() != 4 {
		t.Errorf("%+v after %d workers", p, ended.Load())
	}
	if q := Catch(p.Raise); q == nil || q.value != "mine" {
		t.Errorf("raised again: %+v", q)
	}
	Catch(func() {}).Raise()
}
