package job

// Where two models part: both run on the same samples, and the tensors that both
// have are held against each other.

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"trtact/calib"
	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/nn"
	"trtact/internal/onnx"
)

// Comparison is what two models give for the same samples. Differences are B's from
// A, over all samples, the worst first.
type Comparison struct {
	A       string `json:"a"`
	B       string `json:"b"`
	Samples int    `json:"samples"`
	// Outputs are the outputs of both.
	Outputs []Difference `json:"outputs"`
	// Layers are inner tensors that both models have; an engine shows none.
	Layers []Difference `json:"layers,omitempty"`
	// Equalised is how many more both have, with other values: their channels were
	// evened out in one of them (calib.Equalise), and what reads them makes up for it.
	Equalised int             `json:"equalised,omitempty"`
	Skipped   []coco.BadImage `json:"skipped_images,omitempty"`
	Seconds   float64         `json:"seconds"`
}

// Difference is how far a tensor of B is from that of A.
type Difference struct {
	Tensor string `json:"tensor"`
	// Other is its name in B, where that is another.
	Other string `json:"other,omitempty"`
	Op    string `json:"op,omitempty"` // that makes it in A
	Shape []int  `json:"shape"`
	// RelativeL2 is the norm of the difference divided by that of A's tensor.
	RelativeL2 float64 `json:"relative_l2"`
	MaxAbs     float64 `json:"max_abs"` // largest difference of an element
	Range      float64 `json:"range"`   // largest absolute value in A
	// NotFinite counts elements that are infinite or no number in one of them;
	// they are in none of the figures.
	NotFinite int `json:"not_finite,omitempty"`

	sums     calib.Squares
	compared int // elements
	at       int // place in A's graph
}

// Known says whether anything could be compared.
func (d Difference) Known() bool { return d.compared > 0 }

// MarshalJSON writes null for the figures where nothing could be compared.
func (d Difference) MarshalJSON() ([]byte, error) {
	type plain Difference
	if d.Known() {
		return json.Marshal(plain(d))
	}
	return json.Marshal(struct {
		plain
		RelativeL2 *float64 `json:"relative_l2"`
		MaxAbs     *float64 `json:"max_abs"`
		Range      *float64 `json:"range"`
	}{plain: plain(d)})
}

// chunkBytes is how much of the tensors to compare are kept at a time, of one model.
const chunkBytes = 128 << 20

// Compare runs both models on every sample, prepared as a wants it.
func (m *Machine) Compare(ctx context.Context, a, b *Detector, samples Samples) (*Comparison, error) {
	start := time.Now()
	outputs, err := pairOutputs(a, b)
	if err != nil {
		return nil, err
	}
	layers, equalised := pairLayers(a, b, outputs)
	kept, skipped, err := readSamples(ctx, samples)
	if err != nil {
		return nil, err
	}
	chunks := [][]Difference{outputs}
	for from, size := 0, 0; from < len(layers); {
		to := from
		for size = 0; to < len(layers) && (to == from || size < chunkBytes); to++ {
			size += 4 * volume(layers[to].Shape)
		}
		chunks = append(chunks, layers[from:to])
		from = to
	}
	count := m.count("compare", len(chunks)*len(kept), "runs")
	for _, chunk := range chunks {
		if err := m.compareChunk(ctx, a, b, kept, chunk, count); err != nil {
			return nil, err
		}
	}
	for _, list := range [][]Difference{outputs, layers} {
		for i := range list {
			d := &list[i]
			d.RelativeL2 = d.sums.Relative()
		}
		sort.SliceStable(list, func(i, j int) bool {
			if x, y := list[i].NotFinite > 0, list[j].NotFinite > 0; x != y {
				return x
			}
			return list[i].RelativeL2 > list[j].RelativeL2
		})
	}
	return &Comparison{A: a.Path, B: b.Path, Samples: len(kept), Outputs: outputs, Layers: layers, Equalised: equalised, Skipped: skipped,
		Seconds: time.Since(start).Seconds()}, nil
}

