package bench

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"trtact/internal/gpu"
	"trtact/internal/report"
	"trtact/trt"
)

// What is known of the fakes comes out again.
func TestReportOfKnownDistributions(t *testing.T) {
	r, medians := threePrecisions(trt.TimeOptions{Iterations: 100})
	for i, m := range r.Models {
		if m.Compute.Count != 2000 || m.Latency.Count != 2000 {
			t.Fatalf("%s: %d samples", m.Title, m.Compute.Count)
		}
		for _, c := range []struct {
			name      string
			got, want float64
		}{
			{"median", m.Compute.Median, medians[i]},
			{"h2d", m.H2D.Median, 0.42}, {"d2h", m.D2H.Median, 0.18}, {"enqueue", m.Enqueue.Median, 0.61},
			{"latency", m.Latency.Median, medians[i] + 0.6},
			{"images/s", m.Throughput, 1000 / (medians[i] + 0.6)},
			{"speed", m.Speed, medians[0] / medians[i]},
			{"energy", *m.Energy, []float64{148, 131, 122}[i] * (medians[i] + 0.6) / 1000},
		} {
			if math.Abs(c.got/c.want-1) > 0.01 {
				t.Errorf("%s: %s is %v, want %v", m.Title, c.name, c.got, c.want)
			}
		}
		// Two independent spreads: of the rounds, and within.
		if want := math.Hypot(0.006, 0.01); math.Abs(m.Compute.CV/want-1) > 0.4 {
			t.Errorf("%s: coefficient of variation %v, want about %v", m.Title, m.Compute.CV, want)
		}
		if ci := m.Compute.MedianCI; ci == nil || !ci.Holds(m.Compute.Median) || ci.High-ci.Low > 0.03*medians[i] {
			t.Errorf("%s: interval %v", m.Title, ci)
		}
		if (m.SpeedCI == nil) != (i == 0) || i > 0 && !m.SpeedCI.Holds(m.Speed) {
			t.Errorf("%s: interval of the speed %v", m.Title, m.SpeedCI)
		}
	}
	if a := r.Models[0].Activity; a.Samples != 80 || *a.SM != (gpu.Range{Min: 1575, Median: 1590, Max: 1605}) || len(a.Slowed) != 1 || a.Slowed[0].Share != 0.25 || math.Abs(*a.MeanPower-148) > 0.01 {
		t.Errorf("activity %+v", a)
	}
	if l := r.Models[2].Layers; l[0].Milliseconds != 0.087 || math.Abs(l[0].Share-0.348) > 1e-9 || l[4].Name != "images reformat" || l[1].Reformat || !l[2].Reformat {
		t.Errorf("layers %+v", l)
	}
}

// Streams overlap, so throughput is not the reverse of latency.
func TestThroughputOfStreams(t *testing.T) {
	r := &Report{Device: "cuda:0", Settings: Settings{Streams: 2}, Models: []Model{{Batch: 4}}}
	s := []trt.Sample{{GPU: 2, EndToEnd: 2}, {GPU: 2, EndToEnd: 2, Start: 1}, {GPU: 2, EndToEnd: 2, Start: 2}}
	r.Fill([]Run{{Blocks: []trt.Block{{Samples: s, Wall: 4}, {Samples: s, Wall: 4}}}}, nil)
	if m := r.Models[0]; m.Throughput != 1000*4*6/8.0 || m.H2D != nil || m.Activity != nil || m.Energy != nil {
		t.Errorf("%+v", m)
	}
}

