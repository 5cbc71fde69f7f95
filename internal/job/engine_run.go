package job

// Engines with the face that ONNX models have: a Detector whose Engine is a
// loaded session. Its Model holds no nodes, only the engine's inputs and outputs, so
// that what prepares pictures and reads outputs need not know the difference.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/nn"
	"trtact/internal/onnx"
	"trtact/internal/parallel"
	"trtact/trt"
)

// LoadEngine loads the engine that s names; s.Shapes is set here. How pictures
// are prepared and boxes read, its sidecar says where this program built the engine,
// else o.Like. Close ends its process.
func LoadEngine(ctx context.Context, s trt.SessionOptions, o LoadOptions) (*Detector, error) {
	stored, err := trt.Read(s.Engine, s.Trust)
	if err != nil {
		return nil, err
	}
	s.Shapes = engineShapes(stored.Artifact.Inputs, o)
	session, err := trt.OpenSession(ctx, s)
	if err != nil {
		return nil, err
	}
	d, err := engineDetector(s.Engine, session.Inputs(), session.Outputs(), session.Artifact(), o)
	if err != nil {
		session.Close()
		return nil, err
	}
	d.Engine = session
	return d, nil
}

// Close lets go of an engine; for ONNX models it does nothing.
func (d *Detector) Close() error {
	if d.Engine == nil {
		return nil
	}
	return d.Engine.Close()
}

// engineShapes are the sizes that dynamic image inputs get: those asked for, the
// batch as near to one image as the engine can.
func engineShapes(inputs []trt.Tensor, o LoadOptions) map[string][]int {
	shapes := map[string][]int{}
	for _, in := range inputs {
		if in.Profile == nil || len(in.Dims) != len(in.Profile.Opt) || !slices.Contains(in.Dims, -1) {
			continue
		}
		dims := slices.Clone(in.Profile.Opt)
		if in.Dims[0] < 0 {
			dims[0] = max(in.Profile.Min[0], 1)
		}
		if len(dims) == 4 && o.Height > 0 {
			if in.Dims[2] < 0 {
				dims[2] = o.Height
			}
			if in.Dims[3] < 0 {
				dims[3] = o.Width
			}
		}
		shapes[in.Name] = dims
	}
	return shapes
}

// engineDetector is the detector without its session.
func engineDetector(path string, inputs, outputs []trt.Tensor, a *trt.Artifact, o LoadOptions) (*Detector, error) {
	g := &onnx.Graph{Name: path, Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{}}
	values := func(tensors []trt.Tensor) (list []onnx.Value) {
		for _, t := range tensors {
			// Session.Run takes and gives floats, whatever the engine's own type is.
			v := onnx.Value{Name: t.Name, Type: onnx.Float, Dims: t.Dims}
			g.Info[t.Name] = v
			list = append(list, v)
		}
		return list
	}
	g.Inputs, g.Outputs = values(inputs), values(outputs)
	d := &Detector{Path: path, Model: &onnx.Model{IR: 8, Opset: 13, Graph: g}, Quantized: strings.Contains(a.Precision, "int8")}
	d.Source = d.Model

	family := o.Family
	if family == "" {
		family = "auto"
	}
	var err error
	switch {
	case o.Like != "":
		d.Spec, err = likeSpec(o, inputs)
	case a.Detector != nil:
		d.Spec, err = storedSpec(a.Detector)
		switch {
		case err != nil || family == "auto" || family == d.Spec.Family:
		case family == detect.None:
			d.Spec.Family, d.Spec.Head.Coding = detect.None, detect.None
		default:
			err = fault.BadInput(fmt.Errorf("what it was built from is of family %s, not %s: leave --family out, or name that ONNX file with --like", d.Spec.Family, family))
		}
		if err == nil && o.Pixels != "" {
			err = d.Spec.Pixels.Change(o.Pixels)
		}
	case family == detect.None || o.AnyEngine:
		d.Spec, err = detect.Recognize(d.Model, detect.None)
	default:
		err = fault.BadInput(errors.New("nothing beside it says how its pictures are prepared and its boxes read: name the ONNX file it was built from with --like"))
	}
	if err == nil {
		err = fits(d.Spec, inputs)
	}
	if err != nil {
		return nil, fmt.Errorf("engine %s: %w", path, err)
	}
	if d.Spec.Input != "" && o.Height > 0 && (o.Height != d.Spec.Height || o.Width != d.Spec.Width) {
		return nil, fault.Usage(fmt.Errorf("engine %s takes pictures of %dx%d, not %dx%d", path, d.Spec.Height, d.Spec.Width, o.Height, o.Width))
	}
	return d, nil
}

