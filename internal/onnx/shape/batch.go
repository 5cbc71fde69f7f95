package shape

// Giving a model another batch size than the one it was exported with.
//
// Exporters store the batch of 1 in the targets of Reshape and Expand, in the
// sizes of Resize, in constants that are concatenated to predictions. At another
// batch such a graph contradicts itself or, worse, mixes images without a sound.
// So the graph is walked with both batch sizes side by side, and for every tensor
// it is known on which axis the images lie. An operator's rule (batch_rules.go)
// says where they come out and refuses what would mix them; a stored size that
// gives another shape than that is replaced. What passes the walk treats every
// image as the original treats a single one.

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
	"trtact/internal/onnx/host"
)

// place is where the images lie in a tensor: the axis of which the batch is the
// outermost factor ([B*k, ...] for channels that were merged with it), or one of
// these.
type place int

const (
	alike     place = -1 - iota // the same elements whatever the batch: constants
	counted                     // depends on the number of images but holds none: sizes, ranges
	untracked                   // rows for all images together, or made by an unknown operator
)

// rebatch is one walk.
type rebatch struct {
	was, now *inference // of the same nodes, for from and for to images
	from, to int
	places   map[string]place // of every tensor so far
	changed  bool
}

// withBatch infers m's shapes for batch to and changes its nodes where they
// store batch from. inputs are the graph's inputs at batch from; those of m are
// at batch to already. m's nodes are cloned before a change, its list of nodes and
// constants must be its own. After an error m is half changed.
func withBatch(m *onnx.Model, inputs []onnx.Value, from, to int) error {
	old := *m
	graph := *m.Graph
	graph.Inputs = inputs
	old.Graph = &graph
	r := &rebatch{was: begin(&old), now: begin(m), from: from, to: to, places: map[string]place{}}
	for _, s := range []*inference{r.was, r.now} {
		if err := s.inputs(nil); err != nil {
			return err
		}
		s.initialisers()
	}
	for i, v := range inputs {
		p := alike
		if !slices.Equal(v.Dims, m.Graph.Inputs[i].Dims) {
			p = 0
			if err := r.check(v.Name, p); err != nil {
				return fmt.Errorf("input %q: %w", v.Name, err)
			}
		}
		r.places[v.Name] = p
	}
	for name := range m.Graph.Init {
		r.places[name] = alike
	}
	for i, n := range graph.Nodes {
		c, err := r.was.call(n)
		if err != nil {
			return err
		}
		s := &step{rebatch: r, call: c, at: i}
		if err := s.run(); err != nil {
			return err
		}
	}
	if err := r.outputs(); err != nil {
		return err
	}
	if err := r.now.outputs(); err != nil {
		return err
	}
	m.Graph.Info = r.now.info
	if r.changed {
		m.Graph.RemoveDead()
	}
	return nil
}

// outputs refuses outputs that had a row for each image and lost it on the way
// through operators that are not followed.
func (r *rebatch) outputs() error {
	for _, o := range r.now.model.Graph.Outputs {
		if r.places[o.Name] != untracked {
			continue
		}
		if err := rows(o.Name, r.was.info[o.Name].Dims, r.now.info[o.Name].Dims, r.from, r.to); err != nil {
			return err
		}
	}
	return nil
}

// rows compares the shapes of an output for two batch sizes.
func rows(name string, was, now []int, from, to int) error {
	if len(was) > 0 && was[0] == from && len(now) > 0 && now[0] >= 0 && now[0] != to {
		return fmt.Errorf("output %q comes out as %v, without a row for each of %d images", name, now, to)
	}
	return nil
}

// scaled is a shape of batch from at batch to.
func (r *rebatch) scaled(d []int, p place) []int {
	out := dims.Clone(d)
	if p >= 0 {
		out[p] = d[p] / r.from * r.to
	}
	return out
}

// check says whether a tensor has the shape that its place demands.
func (r *rebatch) check(name string, p place) error {
	if p < alike {
		return nil
	}
	was, now := r.was.info[name].Dims, r.now.info[name].Dims
	if p >= 0 && (int(p) >= len(was) || was[p] < 0 || was[p]%r.from != 0) {
		return fmt.Errorf("%v has not %d images on axis %d", was, r.from, p)
	}
	if want := r.scaled(was, p); !slices.Equal(want, now) {
		return fmt.Errorf("%d images come out as %v instead of %v", r.to, now, want)
	}
	return nil
}

// step is one node of the walk.
type step struct {
	*rebatch
	*call              // for batch from
	at    int          // of Graph.Nodes
	own   bool         // call.n is our copy already
	made  []onnx.Value // its outputs, for batch from
}

// run places the node's outputs, changing the node where that is needed.
func (s *step) run() error {
	if err := s.was.node(s.n); err != nil {
		return err
	}
	for _, name := range s.n.Outputs {
		s.made = append(s.made, s.was.info[name])
	}
	options, err := s.options()
	if err != nil {
		return fmt.Errorf("%v, output %q: inputs %s: %w", s.n, s.n.Output(0), s.describe(), err)
	}
	if options == nil { // values are known for both
		return s.compare()
	}
	err = s.infer()
	if err == nil {
		as := options
		if sizes := sizeInputs[s.n.Op]; len(sizes) > 0 && s.placeOf(sizes[0]) != counted {
			as = options[:1] // a stored size meant the likeliest
		}
		if s.settle(as...) {
			return nil
		}
		err = fmt.Errorf("%v: %w", s.n, s.check(s.n.Output(0), options[0]))
	}
	if !s.rewrite(options[0]) {
		return err
	}
	if err := s.infer(); err != nil {
		return err
	}
	if !s.settle(options[0]) {
		return fmt.Errorf("%v: %w", s.n, s.check(s.n.Output(0), options[0]))
	}
	return nil
}

