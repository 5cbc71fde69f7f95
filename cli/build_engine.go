// The flags of build that say what engine TensorRT makes.

package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/job"
	"trtact/trt"
)

func engineFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "int8-mode", Category: flagsEngine, Value: string(job.INT8Explicit), Usage: "`MODE` of INT8: explicit (Q/DQ, which TensorRT obeys), implicit (a table of scales; TensorRT 8 and 10), fastest (both are timed; needs a GPU)"},
		&urfave.StringSliceFlag{Name: "keep-fp32", Category: flagsEngine, Usage: "with --fp16, keep layers in FP32 whose name matches `REGEXP`"},
		&urfave.StringFlag{Name: "workspace", Category: flagsEngine, Usage: "scratch memory of `SIZE` at most, such as 512M or 2G (default: TensorRT's)"},
		&urfave.IntFlag{Name: "opt-level", Category: flagsEngine, Usage: "`N` from 0 (quick build) to 5 (longest search); since TensorRT 8.6, not rtx (default: TensorRT's)"},
		&urfave.StringFlag{Name: "timing-cache", Category: flagsEngine, Usage: "`FILE` with TensorRT's measurements, read if it is there and written anew; not rtx"},
		&urfave.StringFlag{Name: "tactic-sources", Category: flagsEngine, Usage: "`LIST` of changes to where kernels come from, such as -cudnn,+jit_convolutions; of " + strings.Join(trt.TacticSourceNames(), ", ") + "; not rtx"},
		&urfave.BoolFlag{Name: "no-tf32", Category: flagsEngine, Usage: "FP32 layers may not use TF32"},
		&urfave.BoolFlag{Name: "sparse", Category: flagsEngine, Usage: "use kernels for 2:4 sparse weights where weights are; not rtx"},
		&urfave.BoolFlag{Name: "detailed", Category: flagsEngine, Usage: "keep all details of layers in the engine, and TensorRT's account of them in the sidecar (that needs the GPU)"},
		&urfave.BoolFlag{Name: "refit", Category: flagsEngine, Usage: "make an engine whose weights can be exchanged (rtx needs a GPU for it)"},
		&urfave.BoolFlag{Name: "version-compatible", Category: flagsEngine, Usage: "make an engine that later TensorRTs load too; since TensorRT 8.6, not rtx"},
		&urfave.StringFlag{Name: "hardware-compatible", Category: flagsEngine, Usage: "make an engine for other `GPUS` too: " + trt.AmperePlus + " (since TensorRT 8.6) or " + trt.SameCapability + " (since 10.9); not rtx"},
	}
}

// engineOptions reads engineFlags.
func engineOptions(c *urfave.Context, o *job.BuildOptions) error {
	if mode := job.INT8Mode(c.String("int8-mode")); c.IsSet("int8-mode") {
		known := false
		for _, m := range job.INT8Modes() {
			known = known || m == mode
		}
		if !known {
			return usage("build", "--int8-mode %q: expected explicit, implicit or fastest", mode)
		}
		if !o.INT8 {
			return usage("build", "--int8-mode is for --int8, which is not given")
		}
		o.INT8Mode = mode
	}
	if o.KeepFP32 = c.StringSlice("keep-fp32"); len(o.KeepFP32) > 0 && !o.FP16 {
		return usage("build", "--keep-fp32 is for --fp16, which is not given")
	}
	if err := checkPatterns(o.KeepFP32); err != nil {
		return usage("build", "%v", err)
	}
	e := &o.Engine
	if text := c.String("workspace"); text != "" {
		var err error
		if e.Workspace, err = parseBytes(text); err != nil {
			return usage("build", "--workspace: %v", err)
		}
	}
	if c.IsSet("opt-level") {
		level := c.Int("opt-level")
		if level < 0 || level > 5 {
			return usage("build", "--opt-level %d: expected 0 to 5", level)
		}
		e.OptimizationLevel = &level
	}
	if list := c.String("tactic-sources"); list != "" {
		e.TacticSources = strings.Split(list, ",")
	}
	switch e.HardwareCompatible = c.String("hardware-compatible"); e.HardwareCompatible {
	case "", trt.AmperePlus, trt.SameCapability:
	default:
		return usage("build", "--hardware-compatible %q: expected %s or %s", e.HardwareCompatible, trt.AmperePlus, trt.SameCapability)
	}
	e.TimingCache, e.NoTF32, e.SparseWeights = c.String("timing-cache"), c.Bool("no-tf32"), c.Bool("sparse")
	e.Detailed, e.Refit, e.VersionCompatible = c.Bool("detailed"), c.Bool("refit"), c.Bool("version-compatible")
	return nil
}

// parseBytes reads a size in bytes, with K, M or G for powers of 1024.
func parseBytes(text string) (int64, error) {
	digits, unit := strings.ToUpper(strings.TrimSpace(text)), int64(1)
	digits = strings.TrimSuffix(strings.TrimSuffix(digits, "B"), "I")
	for i, suffix := range []string{"K", "M", "G"} {
		if rest, found := strings.CutSuffix(digits, suffix); found {
			digits, unit = rest, 1<<(10*(i+1))
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is no size, want a number with K, M or G, such as 512M", text)
	}
	return n * unit, nil
}
