// What a GPU does while something is measured on it: its clocks, its heat, its
// power, and what holds its clocks down, asked for again and again.

package gpu

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"trtact/internal/fault"
)

// Moment is a GPU at one time. A nil pointer is a figure that it does not tell.
type Moment struct {
	Time        time.Time
	SM          *int     // MHz
	Memory      *int     // MHz
	Temperature *int     // degrees Celsius
	Power       *float64 // watts; newer GPUs give the mean of the last second
	Energy      *float64 // joules since the driver was loaded
	// Slowed is why the clocks are lower than they could be; nil when nothing
	// holds them, or it is not told.
	Slowed []Reason
}

// Reason is one that a GPU has to lower its clocks.
type Reason string

// Reasons, in NVML's order of bits. That it has nothing to do is none of them.
const (
	ReasonSet           Reason = "clocks set by hand"
	ReasonPower         Reason = "power limit"
	ReasonHardware      Reason = "hardware slowdown"
	ReasonSync          Reason = "held to the clocks of another GPU"
	ReasonHeat          Reason = "heat"
	ReasonHardwareHeat  Reason = "heat (hardware)"
	ReasonHardwarePower Reason = "power brake (hardware)"
	ReasonDisplay       Reason = "display clocks"
)

var reasons = [...]struct {
	bit    uint64
	reason Reason
}{
	{nvml.ClocksThrottleReasonApplicationsClocksSetting, ReasonSet},
	{nvml.ClocksThrottleReasonSwPowerCap, ReasonPower},
	{nvml.ClocksThrottleReasonHwSlowdown, ReasonHardware},
	{nvml.ClocksThrottleReasonSyncBoost, ReasonSync},
	{nvml.ClocksThrottleReasonSwThermalSlowdown, ReasonHeat},
	{nvml.ClocksThrottleReasonHwThermalSlowdown, ReasonHardwareHeat},
	{nvml.ClocksThrottleReasonHwPowerBrakeSlowdown, ReasonHardwarePower},
	{nvml.ClocksThrottleReasonDisplayClockSetting, ReasonDisplay},
}

// energySymbol came with the drivers of 2018; asking an older one would end the
// process.
const energySymbol = "nvmlDeviceGetTotalEnergyConsumption"

// Moment asks a GPU once; index counts as NVML counts.
func (m *Monitor) Moment(index int) (Moment, error) {
	d, ret := m.lib.DeviceGetHandleByIndex(index)
	if ret != nvml.SUCCESS {
		return Moment{}, fault.NoDevice(fmt.Errorf("ask GPU %d: %s", index, message(ret)))
	}
	now := Moment{
		SM:          known(d.GetClockInfo(nvml.CLOCK_SM)),
		Memory:      known(d.GetClockInfo(nvml.CLOCK_MEM)),
		Temperature: known(d.GetTemperature(nvml.TEMPERATURE_GPU)),
		Power:       watts(d.GetPowerUsage()),
	}
	if bits, ret := d.GetCurrentClocksThrottleReasons(); ret == nvml.SUCCESS {
		for _, r := range reasons {
			if bits&r.bit != 0 {
				now.Slowed = append(now.Slowed, r.reason)
			}
		}
	}
	if m.lib.Extensions().LookupSymbol(energySymbol) == nil {
		if mJ, ret := d.GetTotalEnergyConsumption(); ret == nvml.SUCCESS {
			joules := float64(mJ) / 1000
			now.Energy = &joules
		}
	}
	now.Time = time.Now()
	return now, nil
}

// Watch asks a GPU every so often until Stop.
type Watch struct {
	cancel  context.CancelFunc
	done    sync.WaitGroup
	moments []Moment
	err     error
}

// Watch begins to watch a GPU. Until Stop the monitor is the watch's.
func (m *Monitor) Watch(index int, every time.Duration) *Watch {
	return NewWatch(func() (Moment, error) { return m.Moment(index) }, every)
}

// NewWatch is a watch of what ask answers, which is called in a goroutine of the
// watch, at once and then every so often.
func NewWatch(ask func() (Moment, error), every time.Duration) *Watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watch{cancel: cancel}
	w.done.Add(1)
	go func() {
		defer w.done.Done()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			now, err := ask()
			if err != nil {
				w.err = err
				return
			}
			w.moments = append(w.moments, now)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return w
}

// Stop ends the watch and gives what was seen, in the order of time. The error
// is why the watch ended before; what was seen until then comes with it.
func (w *Watch) Stop() ([]Moment, error) {
	w.cancel()
	w.done.Wait()
	return w.moments, w.err
}
