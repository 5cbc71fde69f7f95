// Ctrl-C: the first one cancels the context, so that the step in hand can end
// and save; the second leaves at once. Files are renamed into place when
// complete, so leaving at once tears none.

package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"trtact/internal/fault"
)

// withInterrupt is ctx, cancelled by SIGINT, SIGTERM or, unless it is ignored as under
// nohup, SIGHUP: a terminal that is closed loses nothing. stop ends the watch.
func withInterrupt(ctx context.Context, stderr io.Writer) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case <-signals:
				if n > 0 {
					os.Exit(fault.CodeInterrupted)
				}
				fmt.Fprintln(stderr, "\ntrtact: stopping; press Ctrl-C again to leave at once")
				cancel()
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}