// readSamples prepares all samples: they are few. Broken ones are left out.
func readSamples(ctx context.Context, samples Samples) ([]map[string]*onnx.Tensor, []coco.BadImage, error) {
	var kept []map[string]*onnx.Tensor
	var skipped []coco.BadImage
	for i := range samples.Len() {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		values, err := samples.Read(i)
		switch {
		case err == nil:
			kept = append(kept, values)
		case fault.Code(err) == fault.CodeBadInput:
			skipped = append(skipped, coco.BadImage{Path: samples.Name(i), Why: err.Error()})
		default:
			return nil, nil, err
		}
	}
	if len(kept) == 0 {
		return nil, nil, fault.BadInput(fmt.Errorf("compare: none of the samples can be read: %s", skipped[0].Why))
	}
	return kept, skipped, nil
}

// compareChunk adds up the differences of some tensors over all samples.
func (m *Machine) compareChunk(ctx context.Context, a, b *Detector, samples []map[string]*onnx.Tensor, list []Difference, count *counter) error {
	names := func(other bool) []string {
		names := make([]string, len(list))
		for i, d := range list {
			names[i] = d.Tensor
			if other && d.Other != "" {
				names[i] = d.Other
			}
		}
		return names
	}
	runA, closeA, err := m.runner(a, names(false))
	if err != nil {
		return err
	}
	defer closeA()
	runB, closeB, err := m.runner(b, names(true))
	if err != nil {
		return err
	}
	defer closeB()
	for _, values := range samples {
		want, err := runA(ctx, values)
		if err != nil {
			return fmt.Errorf("%s: %w", a.Path, err)
		}
		got, err := runB(ctx, inputsOf(a, b, values))
		if err != nil {
			return fmt.Errorf("%s: %w", b.Path, err)
		}
		for i := range list {
			if err := list[i].add(got[i], want[i]); err != nil {
				return err
			}
		}
		count.add()
	}
	return nil
}

// inputsOf gives b the values prepared for a: the image input may have another name.
func inputsOf(a, b *Detector, values map[string]*onnx.Tensor) map[string]*onnx.Tensor {
	if a.Spec.Input == b.Spec.Input || a.Spec.Input == "" || b.Spec.Input == "" {
		return values
	}
	renamed := map[string]*onnx.Tensor{b.Spec.Input: values[a.Spec.Input]}
	for name, extra := range b.Spec.Extra {
		renamed[name] = onnx.NewTensor([]int{len(extra)}, extra)
	}
	return renamed
}

// runner computes the named tensors for a sample.
func (m *Machine) runner(d *Detector, names []string) (run func(ctx context.Context, values map[string]*onnx.Tensor) ([]*onnx.Tensor, error), free func(), err error) {
	if d.Engine != nil {
		return func(ctx context.Context, values map[string]*onnx.Tensor) ([]*onnx.Tensor, error) {
			outputs, err := d.runValues(ctx, values)
			if err != nil {
				return nil, err
			}
			list := make([]*onnx.Tensor, len(names))
			for i, name := range names {
				list[i] = outputs[name]
			}
			return list, nil
		}, func() {}, nil
	}
	model := d.Model.Clone()
	if err := model.Graph.Extract(names); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", d.Path, err)
	}
	part, err := d.Derive(model)
	if err != nil {
		return nil, nil, err
	}
	n, err := nn.Compile(part.Model, m.Device, nn.Options{Threads: m.workers(), Workers: 1})
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", d.Path, err)
	}
	c, err := n.NewContext()
	if err != nil {
		n.Close()
		return nil, nil, fmt.Errorf("%s: %w", d.Path, err)
	}
	return func(ctx context.Context, values map[string]*onnx.Tensor) ([]*onnx.Tensor, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := c.SetInputs(values); err != nil {
				return nil, err
			}
			if err := c.Run(); err != nil {
				return nil, err
			}
			list := make([]*onnx.Tensor, len(names))
			for i, name := range names {
				var err error
				if list[i], err = c.Output(name); err != nil {
					return nil, err
				}
			}
			return list, nil
		}, func() {
			c.Close()
			n.Close()
		}, nil
}

// add takes one sample's values in. A batch that the other does not have, which
// is padding, is not compared.
func (d *Difference) add(got, want *onnx.Tensor) error {
	if got == nil || want == nil {
		return fmt.Errorf("compare: tensor %q did not come out", d.Tensor)
	}
	b, a := got.Floats(), want.Floats()
	n := min(len(a), len(b))
	for i, w := range a[:n] {
		x, y := float64(w), float64(b[i])
		if math.IsNaN(x-y) || math.IsInf(x-y, 0) {
			if x != y { // the same infinity is no difference
				d.NotFinite++
			}
			continue
		}
		d.compared++
		d.sums.Difference += (y - x) * (y - x)
		d.sums.Norm += x * x
		d.MaxAbs = max(d.MaxAbs, math.Abs(y-x))
		d.Range = max(d.Range, math.Abs(x))
	}
	return nil
}

