// What a trainer has come to, as a float model and a plan.
package qat

import (
	"fmt"

	"trtact/calib"
	"trtact/internal/nn"
	"trtact/internal/onnx"
)

// student is the model in training with what is needed to write it down again.
type student struct {
	base   *onnx.Model // float, equalisation and bias corrections done
	plan   *calib.Plan // without them
	scales map[string]string
	graph  *onnx.Model // Q/DQ
}

func newStudent(m *onnx.Model, p *calib.Plan) (*student, error) {
	base, plan, err := calib.Bake(m, p)
	if err != nil {
		return nil, err
	}
	graph, err := calib.Apply(base, plan, calib.TrainedWeights)
	if err != nil {
		return nil, err
	}
	return &student{base: base, plan: plan, graph: graph, scales: calib.ScaleNames(graph.Graph)}, nil
}

// groups are the scale constants that share one value, in the plan's order.
func (s *student) groups() []scaleGroup {
	var list []scaleGroup
	at := map[int]int{} // plan's group -> place in list
	for _, site := range s.plan.Sites {
		name := s.scales[site.Tensor]
		if name == "" { // nothing reads the quantised tensor
			continue
		}
		if i, known := at[site.Group]; known && site.Group != 0 {
			list[i] = append(list[i], name)
			continue
		}
		at[site.Group] = len(list)
		list = append(list, scaleGroup{name})
	}
	return list
}

// sharedScales is the same as nn wants it.
func sharedScales(groups []scaleGroup) map[string]string {
	shared := map[string]string{}
	for _, g := range groups {
		for _, name := range g {
			shared[name] = g[0]
		}
	}
	return shared
}

// export gives the float model with the trained weights, and the plan with the
// scales as they are now.
func (s *student) export(t *nn.Trainer) (*onnx.Model, *calib.Plan, error) {
	m, p := s.base.Clone(), s.plan.Clone()
	parameters, err := t.Parameters()
	if err != nil {
		return nil, nil, err
	}
	for _, q := range parameters {
		if m.Graph.Init[q.Name] == nil {
			return nil, nil, fmt.Errorf("export the student: the model has no constant %q", q.Name)
		}
		m.Graph.Init[q.Name] = onnx.NewTensor(q.Dims, q.Values)
	}
	scales, err := t.Scales()
	if err != nil {
		return nil, nil, err
	}
	for i := range p.Sites {
		if scale, trained := scales[s.scales[p.Sites[i].Tensor]]; trained {
			p.Sites[i].Scale = max(scale, calib.MinScale)
		}
	}
	for i := range p.Weights {
		w := &p.Weights[i]
		trained, err := t.WeightScales(w.Tensor)
		if err != nil { // behind the nodes: as it was
			continue
		}
		for k, scale := range trained {
			w.Scales[k] = max(scale, calib.MinScale)
		}
	}
	return m, p, nil
}
