package nn

import (
	"runtime"

	"trtact/internal/parallel"
)

// systemThread runs what it is given on one system thread of its own. OpenMP keeps
// a team of threads for every thread that asks for one, and a goroutine moves
// between system threads from call to call: without this each move would start or
// wake another team.
type systemThread chan func()

func startThread() systemThread {
	t := make(systemThread)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, and its team, end with the goroutine
		for call := range t {
			call()
		}
	}()
	return t
}

// do runs f there; a nil thread runs it here.
func (t systemThread) do(f func() error) error {
	if t == nil {
		return f()
	}
	var err error
	var caught *parallel.Panic
	done := make(chan struct{})
	t <- func() {
		defer close(done)
		caught = parallel.Catch(func() { err = f() })
	}
	<-done
	caught.Raise()
	return err
}

// stop ends the thread. It must not be used again.
func (t systemThread) stop() {
	if t != nil {
		close(t)
	}
}
