package compute

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/cpu"

	"trtact/internal/testenv"
)

// eachDevice runs f on what operators are tested on: every CPU library that this
// processor runs, CUDA's kernels on the emulated device, and on a GPU.
// TRTACT_TEST_DEVICE takes some of them: cpu, emulated, cuda, with commas between.
func eachDevice(t *testing.T, f func(t *testing.T, d *Device)) {
	testenv.Libraries(t)
	lib, test := LibraryDirs()[0], filepath.Join(testenv.Root(), "build", "test")
	wanted := []string{"cpu", "cuda"}
	if names := os.Getenv("TRTACT_TEST_DEVICE"); names != "" {
		wanted = strings.Split(names, ",")
	}
	for _, device := range []struct{ kind, path string }{
		{"cpu", filepath.Join(lib, "libtrtact_cpu_v3.so")},
		{"cpu", filepath.Join(lib, "libtrtact_cpu_v4.so")},
		{"emulated", filepath.Join(test, "libtrtact_cuda_emulated.so")},
		{"cuda", filepath.Join(lib, "libtrtact_cuda.so")},
	} {
		if !slices.Contains(wanted, device.kind) {
			continue
		}
		t.Run(filepath.Base(device.path), func(t *testing.T) {
			if strings.HasSuffix(device.path, "_v4.so") && !(cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL) {
				t.Skip("skipped: needs a processor with AVX-512")
			}
			d, err := Open(device.path, 0)
			if err != nil {
				if device.kind == "cuda" {
					t.Skipf("skipped: needs an NVIDIA GPU and the CUDA backend: %v", err)
				}
				t.Fatal(err)
			}
			t.Cleanup(func() {
				d.Close()
				if n := d.Live(); n != 0 {
					t.Errorf("%d handles alive at the end", n)
				}
			})
			f(t, d)
		})
	}
}
