package trt

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trtact/internal/fault"
)

func sample() *Engine {
	return &Engine{Bytes: []byte("engine bytes"), Artifact: Artifact{
		Model: File{Name: "m.onnx", SHA256: "ab", Bytes: 3}, Backend: BackendRTX, Family: "rtx1", Version: "1.7.1",
		Targets: []string{"sm_86"}, Precision: "int8, fp32",
		Inputs:  []Tensor{{Name: "x", Type: "fp32", Dims: []int{1, 3, 8, 8}}},
		Outputs: []Tensor{{Name: "y", Type: "fp32", Dims: []int{1, 2}}},
	}}
}

func TestWriteRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.engine")
	if err := Write(path, sample()); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path, false)
	if err != nil {
		t.Fatal(err)
	}
	a := got.Artifact
	if string(got.Bytes) != "engine bytes" || a.Format != Format || a.Engine.Name != "m.engine" || a.Engine.Bytes != 12 ||
		a.Engine.SHA256 != hash([]byte("engine bytes")) || a.Version != "1.7.1" || len(a.Inputs) != 1 {
		t.Errorf("read %+v", got)
	}
}

func TestReadRefuses(t *testing.T) {
	edit := func(old, new string) func(t *testing.T, engine, sidecar string) {
		return func(t *testing.T, engine, sidecar string) {
			data, err := os.ReadFile(sidecar)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(data), old) {
				t.Fatalf("no %s in %s", old, data)
			}
			put(t, sidecar, strings.Replace(string(data), old, new, 1))
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, engine, sidecar string)
		want  string
	}{
		{"no file", func(t *testing.T, e, s string) { os.Remove(e) }, "no such file"},
		{"empty", func(t *testing.T, e, s string) { put(t, e, "") }, "the file is empty"},
		{"tampered", func(t *testing.T, e, s string) { put(t, e, "engine bytEs") }, "not the file its sidecar describes"},
		{"truncated", func(t *testing.T, e, s string) { put(t, e, "engine byte") }, "not the file its sidecar describes"},
		{"no sidecar", func(t *testing.T, e, s string) { os.Remove(s) }, "is missing"},
		{"garbage sidecar", func(t *testing.T, e, s string) { put(t, s, "\x00\x01garbage") }, "is not JSON"},
		{"deep sidecar", func(t *testing.T, e, s string) { put(t, s, strings.Repeat("[", 1<<20)) }, "is not JSON"},
		{"foreign sidecar", func(t *testing.T, e, s string) { put(t, s, `{"a": 1}`) }, "none of this program's"},
		{"old format", edit(`"format": 1`, `"format": 0`), "has format 0, this program reads 1"},
		{"new format", edit(`"format": 1`, `"format": 2`), "has format 2, this program reads 1"},
		{"wrong sha", edit(`"sha256": "`, `"sha256": "0`), "not the file its sidecar describes"},
		{"no version", edit(`"version": "1.7.1"`, `"version": ""`), "which TensorRT"},
		{"unknown backend", edit(`"backend": "rtx"`, `"backend": "sql"`), `unknown backend "sql"`},
		{"wrong type", edit(`"inputs": [`, `"inputs": 4, "other": [`), "cannot unmarshal"},
		{"half a profile", edit(`"dims": [`, `"profile": {"min": [], "opt": [1, 3, 8, 8], "max": []}, "dims": [`), "are not of its"},
		{"no inputs", edit(`"inputs": [`, `"inputs": [], "other": [`), "no inputs"},
		{"folder", func(t *testing.T, e, s string) { os.Remove(e); os.Mkdir(e, 0o755) }, "no regular file"},
		{"pipe", func(t *testing.T, e, s string) {
			os.Remove(e)
			if err := syscall.Mkfifo(e, 0o600); err != nil {
				t.Skip(err)
			}
		}, "no regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m.engine")
			if err := Write(path, sample()); err != nil {
				t.Fatal(err)
			}
			c.spoil(t, path, SidecarPath(path))
			for _, trust := range []bool{false, true} {
				e, err := Read(path, trust)
				if trust && c.name == "no sidecar" {
					if err != nil || string(e.Bytes) != "engine bytes" || e.Artifact.Version != "" {
						t.Errorf("with trust: %+v, %v", e, err)
					}
					continue
				}
				if err == nil {
					t.Fatalf("trust %v: no error", trust)
				}
				if fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
					t.Errorf("trust %v: error %q (exit code %d), want %q and the file", trust, err, fault.Code(err), c.want)
				}
			}
		})
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWriteFailureKeepsOldPair(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.engine")
	if err := Write(path, sample()); err != nil {
		t.Fatal(err)
	}
	other := sample()
	other.Bytes = []byte("other")
	other.Artifact.Inspection = []byte("{broken") // the sidecar cannot be written
	if err := Write(path, other); err == nil {
		t.Fatal("no error")
	}
	if e, err := Read(path, false); err != nil || string(e.Bytes) != "engine bytes" {
		t.Errorf("after a failed write: %v, %v", e, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("%d files, want 2", len(left))
	}
}

func TestCheckRuntime(t *testing.T) {
	a := sample().Artifact
	if err := a.CheckRuntime(Family{Backend: BackendRTX, Version: "1.7.1"}); err != nil {
		t.Error(err)
	}
	for _, f := range []Family{{Backend: BackendRTX, Version: "1.6.0"}, {Backend: BackendTensorRT, Version: "10.6.0"}, {Backend: BackendTensorRT}} {
		err := a.CheckRuntime(f)
		if fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "built by TensorRT for RTX 1.7.1") {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestParseTargets(t *testing.T) {
	got, err := ParseTargets([]string{"sm_120", " 8.6", "75", "SM_86", ""})
	if err != nil || len(got) != 3 || got[0] != 75 || got[1] != 86 || got[2] != 120 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"ampere", "sm_", "8.6.1", "-75", "7"} {
		if _, err := ParseTargets([]string{bad}); fault.Code(err) != fault.CodeUsage {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// fixed is the profile of an input that always has the same size.
func fixed(dims ...int) Profile { return Profile{Min: dims, Opt: dims, Max: dims} }

func TestOptionsCheck(t *testing.T) {
	for _, o := range []BuildOptions{
		{Backend: "cuda"},
		{Backend: BackendTensorRT, Targets: []int{86}},
		{Shapes: map[string]Profile{"x": {Min: []int{1}, Opt: []int{1, 2}, Max: []int{1}}}},
		{Shapes: map[string]Profile{"x": {Min: []int{2}, Opt: []int{1}, Max: []int{3}}}},
		{Shapes: map[string]Profile{"x": fixed(1, 2, 3, 4, 5, 6, 7, 8, 9)}},
		{Timeout: -time.Second},
	} {
		if err := o.check(); fault.Code(err) != fault.CodeUsage {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestChoose(t *testing.T) {
	rtx := Family{Name: "rtx1", Backend: BackendRTX, Version: "1.7.1", Targets: []int{75}, CanBuild: true}
	trt8 := Family{Name: "trt8", Backend: BackendTensorRT, Version: "8.6.1", CanBuild: true}
	trt10 := Family{Name: "trt10", Backend: BackendTensorRT, Version: "10.6.0", CanBuild: true}
	no := func(f Family) Family { f.CanBuild, f.Problem = false, "no GPU"; return f }
	for _, c := range []struct {
		families []Family
		backend  string
		targets  []int
		want     string // family, or a part of the error
	}{
		{[]Family{rtx, trt8, trt10}, BackendAuto, nil, "trt10"},
		{[]Family{rtx, trt8, trt10}, "", []int{75}, "rtx1"},
		{[]Family{rtx, no(trt8), trt10}, BackendRTX, nil, "rtx1"},
		{[]Family{rtx, no(trt8), no(trt10)}, BackendAuto, nil, "rtx1"},
		{[]Family{rtx, no(trt8), no(trt10)}, BackendTensorRT, nil, "no TensorRT can build an engine here: trt10: no GPU; trt8: no GPU"},
		{[]Family{no(rtx), trt10}, BackendAuto, []int{75}, "no TensorRT for RTX can build an engine here: rtx1: no GPU"},
		{[]Family{trt10}, BackendRTX, nil, "built without TensorRT for RTX (it has trt10)"},
		{nil, BackendAuto, nil, "in /shims"},
	} {
		got, err := Choose(c.families, c.backend, c.targets, Places{Shims: []string{"/shims"}})
		if err != nil {
			if fault.Code(err) != fault.CodeNoDevice || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v %v: %v, want %q", c.backend, c.targets, err, c.want)
			}
		} else if got.Name != c.want {
			t.Errorf("%v %v: %s, want %s", c.backend, c.targets, got.Name, c.want)
		}
	}
}

func TestDefaultPlaces(t *testing.T) {
	cache := t.TempDir()
	for _, v := range []string{"1.7.1", "1.10.0", "1.9.0"} {
		if err := os.MkdirAll(filepath.Join(cache, "tensorrt-rtx-"+v, "lib"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TRTACT_CACHE", cache)
	t.Setenv("TENSORRT_ROOT", "/opt/tensorrt")
	t.Setenv("TRTACT_LIB", "/shims")
	got := strings.ReplaceAll(strings.Join(DefaultPlaces().Libraries, " "), cache, "CACHE")
	want := "/opt/tensorrt/lib CACHE/tensorrt-rtx-1.10.0/lib CACHE/tensorrt-rtx-1.9.0/lib CACHE/tensorrt-rtx-1.7.1/lib /shims"
	if got != want {
		t.Errorf("libraries\n%s\nwant\n%s", got, want)
	}
	t.Setenv("TRTACT_LIB", "")
	for _, dir := range append(DefaultPlaces().Shims, DefaultPlaces().Libraries...) {
		if !filepath.IsAbs(dir) {
			t.Errorf("%s is not absolute", dir)
		}
	}
	t.Setenv("LD_LIBRARY_PATH", ":.:/a:b:/c")
	if got := loaderPath([]string{"/x"}); got != "/x:/a:/c" {
		t.Errorf("loader path %q", got)
	}
}
