package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// quickly is how long an interrupted run may take to end: the step in hand, which
// may be an image, on a machine that is busy with other things.
const quickly = 10 * time.Second

// TestInterrupt: Ctrl-C ends a run with its own exit code, no part of a file and
// no process left behind.
func TestInterrupt(t *testing.T) {
	program(t)
	model := testenv.Data(t, "models", "yolov5n.onnx")
	for _, c := range []struct {
		name  string
		args  []string
		stage string // what is under way when the signal comes
	}{
		{"calibrate", []string{"calibrate", model, "--data", listFile(t, t.TempDir(), 100), "-o", "q.onnx"}, "calibrate"},
		{"eval", []string{"eval", model, "--data", testenv.Data(t, "coco", "annotations.json")}, "evaluate"},
		{"build", []string{"build", testenv.Data(t, "models", "picodet_s_416.onnx"), "-o", "q.engine"}, "build engine"},
	} {
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
			t.Run(fmt.Sprint(c.name, " ", signal), func(t *testing.T) {
				dir, tmp := t.TempDir(), t.TempDir()
				ctx, cancel := context.WithTimeout(context.Background(), workLimit)
				defer cancel()
				cmd := command(t, ctx, dir, c.args...)
				cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				var errs bytes.Buffer
				cmd.Stderr = &errs
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				group := cmd.Process.Pid
				ended := make(chan error, 1)
				go func() { ended <- cmd.Wait() }()
				select {
				case err := <-ended:
					t.Fatalf("it ended before the signal: %v\n%s", err, errs.String())
				case <-time.After(delay(t, c.name, group)):
				}
				children := descendants(t, group)
				sent := time.Now()
				if err := syscall.Kill(group, signal); err != nil { // the program alone, as a killer of processes does
					t.Fatal(err)
				}
				err := <-ended
				if spent := time.Since(sent); spent > quickly {
					t.Errorf("it took %v to end", spent)
				}
				if signal == syscall.SIGINT {
					var exit *exec.ExitError
					if !errors.As(err, &exit) || exit.ExitCode() != fault.CodeInterrupted {
						t.Errorf("it ended with %v, want exit code %d\n%s", err, fault.CodeInterrupted, errs.String())
					}
					if last := (ran{err: errs.String()}).lastLine(); last != "trtact: interrupted" {
						t.Errorf("the last line is %q", last)
					}
					if left := contents(t, tmp); len(left) != 1 {
						t.Errorf("left in the folder for temporary files: %v", left)
					}
				}
				for until := time.Now().Add(quickly); ; time.Sleep(20 * time.Millisecond) {
					alive := living(children)
					if len(alive) == 0 {
						break
					}
					if time.Now().After(until) {
						t.Errorf("still running after the end: %v", alive)
						for _, pid := range alive {
							syscall.Kill(pid, syscall.SIGKILL)
						}
						break
					}
				}
				for name := range contents(t, dir) {
					if name != "." {
						t.Errorf("left behind: %s", name)
					}
				}
			})
		}
	}
}

// delay waits until a build's child runs, else gives a run time to begin.
func delay(t *testing.T, name string, pid int) time.Duration {
	if name != "build" {
		return 1500 * time.Millisecond
	}
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if len(descendants(t, pid)) > 0 {
			break
		}
	}
	return 300 * time.Millisecond
}

// descendants are the processes that pid and its children started.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	var list []int
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		for _, word := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(word); err == nil {
				list = append(append(list, child), descendants(t, child)...)
			}
		}
	}
	return list
}

// living are those of the processes that still run.
func living(list []int) []int {
	var alive []int
	for _, pid := range list {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && !strings.Contains(string(data), ") Z ") {
			alive = append(alive, pid)
		}
	}
	return alive
}

// TestWhereOutputsGo: what cannot be written is said before the work begins.
func TestWhereOutputsGo(t *testing.T) {
	program(t)
	model := testenv.Data(t, "models", "fastestdet_352.onnx")
	dir := t.TempDir()
	list := listFile(t, dir, 2)
	annotations := testenv.Data(t, "coco", "annotations.json")
	array := write(t, dir, "x.npy", []byte("not read"))
	file := write(t, dir, "file", []byte("x"))
	if err := os.MkdirAll(filepath.Join(dir, "d.onnx"), 0o777); err != nil {
		t.Fatal(err)
	}
	own := write(t, dir, "model.onnx", read(t, model))
	before := contents(t, dir)
	for _, c := range []struct {
		args []string
		word string
	}{
		{[]string{"calibrate", model, "--data", list, "-o", "d.onnx"}, "is a folder"},
		{[]string{"calibrate", model, "--data", list, "-o", filepath.Join(file, "q.onnx")}, "not a folder"},
		{[]string{"calibrate", own, "--data", list, "-o", own}, "overwrite the model"},
		{[]string{"build", model, "--int8", "--data", list, "-o", dir}, "is a folder"},
		{[]string{"build", model, "--int8", "--data", list, "-o", "d.engine"}, "is a folder"},
		{[]string{"build", model, "--fp16", "-o", filepath.Join(file, "q.engine")}, "not a folder"},
		{[]string{"build", model, "--fp16", "-o", "q.engine", "--report", file}, "not a folder"},
		{[]string{"build", own, "--int8", "--data", list, "-o", "model.engine"}, "replace the model"},
		{[]string{"build", model, "--int8", "--data", list, "-o", "q.onnx"}, "name the engine"},
		{[]string{"detect", model, pictures(t, 1)[0], "-o", file}, "not a folder"},
		{[]string{"run", model, "-i", array, "-o", file}, "not a folder"},
		{[]string{"eval", model, "--data", annotations, "--save", dir}, "is a folder"},
	} {
		run(t, refusalLimit, dir, c.args...).expectRefusal(t, fault.CodeUsage, c.word)
	}
	expectSame(t, dir, before)
	// A folder that is not there yet is made.
	r := run(t, workLimit, dir, "calibrate", model, "--data", list, "--method", "absmax", "-o", "a/b/q.onnx")
	if r.code != 0 {
		t.Fatalf("into a new folder: %s", r.err)
	}
	for _, name := range []string{"a/b/q.onnx", "a/b/q.plan.json"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestFullDisk: one line, and no part of a file.
func TestFullDisk(t *testing.T) {
	program(t)
	model := testenv.Data(t, "models", "fastestdet_352.onnx")
	dir := t.TempDir()
	list := listFile(t, dir, 2)
	disk := filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("skipped: needs the right to mount a small file system: %v", err)
	}
	defer syscall.Unmount(disk, syscall.MNT_DETACH)
	r := run(t, workLimit, dir, "calibrate", model, "--data", list, "--method", "absmax", "-o", filepath.Join(disk, "q.onnx"), "-q")
	r.expectRefusal(t, fault.CodeFailed, "write "+filepath.Join(disk, "q.onnx"), "no space left on device")
	for name := range contents(t, disk) {
		if name != "." && name != "q.plan.json" { // the plan fits and is whole
			t.Errorf("left behind: %s", name)
		}
	}
	r = run(t, workLimit, dir, "detect", model, pictures(t, 4)[0], pictures(t, 4)[1], pictures(t, 4)[2], pictures(t, 4)[3], "-o", disk, "-q")
	r.expectRefusal(t, fault.CodeFailed, "no space left on device")
	for name := range contents(t, disk) {
		if strings.HasSuffix(name, ".tmp") {
			t.Errorf("left behind: %s", name)
		}
	}
}
