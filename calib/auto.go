// The automatic choice: what the methods promise on histograms is one thing, what
// the detector's outputs lose is another, so the choice is made by simulating
// the quantised model on a few calibration images. First the best method for all
// tensors, in rounds so that the worst ones cost little; then layers that placement
// left float (admit.go); then changes to the plan as a whole; then, as far as the
// budget goes, another method for single groups, those with most rounding noise first.
// Everything is in a fixed order, so the same images give the same plan.
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
	"sync"
	"sync/atomic"

	"trtact/internal/parallel"
)

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
	// Images is how many images a trial runs at most; default DefaultTrialImages.
	Images int
	// Groups is how many trials may be spent on other methods for single groups;
	// default none.
	Groups int
	// Progress, if set, hears of every trial.
	Progress func(Trial)
}

// DefaultTrialImages is how many images a trial runs at most.
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
	trials := n
	for ; n > 2; n = half(n) {
		trials += half(n)
	}
	for _, w := range o.Wider {
		trials += w.trials()
	}
	return trials + len(o.Changes) + o.Groups
}

// half is rounded up.
func half(n int) int { return (n + 1) / 2 }

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
	if err := s.whole(p); err != nil {
		return nil, nil, err
	}
	for _, w := range opt.Wider {
		if err := s.admit(w); err != nil {
			return nil, nil, err
		}
	}
	if err := s.change(); err != nil {
		return nil, nil, err
	}
	if err := s.refine(); err != nil {
		return nil, nil, err
	}
	best := s.best.plan
	best.Method = "auto: " + best.methodSummary()
	if len(best.Biases) > 0 {
		best.Method += " + bias correction"
	}
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
	best   *attempt // so far, tried on all images
}

// attempt is a plan and what it makes of the images that it has been tried on.
type attempt struct {
	plan *Plan
	seen []Deviation
}

// first is what was seen of so many images, score the figure for it.
func (a *attempt) first(images int) []Deviation { return a.seen[:min(images, len(a.seen))] }
func (a *attempt) score(images int) float64     { return Score(Errors(a.first(images))) }

// look runs a on those of the first so many images that it has not seen.
func (s *search) look(a *attempt, images int) (score float64, err error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if from := len(a.seen); from < images {
		more, err := s.sim.Deviations(s.ctx, a.plan, from, images)
		if err != nil {
			return 0, err
		}
		a.seen = append(a.seen, more...)
	}
	return a.score(images), nil
}

// try is look for a trial, which it notes.
func (s *search) try(a *attempt, t Trial) (score float64, err error) {
	if _, err := s.look(a, t.Images); err != nil {
		return 0, fmt.Errorf("simulate the plan with %s%s: %w", t.Method, t.Change, err)
	}
	t.Errors = Errors(a.first(t.Images))
	t.Score = Score(t.Errors)
	s.trials = append(s.trials, t)
	return t.Score, nil
}

// tryAll tries several, side by side: while one is made ready, another runs. They are
// noted in their order; kept hears of each score and says whether the plan is kept so far.
func (s *search) tryAll(list []*attempt, trial func(*attempt) Trial, kept func(float64, *attempt) bool) error {
	const together = 2
	type outcome struct {
		err    error
		caught *parallel.Panic
	}
	looked := make([]chan outcome, len(list))
	for i := range looked {
		looked[i] = make(chan outcome, 1)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	for range min(together, len(list)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := int(next.Add(1)) - 1; i < len(list); i = int(next.Add(1)) - 1 {
				var o outcome
				o.caught = parallel.Catch(func() { _, o.err = s.look(list[i], trial(list[i]).Images) })
				looked[i] <- o
			}
		}()
	}
	for i, a := range list {
		if o := <-looked[i]; o.err != nil || o.caught != nil {
			next.Store(int64(len(list)))
			o.caught.Raise()
			return fmt.Errorf("simulate the plan with %s%s: %w", trial(a).Method, trial(a).Change, o.err)
		}
		score, err := s.try(a, trial(a))
		if err != nil {
			return err
		}
		s.settle(kept(score, a))
	}
	return nil
}

