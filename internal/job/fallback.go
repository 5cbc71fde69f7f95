// The last rung of the ladder: as few layers as bring the loss within the limit stay
// float.

package job

import (
	"context"
	"fmt"
	"log/slog"
	"sort"
	"time"

	"trtact/calib"
	"trtact/internal/fault"
	"trtact/internal/nn"
)

// rankSamples is how many samples layers are ranked by, one simulation for each
// layer.
const rankSamples = 8

// fallBack leaves as few layers float as bring the loss within the limit, in the
// order of the error that each makes alone (or where latency was measured, of that error for
// the time it costs). nil where no number of layers helps. Chosen rounding is given up for
// it: each weight makes up for the rounding in front of it, which is gone from a layer
// left float.
func (b *building) fallBack(ctx context.Context, c *candidate) (*candidate, error) {
	start, reached := time.Now(), c.accuracy.value
	if c.unrounded != nil {
		c = c.unrounded
	}
	order, err := b.rank(ctx, c)
	if err != nil || len(order) == 0 {
		return nil, err
	}
	if order, err = b.orderLayers(ctx, c, order); err != nil {
		return nil, err
	}
	tried := map[int]*candidate{}
	enough := func(k int) bool {
		if err != nil {
			return true // ends the search
		}
		slog.Info(fmt.Sprintf("trying with %d of %d layers in float", k, len(order)))
		q := &candidate{model: c.model, plan: c.plan.Clone(), equalised: c.equalised}
		for _, layer := range order[:k] {
			q.plan.Skip(layer.Node, layer.Op, "left float to save accuracy")
		}
		var v measured
		if v, err = b.measureQuietly(ctx, q); err != nil {
			return true
		}
		q.accuracy, tried[k] = &v, q
		var lost, limit float64
		if lost, limit, _, err = b.lost(ctx, q); err != nil {
			return true
		}
		return lost <= limit
	}
	// Doubling first: mostly a few layers do.
	low, high := 0, 1
	for high < len(order) && !enough(high) {
		low, high = high, min(2*high, len(order))
	}
	k := low + 1 + sort.Search(high-low-1, func(i int) bool { return enough(low + 1 + i) })
	if tried[k] == nil {
		enough(k)
	}
	if err != nil {
		return nil, err
	}
	best := tried[k]
	if best.accuracy.value <= reached {
		slog.Info("leaving layers float does not help: all stay INT8")
		return nil, nil
	}
	for _, layer := range order[:k] {
		best.float = append(best.float, layer.Node)
	}
	slog.Info(fmt.Sprintf("%d layers stay float to save accuracy", k))
	b.r.lap("fall_back", start)
	best.nodeError, err = b.nodeErrors(ctx, best)
	return best, err
}

// measureQuietly measures a candidate without a stage of its own.
func (b *building) measureQuietly(ctx context.Context, c *candidate) (measured, error) {
	d, err := b.quantised(c)
	if err != nil {
		return measured{}, err
	}
	return b.meter.quietly().measure(ctx, d, "")
}

// rank orders a candidate's quantised layers by the error that each makes.
func (b *building) rank(ctx context.Context, c *candidate) ([]calib.Harm, error) {
	base, err := b.single.Derive(c.model)
	if err != nil {
		return nil, err
	}
	sim := newSimulator(b.m, b.single, base, rankSamples)
	if err := b.see(ctx, sim); err != nil {
		return nil, err
	}
	count := b.m.count("rank layers", len(c.plan.Layers()), "layers")
	return calib.RankLayers(ctx, sim, c.model.Graph, c.plan, 0, count.add)
}

// see shows the simulator the first samples through the float model.
func (b *building) see(ctx context.Context, sim *simulator) error {
	n, err := b.m.compile(b.single, nil)
	if err != nil {
		return err
	}
	defer n.Close()
	return n.ForEach(ctx, min(sim.size, b.in.samples.Len()), func(c *nn.Context, i int) error {
		inputs, err := b.in.samples.Read(i)
		if fault.Code(err) == fault.CodeBadInput {
			return nil // counted elsewhere
		}
		if err == nil {
			err = c.SetInputs(inputs)
		}
		if err == nil {
			err = c.Run()
		}
		if err == nil {
			err = sim.keep(i, inputs, c)
		}
		return err
	})
}
