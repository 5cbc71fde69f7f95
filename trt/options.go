package trt

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"trtact/internal/fault"
)

// Backends that Build can be asked for.
const (
	BackendAuto     = "auto"     // TensorRT where it can build here, else TensorRT for RTX
	BackendTensorRT = "tensorrt" // TensorRT 8, 10 or 11: needs the GPU it builds for
	BackendRTX      = "rtx"      // TensorRT for RTX: builds for named GPUs without having one
)

// DefaultTimeout bounds a build whose options say nothing. With a GPU, TensorRT
// times every kernel it could use, which takes minutes for a large model.
const DefaultTimeout = 30 * time.Minute

// BuildOptions says what engine to build. The zero value builds for the GPU
// here with TensorRT, or for every target there is with TensorRT for RTX.
type BuildOptions struct {
	Backend string `json:"backend,omitempty"` // "" is BackendAuto
	// Targets are the compute capabilities to build for, 86 for sm_86. Only
	// TensorRT for RTX takes them; none means all it supports.
	Targets []int `json:"targets,omitempty"`

	// What TensorRT may choose beside FP32 where types are its choice
	// (TensorRT 8 and 10). INT8 is implied by Q/DQ nodes in the model; with it
	// and no Q/DQ, CalibrationCache holds the scales. The others take types
	// from the model alone and refuse these.
	FP16             bool   `json:"fp16,omitempty"`
	INT8             bool   `json:"int8,omitempty"`
	CalibrationCache []byte `json:"calibration_cache,omitempty"`

	// Shapes gives the sizes of inputs that have dynamic dimensions.
	Shapes map[string]Profile `json:"shapes,omitempty"`

	// LayerTypes are the types that nodes of the model have to compute in, by
	// name: fp32, fp16 or int8. Where types are the model's own, they are refused.
	LayerTypes map[string]string `json:"layer_types,omitempty"`

	Workspace         int64 `json:"workspace,omitempty"`          // bytes of scratch memory, 0: TensorRT's default
	OptimizationLevel *int  `json:"optimization_level,omitempty"` // 0 to 5, nil: TensorRT's default
	NoTF32            bool  `json:"no_tf32,omitempty"`            // FP32 convolutions stay FP32 on Ampere and newer
	// Detailed keeps all that TensorRT knows of a layer in the engine and, where
	// the machine can load it, its layer table in the sidecar.
	Detailed bool `json:"detailed,omitempty"`

	// TimingCache is a file with what TensorRT measured in earlier builds. It is
	// read if it is there, and written anew after the build. "": none.
	TimingCache string `json:"timing_cache,omitempty"`
	// TacticSources are changes to where TensorRT takes kernels from: "-cudnn"
	// leaves one of TacticSourceNames out, "+cudnn" or "cudnn" takes it in.
	TacticSources []string `json:"tactic_sources,omitempty"`
	// VersionCompatible engines are loaded by later versions of TensorRT too.
	VersionCompatible bool `json:"version_compatible,omitempty"`
	// HardwareCompatible is "", AmperePlus or SameCapability: which other GPUs
	// the engine runs on than the one that it is built on.
	HardwareCompatible string `json:"hardware_compatible,omitempty"`
	Refit              bool   `json:"refit,omitempty"`          // weights can be exchanged in the engine
	SparseWeights      bool   `json:"sparse_weights,omitempty"` // 2:4 sparse weights may get kernels of their own

	// Model names the model in messages and in the sidecar.
	Model string `json:"model,omitempty"`
	// Program is this program's version, for the sidecar.
	Program string `json:"program,omitempty"`
	// Log is the file that TensorRT's messages are appended to. "" is a
	// temporary file, kept only when the build fails.
	Log     string        `json:"-"`
	Verbose bool          `json:"verbose,omitempty"` // all of TensorRT's messages, which can be megabytes
	Timeout time.Duration `json:"-"`                 // 0: DefaultTimeout
	// Places says where to look for TensorRT; nil is DefaultPlaces.
	Places *Places `json:"-"`
}

// What an engine's HardwareCompatible can be.
const (
	AmperePlus     = "ampere+"
	SameCapability = "same-capability"
)

// Profile is the range of sizes an input may have, and the one that TensorRT
// optimises for.
type Profile struct {
	Min []int `json:"min"`
	Opt []int `json:"opt"`
	Max []int `json:"max"`
}

// maxRank is the most dimensions a TensorRT tensor has.
const maxRank = 8

func (o BuildOptions) check() error {
	switch o.Backend {
	case "", BackendAuto, BackendTensorRT, BackendRTX:
	default:
		return fault.Usage(fmt.Errorf("unknown backend %q, want auto, tensorrt or rtx", o.Backend))
	}
	if o.Backend == BackendTensorRT && len(o.Targets) > 0 {
		return fault.Usage(fmt.Errorf("targets are for the backend rtx: tensorrt builds for the GPU of this machine"))
	}
	if o.Timeout < 0 || o.Workspace < 0 {
		return fault.Usage(fmt.Errorf("time limit %v and workspace %d may not be negative", o.Timeout, o.Workspace))
	}
	switch o.HardwareCompatible {
	case "", AmperePlus, SameCapability:
	default:
		return fault.Usage(fmt.Errorf("hardware compatibility %q, want %s or %s", o.HardwareCompatible, AmperePlus, SameCapability))
	}
	if level := o.OptimizationLevel; level != nil && (*level < 0 || *level > 5) {
		return fault.Usage(fmt.Errorf("optimisation level %d, want 0 to 5", *level))
	}
	if _, _, err := tacticSources(o.TacticSources); err != nil {
		return err
	}
	for node, name := range o.LayerTypes {
		if _, err := layerType(name); err != nil {
			return fault.Usage(fmt.Errorf("layer %q: %w", node, err))
		}
	}
	for name, p := range o.Shapes {
		if len(p.Min) != len(p.Opt) || len(p.Opt) != len(p.Max) || len(p.Opt) > maxRank {
			return fault.Usage(fmt.Errorf("sizes of input %q: min %v, opt %v, max %v differ in rank", name, p.Min, p.Opt, p.Max))
		}
		for i := range p.Opt {
			if p.Min[i] < 0 || p.Min[i] > p.Opt[i] || p.Opt[i] > p.Max[i] {
				return fault.Usage(fmt.Errorf("sizes of input %q: min %v, opt %v, max %v are not in order", name, p.Min, p.Opt, p.Max))
			}
		}
	}
	return nil
}

// ParseTargets reads compute capabilities as people write them: "sm_86", "86",
// "8.6". The result is ascending and without repetition. The error is a wrong use.
func ParseTargets(list []string) ([]int, error) {
	var targets []int
	for _, text := range list {
		s := strings.TrimSpace(text)
		if s == "" {
			continue
		}
		number := strings.Replace(strings.TrimPrefix(strings.ToLower(s), "sm_"), ".", "", 1)
		n, err := strconv.Atoi(number)
		if err != nil || n < 50 || n > 999 {
			return nil, fault.Usage(fmt.Errorf("target %q is no compute capability, want sm_86 or 8.6", text))
		}
		targets = append(targets, n)
	}
	slices.Sort(targets)
	return slices.Compact(targets), nil
}

// TargetName is a compute capability as NVIDIA's tools write it: sm_86.
func TargetName(target int) string { return "sm_" + strconv.Itoa(target) }