// options are the places that the node's outputs may have, the likeliest first;
// nil for a node whose result is known by value for both batch sizes.
func (s *step) options() ([]place, error) {
	var carries, counts, lost bool
	for _, name := range s.n.Uses() {
		switch p := s.places[name]; {
		case p >= 0:
			carries = true
		case p == counted:
			counts = true
		case p == untracked:
			lost = true
		}
	}
	if s.known(s.was) {
		if err := s.infer(); err != nil {
			return nil, err
		}
		if s.known(s.now) {
			return nil, nil
		}
	}
	r, ok := batchRules[s.n.Op]
	_, shaped := find(s.n)
	switch {
	case lost:
		return []place{untracked}, nil
	case !carries && !counts:
		return []place{alike}, nil
	case !shaped || len(s.n.Subgraphs()) > 0:
		return []place{untracked}, nil
	case !ok || s.n.Domain != "" && s.n.Domain != "ai.onnx":
		return nil, fmt.Errorf("the images of a batch cannot be followed through this operator")
	}
	for i, name := range s.n.Inputs {
		if name != "" && s.places[name] == counted && !slices.Contains(sizeInputs[s.n.Op], i) {
			return nil, fmt.Errorf("%q depends on the number of images", name)
		}
		if name != "" && s.places[name] >= 0 && slices.Contains(sizeInputs[s.n.Op], i) {
			return nil, fmt.Errorf("%q differs from image to image", name)
		}
	}
	return r(s)
}

// known tells whether all outputs' elements are.
func (s *step) known(in *inference) bool {
	return len(s.n.Outputs) > 0 && !slices.ContainsFunc(s.n.Outputs, func(name string) bool {
		return name != "" && in.values[name] == nil
	})
}

// infer infers the node for the new batch, again after a change.
func (s *step) infer() error {
	for _, name := range s.n.Outputs {
		delete(s.now.values, name)
	}
	return s.now.node(s.n)
}

// settle takes the first place that fits what came out.
func (s *step) settle(options ...place) bool {
	for _, p := range options {
		if slices.ContainsFunc(s.n.Outputs, func(name string) bool { return name != "" && s.check(name, p) != nil }) {
			continue
		}
		for _, name := range s.n.Outputs {
			if name != "" {
				s.places[name] = p
			}
		}
		return true
	}
	return false
}

// compare places outputs whose elements are known: equal for both batch sizes,
// the same for each image, or else numbers that count images.
func (s *step) compare() error {
	for _, name := range s.n.Outputs {
		if name == "" {
			continue
		}
		a, b := s.was.values[name], s.now.values[name]
		s.places[name] = counted
		if equal(a, b) {
			s.places[name] = alike
			continue
		}
		for axis := range a.Dims {
			if grown, ok := s.repeat(a, axis); ok && equal(grown, b) {
				s.places[name] = place(axis)
				break
			}
		}
	}
	return nil
}

func equal(a, b *onnx.Tensor) bool {
	return a.Type == b.Type && slices.Equal(a.Dims, b.Dims) && reflect.DeepEqual(a.Data, b.Data)
}

// repeat makes of a tensor that holds the same block for each of the old number
// of images along an axis one for the new number; false where the blocks differ.
func (r *rebatch) repeat(t *onnx.Tensor, axis int) (*onnx.Tensor, bool) {
	if t.Dims[axis]%r.from != 0 || t.Len()/r.from > maxRepeated/r.to {
		return nil, false
	}
	tile := func(t *onnx.Tensor, times int) *onnx.Tensor {
		repeats := slices.Repeat([]int64{1}, len(t.Dims))
		repeats[axis] = int64(times)
		out, err := host.Eval(&onnx.Node{Op: "Tile"}, 13, []*onnx.Tensor{t, onnx.Vector(repeats...)})
		if err != nil {
			return nil
		}
		return out[0]
	}
	block := t
	if r.from > 1 {
		ends := onnx.Vector(int64(t.Dims[axis] / r.from))
		cut, err := host.Eval(&onnx.Node{Op: "Slice"}, 13, []*onnx.Tensor{t, onnx.Vector[int64](0), ends, onnx.Vector(int64(axis))})
		if err != nil {
			return nil, false
		}
		block = cut[0]
		if all := tile(block, r.from); all == nil || !equal(all, t) {
			return nil, false
		}
	}
	grown := tile(block, r.to)
	return grown, grown != nil
}

// maxRepeated is the number of elements that a repeated constant may have.
const maxRepeated = 1 << 24

// set replaces input i of the node by a constant.
func (s *step) set(i int, t *onnx.Tensor) {
	s.edit()
	g := s.now.model.Graph
	name := g.FreshName(fmt.Sprintf("%s_batch%d", s.n.Inputs[i], s.to))
	g.Init[name] = t
	s.now.info[name], s.now.values[name] = constant(name, t), t
	s.n.Inputs[i] = name
}

// edit makes the node our own.
func (s *step) edit() {
	if !s.own {
		s.n = s.n.Clone()
		s.now.model.Graph.Nodes[s.at] = s.n
		s.own, s.changed = true, true
	}
}

// ownGraph is a copy of a graph that withBatch may change.
func ownGraph(g *onnx.Graph) *onnx.Graph {
	c := *g
	c.Nodes, c.Init = slices.Clone(g.Nodes), maps.Clone(g.Init)
	if c.Init == nil {
		c.Init = map[string]*onnx.Tensor{}
	}
	return &c
}
