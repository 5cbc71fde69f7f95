package trt

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// TensorRT's real libraries, as scripts/check_tensorrt.sh has laid them out: each is
// opened by a shim compiled against headers that fit, tells its version, and builds
// or says in one sentence that there is no GPU.
func TestTensorRTVersions(t *testing.T) {
	root := os.Getenv("TRTACT_TRT_CHECK")
	if root == "" {
		t.Skip("skipped: make check-tensorrt runs it, which fetches TensorRT's libraries")
	}
	cases, err := filepath.Glob(filepath.Join(root, "cases", "*"))
	if err != nil || len(cases) == 0 {
		t.Fatalf("no library with a shim that fits in %s, %v", root, err)
	}
	t.Log("| library | shim | headers | can | without a GPU |")
	for _, dir := range cases {
		version := filepath.Base(dir)
		libraries, err := os.ReadFile(filepath.Join(dir, "libraries"))
		if err != nil {
			t.Fatal(err)
		}
		places := Places{Shims: []string{dir}, Libraries: []string{strings.TrimSpace(string(libraries))}}
		families, err := Find(context.Background(), places)
		if err != nil || len(families) != 1 {
			t.Fatalf("%s: %d families, %v", version, len(families), err)
		}
		f := families[0]
		if f.Version != version || f.Backend != BackendTensorRT || !strings.HasPrefix(f.Library, places.Libraries[0]) {
			t.Errorf("%s: found %s (%s) in %s", version, f.Version, f.Backend, f.Library)
		}
		can := append(append([]string{}, f.Can...), f.TacticSources...)
		if f.CalibrationCache {
			can = append(can, "implicit INT8")
		}
		t.Logf("| %s | %s | %s | %s | %s |", f.Version, f.Name, f.Headers, strings.Join(can, ", "), f.Problem)
		if f.CanBuild {
			continue
		}
		for _, word := range []string{"TensorRT", "needs an NVIDIA GPU and driver", "on this machine"} {
			if !strings.Contains(f.Problem, word) {
				t.Errorf("%s: %q does not say %q", version, f.Problem, word)
			}
		}
		_, err = findAndBuild(context.Background(), smallModel(t, plain, 13, 1, false), BuildOptions{Places: &places})
		if fault.Code(err) != fault.CodeNoDevice {
			t.Errorf("%s: build: %v (exit code %d), want exit code %d", version, err, fault.Code(err), fault.CodeNoDevice)
		}
		_, err = Choose(families, BackendRTX, nil, places)
		if fault.Code(err) != fault.CodeNoDevice {
			t.Errorf("%s: asked for RTX: %v", version, err)
		}
	}
	newerHeaders(t, root)
}

// A library older than the shim's headers is refused with both versions: what the
// headers promise, it may not have.
func newerHeaders(t *testing.T, root string) {
	shim := filepath.Join(testenv.Root(), "build", "lib", "libtrtact_trt_trt11.so")
	libraries, err := os.ReadFile(filepath.Join(root, "cases", "11.2.1", "libraries"))
	if _, missing := os.Stat(shim); missing != nil || err != nil {
		t.Log("a library older than the headers: not tried, which takes TensorRT 11.2.1 and the shim of 11.4")
		return
	}
	dir := t.TempDir()
	if err := os.Symlink(shim, filepath.Join(dir, filepath.Base(shim))); err != nil {
		t.Fatal(err)
	}
	families, err := Find(context.Background(), Places{Shims: []string{dir}, Libraries: []string{strings.TrimSpace(string(libraries))}})
	if err != nil || len(families) != 1 {
		t.Fatalf("%d families, %v", len(families), err)
	}
	f := families[0]
	t.Logf("11.2.1 by the shim of %s: %s", f.Headers, f.Problem)
	if f.CanBuild || !strings.Contains(f.Problem, "it is version 11.2.1") {
		t.Errorf("can build %v, %q", f.CanBuild, f.Problem)
	}
}
