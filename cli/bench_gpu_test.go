package cli

import (
	"encoding/json"
	"math"
	"path/filepath"
	"testing"

	"trtact/internal/bench"
	"trtact/internal/gpu"
	"trtact/internal/testenv"
)

// The whole of bench on a real GPU: engines are built, timed, watched, taken
// apart by layer.
func TestGPUBench(t *testing.T) {
	m, err := gpu.Open()
	if err != nil {
		t.Skipf("skipped: needs a GPU: %v", err)
	}
	m.Close()
	needCPU(t)
	model, keep := filepath.Join(testenv.Root(), "examples", "shapes", "shapes.onnx"), t.TempDir()
	measure := func(args ...string) bench.Report {
		t.Helper()
		r := run(t, append(append([]string{"bench"}, args...), "--duration", "400ms", "--json", "-q")...)
		if r.code != 0 {
			t.Fatalf("%v: exit %d: %s", args, r.code, r.err)
		}
		var got bench.Report
		if err := json.Unmarshal([]byte(r.out), &got); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return got
	}
	plain := measure(model, "--precision", "fp32,fp16", "--keep", keep, "--layers")
	if plain.GPU == nil || plain.GPU.Name == "" || plain.ActivityProblem != "" || len(plain.Models) != 2 {
		t.Fatalf("%+v, %+v", plain, plain.GPU)
	}
	for _, x := range plain.Models {
		parts := x.H2D.Median + x.Compute.Median + x.D2H.Median
		if x.Compute.Min <= 0 || x.Enqueue.Min <= 0 || x.H2D.Min <= 0 || x.D2H.Min <= 0 || math.Abs(parts/x.Latency.Median-1) > 0.05 {
			t.Errorf("%s: copies and computing take %v ms, end to end %v ms", x.Title, parts, x.Latency.Median)
		}
		// Two runs are under way, so that a run starts at least as often as its parts take.
		if x.Throughput < 0.5*1000/parts || x.Throughput > 1.2*1000/parts {
			t.Errorf("%s: %v images a second, a run takes %v ms", x.Title, x.Throughput, parts)
		}
		if x.Activity == nil || x.Activity.SM == nil || x.Activity.SM.Min <= 0 || x.DeviceBytes <= 0 {
			t.Errorf("%s: activity %+v, %d bytes on the GPU", x.Title, x.Activity, x.DeviceBytes)
		}
		named := 0
		for _, l := range x.Layers {
			if len(l.Nodes) > 0 {
				named++
			}
		}
		if named == 0 || x.Layers[0].Milliseconds <= 0 {
			t.Errorf("%s: %d layers, %d of them with nodes", x.Title, len(x.Layers), named)
		}
	}
	engine := plain.Models[0].Engine
	graph := measure(engine, "--cuda-graph", "--no-transfers", "--spin").Models[0]
	if graph.H2D != nil || graph.Latency.Median != graph.Compute.Median {
		t.Errorf("without transfers: %+v", graph)
	}
	if graph.CUDAGraph && graph.Enqueue.Median > plain.Models[0].Enqueue.Median {
		t.Errorf("handing over a graph takes %v ms, the run %v ms", graph.Enqueue.Median, plain.Models[0].Enqueue.Median)
	}
	if streams := measure(engine, "--streams", "2").Models[0]; streams.Throughput <= 0 {
		t.Errorf("two streams: %+v", streams)
	}
}
