package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// sampleFile is a path in the bundled sample.
func sampleFile(elem ...string) string {
	return filepath.Join(append([]string{testenv.Root(), "examples", "shapes"}, elem...)...)
}

// trained is what result.json says of a training.
type trained struct {
	QAT struct {
		Trained    bool
		Kept       string
		Iterations int
		Judge      string
		Nodes      []struct{ Tensor string }
		LossCurve  []struct{ Step int } `json:"loss_curve"`
	}
	Accuracy struct {
		Float, PTQ, INT8 *struct {
			MAP float64 `json:"mAP"`
		}
	}
	Files struct{ ONNX, Engine string }
}

// TestCompress: a configuration file in, the trained model out.
func TestCompress(t *testing.T) {
	program(t)
	dir := t.TempDir()
	config := write(t, dir, "act.yaml", []byte(fmt.Sprintf(`Global:
  model_dir: %s
  image_path: %s
  val_anno_path: %s
  batch_size: 2
Distillation:
  loss: l2
  alpha: 1.0
Quantization:
  activation_quantize_type: moving_average_abs_max
TrainConfig:
  train_iter: 6
  eval_iter: 3
  learning_rate: 1.0e-4
  optimizer_builder:
    optimizer: {type: Adam}
`, sampleFile("shapes.onnx"), sampleFile("calib", "images"), sampleFile("val", "annotations.json"))))
	var r trained
	run(t, workLimit, dir, "compress", "--config", config, "--save-dir", "out", "--json").expectJSON(t, &r)
	if !r.QAT.Trained || r.QAT.Iterations != 6 || r.QAT.Judge != "metric" || len(r.QAT.Nodes) != 6 || len(r.QAT.LossCurve) != 6 {
		t.Errorf("result: %+v", r.QAT)
	}
	if r.Accuracy.INT8.MAP < r.Accuracy.PTQ.MAP || r.Accuracy.Float.MAP < 0.5 {
		t.Errorf("accuracy: %+v, %+v, %+v", r.Accuracy.Float, r.Accuracy.PTQ, r.Accuracy.INT8)
	}
	for _, name := range []string{"model.onnx", "plan.json", "report.html", "result.json"} {
		if _, err := os.Stat(filepath.Join(dir, "out", name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "out", "model.engine")); err == nil {
		t.Error("an engine was built that the configuration does not ask for")
	}
	for _, c := range []struct {
		text, word string
	}{
		{"Globl: {}", "Global"}, {"TrainConfig: {train_itr: 5}", "train_iter"}, {"ChannelPrune: {}", "ChannelPrune"}, {"Global: [", "act"},
	} {
		path := write(t, dir, "act_bad.yaml", []byte(c.text))
		run(t, refusalLimit, dir, "compress", "--config", path).expectRefusal(t, fault.CodeBadInput, c.word)
	}
	run(t, refusalLimit, dir, "compress").expectRefusal(t, fault.CodeUsage, "--config")
	run(t, refusalLimit, dir, "build", sampleFile("shapes.onnx"), "--int8", "--data", sampleFile("calib", "images"), "--qat", "off", "--iters", "5").
		expectRefusal(t, fault.CodeUsage, "--iters", "off")
	run(t, refusalLimit, dir, "build", sampleFile("shapes.onnx"), "--int8", "--data", sampleFile("calib", "images"), "--quantizer", "lsk").
		expectRefusal(t, fault.CodeUsage, "lsq")
}

// TestLadder: with a limit that calibration misses, rounding is chosen first, then the
// worst layers stay float. It ends at the first rung that is enough, and every rung says
// what the next one costs.
func TestLadder(t *testing.T) {
	program(t)
	dir := t.TempDir()
	type rung struct {
		Name         string
		Enough, Kept bool
		Lost, Limit  float64
		FloatLayers  []string `json:"float_layers"`
		Next         *struct {
			Name    string
			Seconds float64
		}
	}
	var r struct {
		Accuracy struct {
			Float, PTQ, INT8 struct {
				MAP float64 `json:"mAP"`
			}
		}
		Form         string
		Quantization struct{ Layers int }
		Ladder       []rung
		Rounding     []struct{ Changed, Weights int }
	}
	run(t, ladderLimit, dir, "build", sampleFile("shapes.onnx"), "--int8", "--data", sampleFile("calib", "images"),
		"--val", sampleFile("val", "annotations.json"), "--val-limit", "40", "--method", "absmax", "--equalise", "off", "--qat", "off",
		"--max-drop", "1", "-o", "a.engine", "--json").expectJSON(t, &r)
	if len(r.Ladder) < 2 || r.Ladder[0].Name != "ptq" || r.Ladder[0].Enough {
		t.Fatalf("the ladder: %+v", r.Ladder)
	}
	order := []string{"ptq", "rounding, layer by layer", "rounding, block by block", "layers left float"}
	kept, last := -1, r.Ladder[len(r.Ladder)-1]
	for i, g := range r.Ladder {
		if g.Name != order[i] || g.Limit != 1 {
			t.Errorf("rung %d is %+v, want %s", i, g, order[i])
		}
		if more := i+1 < len(r.Ladder); more != (g.Next != nil) || more && (g.Enough || g.Next.Name != order[i+1] || g.Next.Seconds <= 0) {
			t.Errorf("rung %d: enough %v, next %+v", i, g.Enough, g.Next)
		}
		if g.Kept {
			kept = i
		}
	}
	if kept < 1 || !last.Enough {
		t.Fatalf("rung %d was kept: %+v", kept, r.Ladder)
	}
	if n := len(last.FloatLayers); last.Name == order[3] && (n == 0 || n > r.Quantization.Layers) {
		t.Errorf("%d layers were left float, %d are INT8", n, r.Quantization.Layers)
	}
	if lost := 100 * (r.Accuracy.Float.MAP - r.Accuracy.INT8.MAP); lost > 1 || lost != r.Ladder[kept].Lost {
		t.Errorf("the result has lost %v points, its rung %v; 1 is allowed", lost, r.Ladder[kept].Lost)
	}
	if r.Accuracy.PTQ.MAP >= r.Accuracy.INT8.MAP {
		t.Errorf("mAP %v before, %v after", r.Accuracy.PTQ.MAP, r.Accuracy.INT8.MAP)
	}
	if len(r.Rounding) == 0 || r.Rounding[0].Changed == 0 || r.Rounding[0].Changed >= r.Rounding[0].Weights {
		t.Errorf("rounding: %+v", r.Rounding)
	}
}

// TestDryRun: it says what would be trained and writes nothing.
func TestDryRun(t *testing.T) {
	program(t)
	dir := t.TempDir()
	r := run(t, workLimit, dir, "build", sampleFile("shapes.onnx"), "--int8", "--data", sampleFile("calib", "images"), "-o", "m.engine", "--dry-run")
	if r.code != 0 || !strings.Contains(r.out, "head0.cls_pred_out") || !strings.Contains(r.out, "600 steps of 8 pictures") {
		t.Errorf("exit code %d\n%s\n%s", r.code, r.out, r.err)
	}
	r = run(t, workLimit, dir, "build", sampleFile("shapes.onnx"), "--int8", "--data", sampleFile("calib", "images"), "-o", "m.engine", "--float-engine", "--qat", "on", "--iters", "1", "--dry-run")
	if r.code != 0 || !strings.Contains(r.out, "1 steps of 8 pictures") || !strings.Contains(r.out, "m.float.engine.json") {
		t.Errorf("one step: exit code %d\n%s\n%s", r.code, r.out, r.err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// TestEvalCommand: the user's own measure decides.
func TestEvalCommand(t *testing.T) {
	program(t)
	dir := t.TempDir()
	args := []string{"build", sampleFile("shapes.onnx"), "--int8", "--data", sampleFile("calib", "images"), "--qat", "on", "--iters", "2", "--eval-iter", "1",
		"--batch-size", "1", "-o", "m.engine", "--json"}
	script := write(t, dir, "judge.sh", []byte("test -s \"$1\" && echo measured && wc -c < \"$1\"\n"))
	var r trained
	run(t, workLimit, dir, append(args, "--eval-cmd", "sh "+script+" {onnx}")...).expectJSON(t, &r)
	if !r.QAT.Trained || r.QAT.Judge != "metric" {
		t.Errorf("result: %+v", r.QAT)
	}
	run(t, workLimit, dir, append(args, "--eval-cmd", "sh -c 'echo nothing' {onnx}")...).expectError(t, "one number", "nothing")
}

// TestKilled: a training killed at any moment goes on to the bits of an unbroken
// one, and an interrupted one says how.
func TestKilled(t *testing.T) {
	program(t)
	dir := t.TempDir()
	args := func(name string) []string {
		return []string{"build", sampleFile("shapes.onnx"), "--int8", "--data", sampleFile("calib", "images"), "--qat", "on", "--iters", "40",
			"--eval-iter", "10", "--checkpoint-iter", "3", "--batch-size", "2", "-o", name + ".engine", "--work", name, "--quiet"}
	}
	if r := run(t, workLimit, dir, args("whole")...); r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.err)
	}
	broken := func(signal syscall.Signal) (code int, text string) {
		cmd := command(t, context.Background(), dir, args("broken")...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		before := checkpointTime(dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range 2000 { // until it has made a checkpoint of its own
			time.Sleep(5 * time.Millisecond)
			if checkpointTime(dir) != before {
				break
			}
		}
		cmd.Process.Signal(signal)
		cmd.Wait()
		return cmd.ProcessState.ExitCode(), errs.String()
	}
	for range 3 {
		broken(syscall.SIGKILL)
	}
	if code, text := broken(syscall.SIGINT); code != 0 && (code != 130 || !strings.Contains(text, "goes on from there")) {
		t.Errorf("interrupted: exit code %d, %s", code, text)
	}
	if r := run(t, workLimit, dir, args("broken")...); r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.err)
	}
	var c struct {
		Kind       string
		Checkpoint struct{ Step, Steps int }
	}
	run(t, refusalLimit, dir, "inspect", "--json", filepath.Join("broken", "checkpoint")).expectJSON(t, &c)
	if c.Kind != "checkpoint" || c.Checkpoint.Steps != 40 || c.Checkpoint.Step < 3 {
		t.Errorf("the checkpoint: %+v", c)
	}
	var models [2][]byte
	for i, name := range []string{"whole.onnx", "broken.onnx"} {
		var err error
		if models[i], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(models[0], models[1]) {
		t.Error("the resumed training gave another model than the unbroken one")
	}
}

func checkpointTime(dir string) time.Time {
	info, err := os.Stat(filepath.Join(dir, "broken", "checkpoint"))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
