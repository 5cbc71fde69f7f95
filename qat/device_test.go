package qat

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"trtact/internal/compute"
	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/testenv"
)

// openEmulated opens the CUDA backend on the emulated device.
func openEmulated(t *testing.T) *compute.Device {
	t.Helper()
	for _, l := range testenv.ComputeLibraries(t) {
		if l.Kind == "emulated" {
			d, err := compute.Open(l.Path, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
			return d
		}
	}
	t.Skip("skipped: TRTACT_TEST_DEVICE leaves the emulated device out")
	return nil
}

// onGPU is a run of three layers, which the emulated device has time for.
func onGPU(t *testing.T, d *compute.Device) Run {
	t.Helper()
	const size = 16
	rng := rand.New(rand.NewPCG(1, 2))
	g := &onnx.Graph{Inputs: []onnx.Value{{Name: "images", Type: onnx.Float, Dims: []int{1, 3, size, size}}},
		Outputs: []onnx.Value{{Name: "y2", Type: onnx.Float}}, Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{}}
	in, channels := "images", 3
	for i := range 3 {
		w, y, a := fmt.Sprintf("w%d", i), fmt.Sprintf("y%d", i), fmt.Sprintf("a%d", i)
		values := make([]float32, 8*channels*9)
		for k := range values {
			values[k] = float32(rng.NormFloat64()) / 4
		}
		g.Init[w] = onnx.NewTensor([]int{8, channels, 3, 3}, values)
		g.Nodes = append(g.Nodes,
			&onnx.Node{Name: "conv" + w, Op: "Conv", Inputs: []string{in, w}, Outputs: []string{y}, Attrs: map[string]onnx.Attr{"pads": []int64{1, 1, 1, 1}}})
		if i < 2 {
			g.Nodes = append(g.Nodes, &onnx.Node{Name: "relu" + w, Op: "Relu", Inputs: []string{y}, Outputs: []string{a}})
		}
		in, channels = a, 8
	}
	m := &onnx.Model{IR: 8, Opset: 13, Graph: g}
	if err := shape.Infer(m, nil); err != nil {
		t.Fatal(err)
	}
	s := scenes{n: 8, size: size}
	o := Defaults()
	o.Steps, o.Batch, o.EvalEvery, o.HeldOut, o.CheckpointEvery, o.Workers = 12, 2, 4, 2, 3, 2
	return Run{Model: m, Plan: calibrated(t, openCPU(t), m, s), Device: d, Samples: s, Options: o}
}

// TestLostDevice: wherever in a run a device fails, the run ends with one error, and goes
// on from the last checkpoint to the bits of an unbroken one.
func TestLostDevice(t *testing.T) {
	attempt := func(launches int, dir string) (*Outcome, error) {
		t.Setenv("TRTACT_EMULATED_LAUNCHES", strconv.Itoa(launches))
		d := openEmulated(t)
		defer func() {
			d.Close()
			if n := d.Live(); n != 0 {
				t.Errorf("lost after %d launches: %d handles alive at the end", launches, n)
			}
		}()
		r := onGPU(t, d)
		r.Dir, r.Resume = dir, dir != ""
		return Distil(context.Background(), r)
	}
	unbroken, err := attempt(-1, "")
	if err != nil {
		t.Fatal(err)
	}
	resumed := map[int]int{} // by the checkpoint's step
	for launches := 10; ; launches += 15 {
		dir := t.TempDir()
		if _, err := attempt(launches, dir); err == nil {
			break
		} else if !strings.Contains(err.Error(), "unspecified launch failure (CUDA error 719)") || strings.Contains(err.Error(), "\n") {
			t.Errorf("lost after %d launches: %v", launches, err)
		}
		o, err := attempt(-1, dir)
		if err != nil {
			t.Fatal(err)
		}
		resumed[o.Resumed]++
		if !bytes.Equal(marshal(t, o), marshal(t, unbroken)) {
			t.Errorf("lost after %d launches, resumed at step %d: another model", launches, o.Resumed)
		}
	}
	if len(resumed) < 4 { // none, and after 3, 6 and 9 steps
		t.Errorf("runs were resumed at %v", resumed)
	}
	t.Logf("resumed at %v", resumed)
}
