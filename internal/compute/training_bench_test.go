package compute

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"trtact/internal/testenv"
)

// yoloConvs are convolutions of YOLOv5n at 640 and of the mobile detectors.
var yoloConvs = []struct {
	name                                   string
	n, c, o, groups, kernel, stride, space int
}{
	{"stem 3->16 6x6/2 @640", 1, 3, 16, 1, 6, 2, 640},
	{"stem 3->24 3x3/2 @416", 1, 3, 24, 1, 3, 2, 416},
	{"16->32 3x3/2 @320", 1, 16, 32, 1, 3, 2, 320},
	{"16->16 3x3 @160", 1, 16, 16, 1, 3, 1, 160},
	{"32->32 1x1 @160", 1, 32, 32, 1, 1, 1, 160},
	{"64->64 3x3 @80", 1, 64, 64, 1, 3, 1, 80},
	{"64->64 3x3 @80, 4 images", 4, 64, 64, 1, 3, 1, 80},
	{"64->128 3x3/2 @80", 1, 64, 128, 1, 3, 2, 80},
	{"128->128 3x3 @40", 1, 128, 128, 1, 3, 1, 40},
	{"256->256 1x1 @20", 1, 256, 256, 1, 1, 1, 20},
	{"256->256 3x3 @20", 1, 256, 256, 1, 3, 1, 20},
	{"head 64->255 1x1 @80", 1, 64, 255, 1, 1, 1, 80},
	{"depthwise 96 3x3 @52", 1, 96, 96, 96, 3, 1, 52},
	{"depthwise 96 5x5/2 @52", 1, 96, 96, 96, 5, 2, 52},
	{"depthwise 116 3x3/2 @80", 1, 116, 116, 116, 3, 2, 80},
}

type timedConv struct {
	name  string
	work  float64 // multiplications and additions, each counted
	descs []OpDesc
}

// convPasses are the forward and the two backward operators of a convolution.
func convPasses(l Layout) []timedConv {
	var list []timedConv
	for _, s := range yoloConvs {
		pad := (s.kernel - 1) / 2
		p := Conv{Window: Window{repeat(2, s.kernel), repeat(2, s.stride), repeat(2, 1), repeat(2, pad), repeat(2, pad)}, Groups: s.groups}
		out := (s.space+2*pad-s.kernel)/s.stride + 1
		x, w, y := Tensor{[]int{s.n, s.c, s.space, s.space}, l}, Tensor{Dims: []int{s.o, s.c / s.groups, s.kernel, s.kernel}}, Tensor{[]int{s.n, s.o, out, out}, l}
		list = append(list, timedConv{name: s.name, work: 2 * float64(y.Len()) * float64(s.c/s.groups*s.kernel*s.kernel), descs: []OpDesc{
			{Params: p, Inputs: []Tensor{x, w}, Outputs: []Tensor{y}, Threads: 2},
			{Params: ConvBackwardData{p}, Inputs: []Tensor{y, w}, Outputs: []Tensor{x}, Threads: 2},
			{Params: ConvBackwardWeights{p}, Inputs: []Tensor{x, y}, Outputs: []Tensor{w}, Threads: 2},
		}})
	}
	return list
}

// TestConvolutionGradientsAreFast: no convolution of the detectors falls back to
// oneDNN's reference loops, or to a matrix product for every channel.
func TestConvolutionGradientsAreFast(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) {
		for _, c := range append(convPasses(Blocked), convPasses(Plain)...) {
			for _, desc := range c.descs {
				op, err := d.NewOp(desc)
				if err != nil {
					t.Fatal(err)
				}
				info := op.Info()
				if strings.Contains(info, "ref:") || strings.HasPrefix(c.name, "depthwise") && strings.Contains(info, "gemm") {
					t.Errorf("%s, %T: %s", c.name, desc.Params, info)
				}
				op.Close()
			}
		}
	})
}

// seconds is the least time of an operator, of at least ten runs. A GPU runs it ten times
// in a list, as its launches come in training: one alone takes as long to begin as to do.
func seconds(b *testing.B, d *Device, desc OpDesc) (float64, string) {
	op, err := d.NewOp(desc)
	if err != nil {
		b.Fatal(err)
	}
	defer op.Close()
	r := rand.New(rand.NewPCG(1, 1))
	step := Step{Op: op}
	var buffers []*Buffer
	defer func() {
		for _, buffer := range buffers {
			buffer.Close()
		}
	}()
	place := func(t Tensor) Address {
		buffer, err := d.Alloc(t.Bytes(d.Block()))
		if err != nil {
			b.Fatal(err)
		}
		buffers = append(buffers, buffer)
		if err := buffer.Upload(0, all(buffer.Len()/4, func(int) float32 { return float32(r.NormFloat64()) })); err != nil {
			b.Fatal(err)
		}
		return Address{buffer, 0}
	}
	for _, t := range desc.Inputs {
		step.Inputs = append(step.Inputs, place(t))
	}
	for _, t := range desc.Outputs {
		step.Outputs = append(step.Outputs, place(t))
	}
	if n := op.Workspace(); n > 0 {
		step.Workspace = place(Tensor{Dims: []int{n / 4}})
	}
	times := 1
	if d.Name() != "cpu" {
		times = 10
	}
	p, err := d.NewProgram(slices.Repeat([]Step{step}, times), desc.Threads)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	least := math.Inf(1)
	for i, end := 0, time.Now().Add(60*time.Millisecond); i < 10 || time.Now().Before(end); i++ {
		start := time.Now()
		if err := p.Run(0, times); err != nil {
			b.Fatal(err)
		}
		least = math.Min(least, time.Since(start).Seconds()/float64(times))
	}
	return least, op.Info()
}

