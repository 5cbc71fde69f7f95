package trt

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	"trtact/internal/fault"
)

// Format is the version of the sidecar that this program writes and reads.
const Format = 1

// Engine is a serialised engine with what is known of it.
type Engine struct {
	Bytes    []byte
	Artifact Artifact
}

// Artifact is the sidecar: what an engine is, where it came from and what it
// will run on.
type Artifact struct {
	Format  int    `json:"format"`
	Program string `json:"program,omitempty"` // version of this program
	Engine  File   `json:"engine"`
	Model   File   `json:"model"` // the ONNX file it was built from
	Backend string `json:"backend"`
	Family  string `json:"family"`  // shim: trt8, trt10, trt11, rtx1
	Version string `json:"version"` // of TensorRT
	// Targets are the GPUs it was built for, as sm_86; empty: the GPU of the
	// machine it was built on.
	Targets []string `json:"targets,omitempty"`
	// DroppedTargets are those that nobody asked for by name and that cannot run
	// this model.
	DroppedTargets []DroppedTarget `json:"dropped_targets,omitempty"`
	// Precision lists the types in which weighted layers are asked to compute,
	// e.g. "int8, fp32"; allowed types that TensorRT was free to choose
	// follow in brackets. INT8 that convolutions are known not to get is left out.
	Precision string `json:"precision"`
	// Convolutions counts those that run in INT8; nil where it cannot be told.
	Convolutions *Convolutions `json:"convolutions,omitempty"`
	// Implicit: INT8 by a table of scales in a float model, where TensorRT decided
	// which layers take it.
	Implicit bool `json:"implicit,omitempty"`
	// How else than by this TensorRT, on this GPU, with these weights it can be used.
	VersionCompatible  bool   `json:"version_compatible,omitempty"`
	HardwareCompatible string `json:"hardware_compatible,omitempty"`
	Refit              bool   `json:"refit,omitempty"`
	// Warnings are sentences on what the engine does not do as the model asks.
	Warnings []string `json:"warnings,omitempty"`
	Inputs   []Tensor `json:"inputs"`
	Outputs  []Tensor `json:"outputs"`
	// Detector is how pictures are prepared for a detector and boxes read out of its
	// outputs, in the form of whoever uses the engine; nothing in here looks at it.
	Detector json.RawMessage `json:"detector,omitempty"`
	// Layers is the network as TensorRT's parser read it, before fusion.
	Layers       []Layer `json:"layers,omitempty"`
	BuildSeconds float64 `json:"build_seconds"`
	// BuildPeakRSS is the most memory, in bytes, that the process had in which TensorRT built it.
	BuildPeakRSS int64 `json:"build_peak_rss,omitempty"`
	// Inspection is TensorRT's own account of the built engine (JSON), where
	// the machine could load it; InspectionProblem says why it could not.
	Inspection        json.RawMessage `json:"inspection,omitempty"`
	InspectionProblem string          `json:"inspection_problem,omitempty"`
}

// DroppedTarget is a GPU the engine is not for, and why.
type DroppedTarget struct {
	Target string `json:"target"`
	Reason string `json:"reason"`
}

// File identifies a file by its content.
type File struct {
	Name   string `json:"name,omitempty"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// Tensor is an input or output. A dimension of -1 is dynamic; Profile then
// says which sizes it may have.
type Tensor struct {
	Name    string   `json:"name"`
	Type    string   `json:"type"` // fp32, fp16, int8, ...
	Dims    []int    `json:"dims"`
	Profile *Profile `json:"profile,omitempty"`
}

// Layer is one layer of the network as parsed.
type Layer struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // TensorRT's: Convolution, Concatenation, ...
	Type string `json:"type"` // of its output
	Dims []int  `json:"dims"` // of its output
	// Quantized: both operands of this convolution or product come from
	// DequantizeLinear, so that TensorRT may run it in INT8.
	Quantized bool `json:"quantized,omitempty"`
	// Weights counts the elements of its constant operand, WeightType is the
	// type in which the layer gets them: int8 behind DequantizeLinear.
	Weights    int64  `json:"weights,omitempty"`
	WeightType string `json:"weight_type,omitempty"`
}

// Type names by TensorRT's number.
var typeNames = [...]string{"fp32", "fp16", "int8", "int32", "bool", "uint8", "fp8", "bf16", "int64", "int4", "fp4"}

func typeName(number int) string {
	if number < 0 || number >= len(typeNames) {
		return fmt.Sprintf("type %d", number)
	}
	return typeNames[number]
}

// typeBytes is the size of an element in bytes, 0 for an unknown type.
func typeBytes(name string) int64 {
	switch name {
	case "fp32", "int32":
		return 4
	case "fp16", "bf16":
		return 2
	case "int8", "uint8", "bool", "fp8":
		return 1
	case "int64":
		return 8
	}
	return 0
}

// WeightBytes is the size of the constants that layers weigh with, in the types
// in which layers get them, and the size they would have in FP32. Biases and
// other small constants do not count.
func (a *Artifact) WeightBytes() (bytes, float int64) {
	for _, l := range a.Layers {
		bytes += l.Weights * typeBytes(l.WeightType)
		float += l.Weights * 4
	}
	return bytes, float
}

// isConvolution counts transposed ones in.
func (l Layer) isConvolution() bool { return l.Kind == "Convolution" || l.Kind == "Deconvolution" }

// withoutINT8 says that no convolution of the engine runs in INT8.
func (a *Artifact) withoutINT8() bool { return a.Convolutions != nil && a.Convolutions.INT8 == 0 }

// precision is the Precision text.
func (a *Artifact) precision(o BuildOptions) string {
	seen := map[string]bool{}
	for _, l := range a.Layers {
		switch {
		case l.Quantized && !(l.isConvolution() && a.withoutINT8()):
			seen["int8"] = true
		case l.Weights > 0:
			seen[l.Type] = true
		}
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool {
		if a, b := typeBytes(names[i]), typeBytes(names[j]); a != b {
			return a < b
		}
		return names[i] < names[j]
	})
	text := strings.Join(names, ", ")
	if o.INT8 && !seen["int8"] {
		text += " (int8 allowed)"
	}
	if o.FP16 {
		text += " (fp16 allowed)"
	}
	return strings.TrimSpace(text)
}

// warnings gives the Warnings.
func (a *Artifact) warnings() []string {
	quantized := 0
	for _, l := range a.Layers {
		if l.Quantized && l.isConvolution() {
			quantized++
		}
	}
	if quantized == 0 || !a.withoutINT8() {
		return nil
	}
	text := fmt.Sprintf("the model has %d INT8 convolutions, and the engine runs none in INT8", quantized)
	if a.Backend == BackendRTX && slices.Equal(a.Targets, []string{TargetName(floatOnly)}) {
		text += ": " + floatOnlyReason(a.Version)
	}
	return []string{text}
}

// CheckRuntime is an error, a bad input, when TensorRT as found here cannot run
// the engine: TensorRT loads no engine of another version.
func (a *Artifact) CheckRuntime(f Family) error {
	if a.Backend == f.Backend && (a.Version == f.Version || a.VersionCompatible && compareVersions(a.Version, f.Version) < 0) {
		return nil
	}
	return fault.BadInput(fmt.Errorf("engine %s was built by %s, here is %s: build it again",
		a.Engine.Name, backendVersion(a.Backend, a.Version), backendVersion(f.Backend, f.Version)))
}

func backendVersion(backend, version string) string {
	name := "TensorRT"
	if backend == BackendRTX {
		name = "TensorRT for RTX"
	}
	if version == "" {
		return "an unknown " + name
	}
	return name + " " + version
}
