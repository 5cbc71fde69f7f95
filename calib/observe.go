// Observation of activations while images stream through the float model. Per
// tensor it keeps one histogram and a few running means; no activation outlives
// its image, so memory does not grow with the number of images.
//
// Images may be handed in from several goroutines and out of order. Counts are
// integers and commute; what does not (moving average, means of floats) is
// folded in strictly by image index, with early arrivals parked as a few numbers
// each. So the result is the same to the last bit on any number of threads.
package calib

import (
	"fmt"
	"sort"
	"sync"

	"trtact/internal/fault"
)

// Values gives the values of a network's tensors after one image went through.
type Values interface {
	// AbsMax is the largest magnitude in a tensor; not finite when a value is not.
	AbsMax(tensor string) (float32, error)
	// Histogram adds the count of magnitudes to equal bins over [0, upper];
	// what is above goes into the last bin.
	Histogram(tensor string, upper float32, bins []int64) error
}

// imagePercentiles are the percentiles whose mean over images is kept.
var imagePercentiles = [...]float64{99.9, 99.99, 99.999}

// averageRate is the decay of the moving-average absmax, as in PaddleSlim.
const averageRate = 0.9

// Statistics is what was seen of one tensor.
type Statistics struct {
	Images int
	AbsMax float32
	// MovingAbsMax is accumulator/state with state <- 0.9 state + 1 and
	// accumulator <- 0.9 accumulator + absmax of the image.
	MovingAbsMax float32
	// MeanAbsMax is the mean over images of each image's largest magnitude.
	MeanAbsMax float32
	// MeanPercentile holds, for 99.9, 99.99 and 99.999 %, the mean over images
	// of each image's percentile.
	MeanPercentile [len(imagePercentiles)]float32
	Histogram      Histogram
}

// sample is what one image contributes to one tensor beside its counts.
type sample struct {
	absmax      float32
	percentiles [len(imagePercentiles)]float32
}

// track is the running state of one tensor.
type track struct {
	histogram   Histogram
	images      int
	absmax      float32
	state       float64
	accumulator float64
	sumAbsMax   float64
	sums        [len(imagePercentiles)]float64
}

// Observer gathers Statistics of a fixed list of tensors.
type Observer struct {
	tensors []string

	mu      sync.Mutex
	tracks  []track
	next    int              // the first image not folded in yet
	pending map[int][]sample // images that came early; nil for a skipped one
}

// NewObserver watches the given tensors.
func NewObserver(tensors []string) *Observer {
	return &Observer{
		tensors: append([]string(nil), tensors...),
		tracks:  make([]track, len(tensors)),
		pending: map[int][]sample{},
	}
}

// Image takes in the values of image number index. Every index from 0 up must
// come exactly once, through Image or Skip, in any order, from any goroutine.
func (o *Observer) Image(index int, v Values) error {
	samples := make([]sample, len(o.tensors))
	bins := make([]int64, Bins)
	for i, name := range o.tensors {
		absmax, err := v.AbsMax(name)
		if err != nil {
			return fmt.Errorf("observe tensor %q, image %d: %w", name, index, err)
		}
		upper, err := histogramRange(absmax)
		if err != nil {
			return fault.BadInput(fmt.Errorf("observe tensor %q, image %d: %w", name, index, err))
		}
		h := Histogram{Upper: upper, Counts: bins}
		clear(bins)
		if upper == 0 {
			// Only zeros: any range counts them into the first bin.
			err = v.Histogram(name, 1, bins)
		} else {
			err = v.Histogram(name, upper, bins)
		}
		if err != nil {
			return fmt.Errorf("observe tensor %q, image %d: %w", name, index, err)
		}
		samples[i].absmax = absmax
		for k, p := range imagePercentiles {
			samples[i].percentiles[k] = min(absmax, float32(h.Percentile(p)))
		}
		o.mu.Lock()
		o.tracks[i].histogram.Merge(&h)
		o.mu.Unlock()
	}
	o.fold(index, samples)
	return nil
}

// Skip says that image number index will not come, because it could not be read.
func (o *Observer) Skip(index int) { o.fold(index, nil) }

// fold parks one image's samples and takes in all that are next in order.
func (o *Observer) fold(index int, samples []sample) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending[index] = samples
	for {
		s, here := o.pending[o.next]
		if !here {
			return
		}
		delete(o.pending, o.next)
		o.next++
		for i := range s {
			t := &o.tracks[i]
			t.images++
			t.absmax = max(t.absmax, s[i].absmax)
			t.state = averageRate*t.state + 1
			t.accumulator = averageRate*t.accumulator + float64(s[i].absmax)
			t.sumAbsMax += float64(s[i].absmax)
			for k, p := range s[i].percentiles {
				t.sums[k] += float64(p)
			}
		}
	}
}

// Statistics gives what was gathered, by tensor. It fails when no image came
// or an index is missing.
func (o *Observer) Statistics() (map[string]*Statistics, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) > 0 {
		var early []int
		for i := range o.pending {
			early = append(early, i)
		}
		sort.Ints(early)
		return nil, fmt.Errorf("calibrate: image %d never came, image %d did", o.next, early[0])
	}
	all := make(map[string]*Statistics, len(o.tensors))
	for i, name := range o.tensors {
		t := &o.tracks[i]
		if t.images == 0 {
			return nil, fmt.Errorf("calibrate: no image was observed; give a folder with readable images")
		}
		n := float64(t.images)
		s := &Statistics{
			Images:       t.images,
			AbsMax:       t.absmax,
			MovingAbsMax: float32(t.accumulator / t.state),
			MeanAbsMax:   float32(t.sumAbsMax / n),
			Histogram:    Histogram{Upper: t.histogram.Upper, Counts: append([]int64(nil), t.histogram.Counts...)},
		}
		for k, sum := range t.sums {
			s.MeanPercentile[k] = float32(sum / n)
		}
		all[name] = s
	}
	return all, nil
}
