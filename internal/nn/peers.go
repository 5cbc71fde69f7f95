package nn

import (
	"context"

	"trtact/internal/compute"
)

// Peers are the processes that train one student together, this one among them. All
// of them hold the same parameters, make the same steps, and call this in the same
// order.
type Peers interface {
	// Size is the number of processes.
	Size() int
	// Agree waits for all, replaces the numbers by their sums over all, and gives an
	// error to all when one of them brings one.
	Agree(ctx context.Context, err error, sums []float64) error
	// SumBuffer replaces float32 numbers of device memory, from byte offset at on,
	// by their sums over all processes, the same on all to the bit.
	SumBuffer(b *compute.Buffer, at, count int) error
	// Max replaces numbers by their maxima over all.
	Max(values []float32) error
}
