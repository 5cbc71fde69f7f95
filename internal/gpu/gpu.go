// Package gpu reads the state of NVIDIA GPUs from the driver's management
// library (NVML): what is there, how busy, how hot.
//
// The library is opened at run time, so a program with this package starts on a
// machine that has no driver; Open then says so in one sentence.
package gpu

// Report is the machine's GPUs at one moment.
type Report struct {
	Driver string `json:"driver"` // version of the driver, "550.54.15"
	CUDA   string `json:"cuda"`   // newest CUDA that the driver runs, "12.4"
	GPUs   []GPU  `json:"gpus"`
}

// GPU is one device. A nil pointer means that the device or the driver does not
// tell this figure.
type GPU struct {
	Index             int          `json:"index"`
	Name              string       `json:"name"`
	UUID              string       `json:"uuid,omitempty"`
	ComputeCapability string       `json:"compute_capability,omitempty"` // "8.6"
	Memory            *Memory      `json:"memory,omitempty"`
	Utilization       *Utilization `json:"utilization,omitempty"`
	Clocks            Clocks       `json:"clocks"`
	Temperature       *int         `json:"temperature_c,omitempty"`
	Power             *float64     `json:"power_w,omitempty"`
	PowerLimit        *float64     `json:"power_limit_w,omitempty"`
	Processes         []Process    `json:"processes"`
	// Problem says why nothing more is known of this device, such as a device
	// that fell off the bus.
	Problem string `json:"problem,omitempty"`
}

// Memory is device memory in bytes.
type Memory struct {
	Total uint64 `json:"total"`
	Used  uint64 `json:"used"`
	Free  uint64 `json:"free"`
}

// Utilization is how much of the last sample period the device was busy, in
// percent: running kernels, and moving memory.
type Utilization struct {
	GPU    int `json:"gpu"`
	Memory int `json:"memory"`
}

// Clocks are in MHz.
type Clocks struct {
	SM        *int `json:"sm_mhz,omitempty"`
	Memory    *int `json:"memory_mhz,omitempty"`
	MaxSM     *int `json:"max_sm_mhz,omitempty"`
	MaxMemory *int `json:"max_memory_mhz,omitempty"`
}

// Process is a process that holds a context on the device.
type Process struct {
	PID    int     `json:"pid"`
	Name   string  `json:"name,omitempty"`
	Kind   string  `json:"kind"`             // "compute" or "graphics"
	Memory *uint64 `json:"memory,omitempty"` // bytes; nil where it is not told (containers)
}
