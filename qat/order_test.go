package qat

import (
	"slices"
	"testing"
)

func TestOrderIsAShuffleOfEveryEpoch(t *testing.T) {
	samples := []int{3, 5, 8, 13, 21, 34, 55}
	a, b := newOrder(7, samples), newOrder(7, samples)
	sequence := func(o *order, from, to int) []int {
		var list []int
		for p := from; p < to; p++ {
			list = append(list, o.at(o.epochOf(p)))
		}
		return list
	}
	whole := sequence(a, 0, 35)
	for e := range 5 {
		epoch := slices.Clone(whole[e*7 : e*7+7])
		slices.Sort(epoch)
		if !slices.Equal(epoch, samples) {
			t.Errorf("epoch %d has %v", e, epoch)
		}
		if e > 0 && slices.Equal(whole[:7], whole[e*7:e*7+7]) {
			t.Errorf("epoch %d is in the order of the first", e)
		}
	}
	// Any place is the same without those before it, backwards too.
	for p := 34; p >= 0; p-- {
		if got := sequence(b, p, p+1)[0]; got != whole[p] {
			t.Fatalf("place %d alone is %d, in the run %d", p, got, whole[p])
		}
	}
	if slices.Equal(sequence(newOrder(8, samples), 0, 35), whole) {
		t.Error("another seed gives the same order")
	}
	if len(a.epochs) > 4 {
		t.Errorf("%d permutations are kept", len(a.epochs))
	}
}

func TestSetAside(t *testing.T) {
	for _, c := range []struct{ n, wanted, held, train int }{
		{1000, 64, 64, 936}, {100, 64, 10, 90}, {5, 64, 1, 4}, {2, 8, 1, 1}, {1, 8, 1, 1}, {30, 1, 1, 29},
	} {
		train, held := setAside(1, c.n, c.wanted)
		if len(held) != c.held || len(train) != c.train {
			t.Errorf("of %d samples %d are held out and %d trained on, want %d and %d", c.n, len(held), len(train), c.held, c.train)
		}
		for _, i := range held {
			if c.n > 1 && slices.Contains(train, i) {
				t.Errorf("of %d samples, %d is in both parts", c.n, i)
			}
		}
	}
	_, a := setAside(1, 1000, 64)
	_, b := setAside(2, 1000, 64)
	if slices.Equal(a, b) {
		t.Error("another seed holds out the same samples")
	}
}
