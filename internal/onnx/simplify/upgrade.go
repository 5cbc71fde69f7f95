package simplify

import (
	"slices"

	"trtact/internal/onnx"
)

// wanted is the operator set that older models are brought to, so that there is
// one form of each operator to know; per-channel QuantizeLinear needs it too.
const wanted = 13

// upgrade raises the operator set. A model with an operator that has no form
// there stays at its own.
func (s *simplifier) upgrade() error {
	if s.model.Opset >= wanted {
		return nil
	}
	raised := s.model.Clone()
	if err := onnx.UpgradeOpset(raised, wanted); err != nil {
		return nil
	}
	if s.model.Opset == 10 {
		shrinkFromBehind(raised.Graph)
	}
	*s.model = *raised
	s.did(Upgraded)
	return s.infer()
}

// shrinkFromBehind gives nearest Resize nodes of set 10 that make an image
// smaller the rounding that onnxruntime has for them, up; the set itself does not
// say. Enlarging rounds down, as in Upsample.
func shrinkFromBehind(g *onnx.Graph) {
	for _, n := range g.Nodes {
		scales := g.Init[n.Input(2)]
		if n.Op == "Resize" && n.Str("mode", "nearest") == "nearest" && scales != nil &&
			slices.ContainsFunc(scales.Floats(), func(v float32) bool { return v < 1 }) {
			n.Set("nearest_mode", "ceil")
		}
	}
}
