// A run over several processes. All of them go through it alike, each with its share
// of every step's images; what one alone finds out (a measurement, an error, Ctrl-C,
// the checkpoint on disk) is told to the others before anybody acts on it.
package qat

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"

	"trtact/internal/collective"
	"trtact/internal/compute"
	"trtact/internal/fault"
)

// peers is a run's group as package nn wants it. All methods but nn's work without a
// group: then this process is the only one.
type peers struct {
	*collective.Group
	// whenCancelled saves what there is while the others are waited for: whoever ends
	// the processes may not wait.
	whenCancelled func()
}

func (p peers) Agree(ctx context.Context, err error, sums []float64) error {
	return p.Group.Agree(ctx, err, sums, p.whenCancelled)
}

func (p peers) SumBuffer(b *compute.Buffer, at, count int) error {
	return p.Group.SumBuffer(b, at, count)
}

// rank is this process's number in the run, and ranks how many there are.
func (r *Run) rank() int {
	if r.Group == nil {
		return 0
	}
	return r.Group.Rank()
}

func (r *Run) ranks() int {
	if r.Group == nil {
		return 1
	}
	return r.Group.Size()
}

// agree is Group.Agree, and for a single process the error itself.
func (r *Run) agree(ctx context.Context, err error, sums []float64) error {
	if r.Group == nil {
		return err
	}
	return r.Group.Agree(ctx, err, sums, nil)
}

// share gives rank 0's bytes to all, and an error of any.
func (r *Run) share(ctx context.Context, err error, data []byte) ([]byte, error) {
	if r.Group == nil {
		return data, err
	}
	return r.Group.Share(ctx, err, data)
}

// meet makes sure that all processes have prepared the same run.
func (r *Run) meet(ctx context.Context, err error) error {
	if r.Group == nil {
		return err
	}
	var mine []fact
	if err == nil {
		mine, err = r.facts()
	}
	data, _ := json.Marshal(mine)
	data, err = r.Group.Share(ctx, err, data)
	if err != nil {
		return err
	}
	var first []fact
	if err = json.Unmarshal(data, &first); err == nil {
		for i, f := range mine {
			if i >= len(first) || first[i] != f {
				err = fault.Usage(fmt.Errorf("its %s not those of process 0: start all processes with the same model, pictures and program, on processors of one kind", f.Name))
				break
			}
		}
	}
	return r.Group.Agree(ctx, err, nil, nil)
}

// fact is a part of what determines a run, for telling which part differs.
type fact struct{ Name, Hash string }

func (r *Run) facts() ([]fact, error) {
	model, err := r.Model.Marshal()
	if err != nil {
		return nil, err
	}
	options, err := json.Marshal(struct {
		Plan    any
		Options Options
		Metric  bool
	}{r.Plan, r.Options, r.Evaluate != nil})
	if err != nil {
		return nil, err
	}
	samples := sha256.New()
	for i := range r.Samples.Len() {
		fmt.Fprintf(samples, "%q\n", filepath.Base(r.Samples.Name(i)))
	}
	hash := func(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }
	return []fact{
		{"model's graph and weights are", hash(model)},
		{"pictures are", fmt.Sprintf("%x", samples.Sum(nil))},
		{"options are", hash(options)},
		{"processor's instructions or its compute library are", r.Device.Version()},
	}, nil
}

// shareBad makes the samples that one process could not read known to all, so that
// they are counted together.
func (t *training) shareBad(ctx context.Context) error {
	if t.r.Group == nil {
		return nil
	}
	f := t.feeder
	marks := make([]float64, f.samples.Len())
	for _, id := range f.badNumbers() {
		marks[id] = 1
	}
	if err := t.r.agree(ctx, nil, marks); err != nil {
		return err
	}
	var failed error
	for id, mark := range marks {
		if mark == 0 || f.isBad(id) || failed != nil {
			continue
		}
		if _, err := f.samples.Read(id); fault.Code(err) == fault.CodeBadInput {
			failed = f.leaveOut(id, err)
		}
	}
	return t.r.agree(ctx, failed, nil)
}
