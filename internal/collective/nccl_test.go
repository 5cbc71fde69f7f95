package collective

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trtact/internal/testenv"
)

// free is an address of this machine where nobody listens.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestNCCL: a group by torchrun's variables, over the stand-ins for NCCL and the
// driver in csrc/collective/test, whose processes are threads of one program.
func TestNCCL(t *testing.T) {
	testenv.Libraries(t)
	fakes := filepath.Join(testenv.Root(), "build", "csrc", "collective", "test")
	if os.Getenv("TRTACT_FAKE_NCCL") == "" {
		if _, err := os.Stat(filepath.Join(fakes, "libnccl.so.2")); err != nil {
			t.Skipf("skipped: needs the C++ tests' libraries (`make native`): %v", err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestNCCL$", "-test.v")
		cmd.Env = append(os.Environ(), "TRTACT_FAKE_NCCL=1", "LD_LIBRARY_PATH="+fakes)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	const size = 3
	master := free(t)
	var wg sync.WaitGroup
	for rank := range size {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := torchrun(rank, size, master); err != nil {
				t.Errorf("rank %d: %v", rank, err)
			}
		}()
	}
	wg.Wait()
}

func torchrun(rank, size int, master string) error {
	l := Launch{Rank: rank, Size: size, LocalRank: rank, LocalSize: size, By: "WORLD_SIZE", Master: master}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	g, err := Open(ctx, l, Auto, "cuda", rank)
	if err != nil {
		return err
	}
	defer g.Close()
	if g.Rank() != rank || g.Size() != size || g.Name() != "NCCL (2.28.4)" {
		return fmt.Errorf("rank %d of %d by %s", g.Rank(), g.Size(), g.Name())
	}
	sums := []float64{1, 0.5}
	if err := g.Agree(ctx, nil, sums, nil); err != nil || sums[0] != 3 || sums[1] != 1.5 {
		return fmt.Errorf("sums %v, %v", sums, err)
	}
	data, err := g.Share(ctx, nil, []byte(strings.Repeat("y", 1000)))
	if err != nil || len(data) != 1000 || data[999] != 'y' {
		return fmt.Errorf("%d bytes of rank 0, %v", len(data), err)
	}
	var mine error
	if rank == 2 {
		mine = errors.New("out of film")
	}
	if err := g.Agree(ctx, mine, nil, nil); err == nil || !strings.Contains(err.Error(), "out of film") {
		return fmt.Errorf("the error of rank 2: %v", err)
	}
	if rank == 2 { // it dies
		time.Sleep(50 * time.Millisecond)
		g.Part()
		return nil
	}
	if err := g.Agree(ctx, nil, nil, nil); err == nil || !strings.Contains(err.Error(), "is gone") {
		return fmt.Errorf("after the death of rank 2: %v", err)
	}
	return nil
}

// TestMeet: rank 0 lets no one disturb the meeting, and refuses who does not belong
// to it.
func TestMeet(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	master := free(t)
	zero := Launch{Size: 2, Master: master}
	sent := id{1, 2, 3}
	first := make(chan error, 1)
	go func() {
		k, err := meet(ctx, zero, &sent)
		k.close(true)
		first <- err
	}()
	var dialer net.Dialer
	for {
		c, err := dialer.DialContext(ctx, "tcp", master)
		if err == nil {
			c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			c.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	var got id
	k, err := meet(ctx, Launch{Rank: 1, Size: 2, Master: master}, &got)
	k.close(true)
	if err != nil || got != sent {
		t.Errorf("rank 1: %v, the id %v", err, got[:4])
	}
	if err := <-first; err != nil {
		t.Errorf("rank 0: %v", err)
	}

	zero.Master = free(t)
	go func() {
		_, err := meet(ctx, zero, &sent)
		first <- err
	}()
	if _, err := meet(ctx, Launch{Rank: 2, Size: 3, Master: zero.Master}, &got); err == nil || !strings.Contains(err.Error(), "does not expect rank 2 of 3") {
		t.Errorf("rank 2 of 3: %v", err)
	}
	if err := <-first; err == nil || !strings.Contains(err.Error(), "rank 2 of 3") {
		t.Errorf("rank 0 of 2: %v", err)
	}
	soon, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	if _, err := meet(soon, Launch{Size: 2, Master: free(t)}, &sent); err == nil || !strings.Contains(err.Error(), "not all of 2") {
		t.Errorf("nobody comes: %v", err)
	}
}
