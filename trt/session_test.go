package trt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// toy is what the stand-in's engines of the tests take and give.
const toy = `
input images fp32 2x3 1x3 4x3
output boxes fp32 nx2
output flags int32 2
values flags 7 -8
layer 0.5 conv1 + relu1
layer 1.25 pool
`

// standInEngine writes an engine of the stand-in with a sidecar that vouches for it.
func standInEngine(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "toy.engine")
	e := &Engine{Bytes: []byte("stand-in engine\nversion 1.0.0\n" + lines), Artifact: Artifact{
		Backend: BackendTensorRT, Family: "standin", Version: "1.0.0",
		Inputs:  []Tensor{{Name: "images", Type: "fp32", Dims: []int{-1, 3}}},
		Outputs: []Tensor{{Name: "boxes", Type: "fp32", Dims: []int{-1, 2}}, {Name: "flags", Type: "int32", Dims: []int{2}}},
		Layers:  []Layer{{Name: "conv1", Kind: "Convolution"}, {Name: "relu1", Kind: "Activation"}, {Name: "pool", Kind: "Pooling"}},
	}}
	if err := Write(path, e); err != nil {
		t.Fatal(err)
	}
	return path
}

// standInPlaces is the built stand-in, and a folder for temporary files to see what
// is left behind.
func standInPlaces(t *testing.T) *Places {
	t.Helper()
	dir := testenv.StandIn(t)
	t.Setenv("TMPDIR", t.TempDir())
	return &Places{Shims: []string{dir}}
}

