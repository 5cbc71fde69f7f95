package job

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"trtact/internal/onnx"
)

// TestDifferenceOfNoNumbers: where nothing could be compared there are no figures.
func TestDifferenceOfNoNumbers(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		got  []float32
		want string
	}{
		{[]float32{nan, nan}, `"relative_l2":null,"max_abs":null,"range":null`},
		{[]float32{nan, 2}, `"relative_l2":0,"max_abs":1,"range":1,"not_finite":1`},
	} {
		d := Difference{Tensor: "x", Shape: []int{2}}
		if err := d.add(onnx.NewTensor([]int{2}, c.got), onnx.NewTensor([]int{2}, []float32{1, 1})); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(d)
		if err != nil || !json.Valid(text) || !strings.Contains(string(text), c.want) {
			t.Errorf("%s (%v), want %s in it", text, err, c.want)
		}
	}
}
