package trt

// What a TensorRT can do beside building an engine, so that a request it cannot
// meet is refused before hours of calibration and training, not after.

import (
	"fmt"
	"slices"
	"strings"

	"trtact/internal/fault"
)

// Abilities of a Family: options of a build that not every TensorRT has.
const (
	CanLayerTypes        = "layer types"
	CanTimingCache       = "timing cache"
	CanOptimizationLevel = "optimisation level"
	CanSparseWeights     = "kernels for sparse weights"
	CanVersionCompatible = "version-compatible engines"
	CanAmperePlus        = "engines for all GPUs since Ampere"
	CanSameCapability    = "engines for all GPUs of one compute capability"
)

// sourceBits are the tactic sources by name, with the numbers that
// trtact/tensorrt.h gives them.
var sourceBits = map[string]uint32{ // never changed
	"cublas": 1, "cublas_lt": 2, "cudnn": 4, "edge_mask_convolutions": 8, "jit_convolutions": 16,
}

// TacticSourceNames are the tactic sources of any TensorRT, in its order.
func TacticSourceNames() []string {
	names := make([]string, 0, len(sourceBits))
	for name := range sourceBits {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return int(sourceBits[a]) - int(sourceBits[b]) })
	return names
}

// tacticSources gives the bits to set and to clear. The error is a wrong use.
func tacticSources(list []string) (on, off uint32, err error) {
	for _, text := range list {
		name := strings.ToLower(strings.TrimLeft(text, "+-"))
		bit, ok := sourceBits[name]
		if !ok || len(text)-len(name) > 1 {
			return 0, 0, fault.Usage(fmt.Errorf("tactic source %q: want +NAME or -NAME with one of %s", text, strings.Join(TacticSourceNames(), ", ")))
		}
		if strings.HasPrefix(text, "-") {
			off |= bit
		} else {
			on |= bit
		}
	}
	if on&off != 0 {
		return 0, 0, fault.Usage(fmt.Errorf("tactic sources %s: one is both asked for and left out", strings.Join(list, ",")))
	}
	return on, off, nil
}

// layerType is TensorRT's number of a type that a layer can be told to have.
func layerType(name string) (int, error) {
	if n := slices.Index(typeNames[:], name); n >= 0 && slices.Contains([]string{"fp32", "fp16", "int8"}, name) {
		return n, nil
	}
	return 0, fmt.Errorf("type %q, want fp32, fp16 or int8", name)
}

// Check is an error, a wrong use, when this TensorRT has not got what the options
// ask for.
func (f Family) Check(o BuildOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	refuse := func(what string) error {
		return fault.Usage(fmt.Errorf("%s has no %s", backendVersion(f.Backend, f.Version), what))
	}
	for _, wanted := range []struct {
		asked   bool
		ability string
	}{
		{len(o.LayerTypes) > 0, CanLayerTypes},
		{o.TimingCache != "", CanTimingCache},
		{o.OptimizationLevel != nil, CanOptimizationLevel},
		{o.SparseWeights, CanSparseWeights},
		{o.VersionCompatible, CanVersionCompatible},
		{o.HardwareCompatible == AmperePlus, CanAmperePlus},
		{o.HardwareCompatible == SameCapability, CanSameCapability},
	} {
		if wanted.asked && !slices.Contains(f.Can, wanted.ability) {
			return refuse(wanted.ability)
		}
	}
	if len(o.CalibrationCache) > 0 && !f.CalibrationCache {
		return refuse("implicit INT8 by a calibration cache (8.x and 10.x have)")
	}
	for _, text := range o.TacticSources {
		if name := strings.ToLower(strings.TrimLeft(text, "+-")); !slices.Contains(f.TacticSources, name) {
			if len(f.TacticSources) == 0 {
				return refuse("tactic sources to choose from")
			}
			return refuse(fmt.Sprintf("tactic source %s: it has %s", name, strings.Join(f.TacticSources, ", ")))
		}
	}
	return nil
}
