// Reading NVML through go-nvml. Only calls that every driver of the last ten
// years has are used: a symbol missing from the driver would end the process.

package gpu

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sort"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"trtact/internal/fault"
)

// library is what this package needs of nvml.Interface; go-nvml's mock machines
// have it too.
type library interface {
	Init() nvml.Return
	Shutdown() nvml.Return
	SystemGetDriverVersion() (string, nvml.Return)
	SystemGetCudaDriverVersion() (int, nvml.Return)
	SystemGetProcessName(pid int) (string, nvml.Return)
	DeviceGetCount() (int, nvml.Return)
	DeviceGetHandleByIndex(index int) (nvml.Device, nvml.Return)
	Extensions() nvml.ExtendedInterface
}

// Monitor is an open NVML. It is for one goroutine.
type Monitor struct{ lib library }

// Open opens NVML. Without a driver the error is a fault.NoDevice and says what
// is missing.
func Open() (*Monitor, error) { return open(nvml.New()) }

func open(lib library) (*Monitor, error) {
	switch ret := lib.Init(); ret {
	case nvml.SUCCESS:
		return &Monitor{lib}, nil
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return nil, fault.NoDevice(errors.New("no NVIDIA driver on this machine (libnvidia-ml.so.1 was not found); install the driver, or run this where a GPU is"))
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return nil, fault.NoDevice(errors.New("the NVIDIA driver is installed but not loaded; load it (modprobe nvidia) or restart the machine"))
	case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return nil, fault.NoDevice(errors.New("the loaded NVIDIA driver and its library are of different versions, as after an update; restart the machine"))
	case nvml.ERROR_NO_PERMISSION:
		return nil, fault.NoDevice(errors.New("no permission to ask the NVIDIA driver; look at the access rights of /dev/nvidiactl"))
	default:
		return nil, fault.NoDevice(fmt.Errorf("open the NVIDIA driver's management library: %s", message(ret)))
	}
}

// Close lets go of NVML.
func (m *Monitor) Close() error {
	if ret := m.lib.Shutdown(); ret != nvml.SUCCESS {
		return fmt.Errorf("close the NVIDIA driver's management library: %s", message(ret))
	}
	return nil
}

// Read asks for everything about every GPU. A GPU that does not answer is
// listed with its Problem; a figure that is not supported is left nil. A
// machine with a driver and no GPU is a fault.NoDevice.
func (m *Monitor) Read() (Report, error) {
	var r Report
	r.Driver, _ = m.lib.SystemGetDriverVersion()
	if v, ret := m.lib.SystemGetCudaDriverVersion(); ret == nvml.SUCCESS {
		r.CUDA = fmt.Sprintf("%d.%d", v/1000, v%1000/10)
	}
	count, ret := m.lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return r, fmt.Errorf("count the GPUs: %s", message(ret))
	}
	if count == 0 {
		return r, fault.NoDevice(fmt.Errorf("the NVIDIA driver %s is here but sees no GPU; in a container, start it with the GPUs passed in", r.Driver))
	}
	for i := 0; i < count; i++ {
		r.GPUs = append(r.GPUs, m.device(i))
	}
	return r, nil
}

// device reads one GPU; index counts as NVML counts.
func (m *Monitor) device(index int) GPU {
	g := GPU{Index: index, Processes: []Process{}}
	d, ret := m.lib.DeviceGetHandleByIndex(index)
	if ret != nvml.SUCCESS {
		g.Problem = message(ret)
		return g
	}
	if g.Name, ret = d.GetName(); ret != nvml.SUCCESS {
		g.Problem = message(ret)
		return g
	}
	g.UUID, _ = d.GetUUID()
	if major, minor, ret := d.GetCudaComputeCapability(); ret == nvml.SUCCESS {
		g.ComputeCapability = fmt.Sprintf("%d.%d", major, minor)
	}
	if v, ret := d.GetMemoryInfo(); ret == nvml.SUCCESS {
		g.Memory = &Memory{Total: v.Total, Used: v.Used, Free: v.Free}
	}
	if v, ret := d.GetUtilizationRates(); ret == nvml.SUCCESS {
		g.Utilization = &Utilization{GPU: int(v.Gpu), Memory: int(v.Memory)}
	}
	g.Clocks = Clocks{
		SM:        known(d.GetClockInfo(nvml.CLOCK_SM)),
		Memory:    known(d.GetClockInfo(nvml.CLOCK_MEM)),
		MaxSM:     known(d.GetMaxClockInfo(nvml.CLOCK_SM)),
		MaxMemory: known(d.GetMaxClockInfo(nvml.CLOCK_MEM)),
	}
	g.Temperature = known(d.GetTemperature(nvml.TEMPERATURE_GPU))
	g.Power = watts(d.GetPowerUsage())
	g.PowerLimit = watts(d.GetEnforcedPowerLimit())
	g.Processes = m.processes(d)
	return g
}

func (m *Monitor) processes(d nvml.Device) []Process {
	found := []Process{}
	seen := map[uint32]bool{}
	list := func(kind string, infos []nvml.ProcessInfo, ret nvml.Return) {
		if ret != nvml.SUCCESS {
			return
		}
		for _, info := range infos {
			if seen[info.Pid] { // listed for compute and for graphics
				continue
			}
			seen[info.Pid] = true
			p := Process{PID: int(info.Pid), Kind: kind}
			if name, ret := m.lib.SystemGetProcessName(p.PID); ret == nvml.SUCCESS {
				p.Name = filepath.Base(name)
			}
			if info.UsedGpuMemory != math.MaxUint64 {
				used := info.UsedGpuMemory
				p.Memory = &used
			}
			found = append(found, p)
		}
	}
	infos, ret := d.GetComputeRunningProcesses()
	list("compute", infos, ret)
	infos, ret = d.GetGraphicsRunningProcesses()
	list("graphics", infos, ret)
	sort.Slice(found, func(i, j int) bool { return found[i].PID < found[j].PID })
	return found
}

func known(v uint32, ret nvml.Return) *int {
	if ret != nvml.SUCCESS {
		return nil
	}
	n := int(v)
	return &n
}

func watts(milliwatts uint32, ret nvml.Return) *float64 {
	if ret != nvml.SUCCESS {
		return nil
	}
	w := float64(milliwatts) / 1000
	return &w
}

// message is NVML's code as words. go-nvml has its own words for every code, so
// no library need be open for this.
func message(ret nvml.Return) string { return "NVML says: " + nvml.ErrorString(ret) }
