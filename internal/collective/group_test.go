package collective

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// members runs the named part of this test's program as several processes of one
// group, and gives what each printed.
func members(t *testing.T, part string, size int) string {
	t.Helper()
	testenv.MPI(t)
	testenv.Libraries(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := testenv.Mpirun(t, ctx, size, os.Args[0], "-test.run=^TestMember$")
	cmd.Env = append(cmd.Environ(), "TRTACT_MEMBER="+part)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("no end\n%s", out)
	}
	return string(out)
}

// TestMember is one process of a group; alone it does nothing.
func TestMember(t *testing.T) {
	part := os.Getenv("TRTACT_MEMBER")
	if part == "" {
		t.Skip("skipped: the other tests start it in several processes")
	}
	l, err := FromEnv(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	g, err := Open(ctx, l, Auto, "cpu", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if g.Rank() != l.Rank || g.Size() != l.Size || !strings.HasPrefix(g.Name(), "MPI (") {
		t.Errorf("rank %d of %d by %s, started as %d of %d", g.Rank(), g.Size(), g.Name(), l.Rank, l.Size)
	}
	rank := float64(g.Rank())
	switch part {
	case "sums":
		sums := []float64{1, rank, 1e-9}
		if err := g.Agree(ctx, nil, sums, nil); err != nil {
			t.Fatal(err)
		}
		n := float64(g.Size())
		if sums[0] != n || sums[1] != n*(n-1)/2 || math.Abs(sums[2]-n*1e-9) > 1e-20 {
			t.Errorf("sums %v", sums)
		}
		most := []float32{float32(rank), 7, -float32(rank)}
		if err := g.Max(most); err != nil || most[0] != float32(n-1) || most[1] != 7 || most[2] != 0 {
			t.Errorf("maxima %v, %v", most, err)
		}
		data, err := g.Share(ctx, nil, []byte(strings.Repeat("x", 100000*(1-min(1, g.Rank())))))
		if err != nil || len(data) != 100000 {
			t.Errorf("%d bytes of rank 0, %v", len(data), err)
		}
	case "failed":
		var mine error
		switch g.Rank() {
		case 1:
			mine = context.Canceled
		case 2:
			mine = fault.BadInput(errors.New("the file is broken " + strings.Repeat("é", 2000)))
		}
		err := g.Agree(ctx, mine, nil, nil)
		var there *Elsewhere
		if fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "the file is broken") || errors.As(err, &there) != (g.Rank() != 2) {
			t.Errorf("rank %d: %v", g.Rank(), err)
		}
		if !g.Agreed() {
			t.Error("not all know of it")
		}
	case "interrupted":
		var mine error
		if g.Rank() == 1 {
			mine = context.Canceled
		}
		if err := g.Agree(ctx, mine, []float64{1}, nil); !errors.Is(err, context.Canceled) || fault.Code(err) != fault.CodeInterrupted {
			t.Errorf("rank %d: %v", g.Rank(), err)
		}
	case "late": // who waits sleeps, and hears of a cancelled context
		called := 0
		if g.Rank() == 0 {
			time.Sleep(500 * time.Millisecond)
		} else {
			time.AfterFunc(50*time.Millisecond, cancel)
		}
		if err := g.Agree(ctx, nil, nil, func() { called++ }); err != nil || called != min(1, g.Rank()) {
			t.Errorf("rank %d: %v, told %d times", g.Rank(), err, called)
		}
	}
	if !t.Failed() {
		fmt.Printf("rank %d is content\n", g.Rank())
	}
}

// TestGroup: sums, errors and waiting over processes that mpirun starts.
func TestGroup(t *testing.T) {
	for part, size := range map[string]int{"sums": 3, "failed": 3, "interrupted": 2, "late": 2} {
		out := members(t, part, size)
		if strings.Count(out, "is content") != size {
			t.Errorf("%s over %d processes:\n%s", part, size, out)
		}
	}
}

// TestWhenStuck: a call that waits for others ends the process only where it was told
// to end, and not before the call has lasted too long.
func TestWhenStuck(t *testing.T) {
	const limit = 50 * time.Millisecond
	for _, c := range []struct {
		name               string
		waits, cancel, end bool
		want               bool
	}{
		{"in a call, told to end", true, true, false, true},
		{"in a call", true, false, false, false},
		{"in no call", false, true, false, false},
		{"in a call that ends", true, true, true, false},
	} {
		g := &Group{m: &member{}}
		ctx, cancel := context.WithCancel(context.Background())
		said := make(chan error, 1)
		g.whenStuck(ctx, limit, func(err error) { said <- err })
		if c.waits {
			end := g.m.begin()
			if c.end {
				end()
			}
		}
		if c.cancel {
			cancel()
		}
		var err error
		select {
		case err = <-said:
		case <-time.After(6 * limit):
		}
		if (err != nil) != c.want || err != nil && !strings.Contains(err.Error(), "did not answer") {
			t.Errorf("%s: %v", c.name, err)
		}
		g.closed.Store(true)
		cancel()
	}
}
