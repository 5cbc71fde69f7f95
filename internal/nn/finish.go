package nn

import (
	"fmt"
	"math"
	"slices"

	"trtact/internal/compute"
	"trtact/internal/fault"
)

// forever is the last step of a tensor that is read after a run.
const forever = math.MaxInt

// finish makes the outputs readable, plans the memory and uploads the constants.
func (b *builder) finish() (*Network, error) {
	n := &Network{device: b.device, options: b.o, values: map[string]*value{}}
	b.node = nil
	expose := func(name string) error {
		v := b.values[name]
		if v == nil {
			return fmt.Errorf("compile: output %q is not computed by the graph (it may have been fused away)", name)
		}
		n.values[name] = v
		if v.constant != nil || v.onHost {
			return nil
		}
		_, err := b.any(name)
		if b.o.Plain && err == nil {
			_, err = b.in(name, compute.Plain)
		}
		if err != nil {
			return fmt.Errorf("compile: output %q: %w", name, err)
		}
		for _, t := range []*tensor{v.plain, v.blocked} {
			if t != nil { // whichever is read, it must still be there
				t.root().last = forever
				t.root().used = t.root().constant != nil
			}
		}
		return nil
	}
	for _, out := range b.g.Outputs {
		if err := expose(out.Name); err != nil {
			return nil, err
		}
		n.outputs = append(n.outputs, b.g.Info[out.Name])
	}
	for _, name := range b.o.Outputs {
		if err := expose(name); err != nil {
			return nil, err
		}
	}
	for _, in := range b.g.Inputs {
		v := b.values[in.Name]
		for _, t := range []*tensor{v.plain, v.blocked} {
			if t != nil { // an input that is set stays set, and can be observed after a run
				t.root().last = forever
			}
		}
		n.values[in.Name] = v
		n.inputs = append(n.inputs, b.g.Info[in.Name])
	}
	n.steps, n.ops = b.steps, b.ops

	block := b.device.Block()
	var live []*tensor
	for _, t := range b.tensors {
		switch {
		case t.constant != nil:
			if t.used {
				t.offset = n.constantBytes
				n.constantBytes += align(t.desc.Bytes(block))
			}
		case t.home == inArena && t.alias == nil:
			if b.o.KeepAll {
				t.last = forever
			}
			live = append(live, t)
		}
	}
	n.arenaBytes = place(live, block)
	if b.training != nil {
		n.gradientBytes = b.training.gradientBytes
	}
	for _, op := range b.ops {
		n.workspaceBytes = max(n.workspaceBytes, op.Workspace())
	}
	if err := b.fitsMemory(n.ContextBytes()+n.constantBytes, n.batch()); err != nil {
		return nil, err
	}
	var err error
	if n.constants, err = b.device.Alloc(n.constantBytes); err != nil {
		return nil, err
	}
	for _, t := range b.tensors {
		if t.used {
			stored := t.constant
			if t.desc.Layout == compute.Blocked {
				stored = inBlocks(t.constant, t.desc.Dims, block)
			}
			if err := n.constants.Upload(t.offset, stored); err != nil {
				n.constants.Close()
				return nil, err
			}
		}
	}
	return n, nil
}

// NoRoom is the error of a network or trainer that a device has no memory for. Fits is
// how many images at once it has memory for.
type NoRoom struct {
	Fits int
	text string
}

func (e *NoRoom) Error() string { return e.text }

// fitsMemory refuses what cannot be allocated: a system that overcommits would say so
// only by killing the process, a GPU half-way. batch is what one run takes at once.
func (b *builder) fitsMemory(bytes, batch int) error {
	whose, most, err := "allowed is", b.o.MaxBytes, error(nil)
	if most == 0 {
		var free int
		if free, most, err = b.device.Memory(); err != nil {
			return nil // it will be seen when it is asked for
		}
		whose = "this machine has"
		if b.device.Name() == "cuda" {
			whose, most = "free on the GPU is", free-forLibraries(most)
		}
	}
	if bytes <= most {
		return nil
	}
	const gib = 1 << 30
	fits := int(float64(batch) * float64(most) / float64(bytes))
	advice := "use a smaller input size"
	switch {
	case fits > 0 && b.training != nil:
		advice = fmt.Sprintf("--threads %d fits", fits)
	case fits > 0:
		advice = fmt.Sprintf("a batch of %d fits", fits)
	}
	return fault.BadInput(&NoRoom{fits, fmt.Sprintf("compile: one run takes %.2f GiB of memory, %s %.2f GiB: %s",
		float64(bytes)/gib, whose, float64(most)/gib, advice)})
}

// forLibraries is what of a GPU's memory is left for what comes beside tensors: workspaces
// of cuBLAS for each stream, kernels, graphs.
func forLibraries(total int) int { return min(512<<20, total/16) }

// batch is how many images the network's first input holds.
func (n *Network) batch() int {
	if len(n.inputs) == 0 || len(n.inputs[0].Dims) < 3 {
		return 1
	}
	return max(1, n.inputs[0].Dims[0])
}

// Tensors start at cache lines.
func align(bytes int) int { return (bytes + 63) &^ 63 }

// place gives every tensor an offset so that tensors alive at the same time do
// not overlap, and returns the size of the whole. Largest first, each at the
// lowest place that is free during its life: not optimal, but within a few
// percent of it for networks.
func place(tensors []*tensor, block int) int {
	order := slices.Clone(tensors)
	slices.SortStableFunc(order, func(a, b *tensor) int {
		return b.desc.Bytes(block) - a.desc.Bytes(block)
	})
	total := 0
	var placed []*tensor // by offset
	for _, t := range order {
		size := align(t.desc.Bytes(block))
		at := 0
		for _, other := range placed {
			if other.last < t.first || t.last < other.first {
				continue
			}
			if at+size <= other.offset {
				break
			}
			at = max(at, other.offset+align(other.desc.Bytes(block)))
		}
		t.offset = at
		total = max(total, at+size)
		i, _ := slices.BinarySearchFunc(placed, t, func(a, b *tensor) int { return a.offset - b.offset })
		placed = slices.Insert(placed, i, t)
	}
	return total
}

// layoutFor is the layout in which a value of that rank is best computed.
func (b *builder) layoutFor(dims []int) compute.Layout {
	if len(dims) >= 3 && len(dims) <= 5 && dims[1] > 4 {
		return compute.Blocked
	}
	return compute.Plain
}
