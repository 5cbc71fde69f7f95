package nn

import (
	"path/filepath"
	"testing"

	"trtact/internal/compute"
	"trtact/internal/testenv"
)

// testDevice is one of what graphs are tested on.
type testDevice struct {
	*compute.Device
	kind string
}

// openAll opens what graphs are tested on: the best CPU library, CUDA's kernels on the
// emulated device and, where there is one, a GPU.
func openAll(t *testing.T) []testDevice {
	t.Helper()
	var list []testDevice
	for _, library := range testenv.ComputeLibraries(t) {
		d, err := compute.Open(library.Path, 0)
		switch {
		case err != nil && library.Kind == "cuda":
			t.Logf("not on a GPU: %v", err)
			continue
		case err != nil:
			t.Fatal(err)
		}
		if library.Kind == "cpu" && len(list) == 1 { // the better one follows
			list[0].Close()
			list = list[:0]
		}
		list = append(list, testDevice{d, library.Kind})
	}
	for _, d := range list {
		others := d.Live()
		t.Cleanup(func() {
			if n := d.Live(); n != others {
				t.Errorf("%s: %d devices, buffers and operators alive at the end, %d at the start", filepath.Base(d.Path()), n, others)
			}
			d.Close()
		})
	}
	return list
}

// eachDevice runs f on each of them.
func eachDevice(t *testing.T, f func(t *testing.T, d testDevice)) {
	for _, d := range openAll(t) {
		t.Run(filepath.Base(d.Path()), func(t *testing.T) { f(t, d) })
	}
}

// every is how many of a list's cases are one that runs on the device: there is no
// hurry but on the emulated one.
func (d testDevice) every(n int) int {
	if d.kind == "emulated" {
		return n
	}
	return 1
}
