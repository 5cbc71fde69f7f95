// The automatic choice: what the methods promise on histograms is one thing, what
// the detector's outputs lose is another, so the choice is made by simulating
// the quantised model on a few calibration images. First the best method for all
// tensors, in two rounds so that the worst ones cost little; then layers that
// placement left float (admit.go); then changes to the plan as a whole, such as
// bias correction; then, as far as the budget goes, another method for single groups, those with most
// rounding noise first. Everything is in a fixed order, so the same images give
// the same plan.
//
// The last step is off by default. On YOLOv5n 24 trials of it lowered the error on
// the 16 images of the trials by 7 % and on 64 others not at all: what a single
// group gains there is luck with the images.
package calib

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
)

// Simulator runs a plan's quantised model.
type Simulator interface {
	// Error is how far the plan's model is off the float model over the first so
	// many calibration images, one figure for each thing compared: the scores and
	// boxes of a detector (DetectionError), or where the outputs cannot be
	// decoded the relative L2 error of each head.
	Error(ctx context.Context, p *Plan, images int) (perHead []float64, err error)
}

// Score is one figure for the errors of all heads: their geometric mean, so that
// halving the error of one head counts the same whichever it is. A head that is
// not a number makes the score infinite.
func Score(perHead []float64) float64 {
	if len(perHead) == 0 {
		return math.Inf(1)
	}
	sum := 0.0
	for _, e := range perHead {
		if math.IsNaN(e) || math.IsInf(e, 0) || e < 0 {
			return math.Inf(1)
		}
		sum += math.Log(math.Max(e, 1e-12))
	}
	return math.Exp(sum / float64(len(perHead)))
}

// AutoOptions bounds the search. The zero value means the defaults.
type AutoOptions struct {
	// Candidates are the methods tried on the whole model; default
	// DefaultCandidates.
	Candidates []Method
	// Wider are settings of the placement that quantise more layers; with them as
	// many of these layers become INT8 as WidenTolerance allows (admit.go).
	Wider []Wider
	// Changes are tried one after the other on the best plan so far, and each is
	// kept when it lowers the score.
	Changes []Change
	// Images is how many images a trial runs; default DefaultTrialImages.
	Images int
	// Groups is how many trials may be spent on other methods for single groups;
	// default none.
	Groups int
	// Progress, if set, hears of every trial.
	Progress func(Trial)
}

// DefaultTrialImages is how many images a trial runs.
const DefaultTrialImages = 32

// Change is something else than the method of the activations that may help.
type Change struct {
	Name  string
	Apply func(*Plan) error
}

// DefaultCandidates are the methods that did best on one detector or another.
// Left out are entropy, which cost four of the five detectors measured a quarter
// to a half of their mAP, and the 99.9 % percentiles, which look good by the error
// at the heads and cost most of them one to two points. The first of equals wins,
// so the most reliable stands first.
func DefaultCandidates() []Method {
	return []Method{
		MeanPercentile(99.999), MeanPercentile(99.99), Percentile(99.999), Percentile(99.99),
		MeanAbsMax, AbsMax, MSE,
	}
}

// Trial is one plan that was simulated.
type Trial struct {
	Method  Method
	Change  string   // the Change tried, "" for none
	Tensors []string // what the method was tried on; nil for everything
	Images  int      // it ran
	Errors  []float64
	Score   float64
	Kept    bool
}

// Trials is the number of trials that a search makes at most.
func (o AutoOptions) Trials() int {
	n := len(o.Candidates)
	if n == 0 {
		n = len(DefaultCandidates())
	}
	if n > finalists {
		n += finalists
	}
	for _, w := range o.Wider {
		n += w.trials()
	}
	return n + len(o.Changes) + o.Groups
}

// Auto gives a copy of p, which Place made, with the scales that lose least by
// the simulator's judgement, and every trial made on the way.
func Auto(ctx context.Context, sim Simulator, p *Plan, stats map[string]*Statistics, opt AutoOptions) (*Plan, []Trial, error) {
	if len(opt.Candidates) == 0 {
		opt.Candidates = DefaultCandidates()
	}
	if opt.Images <= 0 {
		opt.Images = DefaultTrialImages
	}
	s := &search{ctx: ctx, sim: sim, stats: stats, opt: opt}
	best, err := s.whole(p)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range opt.Wider {
		if best, err = s.admit(best, w); err != nil {
			return nil, nil, err
		}
	}
	if best, err = s.change(best); err != nil {
		return nil, nil, err
	}
	if best, err = s.refine(best); err != nil {
		return nil, nil, err
	}
	best.Method = "auto: " + best.methodSummary()
	for _, t := range s.trials {
		if t.Change != "" && t.Kept {
			best.Method += " + " + t.Change
		}
	}
	return best, s.trials, nil
}

// search is the state of one Auto call.
type search struct {
	ctx    context.Context
	sim    Simulator
	stats  map[string]*Statistics
	opt    AutoOptions
	trials []Trial
	score  float64 // of the best plan so far
}

func (s *search) try(p *Plan, t Trial) (float64, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	errs, err := s.sim.Error(s.ctx, p, t.Images)
	if err != nil {
		return 0, fmt.Errorf("simulate the plan with %s%s: %w", t.Method, t.Change, err)
	}
	t.Errors, t.Score = errs, Score(errs)
	s.trials = append(s.trials, t)
	return t.Score, nil
}

// settle marks the last trial and reports it.
func (s *search) settle(kept bool) {
	t := &s.trials[len(s.trials)-1]
	t.Kept = kept
	if s.opt.Progress != nil {
		s.opt.Progress(*t)
	}
}

