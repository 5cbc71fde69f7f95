// Placement: which tensors get a quantiser, so that TensorRT runs INT8 kernels
// and not conversions. docs/placement.md gives the rules and their evidence. In
// short: quantise what goes into a weighted layer, never what comes out of it
// (its activation fuses with it and wants float), and the shortcut of a residual
// addition; leave float what has no INT8 kernel, gains nothing or costs too much
// accuracy; let quantisers that TensorRT will slide together share one scale.
package calib

import (
	"fmt"
	"sort"
	"strings"

	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// minChannels is the fewest input or output channels for which an INT8
// convolution kernel pays.
const minChannels = 16

// placer holds the state of one Place call.
type placer struct {
	g     *onnx.Graph
	ix    *onnx.Index
	opt   Options
	sites map[string]*Site
	order []string // of sites, as found
}

// Place decides what of a graph is quantised. The graph must be simplified, in
// topological order and have its shapes in Info. The plan has no scales yet:
// Plan.Assign sets those of the activations from statistics, Plan.AssignWeights
// those of the weights.
func Place(g *onnx.Graph, opt Options) (*Plan, error) {
	include, err := compileAll("include", opt.Include)
	if err != nil {
		return nil, fault.Usage(err)
	}
	exclude, err := compileAll("exclude", opt.Exclude)
	if err != nil {
		return nil, fault.Usage(err)
	}
	for _, n := range g.Nodes {
		if n.Op == "QuantizeLinear" || n.Op == "DequantizeLinear" {
			return nil, fault.BadInput(fmt.Errorf("place quantisers: the model already has %s (node %q); build it as it is, or give the float model", n.Op, n.Name))
		}
	}
	heads := opt.Heads
	if len(heads) == 0 {
		heads = FindHeads(g)
	}
	isHead := map[string]bool{}
	for _, h := range heads {
		isHead[h] = true
	}
	if err := namesExist(g, heads); err != nil {
		return nil, err
	}
	decode := behind(g, isHead)
	first := firstLayers(g)

	p := &placer{g: g, ix: g.Index(), opt: opt.clone(), sites: map[string]*Site{}}
	p.opt.Heads = clone(heads)
	plan := &Plan{Version: PlanVersion, Options: p.opt}
	quantised := map[string]bool{} // weighted nodes by name
	weights := map[string]int{}    // index in plan.Weights by tensor and axis
	for _, n := range g.Nodes {
		if !isWeighted(n.Op) || n.Domain != "" {
			continue
		}
		l := describeLayer(g, n)
		reason := l.reason
		switch {
		case reason != "":
		case matchAny(exclude, n.Name):
			reason = "excluded by pattern"
		case len(include) > 0:
			if !matchAny(include, n.Name) {
				reason = "not among the included layers"
			}
		case isHead[n.Name]:
			if !opt.QuantizeHeads {
				reason = "last layer of an output branch"
			}
		case decode[n.Name]:
			reason = "behind the heads: decodes their outputs"
		default:
			reason = p.unsuitable(l, first[n.Name])
		}
		var at, consumer string
		if reason == "" {
			at, consumer, reason = p.inputSite(n)
		}
		if reason != "" {
			plan.Skipped = append(plan.Skipped, Skip{n.Name, n.Op, reason})
			continue
		}
		p.consume(at, consumer, "input of "+n.Op)
		quantised[n.Name] = true
		key := fmt.Sprintf("%d %s", l.axis, l.weight)
		if i, ok := weights[key]; ok {
			plan.Weights[i].Nodes = append(plan.Weights[i].Nodes, n.Name)
			continue
		}
		weights[key] = len(plan.Weights)
		plan.Weights = append(plan.Weights, WeightSite{Tensor: l.weight, Nodes: []string{n.Name}, Axis: l.axis})
	}
	if opt.Residual {
		p.residuals(quantised)
	}
	plan.Groups = p.group()
	for _, t := range p.order {
		plan.Sites = append(plan.Sites, *p.sites[t])
	}
	if err := plan.AssignWeights(g, AbsMax); err != nil {
		return nil, err
	}
	return plan, nil
}

// namesExist checks that every name is a node of the graph.
func namesExist(g *onnx.Graph, names []string) error {
	have := make(map[string]bool, len(g.Nodes))
	for _, n := range g.Nodes {
		have[n.Name] = true
	}
	for _, name := range names {
		if !have[name] {
			return fault.Usage(fmt.Errorf("place quantisers: head %q is not a node of the model; inspect lists its nodes", name))
		}
	}
	return nil
}

// unsuitable gives the reason why a layer is better left float, "" for none.
func (p *placer) unsuitable(l layer, first bool) string {
	if !p.opt.Pooled && p.onePosition(l) {
		return "works on a single position (as squeeze-and-excite does): a matrix-vector product, INT8 gains nothing"
	}
	if l.depthwise() {
		if p.opt.Depthwise {
			return ""
		}
		return "depthwise: one input scale for channels of very different range loses most accuracy, and INT8 gains least there"
	}
	if p.opt.Thin {
		return ""
	}
	if l.groups > 1 {
		small := false
		for _, k := range l.kernel {
			small = small || k < 3
		}
		if l.out%8 != 0 || small {
			return fmt.Sprintf("grouped convolution (%d groups, %d output channels, kernel %v) without a fast INT8 kernel", l.groups, l.out, l.kernel)
		}
		return ""
	}
	if l.out < minChannels {
		return fmt.Sprintf("thin: %d output channels, INT8 kernels want %d", l.out, minChannels)
	}
	if l.in < minChannels && !first {
		return fmt.Sprintf("thin: %d input channels, INT8 kernels want %d", l.in, minChannels)
	}
	return ""
}

// onePosition says whether a layer's output has a single spatial position (or a
// matrix product a single row) in each image.
func (p *placer) onePosition(l layer) bool {
	dims := p.g.Info[l.node.Output(0)].Dims
	if len(dims) < 2 {
		return false
	}
	positions := dims[2:] // N, C, spatial
	if l.kernel == nil {
		positions = dims[:len(dims)-1] // rows, features
	}
	for _, d := range positions {
		if d != 1 {
			return false
		}
	}
	return true
}

// inputSite gives the tensor to quantise for a weighted node and the node that
// reads it: the node's own input, or the input of a zero padding before it,
// since a quantiser between padding and convolution would keep the two apart.
func (p *placer) inputSite(n *onnx.Node) (tensor, consumer, reason string) {
	t := n.Input(0)
	pad := p.ix.Producer[t]
	if pad == nil || pad.Op != "Pad" {
		return t, n.Name, ""
	}
	switch {
	case !zeroPad(p.g, pad):
		return "", "", "reads a Pad that does not fill with zeros"
	case len(p.ix.Consumers[t]) > 1 || p.isOutput(t):
		return "", "", "reads a Pad whose output others read too"
	}
	return pad.Input(0), pad.Name, ""
}

func (p *placer) isOutput(tensor string) bool {
	for _, o := range p.g.Outputs {
		if o.Name == tensor {
			return true
		}
	}
	return false
}

// consume notes that a node reads the quantised form of a tensor.
func (p *placer) consume(tensor, node, why string) {
	s := p.sites[tensor]
	if s == nil {
		s = &Site{Tensor: tensor, Why: why}
		p.sites[tensor] = s
		p.order = append(p.order, tensor)
	} else if !strings.Contains(s.Why, why) {
		s.Why += ", " + why
	}
	for _, c := range s.Consumers {
		if c == node {
			return
		}
	}
	s.Consumers = append(s.Consumers, node)
}

// ancestorLimit bounds how many tensors back the two inputs of an addition are
// followed to where they part.
const ancestorLimit = 512

// residuals quantises the shortcut of every residual addition whose other input
// is a quantised layer's output and whose sum goes into quantised layers.
func (p *placer) residuals(quantised map[string]bool) {
	for _, n := range p.g.Nodes {
		if n.Op != "Add" || n.Domain != "" || len(n.Inputs) != 2 || n.Inputs[0] == n.Inputs[1] {
			continue
		}
		if p.g.Init[n.Inputs[0]] != nil || p.g.Init[n.Inputs[1]] != nil || !p.sameShape(n.Inputs[0], n.Inputs[1]) {
			continue
		}
		k, ok := p.shortcut(n)
		if !ok {
			continue
		}
		root := activationRoot(p.g, p.ix, n.Inputs[1-k], activationDepth)
		if root == nil || !quantised[root.Name] || !p.leadsToSite(n.Output(0), map[string]bool{}) {
			continue
		}
		p.consume(n.Inputs[k], n.Name, "shortcut of Add")
	}
}

func (p *placer) sameShape(a, b string) bool {
	x, y := p.g.Info[a].Dims, p.g.Info[b].Dims
	if x == nil || len(x) != len(y) {
		return false
	}
	for i := range x {
		if x[i] != y[i] {
			return false
		}
	}
	return true
}

// shortcut says which of an addition's two inputs is the shorter way back to
// their lowest common ancestor; none when they have no common ancestor.
func (p *placer) shortcut(n *onnx.Node) (int, bool) {
	a := ancestors(p.g, p.ix, n.Inputs[0], ancestorLimit)
	b := ancestors(p.g, p.ix, n.Inputs[1], ancestorLimit)
	lowest, latest := "", -2
	for t := range a {
		if _, common := b[t]; !common {
			continue
		}
		at := -1 // a graph input
		if producer := p.ix.Producer[t]; producer != nil {
			at = p.ix.Order[producer]
		}
		if at > latest || at == latest && t < lowest {
			lowest, latest = t, at
		}
	}
	if latest == -2 {
		return 0, false
	}
	if a[lowest] <= b[lowest] {
		return 0, true
	}
	return 1, true
}

// leadsToSite says whether a tensor reaches a quantised one through nothing but
// activations and operators that commute with quantisation.
func (p *placer) leadsToSite(tensor string, seen map[string]bool) bool {
	todo := []string{tensor}
	for len(todo) > 0 {
		t := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[t] {
			continue
		}
		seen[t] = true
		if p.sites[t] != nil {
			return true
		}
		for _, c := range p.ix.Consumers[t] {
			if dataInputs(p.g, c) != nil || isActivation(c.Op) {
				todo = append(todo, c.Outputs...)
			}
		}
	}
	return false
}

// firstLayers names the weighted layers that no other stands before.
func firstLayers(g *onnx.Graph) map[string]bool {
	passed := map[string]bool{} // tensors behind a weighted layer
	first := map[string]bool{}
	for _, n := range g.Nodes {
		after := false
		for _, in := range n.Uses() {
			after = after || passed[in]
		}
		weighted := isWeighted(n.Op)
		if weighted && !after {
			first[n.Name] = true
		}
		if weighted || after {
			for _, out := range n.Outputs {
				passed[out] = true
			}
		}
	}
	return first
}

// group joins the sites between which only commuting operators stand. Joins are
// made going back from the sites, so that operators whose outputs nobody reads
// quantised join nothing.
func (p *placer) group() []Group {
	u := newUnion()
	wanted := map[string]bool{}
	for t := range p.sites {
		wanted[t] = true
	}
	via := map[string][]string{} // operators by one of their tensors
	for i := len(p.g.Nodes) - 1; i >= 0; i-- {
		n := p.g.Nodes[i]
		if n.Op == "Concat" && !p.opt.Concat {
			continue
		}
		inputs := dataInputs(p.g, n)
		if inputs == nil {
			continue
		}
		var tensors []string
		for _, out := range n.Outputs {
			if wanted[out] {
				tensors = append(tensors, out)
			}
		}
		if len(tensors) == 0 {
			continue
		}
		for _, in := range inputs {
			if in != "" && p.g.Init[in] == nil {
				wanted[in] = true
				tensors = append(tensors, in)
			}
		}
		for _, t := range tensors[1:] {
			u.join(tensors[0], t)
		}
		via[tensors[0]] = append(via[tensors[0]], n.Op)
	}
	members := map[string][]string{}
	var roots []string
	for _, t := range p.order {
		r := u.root(t)
		if members[r] == nil {
			roots = append(roots, r)
		}
		members[r] = append(members[r], t)
	}
	ops := map[string]map[string]bool{}
	for t, names := range via {
		r := u.root(t)
		if ops[r] == nil {
			ops[r] = map[string]bool{}
		}
		for _, op := range names {
			ops[r][op] = true
		}
	}
	var groups []Group
	for _, r := range roots {
		if len(members[r]) < 2 {
			continue
		}
		g := Group{ID: len(groups) + 1, Tensors: members[r]}
		for op := range ops[r] {
			g.Via = append(g.Via, op)
		}
		sort.Strings(g.Via)
		for _, t := range g.Tensors {
			p.sites[t].Group = g.ID
		}
		groups = append(groups, g)
	}
	return groups
}

// union is a union-find over tensor names.
type union map[string]string

func newUnion() union { return union{} }

func (u union) root(t string) string {
	for {
		parent, ok := u[t]
		if !ok || parent == t {
			return t
		}
		if next, ok := u[parent]; ok {
			u[t] = next // halve the path
		}
		t = parent
	}
}

func (u union) join(a, b string) {
	if ra, rb := u.root(a), u.root(b); ra != rb {
		u[rb] = ra
	}
}