// storedSpec reads the Spec of a sidecar.
func storedSpec(text json.RawMessage) (*detect.Spec, error) {
	spec := new(detect.Spec)
	if err := json.Unmarshal(text, spec); err != nil {
		return nil, fault.BadInput(fmt.Errorf("its sidecar does not say in a form that can be read how it detects: %w", err))
	}
	return spec, nil
}

// likeSpec is the Spec of the ONNX file o.Like at the size that the engine has.
func likeSpec(o LoadOptions, inputs []trt.Tensor) (*detect.Spec, error) {
	size := LoadOptions{Family: o.Family, Pixels: o.Pixels}
	for _, in := range inputs {
		if len(in.Dims) == 4 && in.Dims[1] == 3 {
			size.Height, size.Width = in.Dims[2], in.Dims[3]
		}
	}
	d, err := LoadDetector(o.Like, size)
	if err != nil {
		return nil, err
	}
	return d.Spec, nil
}

// fits compares a Spec with what the engine takes, and sets its batch.
func fits(spec *detect.Spec, inputs []trt.Tensor) error {
	if spec.Input == "" && spec.Family == detect.None {
		return nil
	}
	at := slices.IndexFunc(inputs, func(t trt.Tensor) bool { return t.Name == spec.Input })
	if at < 0 {
		return fault.BadInput(fmt.Errorf("it is said to detect on an input %q, which the engine does not have", spec.Input))
	}
	dims := inputs[at].Dims
	if len(dims) != 4 || dims[1] != 3 || dims[2] != spec.Height || dims[3] != spec.Width {
		return fault.BadInput(fmt.Errorf("it is said to detect on pictures of %dx%d, and its input %q is %v", spec.Height, spec.Width, spec.Input, dims))
	}
	spec.Batch = dims[0]
	return nil
}

// runEngine computes the outputs for one prepared picture; the rest of a batch
// is empty.
func (d *Detector) runEngine(ctx context.Context, pixels []float32) (map[string]*onnx.Tensor, error) {
	values := map[string]*onnx.Tensor{d.Spec.Input: onnx.NewTensor([]int{1, 3, d.Spec.Height, d.Spec.Width}, pixels)}
	for name, extra := range d.Spec.Extra {
		values[name] = onnx.NewTensor([]int{len(extra)}, extra)
	}
	return d.runValues(ctx, values)
}

// runValues computes the outputs for one sample. Values of one image are padded
// with zeros to the engine's batch.
func (d *Detector) runValues(ctx context.Context, values map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
	inputs := map[string][]float32{}
	for _, in := range d.Engine.Inputs() {
		t := values[in.Name]
		if t == nil {
			return nil, fault.BadInput(fmt.Errorf("input %q of the engine has no values", in.Name))
		}
		n := 1
		for _, size := range in.Dims {
			n *= size
		}
		data := t.Floats()
		if len(data) > n || len(data) == 0 || n%len(data) != 0 {
			return nil, fault.BadInput(fmt.Errorf("input %q of the engine takes %d values (%v), there are %d", in.Name, n, in.Dims, len(data)))
		}
		inputs[in.Name] = append(make([]float32, 0, n), data...)[:n]
	}
	got, err := d.Engine.Run(ctx, inputs)
	if err != nil {
		return nil, err
	}
	outputs := map[string]*onnx.Tensor{}
	for _, out := range d.Engine.Outputs() {
		dims := slices.Clone(out.Dims)
		if slices.Contains(dims, -1) { // its size depends on the data
			dims = []int{len(got[out.Name])}
		}
		outputs[out.Name] = onnx.NewTensor(dims, got[out.Name])
	}
	return outputs, nil
}

// workers is how many threads there are.
func (m *Machine) workers() int {
	switch {
	case m.Threads > 0:
		return m.Threads
	case m.Device != nil:
		return nn.DefaultWorkers(m.Device, 1)
	}
	return runtime.GOMAXPROCS(0)
}

// forEach is parallel.Each on as many goroutines as the machine has threads.
func (m *Machine) forEach(ctx context.Context, count int, f func(ctx context.Context, i int) error) error {
	return parallel.Each(ctx, m.workers(), count, f)
}

// tensorNames are the float tensors that can be compared: of an engine its
// outputs, of an ONNX model every tensor that a node makes.
func (d *Detector) tensorNames() []string {
	names := map[string]bool{}
	for _, out := range d.Model.Graph.Outputs {
		names[out.Name] = true
	}
	for _, n := range d.Model.Graph.Nodes {
		for _, name := range n.Outputs {
			if name != "" && d.Model.Graph.Info[name].Type == onnx.Float {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}