func openStandIn(t *testing.T, o SessionOptions) *Session {
	t.Helper()
	s, err := OpenSession(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSession(t *testing.T) {
	places := standInPlaces(t)
	s := openStandIn(t, SessionOptions{Engine: standInEngine(t, toy), Places: places, Contexts: 2, Layers: true})
	if got := fmt.Sprint(s.Inputs(), s.Outputs()); got != "[{images fp32 [2 3] <nil>}] [{boxes fp32 [2 2] <nil>} {flags int32 [2] <nil>}]" {
		t.Errorf("tensors %s", got)
	}
	if got := s.Version(); got != "stand-in 1.0.0" {
		t.Errorf("version %q", got)
	}
	// 24 bytes in, 16 and 8 out, for two contexts and the one for layers.
	if got := s.DeviceBytes(); got != 3*(24+16+8) {
		t.Errorf("%d bytes on the device", got)
	}
	for _, scale := range []float32{1, -2} { // the second run has other inputs
		values := []float32{1, 2, 3, 4, 5, 6}
		for i := range values {
			values[i] *= scale
		}
		out, err := s.Run(context.Background(), map[string][]float32{"images": values})
		if err != nil {
			t.Fatal(err)
		}
		mean := 3.5 * scale
		if want := []float32{mean, 2 * mean, 3 * mean, 4 * mean}; !slices.Equal(out["boxes"], want) || !slices.Equal(out["flags"], []float32{7, -8}) {
			t.Errorf("outputs %v, want boxes %v and flags [7 -8]", out, want)
		}
	}
	for name, inputs := range map[string]map[string][]float32{
		"missing":  {},
		"unknown":  {"images": make([]float32, 6), "other": {1}},
		"too few":  {"images": make([]float32, 5)},
		"too many": {"images": make([]float32, 7)},
	} {
		if _, err := s.Run(context.Background(), inputs); fault.Code(err) != fault.CodeUsage {
			t.Errorf("%s inputs: %v", name, err)
		}
	}
	layers, err := s.Profile(context.Background(), 3)
	if err != nil || fmt.Sprint(layers) != "[{conv1 + relu1 [conv1 relu1] 0.5} {pool [pool] 1.25}]" {
		t.Errorf("layers %v, %v", layers, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left := leftBehind(t); left != "" {
		t.Errorf("left behind: %s", left)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if _, err := s.Run(context.Background(), map[string][]float32{"images": make([]float32, 6)}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("run of a closed session: %v", err)
	}
}

func TestSessionShapes(t *testing.T) {
	places := standInPlaces(t)
	engine := standInEngine(t, toy)
	s := openStandIn(t, SessionOptions{Engine: engine, Places: places, Shapes: map[string][]int{"images": {4, 3}}})
	out, err := s.Run(context.Background(), map[string][]float32{"images": {11: 12}})
	if err != nil || len(out["boxes"]) != 8 || out["boxes"][7] != 8 || !slices.Equal(s.Outputs()[0].Dims, []int{4, 2}) {
		t.Errorf("batch 4: %v, %v", out, err)
	}
	for _, c := range []struct {
		o    SessionOptions
		want string
	}{
		{SessionOptions{Shapes: map[string][]int{"images": {5, 3}}}, "input 'images' cannot be 5x3: the engine was built for 1x3 to 4x3"},
		{SessionOptions{Shapes: map[string][]int{"other": {5, 3}}}, "no input 'other'"},
		{SessionOptions{Shapes: map[string][]int{"images": {-1, 3}}}, "negative"},
		{SessionOptions{Profile: 1}, "no optimisation profile 1"},
		{SessionOptions{Profile: -1}, "optimisation profile -1"},
		{SessionOptions{Device: 3}, "no CUDA device 3"},
		{SessionOptions{Contexts: 65}, "65 execution contexts"},
		{SessionOptions{Timeout: -1}, "time limit"},
	} {
		c.o.Engine, c.o.Places = engine, places
		_, err := OpenSession(context.Background(), c.o)
		if fault.Code(err) != fault.CodeUsage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want a wrong use that says %q", c.o, err, c.want)
		}
	}
	if left := leftBehind(t); strings.Count(left, " ") > 1 { // of the open session: folder and log
		t.Errorf("left behind: %s", left)
	}
}

// Elements of other types go through as they are.
func TestSessionTypes(t *testing.T) {
	places := standInPlaces(t)
	s := openStandIn(t, SessionOptions{Places: places, Engine: standInEngine(t, `
input a fp16 2
input b int8 2
input c bool 1
input d int64 1
output y fp16 2
output n int64 d8x3
`)})
	out, err := s.Run(context.Background(), map[string][]float32{"a": {0.5, -2.5}, "b": {200, -3.5}, "c": {0.1}, "d": {-64}})
	if err != nil {
		t.Fatal(err)
	}
	mean := float32(0.5-2.5+127-4+1-64) / 6 // saturated, rounded half to even
	if y := out["y"]; len(y) != 2 || math.Abs(float64(y[0]-mean)) > 0.01 || math.Abs(float64(y[1]-2*mean)) > 0.01 {
		t.Errorf("y %v, want %v and twice that", y, mean)
	}
	// The size that depends on the data was -1 and turns out to be 4.
	if !slices.Equal(s.Outputs()[1].Dims, []int{-1, 3}) || len(out["n"]) != 12 {
		t.Errorf("n: %v before, %d values", s.Outputs()[1].Dims, len(out["n"]))
	}
	raw, err := s.RunRaw(context.Background(), map[string][]byte{"a": make([]byte, 4), "b": {0, 0}, "c": {0}, "d": binary.LittleEndian.AppendUint64(nil, 1<<40)})
	if err != nil || !slices.Equal(raw["n"].Dims, []int{4, 3}) || raw["n"].Type != "int64" || binary.LittleEndian.Uint64(raw["n"].Data) != 1<<40/6 {
		t.Errorf("raw %v, %v", raw["n"], err)
	}
}

func TestSessionTime(t *testing.T) {
	places := standInPlaces(t)
	s := openStandIn(t, SessionOptions{Places: places, Engine: standInEngine(t, toy+"gpu 4\n"), Contexts: 2})
	b, err := s.Time(context.Background(), TimeOptions{WarmUp: 2, Iterations: 5})
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Samples) != 5 || b.Graphed || b.Note != "" {
		t.Fatalf("%+v", b)
	}
	start := 0.0
	for i, sample := range b.Samples {
		gpu := 4 * (1 + 0.01*float64(i))
		want := Sample{Start: start, Enqueue: 0.25, H2D: 0.125, GPU: gpu, D2H: 0.125, EndToEnd: 0.125 + gpu + 0.125}
		start += want.EndToEnd
		if sample != want {
			t.Errorf("sample %d: %+v, want %+v", i, sample, want)
		}
	}
	if b.Wall != start {
		t.Errorf("wall %v, want %v", b.Wall, start)
	}
	// A duration, two streams, a graph, no copies.
	b, err = s.Time(context.Background(), TimeOptions{Duration: 40 * time.Millisecond, Streams: 2, Graph: true, NoTransfers: true})
	if err != nil || len(b.Samples) != 20 || !b.Graphed || b.Samples[0].Enqueue != 0.0625 || b.Samples[3].H2D != 0 || b.Samples[10].Start != 0 {
		t.Errorf("%d samples, %+v, %v", len(b.Samples), b, err)
	}
	for _, o := range []TimeOptions{{}, {Iterations: -1}, {Iterations: 1, Streams: 3}, {Iterations: 1, WarmUp: -1}, {Iterations: 1, InFlight: 17}, {Iterations: maxIterations + 1}} {
		if _, err := s.Time(context.Background(), o); fault.Code(err) != fault.CodeUsage {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := s.Profile(context.Background(), 1); fault.Code(err) != fault.CodeUsage {
		t.Errorf("layers without Layers: %v", err)
	}
}

// Whatever happens in the child is one error, and after it all requests get it.
func TestSessionFailures(t *testing.T) {
	places := standInPlaces(t)
	ask := map[string]func(*Session) error{
		"run": func(s *Session) error {
			_, err := s.Run(context.Background(), map[string][]float32{"images": make([]float32, 6)})
			return err
		},
		"time": func(s *Session) error {
			_, err := s.Time(context.Background(), TimeOptions{Iterations: 1})
			return err
		},
		"close": (*Session).Close,
	}
	for _, c := range []struct {
		when, how string
		code      int
		text      string
		alive     bool // the session goes on
	}{
		{"load", "crash", fault.CodeFailed, "TensorRT crashed (signal 11, segmentation fault) while loading toy.engine; its log: ", false},
		{"load", "kill", fault.CodeFailed, "was killed while loading toy.engine, most likely for want of memory", false},
		{"load", "exit", fault.CodeFailed, "ended with exit status 3 while loading toy.engine", false},
		{"load", "hang", fault.CodeFailed, "took longer than 2s while loading toy.engine and was stopped", false},
		{"load", "error", fault.CodeFailed, "loading toy.engine: stand-in cannot load", false},
		{"load", "memory", fault.CodeFailed, "loading toy.engine: out of device memory: allocate 99999999999 bytes", false},
		{"run", "crash", fault.CodeFailed, "TensorRT crashed (signal 11, segmentation fault) while running toy.engine", false},
		{"run", "abort", fault.CodeFailed, "TensorRT crashed (signal 6, aborted) while running toy.engine", false},
		{"run", "hang", fault.CodeFailed, "took longer than 2s while running toy.engine and was stopped", false},
		{"run", "exit", fault.CodeFailed, "ended with exit status 3 while running toy.engine", false},
		{"run", "error", fault.CodeFailed, "running toy.engine: stand-in cannot run", true},
		{"run", "memory", fault.CodeFailed, "running toy.engine: out of device memory", true},
		{"time", "crash", fault.CodeFailed, "TensorRT crashed (signal 11, segmentation fault) while timing toy.engine", false},
		{"close", "crash", fault.CodeFailed, "TensorRT crashed (signal 11, segmentation fault) while closing toy.engine", false},
	} {
		t.Run(c.when+" "+c.how, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			s, err := OpenSession(context.Background(), SessionOptions{Places: places, Timeout: 2 * time.Second,
				Engine: standInEngine(t, toy+"fail "+c.when+" "+c.how+"\n")})
			if c.when != "load" {
				if err != nil {
					t.Fatal(err)
				}
				err = ask[c.when](s)
			}
			if err == nil || fault.Code(err) != c.code || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %v (exit code %d), want %q (%d)", err, fault.Code(err), c.text, c.code)
			}
			if c.when == "run" || c.when == "time" {
				again := ask["time"](s)
				if c.alive != (again == nil) || !c.alive && again.Error() != err.Error() {
					t.Errorf("the request after: %v", again)
				}
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}
			// Nothing is left but the log that the error names.
			_, log, named := strings.Cut(err.Error(), "its log: ")
			if named && !c.alive {
				if data, err := os.ReadFile(log); err != nil || !strings.Contains(string(data), "[stand-in] load, process ") {
					t.Errorf("log %s: %q, %v", log, data, err)
				}
				os.Remove(log)
			}
			if left := leftBehind(t); left != "" {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}

// A cancelled request ends the child at once.
func TestSessionCancel(t *testing.T) {
	places := standInPlaces(t)
	log := filepath.Join(t.TempDir(), "session.log")
	s := openStandIn(t, SessionOptions{Places: places, Engine: standInEngine(t, toy+"fail run hang\n"), Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(200*time.Millisecond, cancel)
	start := time.Now()
	_, err := s.Run(ctx, map[string][]float32{"images": make([]float32, 6)})
	if fault.Code(err) != fault.CodeInterrupted || !errors.Is(err, context.Canceled) || time.Since(start) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscanf(string(data), "[stand-in] load, process %d", &pid); err != nil {
		t.Fatalf("log %q: %v", data, err)
	}
	ended(t, []int{pid})
	if _, err := OpenSession(ctx, SessionOptions{Places: places, Engine: standInEngine(t, toy)}); fault.Code(err) != fault.CodeInterrupted {
		t.Errorf("opened with a cancelled context: %v", err)
	}
	slow := openStandIn(t, SessionOptions{Places: places, Engine: standInEngine(t, toy+"sleep 50\n"), Timeout: 300 * time.Millisecond})
	if _, err := slow.Time(context.Background(), TimeOptions{Iterations: 1000}); err == nil || !strings.Contains(err.Error(), "took longer than 300ms while timing") {
		t.Errorf("a slow block: %v", err)
	}
}

func TestSessionRefuses(t *testing.T) {
	places := standInPlaces(t)
	engine := standInEngine(t, toy)
	open := func(o SessionOptions) error {
		o.Places = places
		s, err := OpenSession(context.Background(), o)
		if err == nil {
			s.Close()
		}
		return err
	}
	expect := func(name string, err error, code int, text string) {
		t.Helper()
		if fault.Code(err) != code || code != fault.CodeOK && !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v (exit code %d), want %q (%d)", name, err, fault.Code(err), text, code)
		}
	}
	t.Setenv("TRTACT_STANDIN", "no-device")
	expect("no device", open(SessionOptions{Engine: engine}), fault.CodeNoDevice, "needs an NVIDIA GPU and driver")
	// Of another version: refused by the sidecar, before the library sees a byte.
	t.Setenv("TRTACT_STANDIN", "version=2.1.0")
	expect("another version", open(SessionOptions{Engine: engine}), fault.CodeBadInput,
		"engine toy.engine was built by TensorRT 1.0.0, here is TensorRT 2.1.0: build it again")
	t.Setenv("TRTACT_STANDIN", "")

	foreign := filepath.Join(t.TempDir(), "foreign.engine")
	put(t, foreign, "stand-in engine\nversion 1.0.0\n"+toy)
	expect("foreign", open(SessionOptions{Engine: foreign}), fault.CodeBadInput, "its sidecar "+foreign+".json is missing")
	expect("trusted", open(SessionOptions{Engine: foreign, Trust: true}), fault.CodeOK, "")
	t.Setenv("TRTACT_STANDIN", "version=2.1.0")
	expect("trusted, of another version", open(SessionOptions{Engine: foreign, Trust: true}), fault.CodeBadInput, "stand-in 2.1.0 does not load the engine")
	t.Setenv("TRTACT_STANDIN", "")
	put(t, foreign, "no engine")
	expect("trusted garbage", open(SessionOptions{Engine: foreign, Trust: true}), fault.CodeBadInput, "it does not begin with")

	put(t, engine, "stand-in engine\nversion 1.0.0\nfail load crash\n")
	expect("tampered", open(SessionOptions{Engine: engine}), fault.CodeBadInput, "not the file its sidecar describes")
	expect("tampered and trusted", open(SessionOptions{Engine: engine, Trust: true}), fault.CodeBadInput, "not the file its sidecar describes")
	expect("absent", open(SessionOptions{Engine: engine + "x"}), fault.CodeBadInput, "no such file")

	other := sample() // of rtx1
	path := filepath.Join(t.TempDir(), "other.engine")
	if err := Write(path, other); err != nil {
		t.Fatal(err)
	}
	expect("of a TensorRT that is not here", open(SessionOptions{Engine: path}), fault.CodeNoDevice,
		"engine other.engine was built by TensorRT for RTX 1.7.1, and this program was built without it (it has standin)")
	empty := Places{Shims: []string{t.TempDir()}}
	_, err := OpenSession(context.Background(), SessionOptions{Engine: path, Places: &empty})
	expect("no shims", err, fault.CodeNoDevice, empty.Shims[0])
	if left := leftBehind(t); strings.Contains(left, "session") {
		t.Errorf("left behind: %s", left)
	}
}

// An engine that the stand-in built goes the whole way.
func TestSessionOfBuilt(t *testing.T) {
	places := standInPlaces(t)
	e, err := findAndBuild(context.Background(), []byte("stand-in model"+toy), BuildOptions{Places: places, Model: "toy.onnx"})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "built.engine")
	if err := Write(path, e); err != nil {
		t.Fatal(err)
	}
	s := openStandIn(t, SessionOptions{Engine: path, Places: places})
	out, err := s.Run(context.Background(), map[string][]float32{"images": {6, 5, 4, 3, 2, 1}})
	if err != nil || out["boxes"][0] != 3.5 {
		t.Errorf("%v, %v", out, err)
	}
}

// On a machine without a GPU an engine of TensorRT for RTX can be built and not run.
func TestSessionRTXNeedsGPU(t *testing.T) {
	family, places := rtx(t)
	if _, err := os.Stat("/dev/nvidiactl"); err == nil {
		t.Skip("skipped: this machine has a GPU")
	}
	e, err := Build(context.Background(), family, smallModel(t, plain, 13, 1, false), BuildOptions{Places: &places, Targets: []int{86}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.engine")
	if err := Write(path, e); err != nil {
		t.Fatal(err)
	}
	_, err = OpenSession(context.Background(), SessionOptions{Engine: path, Places: &places})
	if fault.Code(err) != fault.CodeNoDevice || !strings.Contains(err.Error(), "needs an NVIDIA GPU and driver") {
		t.Errorf("%v (exit code %d)", err, fault.Code(err))
	}
}
