// The sensitivity of each layer: everything is float but one unit of the plan.

package analysis

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/stat"

	"trtact/calib"
	"trtact/internal/nn"
	"trtact/internal/onnx"
	"trtact/internal/parallel"
)

// Sensitivity is what quantising one unit alone does to the heads.
type Sensitivity struct {
	Unit
	Error Error `json:"error"`
}

// trial is one part of a suffix to run: which plan on it, under which name the result
// is kept.
type trial struct {
	suffix suffix
	plan   *calib.Plan // nil: as it is
	name   string
}

// Sensitivities tests every unit of the plan alone, in the order of the graph.
// Results that the store has are taken from there.
func (s Subject) Sensitivities(ctx context.Context, samples []Sample) ([]Sensitivity, error) {
	p, err := s.prepare()
	if err != nil {
		return nil, err
	}
	trials := make([]trial, len(p.units))
	for i, u := range p.units {
		trials[i] = p.alone(u)
	}
	if p.Precision > 0 {
		if err := p.setNegligible(ctx, samples); err != nil {
			return nil, err
		}
	}
	errors, err := p.try(ctx, p.Model, samples, trials)
	if err != nil {
		return nil, err
	}
	list := make([]Sensitivity, len(p.units))
	for i, u := range p.units {
		list[i] = Sensitivity{u, errors[i]}
	}
	return list, nil
}

func (s *subject) alone(u Unit) trial {
	return trial{
		suffix: after(s.Model, s.Heads, func(_ int, n *onnx.Node) bool { return slices.Contains(u.consumers, n.Name) || n.Name == u.Node }),
		plan:   only(s.Plan, []Unit{u}),
		name:   "layer " + u.Node,
	}
}

// try runs trials on what the model from, which is the float model or a quantised form
// of it, gives at their inputs, and compares with the heads of the float model. Values
// are kept for as many trials at a time as memory allows.
func (s *subject) try(ctx context.Context, from *onnx.Model, samples []Sample, trials []trial) ([]Error, error) {
	errors := make([]Error, len(trials))
	var todo []int
	for i, t := range trials {
		if s.Store.load(t.name, &errors[i]) && len(errors[i].Heads) == len(s.Heads) {
			s.done()
			continue
		}
		todo = append(todo, i)
	}
	if len(todo) == 0 {
		return errors, nil
	}
	wanted, err := s.record(ctx, s.Model, samples, s.Heads)
	if err != nil {
		return nil, err
	}
	// A head that a trial does not reach is off by as much as in the model from.
	already, err := s.already(ctx, from, samples, wanted)
	if err != nil {
		return nil, err
	}
	for len(todo) > 0 {
		count, tensors := s.fitting(trials, todo, len(samples))
		kept, err := s.record(ctx, from, samples, tensors)
		if err != nil {
			return nil, err
		}
		var telling sync.Mutex
		err = s.sideBySide(ctx, count, func(ctx context.Context, k int) error {
			var err error
			i := todo[k]
			if errors[i], err = s.measure(ctx, trials[i], kept, wanted, already); err != nil {
				return err
			}
			if err := s.Store.save(trials[i].name, errors[i]); err != nil {
				return err
			}
			telling.Lock()
			defer telling.Unlock()
			s.done()
			return nil
		})
		if err != nil {
			return nil, err
		}
		todo = todo[count:]
	}
	return errors, nil
}

// sideBySide calls f for every i below count, as many at a time as there are workers. What
// one trial takes to compile and to run is then spread over the cores alike.
func (s *subject) sideBySide(ctx context.Context, count int, f func(ctx context.Context, i int) error) error {
	workers := s.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	return parallel.Each(ctx, workers, count, f)
}

// fitting is how many of the trials to do can have their inputs in memory at once, at
// least one, and these inputs.
func (s *subject) fitting(trials []trial, todo []int, samples int) (count int, tensors []string) {
	counted := map[string]bool{}
	var bytes int64
	for _, i := range todo {
		more := trials[i].suffix.bytes(s.Model.Graph, counted) * int64(samples)
		if count > 0 && bytes+more > s.KeepBytes {
			break
		}
		bytes += more
		for _, t := range trials[i].suffix.inputs {
			if !counted[t] {
				counted[t] = true
				tensors = append(tensors, t)
			}
		}
		count++
	}
	return count, tensors
}

