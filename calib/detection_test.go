package calib

import (
	"math"
	"testing"
)

func TestDetectionError(t *testing.T) {
	var one, two DetectionError
	// A confident box 10 wide and 40 high, moved by 2 in one side, its score
	// down from 0.8 to 0.6; a background box far off that hardly counts.
	if err := one.Add([]float32{0, 0, 10, 40, 5, 5, 6, 6}, []float32{0.8, 0.1, 0.01, 0}, []float32{2, 0, 10, 40, 50, 5, 6, 6}, []float32{0.6, 0.1, 0.01, 0}); err != nil {
		t.Fatal(err)
	}
	got := one.Values()
	score := math.Sqrt(0.04 / (0.64 + 0.01 + 0.0001))
	box := math.Sqrt((0.64*4/4/400 + 0.0001*2025/4/1) / (0.64 + 0.0001))
	if math.Abs(got[0]-score) > 1e-6 || math.Abs(got[1]-box) > 1e-6 {
		t.Errorf("errors %v, want %v and %v", got, score, box)
	}
	if err := two.Add([]float32{0, 0, 1, 1}, []float32{0.5}, []float32{0, 0, 1, 1}, []float32{0.5}); err != nil {
		t.Fatal(err)
	}
	if v := two.Values(); v[0] != 0 || v[1] != 0 {
		t.Errorf("equal detections differ by %v", v)
	}
	two.Merge(one)
	if v := two.Values(); v[0] >= got[0] || v[0] <= 0 || v[1] >= got[1] {
		t.Errorf("with an image without error the errors are %v, alone %v", v, got)
	}
	for _, bad := range [][4][]float32{
		{{1, 2, 3}, {1}, {1, 2, 3}, {1}},
		{{1, 2, 3, 4}, {1}, {1, 2, 3, 4}, {1, 2}},
		{nil, {1}, nil, {1}},
		{{1, 2, 3, 4, 5, 6, 7, 8}, {1, 2, 3}, {1, 2, 3, 4, 5, 6, 7, 8}, {1, 2, 3}},
	} {
		if err := new(DetectionError).Add(bad[0], bad[1], bad[2], bad[3]); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}
