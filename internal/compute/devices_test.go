package compute

import (
	"path/filepath"
	"testing"

	"trtact/internal/testenv"
)

// eachDevice runs f on what operators are tested on (testenv.ComputeLibraries).
func eachDevice(t *testing.T, f func(t *testing.T, d *Device)) {
	for _, library := range testenv.ComputeLibraries(t) {
		t.Run(filepath.Base(library.Path), func(t *testing.T) {
			d, err := Open(library.Path, 0)
			if err != nil {
				if library.Kind == "cuda" {
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
