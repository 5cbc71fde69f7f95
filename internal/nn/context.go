package nn

import (
	"fmt"
	"math"
	"time"

	"trtact/internal/compute"
	"trtact/internal/onnx"
)

// Context is the memory of one run. It belongs to one goroutine at a time.
type Context struct {
	n         *Network
	arena     *compute.Buffer
	workspace *compute.Buffer
	gradients *compute.Buffer // in training
	program   *compute.Program
	thread    systemThread // nil: not needed
	at        []int        // index of each step in the program, for host steps where it would be
	host      map[string]*onnx.Tensor
	peeked    map[*value][]float32 // what Peek downloads into
}

// NewContext allocates the memory for a run.
func (n *Network) NewContext() (*Context, error) {
	c := &Context{n: n, host: map[string]*onnx.Tensor{}, peeked: map[*value][]float32{}}
	var err error
	if c.arena, err = n.device.Alloc(n.arenaBytes); err != nil {
		return nil, err
	}
	if c.workspace, err = n.device.Alloc(n.workspaceBytes); err != nil {
		c.Close()
		return nil, err
	}
	if n.gradientBytes > 0 {
		if c.gradients, err = n.device.Alloc(n.gradientBytes); err != nil {
			c.Close()
			return nil, err
		}
	}
	var steps []compute.Step
	for _, s := range n.steps {
		c.at = append(c.at, len(steps))
		if s.op != nil {
			steps = append(steps, c.step(s))
		}
	}
	if c.program, err = n.device.NewProgram(steps, n.options.Threads); err != nil {
		c.Close()
		return nil, err
	}
	if n.options.Threads > 1 {
		c.thread = startThread()
	}
	return c, nil
}

// step is a step with its tensors' places in this context.
func (c *Context) step(s step) compute.Step {
	d := compute.Step{Op: s.op, Workspace: compute.Address{Buffer: c.workspace}}
	for _, t := range s.in {
		d.Inputs = append(d.Inputs, c.address(t))
	}
	for _, t := range s.out {
		d.Outputs = append(d.Outputs, c.address(t))
	}
	return d
}

// Close frees the memory.
func (c *Context) Close() {
	c.thread.stop()
	if c.program != nil {
		c.program.Close()
	}
	c.arena.Close()
	c.workspace.Close()
	c.gradients.Close()
}

func (c *Context) address(t *tensor) compute.Address {
	if t == nil {
		return compute.Address{}
	}
	root := t.root()
	a := compute.Address{Buffer: c.arena, At: root.offset + t.shifted()}
	switch {
	case root.constant != nil:
		a.Buffer = c.n.constants
	case root.home == inParameters:
		a.Buffer = c.n.parameters
	case root.home == inDerived:
		a.Buffer = c.n.derived
	case root.home == inGradients:
		a.Buffer = c.gradients
	}
	return a
}

// SetInput gives a float32 input its row-major values.
func (c *Context) SetInput(name string, data []float32) error {
	v, err := c.n.value(name)
	if err != nil {
		return err
	}
	if v.plain == nil {
		return fmt.Errorf("set input %q: it is %v, not float32", name, v.info.Type)
	}
	if want := v.plain.desc.Len(); len(data) != want {
		return fmt.Errorf("set input %q: %d values for shape %v", name, len(data), v.info.Dims)
	}
	return c.arena.Upload(v.plain.offset, data)
}

// SetTensor gives an input of any type its value.
func (c *Context) SetTensor(name string, t *onnx.Tensor) error {
	v, err := c.n.value(name)
	if err != nil {
		return err
	}
	if !v.onHost {
		return c.SetInput(name, t.Floats())
	}
	if t.Type != v.info.Type {
		return fmt.Errorf("set input %q: it is %v, not %v", name, v.info.Type, t.Type)
	}
	c.host[name] = t
	return nil
}

// SetInputs gives every input its value by name. What else there are values for is left
// alone: a network that was cut down to some tensors needs fewer.
func (c *Context) SetInputs(values map[string]*onnx.Tensor) error {
	for _, in := range c.n.inputs {
		t := values[in.Name]
		if t == nil {
			return fmt.Errorf("set input %q: there is no value for it", in.Name)
		}
		if err := c.SetTensor(in.Name, t); err != nil {
			return err
		}
	}
	return nil
}

// Run computes all outputs.
func (c *Context) Run() error { return c.run(nil) }

// RunTimed is Run that adds each step's seconds to its entry of total, which is
// as long as Network.Steps.
func (c *Context) RunTimed(total []float64) error { return c.run(total) }

func (c *Context) run(total []float64) error {
	from := 0
	device := func(to int) error {
		if from == to {
			return nil
		}
		first, last := c.at[from], c.at[to-1]+1
		if total == nil {
			return c.thread.do(func() error { return c.program.Run(first, last) })
		}
		seconds := make([]float64, last)
		if err := c.thread.do(func() error { return c.program.RunTimed(first, last, seconds) }); err != nil {
			return err
		}
		for i := from; i < to; i++ {
			total[i] += seconds[c.at[i]]
		}
		return nil
	}
	for i := range c.n.steps {
		s := &c.n.steps[i]
		if s.host == nil {
			continue
		}
		if err := device(i); err != nil {
			return err
		}
		start := time.Now()
		if err := s.host(c); err != nil {
			return fmt.Errorf("run: node %q (%s): %w", s.node, s.what, err)
		}
		if total != nil {
			total[i] += time.Since(start).Seconds()
		}
		from = i + 1
	}
	return device(len(c.n.steps))
}

// Output is a copy of an output, or of another tensor named in Options.Outputs,
// row-major.
func (c *Context) Output(name string) (*onnx.Tensor, error) {
	v, err := c.n.value(name)
	if err != nil {
		return nil, err
	}
	t, err := c.get(v)
	if err == nil && (v.constant != nil || v.onHost) {
		t = t.Clone()
	}
	return t, err
}

