// Layers that placement leaves float because INT8 makes them hardly faster and may
// cost accuracy (depthwise convolutions, squeeze-and-excite) still make the model
// smaller. Which of them may be INT8 is measured, layer by layer: each is tried
// alone, then as many are taken in, cheapest error per byte first, as a small rise
// of the error allows.
package calib

import (
	"fmt"
	"math/bits"
	"slices"
	"sort"

	"trtact/internal/onnx"
)

// WidenTolerance is the share by which all admitted layers together may raise the
// error. Within it mAP moves by a few tenths of a point on small detectors.
const WidenTolerance = 0.25

// singleImages is how many images a layer alone is tried on.
const singleImages = 8

// Wider is a plan with more layers in INT8 than the one that is calibrated.
type Wider struct {
	Plan   *Plan            // placed, without scales
	Layers []string         // the weighted nodes that only Plan quantises
	Bytes  map[string]int64 // of the layers' weights
}

// Widen places g once more with other options and tells what that adds to p.
func Widen(g *onnx.Graph, p *Plan, set func(*Options)) (Wider, error) {
	opt := p.Options.clone()
	set(&opt)
	wide, err := Place(g, opt)
	if err != nil {
		return Wider{}, err
	}
	wide.Model, wide.Equalised = p.Model, p.Equalised
	w := Wider{Plan: wide, Bytes: map[string]int64{}}
	before := p.Layers()
	for _, site := range wide.Weights {
		for _, n := range site.Nodes {
			if !slices.Contains(before, n) {
				w.Layers = append(w.Layers, n)
				w.Bytes[n] = 4 * int64(g.Init[site.Tensor].Len())
			}
		}
	}
	return w, nil
}

// trials is the most that admit makes: one for each layer, then a bisection.
func (w Wider) trials() int {
	if len(w.Layers) == 0 {
		return 0
	}
	return len(w.Layers) + bits.Len(uint(len(w.Layers)))
}

// Layers lists the weighted nodes that a plan quantises.
func (p *Plan) Layers() []string {
	var list []string
	for _, w := range p.Weights {
		list = append(list, w.Nodes...)
	}
	return list
}

// admit takes layers of w into the best plan.
func (s *search) admit(w Wider) error {
	if len(w.Layers) == 0 {
		return nil
	}
	best := s.best.plan
	wide := w.Plan.Clone()
	wide.Weights = mergeWeights(wide.Weights, best.Weights)
	wide.Biases = mergeBiases(wide.Biases, best.Biases)
	if err := wide.Assign(s.stats, Method(best.Method)); err != nil {
		return err
	}
	reasons := map[string]Skip{}
	for _, k := range best.Skipped {
		reasons[k.Node] = k
	}
	with := func(layers []string) *Plan {
		q := wide.Clone()
		for _, n := range w.Layers {
			if !slices.Contains(layers, n) {
				q.Skip(n, reasons[n].Op, reasons[n].Reason)
			}
		}
		return q
	}
	few := min(singleImages, s.opt.Images)
	alone := map[string]float64{}
	singles := make([]*attempt, len(w.Layers))
	layer := map[*attempt]string{}
	for i, n := range w.Layers {
		singles[i] = &attempt{plan: with([]string{n})}
		layer[singles[i]] = n
	}
	err := s.tryAll(singles, func(a *attempt) Trial { return Trial{Change: "INT8 for " + layer[a], Images: few} }, func(score float64, a *attempt) bool {
		alone[layer[a]] = score
		return false
	})
	if err != nil {
		return err
	}
	nothing := s.best.score(few)
	order := slices.Clone(w.Layers)
	sort.SliceStable(order, func(a, b int) bool {
		cost := func(n string) float64 { return (alone[n] - nothing) / float64(w.Bytes[n]) }
		return cost(order[a]) < cost(order[b])
	})

	limit := s.best.score(s.opt.Images) * (1 + WidenTolerance)
	low, high := 0, len(order) // so many are fine; one more than high is too many
	kept := -1                 // the trial of low
	for low < high {
		k := (low + high + 1) / 2
		a := &attempt{plan: with(order[:k])}
		score, err := s.try(a, Trial{Change: fmt.Sprintf("%d more layers in INT8", k), Images: s.opt.Images})
		if err != nil {
			return err
		}
		if score <= limit {
			s.best, low, kept = a, k, len(s.trials)-1
		} else {
			high = k - 1
		}
		s.settle(false) // the bisection goes on
	}
	if kept >= 0 {
		s.trials[kept].Kept = true
	}
	return nil
}

// mergeWeights gives wide with the scales that the same constants have in settled.
func mergeWeights(wide, settled []WeightSite) []WeightSite {
	list := clone(wide)
	for i, w := range list {
		for _, k := range settled {
			if k.Tensor == w.Tensor && k.Axis == w.Axis {
				list[i].Scales = k.Scales
			}
		}
	}
	return list
}

// mergeBiases gives wide with the corrections that the same nodes have in settled.
func mergeBiases(wide, settled []BiasCorrection) []BiasCorrection {
	list := clone(wide)
	for i, b := range list {
		for _, k := range settled {
			if k.Node == b.Node {
				list[i] = k
			}
		}
	}
	return list
}
