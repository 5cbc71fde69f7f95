// The largest magnitudes of a float model's tensors, for float16: what is larger
// than that holds stays float32.

package job

import (
	"context"
	"fmt"
	"math"

	"trtact/internal/fault"
	"trtact/internal/nn"
	"trtact/internal/onnx"
	"trtact/internal/onnx/dims"
)

// float16Images is how many samples float16's range is checked on: half.MaxRange
// leaves two binary orders for others.
const float16Images = 8

// maxRangeValues bounds the tensors that one pass keeps: 256 MB for each thread.
const maxRangeValues = 64 << 20

// findRanges adds the magnitudes of all float tensors over the first samples in the
// final model; in an engine for several pictures at once, whose graph takes no single
// one, those of the model as it came.
func (b *building) findRanges(ctx context.Context, final *Detector) error {
	if !b.o.FP16 && b.o.INT8Mode != INT8Implicit && b.o.INT8Mode != INT8Fastest || b.in.samples == nil || b.o.NoEngine {
		return nil
	}
	if b.r.ranges == nil {
		b.r.ranges = map[string]float32{}
	}
	if final.Spec.Batch > 1 {
		final = b.single
	}
	samples := First(b.in.samples, float16Images)
	parts := rangeParts(final)
	count := b.m.count("ranges for float16", samples.Len()*len(parts), "images")
	for _, tensors := range parts {
		if err := b.m.magnitudes(ctx, final, samples, tensors, b.r.ranges, count.add); err != nil {
			return err
		}
	}
	return nil
}

// rangeParts lists the float tensors before the heads that can be large, in parts
// that fit in memory.
func rangeParts(d *Detector) (parts [][]string) {
	g := d.Model.Graph.Clone()
	if err := g.Extract(d.Heads); err != nil {
		g = d.Model.Graph // no heads: all of it
	}
	size := maxRangeValues + 1
	for _, n := range g.Nodes {
		if noLarger(n.Op) {
			continue
		}
		for _, name := range n.Outputs {
			info := g.Info[name]
			if name == "" || info.Type != onnx.Float || !dims.Static(info.Dims) || g.Init[name] != nil {
				continue
			}
			values := 1
			for _, d := range info.Dims {
				values *= d
			}
			if size+values > maxRangeValues {
				parts, size = append(parts, nil), 0
			}
			parts[len(parts)-1] = append(parts[len(parts)-1], name)
			size += values
		}
	}
	return parts
}

// noLarger tells an operator whose result is not beyond its input or 1.
func noLarger(op string) bool {
	switch op {
	case "Sigmoid", "HardSigmoid", "Tanh", "Softmax", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat",
		"QuantizeLinear", "DequantizeLinear", "Split", "Slice", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Resize", "Gather":
		return true
	}
	return false
}

// magnitudes raises into[name] to the largest magnitude of each tensor. Samples that
// cannot be read are left out: the calibration has said so.
func (m *Machine) magnitudes(ctx context.Context, d *Detector, samples Samples, tensors []string, into map[string]float32, done func()) error {
	n, err := m.compile(d, tensors)
	if err != nil {
		return err
	}
	defer n.Close()
	seen := make([][]float32, samples.Len())
	err = n.ForEach(ctx, samples.Len(), func(c *nn.Context, i int) error {
		defer done()
		inputs, err := samples.Read(i)
		if fault.Code(err) == fault.CodeBadInput {
			return nil
		}
		if err == nil {
			err = c.SetInputs(inputs)
		}
		if err == nil {
			err = c.Run()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", samples.Name(i), err)
		}
		seen[i] = make([]float32, len(tensors))
		for k, name := range tensors {
			t, err := c.Output(name)
			if err != nil {
				return err
			}
			seen[i][k] = largest(t.Floats())
		}
		return nil
	})
	for _, most := range seen {
		for k, v := range most {
			into[tensors[k]] = max(into[tensors[k]], v)
		}
	}
	return err
}

// largest is the largest magnitude; not a number counts as the largest. The bits of
// floats without their sign are ordered as the magnitudes are, and faster to compare.
func largest(values []float32) float32 {
	var most uint32
	for _, v := range values {
		most = max(most, math.Float32bits(v)&^(1<<31))
	}
	return math.Float32frombits(most)
}
