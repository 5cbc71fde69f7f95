package gpu

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"

	"trtact/internal/fault"
)

// machine is eight A100 made of go-nvml's mocks; figures are the same on every
// GPU but for the temperature, 40 degrees plus the index.
func machine() *mock.Interface {
	devices := make([]*mock.Device, 8)
	for i := range devices {
		devices[i] = device(i)
	}
	return &mock.Interface{
		InitFunc:                       func() nvml.Return { return nvml.SUCCESS },
		ShutdownFunc:                   func() nvml.Return { return nvml.SUCCESS },
		SystemGetDriverVersionFunc:     func() (string, nvml.Return) { return "550.54.15", nvml.SUCCESS },
		SystemGetCudaDriverVersionFunc: func() (int, nvml.Return) { return 12040, nvml.SUCCESS },
		SystemGetProcessNameFunc: func(pid int) (string, nvml.Return) {
			if pid == 77 {
				return "", nvml.ERROR_NOT_FOUND
			}
			return "/usr/bin/trainer", nvml.SUCCESS
		},
		DeviceGetCountFunc: func() (int, nvml.Return) { return len(devices), nvml.SUCCESS },
		DeviceGetHandleByIndexFunc: func(i int) (nvml.Device, nvml.Return) {
			if i < 0 || i >= len(devices) {
				return nil, nvml.ERROR_INVALID_ARGUMENT
			}
			return devices[i], nvml.SUCCESS
		},
		ExtensionsFunc: func() nvml.ExtendedInterface {
			return &mock.ExtendedInterface{LookupSymbolFunc: func(string) error { return nil }}
		},
	}
}

func device(index int) *mock.Device {
	return &mock.Device{
		GetNameFunc:                  func() (string, nvml.Return) { return "Mock NVIDIA A100-SXM4-40GB", nvml.SUCCESS },
		GetUUIDFunc:                  func() (string, nvml.Return) { return fmt.Sprintf("GPU-%d", index), nvml.SUCCESS },
		GetCudaComputeCapabilityFunc: func() (int, int, nvml.Return) { return 8, 0, nvml.SUCCESS },
		GetMemoryInfoFunc: func() (nvml.Memory, nvml.Return) {
			return nvml.Memory{Total: 40 << 30, Used: 1 << 30, Free: 39 << 30}, nvml.SUCCESS
		},
		GetUtilizationRatesFunc: func() (nvml.Utilization, nvml.Return) {
			return nvml.Utilization{Gpu: 93, Memory: 41}, nvml.SUCCESS
		},
		GetClockInfoFunc: func(c nvml.ClockType) (uint32, nvml.Return) {
			if c == nvml.CLOCK_SM {
				return 1410, nvml.SUCCESS
			}
			return 1215, nvml.SUCCESS
		},
		GetMaxClockInfoFunc:       func(nvml.ClockType) (uint32, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED },
		GetTemperatureFunc:        func(nvml.TemperatureSensors) (uint32, nvml.Return) { return uint32(40 + index), nvml.SUCCESS },
		GetPowerUsageFunc:         func() (uint32, nvml.Return) { return 251500, nvml.SUCCESS },
		GetEnforcedPowerLimitFunc: func() (uint32, nvml.Return) { return 400000, nvml.SUCCESS },
		GetComputeRunningProcessesFunc: func() ([]nvml.ProcessInfo, nvml.Return) {
			return []nvml.ProcessInfo{{Pid: 4242, UsedGpuMemory: 1 << 29}, {Pid: 77, UsedGpuMemory: math.MaxUint64}}, nvml.SUCCESS
		},
		GetGraphicsRunningProcessesFunc: func() ([]nvml.ProcessInfo, nvml.Return) {
			return []nvml.ProcessInfo{{Pid: 4242, UsedGpuMemory: 1 << 29}}, nvml.SUCCESS
		},
	}
}

func pointer[T any](v T) *T { return &v }

func TestReadOfAWholeMachine(t *testing.T) {
	m, err := open(machine())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r, err := m.Read()
	if err != nil {
		t.Fatal(err)
	}
	if r.Driver != "550.54.15" || r.CUDA != "12.4" || len(r.GPUs) != 8 {
		t.Fatalf("driver %q, CUDA %q, %d GPUs", r.Driver, r.CUDA, len(r.GPUs))
	}
	got := r.GPUs[3]
	if got.UUID == "" {
		t.Error("no UUID")
	}
	got.UUID = ""
	want := GPU{
		Index: 3, Name: "Mock NVIDIA A100-SXM4-40GB", ComputeCapability: "8.0",
		Memory:      &Memory{Total: 40 << 30, Used: 1 << 30, Free: 39 << 30},
		Utilization: &Utilization{GPU: 93, Memory: 41},
		Clocks:      Clocks{SM: pointer(1410), Memory: pointer(1215)},
		Temperature: pointer(43),
		Power:       pointer(251.5), PowerLimit: pointer(400.0),
		Processes: []Process{
			{PID: 77, Kind: "compute"},
			{PID: 4242, Name: "trainer", Kind: "compute", Memory: pointer(uint64(1 << 29))},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestOneLostGPUDoesNotHideTheOthers(t *testing.T) {
	s := machine()
	lost, _ := s.DeviceGetHandleByIndex(1)
	lost.(*mock.Device).GetNameFunc = func() (string, nvml.Return) { return "", nvml.ERROR_GPU_IS_LOST }
	m, err := open(s)
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Read()
	if err != nil {
		t.Fatal(err)
	}
	if r.GPUs[1].Problem == "" || r.GPUs[0].Problem != "" || len(r.GPUs) != 8 {
		t.Errorf("problems %q and %q in %d GPUs", r.GPUs[0].Problem, r.GPUs[1].Problem, len(r.GPUs))
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		ret  nvml.Return
		want string
	}{
		{nvml.ERROR_LIBRARY_NOT_FOUND, "no NVIDIA driver on this machine"},
		{nvml.ERROR_DRIVER_NOT_LOADED, "not loaded"},
		{nvml.ERROR_LIB_RM_VERSION_MISMATCH, "different versions"},
		{nvml.ERROR_NO_PERMISSION, "no permission"},
		{nvml.ERROR_UNKNOWN, "NVML says"},
	} {
		s := machine()
		s.InitFunc = func() nvml.Return { return c.ret }
		_, err := open(s)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("code %d: %v", c.ret, err)
		}
		if fault.Code(err) != fault.CodeNoDevice {
			t.Errorf("code %d: exit code %d", c.ret, fault.Code(err))
		}
	}
}

func TestDriverWithoutGPU(t *testing.T) {
	s := machine()
	s.DeviceGetCountFunc = func() (int, nvml.Return) { return 0, nvml.SUCCESS }
	m, err := open(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = m.Read(); fault.Code(err) != fault.CodeNoDevice || !strings.Contains(err.Error(), "550.54.15") {
		t.Errorf("got %v", err)
	}
}
