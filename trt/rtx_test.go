package trt

// Tests with TensorRT for RTX itself, which builds without a GPU.

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/testenv"
)

// rtx is TensorRT for RTX as set up here; the test skips without it.
func rtx(t testing.TB) (Family, Places) {
	t.Helper()
	places := DefaultPlaces()
	if os.Getenv("TRTACT_LIB") == "" {
		places.Shims = []string{filepath.Join(testenv.Root(), "build", "lib")}
	}
	families, err := Find(context.Background(), places)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Choose(families, BackendRTX, nil, places)
	if err != nil {
		t.Skipf("skipped: needs TensorRT for RTX: %v", err)
	}
	return f, places
}

// Every way to write INT8 and FP16, for every GPU that TensorRT for RTX knows.
func TestRTXSmallModels(t *testing.T) {
	family, places := rtx(t)
	t.Logf("%s %s, targets %v", family.Title, family.Version, family.Targets)
	if !slices.Contains(family.Targets, 75) || !slices.Contains(family.Targets, 120) {
		t.Fatalf("targets %v", family.Targets)
	}
	for _, form := range forms {
		for _, opset := range []int{13, 17} {
			t.Run(fmt.Sprintf("%s opset %d", form, opset), func(t *testing.T) {
				e, err := Build(context.Background(), family, smallModel(t, form, opset, 1, false), BuildOptions{Places: &places})
				if err != nil {
					t.Fatal(err)
				}
				a := e.Artifact
				weights, float := a.WeightBytes()
				t.Logf("%d bytes, %.2f s, %s, weights %d of %d bytes", len(e.Bytes), a.BuildSeconds, a.Precision, weights, float)
				wantPrecision := map[string]string{plain: "fp32", fp16: "fp16"}[form]
				wantWeights := map[string]int64{plain: float, fp16: float / 2}[form]
				wantTargets, wantINT8 := len(family.Targets), 0
				if wantPrecision == "" { // the transposed convolution alone runs in float
					wantPrecision, wantWeights, wantTargets, wantINT8 = "int8", float/4, wantTargets-1, 4
				}
				if a.Precision != wantPrecision || weights != wantWeights {
					t.Errorf("precision %s with %d bytes of weights, want %s with %d", a.Precision, weights, wantPrecision, wantWeights)
				}
				if len(a.Inputs) != 1 || a.Inputs[0].Name != "images" || !slices.Equal(a.Inputs[0].Dims, []int{1, 3, 32, 32}) ||
					len(a.Outputs) != 1 || a.Outputs[0].Type != "fp32" || !slices.Equal(a.Outputs[0].Dims, []int{1, 8}) {
					t.Errorf("inputs %+v, outputs %+v", a.Inputs, a.Outputs)
				}
				if len(a.Targets) != wantTargets {
					t.Errorf("targets %v", a.Targets)
				}
				if c := a.Convolutions; c == nil || *c != (Convolutions{INT8: wantINT8, All: 5}) {
					t.Errorf("convolutions %+v, want %d of 5 in INT8", c, wantINT8)
				}
			})
		}
	}
}

// Turing has no FP32 matrix product in TensorRT for RTX, and no INT8 convolution:
// without named targets it is left out and the sidecar says why, by name with
// others it is an error.
func TestRTXDropsTarget(t *testing.T) {
	family, places := rtx(t)
	t.Setenv("TMPDIR", t.TempDir())
	for _, form := range forms {
		model := smallModel(t, form, 13, 1, true)
		e, err := Build(context.Background(), family, model, BuildOptions{Places: &places})
		if err != nil {
			t.Errorf("%s: %v", form, err)
			continue
		}
		var dropped []string
		for _, d := range e.Artifact.DroppedTargets {
			dropped = append(dropped, d.Target)
			if why := map[bool]string{true: "FP32 GEMM", false: "no INT8 convolution"}[form == plain]; !strings.Contains(d.Reason, why) {
				t.Errorf("%s: reason %q, want %q", form, d.Reason, why)
			}
		}
		want := []string{"sm_75"}
		if form == fp16 {
			want = nil
		}
		if !slices.Equal(dropped, want) || slices.Contains(e.Artifact.Targets, "sm_75") == (want != nil) {
			t.Errorf("%s: dropped %v, targets %v, want %v dropped", form, dropped, e.Artifact.Targets, want)
		}
		_, err = Build(context.Background(), family, model, BuildOptions{Places: &places, Targets: []int{75, 86}})
		wantCode := map[string]int{plain: fault.CodeFailed, fp16: fault.CodeOK}
		if code, named := wantCode[form]; (named && fault.Code(err) != code) || (!named && fault.Code(err) != fault.CodeUsage) {
			t.Errorf("%s with sm_75 by name: %v (exit code %d)", form, err, fault.Code(err))
		}
	}
}

