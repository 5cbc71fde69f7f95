// Package nn runs an ONNX graph on a compute device.
//
// Compile turns the graph into a list of operators for fixed shapes, decides
// every tensor's layout (convolution chains stay in the device's blocked layout,
// what reshapes or transposes is row-major) and plans the memory: one arena in
// which tensors share addresses when they are not alive at the same time. A
// Network is that plan with the packed constants; it does not change and may be
// shared. A Context is an arena with the plan's addresses filled in: one
// goroutine runs one image at a time in it.
//
// Two ways to use several cores: many contexts with one thread each (calibration,
// evaluation: no barriers, so a busy neighbour costs only its share), or one
// context with several threads (latency of a single image).
//
// Q/DQ pairs are computed as an INT8 engine does: the quantised operand is kept
// as integer-valued floats, so a convolution's sums are exact, and the scales are
// applied once to the result.
//
// An operator with tensors other than float32, or that the device does not have,
// is computed in Go by internal/onnx/host.
package nn

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"trtact/internal/compute"
	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/simplify"
	"trtact/internal/parallel"
)

// Options say how a graph is compiled.
type Options struct {
	// Outputs are tensors, besides the graph's outputs, that can be read after
	// a run.
	Outputs []string
	// Threads that one run uses; 0 is 1.
	Threads int
	// Workers is how many contexts ForEach runs side by side; 0 is one for each
	// core that Threads leaves.
	Workers int
	// Math of convolutions and matrix products on a GPU.
	Math compute.Math
	// Plain makes what can be read row-major on the device, which is faster than
	// when it is read.
	Plain bool
	// KeepAll keeps every tensor's memory until the end of the run.
	KeepAll bool
	// MaxBytes is the memory that one context may take; 0 is what the machine
	// has.
	MaxBytes int
}

// Network is a graph compiled for one device and one set of shapes.
type Network struct {
	device  *compute.Device
	options Options
	inputs  []onnx.Value
	outputs []onnx.Value
	values  map[string]*value // what can be read or written by name
	steps   []step
	ops     []*compute.Op
	// constants that operators read at run time
	constants      *compute.Buffer
	constantBytes  int
	arenaBytes     int
	workspaceBytes int
	// of a trainer
	parameters, derived *compute.Buffer
	gradientBytes       int

	mu   sync.Mutex
	free []*Context // kept by ForEach for the next call
}

// Compile prepares m's graph for a device. Shapes must have been inferred. The
// model is not changed or kept. An operator or a form of it that cannot be run, and
// a context beyond Options.MaxBytes, are errors.
func Compile(m *onnx.Model, d *compute.Device, o Options) (*Network, error) {
	return compile(m, d, o, nil)
}

// compile also adds the gradients when t is not nil.
func compile(m *onnx.Model, d *compute.Device, o Options, t *training) (n *Network, err error) {
	o.Threads = max(1, o.Threads)
	if o.Workers == 0 {
		o.Workers = DefaultWorkers(d, o.Threads)
	}
	keep := map[string]bool{}
	for _, name := range o.Outputs {
		keep[name] = true
	}
	for _, v := range m.Graph.Outputs {
		keep[v.Name] = true
	}
	var b *builder
	defer func() {
		// The graph is hostile: should a lowering trip over a combination that
		// nobody thought of, the file is refused rather than the program stopped.
		if r := recover(); r != nil {
			err = fault.BadInput(fmt.Errorf("compile: %w: %v", errUnforeseen, r))
			if b != nil && b.node != nil {
				err = fault.BadInput(fmt.Errorf("compile: node %q (%s): %w: %v", b.node.Name, b.node.Op, errUnforeseen, r))
			}
		}
		if err != nil && b != nil {
			b.close()
			n = nil
		}
	}()
	b = newBuilder(simplify.Fuse(m.Graph, keep), m.Opset, d, o, keep)
	b.training = t
	return b.build()
}

// DefaultWorkers is how many runs are side by side on a device when nobody says, each on so
// many threads: one for each core's share, or a few on a GPU, whose kernels overlap.
func DefaultWorkers(d *compute.Device, threads int) int {
	if d.Name() != "cpu" {
		return 4
	}
	return max(1, runtime.GOMAXPROCS(0)/threads)
}

var errUnforeseen = errors.New("the executor cannot handle this form")

// Close frees the network and the contexts it keeps.
func (n *Network) Close() {
	for _, c := range n.free {
		c.Close()
	}
	n.free = nil
	for _, op := range n.ops {
		op.Close()
	}
	n.ops = nil
	n.constants.Close()
	n.parameters.Close()
	n.derived.Close()
}

// Inputs are the graph's inputs with their shapes.
func (n *Network) Inputs() []onnx.Value { return n.inputs }

// Outputs are the graph's outputs with their shapes.
func (n *Network) Outputs() []onnx.Value { return n.outputs }

// ContextBytes is the device memory that one context takes.
func (n *Network) ContextBytes() int { return n.arenaBytes + n.workspaceBytes + n.gradientBytes }

// ForEach calls f for every i below count, on as many contexts side by side as
// Options.Workers says. Calls run in no certain order. The first error, or the
// end of ctx, stops the rest and is returned.
func (n *Network) ForEach(ctx context.Context, count int, f func(c *Context, i int) error) error {
	workers := min(n.options.Workers, count)
	idle := make(chan *Context, max(0, workers))
	for range workers {
		c, err := n.takeContext()
		if err != nil {
			return err
		}
		defer n.giveContext(c)
		idle <- c
	}
	return parallel.Each(ctx, workers, count, func(_ context.Context, i int) error {
		c := <-idle
		defer func() { idle <- c }()
		return f(c, i)
	})
}

func (n *Network) takeContext() (*Context, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last := len(n.free) - 1; last >= 0 {
		c := n.free[last]
		n.free = n.free[:last]
		return c, nil
	}
	return n.NewContext()
}

func (n *Network) giveContext(c *Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.free = append(n.free, c)
}

// Step describes one step of a compiled network, for a person.
type Step struct {
	Node   string // name of the node it comes from
	Op     string
	Where  string // "host", or which implementation of the device
	Output string // shape and layout
}

// Steps lists what a run does.
func (n *Network) Steps() []Step {
	list := make([]Step, len(n.steps))
	for i, s := range n.steps {
		list[i] = Step{Node: s.node, Op: s.what, Where: "host"}
		if s.op != nil {
			list[i].Where = s.op.Info()
			list[i].Output = s.out[0].desc.String()
		}
	}
	return list
}

var errNotThere = errors.New("no such tensor in the compiled network")

func (n *Network) value(name string) (*value, error) {
	v := n.values[name]
	if v == nil {
		return nil, fmt.Errorf("tensor %q: %w (name it in Options.Outputs)", name, errNotThere)
	}
	return v, nil
}
