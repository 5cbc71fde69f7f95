package collective

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// link is a connection of every process to rank 0. Over it goes NCCL's id, once, and
// nothing after that: its end is how the others learn that a process died, which
// NCCL may not tell them.
type link struct {
	launch Launch
	mu     sync.Mutex
	closed bool
	conns  []net.Conn
}

// What a process says first: that it speaks of the same thing, how many they are,
// and who it is. The answer is a byte that says whether it is welcome, and the id.
const greeting = "TRTACT\x00\x01"

const (
	welcome = 1
	refused = 2
	goodbye = 3 // before the end of a link that was meant to end
)

// address is where rank 0 listens: the port of MASTER_PORT, or the next one where
// torchrun's own store answers on it.
func address(host string, port int, taken bool) string {
	if taken {
		port++
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// meet gives the id of rank 0 to all.
func meet(ctx context.Context, l Launch, common *id) (*link, error) {
	k := &link{launch: l}
	var err error
	if l.Rank == 0 {
		err = k.receive(ctx, l, *common)
	} else {
		err = k.call(ctx, l, common)
	}
	if err != nil {
		k.close(false)
		return nil, fmt.Errorf("join the other processes at %s: %w", l.Master, err)
	}
	return k, nil
}

// watch calls lost, from another goroutine, when a process is gone.
func (k *link) watch(lost func(why string)) {
	for i, c := range k.conns {
		who := 0
		if k.launch.Rank == 0 {
			who = i + 1
		}
		go k.await(c, fmt.Sprintf("process %d of %d is gone", who, k.launch.Size), lost)
	}
}

// receive waits for all others and gives them the id.
func (k *link) receive(ctx context.Context, l Launch, common id) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", l.Master)
	if err != nil {
		return err
	}
	defer listener.Close()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	k.conns = make([]net.Conn, l.Size-1)
	for slices.Contains(k.conns, nil) {
		c, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return errors.Join(context.Cause(ctx), fmt.Errorf("not all of %d processes came", l.Size))
			}
			return err
		}
		rank, size, err := greeted(c)
		if err != nil { // somebody else
			c.Close()
			continue
		}
		if size != l.Size || rank < 1 || rank >= l.Size || k.conns[rank-1] != nil {
			c.Write([]byte{refused})
			c.Close()
			return fmt.Errorf("a process came as rank %d of %d, where %d are expected, each once", rank, size, l.Size)
		}
		k.conns[rank-1] = c
	}
	for _, c := range k.conns {
		if _, err := c.Write(append([]byte{welcome}, common[:]...)); err != nil {
			return err
		}
	}
	return nil
}

// greetingTime bounds how long a connection may keep rank 0 waiting.
const greetingTime = 5 * time.Second

func greeted(c net.Conn) (rank, size int, err error) {
	c.SetReadDeadline(time.Now().Add(greetingTime))
	defer c.SetReadDeadline(time.Time{})
	b := make([]byte, len(greeting)+8)
	if _, err := io.ReadFull(c, b); err != nil {
		return 0, 0, err
	}
	if string(b[:len(greeting)]) != greeting {
		return 0, 0, errors.New("no process of this program")
	}
	b = b[len(greeting):]
	return int(binary.LittleEndian.Uint32(b)), int(binary.LittleEndian.Uint32(b[4:])), nil
}

// call asks rank 0 for the id, again until it listens.
func (k *link) call(ctx context.Context, l Launch, common *id) error {
	hello := binary.LittleEndian.AppendUint32([]byte(greeting), uint32(l.Rank))
	hello = binary.LittleEndian.AppendUint32(hello, uint32(l.Size))
	for {
		var dialer net.Dialer
		c, err := dialer.DialContext(ctx, "tcp", l.Master)
		if err == nil {
			k.conns = []net.Conn{c}
			if _, err = c.Write(hello); err != nil {
				return err
			}
			stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })
			answer := make([]byte, 1+len(common))
			n, err := io.ReadFull(c, answer)
			stop()
			switch {
			case n > 0 && answer[0] == refused:
				return fmt.Errorf("rank 0 does not expect rank %d of %d", l.Rank, l.Size)
			case err != nil:
				return fmt.Errorf("rank 0 does not answer: %w", err)
			case answer[0] != welcome:
				return errors.New("something else answers there")
			}
			copy(common[:], answer[1:])
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// await waits for the end of a connection.
func (k *link) await(c net.Conn, why string, lost func(string)) {
	b := make([]byte, 1)
	n, _ := c.Read(b)
	k.mu.Lock()
	defer k.mu.Unlock()
	if n == 1 && b[0] == goodbye || k.closed {
		return
	}
	lost(why)
}

// close ends the link; clean: the others are not to take it for a death.
func (k *link) close(clean bool) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for _, c := range k.conns {
		if c != nil {
			if clean {
				c.Write([]byte{goodbye})
			}
			c.Close()
		}
	}
}