// BenchmarkConvolutionGradients prints GFLOP/s of forward, by data and by
// weights, on two threads.
func BenchmarkConvolutionGradients(b *testing.B) {
	d, err := OpenCPU()
	if err != nil {
		b.Skip(err)
	}
	defer d.Close()
	for _, l := range bothLayouts {
		for _, c := range convPasses(l) {
			line := fmt.Sprintf("%-26s %-8v", c.name, l)
			for _, desc := range c.descs {
				s, info := seconds(b, d, desc)
				line += fmt.Sprintf("  %6.1f %-26.26s", c.work/s/1e9, info)
			}
			fmt.Println(line)
		}
	}
}

// BenchmarkElementwiseTraining prints GB/s of the passes over memory that a step
// makes, tensors of 64 channels at 80x80, four images. With TRTACT_TEST_DEVICE=cuda on a
// GPU, 128 images, beside what its memory can do.
func BenchmarkElementwiseTraining(b *testing.B) {
	images, peak, path := 4, 0.0, ""
	switch os.Getenv("TRTACT_TEST_DEVICE") {
	case "cuda":
		images, peak, path = 128, testenv.GPUBandwidth(b), testenv.ComputeLibraries(b)[0].Path
	case "emulated": // to see that it runs
		images, path = 1, testenv.ComputeLibraries(b)[0].Path
	}
	open := OpenCPU
	if path != "" {
		open = func() (*Device, error) { return Open(path, 0) }
	}
	d, err := open()
	if err != nil {
		b.Skip(err)
	}
	defer d.Close()
	t, one, two := Tensor{[]int{images, 64, 80, 80}, Blocked}, Tensor{Dims: []int{1}}, Tensor{Dims: []int{2}}
	parameters := images * 1_750_000
	flat := Tensor{Dims: []int{parameters}}
	head := Tensor{[]int{images, 255, 40, 40}, Blocked}
	big := Tensor{[]int{images, 64, 160, 160}, Blocked}
	silu := Activation{Kind: Silu}
	pool := Pool{Window: Window{repeat(2, 5), repeat(2, 1), repeat(2, 1), repeat(2, 2), repeat(2, 2)}}
	axes := []Taps{tapsOf(80, 160, false), tapsOf(80, 160, false)}
	aq := ActQuantizeBackward{ActQuantize: ActQuantize{Act: silu, Low: -128, High: 127}, GradientScale: 1}
	for _, c := range []struct {
		name string
		OpDesc
	}{
		{"silu", OpDesc{Params: Unary{silu}, Inputs: []Tensor{t}, Outputs: []Tensor{t}}},
		{"silu backward", OpDesc{Params: UnaryBackward{silu}, Inputs: []Tensor{t, t}, Outputs: []Tensor{t}}},
		{"silu + quantise", OpDesc{Params: aq.ActQuantize, Inputs: []Tensor{t, one}, Outputs: []Tensor{t}}},
		{"silu + quantise backward", OpDesc{Params: aq, Inputs: []Tensor{t, one, t}, Outputs: []Tensor{t}}},
		{"silu + quantise backward, LSQ", OpDesc{Params: aq, Inputs: []Tensor{t, one, t}, Outputs: []Tensor{t, one}}},
		{"silu + quantise, observed", OpDesc{Params: ActQuantize{Act: silu, Low: -128, High: 127, HasAbsMax: true}, Inputs: []Tensor{t, one}, Outputs: []Tensor{t, one}}},
		{"sum of two", OpDesc{Params: Sum{}, Inputs: []Tensor{t, t}, Outputs: []Tensor{t}}},
		{"product summed per channel", OpDesc{Params: SumTo{}, Inputs: []Tensor{t, t}, Outputs: []Tensor{{[]int{images, 64, 1, 1}, Blocked}}}},
		{"max pool 5x5 backward", OpDesc{Params: PoolBackward{pool}, Inputs: []Tensor{t, t}, Outputs: []Tensor{t}}},
		{"nearest 2x backward", OpDesc{Params: ResizeBackward{axes}, Inputs: []Tensor{big}, Outputs: []Tensor{t}}},
		{"soft label, last axis", OpDesc{Params: Loss{LossSoftLabel, 3, 1, 1}, Inputs: []Tensor{head, head}, Outputs: []Tensor{two, head}}},
		{"l2", OpDesc{Params: Loss{Kind: LossL2, Weight: 1}, Inputs: []Tensor{head, head}, Outputs: []Tensor{two, head}}},
		{"norm", OpDesc{Params: GradientNorm{1, 1}, Inputs: []Tensor{flat}, Outputs: []Tensor{two}}},
		{"momentum", OpDesc{Params: Optimize{Kind: Momentum, Momentum: 0.9, Segments: []Segment{{0, parameters, 1, 1e-4}}}, Inputs: []Tensor{flat, two}, Outputs: []Tensor{flat, flat}}},
		{"adam", OpDesc{Params: Optimize{Kind: Adam, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Segments: []Segment{{0, parameters, 1, 1e-4}}}, Inputs: []Tensor{flat, two}, Outputs: []Tensor{flat, flat, flat}}},
	} {
		c.Threads = 2 // on the CPU
		s, _ := seconds(b, d, c.OpDesc)
		bytes := 0
		for _, list := range [][]Tensor{c.Inputs, c.Outputs} {
			for _, t := range list {
				bytes += t.Bytes(d.Block())
			}
		}
		share := ""
		if peak > 0 {
			share = fmt.Sprintf(" %.0f %% |", 100*float64(bytes)/s/peak)
		}
		fmt.Printf("| %-30s | %8.3f ms | %6.1f GB/s |%s\n", c.name, s*1e3, float64(bytes)/s/1e9, share)
	}
}
