package job

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"trtact/calib"
	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/onnx"
	"trtact/internal/testenv"
)

// ortServer answers each input read from standard input with all outputs, as raw
// float32.
const ortServer = `
import sys, numpy as np, onnxruntime as ort
o = ort.SessionOptions(); o.log_severity_level = 3
o.add_session_config_entry("session.disable_quant_qdq", "1")
s = ort.InferenceSession(sys.argv[1], o, providers=["CPUExecutionProvider"])
i = s.get_inputs()[0]; n = int(np.prod(i.shape)) * 4
while True:
    raw = sys.stdin.buffer.read(n)
    if len(raw) < n: break
    for y in s.run(None, {i.name: np.frombuffer(raw, np.float32).reshape(i.shape)}):
        sys.stdout.buffer.write(y.astype(np.float32).tobytes())
    sys.stdout.buffer.flush()
`

// TestQuantizedMAPAgainstOnnxruntime: the exported Q/DQ file has the same mAP in
// onnxruntime as in the simulation, within 0.3 points. It takes minutes:
// TRTACT_ACCURACY says on how many images it runs.
func TestQuantizedMAPAgainstOnnxruntime(t *testing.T) {
	count, _ := strconv.Atoi(os.Getenv("TRTACT_ACCURACY"))
	if count == 0 {
		t.Skip("skipped: slow; TRTACT_ACCURACY=N runs it on N images")
	}
	ds, err := coco.OpenSubset(testenv.Data(t, "coco", "annotations.json"), testenv.Data(t, "coco", "images"), testenv.Data(t, "coco", "val.txt"))
	if err != nil {
		t.Fatal(err)
	}
	ds = ds.First(count)
	train, err := coco.Open(testenv.Data(t, "coco", "train.txt"), "")
	if err != nil {
		t.Fatal(err)
	}
	m := cpu(t)
	for _, name := range []string{"yolov5n", "yolov8n_deq", "picodet_s_320", "yolov6lite_s", "v5lite_e_320"} {
		t.Run(name, func(t *testing.T) {
			d, err := LoadDetector(testenv.Data(t, "models", name+".onnx"), LoadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			c, err := m.Calibrate(context.Background(), d, train.Images[:16], CalibrateOptions{Method: calib.MeanPercentile(99.999), Placement: calib.DefaultOptions()})
			if err != nil {
				t.Fatal(err)
			}
			model, err := calib.Apply(d.Model, c.Plan, calib.FloatWeights)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "q.onnx")
			if err := model.Save(file); err != nil {
				t.Fatal(err)
			}
			q, err := d.Derive(model)
			if err != nil {
				t.Fatal(err)
			}
			ours, err := m.Evaluate(context.Background(), q, ds, detect.DefaultOptions(), "simulate")
			if err != nil {
				t.Fatal(err)
			}
			theirs := onnxruntimeMAP(t, q, file, ds)
			t.Logf("mAP %.4f here, %.4f in onnxruntime", ours.Metrics.AP, theirs)
			if math.Abs(ours.Metrics.AP-theirs) > 0.003 {
				t.Errorf("mAP %.4f here, %.4f in onnxruntime: more than 0.3 points apart", ours.Metrics.AP, theirs)
			}
		})
	}
}

// TestFilesAgainstOnnxruntime is the same for Q/DQ files that are there already,
// trained ones for instance: TRTACT_QDQ lists them, separated by colons.
func TestFilesAgainstOnnxruntime(t *testing.T) {
	count, _ := strconv.Atoi(os.Getenv("TRTACT_ACCURACY"))
	files := filepath.SplitList(os.Getenv("TRTACT_QDQ"))
	if count == 0 || len(files) == 0 {
		t.Skip("skipped: slow; TRTACT_ACCURACY=N TRTACT_QDQ=FILE:FILE runs it")
	}
	ds, err := coco.OpenSubset(testenv.Data(t, "coco", "annotations.json"), testenv.Data(t, "coco", "images"), testenv.Data(t, "coco", "val.txt"))
	if err != nil {
		t.Fatal(err)
	}
	ds = ds.First(count)
	m := cpu(t)
	for _, file := range files {
		d, err := LoadDetector(file, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ours, err := m.Evaluate(context.Background(), d, ds, detect.DefaultOptions(), "simulate")
		if err != nil {
			t.Fatal(err)
		}
		theirs := onnxruntimeMAP(t, d, file, ds)
		t.Logf("%s: mAP %.4f here, %.4f in onnxruntime", filepath.Base(file), ours.Metrics.AP, theirs)
		if math.Abs(ours.Metrics.AP-theirs) > 0.003 {
			t.Errorf("%s: more than 0.3 points apart", file)
		}
	}
}

func onnxruntimeMAP(t *testing.T, d *Detector, file string, ds *coco.Dataset) float64 {
	t.Helper()
	cmd := exec.Command(testenv.Python(t), "-c", ortServer, file)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReaderSize(pipe, 1<<20)
	pixels := make([]float32, 3*d.Spec.Height*d.Spec.Width)
	var results []coco.Result
	for _, image := range ds.Images {
		p, err := coco.Decode(image.Path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := d.Spec.Fit(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Spec.Normalise(f.Pixels, pixels); err != nil {
			t.Fatal(err)
		}
		if err := binary.Write(in, binary.LittleEndian, pixels); err != nil {
			t.Fatal(err)
		}
		outputs := map[string]*onnx.Tensor{}
		for _, v := range d.Model.Graph.Outputs {
			dims := d.Model.Graph.Info[v.Name].Dims
			n := 1
			for _, k := range dims {
				n *= k
			}
			raw := make([]byte, 4*n)
			if _, err := io.ReadFull(out, raw); err != nil {
				t.Fatal(err)
			}
			data := make([]float32, n)
			for i := range data {
				data[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
			}
			outputs[v.Name] = onnx.NewTensor(dims, data)
		}
		found, err := d.Spec.Decode(outputs, 0, f.Place, detect.DefaultOptions())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			results = append(results, coco.Result{ImageID: image.ID, CategoryID: ds.Categories[f.Class].ID, Score: float64(f.Score),
				BBox: [4]float64{float64(f.X1), float64(f.Y1), float64(f.X2) - float64(f.X1), float64(f.Y2) - float64(f.Y1)}})
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	metrics, err := coco.Evaluate(ds, results, coco.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return metrics.AP
}
