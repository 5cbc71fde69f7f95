// Package job is the main job in stages, each of which is also a command of its
// own: load a detector, calibrate and quantise it, measure it, build its engine.
// A stage takes plain values and gives plain values; what a stage shows while it
// works goes through a Progress.
package job

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/inspect"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
	"trtact/trt"
)

// LoadOptions say at which size a model is wanted.
type LoadOptions struct {
	Height, Width int    // 0: as the model declares
	Batch         int    // 0: 1
	Family        string // "" or "auto": recognised from the graph
	Pixels        string // changes to the family's pixels (detect.PixelFormat.Change); "": none
	// Like is the ONNX file that an engine was built from, for engines whose
	// sidecar does not say how pictures are prepared and boxes read.
	Like string
	// AnyEngine takes an engine that nothing is known of as no detector.
	AnyEngine bool
}

// Detector is a model at a fixed size, cleaned up, with how to use it.
type Detector struct {
	Path   string
	Source *onnx.Model // as the file has it, before any change
	Model  *onnx.Model // shapes inferred; simplified unless it was quantised already
	Spec   *detect.Spec
	// Heads are the distillation nodes: the tensors that the last trained layers
	// before the outputs produce.
	Heads []string
	// Quantized is set for a model that came with QuantizeLinear nodes.
	Quantized bool
	// CutAt names the tensors at which a suppression at the end was cut off; nil
	// when there was none.
	CutAt []string
	// Changes is what simplification did.
	Changes simplify.Report
	// Engine is loaded for a detector that LoadEngine made; nil for ONNX models.
	Engine *trt.Session
}

// defaultSize is the input size of a model that leaves it open and says nothing of it.
const defaultSize = 640

// LoadDetector reads a model and prepares it.
func LoadDetector(path string, o LoadOptions) (*Detector, error) {
	source, err := onnx.Load(path)
	if err != nil {
		return nil, err
	}
	return prepare(path, source, o)
}

