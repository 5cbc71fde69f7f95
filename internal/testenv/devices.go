package testenv

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/cpu"
)

// ComputeLibrary is a compute backend that tests run on.
type ComputeLibrary struct {
	Kind string // "cpu", "emulated", "cuda"
	Path string
}

// ComputeLibraries are the backends that tests of operators and of training take as a
// parameter: the CPU library of every instruction set that this processor has, the
// best last; CUDA's kernels on the emulated device; the CUDA backend, which opens only
// where a GPU is. TRTACT_TEST_DEVICE takes some of the kinds, with commas between.
func ComputeLibraries(t testing.TB) []ComputeLibrary {
	t.Helper()
	Libraries(t)
	lib := os.Getenv("TRTACT_LIB")
	all := []ComputeLibrary{
		{"cpu", filepath.Join(lib, "libtrtact_cpu_v3.so")},
		{"cpu", filepath.Join(lib, "libtrtact_cpu_v4.so")},
		{"emulated", filepath.Join(Root(), "build", "test", "libtrtact_cuda_emulated.so")},
		{"cuda", filepath.Join(lib, "libtrtact_cuda.so")},
	}
	if !(cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL) {
		all = slices.Delete(all, 1, 2)
	}
	if names := os.Getenv("TRTACT_TEST_DEVICE"); names != "" {
		wanted := strings.Split(names, ",")
		all = slices.DeleteFunc(all, func(l ComputeLibrary) bool { return !slices.Contains(wanted, l.Kind) })
	}
	return all
}
