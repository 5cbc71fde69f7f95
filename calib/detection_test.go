package calib

import (
	"math"
	"testing"
)

func TestDetectionError(t *testing.T) {
	var one, two DetectionError
	// A confident score that fell, one that only the quantised model gives, and
	// background that does not count.
	one.AddScore(0.8, 0.6)
	one.AddScore(0, 0.3)
	one.AddScore(0.09, 0.05)
	// 10 x 40, moved by 2 to the right: 8 x 40 in common.
	one.AddBox([4]float32{0, 0, 10, 40}, [4]float32{2, 0, 12, 40})
	got := one.Values()
	if want := math.Sqrt((0.04 + 0.09) / 0.64); math.Abs(got[0]-want) > 1e-6 {
		t.Errorf("score error %v, want %v", got[0], want)
	}
	if want := 1 - 320.0/480; math.Abs(got[1]-want) > 1e-6 {
		t.Errorf("box error %v, want %v", got[1], want)
	}
	two.AddScore(0.5, 0.5)
	two.AddBox([4]float32{1, 1, 3, 3}, [4]float32{1, 1, 3, 3})
	if v := two.Values(); v[0] != 0 || v[1] != 0 {
		t.Errorf("equal predictions differ by %v", v)
	}
	two.Merge(one)
	if v := two.Values(); v[0] >= got[0] || v[0] <= 0 || v[1] != got[1]/2 {
		t.Errorf("with an image without error the errors are %v, alone %v", v, got)
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b [4]float32
		want float64
	}{
		{[4]float32{0, 0, 2, 2}, [4]float32{1, 1, 3, 3}, 1.0 / 7},
		{[4]float32{0, 0, 2, 2}, [4]float32{2, 0, 4, 2}, 0},
		{[4]float32{0, 0, 2, 2}, [4]float32{5, 5, 6, 6}, 0},
		{[4]float32{0, 0, 0, 0}, [4]float32{0, 0, 0, 0}, 1}, // no area, but the same
		{[4]float32{3, 3, 1, 1}, [4]float32{0, 0, 4, 4}, 0}, // turned inside out
	} {
		if got := overlap(c.a, c.b); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("overlap of %v and %v is %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// TestDetectionErrorWithoutTeacher: images on which the float model sees nothing
// still tell plans apart by what they invent.
func TestDetectionErrorWithoutTeacher(t *testing.T) {
	var e DetectionError
	if v := e.Values(); v[0] != 0 || v[1] != 0 {
		t.Errorf("nothing compared: %v", v)
	}
	e.AddScore(0, 0.9)
	if v := e.Values(); math.Abs(v[0]-0.9) > 1e-6 || v[1] != 0 {
		t.Errorf("only the quantised model sees something: %v", v)
	}
}
