package testenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// StandIn is the folder with the stand-in for TensorRT (csrc/standin), which `make
// native` builds. The test skips where it is missing.
func StandIn(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(Root(), "build", "test")
	if _, err := os.Stat(filepath.Join(dir, standInFile)); err != nil {
		t.Skipf("skipped: needs the stand-in for TensorRT (`make native` builds it): %v", err)
	}
	return dir
}

const standInFile = "libtrtact_trt_standin.so"

// StandInLibraries makes the stand-in the only TensorRT that is found, beside the
// built CPU backend where there is one. It returns the folder.
func StandInLibraries(t testing.TB) string {
	t.Helper()
	source, dir := StandIn(t), t.TempDir()
	link := func(from string) {
		if err := os.Symlink(from, filepath.Join(dir, filepath.Base(from))); err != nil {
			t.Fatal(err)
		}
	}
	link(filepath.Join(source, standInFile))
	built := os.Getenv("TRTACT_LIB")
	if built == "" {
		built = filepath.Join(Root(), "build", "lib")
	}
	found, _ := filepath.Glob(filepath.Join(built, "*.so*")) // nil when nothing is built
	for _, path := range found {
		if !strings.HasPrefix(filepath.Base(path), "libtrtact_trt_") {
			link(path)
		}
	}
	t.Setenv("TRTACT_LIB", dir)
	return dir
}
