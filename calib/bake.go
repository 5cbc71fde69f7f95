// What training needs of a plan besides Apply: a float model that already has
// the plan's changes of weights and biases, since training goes on from there, and
// the names of the scales that it changes.
package calib

import (
	"fmt"

	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// Bake carries out the plan's equalisation and bias corrections in a copy of the
// float model m, and gives the copy with the plan without them. Apply makes of
// the two what it makes of m and p. Neither m nor p is changed. The copy is no
// file's model any more, so model and plan have no hash. Fails with
// fault.BadInput when the plan does not fit the model.
func Bake(m *onnx.Model, p *Plan) (*onnx.Model, *Plan, error) {
	if err := p.Validate(); err != nil {
		return nil, nil, fmt.Errorf("bake plan: %w", err)
	}
	if err := p.madeFor(m); err != nil {
		return nil, nil, fault.BadInput(fmt.Errorf("bake plan: %w", err))
	}
	out, rest := m.Clone(), p.Clone()
	if err := rescale(out, p.ActiveEqualisations(m.Graph)); err != nil {
		return nil, nil, fault.BadInput(fmt.Errorf("bake plan: %w", err))
	}
	rest.prune() // a correction belongs to rounded weights
	if err := addBiases(out.Graph, rest.Biases); err != nil {
		return nil, nil, fault.BadInput(fmt.Errorf("bake plan: %w", err))
	}
	rest.Equalised, rest.Biases = nil, nil
	out.SHA256, rest.Model.SHA256 = "", ""
	return out, rest, nil
}

// madeFor checks that the plan is not another model's, where both are known.
func (p *Plan) madeFor(m *onnx.Model) error {
	if p.Model.SHA256 == "" || m.SHA256 == "" || p.Model.SHA256 == m.SHA256 {
		return nil
	}
	return fmt.Errorf("it was made for %s (sha256 %.12s...), the model %s has sha256 %.12s...; calibrate this model", p.Model.Name, p.Model.SHA256, m.Path, m.SHA256)
}

// ScaleNames tells, by activation, the name of the constant that holds its scale
// in a graph that Apply made.
func ScaleNames(g *onnx.Graph) map[string]string {
	names := map[string]string{}
	for _, n := range g.Nodes {
		if n.Op == "QuantizeLinear" && g.Init[n.Input(0)] == nil {
			names[n.Input(0)] = n.Input(1)
		}
	}
	return names
}
