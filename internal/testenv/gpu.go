package testenv

import (
	"os"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// GPUBandwidth is what the first GPU's memory can do, in bytes a second: two transfers a
// clock over the width of its bus. It is 0 where the driver does not say.
func GPUBandwidth(t testing.TB) float64 {
	t.Helper()
	if os.Getenv("CUDA_VISIBLE_DEVICES") != "" { // NVML counts the others too
		return 0
	}
	if ret := nvml.Init(); ret != nvml.SUCCESS {
		return 0
	}
	defer nvml.Shutdown()
	d, ret := nvml.DeviceGetHandleByIndex(0)
	if ret != nvml.SUCCESS {
		return 0
	}
	width, ret := d.GetMemoryBusWidth()
	if ret != nvml.SUCCESS {
		return 0
	}
	clock, ret := d.GetMaxClockInfo(nvml.CLOCK_MEM)
	if ret != nvml.SUCCESS {
		return 0
	}
	return 2 * float64(clock) * 1e6 * float64(width) / 8
}
