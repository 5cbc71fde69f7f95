// The findings put together: layers ranked by what they cost, each with what is odd
// about its values, in words.

package analysis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Layer is all that is known of one unit.
type Layer struct {
	Sensitivity
	// Share is the layer's part in the sum of squares of all layers' errors, in 0..1.
	Share   float64 `json:"share"`
	Weights *Values `json:"weight_values,omitempty"`
	Input   *Values `json:"input_values,omitempty"`
	// MAP is the average precision (0..1) with this layer alone quantised; nil where it
	// was not measured.
	MAP *float64 `json:"mAP,omitempty"`
	// Notes say what is odd about the values.
	Notes []Note `json:"notes,omitempty"`
}

// Note is one thing that is odd about a tensor.
type Note struct {
	Kind NoteKind `json:"kind"`
	Text string   `json:"text"`
}

// NoteKind is what sort of thing.
type NoteKind string

// The kinds of notes.
const (
	ExtremeWeights NoteKind = "extreme weights"
	ExtremeInput   NoteKind = "extreme activations"
	LostChannels   NoteKind = "lost channels"
	DeadChannels   NoteKind = "dead channels"
	ClippedInput   NoteKind = "clipped activations"
)

// From where on a layer gets a note. A peak (largest magnitude over the 99th
// percentile) is 1.7 for normally distributed values, 2 to 4 for most trained layers.
const (
	extremePeak  = 10.0
	clippedShare = 0.001
	lostPart     = 0.05 // of the channels
)

// Rank puts what was found together, the most sensitive layer first.
func Rank(sensitivities []Sensitivity, values []UnitValues) []Layer {
	by := map[string]UnitValues{}
	for _, v := range values {
		by[v.Node] = v
	}
	total := 0.0
	layers := make([]Layer, len(sensitivities))
	for i, s := range sensitivities {
		v := by[s.Node]
		layers[i] = Layer{Sensitivity: s, Weights: v.Weights, Input: v.Input}
		layers[i].Notes = layers[i].notes()
		total += s.Error.Mean * s.Error.Mean
	}
	for i := range layers {
		if e := layers[i].Error.Mean; total > 0 {
			layers[i].Share = e * e / total
		}
	}
	slices.SortStableFunc(layers, func(a, b Layer) int { return cmp.Compare(b.Error.Mean, a.Error.Mean) })
	return layers
}

func (l *Layer) notes() []Note {
	var notes []Note
	add := func(kind NoteKind, format string, a ...any) {
		notes = append(notes, Note{kind, fmt.Sprintf(format, a...)})
	}
	if w := l.Weights; w != nil {
		if own := w.Own(); own.Peak >= extremePeak {
			text := ""
			if w.Came != nil {
				text = fmt.Sprintf("; equalisation brings the ratio from %.1f to %.1f", own.Peak, w.Spread.Peak)
			}
			add(ExtremeWeights, "extreme weights: the largest is %.3g, 99 %% are within %.2g%s", own.AbsMax, own.P99, text)
		}
		if w.Dead > 0 {
			add(DeadChannels, "%d of %d output channels have weights that are all the same", w.Dead, w.Channels)
		}
	}
	if in := l.Input; in != nil {
		if in.Spread.Peak >= extremePeak {
			add(ExtremeInput, "extreme activations: the largest is %.3g, 99 %% are within %.2g", in.Spread.AbsMax, in.Spread.P99)
		}
		if float64(in.Lost) > lostPart*float64(in.Channels) {
			add(LostChannels, "%d of %d input channels are too small for INT8: all their values round to zero", in.Lost, in.Channels)
		}
		if in.Dead > 0 {
			add(DeadChannels, "%d of %d input channels never change", in.Dead, in.Channels)
		}
		if in.Clipped >= clippedShare {
			add(ClippedInput, "%.2g %% of the activations are clipped", 100*in.Clipped)
		}
	}
	return notes
}

// Words are a layer's notes as one text.
func (l Layer) Words() string {
	texts := make([]string, len(l.Notes))
	for i, n := range l.Notes {
		texts[i] = n.Text
	}
	return strings.Join(texts, "; ")
}

// With lists the layers that have a note of a kind, the largest peak of their weights
// first.
func With(layers []Layer, kind NoteKind) []Layer {
	list := slices.DeleteFunc(slices.Clone(layers), func(l Layer) bool {
		return !slices.ContainsFunc(l.Notes, func(n Note) bool { return n.Kind == kind })
	})
	if kind == ExtremeWeights {
		slices.SortStableFunc(list, func(a, b Layer) int { return cmp.Compare(b.Weights.Own().Peak, a.Weights.Own().Peak) })
	}
	return list
}
