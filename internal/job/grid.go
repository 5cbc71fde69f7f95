// The search that a configuration's HyperParameterOptimization asks for: it tries
// combinations of calibration method, bias correction, weight scales and number of
// pictures one after the other and keeps what loses least.

package job

import (
	"context"
	"errors"
	"fmt"
	"math"

	"trtact/calib"
)

// Grid are the values to combine. Each list has at least one.
type Grid struct {
	Methods   []calib.Method
	Biases    []bool
	PerTensor []bool
	Images    []int // numbers of pictures to calibrate on
	Trials    int   // at most
}

// combination is one point of a Grid.
type combination struct {
	method            calib.Method
	biases, perTensor bool
	images            int
}

func (c combination) String() string {
	text := fmt.Sprintf("%s on %d pictures", c.method, c.images)
	if c.perTensor {
		text += ", one scale a weight"
	}
	if c.biases {
		text += ", bias correction"
	}
	return text
}

// combinations are those to try: all methods with the first of everything else,
// then with the next.
func (g Grid) combinations(available int) []combination {
	var list []combination
	seen := map[combination]bool{}
	for _, images := range g.Images {
		for _, perTensor := range g.PerTensor {
			for _, biases := range g.Biases {
				for _, method := range g.Methods {
					c := combination{method, biases, perTensor, min(images, available)}
					if !seen[c] && len(list) < g.Trials {
						seen[c] = true
						list = append(list, c)
					}
				}
			}
		}
	}
	return list
}

// grid tries the combinations. stats are of all samples.
func (m *Machine) grid(ctx context.Context, sim *simulator, p *calib.Plan, stats map[string]*calib.Statistics, samples Samples, g Grid) (*calib.Plan, []calib.Trial, error) {
	list := g.combinations(samples.Len())
	known := map[int]map[string]*calib.Statistics{samples.Len(): stats}
	for _, c := range list {
		if known[c.images] != nil {
			continue
		}
		some, _, err := m.observe(ctx, "calibrate", sim.float, First(samples, c.images), sim)
		if err != nil {
			return nil, nil, err
		}
		known[c.images] = some
	}
	count := m.count("search scales", len(list), "trials")
	var best *calib.Plan
	var trials []calib.Trial
	least := math.Inf(1)
	for _, c := range list {
		q := p.Clone()
		if err := c.apply(q, sim, known[c.images]); err != nil {
			return nil, nil, err
		}
		errs, err := calib.Simulate(ctx, sim, q, 0)
		if err != nil {
			return nil, nil, fmt.Errorf("simulate the plan by %s: %w", c, err)
		}
		t := calib.Trial{Method: c.method, Change: c.String(), Images: len(sim.kept), Errors: errs, Score: calib.Score(errs)}
		if t.Score < least {
			best, least, t.Kept = q, t.Score, true
			best.Method = "search: " + c.String()
		}
		trials = append(trials, t)
		count.add()
	}
	if best == nil {
		return nil, nil, errors.New("search: every combination gave outputs that are not finite; check that the float model's outputs are")
	}
	return best, trials, nil
}

// apply gives a plan the scales of one combination.
func (c combination) apply(p *calib.Plan, sim *simulator, stats map[string]*calib.Statistics) error {
	graph := sim.float.Model.Graph
	if err := p.AssignWeights(graph, calib.AbsMax); err != nil {
		return err
	}
	if c.perTensor {
		oneScale(p)
	}
	if c.biases {
		if err := p.CorrectBiases(graph, sim.means); err != nil {
			return err
		}
	}
	return p.Assign(stats, c.method)
}
