// Which layers are quantised, in the words of a configuration: kinds of layers and
// tensors, on top of what placement decides.

package job

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"trtact/calib"
	"trtact/internal/config"
	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// LayerKind is a kind of layer with weights.
type LayerKind string

// The kinds.
const (
	Convolutions LayerKind = "convolution" // depthwise ones apart
	Depthwise    LayerKind = "depthwise"
	Transposed   LayerKind = "transposed convolution"
	Products     LayerKind = "matrix product" // Gemm and MatMul
)

// kindOf is the kind of a weighted node.
func kindOf(g *onnx.Graph, n *onnx.Node) LayerKind {
	switch n.Op {
	case "ConvTranspose":
		return Transposed
	case "Gemm", "MatMul":
		return Products
	}
	groups := int(n.Int("group", 1))
	if w := g.Init[n.Input(1)]; groups > 1 && w != nil && len(w.Dims) > 1 && w.Dims[1] == 1 {
		return Depthwise
	}
	return Convolutions
}

// place decides what of d is quantised; the plan has no scales yet.
func (o CalibrateOptions) place(d *Detector) (*calib.Plan, error) {
	g, placement := d.Model.Graph, o.Placement
	var out []string // nodes that stay float
	if o.Layers != nil {
		placement.Depthwise = placement.Depthwise || slices.Contains(o.Layers, Depthwise)
		for _, n := range g.Nodes {
			// Depthwise layers stay float by placement's own rule, with its reason.
			if isWeighted(n) && !slices.Contains(o.Layers, kindOf(g, n)) && (kindOf(g, n) != Depthwise || placement.Depthwise) {
				out = append(out, n.Name)
			}
		}
	}
	others, err := skippedReaders(d, o.SkipTensors, &out)
	if err != nil {
		return nil, err
	}
	if len(out) > 0 {
		names := make([]string, len(out))
		for i, n := range out {
			names[i] = regexp.QuoteMeta(n)
		}
		placement.Exclude = append(slices.Clone(placement.Exclude), "^(?:"+strings.Join(names, "|")+")$")
	}
	plan, err := calib.Place(g, placement)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Path, err)
	}
	for _, n := range others {
		plan.Skip(n.Name, n.Op, "reads a tensor that was to stay float")
	}
	plan.Model = calib.ModelID{Name: d.Name(), SHA256: d.Source.SHA256}
	if o.PerTensor {
		oneScale(plan)
	}
	return plan, nil
}

// skippedReaders finds who reads tensors that stay float: weighted nodes, also
// those behind a Pad, go to layers, all others come back.
func skippedReaders(d *Detector, tensors []string, layers *[]string) (others []*onnx.Node, err error) {
	index := d.Model.Graph.Index()
	for _, t := range tensors {
		if _, there := d.Model.Graph.Info[t]; !there {
			return nil, fault.BadInput(fmt.Errorf("tensor %q, which is to stay float, is not in %s; `trtact inspect --layers` lists names", t, d.Path))
		}
		for _, n := range index.Consumers[t] {
			list := []*onnx.Node{n}
			if n.Op == "Pad" {
				list = index.Consumers[n.Output(0)]
			}
			for _, n := range list {
				if isWeighted(n) {
					*layers = append(*layers, n.Name)
				} else {
					others = append(others, n)
				}
			}
		}
	}
	return others, nil
}

// oneScale gives every weight its largest scale for all channels.
func oneScale(p *calib.Plan) {
	for i := range p.Weights {
		scales := p.Weights[i].Scales
		most := slices.Max(scales)
		for k := range scales {
			scales[k] = most
		}
	}
}

// patterns are those of the layers that somebody named, without the default one of
// configurations, which few models have anything of.
func (o CalibrateOptions) patterns() []string {
	return slices.DeleteFunc(slices.Concat(o.Placement.Exclude, o.Placement.Include), func(p string) bool {
		return slices.Contains(config.Default().Quantization.NotQuantPattern, p)
	})
}

// warnOfPatterns tells of patterns that match no layer, as a misspelt one does.
func (o CalibrateOptions) warnOfPatterns(d *Detector) {
	for _, p := range o.patterns() {
		re, err := regexp.Compile(p)
		if err != nil {
			continue // placement says so
		}
		if !slices.ContainsFunc(d.Model.Graph.Nodes, func(n *onnx.Node) bool { return re.MatchString(n.Name) }) {
			slog.Warn(fmt.Sprintf("the pattern %s matches no layer of %s", p, d.Path))
		}
	}
}

// nothing is why there is nothing to quantise.
func (o CalibrateOptions) nothing(d *Detector) error {
	if len(o.patterns())+len(o.SkipTensors) > 0 || o.Layers != nil {
		return fault.Usage(fmt.Errorf("no layer of %s is left to quantise: ask for fewer to stay float (--exclude, --include)", d.Path))
	}
	return fault.BadInput(fmt.Errorf("%s has no layer that INT8 would make faster (docs/placement.md): quantise all that can be with --depthwise --pooled --heads", d.Path))
}

// widen lets the search take in layers that placement leaves float, and has the
// tensors observed that would be quantised with them. Where kinds of layers were
// named, or the GPU has no kernels, depthwise ones are not for the search to decide.
func (o *CalibrateOptions) widen(d *Detector, p *calib.Plan, tensors *[]string) error {
	w, err := calib.Widen(d.Model.Graph, p, func(wide *calib.Options) {
		wide.Pooled, wide.Depthwise = true, wide.Depthwise || o.Layers == nil && !o.NoDepthwise
	})
	if err != nil || len(w.Layers) == 0 {
		return err
	}
	if o.PerTensor {
		oneScale(w.Plan)
	}
	o.Search.Wider = append(o.Search.Wider, w)
	for _, t := range tensorsOf(w.Plan) {
		if !slices.Contains(*tensors, t) {
			*tensors = append(*tensors, t)
		}
	}
	return nil
}
