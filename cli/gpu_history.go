// The last minutes of every GPU as small graphs under the table of gpu --watch.

package cli

import (
	"fmt"
	"io"
	"math"
	"time"

	"trtact/internal/gpu"
	"trtact/internal/report"
)

// historyLength is how many samples are kept; the window shows as many as fit.
const historyLength = 600

// history is what was seen of the GPUs, by index and quantity; NaN where a figure was
// not told.
type history struct {
	seen map[int]*trail
}

// trail is one GPU's: shares of what is most, oldest first.
type trail struct {
	load, memory, power []float64
}

func newHistory() *history { return &history{seen: map[int]*trail{}} }

// add takes one reading in.
func (h *history) add(r gpu.Report) {
	for _, g := range r.GPUs {
		t := h.seen[g.Index]
		if t == nil {
			t = &trail{}
			h.seen[g.Index] = t
		}
		load, memory, power := math.NaN(), math.NaN(), math.NaN()
		if g.Utilization != nil {
			load = float64(g.Utilization.GPU) / 100
		}
		if g.Memory != nil && g.Memory.Total > 0 {
			memory = float64(g.Memory.Used) / float64(g.Memory.Total)
		}
		if g.Power != nil && g.PowerLimit != nil && *g.PowerLimit > 0 {
			power = *g.Power / *g.PowerLimit
		}
		for list, v := range map[*[]float64]float64{&t.load: load, &t.memory: memory, &t.power: power} {
			*list = append(*list, v)
			if n := len(*list) - historyLength; n > 0 {
				*list = (*list)[n:]
			}
		}
	}
}

// write draws the graphs of the GPUs in a report, each quantity one line of at most
// width columns.
func (h *history) write(w io.Writer, r gpu.Report, width int) error {
	for _, g := range r.GPUs {
		t := h.seen[g.Index]
		if t == nil || g.Problem != "" {
			continue
		}
		head := fmt.Sprintf("\nGPU %d, the last %s\n", g.Index, report.Duration(watchEvery*time.Duration(min(len(t.load), graphCells(width)))))
		if _, err := w.Write([]byte(head)); err != nil {
			return err
		}
		for _, line := range []struct {
			name string
			list []float64
		}{{"load", t.load}, {"memory", t.memory}, {"power", t.power}} {
			text, last := graph(line.list, graphCells(width))
			if text == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "%-6s %s %3.0f %%\n", line.name, text, 100*last); err != nil {
				return err
			}
		}
	}
	return nil
}

// graphCells is the room for a graph: beside it stand a name and a figure.
func graphCells(width int) int { return max(8, min(120, width-16)) }

// levels are the heights of a graph's columns.
var levels = []rune("▁▂▃▄▅▆▇█")

// graph draws the last cells values, shares of 0..1, and gives the last one; "" where
// none is known. A value that is not known is a gap.
func graph(list []float64, cells int) (text string, last float64) {
	list = list[max(0, len(list)-cells):]
	known := false
	line := make([]rune, 0, cells)
	for _, v := range list {
		if math.IsNaN(v) {
			line = append(line, ' ')
			continue
		}
		known, last = true, v
		at := int(v * float64(len(levels)))
		line = append(line, levels[max(0, min(len(levels)-1, at))])
	}
	for len(line) < cells {
		line = append(line, ' ')
	}
	if !known {
		return "", 0
	}
	return string(line), last
}
