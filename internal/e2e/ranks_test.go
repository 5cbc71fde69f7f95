package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// ranksConfig is a training of the sample with so many pictures a step, for each
// process.
func ranksConfig(t *testing.T, dir string, batch int) string {
	return write(t, dir, fmt.Sprintf("batch%d.yaml", batch), []byte(fmt.Sprintf(`Global:
  model_dir: %s
  image_path: %s
  batch_size: %d
Distillation:
  loss: l2
QuantPost:
  algo: abs_max
  equalise: "off"
Quantization:
  activation_quantize_type: moving_average_abs_max
TrainConfig:
  train_iter: 24
  eval_iter: 12
  checkpoint_iter: 2
  learning_rate: 1.0e-4
`, sampleFile("shapes.onnx"), sampleFile("calib", "images"), batch)))
}

// TestTwoRanks: mpirun's Ctrl-C keeps the checkpoint; the same command goes on; one
// process writes and speaks; and the result is that of one process with the same
// pictures in a step.
func TestTwoRanks(t *testing.T) {
	program(t)
	testenv.MPI(t)
	dir := t.TempDir()
	two := []string{"compress", "--config", ranksConfig(t, dir, 1), "--save-dir", "two", "--resume", "--json", "--threads", "1"}
	mpirun := func(stdout, stderr *bytes.Buffer) *exec.Cmd {
		ctx, cancel := context.WithTimeout(context.Background(), workLimit)
		t.Cleanup(cancel)
		cmd := testenv.Mpirun(t, ctx, 2, program(t), two...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, stdout, stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	var stdout, stderr bytes.Buffer
	cmd := mpirun(&stdout, &stderr)
	checkpoint := filepath.Join(dir, "two", "checkpoints", "checkpoint")
	for until := time.Now().Add(workLimit); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(checkpoint); err == nil {
			break
		}
	}
	cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err == nil || stdout.Len() > 0 {
		t.Fatalf("interrupted: %v, printed %q\n%s", err, stdout.String(), stderr.String())
	}
	var c struct{ Checkpoint struct{ Step, Ranks int } }
	run(t, refusalLimit, dir, "inspect", "--json", checkpoint).expectJSON(t, &c)
	if c.Checkpoint.Ranks != 2 || c.Checkpoint.Step < 2 {
		t.Errorf("the checkpoint: %+v", c)
	}
	run(t, workLimit, dir, append([]string{"compress", "--config", filepath.Join(dir, "batch1.yaml")}, two[3:]...)...).
		expectError(t, "over 2 processes, this is one over one process")

	stdout.Reset()
	stderr.Reset()
	if err := mpirun(&stdout, &stderr).Wait(); err != nil {
		t.Fatalf("resumed: %v\n%s", err, stderr.String())
	}
	var r struct {
		QAT struct {
			Processes, Batch int
			Resumed          int `json:"resumed_at"`
		}
	}
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || r.QAT.Processes != 2 || r.QAT.Batch != 2 || r.QAT.Resumed < 2 {
		t.Errorf("the result: %+v, %v", r, err)
	}
	if n := strings.Count(stderr.String(), "training over 2 processes by MPI"); n != 1 || strings.Count(stderr.String(), "head0.cls_pred_out") != 1 {
		t.Errorf("not one process spoke:\n%s", stderr.String())
	}
	if one := run(t, workLimit, dir, "compress", "--config", ranksConfig(t, dir, 2), "--save-dir", "one", "--threads", "2"); one.code != 0 {
		t.Fatalf("exit code %d: %s", one.code, one.err)
	}
	if !bytes.Equal(read(t, filepath.Join(dir, "one", "model.onnx")), read(t, filepath.Join(dir, "two", "model.onnx"))) {
		t.Error("two processes with one picture each made another model than one with two")
	}
}

// TestWrongRanks: each wrong set-up is one line.
func TestWrongRanks(t *testing.T) {
	program(t)
	dir := t.TempDir()
	build := []string{"build", sampleFile("shapes.onnx"), "--int8", "--data", sampleFile("calib", "images"), "--qat", "on", "-o", "m.engine"}
	for _, c := range []struct {
		env, flag string
		code      int
		words     []string
	}{
		{"WORLD_SIZE=2 RANK=0", "auto", fault.CodeUsage, []string{"WORLD_SIZE", "mpirun -n 2"}},
		{"WORLD_SIZE=two", "auto", fault.CodeUsage, []string{"WORLD_SIZE"}},
		{"WORLD_SIZE=2 RANK=0", "nccl", fault.CodeUsage, []string{"NCCL", "--collective mpi"}},
		{"SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=0", "auto", fault.CodeUsage, []string{"srun --mpi=pmix", "--collective none"}},
		{"", "gossip", fault.CodeUsage, []string{"gossip"}},
	} {
		cmd := command(t, context.Background(), dir, append(build, "--collective", c.flag)...)
		cmd.Env = append(os.Environ(), strings.Fields(c.env)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		r := ran{args: cmd.Args[1:], code: cmd.ProcessState.ExitCode(), err: stderr.String()}
		if err == nil {
			t.Errorf("%s --collective %s went well", c.env, c.flag)
			continue
		}
		r.expectRefusal(t, c.code, c.words...)
	}

	testenv.MPI(t)
	other := write(t, dir, "other.onnx", append(read(t, sampleFile("shapes.onnx")), 0x12, 1, 'x')) // producer_name
	for _, c := range []struct {
		model string
		words string
		code  int
	}{
		{other, "process 1 of 2: its model", fault.CodeUsage},
		{filepath.Join(dir, "none.onnx"), "process 1 of 2", 0},
	} {
		first := append(testenv.Mpirun(t, context.Background(), 1, program(t), build...).Args[1:], ":", "-n", "1", program(t))
		cmd := testenv.Mpirun(t, context.Background(), 1, "true")
		cmd.Args = append(append([]string{"mpirun"}, first...), append([]string{build[0], c.model}, build[2:]...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || c.code != 0 && exit.ExitCode() != c.code {
			t.Errorf("%v\n%s", err, out)
		}
		said := 0
		for _, line := range strings.Split(string(out), "\n") {
			if strings.HasPrefix(line, "trtact: ") && !strings.Contains(line, "stopping") { // process 0 is told to
				said++
				if !strings.Contains(line, c.words) {
					t.Errorf("it says %q, want %q", line, c.words)
				}
			}
		}
		if said != 1 {
			t.Errorf("%d lines of the program, want one:\n%s", said, out)
		}
	}
	if files, err := filepath.Glob(filepath.Join(dir, "m.*")); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}
