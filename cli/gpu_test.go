package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"trtact/internal/fault"
	"trtact/internal/gpu"
	"trtact/internal/report"
)

func pointer[T any](v T) *T { return &v }

func twoGPUs() gpu.Report {
	return gpu.Report{Driver: "550.54.15", CUDA: "12.4", GPUs: []gpu.GPU{
		{
			Index: 0, Name: "Tesla T4", ComputeCapability: "7.5",
			Memory:      &gpu.Memory{Total: 15 << 30, Used: 3 << 29, Free: 27 << 29},
			Utilization: &gpu.Utilization{GPU: 97, Memory: 40},
			Clocks:      gpu.Clocks{SM: pointer(1590), Memory: pointer(5000)},
			Temperature: pointer(71), Power: pointer(69.6), PowerLimit: pointer(70.0),
			Processes: []gpu.Process{{PID: 4242, Name: "trtact", Kind: "compute", Memory: pointer(uint64(500 << 20))}, {PID: 9, Kind: "graphics"}},
		},
		{Index: 1, Name: "GeForce 940MX", Processes: []gpu.Process{}},
		{Index: 2, Problem: "NVML says: GPU is lost", Processes: []gpu.Process{}},
	}}
}

type fakeGPUs struct {
	report gpu.Report
	err    error
	reads  int
	onRead func(n int)
}

func (f *fakeGPUs) Read() (gpu.Report, error) {
	f.reads++
	if f.onRead != nil {
		f.onRead(f.reads)
	}
	return f.report, f.err
}

func (f *fakeGPUs) Close() error { return nil }

func TestGPUTable(t *testing.T) {
	var out bytes.Buffer
	if err := writeGPUs(&out, twoGPUs(), 100); err != nil {
		t.Fatal(err)
	}
	snapshot(t, "gpu.txt", out.String())
	out.Reset()
	if err := writeGPUs(&out, twoGPUs(), 80); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if report.Width(line) > 80 {
			t.Errorf("line of %d columns: %q", report.Width(line), line)
		}
	}
}

func TestGPUJSON(t *testing.T) {
	var out bytes.Buffer
	s := &session{out: &out, width: 80, globals: globals{json: true}}
	if err := s.showGPUs(&fakeGPUs{report: twoGPUs()}); err != nil {
		t.Fatal(err)
	}
	var got struct {
		GPUs []map[string]any `json:"gpus"`
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.GPUs) != 3 || got.GPUs[0]["temperature_c"] != 71.0 || got.GPUs[1]["temperature_c"] != nil {
		t.Errorf("got %v", got.GPUs)
	}
}

func TestGPUWithoutDriver(t *testing.T) {
	if _, err := os.Stat("/dev/nvidiactl"); err == nil {
		t.Skip("skipped: this machine has an NVIDIA driver")
	}
	for _, args := range [][]string{{"gpu"}, {"gpu", "--json"}, {"gpu", "--watch"}} {
		r := run(t, args...)
		if r.code != fault.CodeNoDevice || r.out != "" || !strings.HasPrefix(r.err, "trtact: no NVIDIA driver on this machine") || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%v: exit %d, %q, %q", args, r.code, r.out, r.err)
		}
	}
}

func TestWatchEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var out bytes.Buffer
	f := &fakeGPUs{report: twoGPUs(), onRead: func(n int) {
		if n == 2 {
			cancel()
		}
	}}
	s := &session{ctx: ctx, out: &out, in: strings.NewReader(""), width: 80}
	start := time.Now()
	if err := s.watchGPUs(f); err != nil {
		t.Fatal(err)
	}
	if f.reads != 2 || time.Since(start) > 5*time.Second {
		t.Errorf("%d reads in %v", f.reads, time.Since(start))
	}
	if strings.Count(out.String(), "Tesla T4") != 2 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("output %q", out.String())
	}
}

func TestWatchEndsWithAnError(t *testing.T) {
	s := &session{ctx: context.Background(), out: &bytes.Buffer{}, in: strings.NewReader(""), width: 80}
	gone := errors.New("gone")
	if err := s.watchGPUs(&fakeGPUs{err: gone}); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}

// On a terminal in raw mode a bare line feed would make stairs.
func TestScreenLines(t *testing.T) {
	var l lines
	l.Write([]byte("a\nb\n"))
	if got, want := string(l.screen()), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
