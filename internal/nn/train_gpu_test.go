package nn

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"trtact/calib"
	"trtact/internal/compute"
	"trtact/internal/detect"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
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
				size, count, batch = 32, 2, 2
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

// TestFullDevice: more images at once than a device has memory for are refused with a
// number that fits, and one that does not fit in one sentence.
func TestFullDevice(t *testing.T) {
	var path string
	for _, library := range testenv.ComputeLibraries(t) {
		if library.Kind == "emulated" {
			path = library.Path
		}
	}
	if path == "" {
		t.Skip("skipped: TRTACT_TEST_DEVICE leaves the emulated device out")
	}
	m, err := onnx.Load(filepath.Join(testenv.Root(), "examples", "shapes", "shapes.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := simplify.Run(m); err != nil {
		t.Fatal(err)
	}
	if err := shape.Infer(m, nil); err != nil {
		t.Fatal(err)
	}
	student, head := studentOf(t, m), detect.HeadNodes(m.Graph)[0]
	trainer := func(memory string, workers int) error {
		t.Setenv("TRTACT_EMULATED_MEMORY", memory)
		d, err := compute.Open(path, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		tr, err := NewTrainer(student, d, TrainOptions{Workers: workers, Losses: []LossNode{{Tensor: head, Kind: compute.LossL2, Weight: 1}}})
		if err == nil {
			tr.Close()
		}
		if n := d.Live(); n != 1 {
			t.Errorf("%s MiB, %d workers: %d handles alive", memory, workers, n-1)
		}
		return err
	}
	err = trainer("200", 40)
	found := regexp.MustCompile(`^train: 40 images at once take \d+ MiB of device memory, \d+ of 200 MiB are free: --threads (\d+) fits$`).FindStringSubmatch(fmt.Sprint(err))
	if found == nil {
		t.Fatalf("too many images: %v", err)
	}
	fits, _ := strconv.Atoi(found[1])
	if err := trainer("200", fits); err != nil {
		t.Errorf("--threads %d: %v", fits, err)
	}
	if err := trainer("200", fits+1); err == nil {
		t.Errorf("--threads %d fits too", fits+1)
	}
	if err := trainer("20", 1); err == nil || !strings.Contains(err.Error(), "not even one fits") {
		t.Errorf("a device that is too small: %v", err)
	}
	if err := trainer("1", 1); err == nil || !strings.Contains(err.Error(), "one run takes 0.01 GiB of memory, free on the GPU is 0.00 GiB") {
		t.Errorf("a device without room for the weights: %v", err)
	}
}
