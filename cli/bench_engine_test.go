package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/bench"
	"trtact/internal/fault"
	"trtact/internal/gpu"
	"trtact/internal/report"
	"trtact/trt"
)

// fakeMachine has a GPU and a TensorRT whose engines take as long as their file's
// bytes say, in microseconds.
type fakeMachine struct {
	gpus   []gpu.GPU
	noGPU  error // what opening NVML says
	noLoad error // what loading an engine says
	env    map[string]string

	opened []trt.SessionOptions
	turns  []trt.TimeOptions
	looked []int // GPUs that were watched
	onTurn func(n int)
	load   func(ctx context.Context, o trt.SessionOptions) (benchEngine, error) // instead of a fake engine
	open   int                                                                  // sessions
}

func (m *fakeMachine) place() benchPlace {
	return benchPlace{
		openGPU: func() (benchGPU, error) {
			if m.noGPU != nil {
				return nil, m.noGPU
			}
			return m, nil
		},
		openEngine: func(ctx context.Context, o trt.SessionOptions) (benchEngine, error) {
			if m.load != nil {
				return m.load(ctx, o)
			}
			if m.noLoad != nil {
				return nil, m.noLoad
			}
			e, err := trt.Read(o.Engine, o.Trust)
			if err != nil {
				return nil, err
			}
			m.opened = append(m.opened, o)
			m.open++
			return &fakeEngine{m: m, a: e.Artifact, shapes: o.Shapes, ms: float64(len(e.Bytes)) / 1000}, nil
		},
		getenv: func(name string) string { return m.env[name] },
	}
}

func (m *fakeMachine) Read() (gpu.Report, error) {
	return gpu.Report{Driver: "550.54.15", CUDA: "12.4", GPUs: m.gpus}, nil
}
func (m *fakeMachine) Index(ordinal int, visible string) (int, error) {
	if visible == "none" {
		return 0, errors.New("CUDA_VISIBLE_DEVICES=none shows no device 0")
	}
	return ordinal, nil
}
func (m *fakeMachine) Watch(index int, every time.Duration) *gpu.Watch {
	m.looked = append(m.looked, index)
	return gpu.NewWatch(func() (gpu.Moment, error) {
		sm := 1410
		return gpu.Moment{Time: time.Now(), SM: &sm}, nil
	}, time.Millisecond)
}
func (m *fakeMachine) Close() error { return nil }

type fakeEngine struct {
	m      *fakeMachine
	a      trt.Artifact
	shapes map[string][]int
	ms     float64
}

func (e *fakeEngine) Time(_ context.Context, o trt.TimeOptions) (trt.Block, error) {
	e.m.turns = append(e.m.turns, o)
	if e.m.onTurn != nil {
		e.m.onTurn(len(e.m.turns))
	}
	time.Sleep(2 * time.Millisecond) // long enough for a look at the clocks
	var b trt.Block
	for len(b.Samples) < max(5, o.Iterations) {
		b.Samples = append(b.Samples, trt.Sample{Start: b.Wall, Enqueue: 0.1 * e.ms, H2D: 0.1, GPU: e.ms, D2H: 0.1, EndToEnd: e.ms + 0.2})
		b.Wall += e.ms + 0.2
	}
	b.Graphed = o.Graph
	return b, nil
}
func (e *fakeEngine) Profile(context.Context, int) ([]trt.LayerTime, error) {
	return []trt.LayerTime{{Name: "a", Nodes: []string{"/conv1"}, Milliseconds: e.ms / 4}, {Name: "b", Nodes: []string{"/conv2", "/relu2"}, Milliseconds: 3 * e.ms / 4}}, nil
}
func (e *fakeEngine) Inputs() []trt.Tensor {
	list := append([]trt.Tensor(nil), e.a.Inputs...)
	for i := range list {
		if dims, ok := e.shapes[list[i].Name]; ok {
			list[i].Dims = dims
		}
	}
	return list
}
func (e *fakeEngine) DeviceBytes() int64      { return 5 << 20 }
func (e *fakeEngine) Version() string         { return "TensorRT 10.6.0" }
func (e *fakeEngine) Artifact() *trt.Artifact { return &e.a }
func (e *fakeEngine) Close() error            { e.m.open--; return nil }

func oneGPU() *fakeMachine {
	return &fakeMachine{gpus: []gpu.GPU{{Name: "NVIDIA A10", ComputeCapability: "8.6"}}}
}

