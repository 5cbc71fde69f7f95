package compute

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/cpu"
)

// LibraryDirs are the folders in which this program's own native libraries are
// looked for: TRTACT_LIB when set, else beside the executable, as built and as
// installed. Never the current folder.
func LibraryDirs() []string {
	if dir := os.Getenv("TRTACT_LIB"); dir != "" {
		return []string{dir}
	}
	exe, err := os.Executable()
	if err != nil {
		return nil
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	dir := filepath.Dir(exe)
	return []string{filepath.Join(dir, "lib"), filepath.Join(dir, "..", "lib", "trtact")}
}

// OpenCPU opens the CPU backend that fits this processor.
//
// oneDNN's OpenMP threads spin at barriers by default, which makes a run ten
// times slower as soon as another process wants a core. The runtime reads its
// settings when it is loaded, so they are set here, before the library is
// opened, unless the user has set them.
func OpenCPU() (*Device, error) {
	name := "libtrtact_cpu_v3.so"
	switch {
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512CD && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL:
		name = "libtrtact_cpu_v4.so"
	case !cpu.X86.HasAVX2 || !cpu.X86.HasFMA:
		return nil, errors.New("open the CPU backend: it needs a processor with AVX2 and FMA")
	}
	if os.Getenv("GOMP_SPINCOUNT") == "" && os.Getenv("OMP_WAIT_POLICY") == "" {
		os.Setenv("GOMP_SPINCOUNT", spinCount)
	}
	dirs := LibraryDirs()
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return Open(path, 0)
		}
	}
	return nil, errors.New("open the CPU backend: " + name + " not found in " + strings.Join(dirs, ", ") +
		": run `make build`, or set TRTACT_LIB to the folder that holds it")
}

// spinCount is how often a thread looks again before it sleeps. YOLOv5n, two threads
// on two cores, median ms on a quiet machine and with one core taken by another
// process: 0: 21.8 and 27; 300: 17.5 and 30; 1000: 15.7 and 36; 10,000: 19 and 96.
const spinCount = "1000"
