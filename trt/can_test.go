package trt

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/fault"
)

// Every option comes through to the shim as it was asked for.
func TestBuildOptionsArrive(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "timings")
	o := BuildOptions{
		Places: standIn(t), Model: "a.onnx", TimingCache: cache, TacticSources: []string{"-cudnn", "+jit_convolutions"},
		VersionCompatible: true, HardwareCompatible: AmperePlus, Refit: true, SparseWeights: true,
		LayerTypes: map[string]string{"b": "int8", "a": "fp32"},
	}
	for i, want := range []string{"|", "||", "|||"} {
		e, err := findAndBuild(context.Background(), []byte("good"), o)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(e.Bytes), "stand-in fp16=0 int8=0 level=-1 workspace=0 profiles=0 more=16,4,1,1,1,1 a:float b:int8"; got != want {
			t.Errorf("engine %q, want %q", got, want)
		}
		if a := e.Artifact; !a.VersionCompatible || a.HardwareCompatible != AmperePlus || !a.Refit {
			t.Errorf("sidecar %+v", a)
		}
		if got, err := os.ReadFile(cache); err != nil || string(got) != want {
			t.Errorf("timing cache after build %d: %q, %v; want %q", i+1, got, err, want)
		}
	}
	if left := leftBehind(t); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// A build that fails leaves the timing cache as it was.
func TestTimingCacheStays(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "timings")
	if err := os.WriteFile(cache, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	places := standIn(t)
	if _, err := findAndBuild(context.Background(), []byte("fail"), BuildOptions{Places: places, TimingCache: cache}); err == nil {
		t.Error("the stand-in built what it should not")
	}
	if got, _ := os.ReadFile(cache); string(got) != "old" {
		t.Errorf("timing cache %q, want the old one", got)
	}
	folder := t.TempDir()
	if _, err := findAndBuild(context.Background(), []byte("good"), BuildOptions{Places: places, TimingCache: folder}); err == nil || !strings.Contains(err.Error(), "timing cache") {
		t.Errorf("a folder as timing cache: %v", err)
	}
}

func TestFamilyCheck(t *testing.T) {
	level := 3
	old := Family{Backend: BackendTensorRT, Version: "8.4.3", WeakTypes: true, CalibrationCache: true,
		Can: []string{CanLayerTypes, CanTimingCache}, TacticSources: []string{"cublas", "cudnn"}}
	rtx := Family{Backend: BackendRTX, Version: "1.7.1"}
	for _, c := range []struct {
		name   string
		family Family
		o      BuildOptions
		want   string // part of the error, "": none
	}{
		{"nothing asked", rtx, BuildOptions{}, ""},
		{"timing cache", old, BuildOptions{TimingCache: "f"}, ""},
		{"timing cache, RTX", rtx, BuildOptions{TimingCache: "f"}, "TensorRT for RTX 1.7.1 has no timing cache"},
		{"level", rtx, BuildOptions{OptimizationLevel: &level}, "TensorRT for RTX 1.7.1 has no optimisation level"},
		{"sparse", rtx, BuildOptions{SparseWeights: true}, "has no kernels for sparse weights"},
		{"level, 8.4", old, BuildOptions{OptimizationLevel: &level}, "TensorRT 8.4.3 has no optimisation level"},
		{"version compatible", old, BuildOptions{VersionCompatible: true}, "TensorRT 8.4.3 has no version-compatible engines"},
		{"Ampere", old, BuildOptions{HardwareCompatible: AmperePlus}, "has no engines for all GPUs since Ampere"},
		{"same", old, BuildOptions{HardwareCompatible: SameCapability}, "has no engines for all GPUs of one compute capability"},
		{"unknown compatibility", old, BuildOptions{HardwareCompatible: "turing"}, `"turing", want ampere+ or same-capability`},
		{"layer types", old, BuildOptions{LayerTypes: map[string]string{"a": "fp16"}}, ""},
		{"layer types, RTX", rtx, BuildOptions{LayerTypes: map[string]string{"a": "fp16"}}, "has no layer types"},
		{"layer type", old, BuildOptions{LayerTypes: map[string]string{"a": "fp8"}}, `layer "a": type "fp8"`},
		{"scales", old, BuildOptions{INT8: true, CalibrationCache: []byte("x")}, ""},
		{"scales, RTX", rtx, BuildOptions{CalibrationCache: []byte("x")}, "has no implicit INT8"},
		{"source", old, BuildOptions{TacticSources: []string{"-CUDNN", "cublas"}}, ""},
		{"source, other", old, BuildOptions{TacticSources: []string{"+jit_convolutions"}}, "has no tactic source jit_convolutions: it has cublas, cudnn"},
		{"source, RTX", rtx, BuildOptions{TacticSources: []string{"-cudnn"}}, "has no tactic sources to choose from"},
		{"source, unknown", old, BuildOptions{TacticSources: []string{"cutlass"}}, `tactic source "cutlass"`},
		{"source, two signs", old, BuildOptions{TacticSources: []string{"--cudnn"}}, `tactic source "--cudnn"`},
		{"source, both", old, BuildOptions{TacticSources: []string{"+cudnn", "-cudnn"}}, "both asked for and left out"},
	} {
		err := c.family.Check(c.o)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || fault.Code(err) != fault.CodeUsage):
			t.Errorf("%s: %v (exit code %d), want %q and exit code 2", c.name, err, fault.Code(err), c.want)
		}
	}
}

func TestCheckRuntimeOfCompatibleEngine(t *testing.T) {
	for _, c := range []struct {
		compatible bool
		version    string
		ok         bool
	}{{false, "8.6.1", true}, {false, "10.2.0", false}, {true, "10.2.0", true}, {true, "8.5.3", false}} {
		a := Artifact{Backend: BackendTensorRT, Version: "8.6.1", VersionCompatible: c.compatible}
		if err := a.CheckRuntime(Family{Backend: BackendTensorRT, Version: c.version}); (err == nil) != c.ok {
			t.Errorf("compatible %v on %s: %v", c.compatible, c.version, err)
		}
	}
}
