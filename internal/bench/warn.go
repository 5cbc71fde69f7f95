// Warnings: why a figure may not be what it seems, and what to do. The kinds
// are those that users of trtexec know; the bounds are below.

package bench

import (
	"fmt"

	"trtact/internal/gpu"
)

const (
	// enqueueBound is the share of the GPU's time that handing over may take. Nearer
	// than that, the GPU waits for the CPU in many runs.
	enqueueBound = 0.8
	// busyCV is the coefficient of variation above which times on the CPU are called
	// unsteady, gpuCV the same for the GPU, which shares with nobody: on locked
	// clocks it stays below a hundredth.
	busyCV, gpuCV = 0.10, 0.03
	// clockDrop is how far below the highest the lowest SM clock may be.
	clockDrop = 0.05
	// slowedShare of the samples may have a reason to hold clocks down.
	slowedShare = 0.02
)

// warnings are sentences, without the model's name.
func (r *Report) warnings(m *Model) []string {
	out := []string{}
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if note := m.run.note(); note != "" {
		add("%s", note)
	}
	if m.Compute == nil {
		if m.Latency.CV > busyCV {
			add("the times vary by %.0f %%: something else keeps the machine busy", 100*m.Latency.CV)
		}
		return out
	}
	compute := m.Compute.Median
	if enqueue := m.Enqueue.Median; enqueue > enqueueBound*compute && r.Settings.Streams < 2 {
		advice := "--cuda-graph hands over a run in one call"
		if m.CUDAGraph {
			advice = "a larger --batch gives it more to do"
		}
		add("the GPU waits for the CPU: handing a run over takes %s ms, computing it %s ms; %s", precise(enqueue), precise(compute), advice)
	}
	if m.H2D != nil {
		for _, t := range []struct {
			what string
			ms   float64
		}{{"copying the inputs to the GPU", m.H2D.Median}, {"copying the outputs from the GPU", m.D2H.Median}} {
			if t.ms > compute {
				add("%s takes %s ms, longer than computing (%s ms); --no-transfers leaves the copies out", t.what, precise(t.ms), precise(compute))
			}
		}
	}
	unsteady := m.Compute.CV > gpuCV && r.Settings.Streams < 2 // streams wait for each other
	if unsteady {
		advice := "lock the clocks (nvidia-smi --lock-gpu-clocks) and see that nothing else uses the GPU"
		if r.Settings.Wait == "block" {
			advice += ", or try --spin"
		}
		add("the times on the GPU vary by %.0f %%: %s", 100*m.Compute.CV, advice)
	}
	if a := m.Activity; a != nil {
		if a.SM != nil && a.SM.Min < (1-clockDrop)*a.SM.Max {
			add("the SM clock went between %.0f and %.0f MHz while this ran; ratios hold, times are of this mixture", a.SM.Min, a.SM.Max)
		}
		for _, s := range a.Slowed {
			if s.Share > slowedShare && s.Reason != gpu.ReasonSet {
				add("the GPU held its clocks down in %.0f %% of the time: %s", 100*s.Share, s.Reason)
			}
		}
	}
	return out
}

// note is what the timer said of itself, once.
func (r Run) note() string {
	for _, b := range r.Blocks {
		if b.Note != "" {
			return b.Note
		}
	}
	return ""
}
