package nn

import (
	"fmt"
	"slices"

	"trtact/internal/compute"
	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// LossNode is a tensor at which the student is compared with its teacher.
type LossNode struct {
	Tensor string
	Kind   compute.LossKind
	// Axis that a group of the loss runs along, or compute.OverSpace, OverImage.
	Axis        int
	Temperature float32 // 0 is 1
	Weight      float32 // of its gradient beside the others'
}

// Quantizer says how the scales of activations come about in training.
type Quantizer int

const (
	// FixedScales stay as the graph has them.
	FixedScales Quantizer = iota
	// ObservedScales stay too, but each step reports the largest magnitudes
	// (Trainer.AbsMax) for the caller to answer with SetScales.
	ObservedScales
	// LearnedScales are trained in their logarithm: "Learned Step Size
	// Quantization", Esser et al. 2020.
	LearnedScales
	// LearnedClips trains the range 127 scale that values are clamped to: "PACT",
	// Choi et al. 2018.
	LearnedClips
)

// TrainOptions say what is trained and how.
type TrainOptions struct {
	Losses    []LossNode
	Quantizer Quantizer
	// LearnedWeightScales trains the weights' scales too; else they are
	// absmax/127 of each channel at every step.
	LearnedWeightScales bool
	// Groups gives scale constants of the graph, by name, the name of the scale
	// that they share.
	Groups      map[string]string
	Rounding    compute.Rounding
	PassOutside bool // straight-through outside the range too, as PaddlePaddle
	// Optimizer has all but the segments.
	Optimizer   compute.Optimize
	WeightDecay float32 // of weights; biases and scales have none
	ScaleRate   float32 // learned scales and clips: multiple of the learning rate
	ClipDecay   float32 // of learned clips
	MaxNorm     float32 // the gradient's norm is cut to it; 0: never
	// Images that are computed together, the student's batch; 0 is 1. The student's inputs
	// and the tensors of its losses have an image's values in one piece then.
	Images int
	// Threads that a batch uses, and Workers, batches side by side; as in Options.
	Threads, Workers int
	MaxBytes         int
	Beside           int          // bytes that each worker takes of a GPU in the caller's other networks
	Math             compute.Math // as in Options
	// Peers are the other processes that train the same student, each with its share of
	// a step's images; nil: there are none.
	Peers Peers
	// Frozen parameters, by the constant's name, are not trained; nil: none.
	Frozen func(name string) bool
}

// Trainer trains the weights, biases and scales of a Q/DQ graph to give a
// teacher's values at some tensors. It is the graph's forward and backward pass
// for one batch, in as many contexts as batches are computed side by side, and
// around it, once a step, the quantisation of the weights and the optimiser.
//
// Steps with the same data and numbers of images, workers and threads give the same bits.
type Trainer struct {
	n        *Network
	t        *training
	o        TrainOptions
	contexts []*Context
	clear    []*compute.Program // of each context's gradients
	moments  []*compute.Buffer  // of the optimiser, beside the parameters

	thread       systemThread
	before       *compute.Program
	perImages    map[int]*updatePrograms // by the number of images
	workspaces   []*compute.Buffer
	updates      int
	scalesFrozen bool
}

// NewTrainer prepares a student for training. The student is a Q/DQ graph with
// float weights, its shapes inferred at a batch of TrainOptions.Images; what no loss
// depends on is left out. Graphs that cannot be trained through are errors.
func NewTrainer(student *onnx.Model, d *compute.Device, o TrainOptions) (*Trainer, error) {
	return newTrainer(student, d, &training{o: o})
}

func newTrainer(student *onnx.Model, d *compute.Device, t *training) (*Trainer, error) {
	o := &t.o
	o.Threads, o.Images = max(1, o.Threads), max(1, o.Images)
	if o.Workers == 0 {
		o.Workers = DefaultWorkers(d, o.Threads)
	}
	if len(o.Losses) == 0 {
		return nil, fault.Usage(fmt.Errorf("train: no tensor is compared with the teacher"))
	}
	m := student.Clone()
	var names []string
	for _, l := range o.Losses {
		if !slices.Contains(names, l.Tensor) {
			names = append(names, l.Tensor)
		}
	}
	if err := m.Graph.Extract(names); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	n, err := compile(m, d, Options{Threads: o.Threads, Workers: o.Workers, MaxBytes: o.MaxBytes, Math: o.Math}, t)
	if err != nil {
		return nil, err
	}
	tr := &Trainer{n: n, t: t, o: *o, perImages: map[int]*updatePrograms{}}
	if err = tr.fitsWorkers(); err == nil {
		err = tr.allocate()
	}
	if err != nil {
		tr.Close()
		return nil, err
	}
	return tr, nil
}

// memoryUnit is what CUDA rounds an allocation up to.
const memoryUnit = 2 << 20

// fitsWorkers refuses more images at once than a GPU has memory for.
func (tr *Trainer) fitsWorkers() error {
	if tr.n.device.Name() != "cuda" {
		return nil
	}
	free, total, err := tr.n.device.Memory()
	if err != nil {
		return err
	}
	shared := (1+tr.momentCount())*(tr.t.parameterBytes+memoryUnit) + tr.t.derivedBytes + memoryUnit
	each := tr.n.ContextBytes() + 3*memoryUnit + tr.o.Beside
	if free -= forLibraries(total); shared+each*tr.o.Workers <= free {
		return nil
	}
	const mib = 1 << 20
	advice := "not even one fits; a smaller --shape or another --device may"
	fits := max(0, free-shared) * tr.o.Images / each
	if fits > 0 {
		advice = fmt.Sprintf("--threads %d fits", fits)
	}
	return fault.BadInput(&NoRoom{fits, fmt.Sprintf("train: %d images at once take %d MiB of device memory, %d of %d MiB are free: %s",
		tr.o.Workers*tr.o.Images, (shared+each*tr.o.Workers)/mib, free/mib, total/mib, advice)})
}

// momentCount is how many values the optimiser keeps beside each parameter.
func (tr *Trainer) momentCount() int {
	return map[compute.OptimizerKind]int{compute.Momentum: 1, compute.Adam: 2, compute.AdamW: 2}[tr.o.Optimizer.Kind]
}

// allocate makes the memory: parameters at their start, and the contexts.
func (tr *Trainer) allocate() (err error) {
	n, t := tr.n, tr.t
	if n.parameters, err = n.device.Alloc(t.parameterBytes); err != nil {
		return err
	}
	if n.derived, err = n.device.Alloc(t.derivedBytes); err != nil {
		return err
	}
	for _, p := range t.parameters {
		if err := n.parameters.Upload(p.value.offset, p.data); err != nil {
			return err
		}
	}
	if t.scales != nil {
		if err := n.derived.Upload(t.scales.offset, t.initial); err != nil {
			return err
		}
	}
	for range tr.momentCount() {
		m, err := n.device.Alloc(t.parameterBytes)
		if err != nil {
			return err
		}
		tr.moments = append(tr.moments, m)
	}
	for range tr.o.Workers {
		c, err := n.NewContext()
		if err != nil {
			return err
		}
		tr.contexts = append(tr.contexts, c)
	}
	if tr.threads() > 1 {
		tr.thread = startThread()
	}
	for _, c := range tr.contexts {
		all := operand{compute.Tensor{Dims: []int{n.gradientBytes / 4}}, compute.Address{Buffer: c.gradients}}
		s, err := tr.step(compute.Copy{Fill: true}, nil, all)
		if err != nil {
			return err
		}
		p, err := n.device.NewProgram([]compute.Step{s}, tr.o.Threads)
		if err != nil {
			return err
		}
		tr.clear = append(tr.clear, p)
	}
	var before []compute.Step
	for _, s := range t.before {
		before = append(before, tr.contexts[0].step(s))
	}
	tr.before, err = tr.program(before)
	return err
}

// Close frees the trainer's memory.
func (tr *Trainer) Close() {
	tr.thread.stop()
	for _, u := range tr.perImages {
		u.close()
	}
	for _, p := range append(tr.clear, tr.before) {
		if p != nil {
			p.Close()
		}
	}
	for _, c := range tr.contexts {
		c.Close()
	}
	for _, list := range [][]*compute.Buffer{tr.moments, tr.workspaces} {
		for _, b := range list {
			b.Close()
		}
	}
	tr.n.Close()
}

// ContextBytes is the device memory that one image in work takes.
func (tr *Trainer) ContextBytes() int { return tr.n.ContextBytes() }

// SharedBytes is the device memory that all images share: parameters, their
// moments and what is derived from them.
func (tr *Trainer) SharedBytes() int {
	return tr.n.constantBytes + tr.t.derivedBytes + (1+len(tr.moments))*tr.t.parameterBytes
}
