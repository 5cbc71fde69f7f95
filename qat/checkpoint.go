// Checkpoints: everything that a run needs to go on to the very result of an
// unbroken one. The file is
//
//	magic "TRTACTCK", version uint32, length of the head uint32, head (JSON),
//	floats of the state now, floats of the best state, observer's bytes,
//	sha256 of all before it
//
// little endian, the lengths of the parts in the head. It is written under a
// temporary name and renamed.
package qat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"

	"trtact/internal/atomicfile"
	"trtact/internal/fault"
)

// CheckpointName is the file's name in Run.Dir.
const CheckpointName = "checkpoint"

const (
	checkpointMagic   = "TRTACTCK"
	checkpointVersion = 1
	mostHead          = 1 << 30
)

// Checkpoint is what a checkpoint's file says of its run.
type Checkpoint struct {
	// Run is a hash of what determines the run: model, plan, options, samples.
	Run      string  `json:"run"`
	Model    string  `json:"model"`           // its name
	Ranks    int     `json:"ranks,omitempty"` // processes; 0: one
	Step     int     `json:"step"`            // done
	Steps    int     `json:"steps"`
	Judge    Judge   `json:"judge"`
	Start    float64 `json:"start"`
	Best     float64 `json:"best"`
	BestStep int     `json:"best_step"`
	Worse    int     `json:"worse"` // measurements since the best
	Ending   Ending  `json:"ending,omitempty"`
	Nodes    []Node  `json:"nodes"`
	Curve    []Point `json:"curve"`

	StateValues   int `json:"state_values"`
	ObserverBytes int `json:"observer_bytes"`

	Losses []float64 `json:"health_losses"`
	Lowest float64   `json:"health_lowest"`

	state, best []float32
	observer    []byte
}

// IsCheckpoint tells a checkpoint by the first bytes of its file.
func IsCheckpoint(start []byte) bool { return bytes.HasPrefix(start, []byte(checkpointMagic)) }

// ReadCheckpoint reads and checks a checkpoint. Fails with fault.BadInput on a
// damaged file, and with fs.ErrNotExist when there is none.
func ReadCheckpoint(path string) (*Checkpoint, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return namedCheckpoint(path, data)
}

// namedCheckpoint is what a file's bytes say.
func namedCheckpoint(path string, data []byte) (*Checkpoint, error) {
	c, err := parseCheckpoint(data)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("checkpoint %s: %w", path, err))
	}
	return c, nil
}

func parseCheckpoint(data []byte) (*Checkpoint, error) {
	const fixed = len(checkpointMagic) + 8
	if len(data) < fixed+sha256.Size || string(data[:len(checkpointMagic)]) != checkpointMagic {
		return nil, errors.New("it is not a checkpoint of this program")
	}
	if v := binary.LittleEndian.Uint32(data[len(checkpointMagic):]); v != checkpointVersion {
		return nil, fmt.Errorf("it has version %d, this program reads %d", v, checkpointVersion)
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if want := sha256.Sum256(body); !bytes.Equal(sum, want[:]) {
		return nil, errors.New("its checksum is wrong: the file is damaged")
	}
	head := int(binary.LittleEndian.Uint32(data[len(checkpointMagic)+4:]))
	rest := body[fixed:]
	if head > mostHead || head > len(rest) {
		return nil, errors.New("its head is longer than the file")
	}
	c := &Checkpoint{}
	if err := json.Unmarshal(rest[:head], c); err != nil {
		return nil, fmt.Errorf("its head: %w", err)
	}
	rest = rest[head:]
	n, o := c.StateValues, c.ObserverBytes
	if n < 0 || o < 0 || n > len(rest)/8 || len(rest) != 8*n+o {
		return nil, errors.New("its parts do not add up to its length")
	}
	c.state, c.best, c.observer = floats(rest[:4*n]), floats(rest[4*n:8*n]), rest[8*n:]
	return c, nil
}

func floats(b []byte) []float32 {
	list := make([]float32, len(b)/4)
	for i := range list {
		list[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return list
}

func (c *Checkpoint) write(path string) error {
	c.StateValues, c.ObserverBytes = len(c.state), len(c.observer)
	head, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("checkpoint %s: %w", path, err)
	}
	return atomicfile.WriteFunc(path, func(w io.Writer) error {
		sum := sha256.New()
		out := io.MultiWriter(w, sum)
		b := append([]byte(checkpointMagic), 0, 0, 0, 0, 0, 0, 0, 0)
		binary.LittleEndian.PutUint32(b[len(checkpointMagic):], checkpointVersion)
		binary.LittleEndian.PutUint32(b[len(checkpointMagic)+4:], uint32(len(head)))
		b = append(b, head...)
		for _, list := range [][]float32{c.state, c.best} {
			for _, v := range list {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
			}
		}
		if _, err := out.Write(append(b, c.observer...)); err != nil {
			return err
		}
		_, err := w.Write(sum.Sum(nil))
		return err
	})
}

// identity is a hash of what determines a run's result.
func (r *Run) identity(s split) (string, error) {
	h := sha256.New()
	model, err := r.Model.Marshal()
	if err != nil {
		return "", err
	}
	o := r.Options
	o.CacheBytes, o.CheckpointEvery = 0, 0 // these change nothing
	o.Workers, o.Threads = s.workers, s.threads
	// The text, as it is the same before it was written and after it was read.
	plan, err := r.Plan.JSON()
	if err != nil {
		return "", err
	}
	facts, err := json.Marshal(struct {
		Options  Options
		Together int
		Metric   bool
		Device   string
	}{o, s.images, r.Evaluate != nil, r.Device.Version()})
	if err != nil {
		return "", err
	}
	h.Write(model)
	h.Write(plan)
	h.Write(facts)
	for i := range r.Samples.Len() {
		fmt.Fprintf(h, "%q\n", filepath.Base(r.Samples.Name(i)))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// resume reads the checkpoint of the run in rank 0's folder, nil when there is none.
func (r *Run) resume(ctx context.Context, identity string) (*Checkpoint, error) {
	path := filepath.Join(r.Dir, CheckpointName)
	var data []byte
	var err error
	if r.Dir != "" && r.Resume && r.rank() == 0 {
		if data, err = os.ReadFile(path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if data, err = r.share(ctx, err, data); err != nil || len(data) == 0 {
		return nil, err
	}
	c, err := namedCheckpoint(path, data)
	if err != nil {
		return nil, err
	}
	problem := ""
	if was, is := max(1, c.Ranks), r.ranks(); was != is {
		problem = fmt.Sprintf("of a training over %s, this is one over %s", processes(was), processes(is))
	} else if c.Run != identity {
		problem = "of another run (model, plan, options, samples or processor differ)"
	}
	switch {
	case problem != "" && r.Insist:
		return nil, fault.BadInput(fmt.Errorf("checkpoint %s: it is %s: start anew without --resume, or in another folder", path, problem))
	case problem != "":
		slog.Warn(fmt.Sprintf("checkpoint %s is %s: training starts anew", path, problem))
		return nil, nil
	}
	return c, nil
}

func processes(n int) string {
	if n == 1 {
		return "one process"
	}
	return fmt.Sprintf("%d processes", n)
}
