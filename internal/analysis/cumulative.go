// How the error grows along the graph: the first k units quantised, the rest float.
// What the quantised model gives up to the k-th unit is the same whether the rest is
// quantised or not, so again only what follows has to run.

package analysis

import (
	"context"
	"fmt"

	"trtact/calib"
	"trtact/internal/onnx"
)

// Point is the error with the first so many units quantised.
type Point struct {
	Units int    `json:"units"`
	Node  string `json:"node"` // the last of them
	Error Error  `json:"error"`
}

// Cumulative measures at most so many points along the graph, evenly spread; the last
// is the whole plan.
func (s Subject) Cumulative(ctx context.Context, samples []Sample, points int) ([]Point, error) {
	p, err := s.prepare()
	if err != nil {
		return nil, err
	}
	quantised, err := calib.Apply(p.Model, p.Plan, calib.FloatWeights)
	if err != nil {
		return nil, fmt.Errorf("analyse: %w", err)
	}
	var list []Point
	var trials []trial
	for _, k := range spread(len(p.units), points) {
		last := p.units[k-1].Node
		at := p.place[last]
		list = append(list, Point{Units: k, Node: last})
		trials = append(trials, trial{
			suffix: after(p.Model, p.Heads, func(i int, _ *onnx.Node) bool { return i > at }),
			name:   fmt.Sprintf("first %d layers", k),
		})
	}
	errors, err := p.try(ctx, quantised, samples, trials)
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i].Error = errors[i]
	}
	return list, nil
}

// spread picks at most so many of 1 to n, evenly, with n the last.
func spread(n, points int) []int {
	points = min(n, points)
	var list []int
	for i := 1; i <= points; i++ {
		list = append(list, (i*n+points-1)/points)
	}
	return list
}

// Points is the number of points that Cumulative measures for so many units.
func Points(units, points int) int { return min(units, points) }