// settle marks the last trial and reports it.
func (s *search) settle(kept bool) {
	t := &s.trials[len(s.trials)-1]
	t.Kept = kept
	if s.opt.Progress != nil {
		s.opt.Progress(*t)
	}
}

// outOfReach is how many times the best one's error no method comes back from.
const outOfReach = 1.25

// whole tries each candidate on all tensors, by successive halving (Jamieson and
// Talwalkar 2016): all on a part of the images, the better half on twice as many, the
// last two on all. Those out of reach of the best are given up at once.
func (s *search) whole(p *Plan) error {
	list := make([]*attempt, len(s.opt.Candidates))
	method := map[*attempt]Method{}
	images := s.opt.Images
	for i, m := range s.opt.Candidates {
		q := p.Clone()
		if err := q.Assign(s.stats, m); err != nil {
			return err
		}
		list[i] = &attempt{plan: q}
		method[list[i]] = m
	}
	for n := len(list); n > 2; n = half(n) {
		images = half(images)
	}
	for ; len(list) > 2; images = min(2*images, s.opt.Images) {
		err := s.tryAll(list, func(a *attempt) Trial { return Trial{Method: method[a], Images: images} }, func(float64, *attempt) bool { return false })
		if err != nil {
			return err
		}
		sort.SliceStable(list, func(a, b int) bool { return list[a].score(images) < list[b].score(images) })
		best := list[0].score(images)
		list = slices.DeleteFunc(list[:half(len(list))], func(a *attempt) bool { return a.score(images) > outOfReach*best })
	}
	least := math.Inf(1)
	err := s.tryAll(list, func(a *attempt) Trial { return Trial{Method: method[a], Images: s.opt.Images} }, func(score float64, a *attempt) bool {
		better := score < least
		if better {
			s.best, least = a, score
		}
		return better
	})
	if err != nil {
		return err
	}
	if s.best == nil {
		return errors.New("calibrate: every method gave outputs that are not finite; check that the float model's outputs are")
	}
	return nil
}

// change tries each change on top of those kept before it.
func (s *search) change() error {
	for _, c := range s.opt.Changes {
		q := s.best.plan.Clone()
		if err := c.Apply(q); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		if err := s.challenge(q, Trial{Change: c.Name}, 1); err != nil {
			return err
		}
	}
	return nil
}

// challenge puts q in the place of the best plan where its score is below factor times
// that one's, on a quarter of the images, on half of them and on all.
func (s *search) challenge(q *Plan, t Trial, factor float64) error {
	a, better := &attempt{plan: q}, true
	for _, t.Images = range []int{half(half(s.opt.Images)), half(s.opt.Images), s.opt.Images} {
		score, err := s.look(a, t.Images)
		if err != nil {
			return fmt.Errorf("simulate the plan with %s%s: %w", t.Method, t.Change, err)
		}
		if better = score < factor*s.best.score(t.Images); !better {
			break
		}
	}
	if _, err := s.try(a, t); err != nil {
		return err
	}
	if better {
		s.best = a
	}
	s.settle(better)
	return nil
}

// minGain is the relative improvement of the score below which a change to a
// single group is not kept: less is luck with the images of the trial.
const minGain = 0.01

// minScaleChange is the ratio between two scales below which trying the other
// cannot matter.
const minScaleChange = 1.05

// refine tries other methods on single groups, noisiest first, until the trials
// for it are spent.
func (s *search) refine() error {
	budget := len(s.trials) + s.opt.Groups
	for _, u := range byNoise(s.best.plan, s.stats) {
		first := s.best.plan.Sites[u.sites[0]]
		tensors := make([]string, len(u.sites))
		for k, i := range u.sites {
			tensors[k] = s.best.plan.Sites[i].Tensor
		}
		tried := []float32{first.Scale}
		for _, m := range s.opt.Candidates {
			if len(s.trials) >= budget {
				return nil
			}
			q := s.best.plan.Clone()
			if err := q.assignUnit(u, s.stats, m); err != nil {
				return err
			}
			scale := q.Sites[u.sites[0]].Scale
			if alike(scale, tried) {
				continue
			}
			tried = append(tried, scale)
			if err := s.challenge(q, Trial{Method: m, Tensors: tensors}, 1-minGain); err != nil {
				return err
			}
		}
	}
	return nil
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
