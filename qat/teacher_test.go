package qat

import (
	"context"
	"slices"
	"testing"

	"trtact/internal/compute"
)

// TestTargetsKept: what is kept of the teacher's outputs changes nothing, takes no more
// memory than it may, and is given back; a device that has none left is no error.
func TestTargetsKept(t *testing.T) {
	// Bytes of the one node of a sample, and of its picture, which a GPU keeps as well.
	const target, picture = 8 * 16 * 16 * 4, 3 * 16 * 16 * 4
	for name, open := range map[string]func(*testing.T) *compute.Device{"cpu": openCPU, "emulated": openEmulated} {
		t.Run(name, func(t *testing.T) {
			var want []float32
			sample := target
			if name != "cpu" {
				sample += picture
			}
			for _, c := range []struct {
				what  string
				cache int64
				kept  int
			}{{"by default", 0, 14}, {"none", -1, 0}, {"two", int64(3*sample - 1), 2}, {"more than there is", 1 << 62, 0}} {
				d := open(t)
				r := onGPU(t, d)
				before := d.Live()
				r.Options.CacheBytes = c.cache
				run, err := begin(context.Background(), &r)
				if err != nil {
					t.Fatal(err)
				}
				shelf := run.teacher.shelf
				if shelf.bytes != sample {
					t.Fatalf("%d bytes a sample, want %d", shelf.bytes, sample)
				}
				if c.cache == 1<<62 {
					shelf.bytes = 1 << 60
					shelf.open(1)
				}
				for range 12 { // most of 7 pictures and their mirror images twice
					if err := run.step(context.Background()); err != nil {
						t.Fatalf("%s: %v", c.what, err)
					}
				}
				if n := len(shelf.kept); n != c.kept {
					t.Errorf("%s: the outputs of %d samples are kept, want %d", c.what, n, c.kept)
				}
				got, err := run.trainer.State()
				if err != nil {
					t.Fatal(err)
				}
				if want == nil {
					want = got
				} else if !slices.Equal(got, want) {
					t.Errorf("%s: other parameters", c.what)
				}
				run.close()
				if n := d.Live(); n != before {
					t.Errorf("%s: %d handles more than before", c.what, n-before)
				}
			}
		})
	}
}
