// The teacher: the float model up to the distillation nodes. Samples are not
// changed at random, so what it says of one never changes either, and is kept as
// far as memory is allowed for it.
package qat

import (
	"context"
	"fmt"
	"math"
	"sync"

	"golang.org/x/sys/unix"

	"trtact/internal/nn"
	"trtact/internal/onnx"
)

// teacher gives the targets of samples.
type teacher struct {
	net   *nn.Network
	nodes []Node

	mu   sync.Mutex
	kept map[int][][]float32
	left int64 // bytes that may still be kept
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
	return &teacher{net: net, nodes: nodes, kept: map[int][][]float32{}, left: cacheBytes(r.Options.CacheBytes)}, nil
}

func (t *teacher) close() { t.net.Close() }

// cacheBytes is the memory for kept outputs: what was asked for, else a quarter of
// the machine's, 1 GiB at most.
func cacheBytes(asked int64) int64 {
	const most = 1 << 30
	if asked != 0 {
		return max(0, asked)
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return min(most, int64(info.Totalram)*int64(info.Unit)/4)
}

func tensorsOf(nodes []Node) []string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Tensor)
	}
	return names
}

// targets are the row-major values at the nodes for a sample, known by its number.
// Several goroutines may call it.
func (t *teacher) targets(ctx context.Context, id int, inputs map[string]*onnx.Tensor) ([][]float32, error) {
	t.mu.Lock()
	values := t.kept[id]
	t.mu.Unlock()
	if values != nil {
		return values, nil
	}
	values, err := outputs(ctx, t.net, t.nodes, inputs)
	if err != nil {
		return nil, fmt.Errorf("teacher: %w", err)
	}
	bytes := int64(0)
	for _, v := range values {
		bytes += 4 * int64(len(v))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept[id] == nil && bytes <= t.left {
		t.kept[id] = values
		t.left -= bytes
	}
	return values, nil
}

// outputs runs a network on one sample and gives its values at the nodes.
func outputs(ctx context.Context, net *nn.Network, nodes []Node, inputs map[string]*onnx.Tensor) (values [][]float32, err error) {
	err = net.ForEach(ctx, 1, func(c *nn.Context, _ int) error {
		if err := c.SetInputs(inputs); err != nil {
			return err
		}
		if err := c.Run(); err != nil {
			return err
		}
		for _, n := range nodes {
			v, err := c.Output(n.Tensor)
			if err != nil {
				return err
			}
			values = append(values, v.Floats())
		}
		return nil
	})
	return values, err
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
