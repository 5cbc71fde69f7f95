package trt

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// Every option that the TensorRT of this machine has, on its GPU: the engine comes
// about, is loaded and gives the outputs of the plain one.
func TestGPUBuildOptions(t *testing.T) {
	places := DefaultPlaces()
	if os.Getenv("TRTACT_LIB") == "" {
		places.Shims = []string{filepath.Join(testenv.Root(), "build", "lib")}
	}
	families, err := Find(context.Background(), places)
	if err != nil {
		t.Fatal(err)
	}
	family, err := Choose(families, BackendTensorRT, nil, places)
	if err != nil {
		t.Skipf("skipped: needs a GPU and TensorRT proper: %v", err)
	}
	model, dir := smallModel(t, plain, 13, 1, false), t.TempDir()
	input := make([]float32, 3*32*32)
	for i := range input {
		input[i] = float32(i%17)/17 - 0.5
	}
	outputs := func(name string, o BuildOptions) []float32 {
		t.Helper()
		o.Places = &places
		e, err := Build(context.Background(), family, model, o)
		if fault.Code(err) == fault.CodeUsage {
			t.Logf("%s: %v", name, err)
			return nil
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return nil
		}
		path := filepath.Join(dir, name+".engine")
		if err := Write(path, e); err != nil {
			t.Fatal(err)
		}
		s, err := OpenSession(context.Background(), SessionOptions{Engine: path, Places: &places})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return nil
		}
		defer s.Close()
		got, err := s.Run(context.Background(), map[string][]float32{e.Artifact.Inputs[0].Name: input})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return nil
		}
		return got[e.Artifact.Outputs[0].Name]
	}
	level, cache := 1, filepath.Join(dir, "timings")
	want := outputs("plain", BuildOptions{NoTF32: true})
	for name, o := range map[string]BuildOptions{
		"level": {OptimizationLevel: &level}, "timings": {TimingCache: cache}, "timings-again": {TimingCache: cache}, "no-cudnn": {TacticSources: []string{"-cudnn"}},
		"version": {VersionCompatible: true}, "ampere": {HardwareCompatible: AmperePlus}, "same": {HardwareCompatible: SameCapability},
		"refit": {Refit: true}, "sparse": {SparseWeights: true}, "workspace": {Workspace: 256 << 20}, "detailed": {Detailed: true},
	} {
		o.NoTF32 = true
		got := outputs(name, o)
		if got == nil {
			continue
		}
		for i := range want {
			if d := got[i] - want[i]; d > 1e-3 || d < -1e-3 {
				t.Errorf("%s: output %d is %v, the plain engine's %v", name, i, got[i], want[i])
				break
			}
		}
	}
	if slices.Contains(family.Can, CanTimingCache) {
		if info, err := os.Stat(cache); err != nil || info.Size() == 0 {
			t.Errorf("timing cache: %v", err)
		}
	}
	if slices.Contains(family.Can, CanLayerTypes) {
		e, err := Build(context.Background(), family, model, BuildOptions{Places: &places, FP16: true, Detailed: true})
		if err != nil {
			t.Fatal(err)
		}
		types := map[string]string{}
		for _, l := range e.Artifact.Layers {
			types[l.Name] = "fp32"
		}
		if _, err := Build(context.Background(), family, model, BuildOptions{Places: &places, FP16: true, LayerTypes: types}); err != nil {
			t.Errorf("all layers in FP32: %v", err)
		}
	}
}
