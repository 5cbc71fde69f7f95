package compute

import (
	"path/filepath"
	"slices"
	"strings"
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

// TestWhyThereIsNoDevice: one sentence for a driver that is missing or old, for no GPU
// and for a wrong number.
func TestWhyThereIsNoDevice(t *testing.T) {
	for _, library := range testenv.ComputeLibraries(t) {
		if library.Kind != "emulated" {
			continue
		}
		for _, c := range []struct {
			devices string
			index   int
			want    string
		}{
			{"-1", 0, "the NVIDIA driver runs CUDA 13.0, this backend was built with CUDA 13.0: update the driver"},
			{"0", 0, "the NVIDIA driver sees no GPU"},
			{"2", 2, "there is no GPU number 2: the driver sees 2"},
		} {
			t.Setenv("TRTACT_EMULATED_DEVICES", c.devices)
			d, err := Open(library.Path, c.index)
			if err == nil {
				d.Close()
			}
			if err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("%s devices: %v, want %q", c.devices, err, c.want)
			}
		}
	}
}

// TestSpoiledCapture: a list that cannot be captured runs all the same.
func TestSpoiledCapture(t *testing.T) {
	for _, library := range testenv.ComputeLibraries(t) {
		if library.Kind != "emulated" {
			continue
		}
		t.Setenv("TRTACT_EMULATED_CAPTURE", "spoiled")
		d, err := Open(library.Path, 0)
		if err != nil {
			t.Fatal(err)
		}
		four := []Tensor{{Dims: []int{4}}}
		op, err := d.NewOp(OpDesc{Params: Unary{Activation{Kind: Relu}}, Inputs: four, Outputs: four})
		if err != nil {
			t.Fatal(err)
		}
		b, err := d.Alloc(48)
		if err != nil {
			t.Fatal(err)
		}
		p, err := d.NewProgram([]Step{
			{Op: op, Inputs: []Address{{b, 0}}, Outputs: []Address{{b, 16}}},
			{Op: op, Inputs: []Address{{b, 16}}, Outputs: []Address{{b, 32}}},
		}, 1)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			x, y := []float32{float32(i), -1, 2, -3}, make([]float32, 4)
			err := b.Upload(0, x)
			if err == nil {
				err = p.Run(0, 2)
			}
			if err == nil {
				err = b.Download(32, y)
			}
			if want := []float32{float32(i), 0, 2, 0}; err != nil || !slices.Equal(y, want) {
				t.Errorf("run %d: %v, %v, want %v", i, y, err, want)
			}
		}
		p.Close()
		op.Close()
		b.Close()
		d.Close()
	}
}

// TestOldGPUs: what a GPU has no instructions for is refused by the GPU's name.
func TestOldGPUs(t *testing.T) {
	for _, library := range testenv.ComputeLibraries(t) {
		if library.Kind != "emulated" {
			continue
		}
		t.Setenv("TRTACT_EMULATED_CAPABILITY", "70")
		if d, err := Open(library.Path, 0); err == nil || !strings.Contains(err.Error(), "sm_70 is older than sm_75") {
			t.Errorf("sm_70: %v, %v", d, err)
		}
		t.Setenv("TRTACT_EMULATED_CAPABILITY", "75")
		d, err := Open(library.Path, 0)
		if err != nil {
			t.Fatal(err)
		}
		one := []Tensor{{Dims: []int{1}}}
		for _, m := range []Math{FP32, TF32, BF16} {
			op, err := d.NewOp(OpDesc{Params: Unary{}, Math: m, Inputs: one, Outputs: one})
			if m != FP32 && (err == nil || !strings.Contains(err.Error(), "sm_75 multiplies no TF32 and no BF16")) || m == FP32 && err != nil {
				t.Errorf("sm_75, math %d: %v", m, err)
			}
			op.Close()
		}
		d.Close()
	}
}
