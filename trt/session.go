package trt

// Running an engine: what a Session is asked and what it answers. How it talks
// to its child process is in session_process.go.

import (
	"context"
	"fmt"
	"time"

	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// SessionOptions say which engine to load and how.
type SessionOptions struct {
	// Engine is its file. What stands in its sidecar is checked, as Read does,
	// before TensorRT sees a byte of it.
	Engine string
	// Trust takes an engine without a sidecar.
	Trust bool
	// Shapes are the sizes of inputs with dynamic dimensions; those not named
	// take the profile's opt.
	Shapes   map[string][]int
	Profile  int // optimisation profile
	Device   int // CUDA device
	Contexts int // execution contexts, each with a stream and buffers of its own; 0: 1
	// Layers makes Profile possible: an execution context more.
	Layers bool
	// Timeout bounds loading, and each request beyond the time it asks for
	// itself; 0: DefaultRequestTimeout.
	Timeout time.Duration
	// Log is the file that TensorRT's messages are appended to. "" is a
	// temporary file, kept only when an error names it.
	Log string
	// Places says where to look for TensorRT; nil is DefaultPlaces.
	Places *Places
}

// DefaultRequestTimeout bounds a request whose options say nothing. Loading an
// engine of TensorRT for RTX compiles its kernels.
const DefaultRequestTimeout = 5 * time.Minute

// maxContexts bounds SessionOptions.Contexts.
const maxContexts = 64

func (o SessionOptions) check() error {
	switch {
	case o.Contexts < 0 || o.Contexts > maxContexts:
		return fault.Usage(fmt.Errorf("%d execution contexts: want 1 to %d", o.Contexts, maxContexts))
	case o.Profile < 0:
		return fault.Usage(fmt.Errorf("optimisation profile %d: they count from 0", o.Profile))
	case o.Device < 0:
		return fault.Usage(fmt.Errorf("CUDA device %d: they count from 0", o.Device))
	case o.Timeout < 0:
		return fault.Usage(fmt.Errorf("time limit %v may not be negative", o.Timeout))
	}
	for name, dims := range o.Shapes {
		if len(dims) > maxRank {
			return fault.Usage(fmt.Errorf("sizes of input %q: %v has more than %d dimensions", name, dims, maxRank))
		}
		for _, n := range dims {
			if n < 0 {
				return fault.Usage(fmt.Errorf("sizes of input %q: %v has a negative one", name, dims))
			}
		}
	}
	return nil
}

// Value is a tensor as the engine has it: elements of its type, row-major,
// little-endian.
type Value struct {
	Type string // as in Tensor
	Dims []int
	Data []byte
}

// TimeOptions say what Time does. It ends when both Iterations and Duration are
// reached.
type TimeOptions struct {
	WarmUp     int           // runs of each stream before the block begins
	Iterations int           // runs of all streams together
	Duration   time.Duration // of the block
	Streams    int           // streams that run at the same time, at most the session's contexts; 0: 1
	// Graph captures a run as a CUDA graph and launches that.
	Graph bool
	// NoTransfers leaves inputs and outputs on the device.
	NoTransfers bool
	// Spin waits for the device by asking it all the time, which costs a core,
	// and not by sleeping.
	Spin bool
	// InFlight is how many runs of a stream are enqueued at most; 0: 2, so that the
	// device never waits for the host, as in trtexec. With 1 the host waits for
	// each run before it starts the next.
	InFlight int
}

// maxIterations bounds the samples of a block.
const maxIterations = 10_000_000

func (o TimeOptions) check(contexts int) error {
	switch {
	case o.WarmUp < 0 || o.Iterations < 0 || o.Duration < 0 || o.InFlight < 0:
		return fault.Usage(fmt.Errorf("time an engine: warm-up %d, iterations %d, duration %v and runs in flight %d may not be negative",
			o.WarmUp, o.Iterations, o.Duration, o.InFlight))
	case o.Iterations == 0 && o.Duration == 0:
		return fault.Usage(fmt.Errorf("time an engine: want a number of iterations or a duration"))
	case o.Iterations > maxIterations || o.WarmUp > maxIterations:
		return fault.Usage(fmt.Errorf("time an engine: at most %d iterations", maxIterations))
	case o.InFlight > 16:
		return fault.Usage(fmt.Errorf("time an engine: %d runs in flight, at most 16", o.InFlight))
	case o.Streams < 0 || o.Streams > contexts:
		return fault.Usage(fmt.Errorf("time an engine: %d streams need as many execution contexts, the session has %d", o.Streams, contexts))
	}
	return nil
}

// Sample is the course of one run, in milliseconds. Enqueue is the host's time to
// hand the network to the device, without the copies. The others are the device's own
// times: H2D and D2H of the copies, GPU of the network, EndToEnd from the
// first copy's beginning to the last one's end.
type Sample struct {
	Start    float64 // when it was enqueued, since the block began
	Enqueue  float64
	H2D      float64
	GPU      float64
	D2H      float64
	EndToEnd float64
}

// Block is what Time measured.
type Block struct {
	Samples []Sample // by stream, then in their order
	Wall    float64  // milliseconds from the first run's start to the last one's end
	Graphed bool     // CUDA graphs were launched
	Note    string   // why they were not though asked for, or ""
}

// LayerTime is what one layer of the engine takes.
type LayerTime struct {
	Name         string   `json:"name"`            // TensorRT's
	Nodes        []string `json:"nodes,omitempty"` // ONNX nodes it came from, where that can be told
	Milliseconds float64  `json:"milliseconds"`    // mean
}

// Inputs are the engine's inputs, with the sizes the session has them in.
func (s *Session) Inputs() []Tensor { return s.ready.Inputs }

// Outputs are the engine's outputs. A size that depends on the data is -1.
func (s *Session) Outputs() []Tensor { return s.ready.Outputs }

// DeviceBytes is the device memory that loading the engine and making its
// contexts took.
func (s *Session) DeviceBytes() int64 { return s.ready.DeviceBytes }

// Version is that of the TensorRT that runs the engine, with its name.
func (s *Session) Version() string {
	return s.ready.Family.Title + " " + s.ready.Family.Version
}

// Artifact is the engine's sidecar; of a trusted engine without one it has no
// more than Engine.
func (s *Session) Artifact() *Artifact { return &s.artifact }

// Run computes the outputs for inputs by name, each with as many values as its
// sizes say. Values are converted to the tensors' own types and back: to
// integers they are rounded half to even and saturated.
func (s *Session) Run(ctx context.Context, inputs map[string][]float32) (map[string][]float32, error) {
	raw := map[string][]byte{}
	for name, values := range inputs {
		t := find(s.ready.Inputs, name)
		if t == nil {
			return nil, s.noInput(name)
		}
		data, err := EncodeFloats(t.Type, values)
		if err != nil {
			return nil, fmt.Errorf("input %q of %s: %w", name, s.name(), err)
		}
		raw[name] = data
	}
	values, err := s.RunRaw(ctx, raw)
	if err != nil {
		return nil, err
	}
	outputs := map[string][]float32{}
	for name, v := range values {
		if outputs[name], err = DecodeFloats(v.Type, v.Data); err != nil {
			return nil, fmt.Errorf("output %q of %s: %w", name, s.name(), err)
		}
	}
	return outputs, nil
}

// RunRaw is Run without conversions: elements of the tensors' own types.
func (s *Session) RunRaw(ctx context.Context, inputs map[string][]byte) (map[string]Value, error) {
	for name := range inputs {
		if find(s.ready.Inputs, name) == nil {
			return nil, s.noInput(name)
		}
	}
	for _, t := range s.ready.Inputs {
		data, given := inputs[t.Name]
		want := int(typeBytes(t.Type)) * onnx.Volume(t.Dims)
		if !given {
			return nil, fault.Usage(fmt.Errorf("input %q of %s has no values", t.Name, s.name()))
		}
		if len(data) != want {
			return nil, fault.Usage(fmt.Errorf("input %q of %s got %d bytes, want %d: %s %v", t.Name, s.name(), len(data), want, t.Type, t.Dims))
		}
	}
	a, err := s.call(ctx, "running "+s.name(), 0, sessionRequest{Run: true, Inputs: inputs})
	if err != nil {
		return nil, err
	}
	return a.Outputs, nil
}

// Time runs the engine again and again on the inputs of the last Run, before any on
// random ones, and measures every run.
func (s *Session) Time(ctx context.Context, o TimeOptions) (Block, error) {
	if o.Streams == 0 {
		o.Streams = 1
	}
	if o.InFlight == 0 {
		o.InFlight = 2
	}
	if err := o.check(s.contexts); err != nil {
		return Block{}, err
	}
	a, err := s.call(ctx, "timing "+s.name(), o.Duration, sessionRequest{Time: &o})
	if err != nil {
		return Block{}, err
	}
	return a.Block, nil
}

// Profile is the mean time of each layer over so many runs, in the order in which
// TensorRT runs them. Measuring keeps layers apart, so their sum is more than a
// run takes.
func (s *Session) Profile(ctx context.Context, iterations int) ([]LayerTime, error) {
	if iterations < 1 || iterations > maxIterations {
		return nil, fault.Usage(fmt.Errorf("profile layers: %d iterations, want 1 to %d", iterations, maxIterations))
	}
	if !s.layers {
		return nil, fault.Usage(fmt.Errorf("profile layers of %s: the session was opened without", s.name()))
	}
	a, err := s.call(ctx, "profiling "+s.name(), 0, sessionRequest{Profile: iterations})
	if err != nil {
		return nil, err
	}
	origins := newOrigins(&s.artifact, a.Inspection)
	for i := range a.Layers {
		a.Layers[i].Nodes = origins.of(a.Layers[i].Name)
	}
	return a.Layers, nil
}

func (s *Session) noInput(name string) error {
	return fault.Usage(fmt.Errorf("%s has no input %q", s.name(), name))
}

func find(list []Tensor, name string) *Tensor {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}
