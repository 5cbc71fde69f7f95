package calib

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"trtact/internal/onnx"
)

// Harm is what quantising one layer alone does.
type Harm struct {
	Node  string
	Op    string
	Score float64 // error of the model in which no other layer is quantised
}

// RankLayers simulates the plan, placed on g, once for each quantised layer with all
// others left float, on so many images, and gives the layers by the error they make,
// most first. heard, if set, is called after every layer.
//
// Each is tried alone because leaving one out of many says little where the others
// have spoilt the outputs already.
func RankLayers(ctx context.Context, sim Simulator, g *onnx.Graph, p *Plan, images int, heard func()) ([]Harm, error) {
	nodes := nodesByName(g)
	layers := p.Layers()
	var list []Harm
	for _, name := range layers {
		n := nodes[name]
		if n == nil {
			return nil, fmt.Errorf("rank layers: node %q of the plan is not in the model", name)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		errs, err := Simulate(ctx, sim, p.only(name, layers), images)
		if err != nil {
			return nil, fmt.Errorf("simulate the plan for node %q alone: %w", name, err)
		}
		list = append(list, Harm{Node: name, Op: n.Op, Score: Score(errs)})
		if heard != nil {
			heard()
		}
	}
	sort.SliceStable(list, func(a, b int) bool { return list[a].Score > list[b].Score })
	return list, nil
}

// only is the plan with one of its layers, and none of the other sites.
func (p *Plan) only(layer string, layers []string) *Plan {
	q := p.Clone()
	for _, n := range layers {
		if n != layer {
			q.Skipped = append(q.Skipped, Skip{Node: n, Reason: "trial"})
		}
	}
	for _, s := range p.Sites { // shortcuts and the like
		for _, n := range s.Consumers {
			if n != layer && !slices.Contains(layers, n) {
				q.Skipped = append(q.Skipped, Skip{Node: n, Reason: "trial"})
			}
		}
	}
	q.prune()
	return q
}
