package half_test

import (
	"slices"
	"strings"
	"testing"

	"trtact/internal/onnx/half"
)

// What stays float32 in the converted graph is what Floats names, but for nodes that
// only move values.
func TestFloats(t *testing.T) {
	n := newNet(4)
	n.op("Relu", "act", "first")
	n.conv("mid", "act")
	n.op("Exp", "grown", "mid")
	n.conv("last", "grown")
	n.op("Sigmoid", "score", "last")
	n.op("Flatten", "y", "score")
	m := n.outputs("y")
	for _, c := range []struct {
		name string
		o    half.Options
		want []string
	}{
		{"as it comes", half.Options{}, []string{"grown", "score"}},
		{"out of range", half.Options{Ranges: map[string]float32{"mid": 30000}}, []string{"mid", "grown", "score"}},
		{"asked for", half.Options{Keep: []string{"first"}}, []string{"first", "act", "grown", "score"}},
	} {
		got, err := half.Floats(m, c.o)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v: want %v", c.name, got, err, c.want)
		}
		converted, report, err := half.Convert(m, c.o)
		if err != nil {
			t.Fatal(err)
		}
		if moved := 1; report.Float != len(c.want)+moved {
			t.Errorf("%s: %d nodes in float32, Floats names %v", c.name, report.Float, got)
		}
		if c.name == "asked for" && (report.Kept[0].Node != "first" || report.Kept[0].Reason != "it was asked for" || !strings.HasPrefix(types(converted), "Conv:32 Relu:32")) {
			t.Errorf("asked for: kept %v, %s", report.Kept, types(converted))
		}
	}
}
