package nn

import (
	"math"
	"path/filepath"
	"testing"

	"trtact/calib"
	"trtact/internal/compute"
	"trtact/internal/testenv"
)

// stepTolerance is how far the loss of a step may be from the CPU's: sums are made in
// another order, and fifty steps of training do not make more of that.
const stepTolerance = 0.01

// TestGPUSteps: YOLOv5n's distillation step by step beside the CPU's. On a GPU fifty
// steps of four pictures; on the emulated device two of one small picture. The same
// steps again give the same bits.
//
// Weights are quantised, activations are not: with them the loss is rounding noise, of
// which TestStepsAgainstTorch says more.
func TestGPUSteps(t *testing.T) {
	for _, library := range testenv.ComputeLibraries(t) {
		if library.Kind == "cpu" {
			continue
		}
		t.Run(filepath.Base(library.Path), func(t *testing.T) {
			d, err := compute.Open(library.Path, 0)
			if err != nil {
				if library.Kind == "cuda" {
					t.Skipf("skipped: needs an NVIDIA GPU and the CUDA backend: %v", err)
				}
				t.Fatal(err)
			}
			defer d.Close()
			size, count, batch := torchSize, torchSteps, torchBatch
			if library.Kind == "emulated" {
				size, count, batch = 32, 2, 1
			}
			cpu := openCPU(t)
			m, heads := cutToHeads(t, "yolov5n", size)
			pictures := photographs(t, 2*batch, size)
			plan := calibrated(t, cpu, m, pictures)
			plan.Sites, plan.Groups = nil, nil
			student, err := calib.Apply(m, plan, calib.TrainedWeights)
			if err != nil {
				t.Fatal(err)
			}
			want := steps(t, cpu, m, student, heads, pictures, count, batch)
			got := steps(t, d, m, student, heads, pictures, count, batch)
			again := steps(t, d, m, student, heads, pictures, count, batch)
			worst := 0.0
			for k := range want {
				off := math.Abs(got[k]-want[k]) / want[k]
				worst = max(worst, off)
				if off > stepTolerance {
					t.Errorf("step %d: the loss is %.6g, the CPU's %.6g", k+1, got[k], want[k])
				}
				if got[k] != again[k] {
					t.Errorf("step %d: the loss is %.9g, then %.9g", k+1, got[k], again[k])
				}
			}
			t.Logf("%s: %d steps, loss %.4g to %.4g, at most %.2g %% from the CPU's", d.Version(), count, got[0], got[count-1], 100*worst)
		})
	}
}
