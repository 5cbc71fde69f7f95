// The search for settings of a calibration that belong together: method and percentile,
// correction of biases, scales of weights, equalised channels, number of pictures, and
// whether the layers that calibration took in stay in. calib.Auto takes one after the
// other; here all combinations are tried, by successive halving (Jamieson and Talwalkar
// 2016): all on a few pictures, the better part on more, and so on. It is without chance,
// and no trial costs more than it has earned. Where something measures, it decides among
// the best of each method, and what is one step away from the best of those.

package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"trtact/calib"
)

// SearchMethod asks for AutoMethod with the search behind it.
const SearchMethod calib.Method = "search"

// Setting is one combination.
type Setting struct {
	Method   calib.Method `json:"method"`
	Weights  calib.Method `json:"weights"`
	Biases   bool         `json:"bias_correction"`
	Equalise bool         `json:"equalised"`
	Images   int          `json:"images"`
	// Admitted keeps the layers in INT8 that calibration took in beyond placement.
	Admitted bool `json:"admitted"`
}

func (s Setting) String() string {
	text := fmt.Sprintf("%s on %d pictures", s.Method, s.Images)
	if s.Weights != calib.AbsMax {
		text += ", weights by " + string(s.Weights)
	}
	if s.Biases {
		text += ", bias correction"
	}
	if s.Equalise {
		text += ", equalised"
	}
	if !s.Admitted {
		text += ", without admitted layers"
	}
	return text
}

// Search is what the search tried.
type Search struct {
	Settings  int           `json:"settings"` // at the start
	Rounds    []SearchRound `json:"rounds"`
	Finalists []Finalist    `json:"finalists"`
	Chosen    Setting       `json:"chosen"`
	Seconds   float64       `json:"seconds"`

	nodeError map[string]float64 // of the chosen one
}

// SearchRound is one halving.
type SearchRound struct {
	Images   int     `json:"images"`
	Settings int     `json:"settings"`
	Best     Setting `json:"best"`
	Score    float64 `json:"score"`
}

// trials is how many plans were simulated.
func (s *Search) trials() int {
	n := 0
	if s != nil {
		for _, r := range s.Rounds {
			n += r.Settings
		}
	}
	return n
}

// Finalist is a setting that was measured, best first; where nothing measures, one that is
// left after the last round, least error first.
type Finalist struct {
	Setting
	Score  float64  `json:"score"`
	Metric *float64 `json:"metric,omitempty"` // where it was measured
	plan   *calib.Plan
	seen   []calib.Deviation // of the pictures so far
}

// The rounds: on so many pictures, and how many settings go on from there, beside the
// best of every method. The last are the finalists.
var searchRounds = []struct{ images, keep int }{{4, 64}, {16, 16}, {64, 1}}

// searchMethods are the candidates of the automatic choice and what it leaves out
// because it seldom wins.
func searchMethods() []calib.Method {
	return append(calib.DefaultCandidates(), calib.Percentile(99.9999), calib.Percentile(99.995), calib.EMD)
}

// ground is what settings with the same equalisation share.
type ground struct {
	sim   *simulator
	float *Detector
	stats map[int]map[string]*calib.Statistics // by the number of pictures
	plans map[Setting]*calib.Plan              // by admitted, weights and biases: all but the activations' scales
	sites sync.Map                             // the scales: []calib.Site by admitted, images and method
}

// searching is one search.
type searching struct {
	m       *Machine
	d       *Detector
	samples Samples
	o       CalibrateOptions
	base    *calib.Plan      // of calibration: which layers it took in
	grounds map[bool]*ground // by equalisation
}

// searchTrials is how many simulations a search makes at most, and on how many pictures
// all together.
func searchTrials(settings int) (trials, images int) {
	seen := 0
	for _, r := range searchRounds {
		trials += settings
		images += settings * (r.images - seen)
		seen, settings = r.images, min(settings, r.keep+len(searchMethods())-1)
	}
	return trials, images
}

// searchable says whether a calibration leaves anything to search for.
func (o CalibrateOptions) searchable() bool {
	return (o.Method == AutoMethod || o.Method == "") && o.Grid == nil
}

