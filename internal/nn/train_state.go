package nn

import (
	"fmt"
	"math"
	"slices"

	"trtact/internal/onnx"
)

// What a trainer's parameters are, from outside.

// Parameter is a trained weight or bias.
type Parameter struct {
	Name   string // of the constant in the graph
	Dims   []int
	Values []float32 // row-major
}

// Inputs are the student's inputs with their shapes: those that lead to a loss.
func (tr *Trainer) Inputs() []onnx.Value { return tr.n.inputs }

// Parameters are all weights and biases as they are now, in the graph's order.
func (tr *Trainer) Parameters() ([]Parameter, error) {
	var list []Parameter
	for _, p := range tr.t.parameters {
		if p.name == "" {
			continue
		}
		values := make([]float32, len(p.data))
		if err := tr.n.parameters.Download(p.value.offset, values); err != nil {
			return nil, err
		}
		list = append(list, Parameter{Name: p.name, Dims: p.value.desc.Dims, Values: values})
	}
	return list, nil
}

// Count is the number of weights and biases that are trained.
func (tr *Trainer) Count() int {
	n := 0
	for _, p := range tr.t.byName {
		n += len(p.data)
	}
	return n
}

// WeightScales are the scales of a quantised weight as they are now.
func (tr *Trainer) WeightScales(name string) ([]float32, error) {
	p := tr.t.byName[name]
	if p == nil || p.scale == nil {
		return nil, fmt.Errorf("weight %q: it is not quantised and trained", name)
	}
	if err := tr.runBefore(); err != nil {
		return nil, err
	}
	scales := make([]float32, len(p.scales))
	return scales, tr.n.derived.Download(p.scale.offset, scales)
}

// Scales are the activations' scales as they are now, by the name of the constant
// in the graph.
func (tr *Trainer) Scales() (map[string]float32, error) {
	list, err := tr.scaleList()
	if err != nil {
		return nil, err
	}
	scales := map[string]float32{}
	for name, i := range tr.t.siteOf {
		scales[name] = list[i]
	}
	return scales, nil
}

func (tr *Trainer) scaleList() ([]float32, error) {
	if tr.t.scales == nil {
		return nil, nil
	}
	if err := tr.runBefore(); err != nil {
		return nil, err
	}
	list := make([]float32, len(tr.t.initial))
	return list, tr.n.derived.Download(tr.t.scales.offset, list)
}

// SetScales sets activations' scales. Of those that share one, the last in the
// order of their names counts.
func (tr *Trainer) SetScales(scales map[string]float32) error {
	list, err := tr.scaleList()
	if err != nil {
		return err
	}
	var names []string
	for name := range scales {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		i, known := tr.t.siteOf[name]
		s := scales[name]
		if !known {
			return fmt.Errorf("set scale %q: the graph has no such scale", name)
		}
		if !(s > 0) || math.IsInf(float64(s), 0) {
			return fmt.Errorf("set scale %q: %v is not a positive number", name, s)
		}
		list[i] = s
	}
	switch {
	case len(list) == 0:
		return nil
	case tr.t.learned == nil:
		return tr.n.derived.Upload(tr.t.scales.offset, list)
	case tr.o.Quantizer == LearnedScales:
		list = logarithms(list)
	default:
		for i := range list {
			list[i] *= 127
		}
	}
	return tr.n.parameters.Upload(tr.t.learned.offset, list)
}

// FreezeScales makes learned scales, of activations and weights, stay from now on.
func (tr *Trainer) FreezeScales() { tr.scalesFrozen = true }

// AbsMax is the largest magnitude that each site's quantiser met in the last step,
// here or at a peer, by the name of its scale; nil unless ObservedScales was asked for.
func (tr *Trainer) AbsMax() (map[string]float32, error) {
	if len(tr.t.seen) == 0 {
		return nil, nil
	}
	list := make([]float32, len(tr.t.seen))
	behind := make([]float32, (tr.t.freshAt-tr.t.parameterBytes)/4) // of the parameters' gradients
	for _, c := range tr.contexts {
		if err := c.gradients.Download(tr.t.parameterBytes, behind); err != nil {
			return nil, err
		}
		for i, o := range tr.t.seen {
			list[i] = max(list[i], behind[(o.greatest.offset-tr.t.parameterBytes)/4])
		}
	}
	if p := tr.o.Peers; p != nil {
		if err := p.Max(list); err != nil {
			return nil, err
		}
	}
	greatest := map[string]float32{}
	for i, o := range tr.t.seen {
		greatest[o.site] = max(greatest[o.site], list[i])
	}
	return greatest, nil
}

// State is all that changes in training: a trainer of the same student and options
// that restores it goes on to the same bits.
func (tr *Trainer) State() ([]float32, error) {
	frozen := float32(0)
	if tr.scalesFrozen {
		frozen = 1
	}
	state := []float32{float32(tr.updates), frozen}
	size := tr.t.parameterBytes / 4
	read := make([]float32, size)
	if err := tr.n.parameters.Download(0, read); err != nil {
		return nil, err
	}
	state = append(state, read...)
	for _, m := range tr.moments {
		if err := m.Download(0, read); err != nil {
			return nil, err
		}
		state = append(state, read...)
	}
	scales, err := tr.scaleList()
	return append(state, scales...), err
}

// Restore goes back to a state.
func (tr *Trainer) Restore(state []float32) error {
	size := tr.t.parameterBytes / 4
	want := 2 + size*(1+len(tr.moments)) + len(tr.t.initial)
	if len(state) != want {
		return fmt.Errorf("restore training: the state has %d values where this student and these options have %d", len(state), want)
	}
	tr.updates, tr.scalesFrozen = int(state[0]), state[1] != 0
	state = state[2:]
	if err := tr.n.parameters.Upload(0, state[:size]); err != nil {
		return err
	}
	for _, m := range tr.moments {
		state = state[size:]
		if err := m.Upload(0, state[:size]); err != nil {
			return err
		}
	}
	if tr.t.scales == nil {
		return nil
	}
	return tr.n.derived.Upload(tr.t.scales.offset, state[size:])
}

// Sick names the first parameter with a value or gradient that is not finite, ""
// when there is none.
func (tr *Trainer) Sick() (string, error) {
	for _, p := range tr.t.parameters {
		name := p.name
		if name == "" {
			name = "the learned scales"
		}
		values := make([]float32, len(p.data))
		for what, read := range map[string]func(int, []float32) error{
			"": tr.n.parameters.Download, "gradient of ": tr.contexts[0].gradients.Download,
		} {
			if err := read(p.value.offset, values); err != nil {
				return "", err
			}
			if slices.ContainsFunc(values, func(v float32) bool { return math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) }) {
				return what + name, nil
			}
		}
	}
	return "", nil
}

// SetParameter gives a weight or bias other values, row-major.
func (tr *Trainer) SetParameter(name string, values []float32) error {
	p := tr.t.byName[name]
	if p == nil || len(values) != len(p.data) {
		return fmt.Errorf("set parameter %q: it is not trained, or has not %d values", name, len(values))
	}
	return tr.n.parameters.Upload(p.value.offset, values)
}

// Gradient is the last step's gradient by a weight or bias, row-major, summed over the
// step's images.
func (tr *Trainer) Gradient(name string) ([]float32, error) {
	p := tr.t.byName[name]
	if p == nil {
		return nil, fmt.Errorf("gradient of %q: it is not trained", name)
	}
	values := make([]float32, len(p.data))
	return values, tr.contexts[0].gradients.Download(p.value.offset, values)
}
