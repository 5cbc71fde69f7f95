package simplify

// Constants: nodes that compute them are replaced by their results, equal ones
// merged, unused ones dropped.

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
	"trtact/internal/onnx/host"
	"trtact/internal/onnx/shape"
)

// foldConstants evaluates nodes of which all inputs are constants, and Shape and
// Size of tensors of known shape.
func (s *simplifier) foldConstants(e *editor) error {
	for _, n := range e.nodes {
		if s.keepsOutput(e, n) {
			continue
		}
		values, err := s.evaluate(e, n)
		if err != nil {
			return err
		}
		if values == nil {
			continue
		}
		for i, name := range n.Outputs {
			if name != "" {
				e.g.Init[name] = values[i].Clone()
			}
		}
		e.remove(n)
		s.did(Folded)
	}
	return nil
}

// keepsOutput tells that one of a node's outputs has to stay a node's output:
// the graph's outputs are not made constants.
func (s *simplifier) keepsOutput(e *editor, n *onnx.Node) bool {
	return slices.ContainsFunc(n.Outputs, func(name string) bool { return e.outputs[name] })
}

// evaluate computes a node's outputs; nil where it cannot or should not.
func (s *simplifier) evaluate(e *editor, n *onnx.Node) ([]*onnx.Tensor, error) {
	switch n.Op {
	case "QuantizeLinear", "DequantizeLinear":
		return nil, nil // a quantised model's weights stay as they are
	case "Shape", "Size":
		if d := s.static(n.Input(0)); d != nil && n.Domain == "" && e.constant(n.Input(0)) == nil {
			s.usedShapes = true
			return shapeValue(n, d)
		}
	}
	if !host.Supports(n.Op, n.Domain) || len(n.Subgraphs()) > 0 {
		return nil, nil
	}
	in := make([]*onnx.Tensor, len(n.Inputs))
	bytes := 0
	for i, name := range n.Inputs {
		if name == "" {
			continue
		}
		if in[i] = e.constant(name); in[i] == nil {
			return nil, nil
		}
		bytes += size(in[i])
	}
	if fits, err := s.fits(n, in, max(maxFolded, bytes)); err != nil || !fits {
		return nil, err
	}
	if heavy[n.Op] && bytes > maxHeavy {
		return nil, nil
	}
	out, err := host.Eval(n, s.model.Opset, in)
	if errors.Is(err, host.ErrNotHandled) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// fits tells beforehand whether a node's outputs stay within a number of bytes;
// outputs of unknown size (NonZero) are never larger than what they come from.
func (s *simplifier) fits(n *onnx.Node, in []*onnx.Tensor, limit int) (bool, error) {
	g := &onnx.Graph{Nodes: []*onnx.Node{n}, Init: map[string]*onnx.Tensor{}}
	for i, t := range in {
		if t != nil {
			g.Init[n.Inputs[i]] = t
		}
	}
	if err := shape.Infer(&onnx.Model{Path: s.model.Path, Opset: s.model.Opset, Graph: g}, nil); err != nil {
		return false, err
	}
	for _, name := range n.Outputs {
		v := g.Info[name]
		if v.Dims == nil {
			return false, nil
		}
		if !dims.Static(v.Dims) {
			continue
		}
		if count, err := dims.Count(v.Dims); err != nil || count > limit/max(1, v.Type.Size()) {
			return false, nil
		}
	}
	return true, nil
}

// heavy are the operators whose work grows faster than their inputs; they are
// folded up to maxHeavy bytes of inputs.
var heavy = map[string]bool{"MatMul": true, "Gemm": true, "Einsum": true, "NonMaxSuppression": true, "Resize": true, "Upsample": true}

const maxHeavy = 16 << 20

// shapeValue is the result of a Shape or Size node on a shape.
func shapeValue(n *onnx.Node, d []int) ([]*onnx.Tensor, error) {
	if n.Op == "Size" {
		count, err := dims.Count(d)
		return []*onnx.Tensor{onnx.Scalar(int64(count))}, err
	}
	from, to := dims.ShapeRange(n, len(d))
	v := make([]int64, 0, to-from)
	for _, size := range d[from:to] {
		v = append(v, int64(size))
	}
	return []*onnx.Tensor{onnx.Vector(v...)}, nil
}

// size is a tensor's size in bytes; strings count their headers.
func size(t *onnx.Tensor) int { return t.Len() * max(t.Type.Size(), 1) }

// removeUnused drops nodes that no output needs, and constants without readers.
func (s *simplifier) removeUnused(e *editor) error {
	for i := len(e.nodes) - 1; i >= 0; i-- {
		n := e.nodes[i]
		used := slices.ContainsFunc(n.Outputs, func(name string) bool {
			return name != "" && (e.outputs[name] || len(e.consumers[name]) > 0)
		})
		if !used {
			e.remove(n)
			s.did(Dead)
		}
	}
	for name := range e.g.Init {
		if len(e.consumers[name]) == 0 && !e.outputs[name] {
			delete(e.g.Init, name)
			delete(e.g.Info, name)
			s.did(Unused)
		}
	}
	return nil
}

// mergeDuplicates makes readers of equal constants read one. Weights, biases
// and other parameters stay apart even where they are equal (zero biases often
// are): they belong to their layer, and quantisation and training change them
// one by one.
func (s *simplifier) mergeDuplicates(e *editor) error {
	parameters := map[string]bool{}
	for _, n := range e.nodes {
		switch n.Op {
		case "Conv", "ConvTranspose", "Gemm", "MatMul", "PRelu", "BatchNormalization", "InstanceNormalization",
			"LayerNormalization", "QuantizeLinear", "DequantizeLinear":
			for _, name := range n.Inputs {
				parameters[name] = true
			}
		}
	}
	first := map[[sha256.Size]byte]string{}
	for _, name := range slices.Sorted(maps.Keys(e.g.Init)) {
		if parameters[name] || e.outputs[name] || e.captured[name] {
			continue
		}
		key, err := digest(e.g.Init[name])
		if err != nil {
			return err
		}
		have, ok := first[key]
		if !ok {
			first[key] = name
			continue
		}
		e.moveReaders(name, have)
		delete(e.g.Init, name)
		delete(e.g.Info, name)
		s.did(Duplicate)
	}
	return nil
}

// digest identifies a tensor's type, shape and elements.
func digest(t *onnx.Tensor) ([sha256.Size]byte, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%d %v ", t.Type, t.Dims)
	if list, ok := t.Data.([]string); ok {
		fmt.Fprintf(h, "%q", list)
	} else if err := binary.Write(h, binary.LittleEndian, t.Data); err != nil {
		return [sha256.Size]byte{}, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