func TestWarnings(t *testing.T) {
	moments := func(sm ...int) []gpu.Moment {
		var list []gpu.Moment
		for i := range sm {
			list = append(list, gpu.Moment{Time: time.Unix(int64(i), 0), SM: &sm[i]})
		}
		return list
	}
	held := moments(1000, 1000, 1000, 1000)
	held[1].Slowed, held[2].Slowed = []gpu.Reason{gpu.ReasonHeat, gpu.ReasonSet}, []gpu.Reason{gpu.ReasonSet}
	for _, c := range []struct {
		name    string
		e       engine
		turn    trt.TimeOptions
		moments []gpu.Moment
		want    []string
	}{
		{"quiet", engine{gpu: 2, h2d: 0.1, d2h: 0.1, enqueue: 0.3, spread: 0.005}, trt.TimeOptions{}, moments(1500, 1490), nil},
		{"enqueue", engine{gpu: 0.5, h2d: 0.1, d2h: 0.1, enqueue: 0.45}, trt.TimeOptions{}, nil, []string{"handing a run over takes 0.450 ms, computing it 0.500 ms; --cuda-graph"}},
		{"enqueue of streams", engine{gpu: 0.5, h2d: 0.1, d2h: 0.1, enqueue: 0.45}, trt.TimeOptions{Streams: 2}, nil, nil},
		{"enqueue of a graph", engine{gpu: 0.01, h2d: 0.001, d2h: 0.001, enqueue: 0.4}, trt.TimeOptions{Graph: true}, nil, []string{"larger --batch"}},
		{"no graph", engine{gpu: 2, h2d: 0.1, d2h: 0.1, enqueue: 0.3, note: "no CUDA graph: the engine synchronises"}, trt.TimeOptions{Graph: true}, nil, []string{"no CUDA graph: the engine synchronises"}},
		{"inputs", engine{gpu: 0.5, h2d: 0.6, d2h: 0.1, enqueue: 0.1}, trt.TimeOptions{}, nil, []string{"copying the inputs to the GPU takes 0.600 ms"}},
		{"outputs", engine{gpu: 0.5, h2d: 0.1, d2h: 0.6, enqueue: 0.1}, trt.TimeOptions{}, nil, []string{"copying the outputs from the GPU takes 0.600 ms"}},
		{"left out", engine{gpu: 0.5, h2d: 0.6, d2h: 0.6, enqueue: 0.1}, trt.TimeOptions{NoTransfers: true}, nil, nil},
		{"unsteady", engine{gpu: 2, h2d: 0.1, d2h: 0.1, enqueue: 0.3, spread: 0.08}, trt.TimeOptions{}, nil, []string{"the times on the GPU vary by 8 %: lock the clocks"}},
		{"unsteady, spinning", engine{gpu: 2, h2d: 0.1, d2h: 0.1, enqueue: 0.3, spread: 0.08}, trt.TimeOptions{Spin: true}, nil, []string{"nothing else uses the GPU"}},
		{"clocks", engine{gpu: 2, h2d: 0.1, d2h: 0.1, enqueue: 0.3}, trt.TimeOptions{}, moments(1500, 1200), []string{"between 1200 and 1500 MHz"}},
		{"heat", engine{gpu: 2, h2d: 0.1, d2h: 0.1, enqueue: 0.3}, trt.TimeOptions{}, held, []string{"held its clocks down in 25 % of the time: heat"}},
	} {
		c.e.random = rand.New(rand.NewPCG(1, 2))
		c.turn.Iterations = 500
		r := &Report{Device: "cuda:0", Settings: Settings{Streams: c.turn.Streams, CUDAGraph: c.turn.Graph, Transfers: !c.turn.NoTransfers, Wait: "block"}, Models: []Model{{Batch: 1}}}
		if c.turn.Spin {
			r.Settings.Wait = "spin"
		}
		runs, err := Measure(context.Background(), []Timer{&c.e}, Options{Turn: c.turn, Rounds: 2})
		if err != nil {
			t.Fatal(err)
		}
		runs[0].Spans = []gpu.Span{{From: time.Unix(0, 0), To: time.Unix(100, 0)}}
		r.Fill(runs, c.moments)
		got := r.Models[0].Warnings
		if len(got) != len(c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], c.want[i]) {
				t.Errorf("%s: %q, want %q", c.name, got[i], c.want[i])
			}
			if c.name == "unsteady, spinning" && strings.Contains(got[i], "--spin") {
				t.Errorf("%s: %q", c.name, got[i])
			}
		}
	}
	cpu := &Report{Device: "cpu", Models: []Model{{Batch: 1}}}
	cpu.Fill([]Run{{Blocks: []trt.Block{{Samples: []trt.Sample{{EndToEnd: 1}, {EndToEnd: 2}, {EndToEnd: 3}}, Wall: 6}}}}, nil)
	if w := cpu.Models[0].Warnings; len(w) != 1 || !strings.Contains(w[0], "vary by 50 %") {
		t.Errorf("on the CPU: %q", w)
	}
}