// Place is where an output's row-major values lie on the device until the next run, with
// Options.Plain.
func (c *Context) Place(name string) (compute.Address, error) {
	v, err := c.n.value(name)
	if err != nil {
		return compute.Address{}, err
	}
	if v.plain == nil || v.constant != nil {
		return compute.Address{}, fmt.Errorf("tensor %q is not on the device", name)
	}
	return c.address(v.plain), nil
}

// Peek is Output for those who only look: the tensor must not be changed, and the next run
// or Peek may change it.
func (c *Context) Peek(name string) (*onnx.Tensor, error) {
	v, err := c.n.value(name)
	if err != nil {
		return nil, err
	}
	if v.constant != nil || v.onHost || v.plain == nil {
		return c.get(v)
	}
	if c.peeked[v] == nil {
		c.peeked[v] = make([]float32, v.plain.desc.Len())
	}
	return c.download(v, c.peeked[v])
}

func (c *Context) get(v *value) (*onnx.Tensor, error) {
	switch {
	case v.constant != nil:
		return v.constant, nil
	case v.onHost:
		t := c.host[v.name]
		if t == nil {
			return nil, fmt.Errorf("tensor %q has not been set or computed", v.name)
		}
		return t, nil
	case v.plain != nil:
		return c.download(v, make([]float32, v.plain.desc.Len()))
	case v.blocked != nil:
		block := c.n.device.Block()
		stored := make([]float32, v.blocked.desc.Bytes(block)/4)
		a := c.address(v.blocked)
		if err := a.Buffer.Download(a.At, stored); err != nil {
			return nil, err
		}
		return v.tensor(unblock(stored, v.info.Dims, block)), nil
	}
	return nil, fmt.Errorf("tensor %q has no value", v.name)
}

// download gives a row-major tensor of the device in data.
func (c *Context) download(v *value, data []float32) (*onnx.Tensor, error) {
	a := c.address(v.plain)
	if err := a.Buffer.Download(a.At, data); err != nil {
		return nil, err
	}
	return v.tensor(data), nil
}

// tensor gives downloaded elements the value's type: the device keeps INT8 as
// floats.
func (v *value) tensor(data []float32) *onnx.Tensor {
	if v.info.Type != onnx.Int8 {
		return onnx.NewTensor(v.info.Dims, data)
	}
	q := make([]int8, len(data))
	for i, x := range data {
		q[i] = int8(x)
	}
	return onnx.NewTensor(v.info.Dims, q)
}

func (c *Context) uploadTo(t *tensor, name string) error {
	value := c.host[name]
	if value == nil {
		return fmt.Errorf("tensor %q has not been set or computed", name)
	}
	if value.Len() != t.desc.Len() {
		return fmt.Errorf("tensor %q has %d elements where shapes said %v", name, value.Len(), t.desc.Dims)
	}
	a := c.address(t)
	return a.Buffer.Upload(a.At, value.Floats())
}

// observed is the device tensor behind a name.
func (c *Context) observed(name string) (compute.Tensor, compute.Address, error) {
	v, err := c.n.value(name)
	if err != nil {
		return compute.Tensor{}, compute.Address{}, err
	}
	if v.constant != nil {
		return compute.Tensor{}, compute.Address{}, fmt.Errorf("tensor %q is a constant", name)
	}
	t := v.blocked
	if t == nil {
		t = v.plain
	}
	if t == nil {
		return compute.Tensor{}, compute.Address{}, fmt.Errorf("tensor %q is not on the device", name)
	}
	return t.desc, c.address(t), nil
}

// AbsMax is max|x| of a tensor named in Options.Outputs, or of an input or output.
func (c *Context) AbsMax(name string) (float32, error) {
	t, a, err := c.observed(name)
	if err != nil {
		return 0, err
	}
	return c.n.device.AbsMax(t, a)
}

// Histogram adds |x| to len(bins) equal bins over [0, upper]; values above go to
// the last.
func (c *Context) Histogram(name string, upper float32, bins []int64) error {
	t, a, err := c.observed(name)
	if err != nil {
		return err
	}
	return c.n.device.Histogram(t, a, upper, bins)
}

// ChannelSums adds the sum of each channel (dimension 1) to sums.
func (c *Context) ChannelSums(name string, sums []float64) error {
	t, a, err := c.observed(name)
	if err != nil {
		return err
	}
	return c.n.device.ChannelSums(t, a, sums)
}

// ChannelMax is the largest magnitude in each channel (dimension 1), over all images; not
// a number counts as the largest.
func (c *Context) ChannelMax(name string) ([]float32, error) {
	t, a, err := c.observed(name)
	if err != nil {
		return nil, err
	}
	lanes := 1
	if t.Layout == compute.Blocked {
		lanes = c.n.device.Block()
	}
	stored := make([]float32, t.Bytes(lanes)/4)
	if err := a.Buffer.Download(a.At, stored); err != nil {
		return nil, err
	}
	channels, size := t.Dims[1], lanes*product(t.Dims[2:])
	blocks := (channels + lanes - 1) / lanes
	// The bits of floats without their sign are ordered as the magnitudes are.
	most := make([]uint32, blocks*lanes)
	for i := 0; i < len(stored); i += size {
		list := most[i/size%blocks*lanes:][:lanes]
		for at := i; at < i+size; at += lanes {
			for l, v := range stored[at : at+lanes] {
				list[l] = max(list[l], math.Float32bits(v)&^(1<<31))
			}
		}
	}
	maxima := make([]float32, channels)
	for k := range maxima {
		maxima[k] = math.Float32frombits(most[k])
	}
	return maxima, nil
}
