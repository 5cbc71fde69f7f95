// Package testenv finds what tests need from outside the tree: the data folder,
// the Python environment with the reference tools, the built native libraries.
// A test that needs something missing skips and says what and why.
package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Root is the repository's root folder: TRTACT_ROOT, of tests that were compiled in
// another place (scripts/gpu.sh pack).
func Root() string {
	if root := os.Getenv("TRTACT_ROOT"); root != "" {
		return root
	}
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Data is a path in the folder of real detectors and COCO images: TRTACT_DATA,
// or ../shared/data beside the checkout. The test skips where it is missing.
func Data(t testing.TB, elem ...string) string {
	t.Helper()
	dir := os.Getenv("TRTACT_DATA")
	if dir == "" {
		dir = filepath.Join(Root(), "..", "shared", "data")
	}
	path := filepath.Join(append([]string{dir}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("skipped: needs the detectors and COCO images (TRTACT_DATA): %v", err)
	}
	return path
}

// Python is the interpreter of the environment with numpy, onnx, onnxruntime,
// pycocotools and OpenCV: TRTACT_PYTHON, which `make test` sets. The test skips
// where it is not set.
func Python(t testing.TB) string {
	t.Helper()
	python := os.Getenv("TRTACT_PYTHON")
	if python == "" {
		t.Skip("skipped: needs the reference tools in Python (TRTACT_PYTHON; `make test` sets it)")
	}
	return python
}

// RunPython runs a script with arguments and returns what it printed.
func RunPython(t testing.TB, script string, args ...string) string {
	t.Helper()
	cmd := exec.Command(Python(t), append([]string{"-c", script}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python: %v\n%s", err, stderr.String())
	}
	return string(out)
}

// NodeTests is the folder of ONNX's own operator tests, one folder a case,
// from the Python package onnx.
func NodeTests(t testing.TB) string {
	t.Helper()
	return strings.TrimSpace(RunPython(t, `
import os, onnx.backend.test
print(os.path.join(os.path.dirname(onnx.backend.test.__file__), "data", "node"))`))
}

// Libraries makes sure that the built native libraries are found: TRTACT_LIB, or
// build/lib of the checkout.
func Libraries(t testing.TB) {
	t.Helper()
	if os.Getenv("TRTACT_LIB") != "" {
		return
	}
	dir := filepath.Join(Root(), "build", "lib")
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("the native libraries are not built: run `make build` (%v)", err)
	}
	t.Setenv("TRTACT_LIB", dir)
}
