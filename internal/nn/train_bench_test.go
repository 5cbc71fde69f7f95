package nn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"trtact/calib"
	"trtact/internal/compute"
	"trtact/internal/detect"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

// cutToHeads is a detector up to its last layers, at a picture size of its own.
func cutToHeads(t testing.TB, name string, size int) (m *onnx.Model, heads []string) {
	t.Helper()
	m, err := onnx.Load(filepath.Join(testenv.Data(t, "models"), name+".onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := simplify.Run(m); err != nil {
		t.Fatal(err)
	}
	if err := shape.Infer(m, nil); err != nil {
		t.Fatal(err)
	}
	heads = detect.HeadNodes(m.Graph)
	if err := m.Graph.Extract(heads); err != nil {
		t.Fatal(err)
	}
	in := &m.Graph.Inputs[0]
	in.Dims = []int{1, 3, size, size}
	m.Graph.Info = map[string]onnx.Value{}
	for i := range m.Graph.Outputs {
		m.Graph.Outputs[i].Dims = nil
	}
	if err := shape.Infer(m, nil); err != nil {
		t.Fatal(err)
	}
	return m, heads
}

// studentOf is a Q/DQ form of m with one scale for all activations: steps take as
// long with any.
func studentOf(t testing.TB, m *onnx.Model) *onnx.Model {
	t.Helper()
	plan, err := calib.Place(m.Graph, calib.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	for i := range plan.Sites {
		plan.Sites[i].Scale = 0.05
	}
	q, err := calib.Apply(m, plan, calib.TrainedWeights)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// BenchmarkStep is a step of YOLOv5n's distillation as scripts/bench/train_torch.py
// makes it: teacher, student with quantised activations and weights, mean squared
// errors at the three heads, SGD. Pictures differ from step to step. The figure to
// look at is the median, ms/step. TRTACT_TEST_DEVICE=cuda makes it on a GPU, in
// TRTACT_TEST_PRECISION.
func BenchmarkStep(b *testing.B) {
	for _, c := range []struct{ size, batch int }{{320, 4}, {640, 1}, {640, 4}, {640, 16}} {
		b.Run(fmt.Sprintf("%d/batch=%d", c.size, c.batch), func(b *testing.B) {
			d, threads := openCPU(b), runtime.GOMAXPROCS(0)
			if os.Getenv("TRTACT_TEST_DEVICE") == "cuda" {
				var err error
				if d, err = compute.OpenCUDA(0); err != nil {
					b.Skipf("skipped: needs an NVIDIA GPU and the CUDA backend: %v", err)
				}
				defer d.Close()
				threads = 4 // as many pictures at once
			}
			m, heads := cutToHeads(b, "yolov5n", c.size)
			o := TrainOptions{Quantizer: FixedScales, Optimizer: compute.Optimize{Kind: compute.SGD}, Workers: min(threads, c.batch)}
			o.Math = map[string]compute.Math{"tf32": compute.TF32, "bf16": compute.BF16}[os.Getenv("TRTACT_TEST_PRECISION")]
			o.Threads = threads / o.Workers
			for _, h := range heads {
				o.Losses = append(o.Losses, LossNode{Tensor: h, Kind: compute.LossL2, Weight: 1})
			}
			teacher, err := Compile(m, d, Options{Plain: true, Workers: o.Workers, Threads: o.Threads})
			if err != nil {
				b.Fatal(err)
			}
			defer teacher.Close()
			tr, err := NewTrainer(studentOf(b, m), d, o)
			if err != nil {
				b.Fatal(err)
			}
			defer tr.Close()
			input := m.Graph.Inputs[0].Name
			pictures := make([][]float32, 8)
			for i := range pictures {
				r := rand.New(rand.NewPCG(1, uint64(i)))
				pictures[i] = fill(3*c.size*c.size, r.Float32)
			}
			step := func(n int) {
				_, err := tr.Step(context.Background(), c.batch, 1e-5, func(i int, in *Feed) error {
					x := pictures[(n*c.batch+i)%len(pictures)]
					err := teacher.ForEach(context.Background(), 1, func(c *Context, _ int) error {
						if err := c.SetInput(input, x); err != nil {
							return err
						}
						if err := c.Run(); err != nil {
							return err
						}
						for k, h := range heads {
							v, err := c.Output(h)
							if err != nil {
								return err
							}
							if err := in.SetTarget(k, v.Floats()); err != nil {
								return err
							}
						}
						return nil
					})
					if err != nil {
						return err
					}
					return in.SetInput(input, x)
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			step(0) // touches the memory
			var times []time.Duration
			b.ResetTimer()
			for n := range b.N {
				start := time.Now()
				step(n)
				times = append(times, time.Since(start))
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "ms/step")
		})
	}
}
