package bench

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"trtact/internal/gpu"
	"trtact/trt"
)

// engine is a Timer that answers with times of known distributions, as an engine
// on a GPU would, without waiting.
type engine struct {
	gpu, h2d, d2h, enqueue float64 // medians
	spread                 float64 // of every time, relative
	clock                  float64 // spread of the rounds, relative
	note                   string
	random                 *rand.Rand
}

func (e *engine) Time(_ context.Context, o trt.TimeOptions) (trt.Block, error) {
	n := o.Iterations
	if n == 0 {
		n = int(max(1, float64(o.Duration)/float64(time.Millisecond)/(e.h2d+e.gpu+e.d2h)))
	}
	normal := func(sigma float64) float64 { return math.Exp(distuv.Normal{Sigma: sigma, Src: e.random}.Rand()) }
	round := normal(e.clock)
	b := trt.Block{Note: e.note, Graphed: o.Graph && e.note == ""}
	for range n {
		s := trt.Sample{Start: b.Wall, GPU: e.gpu * round * normal(e.spread), Enqueue: e.enqueue * normal(e.spread)}
		if !o.NoTransfers {
			s.H2D, s.D2H = e.h2d*normal(e.spread), e.d2h*normal(e.spread)
		}
		if b.Graphed {
			s.Enqueue /= 20
		}
		s.EndToEnd = s.H2D + s.GPU + s.D2H
		b.Wall += max(s.EndToEnd, s.Enqueue)
		b.Samples = append(b.Samples, s)
	}
	return b, nil
}

// threePrecisions is a benchmark of one model at three precisions, by fakes.
func threePrecisions(turn trt.TimeOptions) (*Report, []float64) {
	random := rand.New(rand.NewPCG(5, 6))
	medians := []float64{2.4, 1.3, 0.85}
	r := &Report{
		Device: "cuda:0", Backend: "TensorRT 10.6.0",
		GPU:      &GPU{Name: "NVIDIA A10", UUID: "GPU-0", ComputeCapability: "8.6", Driver: "550.54.15"},
		Settings: Settings{WarmUp: "200ms", Streams: max(1, turn.Streams), CUDAGraph: turn.Graph, Transfers: !turn.NoTransfers, Wait: "block"},
	}
	var timers []Timer
	for i, p := range []string{"fp32", "fp16", "int8"} {
		r.Models = append(r.Models, Model{Model: "yolov8n.onnx", Title: "yolov8n " + p, Precision: p, Version: "10.6.0", Batch: 1, Height: 640, Width: 640,
			Bytes: int64(14<<20) >> i, DeviceBytes: int64(96<<20) >> i})
		timers = append(timers, &engine{gpu: medians[i], h2d: 0.42, d2h: 0.18, enqueue: 0.61, spread: 0.006, clock: 0.01, random: random})
	}
	runs, err := Measure(context.Background(), timers, Options{Turn: turn, Rounds: 20})
	if err != nil {
		panic(err)
	}
	// The fakes do not wait, so each block gets a second of its own.
	at := time.Unix(1000, 0)
	var moments []gpu.Moment
	for round := range 20 {
		for i := range runs {
			runs[i].Spans[round] = gpu.Span{From: at, To: at.Add(time.Second)}
			for k := range 4 {
				moments = append(moments, moment(at.Add(time.Duration(100+200*k)*time.Millisecond), round, i))
			}
			at = at.Add(time.Second)
		}
	}
	r.Fill(runs, moments)
	r.Models[2].SetLayers([]trt.LayerTime{
		{Name: "images reformat", Milliseconds: 0.011},
		{Name: "model.0.conv", Nodes: []string{"/model.0/conv/Conv", "/model.0/act/Sigmoid", "/model.0/act/Mul"}, Milliseconds: 0.062},
		{Name: "Reformatting CopyNode for Input Tensor 0 to /model.22/cv2.0/cv2.0.0/conv/Conv", Nodes: []string{"/model.22/cv2.0/cv2.0.0/conv/Conv"}, Milliseconds: 0.05},
		{Name: "model.22", Nodes: []string{"/model.22/cv2.0/cv2.0.0/conv/Conv"}, Milliseconds: 0.040},
		{Name: "{ForeignNode[a...b]}", Nodes: []string{"/model.22/dfl/Softmax", "/model.22/dfl/conv/Conv", "/model.22/Sub", "/model.22/Add_1"}, Milliseconds: 0.087},
	})
	return r, medians
}

// moment is a GPU that gets hotter, and is held by its power limit while the
// first engine runs.
func moment(at time.Time, round, i int) gpu.Moment {
	sm, memory, heat := 1695, 6251, 48+round/3
	watts := []float64{148, 131, 122}[i]
	joules := watts * float64(at.UnixNano()) / 1e9
	m := gpu.Moment{Time: at, SM: &sm, Memory: &memory, Temperature: &heat, Power: &watts, Energy: &joules}
	if i == 0 {
		sm = 1575 + 15*(round%3)
		if round%4 == 0 {
			m.Slowed = []gpu.Reason{gpu.ReasonPower}
		}
	}
	return m
}