// pairOutputs finds the outputs that both have: by name, and where no name is the
// same, by place.
func pairOutputs(a, b *Detector) ([]Difference, error) {
	var list []Difference
	of := func(d *Detector) []onnx.Value { return d.Model.Graph.Outputs }
	for _, out := range of(a) {
		if slices.ContainsFunc(of(b), func(v onnx.Value) bool { return v.Name == out.Name }) {
			list = append(list, Difference{Tensor: out.Name})
		}
	}
	if list == nil && len(of(a)) == len(of(b)) {
		for i, out := range of(a) {
			list = append(list, Difference{Tensor: out.Name, Other: of(b)[i].Name})
		}
	}
	if list == nil {
		return nil, fault.BadInput(fmt.Errorf("compare %s and %s: they have no output of the same name, and not the same number of them", a.Path, b.Path))
	}
	producers := a.Model.Graph.Index().Producer
	for i := range list {
		d := &list[i]
		other := d.Tensor
		if d.Other != "" {
			other = d.Other
		}
		x, y := a.Model.Graph.Info[d.Tensor].Dims, b.Model.Graph.Info[other].Dims
		if !sameButBatch(x, y) {
			return nil, fault.BadInput(fmt.Errorf("compare %s and %s: output %q is %v in one and %v in the other: --shape gives both one input size", a.Path, b.Path, d.Tensor, x, y))
		}
		d.Shape = x
		if n := producers[d.Tensor]; n != nil {
			d.Op = n.Op
		}
	}
	return list, nil
}

// sameButBatch is for an engine with a fixed batch beside a model of one image. Sizes that
// depend on the data are unknown and fit.
func sameButBatch(x, y []int) bool {
	if len(x) != len(y) {
		return false
	}
	for i := 1; i < len(x); i++ {
		if x[i] != y[i] && x[i] >= 0 && y[i] >= 0 {
			return false
		}
	}
	return true
}

// pairLayers finds the inner tensors that both have in the same shape, in A's order, and
// how many of them hold other values because their channels were evened out.
func pairLayers(a, b *Detector, outputs []Difference) (list []Difference, equalised int) {
	if a.Engine != nil || b.Engine != nil {
		return nil, 0
	}
	divided := append(calib.EqualisedTensors(a.Source), calib.EqualisedTensors(b.Source)...)
	names := b.tensorNames()
	producers := a.Model.Graph.Index().Producer
	at := map[*onnx.Node]int{}
	fixed := map[string]bool{"": true} // what no input reaches
	for name := range a.Model.Graph.Init {
		fixed[name] = true
	}
	for i, n := range a.Model.Graph.Nodes {
		at[n] = i
		if !slices.ContainsFunc(n.Inputs, func(name string) bool { return !fixed[name] }) {
			for _, out := range n.Outputs {
				fixed[out] = true
			}
		}
	}
	for _, name := range a.tensorNames() {
		_, both := slices.BinarySearch(names, name)
		n, x := producers[name], a.Model.Graph.Info[name].Dims
		if !both || n == nil || fixed[name] || x == nil || !slices.Equal(x, b.Model.Graph.Info[name].Dims) || volume(x) == 0 ||
			slices.ContainsFunc(outputs, func(d Difference) bool { return d.Tensor == name }) {
			continue
		}
		if slices.Contains(divided, name) {
			equalised++
			continue
		}
		list = append(list, Difference{Tensor: name, Op: n.Op, Shape: x, at: at[n]})
	}
	slices.SortStableFunc(list, func(x, y Difference) int { return x.at - y.at })
	return list, equalised
}

// LoadComparable loads an ONNX model to compare, also where it is no detector.
func LoadComparable(path string, o LoadOptions) (*Detector, error) {
	d, err := LoadDetector(path, o)
	if err == nil || o.Family != "" && o.Family != "auto" {
		return d, err
	}
	o.Family = detect.None
	if plain, again := LoadDetector(path, o); again == nil {
		return plain, nil
	}
	return nil, err
}
