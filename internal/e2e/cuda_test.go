package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/npy"
	"trtact/internal/onnx"
	"trtact/internal/testenv"
)

// The program with --device cuda, on the emulated device and on a GPU: what there is
// between the command line and the kernels.

func TestDetectOnCUDA(t *testing.T) {
	program(t)
	testenv.EmulatedLibraries(t)
	sameBoxes(t)
}

func TestGPUDetect(t *testing.T) {
	needGPU(t)
	program(t)
	sameBoxes(t)
}

// sameBoxes are those of the CPU.
func sameBoxes(t *testing.T) {
	t.Helper()
	picture := filepath.Join(sampleFile("val", "images"), "000000.jpg")
	type box struct{ X1, Y1, X2, Y2, Score float64 }
	boxes := map[string][]box{}
	for _, device := range []string{"cpu", "cuda"} {
		var found struct {
			Pictures []struct{ Detections [][]box }
		}
		run(t, workLimit, t.TempDir(), "detect", sampleFile("shapes.onnx"), picture, "--device", device, "--json", "--quiet").expectJSON(t, &found)
		boxes[device] = found.Pictures[0].Detections[0]
	}
	if len(boxes["cpu"]) < 2 || len(boxes["cpu"]) != len(boxes["cuda"]) {
		t.Fatalf("boxes: %v", boxes)
	}
	for i, want := range boxes["cpu"] {
		got := boxes["cuda"][i]
		for k, off := range []float64{got.X1 - want.X1, got.Y1 - want.Y1, got.X2 - want.X2, got.Y2 - want.Y2, 100 * (got.Score - want.Score)} {
			if math.Abs(off) > 1e-3 {
				t.Errorf("box %d, number %d: off by %g", i, k, off)
			}
		}
	}
}

// compress trains a folder of threeLayers and writes to name.
func compress(t *testing.T, dir, name, precision string) ran {
	t.Helper()
	return run(t, workLimit, dir, "compress", "--config", "act.yaml", "--resume", "--device", "cuda", "--train-precision", precision,
		"--save-dir", name, "--quiet")
}

// lossCurve is the losses of the steps of a training.
func lossCurve(t *testing.T, dir, name string) (losses []float64) {
	t.Helper()
	var result struct {
		QAT struct {
			LossCurve []struct{ Loss float64 } `json:"loss_curve"`
		}
	}
	if err := json.Unmarshal(read(t, filepath.Join(dir, name, "result.json")), &result); err != nil {
		t.Fatal(err)
	}
	for _, p := range result.QAT.LossCurve {
		losses = append(losses, p.Loss)
	}
	return losses
}

// eachPrecision trains in all of them, on the emulated device to different losses.
func eachPrecision(t *testing.T, dir string, emulated bool) {
	t.Helper()
	last := map[float64]string{}
	for _, precision := range []string{"fp32", "tf32", "bf16"} {
		r := compress(t, dir, precision, precision)
		if strings.Contains(r.err, "multiplies no TF32") { // sm_75
			t.Log(r.lastLine())
			continue
		}
		if r.code != 0 {
			t.Fatalf("%s: exit code %d: %s", precision, r.code, r.err)
		}
		c := lossCurve(t, dir, precision)
		if len(c) != 12 {
			t.Fatalf("%s: the losses of the steps are %v", precision, c)
		}
		loss := c[len(c)-1]
		if emulated && last[loss] != "" {
			t.Errorf("%s trains as %s does", precision, last[loss])
		}
		last[loss] = precision
	}
}

func TestGPUCompress(t *testing.T) {
	needGPU(t)
	program(t)
	eachPrecision(t, threeLayers(t), false)
}

// TestCompressOnCUDA: calibration and training in each precision, and a GPU that is lost
// in the middle: one line, and the same command goes on to what an unbroken one finds.
func TestCompressOnCUDA(t *testing.T) {
	program(t)
	testenv.EmulatedLibraries(t)
	dir := threeLayers(t)
	eachPrecision(t, dir, true)
	for launches := 150; ; launches += 50 {
		name := fmt.Sprintf("lost%d", launches)
		os.Setenv("TRTACT_EMULATED_LAUNCHES", fmt.Sprint(launches))
		r := compress(t, dir, name, "fp32")
		os.Unsetenv("TRTACT_EMULATED_LAUNCHES")
		r.expectRefusal(t, fault.CodeFailed, "unspecified launch failure (CUDA error 719)", "--resume")
		if r.code == 0 {
			break // the whole run had no more launches: the test shows nothing
		}
		if _, err := os.Stat(filepath.Join(dir, name, "checkpoints", "checkpoint")); err != nil {
			continue // lost before the first one
		}
		if r = compress(t, dir, name, "fp32"); r.code != 0 {
			t.Fatalf("resumed: exit code %d: %s", r.code, r.err)
		}
		if !slices.Equal(lossCurve(t, dir, name), lossCurve(t, dir, "fp32")) || !bytes.Equal(read(t, filepath.Join(dir, name, "model.onnx")), read(t, filepath.Join(dir, "fp32", "model.onnx"))) {
			t.Errorf("lost after %d launches and resumed: another training", launches)
		}
		break
	}
}

// threeLayers is a folder with a small network, its inputs and a configuration.
func threeLayers(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	normal := func(n int, size float64) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(size * rng.NormFloat64())
		}
		return v
	}
	g := &onnx.Graph{Inputs: []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{1, 16, 8, 8}}},
		Outputs: []onnx.Value{{Name: "y2", Type: onnx.Float, Dims: []int{1, 16, 8, 8}}}, Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{}}
	in := "x"
	for i := range 3 {
		w, y, a := fmt.Sprintf("w%d", i), fmt.Sprintf("y%d", i), fmt.Sprintf("a%d", i)
		g.Init[w] = onnx.NewTensor([]int{16, 16, 3, 3}, normal(2304, 0.1))
		g.Nodes = append(g.Nodes, &onnx.Node{Name: "conv" + w, Op: "Conv", Inputs: []string{in, w}, Outputs: []string{y},
			Attrs: map[string]onnx.Attr{"kernel_shape": []int64{3, 3}, "pads": []int64{1, 1, 1, 1}}})
		if i < 2 {
			g.Nodes = append(g.Nodes, &onnx.Node{Name: "relu" + w, Op: "Relu", Inputs: []string{y}, Outputs: []string{a}})
		}
		in = a
	}
	data, err := (&onnx.Model{IR: 8, Opset: 13, Graph: g}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "net.onnx", data)
	if err := npy.Write(filepath.Join(dir, "x.npy"), &npy.Array{Shape: []int{8, 16, 8, 8}, Data: normal(8*1024, 1)}); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{ // YAML too
		"Global":       map[string]any{"model_dir": ".", "model_filename": "net.onnx", "image_path": "x.npy", "arch": "none"},
		"Distillation": map[string]any{"loss": "l2"}, "QuantAware": map[string]any{},
		"TrainConfig": map[string]any{"train_iter": 12, "eval_iter": 3, "checkpoint_iter": 2, "learning_rate": 1e-3,
			"optimizer_builder": map[string]any{"optimizer": map[string]any{"type": "Adam"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "act.yaml", config)
	return dir
}
