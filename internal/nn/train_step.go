package nn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"trtact/internal/compute"
	"trtact/internal/onnx"
	"trtact/internal/parallel"
)

// Feed is where one image's data goes. It belongs to the call it is given to.
type Feed struct {
	c     *Context
	t     *training
	image int // of those that the context computes together
}

// Images is how many images are computed together: TrainOptions.Images.
func (f *Feed) Images() int { return f.t.o.Images }

// Image is where the data of another of these images goes, counted from 0.
func (f *Feed) Image(i int) *Feed { return &Feed{f.c, f.t, i} }

// SetInput gives an input its row-major values.
func (f *Feed) SetInput(name string, values []float32) error {
	to, bytes, err := f.Input(name)
	if err != nil {
		return err
	}
	if 4*len(values) != bytes {
		return fmt.Errorf("set input %q: %d values instead of %d", name, len(values), bytes/4)
	}
	return to.Buffer.Upload(to.At, values)
}

// CopyInput is SetInput with values that are on the device already.
func (f *Feed) CopyInput(name string, from compute.Address) error {
	to, bytes, err := f.Input(name)
	if err != nil {
		return err
	}
	return to.Buffer.Copy(to.At, from, bytes)
}

// SetTensor gives an input of any type its value; of one that is not float32 all images
// computed together have the same.
func (f *Feed) SetTensor(name string, t *onnx.Tensor) error {
	if t.Type == onnx.Float {
		return f.SetInput(name, t.Floats())
	}
	return f.c.SetTensor(name, t)
}

// SetTarget gives the teacher's row-major values at the tensor of loss k.
func (f *Feed) SetTarget(k int, values []float32) error {
	to, bytes := f.place(f.t.targets[k])
	if 4*len(values) != bytes {
		return fmt.Errorf("set target %q: %d values instead of %d", f.t.o.Losses[k].Tensor, len(values), bytes/4)
	}
	return to.Buffer.Upload(to.At, values)
}

// CopyTarget is SetTarget with values that are on the device already.
func (f *Feed) CopyTarget(k int, from compute.Address) error {
	to, bytes := f.place(f.t.targets[k])
	return to.Buffer.Copy(to.At, from, bytes)
}

// Input is where a float32 input's values lie until the images are computed, and their
// size in bytes.
func (f *Feed) Input(name string) (compute.Address, int, error) {
	v, err := f.c.n.value(name)
	if err != nil {
		return compute.Address{}, 0, err
	}
	if v.plain == nil {
		return compute.Address{}, 0, fmt.Errorf("set input %q: it is %v, not float32", name, v.info.Type)
	}
	a, bytes := f.place(v.plain)
	return a, bytes, nil
}

// place is where an image's part of a tensor lies, and its size.
func (f *Feed) place(t *tensor) (compute.Address, int) {
	a := f.c.address(t)
	bytes := 4 * t.desc.Len() / f.t.o.Images
	a.At += f.image * bytes
	return a, bytes
}

// StepResult is what a step found before its update.
type StepResult struct {
	// Losses are those of TrainOptions.Losses, means over the images without
	// weights; AboveFloor the same less what they are at best.
	Losses, AboveFloor []float64
	// Norm is the length of the gradient by all parameters.
	Norm float64
}

// ErrNotFinite is a step's answer when a loss or the gradient was NaN or
// infinite. Nothing has changed then.
var ErrNotFinite = errors.New("the loss or its gradient is not finite")

