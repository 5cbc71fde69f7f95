// What the steps of a run are fed: samples decoded ahead of time on goroutines of
// their own, a bounded number of them, in the run's order. A sample that cannot be
// read is replaced by the next one that can, so that the run does not depend on when
// it was tried.
package qat

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"trtact/internal/coco"
	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/parallel"
)

// mostBad is the share of unreadable samples that a run puts up with.
const mostBad = 0.05

// feeder reads samples. Those from Len() on are the mirrored ones; those that are ready
// need no reading, and have no inputs then.
// The places of several processes take turns; each has its own numbers for its own.
type feeder struct {
	samples     Samples
	order       *order
	rank, ranks int
	ahead       int // places that are read before they are asked for
	end         int // the run's number of places, for this process
	ready       func(id int) bool

	mu      sync.Mutex
	waiting map[int]*reading // by place
	next    int              // the first place not yet begun
	bad     map[int]coco.BadImage
}

type reading struct {
	done   chan struct{}
	id     int
	inputs map[string]*onnx.Tensor
	err    error
	caught *parallel.Panic
}

func newFeeder(s Samples, o *order, ahead, end int) *feeder {
	return &feeder{samples: s, order: o, ranks: 1, ahead: ahead, end: end, ready: func(int) bool { return false },
		waiting: map[int]*reading{}, bad: map[int]coco.BadImage{}}
}

// from begins at a place, that of a resumed run.
func (f *feeder) from(place int) { f.next = place }

// get waits for the sample at a place of the run and gives its number. Each place
// can be asked for once.
func (f *feeder) get(place int) (id int, inputs map[string]*onnx.Tensor, err error) {
	f.mu.Lock()
	for ; f.next <= place+f.ahead && f.next < f.end; f.next++ {
		r := &reading{done: make(chan struct{})}
		f.waiting[f.next] = r
		go func(place int) {
			defer close(r.done)
			r.caught = parallel.Catch(func() {
				if r.id = f.order.at(f.order.epochOf(place*f.ranks + f.rank)); !f.ready(r.id) {
					r.inputs, r.id, r.err = f.read(r.id)
				}
			})
		}(f.next)
	}
	r := f.waiting[place]
	delete(f.waiting, place)
	f.mu.Unlock()
	if r == nil {
		return 0, nil, fmt.Errorf("place %d of the run was asked for twice", place)
	}
	<-r.done
	r.caught.Raise()
	return r.id, r.inputs, r.err
}

// read prepares a sample, or the next one that can be read.
func (f *feeder) read(id int) (map[string]*onnx.Tensor, int, error) {
	n := f.samples.Len()
	for range n {
		base := id % n
		if !f.isBad(base) {
			inputs, err := f.samples.Read(base)
			if err == nil {
				if id >= n {
					inputs = mirrored(inputs)
				}
				return inputs, id, nil
			}
			if fault.Code(err) != fault.CodeBadInput {
				return nil, 0, err
			}
			if err := f.leaveOut(base, err); err != nil {
				return nil, 0, err
			}
		}
		id = id - base + (base+1)%n
	}
	return nil, 0, fault.BadInput(fmt.Errorf("train: none of %d samples can be read", n))
}

// leaveOut notes an unreadable sample. Too many are an error.
func (f *feeder) leaveOut(base int, why error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bad[base] = coco.BadImage{Path: f.samples.Name(base), Why: why.Error()}
	if n := f.samples.Len(); float64(len(f.bad)) > mostBad*float64(n) {
		return fault.BadInput(fmt.Errorf("train: %d of %d samples cannot be read, the last one: %w", len(f.bad), n, why))
	}
	return nil
}

func (f *feeder) isBad(base int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, known := f.bad[base]
	return known
}

// badNumbers are those of the samples that were left out, in their order.
func (f *feeder) badNumbers() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.bad))
}

// badSamples are those that were left out, in their order.
func (f *feeder) badSamples() []coco.BadImage {
	var list []coco.BadImage
	for _, id := range f.badNumbers() {
		f.mu.Lock()
		list = append(list, f.bad[id])
		f.mu.Unlock()
	}
	return list
}

// isPicture reports whether an input is a picture that can be mirrored: [N, 3, H, W].
func isPicture(dims []int) bool { return len(dims) == 4 && dims[1] == 3 && dims[2] > 4 && dims[3] > 4 }

// mirrored is a sample with its pictures turned left to right.
func mirrored(inputs map[string]*onnx.Tensor) map[string]*onnx.Tensor {
	out := map[string]*onnx.Tensor{}
	for name, t := range inputs {
		out[name] = t
		pixels, ok := t.Data.([]float32)
		if !ok || !isPicture(t.Dims) {
			continue
		}
		turned := slices.Clone(pixels)
		width := t.Dims[3]
		for row := 0; row < len(turned); row += width {
			slices.Reverse(turned[row : row+width])
		}
		out[name] = onnx.NewTensor(t.Dims, turned)
	}
	return out
}
