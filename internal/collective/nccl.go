package collective

import (
	"context"
	"fmt"
	"time"

	"trtact/internal/fault"
)

// joinTime is how long the processes may take to find each other without MPI.
const joinTime = 5 * time.Minute

// openNCCL joins by NCCL. Its id goes from rank 0 to the others over MPI where an
// MPI launcher started them, and then MPI also carries what lies in host memory;
// else over MASTER_ADDR and MASTER_PORT, as torchrun's variables have it.
func (g *Group) openNCCL(ctx context.Context, device int, byHand bool) error {
	l := g.launch
	e, err := findEngine("libtrtact_nccl.so")
	if err != nil {
		return fault.NoDevice(fmt.Errorf("%d processes were started (%s), but NCCL cannot be used: %w", l.Size, l.By, err))
	}
	var common id
	if l.MPI {
		if err := g.openMPI(byHand); err != nil {
			return err
		}
		if g.Rank() == 0 {
			common, err = e.makeID()
		}
		data, err := g.Share(ctx, err, common[:])
		if err != nil {
			return err
		}
		g.device, err = e.join(g.Rank(), g.Size(), device, id(data))
		return g.Agree(ctx, err, nil, nil)
	}
	if l.Master == "" {
		return fault.Usage(fmt.Errorf("%s says that %d processes were started, but MASTER_ADDR is not set: it names the machine of rank 0, where the others ask for NCCL's id", l.By, l.Size))
	}
	if l.Rank == 0 {
		if common, err = e.makeID(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	if g.link, err = meet(ctx, l, &common); err != nil {
		return err
	}
	if g.m, err = e.join(l.Rank, l.Size, device, common); err != nil {
		return err
	}
	g.link.watch(g.lose)
	return nil
}
