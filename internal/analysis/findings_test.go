package analysis

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"trtact/calib"
	"trtact/internal/detect"
)

// The bundled sample was trained with a few weights far outside of the rest; its
// README names two of the layers.
func TestBundledSample(t *testing.T) {
	m, spec := detectorOf(t, "shapes")
	samples := pictures(t, spec, "shapes", 8)
	d := openCPU(t)
	s := Subject{Model: m, Plan: calibrated(t, m, d, samples, calib.MeanPercentile(99.99)), Heads: detect.HeadNodes(m.Graph), Device: d, Precision: 0.1}
	sensitivities, err := s.Sensitivities(context.Background(), samples)
	if err != nil {
		t.Fatal(err)
	}
	values, err := s.Values(context.Background(), samples)
	if err != nil {
		t.Fatal(err)
	}
	layers := Rank(sensitivities, values)
	var extreme []string
	for _, l := range With(layers, ExtremeWeights) {
		extreme = append(extreme, l.Node)
		if !strings.Contains(l.Words(), "extreme weights") {
			t.Errorf("%s: notes %q", l.Node, l.Words())
		}
	}
	for _, name := range []string{"stage1.0.first", "up4.right"} {
		if !slices.Contains(extreme, name) {
			t.Errorf("%s is not among the layers with extreme weights %q", name, extreme)
		}
	}
	if len(extreme) > len(layers)/6 {
		t.Errorf("%d of %d layers are called extreme", len(extreme), len(layers))
	}
	if layers[0].Node != "stage1.0.first" && layers[1].Node != "stage1.0.first" {
		t.Errorf("the most sensitive layers are %s and %s; stage1.0.first has the largest weights", layers[0].Node, layers[1].Node)
	}
	total := 0.0
	for i, l := range layers {
		total += l.Share
		if i > 0 && l.Error.Mean > layers[i-1].Error.Mean {
			t.Errorf("rank %d, %s, has a larger error than the one before", i+1, l.Node)
		}
		if l.Error.Samples < round || l.Error.Samples > len(samples) {
			t.Errorf("%s was run on %d samples", l.Node, l.Error.Samples)
		}
	}
	if math.Abs(total-1) > 1e-9 {
		t.Errorf("the shares add up to %v", total)
	}
}

// What is measured on fewer samples is what the first of them give.
func TestPrecision(t *testing.T) {
	m, heads := detectorLike(t)
	samples := samplesFor(16)
	s := subjectFor(t, m, heads, samples)
	s.Precision = 1e9 // the first round is always enough
	list, err := s.Sensitivities(context.Background(), samples)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		if l.Error.Samples != round {
			t.Errorf("%s: %d samples", l.Node, l.Error.Samples)
		}
		want := bruteForce(t, s, samples[:round], func(node string) bool { return node == l.Node })
		if !closeTo(l.Error.Heads, want) {
			t.Errorf("%s: %v, whole runs on the first %d give %v", l.Node, l.Error.Heads, round, want)
		}
	}
	s.Precision = 1e-9 // never
	if list, err = s.Sensitivities(context.Background(), samples); err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		if l.Error.Samples != len(samples) {
			t.Errorf("%s: %d samples where all are wanted", l.Node, l.Error.Samples)
		}
	}
}

func TestNotes(t *testing.T) {
	normal := &Values{Channels: 20, Spread: Spread{Peak: 2}}
	for name, c := range map[string]struct {
		layer Layer
		want  []NoteKind
	}{
		"nothing":        {Layer{Weights: normal, Input: normal}, nil},
		"an addition":    {Layer{Input: normal}, nil},
		"extreme":        {Layer{Weights: &Values{Spread: Spread{Peak: 30}}, Input: &Values{Channels: 3, Spread: Spread{Peak: 11}}}, []NoteKind{ExtremeWeights, ExtremeInput}},
		"lost channels":  {Layer{Weights: normal, Input: &Values{Channels: 20, Lost: 2}}, []NoteKind{LostChannels}},
		"one lost of 20": {Layer{Weights: normal, Input: &Values{Channels: 20, Lost: 1}}, nil},
		"dead":           {Layer{Weights: &Values{Dead: 1, Channels: 4}, Input: &Values{Dead: 1, Channels: 20}}, []NoteKind{DeadChannels, DeadChannels}},
		"clipped":        {Layer{Weights: normal, Input: &Values{Channels: 3, Clipped: 0.002}}, []NoteKind{ClippedInput}},
	} {
		var kinds []NoteKind
		for _, n := range c.layer.notes() {
			kinds = append(kinds, n.Kind)
		}
		if !slices.Equal(kinds, c.want) {
			t.Errorf("%s: %q, want %q", name, kinds, c.want)
		}
	}
}