// mostSettings is how many combinations there are where nothing is fixed.
func mostSettings() int { return len(searchMethods()) * 2 * 2 * 2 * 2 * 2 }

// mostFinalists is how many settings are measured at most: the best of each method, and
// from three of them a step in each of five directions.
func mostFinalists() int { return len(searchMethods()) + nearBest*5 }

// searchSettings finds the setting with the least error. measure, if set, decides among
// the finalists; higher is better.
func (m *Machine) searchSettings(ctx context.Context, d *Detector, samples Samples, o CalibrateOptions, base *calib.Plan,
	measure func(*calib.Plan) (float64, error)) (*calib.Plan, *Search, error) {
	start := time.Now()
	s := &searching{m: m, d: d, samples: o.chosen(samples), o: o, base: base, grounds: map[bool]*ground{}}
	if err := s.prepare(ctx); err != nil {
		return nil, nil, err
	}
	settings := s.settings()
	found := &Search{Settings: len(settings)}
	trials, _ := searchTrials(len(settings))
	count := m.count("search settings", trials, "trials")
	list := make([]Finalist, len(settings))
	for i := range settings {
		list[i].Setting = settings[i]
	}
	for _, round := range searchRounds {
		if err := s.try(ctx, list, round.images, count.add); err != nil {
			return nil, nil, err
		}
		slices.SortStableFunc(list, func(a, b Finalist) int { return cmp.Compare(a.Score, b.Score) })
		images := min(round.images, s.samples.Len())
		found.Rounds = append(found.Rounds, SearchRound{Images: images, Settings: len(list), Best: list[0].Setting, Score: list[0].Score})
		slog.Debug("search", "pictures", images, "settings", len(list), "best", list[0].Setting.String(), "error", list[0].Score)
		list = survivors(list, round.keep)
	}
	if math.IsInf(list[0].Score, 1) {
		return nil, nil, errors.New("search: every setting gave outputs that are not finite; check that the float model's outputs are")
	}
	if measure != nil {
		var err error
		if list, err = s.decide(ctx, list, measure); err != nil {
			return nil, nil, err
		}
	}
	best := list[0]
	found.Finalists, found.Chosen, found.Seconds = list, best.Setting, time.Since(start).Seconds()
	best.plan.Method = "search: " + best.Setting.String()
	var err error
	found.nodeError, err = s.grounds[best.Equalise].sim.nodeErrors(ctx, best.plan)
	return best.plan, found, err
}

// try simulates settings on pictures up to the given number, one on each core: most take
// few pictures, and as long to compile.
func (s *searching) try(ctx context.Context, list []Finalist, images int, done func()) error {
	return s.m.forEach(ctx, len(list), func(ctx context.Context, i int) error {
		defer done()
		return s.tryOne(ctx, &list[i], images)
	})
}

func (s *searching) tryOne(ctx context.Context, f *Finalist, images int) error {
	if len(f.seen) >= min(images, s.samples.Len()) {
		return nil
	}
	var err error
	if f.plan, err = s.plan(f.Setting); err != nil {
		return err
	}
	more, err := s.grounds[f.Equalise].sim.deviations(ctx, f.plan, len(f.seen), images, 1)
	if err != nil {
		return fmt.Errorf("simulate the plan by %s: %w", f.Setting, err)
	}
	f.seen = append(f.seen, more...)
	f.Score = calib.Score(calib.Errors(f.seen))
	return nil
}

// What is near the best three finalists is measured too, but what makes more than twice the
// least error.
const (
	nearBest  = 3
	mostError = 2
)

// decide measures the finalists, and what differs from the best of them in one thing. The
// best comes first.
func (s *searching) decide(ctx context.Context, list []Finalist, measure func(*calib.Plan) (float64, error)) ([]Finalist, error) {
	limit, known := mostError*list[0].Score, map[Setting]bool{}
	if err := s.measure(list, measure, known); err != nil {
		return nil, err
	}
	var near []Finalist
	for _, f := range list[:min(nearBest, len(list))] {
		more, err := s.near(ctx, f.Setting, known, limit)
		if err != nil {
			return nil, err
		}
		near = append(near, more...)
	}
	if err := s.measure(near, measure, known); err != nil {
		return nil, err
	}
	list = append(list, near...)
	slices.SortStableFunc(list, byMetric)
	return list, nil
}