func TestRTXOneTarget(t *testing.T) {
	family, places := rtx(t)
	model := smallModel(t, int8DQ, 13, 1, false)
	for _, target := range family.Targets {
		e, err := Build(context.Background(), family, model, BuildOptions{Places: &places, Targets: []int{target}})
		if err != nil {
			t.Errorf("%s: %v", TargetName(target), err)
		} else if want := []string{TargetName(target)}; !slices.Equal(e.Artifact.Targets, want) {
			t.Errorf("targets %v, want %v", e.Artifact.Targets, want)
		}
	}
	_, err := Build(context.Background(), family, model, BuildOptions{Places: &places, Targets: []int{70}, Model: "m.onnx"})
	if fault.Code(err) != fault.CodeUsage || !strings.Contains(err.Error(), "does not build for sm_70") {
		t.Errorf("sm_70: %v", err)
	}
}

func TestRTXDynamicBatch(t *testing.T) {
	family, places := rtx(t)
	model := smallModel(t, int8DQ, 13, onnx.Dynamic, false)
	_, err := Build(context.Background(), family, model, BuildOptions{Places: &places})
	if fault.Code(err) != fault.CodeUsage || !strings.Contains(err.Error(), "input 'images' has a dynamic size") {
		t.Errorf("without a shape: %v", err)
	}
	_, err = Build(context.Background(), family, model, BuildOptions{Places: &places, Shapes: map[string]Profile{
		"images": fixed(1, 3, 32, 32), "other": fixed(1)}})
	if fault.Code(err) != fault.CodeUsage || !strings.Contains(err.Error(), "no input 'other'") {
		t.Errorf("with a shape for nothing: %v", err)
	}
	_, err = Build(context.Background(), family, model, BuildOptions{Places: &places, Shapes: map[string]Profile{
		"images": fixed(1, 4, 32, 32)}})
	if fault.Code(err) != fault.CodeUsage {
		t.Errorf("with a shape that contradicts the model: %v", err)
	}
	shape := Profile{Min: []int{1, 3, 32, 32}, Opt: []int{4, 3, 32, 32}, Max: []int{8, 3, 32, 32}}
	e, err := Build(context.Background(), family, model, BuildOptions{Places: &places, Shapes: map[string]Profile{"images": shape}})
	if err != nil {
		t.Fatal(err)
	}
	if in := e.Artifact.Inputs[0]; in.Dims[0] != -1 || in.Profile == nil || !slices.Equal(in.Profile.Max, shape.Max) {
		t.Errorf("input %+v", in)
	}
}

func TestRTXRefuses(t *testing.T) {
	family, places := rtx(t)
	t.Setenv("TMPDIR", t.TempDir())
	good := smallModel(t, plain, 13, 1, false)
	unknown := onnx.Graph{Name: "g", Init: map[string]*onnx.Tensor{},
		Nodes:   []*onnx.Node{{Name: "strange", Op: "Unheard", Domain: "of.me", Inputs: []string{"x"}, Outputs: []string{"y"}}},
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{1}}},
		Outputs: []onnx.Value{{Name: "y", Type: onnx.Float, Dims: []int{1}}}}
	strange, err := (&onnx.Model{Opset: 13, Graph: &unknown}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	wrong := onnx.Graph{Name: "g", Init: map[string]*onnx.Tensor{"s": onnx.Scalar[float32](1), "c": onnx.Vector[int32](1, 2)},
		Nodes: []*onnx.Node{{Name: "bias", Op: "DequantizeLinear", Inputs: []string{"c", "s"}, Outputs: []string{"b"}},
			{Name: "sum", Op: "Add", Inputs: []string{"x", "b"}, Outputs: []string{"y"}}},
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float, Dims: []int{2}}},
		Outputs: []onnx.Value{{Name: "y", Type: onnx.Float, Dims: []int{2}}}}
	int32Bias, err := (&onnx.Model{Opset: 13, Graph: &wrong}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(i*i*31 + i>>3)
	}
	for _, c := range []struct {
		name  string
		model []byte
		o     BuildOptions
		code  int
		want  string
	}{
		{"text", []byte("this is not a model\n"), BuildOptions{}, fault.CodeBadInput, "parser refuses the model"},
		{"noise", noise, BuildOptions{}, fault.CodeBadInput, "parser refuses the model"},
		{"zeros", make([]byte, 4096), BuildOptions{}, fault.CodeBadInput, "parser refuses the model"},
		{"half", good[:len(good)/2], BuildOptions{}, fault.CodeBadInput, "parser refuses the model"},
		{"unknown operator", strange, BuildOptions{}, fault.CodeBadInput, "'strange' (Unheard)"},
		{"INT32 bias through Q/DQ", int32Bias, BuildOptions{}, fault.CodeBadInput, "'bias' (DequantizeLinear)"},
		{"fp16 option", good, BuildOptions{FP16: true}, fault.CodeUsage, "takes types from the model alone"},
		{"cache", good, BuildOptions{CalibrationCache: []byte("x")}, fault.CodeUsage, "calibration cache"},
		{"level", good, BuildOptions{OptimizationLevel: new(int)}, fault.CodeUsage, "optimisation level"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Places, c.o.Model = &places, "m.onnx"
			_, err := Build(context.Background(), family, c.model, c.o)
			if fault.Code(err) != c.code || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("exit code %d, %v; want %d, %q", fault.Code(err), err, c.code, c.want)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\n\t") || strings.Contains(fmt.Sprint(err), "catchCudaError") {
				t.Errorf("more than the cause: %q", err)
			}
		})
	}
}

