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
	return libraries(t, map[string]string{standInFile: filepath.Join(StandIn(t), standInFile)})
}

// EmulatedLibraries makes the emulated device (csrc/cuda/emulated) the GPU that the
// program finds. No TensorRT is found. It returns the folder.
func EmulatedLibraries(t testing.TB) string {
	t.Helper()
	for _, l := range ComputeLibraries(t) {
		if l.Kind == "emulated" {
			return libraries(t, map[string]string{"libtrtact_cuda.so": l.Path})
		}
	}
	t.Skip("skipped: TRTACT_TEST_DEVICE leaves the emulated device out")
	return ""
}

// libraries points TRTACT_LIB to a folder of links: own ones, by name, and all that is
// built beside them but TensorRT.
func libraries(t testing.TB, own map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	built := os.Getenv("TRTACT_LIB")
	if built == "" {
		built = filepath.Join(Root(), "build", "lib")
	}
	found, _ := filepath.Glob(filepath.Join(built, "*.so*")) // nil when nothing is built
	for _, path := range found {
		if name := filepath.Base(path); own[name] == "" && !strings.HasPrefix(name, "libtrtact_trt_") {
			own[name] = path
		}
	}
	for name, path := range own {
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TRTACT_LIB", dir)
	return dir
}
