package compute

import (
	"errors"
	"fmt"
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
func OpenCPU() (*Device, error) {
	name := "libtrtact_cpu_v3.so"
	switch {
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512CD && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL:
		name = "libtrtact_cpu_v4.so"
	case !cpu.X86.HasAVX2 || !cpu.X86.HasFMA:
		return nil, errors.New("open the CPU backend: it needs a processor with AVX2 and FMA")
	}
	path, err := find(name)
	if err != nil {
		return nil, fmt.Errorf("open the CPU backend: %w: run `make build`, or set TRTACT_LIB to the folder that holds it", err)
	}
	return Open(path, 0)
}

// find is the path of one of our own libraries.
func find(name string) (string, error) {
	dirs := LibraryDirs()
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", errors.New(name + " not found in " + strings.Join(dirs, ", "))
}