// engineOf writes an engine that takes so many microseconds.
func engineOf(t *testing.T, name string, microseconds int, input trt.Tensor) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	err := trt.Write(path, &trt.Engine{Bytes: bytes.Repeat([]byte{1}, microseconds), Artifact: trt.Artifact{
		Backend: trt.BackendTensorRT, Family: "trt10", Version: "10.6.0", Precision: "int8, fp32", Inputs: []trt.Tensor{input},
		Outputs: []trt.Tensor{{Name: "y", Type: "fp32", Dims: []int{1, 10}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func fixedInput() trt.Tensor {
	return trt.Tensor{Name: "x", Type: "fp32", Dims: []int{1, 3, 640, 640}}
}

// benchOn runs `trtact bench` on a machine of the test's own.
func benchOn(t *testing.T, m *fakeMachine, args ...string) ran {
	t.Helper()
	return benchOnContext(t, context.Background(), m, args...)
}

func benchOnContext(t *testing.T, ctx context.Context, m *fakeMachine, args ...string) ran {
	t.Helper()
	var out, errs bytes.Buffer
	getenv := func(string) string { return "" }
	s := &session{ctx: ctx, out: &out, in: strings.NewReader(""), screen: report.NewScreen(&errs, getenv), width: 80}
	app := s.app()
	app.Command("bench").Action = func(c *urfave.Context) error { return s.bench(c, m.place()) }
	code := 0
	line, err := arrange(append([]string{"trtact", "bench"}, args...), app)
	if err == nil {
		err = app.RunContext(s.ctx, line.args)
	}
	if err != nil {
		code = s.fail(err)
	}
	if m.open != 0 {
		t.Errorf("%v: %d engines are still open", args, m.open)
	}
	return ran{code, out.String(), errs.String()}
}

func TestBenchEngines(t *testing.T) {
	a, b := engineOf(t, "a.engine", 2000, fixedInput()), engineOf(t, "b.engine", 1000, fixedInput())
	m := oneGPU()
	times := filepath.Join(t.TempDir(), "times.csv")
	r := benchOn(t, m, a, b, "--iterations", "200", "--streams", "2", "--cuda-graph", "--spin", "--layers", "--times", times, "--json", "-q")
	if r.code != 0 || r.err != "" {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	var got bench.Report
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatalf("%v: %s", err, r.out)
	}
	if got.Device != "cuda:0" || got.Backend != "TensorRT 10.6.0" || got.GPU.Name != "NVIDIA A10" || got.GPU.Driver != "550.54.15" || got.ActivityProblem != "" {
		t.Errorf("%+v, %+v", got, got.GPU)
	}
	if want := (bench.Settings{WarmUp: "200ms", Rounds: 20, Streams: 2, CUDAGraph: true, Transfers: true, Wait: "spin"}); got.Settings != want {
		t.Errorf("settings %+v, want %+v", got.Settings, want)
	}
	x := got.Models[1]
	if x.Model != b || x.Title != "b.engine" || x.Precision != "int8, fp32" || x.Batch != 1 || x.Height != 640 || x.Compute.Median != 1 || x.Compute.Count != 200 ||
		x.Speed != 2 || x.SpeedCI == nil || !x.CUDAGraph || x.DeviceBytes != 5<<20 || x.Bytes != 1000 {
		t.Errorf("%+v", x)
	}
	if x.Activity == nil || x.Activity.SM == nil || x.Activity.SM.Median != 1410 || len(m.looked) != 1 {
		t.Errorf("activity %+v", x.Activity)
	}
	if len(x.Layers) != 2 || x.Layers[0].Name != "b" || x.Layers[0].Share != 0.75 {
		t.Errorf("layers %+v", x.Layers)
	}
	// Two sessions with two contexts each to time with, then two for the layers.
	if len(m.opened) != 4 || m.opened[0].Contexts != 2 || m.opened[0].Layers || m.opened[2].Contexts != 1 || !m.opened[2].Layers {
		t.Errorf("opened %+v", m.opened)
	}
	warm := trt.TimeOptions{Duration: 200 * time.Millisecond, Streams: 2, Graph: true, Spin: true}
	turn := trt.TimeOptions{WarmUp: turnRuns, Iterations: 10, Streams: 2, Graph: true, Spin: true}
	if len(m.turns) != 2+2*20 || m.turns[0] != warm || m.turns[1] != warm || m.turns[2] != turn || m.turns[41] != turn {
		t.Errorf("%d turns, %+v, %+v", len(m.turns), m.turns[0], m.turns[len(m.turns)-1])
	}
	f, err := os.Open(times)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if rows, err := csv.NewReader(f).ReadAll(); err != nil || len(rows) != 401 {
		t.Errorf("%d rows of times, %v", len(rows), err)
	}
}

func TestBenchEngineFormats(t *testing.T) {
	a, b := engineOf(t, "a.engine", 2000, fixedInput()), engineOf(t, "b.engine", 1000, fixedInput())
	for _, c := range []struct {
		format string
		want   []string
	}{
		{"table", []string{"on NVIDIA A10 (TensorRT 10.6.0, driver 550.54.15, compute", "batch\n1 of 640x640, no transfers", "b.engine  1.000 ±0.000", "2.00 ±0.00x", "the GPU meanwhile", "1410"}},
		{"markdown", []string{"# Benchmark", "| b.engine | 1.000 ±0.000 |"}},
		{"csv", []string{"model,device,precision", ",gpu,100,1,1,1,1,1,"}},
		{"html", []string{"<!DOCTYPE html>", "b.engine</td>"}},
		{"json", []string{`"gpu_ms"`}},
	} {
		r := benchOn(t, oneGPU(), a, b, "--duration", "100ms", "--warmup", "1", "--no-transfers", "--format", c.format, "-q")
		if r.code != 0 {
			t.Errorf("%s: exit %d: %s", c.format, r.code, r.err)
		}
		for _, want := range c.want {
			if !strings.Contains(r.out, want) {
				t.Errorf("%s lacks %q:\n%s", c.format, want, r.out)
			}
		}
	}
}

// An engine runs at the size asked for, or not at all.
func TestBenchEngineShapes(t *testing.T) {
	open := trt.Tensor{Name: "x", Type: "fp32", Dims: []int{-1, 3, -1, -1},
		Profile: &trt.Profile{Min: []int{1, 3, 320, 320}, Opt: []int{4, 3, 640, 640}, Max: []int{8, 3, 640, 640}}}
	for _, c := range []struct {
		name  string
		input trt.Tensor
		args  []string
		want  []int // nil: the engine's own; with an error, unused
		err   string
	}{
		{"fixed", fixedInput(), []string{"--batch", "1", "--shape", "640x640"}, nil, ""},
		{"fixed batch", fixedInput(), []string{"--batch", "2"}, nil, "--batch 2: dimension 0 of input \"x\" of e.engine is 1"},
		{"fixed width", fixedInput(), []string{"--shape", "640x320"}, nil, "width 320"},
		{"the best", open, nil, []int{4, 3, 640, 640}, ""},
		{"asked for", open, []string{"--batch", "8", "--shape", "320x480"}, []int{8, 3, 320, 480}, ""},
		{"too many", open, []string{"--batch", "9"}, nil, "is 1 to 8"},
		{"too small", open, []string{"--shape", "128"}, nil, "is 320 to 640"},
		{"no profile", trt.Tensor{Name: "x", Type: "fp32", Dims: []int{-1, 3, -1, -1}}, nil, nil, "give --batch and --shape"},
		{"no profile, asked for", trt.Tensor{Name: "x", Type: "fp32", Dims: []int{-1, 3, -1, -1}}, []string{"--batch", "2", "--shape", "64"}, []int{2, 3, 64, 64}, ""},
		{"no picture", trt.Tensor{Name: "x", Type: "fp32", Dims: []int{-1, 7}, Profile: &trt.Profile{Min: []int{1, 7}, Opt: []int{2, 7}, Max: []int{3, 7}}}, []string{"--batch", "3"}, []int{3, 7}, ""},
	} {
		m := oneGPU()
		r := benchOn(t, m, append([]string{engineOf(t, "e.engine", 100, c.input), "--iterations", "1", "-q"}, c.args...)...)
		if c.err != "" {
			if r.code != fault.CodeUsage || !strings.Contains(r.err, c.err) {
				t.Errorf("%s: exit %d, %q, want %q", c.name, r.code, r.err, c.err)
			}
			continue
		}
		if r.code != 0 || len(m.opened) != 1 {
			t.Errorf("%s: exit %d, %s", c.name, r.code, r.err)
			continue
		}
		got, given := m.opened[0].Shapes["x"]
		if given != (c.want != nil) || given && !equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Whatever is missing is one sentence, and nothing else is printed.
func TestBenchEngineFailures(t *testing.T) {
	engine := engineOf(t, "e.engine", 100, fixedInput())
	foreign := filepath.Join(t.TempDir(), "foreign.engine")
	if err := os.WriteFile(foreign, []byte("bytes"), 0o644); err != nil {
		t.Fatal(err)
	}
	none := fault.NoDevice(errors.New("no NVIDIA driver on this machine"))
	for _, c := range []struct {
		name string
		m    fakeMachine
		args []string
		code int
		want string
	}{
		{"no driver", fakeMachine{noGPU: none, noLoad: errors.New("crashed")}, []string{engine}, fault.CodeNoDevice, "run the engine " + engine + ": no NVIDIA driver"},
		{"no driver, other TensorRT", fakeMachine{noGPU: none, noLoad: fault.BadInput(errors.New("built by another"))}, []string{engine}, fault.CodeBadInput, "built by another"},
		{"crash", fakeMachine{gpus: oneGPU().gpus, noLoad: errors.New("crashed")}, []string{engine}, fault.CodeFailed, "crashed"},
		{"no sidecar", *oneGPU(), []string{foreign}, fault.CodeBadInput, "sidecar"},
		{"no model", *oneGPU(), []string{"nowhere.engine"}, fault.CodeBadInput, "nowhere.engine"},
		{"two kinds", *oneGPU(), []string{engine, "../go.mod"}, fault.CodeUsage, "give --precision"},
		{"nothing to build", *oneGPU(), []string{engine, "--precision", "fp16"}, fault.CodeUsage, "timed as it is"},
		{"on the CPU", *oneGPU(), []string{engine, "--device", "cpu"}, fault.CodeUsage, "runs on a GPU only"},
		{"ONNX on the GPU", *oneGPU(), []string{"../go.mod", "--device", "cuda"}, fault.CodeUsage, "give --precision"},
		{"ONNX on no GPU", fakeMachine{noGPU: none}, []string{"../go.mod", "--device", "cuda"}, fault.CodeNoDevice, "no NVIDIA driver"},
		{"build for no GPU", fakeMachine{noGPU: none}, []string{"../go.mod", "--precision", "fp16"}, fault.CodeNoDevice, "no NVIDIA driver"},
	} {
		r := benchOn(t, &c.m, c.args...)
		if r.code != c.code || r.out != "" || !strings.Contains(r.err, c.want) || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%s: exit %d, %q, %q; want %d and %q", c.name, r.code, r.out, r.err, c.code, c.want)
		}
	}
	m := oneGPU()
	if r := benchOn(t, m, foreign, "--trust", "--iterations", "1", "-q"); r.code != 0 || !m.opened[0].Trust {
		t.Errorf("trusted: exit %d, %s", r.code, r.err)
	}
}

// Which GPU's clocks are watched must be certain.
func TestBenchWatchesTheRightGPU(t *testing.T) {
	engine := engineOf(t, "e.engine", 100, fixedInput())
	same := []gpu.GPU{{Name: "A10"}, {Name: "A10"}}
	other := []gpu.GPU{{Name: "A10"}, {Name: "T4"}}
	for _, c := range []struct {
		name string
		m    fakeMachine
		want int // -1: none
	}{
		{"alike", fakeMachine{gpus: same}, 1},
		{"different", fakeMachine{gpus: other}, -1},
		{"in order", fakeMachine{gpus: other, env: map[string]string{"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}}, 1},
		{"hidden", fakeMachine{gpus: same, env: map[string]string{"CUDA_VISIBLE_DEVICES": "none"}}, -1},
		{"no NVML", fakeMachine{noGPU: errors.New("no NVML")}, -1}, // and TensorRT runs all the same
	} {
		r := benchOn(t, &c.m, engine, "--device", "cuda:1", "--iterations", "1", "--json", "-q")
		var got bench.Report
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 0 {
			t.Errorf("%s: exit %d, %v: %s", c.name, r.code, err, r.err)
			continue
		}
		if c.m.opened[0].Device != 1 || got.Device != "cuda:1" {
			t.Errorf("%s: device %d", c.name, c.m.opened[0].Device)
		}
		watched := len(c.m.looked) == 1 && c.m.looked[0] == c.want
		if c.want >= 0 && !watched || c.want < 0 && (len(c.m.looked) > 0 || got.ActivityProblem == "" || !strings.Contains(r.err, "not watched")) {
			t.Errorf("%s: watched %v, problem %q, %s", c.name, c.m.looked, got.ActivityProblem, r.err)
		}
	}
}

func TestBenchInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	m := oneGPU()
	m.onTurn = func(n int) {
		if n == 5 {
			cancel()
		}
	}
	times := filepath.Join(t.TempDir(), "times.csv")
	r := benchOnContext(t, ctx, m, engineOf(t, "e.engine", 100, fixedInput()), "--times", times, "-q")
	if r.code != fault.CodeInterrupted || r.out != "" || r.err != "trtact: interrupted\n" || len(m.turns) != 5 {
		t.Errorf("exit %d, %q, %q after %d turns", r.code, r.out, r.err, len(m.turns))
	}
	if _, err := os.Stat(times); err == nil {
		t.Error("times of an interrupted benchmark were written")
	}
}