// cpuReport is two models on the CPU, one of them simulated.
func cpuReport() *Report {
	r := &Report{Device: "cpu", Backend: "oneDNN 3.2, avx512", Threads: 2, Settings: Settings{WarmUp: "5 runs", Transfers: true}, Models: []Model{
		{Model: "a/yolov8n.onnx", Title: "yolov8n.onnx", Batch: 1, Height: 640, Width: 640},
		{Model: "a/yolov8n_int8_int8.onnx", Title: "yolov8n_int8.onnx", Quantized: true, Batch: 1, Height: 320, Width: 640},
	}}
	random := rand.New(rand.NewPCG(8, 9))
	runs := make([]Run, 2)
	for i, median := range []float64{31, 104} {
		for range 40 {
			ms := median * (1 + 0.02*random.NormFloat64())
			runs[i].Blocks = append(runs[i].Blocks, trt.Block{Samples: []trt.Sample{{EndToEnd: ms}}, Wall: ms})
		}
	}
	r.Fill(runs, nil)
	return r
}

// snapshot compares text with a file of testdata; TRTACT_UPDATE_SNAPSHOTS=1
// writes the file instead.
func snapshot(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("TRTACT_UPDATE_SNAPSHOTS") == "1" {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (`make update-snapshots` writes it)", err)
	}
	if text != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, text, want)
	}
}

func TestText(t *testing.T) {
	engines, _ := threePrecisions(trt.TimeOptions{Iterations: 100})
	graph, _ := threePrecisions(trt.TimeOptions{Iterations: 10, Graph: true, NoTransfers: true, Streams: 2})
	graph.Models[1].Width = 320
	graph.Models = graph.Models[:2]
	long, _ := threePrecisions(trt.TimeOptions{Iterations: 10})
	for i := range long.Models {
		long.Models[i].Title = "yolov8n_640_percentile_qat." + long.Models[i].Precision + ".engine"
	}
	long.Models[2].Layers[0].Nodes = []string{strings.Repeat("/model.22/dfl/conv.one", 6)}
	for _, c := range []struct {
		file string
		r    *Report
	}{{"engines.txt", engines}, {"long.txt", long}, {"graph.txt", graph}, {"cpu.txt", cpuReport()}} {
		var out bytes.Buffer
		if err := c.r.Text(&out, 80, 3); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(out.String(), "\n") {
			if report.Width(line) > 80 {
				t.Errorf("%s: %d columns: %s", c.file, report.Width(line), line)
			}
		}
		snapshot(t, c.file, out.String())
		if err := c.r.Text(&out, 12, 3); err != nil { // a narrow terminal
			t.Error(err)
		}
	}
}

func TestMarkdown(t *testing.T) {
	r, _ := threePrecisions(trt.TimeOptions{Iterations: 100})
	r.Models[0].Title = "a|b_*c*"
	r.ActivityProblem = "GPU 0 fell off the bus"
	var out bytes.Buffer
	if err := r.Markdown(&out, 3); err != nil {
		t.Fatal(err)
	}
	// Every row of a table has as many cells as its head.
	cells := regexp.MustCompile(`(?:^|[^\\])\|`)
	columns := 0
	for _, line := range strings.Split(out.String(), "\n") {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		n := len(cells.FindAllString(line, -1))
		if columns > 0 && n != columns {
			t.Errorf("%d cells, want %d: %s", n, columns, line)
		}
		columns = n
	}
	snapshot(t, "engines.md", out.String())
}