// measure measures settings and puts the best first.
func (s *searching) measure(list []Finalist, measure func(*calib.Plan) (float64, error), known map[Setting]bool) error {
	count := s.m.count("measure finalists", len(list), "plans")
	for i := range list {
		v, err := measure(list[i].plan)
		if err != nil {
			return err
		}
		list[i].Metric, known[list[i].Setting] = &v, true
		count.add()
	}
	slices.SortStableFunc(list, byMetric)
	return nil
}

func byMetric(a, b Finalist) int { return cmp.Compare(*b.Metric, *a.Metric) }

// near are the settings one step away that are not known yet, but those whose error is
// above the limit.
func (s *searching) near(ctx context.Context, from Setting, known map[Setting]bool, limit float64) ([]Finalist, error) {
	var list []Finalist
	for _, k := range s.settings() {
		if !known[k] && k.steps(from) == 1 {
			known[k] = true
			list = append(list, Finalist{Setting: k})
		}
	}
	err := s.try(ctx, list, searchRounds[len(searchRounds)-1].images, func() {})
	return slices.DeleteFunc(list, func(f Finalist) bool { return !(f.Score <= limit) }), err
}

// steps is in how many things two settings of one method differ; many for two methods.
func (k Setting) steps(o Setting) int {
	if k.Method != o.Method {
		return math.MaxInt
	}
	n := 0
	for _, differ := range []bool{k.Weights != o.Weights, k.Biases != o.Biases, k.Equalise != o.Equalise, k.Images != o.Images, k.Admitted != o.Admitted} {
		if differ {
			n++
		}
	}
	return n
}

// survivors keeps the first so many settings, and the best of every method: how far
// outputs are from the float model's says little of which outliers are better cut off, so
// no method is given up before it is measured. Two settings with one score make one plan.
func survivors(list []Finalist, keep int) []Finalist {
	var kept []Finalist
	methods := map[calib.Method]bool{}
	for i, f := range list {
		if i > 0 && f.Score == list[i-1].Score {
			continue
		}
		if len(kept) < keep || !methods[f.Method] {
			kept = append(kept, f)
			methods[f.Method] = true
		}
	}
	return kept
}

// fewImages is the part of the pictures that is tried beside all of them, if it is at
// least leastImages.
const (
	fewImages   = 4
	leastImages = 8
)

// prepare observes the float model, equalised and not, on all pictures and on a part.
func (s *searching) prepare(ctx context.Context) error {
	for _, equalise := range []bool{false, true} {
		if equalise && s.o.Equalise == EqualiseOff || !equalise && s.o.Equalise == EqualiseOn {
			continue
		}
		float, list := s.d, []calib.Equalisation(nil)
		if equalise {
			o := s.o
			o.Method = AutoMethod
			var err error
			if float, list, err = s.m.equalise(ctx, s.d, s.samples, o); err != nil {
				return err
			}
			if len(list) == 0 && s.o.Equalise != EqualiseOn {
				continue
			}
		}
		g, err := s.ground(ctx, float, list)
		if err != nil {
			return err
		}
		s.grounds[equalise] = g
	}
	return nil
}

