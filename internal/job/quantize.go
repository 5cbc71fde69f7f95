package job

import (
	"context"
	"fmt"
	"slices"
	"time"

	"trtact/calib"
	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// candidate is a quantised form of the model: what may become the result.
type candidate struct {
	model     *onnx.Model // float, at batch 1; trained, rounded or as it came
	plan      *calib.Plan
	accuracy  *measured          // nil: not measured
	nodeError map[string]float64 // nil: not known
	// equalised is what of a plan's equalisation is in the model already.
	equalised []calib.Equalisation
	float     []string // layers that were left float to save accuracy
	// unrounded is the candidate whose rounding was chosen to make this one, if any.
	unrounded *candidate
}

// quantize finds the best quantised form, writes its plan and its Q/DQ model, and
// gives that model at the engine's batch.
func (b *building) quantize(ctx context.Context) (*Detector, error) {
	start := time.Now()
	b.r.Form = KeptPTQ
	best, err := b.ptq(ctx)
	if err != nil {
		return nil, err
	}
	if best, err = b.improve(ctx, best, start); err != nil {
		return nil, err
	}
	if best.accuracy != nil {
		b.note(formINT8, *best.accuracy)
	}
	b.r.Accuracy.NodeError = best.nodeError
	return b.write(best)
}

// ptq settles the plan without training and measures what it gives.
func (b *building) ptq(ctx context.Context) (*candidate, error) {
	start := time.Now()
	plan, err := b.settle(ctx)
	if err != nil {
		return nil, err
	}
	c := &candidate{model: b.single.Model, plan: plan, nodeError: b.r.PTQ.NodeError}
	b.untrained = c
	b.r.lap("calibrate", start)
	if b.meter == nil {
		return c, nil
	}
	d, err := b.quantised(c)
	if err != nil {
		return nil, err
	}
	v, err := b.meter.measure(ctx, d, "measure INT8")
	if err != nil {
		return nil, err
	}
	b.note(formPTQ, v)
	c.accuracy = &v
	return c, nil
}

// judged completes a candidate with what it is worth, as far as that can be measured.
func (b *building) judged(ctx context.Context, c *candidate, stage string) (*candidate, error) {
	var err error
	if c.nodeError, err = b.nodeErrors(ctx, c); err != nil || b.meter == nil {
		return c, err
	}
	d, err := b.quantised(c)
	if err != nil {
		return nil, err
	}
	v, err := b.meter.measure(ctx, d, stage)
	c.accuracy = &v
	return c, err
}

// quantised is the Q/DQ form of a candidate at batch 1.
func (b *building) quantised(c *candidate) (*Detector, error) {
	model, err := b.apply(c.model, c.plan, calib.FloatWeights)
	if err != nil {
		return nil, err
	}
	return b.single.Derive(model)
}

func (b *building) apply(m *onnx.Model, p *calib.Plan, form calib.WeightForm) (*onnx.Model, error) {
	model, err := calib.Apply(m, p, form)
	if err != nil && b.o.Plan != "" {
		return nil, fault.BadInput(fmt.Errorf("plan %s: %w", b.o.Plan, err))
	}
	return model, err
}

// settle gives the plan: the user's, the one of an earlier run with the same
// input, or a new one.
func (b *building) settle(ctx context.Context) (*calib.Plan, error) {
	if b.in.plan != nil {
		b.r.PTQ = &PTQ{Method: b.in.plan.Method, From: b.o.Plan}
		return b.in.plan, nil
	}
	kept := b.kept()
	if plan, ptq, ok := kept.load(); ok {
		b.r.PTQ = ptq
		return plan, nil
	}
	c, err := b.m.CalibrateOn(ctx, b.single, b.in.samples, b.o.Calibrate)
	if err != nil {
		return nil, err
	}
	b.r.PTQ = describeCalibration(c)
	return c.Plan, kept.save(c.Plan, b.r.PTQ)
}

// kept is where a calibration is kept for a later run.
func (b *building) kept() kept {
	dir, passing := b.o.workPath()
	if passing && !b.o.Resume || b.o.Work == "" && !b.o.Distil.wanted() {
		dir = ""
	}
	return newKept(dir, b.single, b.in.sources, b.o)
}

// write saves the plan and the Q/DQ model.
func (b *building) write(c *candidate) (*Detector, error) {
	o, r := b.o, b.r
	r.Quantization.describe(b.single.Model, c.plan)
	r.ranges = map[string]float32{}
	for tensor, scale := range b.in.cache {
		r.ranges[tensor] = scale * calib.QMax
	}
	for _, site := range c.plan.Sites {
		r.ranges[site.Tensor] = site.AbsMax
	}
	float, err := b.atBatch(c)
	if err != nil {
		return nil, err
	}
	model, err := b.apply(float, c.plan, o.Weights)
	if err != nil {
		return nil, err
	}
	if err := c.plan.Save(o.planPath()); err != nil {
		return nil, err
	}
	r.Files.Plan = o.planPath()
	if err := model.Save(o.onnxPath()); err != nil {
		return nil, err
	}
	r.Files.ONNX = o.onnxPath()
	r.Size.model(b.d.Model, model, c.plan)
	r.Size.ONNXInt8 = fileSize(r.Files.ONNX)
	return b.d.Derive(model)
}

// atBatch gives a candidate's float model at the engine's batch.
func (b *building) atBatch(c *candidate) (*onnx.Model, error) {
	switch {
	case b.d.Model == b.single.Model:
		return c.model, nil
	case c.model == b.single.Model: // as it came
		return b.d.Model, nil
	}
	model, err := calib.Rescale(b.d.Model, c.equalised)
	if err != nil {
		return nil, err
	}
	takeConstants(model, b.single.Model, c.model)
	return model, nil
}

// takeConstants gives m the constants that have changed from single's to changed's,
// two forms of the same model at another batch: trained weights, and biases where
// there were none.
func takeConstants(m, single, changed *onnx.Model) {
	before, nodes := map[string]*onnx.Node{}, map[string]*onnx.Node{}
	for _, n := range single.Graph.Nodes {
		before[n.Name] = n
	}
	for _, n := range m.Graph.Nodes {
		nodes[n.Name] = n
	}
	for _, n := range changed.Graph.Nodes {
		to := nodes[n.Name]
		if to == nil {
			continue
		}
		for i, name := range n.Inputs {
			t := changed.Graph.Init[name]
			if t == nil || t.Type != onnx.Float {
				continue
			}
			if old := before[n.Name]; old != nil && sameFloats(t, single.Graph.Init[old.Input(i)]) {
				continue
			}
			for len(to.Inputs) <= i {
				to.Inputs = append(to.Inputs, "")
			}
			to.Inputs[i] = name
			m.Graph.Init[name] = t
			m.Graph.Info[name] = t.Value(name)
		}
	}
	m.Graph.RemoveDead()
}

// sameFloats says whether two tensors hold the same numbers.
func sameFloats(a, b *onnx.Tensor) bool {
	return a == b || a != nil && b != nil && a.Type == b.Type && slices.Equal(a.Dims, b.Dims) && slices.Equal(a.Floats(), b.Floats())
}

// constantBytes is the size of a graph's floating-point and INT8 constants.
func constantBytes(m *onnx.Model) int64 {
	var n int64
	for _, t := range m.Graph.Init {
		switch t.Type {
		case onnx.Float:
			n += 4 * int64(t.Len())
		case onnx.Int8, onnx.Uint8:
			n += int64(t.Len())
		}
	}
	return n
}

func isWeighted(n *onnx.Node) bool {
	return slices.Contains([]string{"Conv", "ConvTranspose", "Gemm", "MatMul"}, n.Op)
}
