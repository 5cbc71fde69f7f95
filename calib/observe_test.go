package calib

import (
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// memory is a Values over plain slices.
type memory map[string][]float32

func (m memory) AbsMax(t string) (float32, error) {
	var a float32
	for _, v := range m[t] {
		if math.IsNaN(float64(v)) {
			return v, nil
		}
		a = max(a, abs(v))
	}
	return a, nil
}

func (m memory) Histogram(t string, upper float32, bins []int64) error {
	for _, v := range m[t] {
		i := int(abs(v) * (float32(len(bins)) / upper))
		bins[min(i, len(bins)-1)]++
	}
	return nil
}

// pictures makes n images with two tensors of very different range.
func pictures(n int) []memory {
	r := rand.New(rand.NewPCG(1, 2))
	list := make([]memory, n)
	for i := range list {
		a, b := make([]float32, 5000), make([]float32, 3000)
		size := float32(math.Exp(r.NormFloat64()))
		for k := range a {
			a[k] = float32(r.NormFloat64()) * size
		}
		if i != 3 { // one image leaves b at zero
			for k := range b {
				b[k] = max(0, float32(r.NormFloat64())) * 1e-3
			}
		}
		list[i] = memory{"a": a, "b": b}
	}
	return list
}

func TestObserverDoesNotDependOnOrderOrThreads(t *testing.T) {
	list := pictures(23)
	inOrder := NewObserver([]string{"a", "b"})
	for i, m := range list {
		if i == 7 {
			inOrder.Skip(i)
			continue
		}
		if err := inOrder.Image(i, m); err != nil {
			t.Fatal(err)
		}
	}
	want, err := inOrder.Statistics()
	if err != nil {
		t.Fatal(err)
	}
	if n := want["a"].Histogram.Total(); n != 22*5000 {
		t.Errorf("%d values counted, want %d", n, 22*5000)
	}
	for seed := range uint64(5) {
		o := NewObserver([]string{"a", "b"})
		var wg sync.WaitGroup
		for _, i := range rand.New(rand.NewPCG(seed, 0)).Perm(len(list)) {
			wg.Add(1)
			go func() {
				defer wg.Done()
				if i == 7 {
					o.Skip(i)
				} else if err := o.Image(i, list[i]); err != nil {
					t.Error(err)
				}
			}()
		}
		wg.Wait()
		got, err := o.Statistics()
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("seed %d: statistics differ from those of images in order", seed)
		}
	}
}

func TestObserverFigures(t *testing.T) {
	list := pictures(9)
	o := NewObserver([]string{"a", "b"})
	var state, accum, sum, top float64
	for i, m := range list {
		if err := o.Image(i, m); err != nil {
			t.Fatal(err)
		}
		a, _ := m.AbsMax("a")
		state, accum = 0.9*state+1, 0.9*accum+float64(a)
		sum, top = sum+float64(a), max(top, float64(a))
	}
	all, err := o.Statistics()
	if err != nil {
		t.Fatal(err)
	}
	s := all["a"]
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"absmax", float64(s.AbsMax), top},
		{"moving absmax", float64(s.MovingAbsMax), accum / state},
		{"mean absmax", float64(s.MeanAbsMax), sum / 9},
	} {
		if math.Abs(c.got-c.want) > 1e-6*c.want {
			t.Errorf("%s %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestObserverRefuses(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		name string
		do   func(o *Observer) error
		want string
	}{
		{"not a number", func(o *Observer) error { return o.Image(0, memory{"a": {1, nan}}) }, `tensor "a", image 0: its values are not finite`},
		{"too large", func(o *Observer) error { return o.Image(0, memory{"a": {math.MaxFloat32}}) }, "blown up"},
		{"no image", func(o *Observer) error { o.Skip(0); _, err := o.Statistics(); return err }, "no image was observed"},
		{"a gap", func(o *Observer) error {
			o.Skip(0)
			if err := o.Image(2, memory{"a": {1}}); err != nil {
				return err
			}
			_, err := o.Statistics()
			return err
		}, "image 1 never came"},
	} {
		err := c.do(NewObserver([]string{"a"}))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestHistogramGrowsExactly(t *testing.T) {
	// Merging histograms made at their own ranges must give what counting all
	// values at the final range gives.
	r := rand.New(rand.NewPCG(3, 4))
	var all []float32
	var merged Histogram
	for _, size := range []float32{0, 0.01, 4, 1, 300, 0.5, 0, 70} {
		values := make([]float32, 1000)
		for i := range values {
			values[i] = float32(r.NormFloat64()) * size
		}
		all = append(all, values...)
		m := memory{"x": values}
		a, _ := m.AbsMax("x")
		upper, err := histogramRange(a)
		if err != nil {
			t.Fatal(err)
		}
		h := Histogram{Upper: upper, Counts: make([]int64, Bins)}
		at := upper
		if at == 0 {
			at = 1 // only zeros: any range will do
		}
		if err := m.Histogram("x", at, h.Counts); err != nil {
			t.Fatal(err)
		}
		merged.Merge(&h)
	}
	direct := make([]int64, Bins)
	if err := (memory{"x": all}).Histogram("x", merged.Upper, direct); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(merged.Counts, direct) {
		t.Error("merged counts differ from direct counts")
	}
}

func TestHistogramRange(t *testing.T) {
	for _, c := range []struct{ in, want float32 }{
		{0, 0}, {1e-40, 0}, {1, 1}, {1.0001, 2}, {0.5, 0.5}, {3, 4}, {255, 256}, {0x1p126, 0x1p126},
	} {
		got, err := histogramRange(c.in)
		if err != nil || got != c.want {
			t.Errorf("range of %v is %v (%v), want %v", c.in, got, err, c.want)
		}
	}
}