// Every detector of the data folder, as it is.
func TestRTXDetectors(t *testing.T) {
	family, places := rtx(t)
	dir := testenv.Data(t, "models")
	files, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			o := BuildOptions{Places: &places, Model: name, Targets: []int{86}}
			if name == "yolov5n_fp16.onnx" {
				o.Shapes = map[string]Profile{"images": fixed(1, 3, 640, 640)}
			}
			e, err := Build(context.Background(), family, data, o)
			if err != nil {
				t.Fatal(err)
			}
			weights, float := e.Artifact.WeightBytes()
			t.Logf("%.2f s, engine %d bytes, model %d bytes, %s, weights %d of %d bytes, in %v, out %v", e.Artifact.BuildSeconds,
				len(e.Bytes), len(data), e.Artifact.Precision, weights, float, e.Artifact.Inputs, e.Artifact.Outputs)
			if float == 0 || len(e.Bytes) < int(weights) {
				t.Errorf("engine of %d bytes for %d bytes of weights", len(e.Bytes), weights)
			}
			path := filepath.Join(t.TempDir(), "m.engine")
			if err := Write(path, e); err != nil {
				t.Fatal(err)
			}
			back, err := Read(path, false)
			if err != nil {
				t.Fatal(err)
			}
			if err := back.Artifact.CheckRuntime(family); err != nil {
				t.Error(err)
			}
		})
	}
}

// Handles given out and taken back, in this process: also when builds fail.
func TestRTXHandles(t *testing.T) {
	family, places := rtx(t)
	s, err := openShim(family.Shim)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.live(); n != 0 {
		t.Fatalf("%d handles before", n)
	}
	if _, err := s.open([]string{t.TempDir(), "relative"}, false); err == nil || !strings.Contains(err.Error(), "not an absolute path") {
		t.Errorf("open in folders without TensorRT: %v", err)
	}
	l, err := s.open(places.Libraries, false)
	if err != nil {
		t.Fatal(err)
	}
	model := smallModel(t, int8DQ, 13, 1, false)
	for i := range 5 {
		b, err := l.build(model, nil, BuildOptions{Targets: []int{86}}, filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		if n := s.live(); n != 2 {
			t.Errorf("round %d: %d handles, want a library and an engine", i, n)
		}
		if len(b.data()) < 1000 || len(b.layers()) < 10 {
			t.Errorf("engine of %d bytes, %d layers", len(b.data()), len(b.layers()))
		}
		b.close()
		if _, err := l.build([]byte("garbage"), nil, BuildOptions{}, ""); err == nil {
			t.Error("garbage was built")
		}
	}
	if err := l.probe(""); err != nil {
		t.Error(err)
	}
	l.close()
	if n := s.live(); n != 0 {
		t.Errorf("%d handles left", n)
	}
}

// TensorRT's own account of the engine needs a GPU; without one the sidecar says so.
func TestRTXDetailed(t *testing.T) {
	family, places := rtx(t)
	e, err := Build(context.Background(), family, smallModel(t, int8DQ, 13, 1, false), BuildOptions{Places: &places, Detailed: true})
	if err != nil {
		t.Fatal(err)
	}
	a := e.Artifact
	if (a.Inspection == nil) == (a.InspectionProblem == "") {
		t.Errorf("inspection %.100q, problem %q: want one of them", a.Inspection, a.InspectionProblem)
	}
	t.Logf("inspection of %d bytes, problem %q", len(a.Inspection), a.InspectionProblem)
}

// The same bytes from the same model: an engine can be told by its hash.
func TestRTXDeterministic(t *testing.T) {
	family, places := rtx(t)
	model := smallModel(t, floatQ, 13, 1, false)
	var sums []string
	for range 2 {
		e, err := Build(context.Background(), family, model, BuildOptions{Places: &places, Targets: []int{80, 86}})
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, e.Artifact.Engine.SHA256)
	}
	if sums[0] != sums[1] {
		t.Errorf("two builds differ: sha256 %.12s, %.12s", sums[0], sums[1])
	}
}