// already is, by sample and head, how far the model from is off.
func (s *subject) already(ctx context.Context, from *onnx.Model, samples, wanted []Sample) ([][]calib.Squares, error) {
	given := wanted
	if from != s.Model {
		var err error
		if given, err = s.record(ctx, from, samples, s.Heads); err != nil {
			return nil, err
		}
	}
	list := make([][]calib.Squares, len(samples))
	for i := range samples {
		for _, h := range s.Heads {
			list[i] = append(list[i], calib.SquaresOf(given[i][h].Floats(), wanted[i][h].Floats()))
		}
	}
	return list, nil
}

// measure runs one trial on every sample.
func (s *subject) measure(ctx context.Context, t trial, kept, wanted []Sample, already [][]calib.Squares) (Error, error) {
	sums := make([][]calib.Squares, len(kept))
	for i := range sums {
		sums[i] = slices.Clone(already[i])
	}
	if len(t.suffix.heads) == 0 {
		return errorOf(len(s.Heads), sums), nil
	}
	model := t.suffix.model
	if t.plan != nil {
		var err error
		if model, err = calib.Apply(model, t.plan, calib.FloatWeights); err != nil {
			return Error{}, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	fail := func(err error) (Error, error) { return Error{}, fmt.Errorf("%s: %w", t.name, err) }
	n, err := s.compile(model, nil)
	if err != nil {
		return fail(err)
	}
	defer n.Close()
	c, err := n.NewContext()
	if err != nil {
		return fail(err)
	}
	defer c.Close()
	done := 0
	for done < len(kept) {
		if ctx.Err() != nil {
			return Error{}, context.Cause(ctx)
		}
		if err := t.suffix.run(c, kept[done], wanted[done], sums[done]); err != nil {
			return fail(err)
		}
		done++
		if done%round == 0 && s.Precision > 0 && s.precise(sums[:done]) {
			break
		}
	}
	return errorOf(len(s.Heads), sums[:done]), nil
}

// round is how many samples are run before it is asked whether they are enough: a
// standard deviation wants a few.
const round = 4

// setNegligible finds the error below which a layer matters little: what each would
// have if all had the same part, independently, in the error of the whole plan.
func (s *subject) setNegligible(ctx context.Context, samples []Sample) error {
	quantised, err := calib.Apply(s.Model, s.Plan, calib.FloatWeights)
	if err != nil {
		return fmt.Errorf("analyse: %w", err)
	}
	samples = samples[:min(round, len(samples))]
	wanted, err := s.record(ctx, s.Model, samples, s.Heads)
	if err != nil {
		return err
	}
	sums, err := s.already(ctx, quantised, samples, wanted)
	s.negligible = errorOf(len(s.Heads), sums).Mean / math.Sqrt(float64(max(1, len(s.units))))
	return err
}

// precise says whether the mean error over the samples is known well enough: its
// standard error is at most the asked part of it, or of an error that is negligible.
func (s *subject) precise(sums [][]calib.Squares) bool {
	errors := make([]float64, len(sums))
	for i := range sums {
		errors[i] = errorOf(len(sums[i]), sums[i:i+1]).Mean
	}
	mean, deviation := stat.MeanStdDev(errors, nil)
	return stat.StdErr(deviation, float64(len(errors))) <= s.Precision*max(mean, s.negligible)
}

// run puts what is kept of a sample into a context and sums up the differences of the
// heads that the suffix reaches.
func (s suffix) run(c *nn.Context, kept, wanted Sample, sums []calib.Squares) error {
	for _, name := range s.inputs {
		if err := c.SetTensor(name, kept[name]); err != nil {
			return err
		}
	}
	for _, h := range s.heads {
		if err := c.SetTensor(h.wanted, wanted[h.name]); err != nil {
			return err
		}
	}
	if err := c.Run(); err != nil {
		return err
	}
	for _, h := range s.heads {
		sum, err := sumOf(c, h.squares, wanted[h.name].Dims)
		if err != nil {
			return err
		}
		sums[h.index].Difference = sum
	}
	return nil
}

// sumOf adds up a tensor where it is; one without channels is read.
func sumOf(c *nn.Context, name string, dims []int) (float64, error) {
	var parts []float64
	if len(dims) > 1 {
		parts = make([]float64, dims[1])
		if err := c.ChannelSums(name, parts); err == nil {
			return floats.Sum(parts), nil
		}
	}
	v, err := c.Output(name)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, x := range v.Floats() {
		sum += float64(x)
	}
	return sum, nil
}
