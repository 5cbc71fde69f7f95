package bench

import (
	"cmp"
	"slices"

	"trtact/internal/gpu"
	"trtact/internal/stats"
	"trtact/trt"
)

// Report is the outcome of a benchmark, as --json prints it.
type Report struct {
	Device   string   `json:"device"`            // "cpu" or "cuda:0"
	Backend  string   `json:"backend"`           // what ran the models, with its version
	Threads  int      `json:"threads,omitempty"` // on the CPU
	GPU      *GPU     `json:"gpu,omitempty"`
	Settings Settings `json:"settings"`
	Models   []Model  `json:"models"`
	// ActivityProblem is why the models have no GPU activity.
	ActivityProblem string `json:"activity_problem,omitempty"`
}

// GPU is the one that engines ran on.
type GPU struct {
	Index             int    `json:"index"` // as NVML counts
	Name              string `json:"name"`
	UUID              string `json:"uuid,omitempty"`
	ComputeCapability string `json:"compute_capability,omitempty"`
	Driver            string `json:"driver,omitempty"`
	MaxSM             *int   `json:"max_sm_mhz,omitempty"`
}

// Settings say how it was measured.
type Settings struct {
	WarmUp    string `json:"warm_up"` // "5 runs" or "200ms"
	Rounds    int    `json:"rounds"`  // that were done
	Streams   int    `json:"streams,omitempty"`
	CUDAGraph bool   `json:"cuda_graph"`
	Transfers bool   `json:"transfers"`
	Wait      string `json:"wait,omitempty"` // "block" or "spin"
	Seed      int64  `json:"seed"`
}

// Model is what was measured of one model. Times are milliseconds of one run of
// the whole batch.
type Model struct {
	Model     string `json:"model"`               // path
	Title     string `json:"title"`               // short name, its own in this report
	Engine    string `json:"engine,omitempty"`    // path, where it was built from the model and kept
	Precision string `json:"precision,omitempty"` // of an engine
	Version   string `json:"version,omitempty"`   // of the TensorRT that runs it
	// Quantized: an ONNX model with Q/DQ nodes, whose INT8 is simulated in float.
	Quantized   bool  `json:"quantized"`
	Batch       int   `json:"batch"`
	Height      int   `json:"height,omitempty"`
	Width       int   `json:"width,omitempty"`
	Bytes       int64 `json:"bytes,omitempty"`        // of the engine's file
	DeviceBytes int64 `json:"device_bytes,omitempty"` // that running it takes on the GPU

	// Latency is end to end: on the GPU from handing over to the last output.
	Latency stats.Summary  `json:"latency_ms"`
	Compute *stats.Summary `json:"gpu_ms,omitempty"`
	H2D     *stats.Summary `json:"h2d_ms,omitempty"`
	D2H     *stats.Summary `json:"d2h_ms,omitempty"`
	Enqueue *stats.Summary `json:"enqueue_ms,omitempty"`

	// Throughput is all pictures by all time measured.
	Throughput float64 `json:"images_per_second"`
	// Speed is how many times as fast as the first model this is: the ratio of the
	// medians of computing on the GPU, of Latency on the CPU.
	Speed   float64         `json:"speed"`
	SpeedCI *stats.Interval `json:"speed_ci,omitempty"`

	CUDAGraph bool          `json:"cuda_graph"` // the runs were replays of one
	Activity  *gpu.Activity `json:"gpu_activity,omitempty"`
	// Energy is what one picture takes, in joules.
	Energy   *float64 `json:"joules_per_image,omitempty"`
	Layers   []Layer  `json:"layers,omitempty"`
	Warnings []string `json:"warnings"`

	run Run
}

// main is the time that models are compared by.
func (m *Model) main() stats.Summary {
	if m.Compute != nil {
		return *m.Compute
	}
	return m.Latency
}

// mainOf is the same of a sample.
func (m *Model) mainOf(s trt.Sample) float64 {
	if m.Compute != nil {
		return s.GPU
	}
	return s.EndToEnd
}

// Fill computes the figures of every model from what was measured of it: runs
// has one for each of Models, moments is what was seen of the GPU meanwhile.
func (r *Report) Fill(runs []Run, moments []gpu.Moment) {
	onGPU := r.Device != "cpu"
	for i := range r.Models {
		m := &r.Models[i]
		m.fill(runs[i], onGPU, r.Settings.Transfers)
		r.Settings.Rounds = len(runs[i].Blocks)
		if len(moments) > 0 {
			a := gpu.During(moments, runs[i].Spans)
			m.Activity = &a
			if a.MeanPower != nil && m.Throughput > 0 {
				joules := *a.MeanPower / m.Throughput
				m.Energy = &joules
			}
		}
	}
	for i := range r.Models {
		r.Models[i].compare(&r.Models[0])
		r.Models[i].Warnings = r.warnings(&r.Models[i])
	}
}

func (m *Model) fill(run Run, onGPU, transfers bool) {
	m.run = run
	part := func(of func(trt.Sample) float64) stats.Summary { return stats.SummariseRounds(run.rounds(of)) }
	m.Latency = part(func(s trt.Sample) float64 { return s.EndToEnd })
	if onGPU {
		compute, enqueue := part(func(s trt.Sample) float64 { return s.GPU }), part(func(s trt.Sample) float64 { return s.Enqueue })
		m.Compute, m.Enqueue = &compute, &enqueue
		if transfers {
			h2d, d2h := part(func(s trt.Sample) float64 { return s.H2D }), part(func(s trt.Sample) float64 { return s.D2H })
			m.H2D, m.D2H = &h2d, &d2h
		}
	}
	wall, graphed := 0.0, len(run.Blocks) > 0
	for _, b := range run.Blocks {
		wall += b.Wall
		graphed = graphed && b.Graphed
	}
	m.CUDAGraph = graphed
	if wall > 0 {
		m.Throughput = 1000 * float64(m.Batch*m.Latency.Count) / wall
	}
}

// compare fills in how fast m is beside the first model.
func (m *Model) compare(first *Model) {
	if median := m.main().Median; median > 0 {
		m.Speed = first.main().Median / median
	}
	if m == first {
		return
	}
	if i, ok := stats.RatioInterval(first.run.rounds(first.mainOf), m.run.rounds(m.mainOf)); ok {
		m.SpeedCI = &i
	}
}

// rounds is one figure of every sample, by round.
func (r Run) rounds(of func(trt.Sample) float64) [][]float64 {
	out := make([][]float64, len(r.Blocks))
	for i, b := range r.Blocks {
		out[i] = make([]float64, len(b.Samples))
		for k, s := range b.Samples {
			out[i][k] = of(s)
		}
	}
	return out
}

// SetLayers takes the times of an engine's layers, the slowest first.
func (m *Model) SetLayers(layers []trt.LayerTime) {
	total := 0.0
	for _, l := range layers {
		total += l.Milliseconds
	}
	m.Layers = nil
	for _, l := range layers {
		layer := Layer{LayerTime: l, Reformat: reformats(l.Name)}
		if total > 0 {
			layer.Share = l.Milliseconds / total
		}
		m.Layers = append(m.Layers, layer)
	}
	slices.SortStableFunc(m.Layers, func(a, b Layer) int { return cmp.Compare(b.Milliseconds, a.Milliseconds) })
}
