// Who says which student is better: the caller's metric, or the loss on samples
// that are not trained on.
package qat

import (
	"context"
	"fmt"

	"trtact/internal/nn"
	"trtact/internal/onnx"
)

type judge struct {
	kind    Judge
	r       *Run
	nodes   []Node
	feeder  *feeder // reads the held-out ones
	held    []int
	workers int
}

func newJudge(r *Run, nodes []Node, f *feeder, held []int, workers int) *judge {
	j := &judge{kind: ByMetric, r: r, nodes: nodes, feeder: f, held: held, workers: workers}
	if r.Evaluate != nil {
		return j
	}
	j.kind = ByLoss
	if r.HeldOut != nil {
		j.held = allOf(r.HeldOut.Len())
		j.feeder = newFeeder(r.HeldOut, newOrder(0, j.held), 0, 0)
	}
	return j
}

// better reports whether a beats b.
func (j *judge) better(a, b float64) bool {
	if j.kind == ByMetric {
		return a > b
	}
	return a < b
}

// measure is the judge's value of a Q/DQ model. The loss is found by all processes
// together, each on its share of the samples.
func (j *judge) measure(ctx context.Context, m *onnx.Model, t *teacher) (float64, error) {
	if j.kind == ByMetric {
		return j.r.Evaluate(ctx, m)
	}
	m = m.Clone()
	if err := m.Graph.Extract(tensorsOf(j.nodes)); err != nil {
		return 0, fmt.Errorf("measure the student: %w", err)
	}
	net, err := nn.Compile(m, j.r.Device, nn.Options{Plain: true, Workers: j.workers})
	if err != nil {
		return 0, fmt.Errorf("measure the student: %w", err)
	}
	defer net.Close()
	losses := make([]float64, len(j.held))
	rank, ranks := j.r.rank(), j.r.ranks()
	// Samples of their own have numbers that no trained one has.
	shift := 0
	if j.r.HeldOut != nil {
		shift = 2 * j.r.Samples.Len()
	}
	err = net.ForEach(ctx, (len(j.held)-rank+ranks-1)/ranks, func(c *nn.Context, i int) error {
		i = i*ranks + rank
		inputs, id, err := j.feeder.read(j.held[i])
		if err != nil {
			return err
		}
		targets, err := t.targets(ctx, id+shift, inputs)
		if err != nil {
			return err
		}
		if err := c.SetInputs(inputs); err != nil {
			return err
		}
		if err := c.Run(); err != nil {
			return err
		}
		for k := range j.nodes {
			n := &j.nodes[k]
			got, err := c.Output(n.Tensor)
			if err != nil {
				return err
			}
			_, above := n.measure(got.Floats(), targets[k], j.r.Options.Temperature)
			losses[i] += n.Weight * above
		}
		return nil
	})
	err = j.r.agree(ctx, err, losses)
	sum := 0.0
	for _, l := range losses {
		sum += l / float64(len(losses))
	}
	return sum, err
}
