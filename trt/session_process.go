package trt

// The parent's side of a session: one child process that holds one loaded
// engine and answers requests over pipes until it is closed. Whatever ends the
// child before that is one error, which every later request gets again.

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"trtact/internal/fault"
)

// loading is the part of a request with which a session begins.
type loading struct {
	Engine string `json:"engine"` // file
	// Backend and Version of the TensorRT that built it; "" where that is not known.
	Backend  string           `json:"backend,omitempty"`
	Version  string           `json:"version,omitempty"`
	Name     string           `json:"name"` // for messages
	Shapes   map[string][]int `json:"shapes,omitempty"`
	Profile  int              `json:"profile"`
	Device   int              `json:"device"`
	Contexts int              `json:"contexts"`
	Layers   bool             `json:"layers"`
}

// sessionReady is the child's first message, once the engine is loaded.
type sessionReady struct {
	Failure     failure
	Family      Family
	Inputs      []Tensor
	Outputs     []Tensor
	DeviceBytes int64
}

// sessionRequest asks for one thing.
type sessionRequest struct {
	Run     bool
	Inputs  map[string][]byte
	Time    *TimeOptions
	Profile int
}

// sessionAnswer answers one sessionRequest.
type sessionAnswer struct {
	Failure    failure
	Outputs    map[string]Value
	Block      Block
	Layers     []LayerTime
	Inspection []byte
}

// Session is an engine that is loaded and can be run. Its methods may be called from
// several goroutines; requests are served one after the other.
type Session struct {
	artifact Artifact
	ready    sessionReady
	contexts int
	layers   bool
	timeout  time.Duration
	log      logFile
	dir      string // the child's folder

	turn sync.Mutex // held while a request is served
	// broken is why the child is no more; nil while it serves.
	broken error
	to     *os.File // the child's standard input
	from   *os.File // its answers
	encode *gob.Encoder
	decode *gob.Decoder
	kill   context.CancelFunc
	ended  chan struct{}    // closed when the child has ended
	state  *os.ProcessState // then how it did; nil when it could not be started
	failed error            // then why it could not be started
}

// OpenSession loads an engine. The error is of fault.BadInput when the file or its
// sidecar is not what it should be or another TensorRT built it, fault.NoDevice
// when there is no GPU, driver or TensorRT to run it, fault.Usage when options
// do not fit the engine.
func OpenSession(ctx context.Context, o SessionOptions) (*Session, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Contexts == 0 {
		o.Contexts = 1
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultRequestTimeout
	}
	engine, err := Read(o.Engine, o.Trust)
	if err != nil {
		return nil, err
	}
	places := DefaultPlaces()
	if o.Places != nil {
		places = *o.Places
	}
	shims, err := shimsFor(&engine.Artifact, places)
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, shim := range shims {
		s, err := startSession(ctx, engine, shim, places, o)
		if err == nil || ctx.Err() != nil || len(shims) == 1 {
			return s, err
		}
		problems = append(problems, err)
	}
	// A foreign engine, and nobody took it: the first reason that is not
	// the want of a library tells most.
	for _, err := range problems {
		if fault.Code(err) != fault.CodeNoDevice {
			return nil, err
		}
	}
	return nil, problems[0]
}

// shimsFor lists the shims to load an engine with: its own, or for an engine
// that does not say, all of them, the newest TensorRT first.
func shimsFor(a *Artifact, places Places) ([]string, error) {
	all := places.shims()
	var own, names []string
	for _, shim := range all {
		name := shimName(shim)
		names = append(names, name)
		if name == a.Family {
			own = append(own, shim)
		}
	}
	switch {
	case len(all) == 0:
		return nil, noShims(places)
	case a.Family == "":
		var foreign []string
		for i := len(all) - 1; i >= 0; i-- { // trt11, trt10, trt8 after rtx1
			foreign = append(foreign, all[i])
		}
		return foreign, nil
	case len(own) == 0:
		return nil, fault.NoDevice(fmt.Errorf("engine %s was built by %s, and this program was built without it (it has %s): make build with TENSORRT_ROOT set to it",
			a.Engine.Name, backendVersion(a.Backend, a.Version), strings.Join(names, ", ")))
	}
	return own, nil
}

