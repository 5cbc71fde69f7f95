// Package qat trains a fake-quantised student to give, at the distillation nodes,
// what the float model gives (the teacher): quantisation-aware distillation, as
// PaddleSlim's Auto Compression Toolkit (ACT) does it for detectors. It wants
// samples without labels, and a plan whose scales are calibrated, from which the
// training starts.
//
// It takes plain values (Run) and gives plain values back (Outcome). It knows
// neither detectors' outputs nor TensorRT: how good a model is, Run.Evaluate says.
package qat

import (
	"context"
	"time"

	"trtact/calib"
	"trtact/internal/coco"
	"trtact/internal/collective"
	"trtact/internal/compute"
	"trtact/internal/onnx"
)

// Samples are what the student is trained on. Several goroutines may call Read;
// a fault.BadInput error from it is that sample's, which is then left out.
type Samples interface {
	Len() int
	Name(i int) string // for messages and to tell one set of samples from another
	// Read prepares sample i: the value of every input by name, at batch 1.
	Read(i int) (map[string]*onnx.Tensor, error)
}

// Run is one training: what is trained, on what, how, and where it is kept.
type Run struct {
	// Model is the float model, with shapes inferred at batch 1. It is the teacher
	// and where the student's weights start. It is not changed.
	Model *onnx.Model
	// Plan says where the quantisers are and, calibrated, where their scales start.
	Plan    *calib.Plan
	Device  *compute.Device
	Samples Samples
	Options Options
	// Evaluate measures a Q/DQ model; higher is better (mAP, in 0..1). nil: the loss on
	// HeldOut judges.
	Evaluate func(ctx context.Context, m *onnx.Model) (float64, error)
	// Start is the metric of the plan before training where it is known already;
	// nil: it is measured first.
	Start *float64
	// HeldOut are samples that are not trained on; nil: Options.HeldOut of Samples
	// are set aside. Without effect where Evaluate is given.
	HeldOut Samples
	// Progress is called after every step and when a stage begins, from one goroutine.
	Progress func(Progress)
	// Dir is the folder of the checkpoint; "": none is written.
	Dir string
	// Group are the processes that train together, each with Options.Batch images of a
	// batch; nil: this one alone. All are given the same; only rank 0 calls Evaluate,
	// and its Start, Dir, Resume and Insist count.
	Group *collective.Group
	// Resume goes on from the checkpoint in Dir. Without one, or with one of another model,
	// plan, options or samples, the run begins anew; with Insist the latter is an error.
	Resume, Insist bool
}

// Stage is what a run is doing.
type Stage string

// The stages of a run, in this order; Training and Measuring alternate.
const (
	Preparing Stage = "prepare" // compiling, reading the checkpoint
	Measuring Stage = "measure" // Evaluate, or the loss on the held-out samples
	Training  Stage = "train"
)

// Progress is where a run stands.
type Progress struct {
	Stage Stage
	Step  int // steps done
	Steps int // of the whole run
	// Of the last step: the weighted loss, the same above its floor (what a student equal to the
	// teacher has, see Point), the norm of the gradient and the learning rate.
	Loss, AboveFloor, Norm, Rate float64
	ImagesPerSecond              float64       // over the last steps, without measuring
	Left                         time.Duration // of the whole run, measuring included; 0: not known yet
	Curve                        []Point       // so far; shared, not to be changed
	Judge                        Judge
	Start, Best                  float64 // of the judge; NaN before the first measurement
	BestStep                     int
	Bad                          int // samples that could not be read
}

// Judge is what tells a better model from a worse one.
type Judge string

// The judges.
const (
	ByMetric Judge = "metric" // Run.Evaluate, higher is better
	ByLoss   Judge = "loss"   // above its floor, on held-out samples, lower is better
)

// Point is one step of a run's curve.
type Point struct {
	Step int     `json:"step"` // steps done; 0 is the start, where only Measured is known
	Loss float64 `json:"loss"` // sum over the nodes of weight times loss, mean over the images
	// AboveFloor is Loss without what even a student equal to its teacher has: the
	// teacher's entropy in soft labels. It goes to 0, Loss does not.
	AboveFloor float64 `json:"above_floor"`
	Rate       float64 `json:"rate"`
	// Measured is the judge's value after this step, nil where it was not asked.
	Measured *float64 `json:"measured,omitempty"`
}

// Ending is why a run ended.
type Ending string

// The endings.
const (
	Complete Ending = "complete" // all steps
	OnTarget Ending = "target"   // the target metric was reached
	Stalled  Ending = "patience" // no better for so many measurements
)

// Outcome is the best student of a run.
type Outcome struct {
	// Model is the float model with the trained weights and biases.
	Model *onnx.Model
	// Plan is the plan with the trained scales; equalisation and bias corrections
	// of the plan it started from are in Model.
	Plan  *calib.Plan
	Nodes []Node
	Judge Judge
	// Start and Best are the judge's values of the plan before training and of Model; the start
	// is a candidate too, so Best is never worse than Start.
	Start, Best float64
	BestStep    int // 0: no step was better than the start
	Steps       int // done
	Resumed     int // the step at which a resumed run went on, 0 for an unbroken one
	Ending      Ending
	Curve       []Point
	Bad         []coco.BadImage
	Ranks       int     // processes
	Parameters  int     // trained
	Seconds     float64 // of this process
}

// Quantized is the Q/DQ model that the outcome stands for.
func (o *Outcome) Quantized(form calib.WeightForm) (*onnx.Model, error) {
	return calib.Apply(o.Model, o.Plan, form)
}

// Node is one tensor at which student and teacher are compared.
type Node struct {
	Tensor  string  `json:"tensor"`
	Node    string  `json:"node"` // that makes it
	Op      string  `json:"op"`
	Dims    []int   `json:"dims"`
	Loss    Loss    `json:"loss"`
	Alpha   float64 `json:"alpha"`
	Weight  float64 `json:"weight"`  // of its loss in the sum: alpha / number of heads, or of features
	Axis    int     `json:"axis"`    // of the softmax, counted from the front; negative: compute.OverSpace, OverImage
	Feature bool    `json:"feature"` // within the network, not at its end
}

// len is the number of the tensor's elements.
func (n *Node) len() int {
	count := 1
	for _, d := range n.Dims {
		count *= d
	}
	return count
}

// Preview is what a run would do, for a person to look at before hours of work.
type Preview struct {
	Nodes      []Node
	Sites      int // activations that are quantised
	Groups     int // that share a scale
	Weights    int // constants that are quantised
	Skipped    []calib.Skip
	Parameters int // trained
	Samples    int // trained on
	HeldOut    int
	Batch      int // images in one step, accumulated ones included
	Steps      int
	Epochs     float64
	// Memory in bytes: teacher and student with all their contexts, kept targets at
	// most, the checkpoint's file.
	TeacherBytes, StudentBytes, TargetBytes, CheckpointBytes int64
	// StepSeconds is one step as measured; TrainSeconds all of them; measuring with
	// Run.Evaluate comes on top, Measurements times.
	StepSeconds, TrainSeconds float64
	Measurements              int
}
