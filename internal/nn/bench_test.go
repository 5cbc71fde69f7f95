package nn

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

// BenchmarkModel runs one image through a real detector, with one and with two
// threads; TRTACT_PROFILE=1 prints where the time goes.
func BenchmarkModel(b *testing.B) {
	for _, name := range []string{"yolov5n", "yolov8n_deq", "picodet_s_416"} {
		m, err := onnx.Load(filepath.Join(testenv.Data(b, "models"), name+".onnx"))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := simplify.Run(m); err != nil {
			b.Fatal(err)
		}
		if err := shape.Infer(m, nil); err != nil {
			b.Fatal(err)
		}
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/threads=%d", name, threads), func(b *testing.B) { benchmark(b, m, threads) })
		}
	}
}

func benchmark(b *testing.B, m *onnx.Model, threads int) {
	n, err := Compile(m, openCPU(b), Options{Threads: threads})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	c, err := n.NewContext()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	in := m.Graph.Inputs[0]
	if err := c.SetInput(in.Name, noise(product(in.Dims))); err != nil {
		b.Fatal(err)
	}
	total := make([]float64, len(n.Steps()))
	for b.Loop() {
		if err := c.RunTimed(total); err != nil {
			b.Fatal(err)
		}
	}
	if os.Getenv("TRTACT_PROFILE") == "" {
		return
	}
	type row struct {
		step    Step
		seconds float64
	}
	var rows []row
	kinds := map[string]float64{}
	all := 0.0
	for i, s := range n.Steps() {
		rows = append(rows, row{s, total[i] / float64(b.N)})
		kinds[s.Op] += total[i] / float64(b.N)
		all += total[i] / float64(b.N)
	}
	slices.SortFunc(rows, func(a, b row) int { return int(1e9 * (b.seconds - a.seconds)) })
	fmt.Printf("total %.2f ms\n", 1e3*all)
	for k, s := range kinds {
		fmt.Printf("  %-12s %.2f ms\n", k, 1e3*s)
	}
	for _, r := range rows[:min(25, len(rows))] {
		fmt.Printf("  %6.2f ms %-10s %-28s %s %s\n", 1e3*r.seconds, r.step.Op, r.step.Where, r.step.Output, r.step.Node)
	}
}
