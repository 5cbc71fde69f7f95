package qat

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"trtact/calib"
)

// TestMovingAverage holds the scales against ACT's formula worked out by hand: with
// r = 0.9 and maxima 12.7 (the start), 25.4, 0: state 1, 1.9, 2.71; accumulator 12.7, 36.83,
// 33.147.
func TestMovingAverage(t *testing.T) {
	o := Defaults()
	o.Quantizer = MovingAverage
	ob := newObserver(&o, []scaleGroup{{"a"}, {"b", "c"}}, []float32{0.1, 0.1})
	for i, step := range []struct {
		a, b, c float32
		want    float64
	}{
		{25.4, 1, 25.4, 36.83 / 1.9 / 127},
		{0, 0, 0, 33.147 / 2.71 / 127},
	} {
		got, err := ob.observe(map[string]float32{"a": step.a, "b": step.b, "c": step.c})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 3 || got["b"] != got["c"] || got["a"] != got["c"] {
			t.Errorf("step %d: %v: a group has one scale, of its largest member", i, got)
		}
		if math.Abs(float64(got["a"])/step.want-1) > 1e-6 {
			t.Errorf("step %d: scale %v, want %v", i, got["a"], step.want)
		}
	}
}

// TestRangeAndAbsMax holds the window's maximum against the plain definition.
func TestRangeAndAbsMax(t *testing.T) {
	o := Defaults()
	o.Quantizer, o.Window = RangeAbsMax, 5
	ranged := newObserver(&o, []scaleGroup{{"a"}}, []float32{3. / 127})
	o.Quantizer = AbsMax
	last := newObserver(&o, []scaleGroup{{"a"}}, []float32{1})
	rng := rand.New(rand.NewPCG(1, 2))
	all := []float32{3}
	for step := range 200 {
		m := float32(rng.IntN(8))
		all = append(all, m)
		want := float32(0)
		for _, v := range all[max(0, len(all)-5):] {
			want = max(want, v)
		}
		got, err := ranged.observe(map[string]float32{"a": m})
		if err != nil {
			t.Fatal(err)
		}
		if s := max(calib.MinScale, want/127); got["a"] != s {
			t.Fatalf("step %d: range_abs_max gives %v, the last five are %v", step, got["a"]*127, all[max(0, len(all)-5):])
		}
		if len(ranged.state[0].maxima) > 5 {
			t.Fatalf("%d maxima are kept", len(ranged.state[0].maxima))
		}
		if got, _ = last.observe(map[string]float32{"a": m}); got["a"] != max(calib.MinScale, m/127) {
			t.Fatalf("step %d: abs_max of %v gives scale %v", step, m, got["a"])
		}
	}
}

func TestObserverState(t *testing.T) {
	for _, kind := range []Quantizer{MovingAverage, RangeAbsMax, AbsMax} {
		o := Defaults()
		o.Quantizer, o.Window = kind, 4
		groups := []scaleGroup{{"a"}, {"b", "c"}}
		whole := newObserver(&o, groups, []float32{0.5, 0.25})
		resumed := newObserver(&o, groups, []float32{9, 9})
		rng := rand.New(rand.NewPCG(3, 4))
		for step := range 20 {
			m := map[string]float32{"a": rng.Float32(), "b": rng.Float32(), "c": rng.Float32()}
			if err := resumed.unmarshal(whole.marshal()); err != nil {
				t.Fatal(err)
			}
			want, err := whole.observe(m)
			if err != nil {
				t.Fatal(err)
			}
			got, err := resumed.observe(m)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(resumed.marshal(), whole.marshal()) {
				t.Fatalf("%s, step %d: resumed %v, unbroken %v", kind, step, got, want)
			}
		}
		good := whole.marshal()
		for n := range good { // no part of it is a state
			if err := resumed.unmarshal(good[:n]); err == nil {
				t.Fatalf("%s: %d of %d bytes are taken for a state", kind, n, len(good))
			}
		}
		if err := resumed.unmarshal(append(good, 0)); err == nil {
			t.Errorf("%s: a byte too many is accepted", kind)
		}
	}
}

func TestObserverRefuses(t *testing.T) {
	o := Defaults()
	o.Quantizer = MovingAverage
	for _, m := range []map[string]float32{{}, {"a": float32(math.NaN())}, {"a": float32(math.Inf(1))}} {
		ob := newObserver(&o, []scaleGroup{{"a"}}, []float32{1})
		if _, err := ob.observe(m); err == nil {
			t.Errorf("%v makes a scale", m)
		}
	}
}
