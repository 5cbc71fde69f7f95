// The teacher: the float model up to the distillation nodes. Samples are not
// changed at random, so what it says of one never changes either, and is kept on
// the device as far as memory is allowed for it.
package qat

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"

	"trtact/internal/compute"
	"trtact/internal/nn"
	"trtact/internal/onnx"
	"trtact/internal/rss"
)

// teacher gives the targets of samples.
type teacher struct {
	net   *nn.Network
	nodes []Node
	at    []int // where each node's values begin in a sample's buffer
	bytes int   // of a sample's buffer

	device *compute.Device
	asked  int64 // Options.CacheBytes

	mu      sync.Mutex
	kept    map[int]compute.Address // by the sample's number
	free    []compute.Address       // places for further ones
	left    int                     // how many more places may be made
	buffers []*compute.Buffer
}

func newTeacher(r *Run, nodes []Node, workers int) (*teacher, error) {
	m := r.Model.Clone()
	if err := m.Graph.Extract(tensorsOf(nodes)); err != nil {
		return nil, fmt.Errorf("prepare the teacher: %w", err)
	}
	net, err := nn.Compile(m, r.Device, nn.Options{Plain: true, Workers: workers})
	if err != nil {
		return nil, fmt.Errorf("prepare the teacher: %w", err)
	}
	t := &teacher{net: net, nodes: nodes, device: r.Device, asked: r.Options.CacheBytes, kept: map[int]compute.Address{}}
	for i := range nodes {
		t.at = append(t.at, t.bytes)
		t.bytes += (4*nodes[i].len() + 63) / 64 * 64
	}
	return t, nil
}

func (t *teacher) close() {
	for _, b := range t.buffers {
		b.Close()
	}
	t.net.Close()
}

// remember keeps the targets of so many samples from now on: all else that training takes
// is allocated. A GPU, which stops for it, gives the memory at once, others as samples come.
func (t *teacher) remember(samples int) {
	t.left, t.free = int(min(t.room()/int64(t.bytes), int64(samples))), nil
	if t.device.Name() != "cpu" {
		t.grow(t.left)
	}
}

// grow makes places for so many samples' targets. Where somebody else has the memory there
// will be none, and the teacher is asked again.
func (t *teacher) grow(samples int) {
	if samples == 0 {
		return
	}
	b, err := t.device.Alloc(samples * t.bytes)
	if err != nil {
		slog.Debug("no more of the teacher's outputs are kept", "samples", len(t.kept), "why", err.Error())
		t.left = 0
		return
	}
	t.left -= samples
	t.buffers = append(t.buffers, b)
	for i := range samples {
		t.free = append(t.free, compute.Address{Buffer: b, At: i * t.bytes})
	}
}

// room is the memory for kept targets: what was asked for, else of a GPU half of what is
// free, of a machine a quarter, 1 GiB at most.
func (t *teacher) room() int64 {
	const most = 1 << 30
	switch {
	case t.asked != 0:
		return max(0, t.asked)
	case t.device.Name() == "cpu":
		return min(most, rss.Machine()/4)
	}
	free, _, err := t.device.Memory()
	if err != nil {
		return 0
	}
	return int64(free / 2)
}

func tensorsOf(nodes []Node) []string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Tensor)
	}
	return names
}

// give calls use with the place of the row-major values at each node for a sample, known
// by its number. They are there during the call only. Several goroutines may call give.
func (t *teacher) give(ctx context.Context, id int, inputs map[string]*onnx.Tensor, use func(node int, values compute.Address) error) error {
	t.mu.Lock()
	kept, known := t.kept[id]
	t.mu.Unlock()
	if known {
		for k := range t.nodes {
			if err := use(k, compute.Address{Buffer: kept.Buffer, At: kept.At + t.at[k]}); err != nil {
				return err
			}
		}
		return nil
	}
	return t.net.ForEach(ctx, 1, func(c *nn.Context, _ int) error {
		err := c.SetInputs(inputs)
		if err == nil {
			err = c.Run()
		}
		if err != nil {
			return fmt.Errorf("teacher: %w", err)
		}
		place, kept := t.reserve()
		for k, n := range t.nodes {
			values, err := c.Place(n.Tensor)
			if err == nil && kept {
				err = place.Buffer.Copy(place.At+t.at[k], values, 4*n.len())
			}
			if err == nil {
				err = use(k, values)
			}
			if err != nil {
				return err
			}
		}
		if kept {
			t.keep(id, place)
		}
		return nil
	})
}

func (t *teacher) keep(id int, place compute.Address) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.kept[id]; known { // another goroutine was as quick
		t.free = append(t.free, place)
		return
	}
	t.kept[id] = place
}

// reserve takes a place for a sample's targets, if there is one left.
func (t *teacher) reserve() (place compute.Address, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.free) == 0 && t.left > 0 {
		t.grow(1)
	}
	if len(t.free) == 0 {
		return place, false
	}
	place, t.free = t.free[0], t.free[1:]
	return place, true
}

// targets are the row-major values at the nodes for a sample.
func (t *teacher) targets(ctx context.Context, id int, inputs map[string]*onnx.Tensor) ([][]float32, error) {
	list := make([][]float32, len(t.nodes))
	return list, t.give(ctx, id, inputs, func(k int, values compute.Address) error {
		list[k] = make([]float32, t.nodes[k].len())
		return values.Buffer.Download(values.At, list[k])
	})
}

// normalizeOver is how many samples the teacher's spread is taken from.
const normalizeOver = 16

// normalize divides the weights of L1 and L2 nodes by the spread of the teacher's
// values there (standard deviation and variance), so that nodes of different units
// count alike.
func (t *teacher) normalize(ctx context.Context, f *feeder) error {
	var moments = make([]struct{ sum, squares, count float64 }, len(t.nodes))
	for place := range min(normalizeOver, len(f.order.samples)) {
		id := f.order.samples[place]
		inputs, id, err := f.read(id)
		if err != nil {
			return err
		}
		values, err := t.targets(ctx, id, inputs)
		if err != nil {
			return err
		}
		for k, list := range values {
			m := &moments[k]
			for _, v := range list {
				m.sum += float64(v)
				m.squares += float64(v) * float64(v)
			}
			m.count += float64(len(list))
		}
	}
	for k := range t.nodes {
		n, m := &t.nodes[k], moments[k]
		mean := m.sum / m.count
		variance := m.squares/m.count - mean*mean
		if !(variance > 1e-12) || math.IsInf(variance, 0) { // constant: nothing to compare by
			continue
		}
		switch n.Loss {
		case L2:
			n.Weight /= variance
		case L1:
			n.Weight /= math.Sqrt(variance)
		}
	}
	return nil
}

// kind is the quantiser as nn knows it.
func (q Quantizer) kind() nn.Quantizer {
	switch q {
	case LSQ:
		return nn.LearnedScales
	case PACT:
		return nn.LearnedClips
	case Fixed:
		return nn.FixedScales
	}
	return nn.ObservedScales
}