func TestCSV(t *testing.T) {
	r, _ := threePrecisions(trt.TimeOptions{Iterations: 10})
	var out bytes.Buffer
	if err := r.CSV(&out); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 1+3*5 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if rows[2][10] != "gpu" || rows[2][8] != "" || rows[7][8] == "" || rows[7][2] != "fp16" || rows[1][11] != "200" {
		t.Errorf("rows %v\n%v", rows[2], rows[7])
	}
	out.Reset()
	if err := r.Times(&out); err != nil {
		t.Fatal(err)
	}
	if rows, err = csv.NewReader(&out).ReadAll(); err != nil || len(rows) != 1+3*200 || rows[600][2] != "19" || rows[600][3] != "9" || rows[600][7] == "" {
		t.Errorf("%d rows, %v, the last %v", len(rows), err, rows[len(rows)-1])
	}
	out.Reset()
	if err := cpuReport().Times(&out); err != nil {
		t.Fatal(err)
	}
	if rows, err = csv.NewReader(&out).ReadAll(); err != nil || len(rows) != 81 || rows[1][7] != "" || rows[1][9] == "" {
		t.Errorf("%d rows, %v: %v", len(rows), err, rows[1])
	}
}

func TestJSON(t *testing.T) {
	r, _ := threePrecisions(trt.TimeOptions{Iterations: 10})
	var out bytes.Buffer
	if err := report.JSON(&out, r); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Models []struct {
			Latency struct {
				Median float64
				CI     struct{ Low, High float64 } `json:"median_ci"`
			} `json:"latency_ms"`
			GPU      struct{ P99 float64 } `json:"gpu_ms"`
			Speed    float64
			Activity struct {
				SM struct{ Median float64 } `json:"sm_mhz"`
			} `json:"gpu_activity"`
			Warnings []string
			Layers   []struct {
				Nodes []string
				Share float64
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	m := got.Models[2]
	if m.Latency.Median <= 0 || m.Latency.CI.Low <= 0 || m.GPU.P99 <= 0 || m.Speed < 2 || m.Activity.SM.Median != 1695 || m.Warnings == nil || len(m.Layers[0].Nodes) != 4 || m.Layers[0].Share <= 0 {
		t.Errorf("%+v", m)
	}
}

// The page is well-formed, shows every model and takes nothing for markup.
func TestHTML(t *testing.T) {
	r, _ := threePrecisions(trt.TimeOptions{Iterations: 20})
	r.Models[1].Title = `<script>"x"&`
	var out bytes.Buffer
	if err := r.HTML(&out, 3, "trtact test"); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if strings.Contains(text, "<script") || strings.Contains(text, "NaN") || !strings.Contains(text, `&lt;script&gt;`) {
		t.Error("the page has a script or a figure that is none, or lacks a name")
	}
	if path := os.Getenv("TRTACT_DRAW"); path != "" {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d := xml.NewDecoder(strings.NewReader(text))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	seen, open := map[string]int{}, 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			seen[e.Name.Local]++
			open++
		case xml.EndElement:
			open--
		}
	}
	// An overview, three engines taken apart, the GPU, one engine's layers; two charts.
	if open != 0 || seen["table"] != 6 || seen["svg"] < 2 || seen["h2"] != 8 {
		t.Errorf("%d elements left open, %v", open, seen)
	}
}

func TestFold(t *testing.T) {
	for _, c := range []struct {
		text string
		want string
	}{
		{"short.engine", "short.engine"},
		{"two short", "two short"},
		{"yolov8n_percentile.engine", "yolov8n_percentile.\nengine"},
		{"a yolov8n_percentile.engine b", "a yolov8n_percentile.\nengine b"},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
		{"", ""},
	} {
		if got := fold(c.text, 19); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}
