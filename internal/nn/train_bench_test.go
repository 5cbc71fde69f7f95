package nn

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
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

// stepDevice is what BenchmarkStep and BenchmarkStepParts run on, TRTACT_TEST_DEVICE or
// else the CPU.
func stepDevice(b *testing.B) *compute.Device {
	if kind := os.Getenv("TRTACT_TEST_DEVICE"); kind == "cuda" || kind == "emulated" {
		d, err := compute.Open(testenv.ComputeLibraries(b)[0].Path, 0)
		if err != nil {
			b.Skipf("skipped: needs an NVIDIA GPU and the CUDA backend: %v", err)
		}
		b.Cleanup(func() { d.Close() })
		return d
	}
	return openCPU(b)
}

// stepTrainer is what the steps of both are made with: mean squared errors at the heads,
// SGD, in TRTACT_TEST_PRECISION.
func stepTrainer(b *testing.B, d *compute.Device, m *onnx.Model, heads []string, images, workers, threads int) *Trainer {
	o := TrainOptions{Quantizer: FixedScales, Optimizer: compute.Optimize{Kind: compute.SGD}, Images: images, Workers: workers, Threads: threads,
		Math: map[string]compute.Math{"tf32": compute.TF32, "bf16": compute.BF16}[os.Getenv("TRTACT_TEST_PRECISION")]}
	for _, h := range heads {
		o.Losses = append(o.Losses, LossNode{Tensor: h, Kind: compute.LossL2, Weight: 1})
	}
	student, err := Together(studentOf(b, m), o.Losses, images)
	if err != nil {
		b.Fatal(err)
	}
	tr, err := NewTrainer(student, d, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(tr.Close)
	return tr
}

// BenchmarkStep is a step of YOLOv5n's distillation as scripts/bench/train_torch.py
// makes it: teacher, student with quantised activations and weights, mean squared
// errors at the three heads, SGD. Pictures lie on the device and differ from image to
// image. The figure to look at is the median, ms/step. TRTACT_TEST_DEVICE=cuda makes it on a
// GPU, in TRTACT_TEST_PRECISION, with batches side by side that TRTACT_TEST_WORKERS counts
// (default: as package qat does it).
func BenchmarkStep(b *testing.B) {
	for _, c := range []struct{ size, batch int }{{320, 4}, {640, 1}, {640, 4}, {640, 16}} {
		b.Run(fmt.Sprintf("%d/batch=%d", c.size, c.batch), func(b *testing.B) {
			d := stepDevice(b)
			m, heads := cutToHeads(b, "yolov5n", c.size)
			workers, images, threads := min(runtime.GOMAXPROCS(0), c.batch), 1, max(1, runtime.GOMAXPROCS(0)/c.batch)
			if d.Name() == "cuda" {
				workers = min(2, c.batch)
				if n, err := strconv.Atoi(os.Getenv("TRTACT_TEST_WORKERS")); err == nil && n > 0 && c.batch%n == 0 {
					workers = n
				}
				images, threads = c.batch/workers, 1
			}
			float, err := Together(m, nil, images)
			if err != nil {
				b.Fatal(err)
			}
			teacher, err := Compile(float, d, Options{Plain: true, Workers: workers, Threads: threads})
			if err != nil {
				b.Fatal(err)
			}
			defer teacher.Close()
			tr := stepTrainer(b, d, m, heads, images, workers, threads)
			input := m.Graph.Inputs[0].Name
			const different = 8
			picture := 3 * c.size * c.size
			pictures, err := d.Alloc(4 * picture * (different + images))
			if err != nil {
				b.Fatal(err)
			}
			defer pictures.Close()
			for i := range different + images {
				r := rand.New(rand.NewPCG(1, uint64(i)))
				if err := pictures.Upload(4*picture*i, fill(picture, r.Float32)); err != nil {
					b.Fatal(err)
				}
			}
			step := func(n int) {
				_, err := tr.Step(context.Background(), c.batch, 1e-5, func(i int, in *Feed) error {
					x := compute.Address{Buffer: pictures, At: 4 * picture * ((n*c.batch + i) % different)}
					err := teacher.ForEach(context.Background(), 1, func(c *Context, _ int) error {
						to, err := c.Place(input)
						if err != nil {
							return err
						}
						if err := to.Buffer.Copy(to.At, x, 4*picture*images); err != nil {
							return err
						}
						if err := c.Run(); err != nil {
							return err
						}
						for k, h := range heads {
							values, err := c.Place(h)
							if err != nil {
								return err
							}
							each := 4 * tr.t.targets[k].desc.Len() / images
							for image := range images {
								if err := in.Image(image).CopyTarget(k, compute.Address{Buffer: values.Buffer, At: values.At + image*each}); err != nil {
									return err
								}
							}
						}
						return nil
					})
					for image := range images {
						if err == nil {
							err = in.Image(image).CopyInput(input, compute.Address{Buffer: pictures, At: x.At + 4*picture*image})
						}
					}
					return err
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

// BenchmarkStepParts prints where the time of one picture's part of a step goes, on a GPU
// of eight pictures' together, forwards and backwards at 640, by operator, and how much of it
// is cuDNN's and cuBLAS's. On a GPU operators are timed one by one, so the gaps that a graph
// has not are in it.
func BenchmarkStepParts(b *testing.B) {
	size, images, threads := 640, 1, runtime.GOMAXPROCS(0)
	d := stepDevice(b)
	if d.Name() == "cuda" {
		images, threads = 8, 1
	}
	if os.Getenv("TRTACT_TEST_DEVICE") == "emulated" { // to see that it runs
		size, images = 32, 2
	}
	m, heads := cutToHeads(b, "yolov5n", size)
	tr := stepTrainer(b, d, m, heads, images, 1, threads)
	if err := tr.runBefore(); err != nil {
		b.Fatal(err)
	}
	c := tr.contexts[0]
	r := rand.New(rand.NewPCG(1, 1))
	if err := c.SetInput(m.Graph.Inputs[0].Name, fill(images*3*size*size, r.Float32)); err != nil {
		b.Fatal(err)
	}
	spent := make([]float64, len(tr.n.steps))
	runs := 0
	for b.Loop() {
		if runs++; runs == 1 { // it touches the memory
			if err := c.Run(); err != nil {
				b.Fatal(err)
			}
		}
		if err := c.RunTimed(spent); err != nil {
			b.Fatal(err)
		}
	}
	type part struct {
		name    string
		seconds float64
		count   int
	}
	parts, all, libraries := map[string]*part{}, 0.0, 0.0
	for i, s := range tr.n.steps {
		name := s.what
		if info := s.op.Info(); strings.HasPrefix(info, "cudnn") || strings.HasPrefix(info, "cublas") {
			name += ", " + info[:strings.IndexAny(info+" ", " ")]
			libraries += spent[i]
		}
		if parts[name] == nil {
			parts[name] = &part{name: name}
		}
		parts[name].seconds += spent[i]
		parts[name].count++
		all += spent[i]
	}
	list := slices.SortedFunc(maps.Values(parts), func(a, b *part) int { return cmp.Compare(b.seconds, a.seconds) })
	fmt.Printf("\n| operator | of them | ms | share |\n|---|--:|--:|--:|\n")
	for _, p := range list {
		fmt.Printf("| %s | %d | %.3f | %.1f %% |\n", p.name, p.count, p.seconds*1e3/float64(runs), 100*p.seconds/all)
	}
	fmt.Printf("| all | %d | %.3f | %.1f %% in cuDNN and cuBLAS |\n", len(tr.n.steps), all*1e3/float64(runs), 100*libraries/all)
}
