// The teacher: the float model up to the distillation nodes.
package qat

import (
	"context"
	"fmt"
	"math"
	"slices"

	"trtact/internal/compute"
	"trtact/internal/nn"
	"trtact/internal/onnx"
)

// teacher gives the targets of samples, and keeps them on the device as far as memory is
// allowed for it: what it says of a sample never changes.
type teacher struct {
	net   *nn.Network
	nodes []Node
	at    []int // where each node's values begin in a sample's place
	// inputs are kept as well, behind the targets; none where that would spare little.
	inputs []keptInput
	shelf  *shelf
}

type keptInput struct {
	name string
	at   int // where it begins in a sample's place
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
	t := &teacher{net: net, nodes: nodes, shelf: newShelf(r.Device, r.Options.CacheBytes)}
	for i := range nodes {
		t.at = append(t.at, t.take(nodes[i].len()))
	}
	return t, nil
}

// take is where so many more values begin in a sample's place.
func (t *teacher) take(values int) int {
	at := t.shelf.bytes
	t.shelf.bytes += (4*values + 63) / 64 * 64
	return at
}

// keepInputs has a GPU keep what the student reads as well: a kept sample is neither read
// nor uploaded again. Where everything is a machine's own memory, nothing is gained. The
// inputs are those of so many images.
func (t *teacher) keepInputs(list []onnx.Value, images int) {
	if t.shelf.device.Name() == "cpu" || slices.ContainsFunc(list, func(v onnx.Value) bool { return v.Type != onnx.Float }) {
		return
	}
	for _, v := range list {
		values := 1
		for _, d := range v.Dims {
			values *= d
		}
		t.inputs = append(t.inputs, keptInput{v.Name, t.take(values / images)})
	}
}

func (t *teacher) close() {
	t.shelf.close()
	t.net.Close()
}

func tensorsOf(nodes []Node) []string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Tensor)
	}
	return names
}

// ready reports whether a sample can be fed without being read.
func (t *teacher) ready(id int) bool {
	place, kept := t.shelf.get(id)
	return kept && place.inputs
}

// feed gives a student a sample, known by its number, and its targets. Of one that is
// ready inputs may be nil. Several goroutines may call feed.
func (t *teacher) feed(ctx context.Context, id int, inputs map[string]*onnx.Tensor, wanted []onnx.Value, in *nn.Feed) error {
	place, kept := t.shelf.get(id)
	if !kept || !place.inputs {
		if err := fill(in, wanted, inputs); err != nil {
			return err
		}
		return t.give(ctx, id, inputs, in, in.CopyTarget)
	}
	for _, i := range t.inputs {
		if err := in.CopyInput(i.name, place.plus(i.at)); err != nil {
			return err
		}
	}
	return t.kept(place, in.CopyTarget)
}

// kept calls use with the places of a kept sample's targets.
func (t *teacher) kept(p place, use func(node int, values compute.Address) error) error {
	for k := range t.nodes {
		if err := use(k, p.plus(t.at[k])); err != nil {
			return err
		}
	}
	return nil
}

// give calls use with the place of the row-major values at each node for a sample. They
// are there during the call only. What is kept of the inputs lies in the student's feed.
func (t *teacher) give(ctx context.Context, id int, inputs map[string]*onnx.Tensor, in *nn.Feed, use func(node int, values compute.Address) error) error {
	if place, kept := t.shelf.get(id); kept {
		return t.kept(place, use)
	}
	return t.net.ForEach(ctx, 1, func(c *nn.Context, _ int) error {
		err := c.SetInputs(inputs)
		if err == nil {
			err = c.Run()
		}
		if err != nil {
			return fmt.Errorf("teacher: %w", err)
		}
		place, room := t.shelf.reserve()
		copyTo := func(at int, from compute.Address, bytes int) error {
			if !room {
				return nil
			}
			to := place.plus(at)
			return to.Buffer.Copy(to.At, from, bytes)
		}
		for k, n := range t.nodes {
			values, err := c.Place(n.Tensor)
			if err == nil {
				err = copyTo(t.at[k], values, 4*n.len())
			}
			if err == nil {
				err = use(k, values)
			}
			if err != nil {
				return err
			}
		}
		if !room {
			return nil
		}
		if in != nil {
			for _, i := range t.inputs {
				values, bytes, err := in.Input(i.name)
				if err == nil {
					err = copyTo(i.at, values, bytes)
				}
				if err != nil {
					return err
				}
			}
			place.inputs = len(t.inputs) > 0
		}
		t.shelf.keep(id, place)
		return nil
	})
}

// targets are the row-major values at the nodes for a sample.
func (t *teacher) targets(ctx context.Context, id int, inputs map[string]*onnx.Tensor) ([][]float32, error) {
	list := make([][]float32, len(t.nodes))
	return list, t.give(ctx, id, inputs, nil, func(k int, values compute.Address) error {
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
