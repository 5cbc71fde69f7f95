package job

import (
	"trtact/internal/coco"
	"trtact/qat"
)

// Which of the quantised forms became the result.
const (
	KeptPTQ       = "ptq"
	KeptSearched  = "searched"
	KeptRounded   = "rounded"
	KeptDistilled = "distilled"
)

// QAT is what training did, or why there was none.
type QAT struct {
	Mode    DistilMode `json:"mode"`
	Reason  string     `json:"reason"` // why it was trained, or not
	Trained bool       `json:"trained"`
	Kept    string     `json:"kept"` // KeptPTQ, KeptSearched, KeptRounded or KeptDistilled

	Iterations      int     `json:"iterations,omitempty"`
	Batch           int     `json:"batch,omitempty"`     // pictures in an iteration, accumulated ones and those of all processes included
	Processes       int     `json:"processes,omitempty"` // that trained together, where they were several
	Resumed         int     `json:"resumed_at,omitempty"`
	Seconds         float64 `json:"seconds,omitempty"` // of this process, measuring included
	ImagesPerSecond float64 `json:"images_per_second,omitempty"`
	Parameters      int     `json:"parameters,omitempty"` // trained
	StoppedBy       string  `json:"stopped_by,omitempty"` // "complete", "target", "patience" or "diverged"
	Problem         string  `json:"problem,omitempty"`    // of a run that diverged

	// Judge is what Start, Best and the metric curve are of: "metric" (mAP in 0..1, or
	// what the evaluation command prints) or "loss" on held-out samples, where lower is
	// better.
	Judge    string          `json:"judge,omitempty"`
	Start    float64         `json:"start,omitempty"`
	Best     float64         `json:"best,omitempty"`
	BestStep int             `json:"best_step"` // 0: no step was better than the start
	Nodes    []qat.Node      `json:"nodes,omitempty"`
	Loss     []LossPoint     `json:"loss_curve,omitempty"`
	Metric   []MetricPoint   `json:"metric_curve,omitempty"`
	Bad      []coco.BadImage `json:"bad_images,omitempty"`
}

// LossPoint is the mean over the steps since the point before.
type LossPoint struct {
	Step       int     `json:"step"`
	Loss       float64 `json:"loss"`
	AboveFloor float64 `json:"above_floor"`
	Rate       float64 `json:"rate"` // of learning, at this step
}

// MetricPoint is one measurement.
type MetricPoint struct {
	Step  int     `json:"step"`
	Value float64 `json:"value"`
}

// curvePoints is how many points of a loss curve are written at most: enough to
// draw it.
const curvePoints = 1000

func (q *QAT) describe(o *qat.Outcome, w *watch, options qat.Options) {
	q.Trained, q.Kept = true, KeptPTQ
	q.Iterations, q.Batch, q.Resumed = o.Steps, options.Batch*max(1, options.Accumulate)*max(1, o.Ranks), o.Resumed
	if o.Ranks > 1 {
		q.Processes = o.Ranks
	}
	q.Seconds, q.Parameters, q.StoppedBy = o.Seconds, o.Parameters, string(o.Ending)
	q.ImagesPerSecond = w.imagesPerSecond(q.Batch)
	q.Judge, q.Start, q.Best, q.BestStep = string(o.Judge), o.Start, o.Best, o.BestStep
	q.Nodes, q.Bad = o.Nodes, o.Bad
	q.Loss = lossCurve(o.Curve, curvePoints)
	for _, p := range o.Curve {
		if p.Measured != nil {
			q.Metric = append(q.Metric, MetricPoint{p.Step, *p.Measured})
		}
	}
}

// lossCurve thins a curve to so many points, each the mean of as many steps.
func lossCurve(curve []qat.Point, points int) []LossPoint {
	var steps []qat.Point
	for _, p := range curve {
		if p.Step > 0 { // the start has no loss yet
			steps = append(steps, p)
		}
	}
	every := (len(steps) + points - 1) / points
	var list []LossPoint
	for from := 0; from < len(steps); from += every {
		part := steps[from:min(from+every, len(steps))]
		last := part[len(part)-1]
		p := LossPoint{Step: last.Step, Rate: last.Rate}
		for _, s := range part {
			p.Loss += s.Loss / float64(len(part))
			p.AboveFloor += s.AboveFloor / float64(len(part))
		}
		list = append(list, p)
	}
	return list
}
