package job

import (
	"context"
	"fmt"

	"trtact/calib"
	"trtact/internal/fault"
	"trtact/internal/report"
	"trtact/qat"
	"trtact/trt"
)

// Preview is what a build would do, without doing it.
type Preview struct {
	Model  ModelFacts `json:"model"`
	Family string     `json:"family"`
	Shape  [2]int     `json:"shape"` // height, width
	// Data and Val are numbers of samples.
	Data int `json:"data,omitempty"`
	Val  int `json:"val,omitempty"`

	Sites   int          `json:"sites"`
	Groups  int          `json:"groups"`
	Weights int          `json:"weights"`
	Skipped []calib.Skip `json:"skipped"`

	// Scales says where those come from with which Front and Train are estimated.
	Scales string `json:"scales,omitempty"`
	// Front is error against latency, roughly: from two pictures.
	Front *Front `json:"front,omitempty"`

	Distil DistilMode   `json:"distil"`
	Train  *qat.Preview `json:"train,omitempty"` // nil: nothing is trained
	Files  []string     `json:"files"`           // that would be written
}

// previewSamples are calibrated on for a preview: the memory and time of a step
// do not depend on the scales.
const previewSamples = 2

// Preview reads everything that Build would, places the quantisers, and for
// training compiles both networks and times a step. It writes nothing.
func (m *Machine) Preview(ctx context.Context, o BuildOptions) (*Preview, error) {
	b, err := m.begin(o)
	if err != nil {
		return nil, err
	}
	if !o.INT8 || b.d.Quantized {
		return nil, fault.Usage(fmt.Errorf("a dry run shows what would be quantised and trained; of %s nothing would", o.Model))
	}
	p := &Preview{Model: b.r.Model, Family: b.r.Family, Shape: b.r.Shape, Distil: o.Distil.Mode, Files: []string{o.onnxPath(), o.planPath(), o.reportPath(), o.resultPath()}}
	if !o.NoEngine {
		p.Files = append([]string{o.enginePath(), trt.SidecarPath(o.enginePath())}, p.Files...)
		if o.FloatEngine {
			p.Files = append(p.Files, o.floatEnginePath(), trt.SidecarPath(o.floatEnginePath()))
		}
	}
	if b.in.val != nil {
		p.Val = len(b.in.val.Images)
	}
	plan := b.in.plan
	if plan == nil {
		if plan, err = o.Calibrate.place(b.single); err != nil {
			return nil, err
		}
	}
	p.Sites, p.Groups, p.Weights, p.Skipped = len(plan.Sites), len(plan.Groups), len(plan.Weights), plan.Skipped
	if b.in.samples == nil {
		return p, nil
	}
	p.Data = b.in.samples.Len()
	p.Scales = "those of the plan"
	if b.in.plan == nil {
		quick := o.Calibrate
		if quick.searchable() || quick.Method == SearchMethod || quick.Grid != nil {
			quick.Method = calib.AbsMax
		}
		quick.Images, quick.Grid = previewSamples, nil
		c, err := m.CalibrateOn(ctx, b.single, b.in.samples, quick)
		if err != nil {
			return nil, err
		}
		plan = c.Plan
		p.Scales = fmt.Sprintf("%s on %s", quick.Method, report.Plural(c.Images, "picture"))
	}
	a := &Analysis{Seconds: map[string]float64{}}
	if err := m.analyze(ctx, b.single, plan, b.in, AnalyzeOptions{Samples: previewSamples, Points: 1, KeepBytes: reportKeep}, "", a); err != nil {
		return nil, err
	}
	p.Front = front(a.Layers, a.Whole.Mean, b.times())
	if !o.Distil.wanted() {
		return p, nil
	}
	run := b.run(&candidate{model: b.single.Model, plan: plan})
	if b.meter != nil {
		run.Evaluate = b.evaluate(&bestMeasured{meter: b.meter})
	}
	m.count("time a step", 0, "")
	p.Train, err = qat.Describe(ctx, run)
	return p, err
}
