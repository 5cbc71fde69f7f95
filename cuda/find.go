// Package cuda is CUDA from Go. Nothing of CUDA is linked: libraries are opened
// at run time, so the program starts on machines that have none.
//
// This file looks for NVIDIA's libraries and asks them for their versions. One that was
// found stays loaded, so whoever opens it by its name later gets the same one.
package cuda

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Library is one of NVIDIA's libraries as found on this machine.
type Library struct {
	Path    string // "" when not found
	Version string // "12.4", "9.1.0"; "" when it would not say
	Problem string // why it was found and cannot be used
}

// Found says whether the library is there and can be opened.
func (l Library) Found() bool { return l.Path != "" && l.Problem == "" }

// Driver looks for the CUDA driver (libcuda). Its version is the newest CUDA
// that it runs.
func Driver() Library {
	return find([]string{"libcuda.so.1"}, "cuDriverGetVersion", cudaVersion)
}

// Runtime looks for the CUDA runtime (libcudart), newest first.
func Runtime() Library {
	return find([]string{"libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so.10.2"}, "cudaRuntimeGetVersion", cudaVersion)
}

// CuDNN looks for cuDNN, newest first.
func CuDNN() Library {
	return find([]string{"libcudnn.so.9", "libcudnn.so.8"}, "cudnnGetVersion", cudnnVersion)
}

// CuBLAS looks for cuBLAS, newest first. Its version is its major number, which is in
// its name.
func CuBLAS() Library {
	for _, major := range []string{"13", "12", "11"} {
		l := find([]string{"libcublas.so." + major}, "cublasGetCudartVersion", func(int) string { return major })
		if l.Path != "" {
			l.Version = major
			return l
		}
	}
	return Library{}
}

// cudaVersion reads 12040 as 12.4.
func cudaVersion(v int) string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }

// cudnnVersion reads 8902 as 8.9.2 and, since version 9, 90100 as 9.1.0.
func cudnnVersion(v int) string {
	if v < 10000 {
		return fmt.Sprintf("%d.%d.%d", v/1000, v%1000/100, v%100)
	}
	return fmt.Sprintf("%d.%d.%d", v/10000, v%10000/100, v%100)
}

// find opens the first of names: as the dynamic linker finds it, then in the
// folders where CUDA is installed. What exists and does not open is reported
// when nothing better is found.
func find(names []string, symbol string, text func(int) string) Library {
	var broken Library
	for _, name := range names {
		for _, path := range append([]string{name}, candidates(name)...) {
			found, version, err := askVersion(path, symbol)
			switch {
			case err == nil && version > 0:
				return Library{Path: found, Version: text(version)}
			case err == nil:
				return Library{Path: found}
			case broken.Path == "" && (found != "" || path != name):
				broken = Library{Path: cmp.Or(found, path), Problem: err.Error()}
			}
		}
	}
	return broken
}

// candidates are the existing files called name in CUDA's usual folders, those
// of a newer version first.
func candidates(name string) []string {
	var patterns []string
	for _, variable := range []string{"CUDA_HOME", "CUDA_PATH"} {
		if root := os.Getenv(variable); root != "" {
			patterns = append(patterns, filepath.Join(root, "lib64"), filepath.Join(root, "lib"))
		}
	}
	patterns = append(patterns, "/usr/local/cuda/lib64", "/usr/local/cuda-*/lib64", "/usr/local/cuda*/targets/*/lib", "/usr/lib/wsl/lib", "/opt/cuda/lib64")
	var paths []string
	for _, p := range patterns {
		found, err := filepath.Glob(filepath.Join(p, name))
		if err != nil { // a bracket in the environment's folder name
			continue
		}
		sort.Sort(sort.Reverse(sort.StringSlice(found)))
		paths = append(paths, found...)
	}
	return paths
}

// oneLine takes the line breaks out of the dynamic linker's messages.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
