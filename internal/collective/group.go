package collective

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"trtact/internal/compute"
	"trtact/internal/fault"
)

// Group is this process among those that train together. All of them make the
// same calls in the same order, from one goroutine at a time.
type Group struct {
	m      *member // what is said between hosts goes by it
	device *member // sums in device memory; nil: m does it
	link   *link   // to the others, to learn of their end; nil where a launcher sees to it

	launch Launch
	lost   atomic.Pointer[string] // why another process is taken for gone
	apart  bool                   // some call failed: the processes no longer go the same way
	agreed bool                   // all know of an error
	closed atomic.Bool
}

// Rank is this process's number; 0 evaluates, writes and speaks.
func (g *Group) Rank() int { return g.m.rank() }

// Size is the number of processes.
func (g *Group) Size() int { return g.m.size() }

// Launch is how they were started.
func (g *Group) Launch() Launch { return g.launch }

// Name is what carries the sums, and its version: "MPI (Open MPI v4.1.4)".
func (g *Group) Name() string {
	e := g.m.e
	if g.device != nil {
		e = g.device.e
	}
	return map[string]string{"mpi": "MPI", "nccl": "NCCL"}[e.name()] + " (" + e.version + ")"
}

// How long a cancelled process waits for the others to agree on the end, and how
// often it looks whether it was.
const (
	patience = 10 * time.Second
	slice    = 20 * time.Millisecond
)

// Elsewhere is the error of another process, which ends this one as well.
type Elsewhere struct {
	Rank, Size int
	Text       string
	code       int
}

func (e *Elsewhere) Error() string {
	if e.code == fault.CodeInterrupted {
		return fmt.Sprintf("process %d of %d was interrupted", e.Rank, e.Size)
	}
	return fmt.Sprintf("process %d of %d: %s", e.Rank, e.Size, e.Text)
}

// Unwrap makes another's interruption one.
func (e *Elsewhere) Unwrap() error {
	if e.code == fault.CodeInterrupted {
		return context.Canceled
	}
	return nil
}

// Marks of a process on the way to a common decision.
const (
	fine = iota
	interrupted
	failed
)

// errorBytes is the place of an error that is told to the others.
const errorBytes = 1024

// Agree waits for all processes, adds up the numbers that each of them brings
// (equally many), and gives an error on all when one of them has one: its own to the
// process that brought it, an *Elsewhere to the others. whenCancelled is called once
// if ctx ends while it waits; nil: nothing. Of several errors that of a process that
// failed counts before one that was interrupted, then the lower rank.
func (g *Group) Agree(ctx context.Context, err error, sums []float64, whenCancelled func()) error {
	if e := g.wait(ctx, whenCancelled); e != nil {
		return errors.Join(err, e)
	}
	n := g.Size()
	values := append(make([]float64, n, n+len(sums)), sums...)
	if err != nil {
		values[g.Rank()] = failed
		if fault.Code(err) == fault.CodeInterrupted {
			values[g.Rank()] = interrupted
		}
	}
	if e := g.m.allReduce(unsafe.Pointer(&values[0]), len(values), float64s, sum, hostMemory); e != nil {
		return g.broken(e)
	}
	copy(sums, values[n:])
	speaker := -1
	for rank, mark := range values[:n] {
		if mark != fine && (speaker < 0 || mark == failed && values[speaker] != failed) {
			speaker = rank
		}
	}
	if speaker < 0 {
		return nil
	}
	return g.hear(speaker, err)
}

// told is an error on its way to the other processes.
type told struct {
	Code int
	Text string
}

// hear gives the speaker's error to all.
func (g *Group) hear(speaker int, own error) error {
	block := make([]byte, errorBytes)
	if g.Rank() == speaker {
		t := told{fault.Code(own), own.Error()}
		data, err := json.Marshal(t)
		for ; err == nil && len(data) > len(block); data, err = json.Marshal(t) {
			t.Text = t.Text[:len(t.Text)/2]
		}
		copy(block, data)
	}
	if err := g.m.broadcast(block, speaker); err != nil {
		return g.broken(err)
	}
	g.agreed = true
	if g.Rank() == speaker {
		return own
	}
	end := len(block)
	for end > 0 && block[end-1] == 0 {
		end--
	}
	var t told
	if err := json.Unmarshal(block[:end], &t); err != nil {
		return g.broken(fmt.Errorf("the error of process %d did not come across: %w", speaker, err))
	}
	e := &Elsewhere{Rank: speaker, Size: g.Size(), Text: t.Text, code: t.Code}
	switch t.Code {
	case fault.CodeUsage:
		return fault.Usage(e)
	case fault.CodeNoDevice:
		return fault.NoDevice(e)
	case fault.CodeBadInput:
		return fault.BadInput(e)
	}
	return e
}