// Step makes one update with the mean gradient of some images, a multiple of
// TrainOptions.Images, and of as many of each of the peers. feed is called for each of
// this process's groups of so many, with the number of its first image, from as many
// goroutines as there are workers; an error, or the end of ctx, here or at a peer,
// leaves everything as it was.
func (tr *Trainer) Step(ctx context.Context, images int, rate float64, feed func(i int, in *Feed) error) (StepResult, error) {
	r := StepResult{Losses: make([]float64, len(tr.t.losses)), AboveFloor: make([]float64, len(tr.t.losses))}
	if images%tr.o.Images != 0 {
		return r, fmt.Errorf("train: a step of %d images, computed %d at a time", images, tr.o.Images)
	}
	if err := tr.runBefore(); err != nil {
		return r, err
	}
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Group i is always worker i mod n's, so that sums have one order.
	sums := make([][]float64, len(tr.contexts))
	parallel.Workers(len(tr.contexts), func(k int) {
		var err error
		if sums[k], err = tr.share(ctx, tr.contexts[k], k, images, feed); err != nil {
			cancel(err)
		}
	})
	total := make([]float64, 2*len(tr.t.losses))
	for _, s := range sums {
		for i := range s { // none of a worker that failed
			total[i] += s[i]
		}
	}
	err := context.Cause(ctx)
	if p := tr.o.Peers; p != nil {
		err = p.Agree(outer, err, total)
		images *= p.Size()
	}
	if err != nil {
		return r, err
	}
	for i := range r.Losses {
		r.Losses[i] = total[2*i] / float64(images)
		r.AboveFloor[i] = total[2*i+1] / float64(images)
	}
	return r, tr.update(images, rate, &r)
}

// share computes the gradients of worker k's images and the sums of their losses.
func (tr *Trainer) share(ctx context.Context, c *Context, k, images int, feed func(int, *Feed) error) ([]float64, error) {
	sums := make([]float64, 2*len(tr.t.losses))
	if err := c.thread.do(func() error { return tr.clear[k].Run(0, 1) }); err != nil {
		return nil, err
	}
	together := tr.o.Images
	for i := k * together; i < images; i += together * len(tr.contexts) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := feed(i, &Feed{c, tr.t, 0}); err != nil {
			return nil, err
		}
		if err := c.Run(); err != nil {
			return nil, err
		}
		for l, t := range tr.t.losses {
			var v [2]float32
			a := c.address(t)
			if err := a.Buffer.Download(a.At, v[:]); err != nil {
				return nil, err
			}
			sums[2*l] += float64(v[0]) * float64(together)
			sums[2*l+1] += float64(v[1]) * float64(together)
		}
	}
	return sums, nil
}

// update brings the gradients of all images together and changes the parameters, which
// the device leaves as they are where the gradient is not finite.
func (tr *Trainer) update(images int, rate float64, r *StepResult) error {
	u, err := tr.updateFor(images)
	if err != nil {
		return err
	}
	sick := slices.ContainsFunc(r.Losses, func(l float64) bool { return math.IsNaN(l) || math.IsInf(l, 0) })
	if tr.o.Peers != nil || sick { // all gradients are wanted together before the rest, or instead
		if err := tr.run(u.gather); err != nil {
			return err
		}
	}
	if p := tr.o.Peers; p != nil {
		if err := p.SumBuffer(tr.contexts[0].gradients, 0, tr.t.parameterBytes/4); err != nil {
			return err
		}
	}
	if sick {
		return ErrNotFinite
	}
	if err := tr.n.derived.Upload(tr.t.control.offset, []float32{float32(rate), float32(tr.updates + 1)}); err != nil {
		return err
	}
	change := u.change
	if tr.scalesFrozen {
		change = u.changeWeights
	}
	if err := tr.run(change); err != nil {
		return err
	}
	var norm [2]float32
	if err := tr.n.derived.Download(tr.t.norm.offset, norm[:]); err != nil {
		return err
	}
	r.Norm = float64(norm[0])
	if math.IsNaN(r.Norm) || math.IsInf(r.Norm, 0) {
		return ErrNotFinite
	}
	tr.updates++
	return nil
}

func (tr *Trainer) runBefore() error { return tr.run(tr.before) }

func (tr *Trainer) run(p *compute.Program) error {
	return tr.thread.do(func() error { return p.Run(0, p.Len()) })
}

