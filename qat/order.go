// In which order samples are trained on: shuffled anew for every pass over them
// (epoch), and known for any place of the run without going through what lies
// before, so that a resumed run need not replay it.
package qat

import (
	"math/rand/v2"
	"sync"
)

// order is the sequence of samples of a run. It depends on the seed alone.
type order struct {
	seed    uint64
	samples []int // what is shuffled

	mu     sync.Mutex
	epochs map[int][]int // the permutations in use
}

func newOrder(seed uint64, samples []int) *order {
	return &order{seed: seed, samples: samples, epochs: map[int][]int{}}
}

// epochOf splits a place of the run into its epoch and the place within.
func (o *order) epochOf(place int) (epoch, within int) {
	return place / len(o.samples), place % len(o.samples)
}

// at is the sample at a place of an epoch.
func (o *order) at(epoch, within int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.epochs[epoch]
	if p == nil {
		for e := range o.epochs { // reading ahead needs two epochs at most
			if e < epoch-1 || e > epoch+1 {
				delete(o.epochs, e)
			}
		}
		p = permutation(o.seed, uint64(epoch), len(o.samples))
		o.epochs[epoch] = p
	}
	return o.samples[p[within]]
}

// permutation is a shuffle of 0..n-1 by a generator of its own.
func permutation(seed, stream uint64, n int) []int {
	return rand.New(rand.NewPCG(seed, stream)).Perm(n)
}

// heldOutStream is the stream of random numbers that chooses the held-out samples;
// epochs use the ones from 0.
const heldOutStream = 1 << 63

// setAside chooses some of n samples to judge by; the others are trained on. It
// never takes more than a tenth, except that two samples give one. A single one is
// both.
func setAside(seed uint64, n, wanted int) (train, held []int) {
	take := min(wanted, max(1, n/10))
	out := make([]bool, n)
	for _, i := range permutation(seed, heldOutStream, n)[:min(take, n)] {
		out[i] = true
	}
	for i := range n {
		if out[i] {
			held = append(held, i)
		}
		if !out[i] || n == 1 {
			train = append(train, i)
		}
	}
	return train, held
}
