package qat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trtact/internal/collective"
	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/testenv"
)

// What two processes leave for the test that started them.
type left struct {
	Model []byte
	Curve []Point
	Best  float64
}

// memberRun is the run of one of two processes, or of one that does both shares.
func memberRun(t *testing.T, q Quantizer, ranks int) Run {
	r := sample(t)
	o := &r.Options
	o.Quantizer, o.Steps, o.EvalEvery, o.CheckpointEvery = q, 8, 4, 3
	o.Batch, o.Workers, o.Threads = 4/ranks, 2/ranks, 1
	return r
}

func leave(t *testing.T, name string, o *Outcome) {
	data, err := json.Marshal(left{marshal(t, o), o.Curve, o.Best})
	if err == nil {
		err = os.WriteFile(filepath.Join(os.Getenv("TRTACT_MEMBER_DIR"), name), data, 0o600)
	}
	if err != nil {
		t.Error(err)
	}
}

func found(t *testing.T, dir, name string) (l left) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// start runs TestMember as two processes and gives what they printed.
func start(t *testing.T, part, dir string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := testenv.Mpirun(t, ctx, 2, os.Args[0], "-test.run=^TestMember$")
	cmd.Env = append(cmd.Environ(), "TRTACT_MEMBER="+part, "TRTACT_MEMBER_DIR="+dir, "GOMAXPROCS=2")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%v, %v\n%s", err, ctx.Err(), out)
	}
	return string(out)
}

