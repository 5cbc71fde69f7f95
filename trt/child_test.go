package trt

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

// The test program plays the child, as the real program does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ChildCommand {
		os.Exit(RunChild(os.Stdin, os.Stderr))
	}
	os.Exit(m.Run())
}

// compile makes a shared library from a file in testdata.
func compile(t *testing.T, source, library string, defines ...string) {
	t.Helper()
	args := []string{"-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-I", filepath.Join(testenv.Root(), "csrc", "include"),
		"-o", library, filepath.Join("testdata", source)}
	for _, d := range defines {
		args = append(args, "-D"+d)
	}
	if out, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v\n%s", source, err, out)
	}
}

// standIn is a place with nothing but a stand-in for a shim.
func standIn(t *testing.T, defines ...string) *Places {
	t.Helper()
	dir := t.TempDir()
	compile(t, "standin.c", filepath.Join(dir, "libtrtact_trt_standin.so"), defines...)
	t.Setenv("TMPDIR", t.TempDir()) // to see what is left behind
	return &Places{Shims: []string{dir}}
}

// leftBehind lists what is in the folder for temporary files.
func leftBehind(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

// findAndBuild builds with the TensorRT that is chosen of those in the options' places.
func findAndBuild(ctx context.Context, model []byte, o BuildOptions) (*Engine, error) {
	families, err := Find(ctx, *o.Places)
	if err != nil {
		return nil, err
	}
	family, err := Choose(families, o.Backend, o.Targets, *o.Places)
	if err != nil {
		return nil, err
	}
	return Build(ctx, family, model, o)
}

func TestBuildInChild(t *testing.T) {
	level := 2
	model := []byte("good")
	e, err := findAndBuild(context.Background(), model, BuildOptions{
		Places: standIn(t), Model: "a.onnx", FP16: true, INT8: true, OptimizationLevel: &level, Workspace: 5 << 30,
		Shapes: map[string]Profile{"images": {Min: []int{1, 7}, Opt: []int{2, 7}, Max: []int{4, 7}}}, Detailed: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "stand-in fp16=1 int8=1 level=2 workspace=5368709120 profiles=1 more=0,0,0,0,0,0"
	if string(e.Bytes) != want {
		t.Errorf("engine %q, want %q", e.Bytes, want)
	}
	a := e.Artifact
	got, _ := json.Marshal([]any{a.Version, a.Family, a.Backend, a.Model.SHA256 == hash(model), a.Precision, a.Inputs, a.Outputs, a.Layers, a.Inspection})
	wantJSON := `["0.0.1","standin","tensorrt",true,"int8, fp32 (fp16 allowed)",` +
		`[{"name":"images","type":"fp32","dims":[-1,7],"profile":{"min":[1,7],"opt":[2,7],"max":[4,7]}}],` +
		`[{"name":"boxes","type":"fp16","dims":[-1,8]}],` +
		`[{"name":"first","kind":"Convolution","type":"fp32","dims":[],"weights":100,"weight_type":"fp32"},` +
		`{"name":"second","kind":"Convolution","type":"fp32","dims":[],"quantized":true,"weights":100,"weight_type":"int8"}],` +
		`{"Layers":[]}]`
	if string(got) != wantJSON {
		t.Errorf("artifact\n%s\nwant\n%s", got, wantJSON)
	}
	if b, f := a.WeightBytes(); b != 500 || f != 800 {
		t.Errorf("weights %d bytes, %d as float, want 500 and 800", b, f)
	}
	if left := leftBehind(t); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func TestBuildFailures(t *testing.T) {
	places := standIn(t)
	for _, c := range []struct {
		model string
		code  int
		text  []string
		log   bool // the log is kept and named
	}{
		{"crash", fault.CodeFailed, []string{"TensorRT crashed (signal 11, segmentation fault) while building m.onnx"}, true},
		{"abort", fault.CodeFailed, []string{"TensorRT crashed (signal 6, aborted) while building m.onnx"}, true},
		{"killed", fault.CodeFailed, []string{"was killed while building m.onnx", "memory"}, true},
		{"exit", fault.CodeFailed, []string{"ended with exit status 3 while building m.onnx"}, true},
		{"fail", fault.CodeFailed, []string{"building m.onnx: stand-in cannot"}, true},
		{"model", fault.CodeBadInput, []string{"building m.onnx: node 3 'a' (Foo)"}, true},
		{"invalid", fault.CodeUsage, []string{"building m.onnx: stand-in takes no such option"}, false},
		{"device", fault.CodeNoDevice, []string{"stand-in needs a GPU"}, false},
		{"", fault.CodeBadInput, []string{"build m.onnx: the model is empty"}, false},
	} {
		t.Run("model "+c.model, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			_, err := findAndBuild(context.Background(), []byte(c.model), BuildOptions{Places: places, Model: "m.onnx"})
			if err == nil {
				t.Fatal("no error")
			}
			if got := fault.Code(err); got != c.code {
				t.Errorf("exit code %d, want %d: %v", got, c.code, err)
			}
			for _, text := range c.text {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("error %q does not say %q", err, text)
				}
			}
			_, log, named := strings.Cut(err.Error(), "its log: ")
			if named != c.log {
				t.Fatalf("log named: %v, want %v: %v", named, c.log, err)
			}
			if named {
				data, err := os.ReadFile(log)
				if err != nil || !bytes.Contains(data, []byte("stand-in is asked to")) {
					t.Errorf("log %q: %v", data, err)
				}
				os.Remove(log)
			}
			if left := leftBehind(t); left != "" {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}

// hung reads from a hanging stand-in's log which processes it is made of.
func hung(t *testing.T, log string) []int {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		data, _ := os.ReadFile(log) // not there yet
		var pids []int
		for line := range strings.Lines(string(data)) {
			var pid int
			if _, err := fmt.Sscanf(line, "process %d\n", &pid); err == nil {
				pids = append(pids, pid)
			}
		}
		if len(pids) == 2 {
			return pids
		}
	}
	t.Fatal("the stand-in did not start to hang")
	return nil
}

// ended fails the test when a process still runs. A killed one may stay as a
// zombie until init takes it.
func ended(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		alive := true
		for deadline := time.Now().Add(5 * time.Second); alive && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			_, state, _ := strings.Cut(string(stat), ") ")
			alive = err == nil && !strings.HasPrefix(state, "Z") && syscall.Kill(pid, 0) == nil
		}
		if alive {
			t.Errorf("process %d of the child still runs", pid)
		}
	}
}

func TestBuildTimeLimit(t *testing.T) {
	log := filepath.Join(t.TempDir(), "sub", "build.log")
	start := time.Now()
	_, err := findAndBuild(context.Background(), []byte("hang"), BuildOptions{Places: standIn(t), Timeout: 500 * time.Millisecond, Log: log})
	want := "TensorRT took longer than 500ms while building the model and was stopped; its log: " + log
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	ended(t, hung(t, log))
}

func TestBuildCancel(t *testing.T) {
	log := filepath.Join(t.TempDir(), "build.log")
	places := standIn(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := findAndBuild(ctx, []byte("hang"), BuildOptions{Places: places, Log: log})
		done <- err
	}()
	pids := hung(t, log)
	cancel()
	err := <-done
	if !errors.Is(err, context.Canceled) || fault.Code(err) != fault.CodeInterrupted {
		t.Errorf("error %v with exit code %d, want a cancelled context", err, fault.Code(err))
	}
	ended(t, pids)
}

func TestFindFailures(t *testing.T) {
	for _, c := range []struct {
		define, problem string
		code            int
	}{
		{"STANDIN_ABI=99", "another version of this program", fault.CodeNoDevice},
		{"STANDIN_PROBE=4", "stand-in finds no GPU", fault.CodeNoDevice},
		{"STANDIN_PROBE=11", "TensorRT crashed (signal 11", fault.CodeFailed},
	} {
		places := standIn(t, c.define)
		families, err := Find(context.Background(), *places)
		if err != nil || len(families) != 1 {
			t.Fatalf("%s: %v, %v", c.define, families, err)
		}
		f := families[0]
		if f.CanBuild || !strings.Contains(f.Problem, c.problem) || f.code != c.code {
			t.Errorf("%s: problem %q (exit code %d), want %q (%d)", c.define, f.Problem, f.code, c.problem, c.code)
		}
		_, err = findAndBuild(context.Background(), []byte("good"), BuildOptions{Places: places})
		if fault.Code(err) != fault.CodeNoDevice || !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: build: %v", c.define, err)
		}
	}
}

// A library that is no shim, and no library at all.
func TestFindNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "libtrtact_trt_text.so"), []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	compile(t, "otherversion.c", filepath.Join(dir, "libtrtact_trt_none.so"), "VERSION=1")
	families, err := Find(context.Background(), Places{Shims: []string{dir}})
	if err != nil || len(families) != 2 {
		t.Fatalf("%v, %v", families, err)
	}
	for i, want := range []string{"trtact_trt_open", "libtrtact_trt_text.so"} {
		if !strings.Contains(families[i].Problem, want) {
			t.Errorf("problem %q does not name %s", families[i].Problem, want)
		}
	}
	empty := &Places{Shims: []string{t.TempDir()}}
	_, err = findAndBuild(context.Background(), []byte("good"), BuildOptions{Places: empty})
	if fault.Code(err) != fault.CodeNoDevice || !strings.Contains(err.Error(), empty.Shims[0]) {
		t.Errorf("without a shim: %v", err)
	}
}

func TestRunChildRefusesGarbage(t *testing.T) {
	var stderr bytes.Buffer
	if code := RunChild(strings.NewReader("{"), &stderr); code == 0 || !strings.Contains(stderr.String(), "read the request") {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}

// A program that does not hand over to RunChild would start itself without end.
func TestChildStartsNoChild(t *testing.T) {
	places := standIn(t)
	t.Setenv(childVariable, "1")
	_, err := findAndBuild(context.Background(), []byte("good"), BuildOptions{Places: places})
	if err == nil || !strings.Contains(err.Error(), "does not call trt.RunChild") {
		t.Errorf("build in a child: %v", err)
	}
}
