package gpu

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// Index is NVML's number of the GPU that CUDA counts as device ordinal, in a
// process whose environment sets CUDA_VISIBLE_DEVICES to visible ("" for not set)
// and where CUDA orders by bus (CUDA_DEVICE_ORDER=PCI_BUS_ID, NVML's own order).
// Where only one GPU is visible the order does not matter.
func (m *Monitor) Index(ordinal int, visible string) (int, error) {
	count, ret := m.lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return 0, fmt.Errorf("count the GPUs: %s", message(ret))
	}
	index := ordinal
	if visible = strings.TrimSpace(visible); visible != "" {
		list := strings.Split(visible, ",")
		if ordinal >= len(list) {
			return 0, fmt.Errorf("CUDA_VISIBLE_DEVICES=%s shows no device %d", visible, ordinal)
		}
		name := strings.TrimSpace(list[ordinal])
		var err error
		if index, err = strconv.Atoi(name); err != nil {
			index = m.byUUID(count, name)
		}
	}
	if index < 0 || index >= count {
		return 0, fmt.Errorf("the driver's management library sees no GPU that would be CUDA's device %d (CUDA_VISIBLE_DEVICES=%s)", ordinal, visible)
	}
	return index, nil
}

// byUUID finds a GPU by the start of its UUID, -1 when there is none or not one
// alone.
func (m *Monitor) byUUID(count int, start string) int {
	found := -1
	for i := range count {
		d, ret := m.lib.DeviceGetHandleByIndex(i)
		if ret != nvml.SUCCESS {
			continue
		}
		if uuid, ret := d.GetUUID(); ret == nvml.SUCCESS && strings.HasPrefix(uuid, start) {
			if found >= 0 {
				return -1
			}
			found = i
		}
	}
	return found
}