// updatePrograms is what follows a number of images: gradients of all contexts into
// one, back through the weights' quantisers, the norm, and the parameters.
type updatePrograms struct {
	gather                *compute.Program // the first alone
	change, changeWeights *compute.Program // all, or with peers what follows; the latter with frozen scales
}

func (u *updatePrograms) close() {
	for _, p := range []*compute.Program{u.gather, u.change, u.changeWeights} {
		if p != nil {
			p.Close()
		}
	}
}

func (tr *Trainer) updateFor(images int) (*updatePrograms, error) {
	if u := tr.perImages[images]; u != nil {
		return u, nil
	}
	u := &updatePrograms{}
	if err := tr.planUpdate(images, u); err != nil {
		u.close()
		return nil, err
	}
	tr.perImages[images] = u
	return u, nil
}

func (tr *Trainer) planUpdate(images int, u *updatePrograms) error {
	t, c := tr.t, tr.contexts[0]
	vector := func(b *compute.Buffer) operand {
		return operand{compute.Tensor{Dims: []int{t.parameterBytes / 4}}, compute.Address{Buffer: b}}
	}
	small := func(x *tensor) operand { return operand{x.desc, c.address(x)} }
	gradients := vector(c.gradients)
	var steps []compute.Step
	if len(tr.contexts) > 1 {
		var others []operand
		for _, other := range tr.contexts[1:] {
			others = append(others, vector(other.gradients))
		}
		s, err := tr.step(compute.Sum{Accumulate: true}, others, gradients)
		if err != nil {
			return err
		}
		steps = append(steps, s)
	}
	var err error
	if u.gather, err = tr.program(steps); err != nil {
		return err
	}
	if tr.o.Peers != nil {
		steps = nil
	}
	for _, s := range t.after {
		steps = append(steps, c.step(s))
	}
	s, err := tr.step(compute.GradientNorm{Scale: 1 / float32(images), MaxNorm: tr.o.MaxNorm}, []operand{gradients}, small(t.norm))
	if err != nil {
		return err
	}
	steps = append(steps, s)
	changed := []operand{vector(tr.n.parameters)}
	for _, m := range tr.moments {
		changed = append(changed, vector(m))
	}
	for _, to := range []struct {
		frozen  bool
		program **compute.Program
	}{{false, &u.change}, {true, &u.changeWeights}} {
		s, err := tr.step(t.optimizer(to.frozen), []operand{gradients, small(t.control), small(t.norm)}, changed...)
		if err != nil {
			return err
		}
		if *to.program, err = tr.program(append(slices.Clip(steps), s)); err != nil {
			return err
		}
	}
	return nil
}

// operand is a tensor with its place.
type operand struct {
	desc compute.Tensor
	at   compute.Address
}

// step makes an operator of the trainer's own.
func (tr *Trainer) step(p compute.Params, in []operand, out ...operand) (compute.Step, error) {
	desc := compute.OpDesc{Params: p, Threads: tr.threads()}
	var s compute.Step
	for _, o := range in {
		desc.Inputs, s.Inputs = append(desc.Inputs, o.desc), append(s.Inputs, o.at)
	}
	for _, o := range out {
		desc.Outputs, s.Outputs = append(desc.Outputs, o.desc), append(s.Outputs, o.at)
	}
	op, err := tr.n.device.NewOp(desc)
	if err != nil {
		return s, err
	}
	tr.n.ops = append(tr.n.ops, op)
	s.Op = op
	if bytes := op.Workspace(); bytes > 0 {
		buffer, err := tr.n.device.Alloc(bytes)
		if err != nil {
			return s, err
		}
		tr.workspaces = append(tr.workspaces, buffer)
		s.Workspace = compute.Address{Buffer: buffer}
	}
	return s, nil
}

func (tr *Trainer) program(steps []compute.Step) (*compute.Program, error) {
	return tr.n.device.NewProgram(steps, tr.threads())
}

// threads is how many may work between the images.
func (tr *Trainer) threads() int { return tr.o.Threads * tr.o.Workers }