func (s *searching) ground(ctx context.Context, float *Detector, list []calib.Equalisation) (*ground, error) {
	placed, err := s.o.place(float)
	if err != nil {
		return nil, err
	}
	placed.Equalised = list
	g := &ground{float: float, stats: map[int]map[string]*calib.Statistics{}, plans: map[Setting]*calib.Plan{}}
	g.sim = newSimulator(s.m, float, s.d, searchRounds[len(searchRounds)-1].images)
	g.sim.tensors = tensorsOf(placed)
	plans := map[bool]*calib.Plan{false: placed}
	admitted, err := s.admitted(float, placed, &g.sim.tensors)
	if err != nil {
		return nil, err
	}
	if admitted != nil {
		plans[true] = admitted
	} else {
		plans = map[bool]*calib.Plan{true: placed}
	}
	all := s.samples.Len()
	for _, n := range []int{all, all / fewImages} {
		if n >= leastImages && g.stats[n] == nil {
			if g.stats[n], _, err = s.m.observe(ctx, "calibrate", float, First(s.samples, n), g.sim); err != nil {
				return nil, err
			}
		}
	}
	if len(g.stats) == 0 { // very few pictures
		if g.stats[all], _, err = s.m.observe(ctx, "calibrate", float, s.samples, g.sim); err != nil {
			return nil, err
		}
	}
	for admitted, p := range plans {
		for _, weights := range s.weights() {
			for _, biases := range s.biases() {
				q := p.Clone()
				if err := q.AssignWeights(float.Model.Graph, weights); err != nil {
					return nil, err
				}
				if s.o.PerTensor {
					oneScale(q)
				}
				if biases {
					if err := q.CorrectBiases(float.Model.Graph, g.sim.means); err != nil {
						return nil, err
					}
				}
				g.plans[Setting{Admitted: admitted, Weights: weights, Biases: biases}] = q
			}
		}
	}
	return g, nil
}

// admitted is the plan with the layers that calibration took in beyond placement; nil
// where it took in none.
func (s *searching) admitted(float *Detector, placed *calib.Plan, tensors *[]string) (*calib.Plan, error) {
	before, now := placed.Layers(), s.base.Layers()
	if !slices.ContainsFunc(now, func(n string) bool { return !slices.Contains(before, n) }) {
		return nil, nil
	}
	o := s.o
	o.Search.Wider = nil
	if err := o.widen(float, placed, tensors); err != nil || len(o.Search.Wider) == 0 {
		return nil, err
	}
	wide := o.Search.Wider[0]
	q := wide.Plan.Clone()
	for _, n := range wide.Layers {
		if !slices.Contains(now, n) {
			reason := calib.Skip{Node: n, Reason: "measured: it costs more than it saves"}
			for _, k := range placed.Skipped {
				if k.Node == n {
					reason = k
				}
			}
			q.Skip(n, reason.Op, reason.Reason)
		}
	}
	return q, nil
}

func (s *searching) weights() []calib.Method {
	if s.o.Weights != "" {
		return []calib.Method{s.o.Weights}
	}
	if s.o.PerTensor {
		return []calib.Method{calib.AbsMax}
	}
	return []calib.Method{calib.AbsMax, calib.MSE}
}

func (s *searching) biases() []bool {
	if s.o.Biases {
		return []bool{true}
	}
	return []bool{false, true}
}

// settings lists all combinations, in an order that is always the same.
func (s *searching) settings() []Setting {
	var list []Setting
	for _, equalise := range []bool{false, true} {
		g := s.grounds[equalise]
		if g == nil {
			continue
		}
		for _, images := range []int{s.samples.Len(), s.samples.Len() / fewImages} {
			if g.stats[images] == nil {
				continue
			}
			for _, admitted := range []bool{true, false} {
				for _, weights := range s.weights() {
					for _, biases := range s.biases() {
						if g.plans[Setting{Admitted: admitted, Weights: weights, Biases: biases}] == nil {
							continue
						}
						for _, method := range searchMethods() {
							list = append(list, Setting{method, weights, biases, equalise, images, admitted})
						}
					}
				}
			}
		}
	}
	return list
}

// plan is that of one setting.
func (s *searching) plan(k Setting) (*calib.Plan, error) {
	g := s.grounds[k.Equalise]
	q := g.plans[Setting{Admitted: k.Admitted, Weights: k.Weights, Biases: k.Biases}].Clone()
	key := Setting{Admitted: k.Admitted, Images: k.Images, Method: k.Method}
	if sites, known := g.sites.Load(key); known {
		q.Sites, q.Method = slices.Clone(sites.([]calib.Site)), string(k.Method)
		return q, nil
	}
	err := q.Assign(g.stats[k.Images], k.Method)
	if err == nil {
		g.sites.Store(key, slices.Clone(q.Sites))
	}
	return q, err
}