// TestMember is one of two processes; alone it does nothing.
func TestMember(t *testing.T) {
	part, dir := os.Getenv("TRTACT_MEMBER"), os.Getenv("TRTACT_MEMBER_DIR")
	if part == "" {
		t.Skip("skipped: the other tests start it in several processes")
	}
	l, err := collective.FromEnv(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	g, err := collective.Open(context.Background(), l, collective.Auto, "cpu", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	train := func(r Run) *Outcome {
		r.Group = g
		o, err := Distil(context.Background(), r)
		if err != nil {
			t.Fatalf("rank %d: %v", g.Rank(), err)
		}
		return o
	}
	switch part {
	case "killed":
		r := memberRun(t, LSQ, 2)
		r.Dir = dir
		r.Progress = func(p Progress) {
			if p.Step == 5 && g.Rank() == 1 {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}
		train(r)
		t.Error("it was not killed")
	case "resumed":
		r := memberRun(t, LSQ, 2)
		r.Dir, r.Resume = dir, true
		o := train(r)
		if o.Resumed < 3 {
			t.Errorf("it went on from step %d", o.Resumed)
		}
		if g.Rank() == 0 {
			leave(t, "resumed", o)
		}
	case "equal":
		for _, q := range []Quantizer{LSQ, MovingAverage} {
			if o := train(memberRun(t, q, 2)); g.Rank() == 0 {
				leave(t, string(q), o)
			}
		}
		t.Run("measured", func(t *testing.T) {
			r, asked := memberRun(t, LSQ, 2), 0
			r.Evaluate = func(context.Context, *onnx.Model) (float64, error) {
				asked++
				return 0.25 * float64(asked), nil
			}
			o := train(r)
			if g.Rank() == 0 && asked != 3 || g.Rank() != 0 && asked != 0 || o.Start != 0.25 || o.Best != 0.75 || o.BestStep != 8 {
				t.Errorf("rank %d measured %d times, start %v, best %v at step %d", g.Rank(), asked, o.Start, o.Best, o.BestStep)
			}
		})
		t.Run("interrupted", func(t *testing.T) { // one of the two, and then gone on with
			r := memberRun(t, LSQ, 2)
			r.Group, r.Dir, r.Resume = g, filepath.Join(dir, "interrupted"), true
			ctx, cancel := context.WithCancel(context.Background())
			r.Progress = func(p Progress) {
				if p.Step == 5 && g.Rank() == 1 {
					cancel()
				}
			}
			if _, err := Distil(ctx, r); !errors.Is(err, context.Canceled) {
				t.Errorf("rank %d: %v", g.Rank(), err)
			}
			cancel()
			r.Progress = nil
			o := train(r)
			if o.Resumed != 5 {
				t.Errorf("rank %d went on from step %d", g.Rank(), o.Resumed)
			}
			if g.Rank() == 0 {
				leave(t, "interrupted-result", o)
			}
		})
		t.Run("refused", func(t *testing.T) {
			for _, c := range []struct {
				words  string
				change func(*Run)
			}{
				{"model", func(r *Run) {
					for _, w := range r.Model.Graph.Init {
						if v, ok := w.Data.([]float32); ok && len(v) > 100 {
							v[0] += 1e-3
							break
						}
					}
				}},
				{"options", func(r *Run) { r.Options.Seed = 5 }},
				{"pictures", func(r *Run) { r.Samples = scenes{n: 11, size: r.Samples.(scenes).size} }},
			} {
				r := memberRun(t, LSQ, 2)
				r.Group = g
				if g.Rank() == 1 {
					c.change(&r)
				}
				if _, err := Distil(context.Background(), r); fault.Code(err) != fault.CodeUsage || !strings.Contains(err.Error(), c.words) {
					t.Errorf("rank %d, other %s: %v", g.Rank(), c.words, err)
				}
			}
			r := memberRun(t, LSQ, 2)
			s := r.Samples.(scenes)
			if g.Rank() == 1 {
				s.broken = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
			}
			r.Group, r.Samples = g, s
			if _, err := Distil(context.Background(), r); fault.Code(err) != fault.CodeBadInput {
				t.Errorf("rank %d, one cannot read: %v", g.Rank(), err)
			}
		})
	}
	if !t.Failed() {
		fmt.Println("content")
	}
}

// TestTwoProcesses: two processes with half a batch each make the steps of one with
// the whole batch, to the bit where it adds up in the same two halves and to
// rounding where it does not. One that is interrupted ends both, and both go on
// together.
func TestTwoProcesses(t *testing.T) {
	testenv.MPI(t)
	dir := t.TempDir()
	if out := start(t, "equal", dir); strings.Count(out, "content") != 2 {
		t.Fatalf("the two processes:\n%s", out)
	}
	for _, q := range []Quantizer{LSQ, MovingAverage} {
		two := found(t, dir, string(q))
		one, err := Distil(context.Background(), memberRun(t, q, 1))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(two.Model, marshal(t, one)) || two.Best != one.Best {
			t.Errorf("%s: another model than by one process, best loss %v and %v", q, two.Best, one.Best)
		}
		if q == LSQ && !bytes.Equal(found(t, dir, "interrupted-result").Model, two.Model) {
			t.Error("interrupted and resumed: another model")
		}
		r := memberRun(t, q, 1)
		r.Options.Workers = 1 // adds up in another order
		other, err := Distil(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range two.Curve {
			if w := one.Curve[i]; p.Loss != w.Loss {
				t.Errorf("%s: step %d has loss %v over two processes, %v in one", q, p.Step, p.Loss, w.Loss)
			}
			// Rounding grows from step to step where activations are quantised.
			if w := other.Curve[i]; i < 4 && math.Abs(p.Loss-w.Loss) > 1e-2*w.Loss {
				t.Errorf("%s: step %d has loss %v over two processes, %v with one worker", q, p.Step, p.Loss, w.Loss)
			}
		}
	}
	r := memberRun(t, LSQ, 2)
	r.Dir, r.Resume, r.Insist = filepath.Join(dir, "interrupted"), true, true
	if _, err := Distil(context.Background(), r); fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "over 2 processes, this is one over one process") {
		t.Errorf("the checkpoint of two processes in one: %v", err)
	}
}

// TestKilledProcess: one process that is killed ends the other, the checkpoint is
// kept, and two go on to the bits of an unbroken run.
func TestKilledProcess(t *testing.T) {
	testenv.MPI(t)
	dir := t.TempDir()
	if out := start(t, "killed", dir); strings.Contains(out, "content") || strings.Contains(out, "FAIL") {
		t.Fatalf("the two processes:\n%s", out)
	}
	c, err := ReadCheckpoint(filepath.Join(dir, CheckpointName))
	if err != nil || c.Ranks != 2 || c.Step < 3 || c.Step > 5 {
		t.Fatalf("the checkpoint: %+v, %v", c, err)
	}
	if out := start(t, "resumed", dir); strings.Count(out, "content") != 2 {
		t.Fatalf("the two processes:\n%s", out)
	}
	one, err := Distil(context.Background(), memberRun(t, LSQ, 1))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(found(t, dir, "resumed").Model, marshal(t, one)) {
		t.Error("killed and resumed: another model")
	}
}
