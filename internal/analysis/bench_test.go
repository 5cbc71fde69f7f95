package analysis

import (
	"context"
	"path/filepath"
	"syscall"
	"testing"

	"trtact/calib"
	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/nn"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

// BenchmarkSensitivities compares three ways to test every layer of a detector alone on
// pictures: running the whole model for each and reading its heads; running what follows
// from the layer, on the same pictures; and that with as many of the pictures as ten
// percent of precision take, as the analyze command does.
//
//	go test -run - -bench Sensitivities -benchtime 1x ./internal/analysis
func BenchmarkSensitivities(b *testing.B) {
	const images = 16
	for _, name := range []string{"shapes", "yolov5n", "yolov8n_deq", "picodet_s_416", "yolov6lite_l"} {
		b.Run(name, func(b *testing.B) {
			m, spec := detectorOf(b, name)
			samples := pictures(b, spec, name, images)
			d := openCPU(b)
			s := Subject{Model: m, Plan: calibrated(b, m, d, samples, calib.MeanPercentile(99.99)), Heads: detect.HeadNodes(m.Graph), Device: d}
			var whole, suffixes, precise float64
			layers, used := 0, 0
			for b.Loop() {
				whole += seconds(b, func() error { return wholeRuns(s, samples) })
				s.Precision = 0
				suffixes += seconds(b, func() error {
					_, err := s.Sensitivities(context.Background(), samples)
					return err
				})
				s.Precision = 0.1
				precise += seconds(b, func() error {
					list, err := s.Sensitivities(context.Background(), samples)
					layers, used = len(list), 0
					for _, l := range list {
						used += l.Error.Samples
					}
					return err
				})
			}
			b.ReportMetric(float64(layers), "layers")
			b.ReportMetric(float64(used)/float64(layers), "pictures/layer")
			b.ReportMetric(whole/float64(b.N), "cpu-s-whole")
			b.ReportMetric(whole/suffixes, "x-by-suffixes")
			b.ReportMetric(whole/precise, "x-with-precision")
		})
	}
}

// seconds is the processor time that f takes: other programs on the machine change it
// little.
func seconds(b *testing.B, f func() error) float64 {
	used := func() float64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
	}
	before := used()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return used() - before
}

// wholeRuns tests every layer by quantising it in the whole model, running that on all
// samples and comparing the heads.
func wholeRuns(s Subject, samples []Sample) error {
	p, err := s.prepare()
	if err != nil {
		return err
	}
	ctx := context.Background()
	wanted, err := p.record(ctx, s.Model, samples, s.Heads)
	if err != nil {
		return err
	}
	for _, u := range p.units {
		m, err := calib.Apply(s.Model, only(p.Plan, []Unit{u}), calib.FloatWeights)
		if err != nil {
			return err
		}
		n, err := p.compile(m, s.Heads)
		if err != nil {
			return err
		}
		sums := make([][]calib.Squares, len(samples))
		err = n.ForEach(ctx, len(samples), func(c *nn.Context, i int) error {
			values, err := run(c, samples[i], s.Heads)
			for _, h := range s.Heads {
				if err == nil {
					sums[i] = append(sums[i], calib.SquaresOf(values[h].Floats(), wanted[i][h].Floats()))
				}
			}
			return err
		})
		n.Close()
		if err != nil {
			return err
		}
		errorOf(len(s.Heads), sums)
	}
	return nil
}

func detectorOf(t testing.TB, name string) (*onnx.Model, *detect.Spec) {
	t.Helper()
	path := filepath.Join(testenv.Root(), "examples", "shapes", "shapes.onnx")
	if name != "shapes" {
		path = testenv.Data(t, "models", name+".onnx")
	}
	m, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := simplify.Run(m); err != nil {
		t.Fatal(err)
	}
	if err := shape.Infer(m, nil); err != nil {
		t.Fatal(err)
	}
	spec, err := detect.Recognize(m, "auto")
	if err != nil {
		t.Fatal(err)
	}
	return m, spec
}

// pictures prepares the first so many pictures for a model.
func pictures(t testing.TB, spec *detect.Spec, name string, n int) []Sample {
	t.Helper()
	dir := filepath.Join(testenv.Root(), "examples", "shapes", "calib", "images")
	if name != "shapes" {
		dir = testenv.Data(t, "coco", "images")
	}
	ds, err := coco.Open(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	var list []Sample
	for _, image := range ds.First(n).Images {
		p, err := coco.Decode(image.Path)
		if err != nil {
			t.Fatal(err)
		}
		pixels := make([]float32, 3*spec.Height*spec.Width)
		f, err := spec.Fit(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := spec.Normalise(f.Pixels, pixels); err != nil {
			t.Fatal(err)
		}
		list = append(list, Sample{spec.Input: onnx.NewTensor([]int{1, 3, spec.Height, spec.Width}, pixels)})
	}
	return list
}
