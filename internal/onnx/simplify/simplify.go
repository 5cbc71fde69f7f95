// Package simplify rewrites a loaded model into the smallest graph that
// computes the same: what quantisation, the executor and TensorRT have to
// understand gets fewer and plainer nodes.
//
// Run works on the model that is going to be saved and changes nothing that a
// caller could notice in its outputs beyond rounding. Fuse makes a copy for this
// program's own executor, with nodes that ONNX does not have.
package simplify

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
	"trtact/internal/onnx/shape"
)

// Kinds of change, as they stand in a Report.
const (
	Folded         = "constant nodes folded"
	BatchNorm      = "batch normalisations folded into weights"
	BatchNormAlone = "batch normalisations turned to multiply and add"
	Affine         = "constant multiplications and additions folded into weights"
	NoOp           = "nodes without effect removed"
	Dead           = "unused nodes removed"
	Unused         = "unused constants removed"
	Duplicate      = "duplicate constants merged"
	Upgraded       = "operator set raised to 13"
	Branch         = "conditional branches resolved"
)

// Report counts what Run did, by kind.
type Report map[string]int

// String lists the counts, one kind a line, sorted.
func (r Report) String() string {
	var b strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(r)) {
		fmt.Fprintf(&b, "%6d %s\n", r[kind], kind)
	}
	return b.String()
}

// maxFolded is the size in bytes that a folded constant may have although its
// inputs are smaller. Grids are some hundred KiB; a hostile file could ask for
// any size.
const maxFolded = 64 << 20

// maxRounds bounds the repetition of the passes; each round removes at least
// one node, and real models need two or three.
const maxRounds = 20

// Run simplifies m in place: it brings old forms to operator set 13, folds
// constants and batch normalisation, and removes what has no effect. Inputs and
// outputs keep their names and order.
//
// Where shapes are known (all inputs static, or m.Graph.Info filled by
// shape.Infer for chosen sizes) it uses them: nodes that compute sizes become
// constants, and the inputs and outputs are then declared with those sizes, as
// the model has become one for that size. Info holds the inferred shapes of the
// new graph afterwards.
//
// An error, marked fault.BadInput, says that the model contradicts itself.
func Run(m *onnx.Model) (Report, error) {
	report := Report{}
	s := &simplifier{model: m, report: report, sizes: knownSizes(m)}
	if err := s.infer(); err != nil {
		return nil, err
	}
	if err := s.upgrade(); err != nil {
		return nil, err
	}
	passes := []struct {
		name string
		pass func(e *editor) error
	}{
		{"remove unused", s.removeUnused},
		{"resolve branches", s.branches},
		{"run loops", s.loops},
		{"fold constants", s.foldConstants},
		{"remove no-ops", s.removeNoOps},
		{"fold batch normalisation", s.foldBatchNorm},
		{"fold affine", s.foldAffine},
	}
	for round := 0; round < maxRounds; round++ {
		before := s.total()
		for _, p := range passes {
			if err := s.run(p.name, p.pass); err != nil {
				return nil, err
			}
		}
		if s.total() == before {
			break
		}
	}
	if err := s.run("merge duplicates", s.mergeDuplicates); err != nil {
		return nil, err
	}
	if s.usedShapes && s.sizes != nil {
		shape.Freeze(m)
	}
	return report, nil
}

type simplifier struct {
	model      *onnx.Model
	report     Report
	sizes      map[string][]int // of all inputs; nil where they are not known
	usedShapes bool             // a change holds for these sizes only
}

func (s *simplifier) total() int {
	n := 0
	for _, v := range s.report {
		n += v
	}
	return n
}

// knownSizes is the static sizes of all inputs, from the inferred shapes or else
// the declarations; nil if one is missing.
func knownSizes(m *onnx.Model) map[string][]int {
	sizes := map[string][]int{}
	for _, v := range m.Graph.Inputs {
		d := v.Dims
		if info, ok := m.Graph.Info[v.Name]; ok && dims.Static(info.Dims) {
			d = info.Dims
		}
		if !dims.Static(d) {
			return nil
		}
		sizes[v.Name] = d
	}
	return sizes
}

// infer brings Info up to date.
func (s *simplifier) infer() error {
	if s.sizes != nil {
		return shape.Infer(s.model, s.sizes)
	}
	g := s.model.Graph
	for name, t := range g.Init {
		g.Info[name] = t.Value(name)
	}
	return nil
}

// run applies one pass and infers shapes anew if it changed anything.
func (s *simplifier) run(name string, pass func(e *editor) error) error {
	before := s.total()
	e := edit(s.model.Graph)
	if err := pass(e); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if s.total() == before {
		return nil
	}
	if err := e.apply(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return s.infer()
}

// did counts a change.
func (s *simplifier) did(kind string) { s.report[kind]++ }

// static is a tensor's static shape, nil if it is not known.
func (s *simplifier) static(name string) []int {
	if s.sizes == nil {
		if t := s.model.Graph.Init[name]; t != nil {
			return dims.Clone(t.Dims)
		}
		return nil
	}
	if v := s.model.Graph.Info[name]; dims.Static(v.Dims) {
		return v.Dims
	}
	return nil
}
