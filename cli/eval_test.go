package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/compute"
	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// needCPU skips where the native CPU backend has not been built.
func needCPU(t *testing.T) {
	t.Helper()
	d, err := compute.OpenCPU()
	if err != nil {
		t.Skipf("skipped: needs the CPU backend (`make native`): %v", err)
	}
	d.Close()
}

func TestEval(t *testing.T) {
	needCPU(t)
	model, labels := testenv.Data(t, "models", "fastestdet_352.onnx"), testenv.Data(t, "coco", "annotations.json")
	list := testenv.Data(t, "coco", "val.txt")
	save := filepath.Join(t.TempDir(), "found.json")
	r := run(t, "eval", "--limit", "12", model, "--data", labels, "--list", list, "--json", "--save", save)
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	var got struct {
		Family         string
		Images         int
		MAP            *float64 `json:"mAP"`
		MAP50          *float64 `json:"mAP50"`
		Quantized      bool
		Classes        []any
		SkippedPicture []any `json:"skipped_images"`
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatalf("%v: %s", err, r.out)
	}
	if got.Family != "fastestdet" || got.Images != 12 || len(got.Classes) != 80 || got.MAP == nil || got.MAP50 == nil {
		t.Fatalf("got %+v", got)
	}
	if *got.MAP < 0.05 || *got.MAP > 0.5 || *got.MAP50 <= *got.MAP {
		t.Errorf("mAP %v, mAP50 %v", *got.MAP, *got.MAP50)
	}
	var found []struct {
		ImageID int64 `json:"image_id"`
		BBox    []float64
		Score   float64
	}
	if data, err := os.ReadFile(save); err != nil || json.Unmarshal(data, &found) != nil || len(found) == 0 || len(found[0].BBox) != 4 {
		t.Errorf("saved detections: %d, %v", len(found), err)
	}
	text := run(t, "eval", "--limit", "3", model, "--data", labels, "--list", list)
	if text.code != 0 || !strings.Contains(text.out, "IoU 0.50:0.95") || !strings.Contains(text.out, "bear") {
		t.Errorf("exit %d: %s%s", text.code, text.out, text.err)
	}
}

func TestEvalInterrupted(t *testing.T) {
	needCPU(t)
	model, labels := testenv.Data(t, "models", "fastestdet_352.onnx"), testenv.Data(t, "coco", "annotations.json")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r := runContext(t, ctx, "eval", model, "--data", labels); r.code != fault.CodeInterrupted || r.out != "" || r.err != "trtact: interrupted\n" {
		t.Errorf("exit %d, %q, %q", r.code, r.out, r.err)
	}
}

func TestEvalBadUse(t *testing.T) {
	model, labels := testenv.Data(t, "models", "fastestdet_352.onnx"), testenv.Data(t, "coco", "annotations.json")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"eval"}, fault.CodeUsage, "eval needs a model"},
		{[]string{"eval", model}, fault.CodeUsage, "eval needs --data"},
		{[]string{"eval", model, "other", "--data", labels}, fault.CodeUsage, "beyond that"},
		{[]string{"eval", model, "--data", labels, "--shape", "320xx"}, fault.CodeUsage, "expected HxW"},
		{[]string{"eval", model, "--data", labels, "--limit", "-1"}, fault.CodeUsage, "--limit -1"},
		{[]string{"eval", model, "--data", labels, "--family", "yolov"}, fault.CodeUsage, "did you mean yolov"},
		{[]string{"eval", "nowhere.onnx", "--data", labels}, fault.CodeBadInput, "model nowhere.onnx: no such file"},
		{[]string{"eval", model, "--data", "nowhere.json"}, fault.CodeBadInput, "nowhere.json"},
		{[]string{"eval", model, "--data", testenv.Data(t, "coco", "train.txt")}, fault.CodeUsage, "has no labels"},
		{[]string{"eval", model, "--data", labels, "--device", "cuda"}, fault.CodeNoDevice, ""},
	} {
		r := run(t, c.args...)
		if r.code != c.code || r.out != "" || !strings.Contains(r.err, c.want) || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%v: exit %d, %q; want %d and %q", c.args, r.code, r.err, c.code, c.want)
		}
	}
}