func prepare(path string, source *onnx.Model, o LoadOptions) (*Detector, error) {
	d := &Detector{Path: path, Source: source, Model: source.Clone()}
	m := d.Model
	if op := foreignInteger(m.Graph); op != "" {
		return nil, fault.BadInput(fmt.Errorf("%s is quantised already, with %s, which TensorRT does not take: give the float model", path, op))
	}
	d.Quantized = slices.ContainsFunc(m.Graph.Nodes, func(n *onnx.Node) bool { return n.Op == "QuantizeLinear" })
	planarInput(m.Graph)
	if err := resize(m, o); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := floatInput(m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if cut, found := detect.CutNMS(m); found {
		if err := m.Graph.Extract(cut); err != nil {
			return nil, fmt.Errorf("%s: cut the graph before its suppression: %w", path, err)
		}
		d.CutAt = cut
	}
	if d.Quantized {
		if err := floatBiases(m); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	} else {
		var err error
		if d.Changes, err = simplify.Run(m); err != nil {
			return nil, fmt.Errorf("%s: simplify: %w", path, err)
		}
	}
	if err := shape.Infer(m, nil); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if o.Family != detect.None {
		if err := batchedOutputs(m); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	spec, err := recognize(m, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	d.Spec = spec
	d.Heads = detect.HeadNodes(m.Graph)
	return d, nil
}

// resize gives the image input the wanted size. Sizes that the model leaves open
// and the user does not name become what its metadata says, or defaultSize.
func resize(m *onnx.Model, o LoadOptions) error {
	batch := max(1, o.Batch)
	h, w := o.Height, o.Width
	openH, openW := detect.MetadataSize(m.Metadata)
	openH, openW = cmp.Or(openH, defaultSize), cmp.Or(openW, defaultSize)
	for _, in := range m.Graph.Inputs {
		if len(in.Dims) != 4 {
			continue
		}
		if h == 0 && in.Dims[2] == onnx.Dynamic {
			h = openH
		}
		if w == 0 && in.Dims[3] == onnx.Dynamic {
			w = openW
		}
	}
	if err := shape.Resize(m, h, w, batch); err != nil {
		return err
	}
	if image := imageInput(m.Graph); image != nil && m.Metadata["imgsz"] != "" {
		m.Metadata["imgsz"] = fmt.Sprintf("[%d, %d]", image.Dims[2], image.Dims[3])
	}
	for _, in := range m.Graph.Inputs {
		if slices.Contains(in.Dims, onnx.Dynamic) {
			return fault.BadInput(fmt.Errorf("input %q keeps the open shape %v: export the model with a fixed size", in.Name, in.Dims))
		}
	}
	return nil
}

// imageInput is the input of four dimensions, nil if there is none.
func imageInput(g *onnx.Graph) *onnx.Value {
	for i := range g.Inputs {
		if len(g.Inputs[i].Dims) == 4 {
			return &g.Inputs[i]
		}
	}
	return nil
}

// Where what a user said of a detector is kept in what is made of it.
const (
	familyKey = "trtact.family"
	pixelsKey = "trtact.pixels"
)

// recognize finds out how the model detects, by what the options say or, where they say
// nothing, by what was said when it was made. What the options say goes into the metadata.
func recognize(m *onnx.Model, o LoadOptions) (*detect.Spec, error) {
	family, pixels := o.Family, o.Pixels
	if family == "" || family == "auto" {
		family = cmp.Or(m.Metadata[familyKey], "auto")
		if !slices.Contains(detect.Families(), family) {
			return nil, fault.BadInput(fmt.Errorf("its metadata has %q under %s, which is no family", family, familyKey))
		}
	}
	pixels = cmp.Or(pixels, m.Metadata[pixelsKey])
	spec, err := detect.Recognize(m, family)
	if err != nil {
		return nil, err
	}
	if pixels != "" { // those of the options were looked at before
		if err := spec.Pixels.Change(pixels); err != nil {
			return nil, fault.BadInput(fmt.Errorf("its metadata, %s: %w", pixelsKey, err))
		}
	}
	for key, said := range map[string]string{familyKey: family, pixelsKey: pixels} {
		if said != "" && said != "auto" {
			if m.Metadata == nil {
				m.Metadata = map[string]string{}
			}
			m.Metadata[key] = said
		}
	}
	return spec, nil
}

// Notes say what was settled in loading that a user may not expect.
func (d *Detector) Notes(o LoadOptions) (list []string) {
	name := filepath.Base(d.Path)
	was, is := imageInput(d.Source.Graph), imageInput(d.Model.Graph)
	if was != nil && is != nil {
		if slices.Contains(was.Dims[1:], onnx.Dynamic) && o.Height == 0 {
			list = append(list, fmt.Sprintf("%s leaves the size of its input open: it is taken at %dx%d; --shape asks for another", name, is.Dims[2], is.Dims[3]))
		}
		if was.Dims[0] > 1 && was.Dims[0] != is.Dims[0] {
			list = append(list, fmt.Sprintf("%s takes %d pictures at once; from here on it takes %d", name, was.Dims[0], is.Dims[0]))
		}
	}
	if was != nil && is != nil && was.Dims[1] != 3 && was.Dims[3] == 3 && is.Dims[1] == 3 {
		list = append(list, fmt.Sprintf("%s takes pictures pixel by pixel, height x width x 3; from here on it takes planes, 3 x height x width", name))
	}
	for i, out := range d.Model.Graph.Outputs {
		if len(d.CutAt) == 0 && i < len(d.Source.Graph.Outputs) && len(d.Source.Graph.Outputs[i].Dims) == 2 && len(out.Dims) == 3 {
			list = append(list, fmt.Sprintf("%s gives %s without a batch in front; from here on it is %v", name, out.Name, out.Dims))
		}
	}
	if was != nil && is != nil && was.Type != is.Type {
		list = append(list, fmt.Sprintf("%s takes pictures as %v; from here on it takes the same numbers, 0 to 255, as %v", name, was.Type, is.Type))
	}
	if len(d.CutAt) > 0 {
		var ends []string
		for _, tensor := range d.CutAt {
			ends = append(ends, fmt.Sprintf("%s %v", tensor, d.Model.Graph.Info[tensor].Dims))
		}
		list = append(list, fmt.Sprintf("%s suppresses or chooses its boxes itself; what is made of it ends before that, at %s", name, strings.Join(ends, " and ")))
	}
	if h := d.Spec.Head; h.Coding == detect.Anchors || h.Coding == detect.Darknet {
		like := fmt.Sprintf("those of %s with %d levels on COCO", d.Spec.Family, len(h.Levels))
		if scale := h.Levels[0].Scale; scale > 0 {
			like += fmt.Sprintf(" and its scale_x_y (%g at stride %d)", scale, h.Levels[0].Stride)
		}
		list = append(list, fmt.Sprintf("%s gives boxes that are not decoded and does not hold their anchors: %s are taken; with others the boxes shown and measured here would be wrong", name, like))
	}
	if task := detect.MetadataTask(d.Source.Metadata); task != "" && d.Spec.Family != detect.None {
		list = append(list, fmt.Sprintf("%s says that its task is %q: its boxes are decoded and measured, what else it gives is quantised unmeasured", name, task))
	}
	return list
}

// Derive is the detector for another graph of the same model, e.g. its quantised
// form: everything but the graph stays.
func (d *Detector) Derive(m *onnx.Model) (*Detector, error) {
	q := *d
	q.Model = m
	q.Quantized = slices.ContainsFunc(m.Graph.Nodes, func(n *onnx.Node) bool { return n.Op == "QuantizeLinear" })
	if err := shape.Infer(m, nil); err != nil {
		return nil, fmt.Errorf("%s: %w", d.Path, err)
	}
	return &q, nil
}

// Name is the file's name without its extension.
func (d *Detector) Name() string {
	base := filepath.Base(d.Path)
	return base[:len(base)-len(filepath.Ext(base))]
}

// Params is the number of trained parameters in the file.
func (d *Detector) Params() int { return int(inspect.Of(d.Source).Params) }