// A TensorRT of another version is refused by name and number.
func TestOtherVersion(t *testing.T) {
	family, places := rtx(t)
	for _, c := range []struct{ packed, want string }{{"10200", "version 1.2.0"}, {"20000", "version 2.0.0"}, {"8403", "version 8.4.3"}} {
		dir := t.TempDir()
		for _, file := range []string{"libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"} {
			compile(t, "otherversion.c", filepath.Join(dir, file), "VERSION="+c.packed)
		}
		found, err := Find(context.Background(), Places{Shims: places.Shims, Libraries: []string{dir}})
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(found, func(f Family) bool { return f.Name == family.Name })
		if f := found[at]; f.CanBuild || f.code != fault.CodeNoDevice ||
			!strings.Contains(f.Problem, c.want) || !strings.Contains(f.Problem, "built for 1.") {
			t.Errorf("%s: %+v", c.packed, f)
		}
	}
}

// TensorRT proper without a GPU says so in a sentence. The library here is a
// stand-in that has a version and gives no builder.
func TestTensorRTWithoutGPU(t *testing.T) {
	_, places := rtx(t)
	t.Setenv("TMPDIR", t.TempDir())
	dir := t.TempDir()
	for _, file := range []string{"libnvinfer.so.11", "libnvonnxparser.so.11"} {
		compile(t, "otherversion.c", filepath.Join(dir, file), "VERSION=119900")
	}
	o := BuildOptions{Backend: BackendTensorRT, Places: &Places{Shims: places.Shims, Libraries: []string{dir}}}
	found, err := Find(context.Background(), *o.Places)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(found, func(f Family) bool { return f.Name == "trt11" })
	if at < 0 {
		t.Skip("skipped: needs the shim for TensorRT 11 (TRTACT_TRT_INCLUDE when building)")
	}
	if f := found[at]; f.CanBuild || f.Version != "11.99.0" || f.Library != filepath.Join(dir, "libnvinfer.so.11") ||
		!strings.Contains(f.Problem, "needs an NVIDIA GPU and driver") {
		t.Errorf("%+v", f)
	}
	_, err = findAndBuild(context.Background(), smallModel(t, plain, 13, 1, false), o)
	if fault.Code(err) != fault.CodeNoDevice || !strings.Contains(err.Error(), "needs an NVIDIA GPU and driver") {
		t.Errorf("build: %v", err)
	}
	if left := leftBehind(t); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// The options that TensorRT for RTX has change the engine; the others are refused.
func TestRTXOptions(t *testing.T) {
	family, places := rtx(t)
	model := smallModel(t, int8DQ, 13, 1, false)
	build := func(o BuildOptions) (*Engine, error) {
		o.Places, o.Targets = &places, []int{86}
		return Build(context.Background(), family, model, o)
	}
	// What it is given is in the engine's bytes.
	seen := map[string]string{}
	for name, o := range map[string]BuildOptions{"plain": {}, "no TF32": {NoTF32: true}, "detailed": {Detailed: true}} {
		e, err := build(o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sum := e.Artifact.Engine.SHA256
		if other := seen[sum]; other != "" {
			t.Errorf("%s and %s give the same engine", name, other)
		}
		seen[sum] = name
	}
	if _, err := build(BuildOptions{Workspace: 1 << 30}); err != nil {
		t.Errorf("workspace: %v", err)
	}
	// Refittable engines are compiled on the spot.
	if e, err := build(BuildOptions{Refit: true}); err == nil && !e.Artifact.Refit || err != nil && fault.Code(err) != fault.CodeNoDevice {
		t.Errorf("refit: %v (exit code %d)", err, fault.Code(err))
	}
	level := 5
	for name, o := range map[string]BuildOptions{
		"optimisation level": {OptimizationLevel: &level}, "sparse": {SparseWeights: true},
		"timing cache": {TimingCache: "f"}, "tactic sources": {TacticSources: []string{"-cudnn"}}, "version-compatible": {VersionCompatible: true},
		"Ampere": {HardwareCompatible: AmperePlus}, "layer types": {LayerTypes: map[string]string{"a": "fp32"}},
	} {
		if _, err := build(o); fault.Code(err) != fault.CodeUsage || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
