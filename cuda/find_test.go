package cuda

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// library compiles C code to a shared library called name.
func library(t *testing.T, dir, name, code string) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("skipped: needs a C compiler")
	}
	source := filepath.Join(dir, name+".c")
	if err := os.WriteFile(source, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if out, err := exec.Command(cc, "-shared", "-fPIC", "-Wl,-soname,"+name, "-o", path, source).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func home(t *testing.T) (lib string) {
	t.Helper()
	root := t.TempDir()
	t.Setenv("CUDA_HOME", root)
	t.Setenv("CUDA_PATH", "")
	lib = filepath.Join(root, "lib64")
	if err := os.Mkdir(lib, 0o777); err != nil {
		t.Fatal(err)
	}
	return lib
}

func TestFindAsksForTheVersion(t *testing.T) {
	lib := home(t)
	path := library(t, lib, "libtrtacttest.so.2", "int version(int* v) { *v = 12040; return 0; }")
	got := find([]string{"libtrtacttest.so.3", "libtrtacttest.so.2"}, "version", cudaVersion)
	if got != (Library{Path: path, Version: "12.4"}) || !got.Found() {
		t.Errorf("got %+v", got)
	}
}

func TestFindWithAFailingVersion(t *testing.T) {
	lib := home(t)
	path := library(t, lib, "libtrtactstub.so.1", "int version(int* v) { *v = 9; return 34; }")
	if got := find([]string{"libtrtactstub.so.1"}, "version", cudaVersion); got != (Library{Path: path}) {
		t.Errorf("got %+v", got)
	}
}

func TestFindReportsWhatDoesNotOpen(t *testing.T) {
	lib := home(t)
	path := filepath.Join(lib, "libtrtactbroken.so.1")
	if err := os.WriteFile(path, []byte("not a library"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := find([]string{"libtrtactbroken.so.1"}, "version", cudaVersion)
	if got.Path != path || got.Problem == "" || strings.Contains(got.Problem, "\n") || got.Found() {
		t.Errorf("got %+v", got)
	}
}

// TestFindCuDNN8: it ends the process that calls it where its first part does not open.
func TestFindCuDNN8(t *testing.T) {
	lib := home(t)
	path := library(t, lib, "libcudnn.so.8", "#include <stdlib.h>\n#include <stddef.h>\nsize_t cudnnGetVersion(void) { abort(); }")
	if err := os.WriteFile(filepath.Join(lib, "libcudnn_ops_infer.so.8"), []byte("not a library"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := find([]string{"libcudnn.so.8"}, "cudnnGetVersion", cudnnVersion); got.Path != path || !strings.Contains(got.Problem, "libcudnn_ops_infer.so.8") {
		t.Errorf("got %+v", got)
	}
}

func TestFindNothing(t *testing.T) {
	home(t)
	if got := find([]string{"libtrtactnowhere.so.1"}, "version", cudaVersion); got != (Library{}) {
		t.Errorf("got %+v", got)
	}
}

func TestVersions(t *testing.T) {
	for v, want := range map[int]string{12040: "12.4", 13010: "13.1", 11080: "11.8"} {
		if got := cudaVersion(v); got != want {
			t.Errorf("cudaVersion(%d) = %s, want %s", v, got, want)
		}
	}
	for v, want := range map[int]string{8902: "8.9.2", 90100: "9.1.0", 91301: "9.13.1"} {
		if got := cudnnVersion(v); got != want {
			t.Errorf("cudnnVersion(%d) = %s, want %s", v, got, want)
		}
	}
}