// finalists is how many candidates are tried on all images of a trial, after all
// of them were tried on a quarter of the images.
const finalists = 3

// whole tries each candidate on all tensors.
func (s *search) whole(p *Plan) (*Plan, error) {
	candidates := s.opt.Candidates
	if len(candidates) > finalists {
		var err error
		if candidates, err = s.shortlist(p, candidates); err != nil {
			return nil, err
		}
	}
	var best *Plan
	s.score = math.Inf(1)
	for _, m := range candidates {
		q := p.Clone()
		if err := q.Assign(s.stats, m); err != nil {
			return nil, err
		}
		score, err := s.try(q, Trial{Method: m, Images: s.opt.Images})
		if err != nil {
			return nil, err
		}
		better := score < s.score
		if better {
			best, s.score = q, score
		}
		s.settle(better)
	}
	if best == nil {
		return nil, errors.New("calibrate: every method gave outputs that are not finite; check that the float model's outputs are")
	}
	return best, nil
}

// shortlist gives the finalists, in the order they had.
func (s *search) shortlist(p *Plan, candidates []Method) ([]Method, error) {
	scores := map[Method]float64{}
	for _, m := range candidates {
		q := p.Clone()
		if err := q.Assign(s.stats, m); err != nil {
			return nil, err
		}
		score, err := s.try(q, Trial{Method: m, Images: (s.opt.Images + 3) / 4})
		if err != nil {
			return nil, err
		}
		scores[m] = score
		s.settle(false)
	}
	best := clone(candidates)
	sort.SliceStable(best, func(a, b int) bool { return scores[best[a]] < scores[best[b]] })
	var list []Method
	for _, m := range candidates {
		if slices.Contains(best[:finalists], m) {
			list = append(list, m)
		}
	}
	return list, nil
}

// change tries each change on top of those kept before it.
func (s *search) change(best *Plan) (*Plan, error) {
	for _, c := range s.opt.Changes {
		q := best.Clone()
		if err := c.Apply(q); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		score, err := s.try(q, Trial{Change: c.Name, Images: s.opt.Images})
		if err != nil {
			return nil, err
		}
		better := score < s.score
		if better {
			best, s.score = q, score
		}
		s.settle(better)
	}
	return best, nil
}

// minGain is the relative improvement of the score below which a change to a
// single group is not kept: less is luck with the images of the trial.
const minGain = 0.01

// minScaleChange is the ratio between two scales below which trying the other
// cannot matter.
const minScaleChange = 1.05

// refine tries other methods on single groups, noisiest first, until the trials
// for it are spent.
func (s *search) refine(best *Plan) (*Plan, error) {
	budget := len(s.trials) + s.opt.Groups
	for _, u := range byNoise(best, s.stats) {
		first := best.Sites[u.sites[0]]
		tensors := make([]string, len(u.sites))
		for k, i := range u.sites {
			tensors[k] = best.Sites[i].Tensor
		}
		tried := []float32{first.Scale}
		for _, m := range s.opt.Candidates {
			if len(s.trials) >= budget {
				return best, nil
			}
			q := best.Clone()
			if err := q.assignUnit(u, s.stats, m); err != nil {
				return nil, err
			}
			scale := q.Sites[u.sites[0]].Scale
			if alike(scale, tried) {
				continue
			}
			tried = append(tried, scale)
			score, err := s.try(q, Trial{Method: m, Tensors: tensors, Images: s.opt.Images})
			if err != nil {
				return nil, err
			}
			better := score < s.score*(1-minGain)
			if better {
				best, s.score = q, score
			}
			s.settle(better)
		}
	}
	return best, nil
}

func alike(scale float32, others []float32) bool {
	for _, o := range others {
		if scale < o*minScaleChange && o < scale*minScaleChange {
			return true
		}
	}
	return false
}

// byNoise sorts the units of a plan by the share of their energy that is lost to
// rounding and clipping, largest first.
func byNoise(p *Plan, stats map[string]*Statistics) []unit {
	list := p.units()
	noise := make(map[int]float64, len(list)) // by first site
	for _, u := range list {
		for _, i := range u.sites {
			s := &p.Sites[i]
			noise[u.sites[0]] = math.Max(noise[u.sites[0]], relativeNoise(&stats[s.Tensor].Histogram, float64(s.Scale)))
		}
	}
	sort.SliceStable(list, func(a, b int) bool { return noise[list[a].sites[0]] > noise[list[b].sites[0]] })
	return list
}

// relativeNoise is the expected squared error over the mean square of the values.
func relativeNoise(h *Histogram, scale float64) float64 {
	if h.Upper == 0 {
		return 0
	}
	w := h.Width()
	var square float64
	for i, c := range h.Counts {
		x := (float64(i) + 0.5) * w
		square += float64(c) * x * x
	}
	return meanSquaredError(h, scale) / (square / float64(h.Total()))
}

// methodSummary lists the methods in use with how many tensors each has.
func (p *Plan) methodSummary() string {
	count := map[string]int{}
	for _, s := range p.Sites {
		count[s.Method]++
	}
	var names []string
	for m := range count {
		names = append(names, m)
	}
	sort.Slice(names, func(a, b int) bool {
		if count[names[a]] != count[names[b]] {
			return count[names[a]] > count[names[b]]
		}
		return names[a] < names[b]
	})
	for i, m := range names {
		if len(names) > 1 {
			names[i] = fmt.Sprintf("%s (%d)", m, count[m])
		}
	}
	return strings.Join(names, ", ")
}