// Share gives the bytes of rank 0 to all, and like Agree an error of any process.
func (g *Group) Share(ctx context.Context, err error, data []byte) ([]byte, error) {
	length := []float64{0}
	if g.Rank() == 0 {
		length[0] = float64(len(data))
	}
	if err := g.Agree(ctx, err, length, nil); err != nil {
		return nil, err
	}
	if g.Rank() != 0 {
		data = make([]byte, int(length[0]))
	}
	if err := g.m.broadcast(data, 0); err != nil {
		return nil, g.broken(err)
	}
	return data, nil
}

// SumBuffer replaces count numbers of device memory, from byte offset at on, by
// their sums over all processes. It follows an Agree.
func (g *Group) SumBuffer(b *compute.Buffer, at, count int) error {
	var err error
	switch {
	case g.device != nil:
		err = g.device.allReduce(b.Pointer(at), count, float32s, sum, deviceMemory)
	case b.Device().Name() == "cpu":
		err = g.m.allReduce(b.Pointer(at), count, float32s, sum, hostMemory)
	case g.m.takesDeviceMemory():
		err = g.m.allReduce(b.Pointer(at), count, float32s, sum, deviceMemory)
	default:
		values := make([]float32, count)
		if err = b.Download(at, values); err == nil {
			err = g.m.allReduce(unsafe.Pointer(&values[0]), count, float32s, sum, hostMemory)
		}
		if err == nil {
			err = b.Upload(at, values)
		}
	}
	return g.broken(err)
}

// Max replaces values by their maxima over all processes. It follows an Agree.
func (g *Group) Max(values []float32) error {
	if len(values) == 0 {
		return nil
	}
	return g.broken(g.m.allReduce(unsafe.Pointer(&values[0]), len(values), float32s, maximum, hostMemory))
}

// wait returns when all processes have come here.
func (g *Group) wait(ctx context.Context, whenCancelled func()) error {
	var since time.Time
	for {
		all, err := g.m.arrive(slice)
		if err != nil {
			return g.broken(err)
		}
		if all {
			return nil
		}
		if why := g.lost.Load(); why != nil {
			return g.broken(errors.New(*why))
		}
		switch {
		case ctx.Err() == nil:
		case since.IsZero():
			since = time.Now()
			if whenCancelled != nil {
				whenCancelled()
			}
		case time.Since(since) > patience:
			g.apart = true
			return fmt.Errorf("%w, and the other processes did not answer for %v", context.Cause(ctx), patience)
		}
	}
}

// broken notes that the processes have parted.
func (g *Group) broken(err error) error {
	if err == nil {
		return nil
	}
	g.apart = true
	return fmt.Errorf("training over %d processes: %w", g.Size(), err)
}

// Close leaves the group. The others leave it too, or this process is about to end.
func (g *Group) Close() {
	if g == nil || g.m == nil {
		return
	}
	if !g.agreed { // else another may still write a checkpoint, which takes its time
		defer g.m.begin()()
	}
	g.link.close(!g.apart)
	if g.device != nil {
		g.device.leave(!g.apart)
	}
	g.m.leave(!g.apart)
	g.m, g.device = nil, nil
	g.closed.Store(true)
}

// WhenStuck calls f, from another goroutine, when ctx has ended and a call has been
// waiting for the others for too long since: one of them died in it, and MPI's calls
// cannot be broken off. f is to end the process.
func (g *Group) WhenStuck(ctx context.Context, f func(error)) { g.whenStuck(ctx, patience, f) }

func (g *Group) whenStuck(ctx context.Context, limit time.Duration, f func(error)) {
	members := []*member{g.m, g.device} // Close takes them away
	context.AfterFunc(ctx, func() {
		for ended := time.Now(); !g.closed.Load(); time.Sleep(slice) {
			for _, m := range members {
				if m != nil && min(m.waits(), time.Since(ended)) > limit {
					f(fmt.Errorf("interrupted, and another process did not answer for %v; --resume goes on from the last checkpoint", limit))
					return
				}
			}
		}
	})
}

// lose ends what waits for a process that is gone.
func (g *Group) lose(why string) {
	if !g.lost.CompareAndSwap(nil, &why) {
		return
	}
	for _, m := range []*member{g.m, g.device} {
		if m != nil {
			m.abandon()
		}
	}
}

// Agreed reports whether an error of one process was told to all, so that all end.
func (g *Group) Agreed() bool { return g != nil && g.agreed && !g.apart }

// Part says that this process ends without the others' knowledge: Close will not
// wait for them.
func (g *Group) Part() { g.apart = true }
