package nn

import (
	"fmt"
	"slices"

	"trtact/internal/compute"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
)

// Together is a model of single images for several at once, whose values lie one behind
// the other in every input and in the tensors of some losses: what TrainOptions.Images
// asks for. Where that cannot be had, images are computed one by one.
func Together(m *onnx.Model, losses []LossNode, images int) (*onnx.Model, error) {
	single := m.Graph.Info
	several := m.Clone()
	var names []string
	for _, l := range losses {
		names = append(names, l.Tensor)
		if l.Axis == 0 && (l.Kind == compute.LossSoftLabel || l.Kind == compute.LossChannelKL) {
			return nil, fmt.Errorf("tensor %q: its loss goes over all images", l.Tensor)
		}
	}
	if len(names) > 0 {
		if err := several.Graph.Extract(slices.Compact(slices.Sorted(slices.Values(names)))); err != nil {
			return nil, err
		}
	}
	batch := 1
	for _, in := range several.Graph.Inputs {
		if len(in.Dims) == 4 {
			batch = in.Dims[0]
			break
		}
	}
	if err := shape.Resize(several, 0, 0, images*batch); err != nil {
		return nil, err
	}
	for _, v := range several.Graph.Inputs {
		if v.Type != onnx.Float {
			return nil, fmt.Errorf("input %q is %v", v.Name, v.Type)
		}
		names = append(names, v.Name)
	}
	for _, name := range names {
		was, now := single[name].Dims, several.Graph.Info[name].Dims
		if len(was) == 0 || len(was) != len(now) || now[0] != images*was[0] || !slices.Equal(was[1:], now[1:]) {
			return nil, fmt.Errorf("tensor %q of shape %v is %v for %d images", name, was, now, images)
		}
	}
	return several, nil
}
