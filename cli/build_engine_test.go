package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/testenv"
)

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "512M": 512 << 20, "2g": 2 << 30, "3 KiB": 3 << 10, "7GB": 7 << 30, " 5 ": 5} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "M", "1T", "1.5G", "9999999999G", "1MM"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

// Options that make no sense, or that no TensorRT on a machine without a GPU has,
// are told in one line before the work begins.
func TestEngineOptionsRefused(t *testing.T) {
	needCPU(t)
	model := filepath.Join(testenv.Root(), "examples", "shapes", "shapes.onnx")
	data := filepath.Join(testenv.Root(), "examples", "shapes", "calib")
	for _, c := range []struct {
		args []string
		want string
		rtx  bool // takes TensorRT for RTX to be told
	}{
		{[]string{"--int8-mode", "implicit"}, "--int8-mode is for --int8", false},
		{[]string{"--int8", "--data", data, "--int8-mode", "both"}, "expected explicit, implicit or fastest", false},
		{[]string{"--int8", "--data", data, "--int8-mode", "implicit"}, "takes INT8 from the model alone", true},
		{[]string{"--int8", "--data", data, "--int8-mode", "fastest"}, "which takes a GPU", true},
		{[]string{"--keep-fp32", "x"}, "--keep-fp32 is for --fp16", false},
		{[]string{"--fp16", "--keep-fp32", "("}, "missing closing", false},
		{[]string{"--fp16", "--keep-fp32", "^no such layer$"}, "matches no layer", true},
		{[]string{"--workspace", "1T"}, "such as 512M", false},
		{[]string{"--opt-level", "6"}, "expected 0 to 5", false},
		{[]string{"--hardware-compatible", "turing"}, "expected ampere+ or same-capability", false},
		{[]string{"--hardware-compatible", "ampere+"}, "has no engines for all GPUs since Ampere", true},
		{[]string{"--opt-level", "3"}, "has no optimisation level", true},
		{[]string{"--sparse"}, "has no kernels for sparse weights", true},
		{[]string{"--version-compatible"}, "has no version-compatible engines", true},
		{[]string{"--timing-cache", "f"}, "has no timing cache", true},
		{[]string{"--tactic-sources", "-cudnn"}, "has no tactic sources", true},
		{[]string{"--tactic-sources", "-cutlass"}, "tactic source", true},
	} {
		out := filepath.Join(t.TempDir(), "x.engine")
		args := append([]string{"build", model, "-o", out, "-q", "--backend", "rtx"}, c.args...)
		r := run(t, args...)
		if r.code == fault.CodeNoDevice && c.rtx {
			t.Logf("%v: skipped: needs TensorRT for RTX", c.args)
			continue
		}
		if r.code != fault.CodeUsage || !strings.Contains(r.err, c.want) {
			t.Errorf("%v: exit %d, %q: want exit 2 and %q", c.args, r.code, r.err, c.want)
		}
	}
}
