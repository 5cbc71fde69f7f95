package detect

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"trtact/internal/onnx"
)

// TestPredictionsOfRows reads the same scores and boxes off the rows by hand.
func TestPredictionsOfRows(t *testing.T) {
	const n, classes, threshold = 300, 4, 0.1
	s, x := rowsSpec(n, classes), randomRows(n, classes, 3)
	p, err := s.Predictions(map[string]*onnx.Tensor{"out": x}, 1, threshold)
	if err != nil {
		t.Fatal(err)
	}
	var want []Score
	for i := range n {
		v := x.Floats()[(n+i)*(5+classes):][:5+classes]
		for c := range classes {
			if score := v[4] * v[5+c]; score > threshold {
				want = append(want, Score{int32(i), int32(c), score})
			}
		}
		if got, box := p.Box(int32(i)), [4]float32{v[0] - v[2]/2, v[1] - v[3]/2, v[0] + v[2]/2, v[1] + v[3]/2}; got != box {
			t.Fatalf("box %d: %v, want %v", i, got, box)
		}
	}
	if len(want) < 50 || !slices.Equal(p.Scores, want) {
		t.Errorf("%d scores, want %d", len(p.Scores), len(want))
	}
}

// TestPredictionsOfPlanes: scores that lie class after class come out by
// prediction all the same.
func TestPredictionsOfPlanes(t *testing.T) {
	const n, classes, threshold = 200, 5, 0.5
	r := rand.New(rand.NewPCG(5, 6))
	x := onnx.NewTensor([]int{1, 4 + classes, n}, make([]float32, (4+classes)*n))
	for i := range x.Floats() {
		x.Floats()[i] = r.Float32()
	}
	s := &Spec{Width: 64, Height: 64, Outputs: []Output{{"out", x.Dims}}, Head: Head{Coding: Corners, Classes: classes,
		Levels: []Level{{Height: 1, Width: n, Box: Slot{Output: "out", Cell: 1, Channel: n}, Class: Slot{Output: "out", Offset: 4 * n, Cell: 1, Channel: n}}}}}
	p, err := s.Predictions(map[string]*onnx.Tensor{"out": x}, 0, threshold)
	if err != nil {
		t.Fatal(err)
	}
	var want []Score
	for i := range n {
		for c := range classes {
			if v := x.Floats()[(4+c)*n+i]; v > threshold {
				want = append(want, Score{int32(i), int32(c), v})
			}
		}
	}
	if !slices.Equal(p.Scores, want) {
		t.Errorf("%d scores, want %d", len(p.Scores), len(want))
	}
	if got, want := p.Box(7), [4]float32{x.Floats()[7], x.Floats()[n+7], x.Floats()[2*n+7], x.Floats()[3*n+7]}; got != want {
		t.Errorf("box %v, want %v", got, want)
	}
}

// planted checks that one planted prediction is read as Decode reads it.
func planted(t *testing.T, s *Spec, outputs map[string]*onnx.Tensor, want Detection) {
	t.Helper()
	p, err := s.Predictions(outputs, 0, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Scores) != 1 || int(p.Scores[0].Class) != want.Class || math.Abs(float64(p.Scores[0].Value-want.Score)) > 1e-5 {
		t.Fatalf("scores %v: want %+v", p.Scores, want)
	}
	for k, w := range [4]float32{want.X1, want.Y1, want.X2, want.Y2} {
		if got := p.Box(p.Scores[0].Prediction)[k]; math.Abs(float64(got-w)) > 1e-3 {
			t.Errorf("side %d of the box at %v: want %v", k, got, w)
		}
	}
}

func TestPredictionsErrors(t *testing.T) {
	s, x := rowsSpec(10, 3), randomRows(10, 3, 1)
	x.Floats()[4] = float32(math.NaN())
	if _, err := s.Predictions(map[string]*onnx.Tensor{"out": x}, 0, 0.1); err == nil || !strings.Contains(err.Error(), "NaN at element 4") {
		t.Errorf("NaN: %v", err)
	}
	s.Head = Head{Coding: None}
	if _, err := s.Predictions(nil, 0, 0.1); err == nil || !strings.Contains(err.Error(), "no known detector") {
		t.Errorf("no detector: %v", err)
	}
}
