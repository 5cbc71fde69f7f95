package trt

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Places says where native libraries are looked for. All folders are absolute:
// no library is ever loaded from the folder that the program happens to stand in.
type Places struct {
	// Shims are the folders with this program's own libtrtact_trt_*.so.
	Shims []string
	// Libraries are the folders with TensorRT's libraries.
	Libraries []string
	// Loader also looks where the dynamic loader does (LD_LIBRARY_PATH,
	// ld.so.conf, the system's folders).
	Loader bool
}

// DefaultPlaces are, for shims: TRTACT_LIB, else lib beside the program and
// ../lib/trtact as installed; for TensorRT: TENSORRT_ROOT/lib, what the set-up
// put into the cache (TRTACT_CACHE), the shims' folders, the dynamic loader.
func DefaultPlaces() Places {
	p := Places{Loader: true}
	if dir := os.Getenv("TRTACT_LIB"); dir != "" {
		p.Shims = appendFolder(p.Shims, dir)
	} else if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		dir := filepath.Dir(exe)
		p.Shims = appendFolder(p.Shims, filepath.Join(dir, "lib"))
		p.Shims = appendFolder(p.Shims, filepath.Join(dir, "..", "lib", "trtact"))
	}
	if root := os.Getenv("TENSORRT_ROOT"); root != "" {
		p.Libraries = appendFolder(p.Libraries, filepath.Join(root, "lib"))
	}
	if cache := cacheFolder(); cache != "" {
		found, _ := filepath.Glob(filepath.Join(cache, "tensorrt-rtx-*", "lib")) // the pattern is well formed
		slices.SortFunc(found, newerFirst)
		for _, dir := range found {
			p.Libraries = appendFolder(p.Libraries, dir)
		}
	}
	p.Libraries = append(p.Libraries, p.Shims...)
	return p
}

// appendFolder adds dir as an absolute path. A relative one was given by the
// user in so many words, and is taken from where the program was started.
func appendFolder(list []string, dir string) []string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return list
	}
	return append(list, abs)
}

func cacheFolder() string {
	if dir := os.Getenv("TRTACT_CACHE"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "trtact")
	}
	if home := os.Getenv("HOME"); home != "" {
		return filepath.Join(home, ".cache", "trtact")
	}
	return ""
}

// newerFirst orders folder names that differ in a version number.
func newerFirst(a, b string) int {
	if len(a) != len(b) { // 1.10 is longer than 1.9
		return len(b) - len(a)
	}
	return strings.Compare(b, a)
}

// shims lists the shim libraries in the first folder that has any.
func (p Places) shims() []string {
	for _, dir := range p.Shims {
		found, _ := filepath.Glob(filepath.Join(dir, "libtrtact_trt_*.so")) // nil when the folder is missing
		if len(found) > 0 {
			slices.Sort(found)
			return found
		}
	}
	return nil
}