func startSession(ctx context.Context, engine *Engine, shim string, places Places, o SessionOptions) (*Session, error) {
	s := &Session{artifact: engine.Artifact, contexts: o.Contexts, layers: o.Layers, timeout: o.Timeout, ended: make(chan struct{})}
	what := "loading " + s.name()
	fail := func(err error) (*Session, error) { return nil, fmt.Errorf("%s: %w", what, err) }
	var err error
	if s.log, err = openLog(o.Log); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "trtact-session-*"); err != nil {
		s.log.discard(nil)
		return fail(err)
	}
	r := request{
		Action: actionSession, Shim: shim, Libraries: places.Libraries, Loader: places.Loader, Log: s.log.path,
		Load: &loading{
			Engine: filepath.Join(s.dir, "engine"), Backend: engine.Artifact.Backend, Version: engine.Artifact.Version,
			Name: s.name(), Shapes: o.Shapes, Profile: o.Profile, Device: o.Device, Contexts: o.Contexts, Layers: o.Layers,
		},
	}
	err = s.start(r, engine.Bytes)
	if err != nil {
		s.clean(nil)
		return fail(err)
	}
	err = s.exchange(ctx, what, o.Timeout, func() error {
		// One JSON value and no byte behind it: what follows is gob's.
		data, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if _, err := s.to.Write(data); err != nil {
			return err
		}
		return s.decode.Decode(&s.ready)
	})
	if err == nil && s.ready.Failure.Error != "" {
		err = s.ready.Failure.problem(what, s.log.path)
		if s.ready.Failure.Status == statusBadModel { // here it is the engine that does not fit
			err = fault.BadInput(errors.New(s.ready.Failure.Error))
		}
	}
	if err != nil {
		s.stop()
		s.clean(err)
		return nil, err
	}
	return s, nil
}

// start runs the child, which waits for its request.
func (s *Session) start(r request, engine []byte) error {
	if err := os.WriteFile(r.Load.Engine, engine, 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(s.log.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	requests, to, err := os.Pipe()
	if err != nil {
		log.Close()
		return err
	}
	from, answers, err := os.Pipe()
	if err != nil {
		log.Close()
		requests.Close()
		to.Close()
		return err
	}
	s.to, s.from = to, from
	s.encode, s.decode = gob.NewEncoder(to), gob.NewDecoder(from)
	cmd := childCommand(s.dir, loaderPath(r.Libraries), log)
	cmd.Stdin = requests
	cmd.ExtraFiles = []*os.File{answers} // answersFD
	var life context.Context
	life, s.kill = context.WithCancel(context.Background())
	started := make(chan struct{})
	go func() {
		defer close(s.ended)
		s.state, s.failed = runChild(life, cmd, func() {
			// What the child alone may hold, so that its end is seen.
			requests.Close()
			answers.Close()
			log.Close()
			close(started)
		})
	}()
	<-started
	return nil
}

// call sends a request and waits for its answer, at most more than the
// session's time limit.
func (s *Session) call(ctx context.Context, what string, more time.Duration, r sessionRequest) (*sessionAnswer, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.broken != nil {
		return nil, s.broken
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s: interrupted: %w", what, err)
	}
	a := new(sessionAnswer)
	err := s.exchange(ctx, what, s.timeout+more, func() error {
		if err := s.encode.Encode(r); err != nil {
			return err
		}
		return s.decode.Decode(a)
	})
	if err != nil {
		s.broken = err
		return nil, err
	}
	if a.Failure.Error != "" {
		return nil, a.Failure.problem(what, s.log.path)
	}
	return a, nil
}

// exchange does talk, a conversation with the child. When it does not come to
// an end, the child is ended and the error says why.
func (s *Session) exchange(ctx context.Context, what string, limit time.Duration, talk func() error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- talk() }()
	select {
	case err := <-done:
		if err == nil {
			return nil
		}
		// Most likely the child is no more, and the way it ended is about to be known.
		select {
		case <-s.ended:
		case <-time.After(time.Second):
			s.stop()
			return fmt.Errorf("%s: TensorRT's process did not answer as it should: %w; its log: %s", what, err, s.log.path)
		}
	case <-limited.Done():
		s.stop()
		<-done // its pipes ended with the child
	}
	if s.failed != nil {
		return fmt.Errorf("%s: %w", what, s.failed)
	}
	if err := outcome(ctx, limited, s.state, what, s.log.path, limit); err != nil {
		return err
	}
	return fmt.Errorf("TensorRT's process ended while %s; its log: %s", what, s.log.path)
}

// stop ends the child without asking it.
func (s *Session) stop() {
	s.kill()
	<-s.ended
}

// clean removes what the session has on the disk; the log stays when err names it.
func (s *Session) clean(err error) {
	if s.to != nil {
		s.to.Close()
		s.from.Close()
	}
	os.RemoveAll(s.dir)
	s.log.discard(err)
}

// closing is how long a child may take to let go of its engine.
const closing = 20 * time.Second

// Close ends the session. The error is of a child that crashed while it let go
// of its engine, or did not end.
func (s *Session) Close() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if errors.Is(s.broken, os.ErrClosed) {
		return nil
	}
	var err error
	if s.broken == nil {
		s.to.Close()
		select {
		case <-s.ended:
			if !s.state.Success() {
				err = died(s.state, "closing "+s.name(), s.log.path)
			}
		case <-time.After(closing):
			s.stop()
			err = fmt.Errorf("closing %s: TensorRT took longer than %v and was stopped; its log: %s", s.name(), closing, s.log.path)
		}
	}
	s.kill()
	if s.broken != nil {
		s.clean(s.broken)
	} else {
		s.clean(err)
	}
	s.broken = fmt.Errorf("engine %s: %w", s.name(), os.ErrClosed)
	return err
}

// name is the engine for messages.
func (s *Session) name() string { return s.artifact.Engine.Name }
