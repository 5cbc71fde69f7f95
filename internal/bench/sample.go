package bench

import (
	"context"
	"strings"
	"time"

	"trtact/trt"
)

// Layer is the time of an engine's layer and its share of all layers' time.
type Layer struct {
	trt.LayerTime
	Share float64 `json:"share"`
	// Reformat: it computes nothing and only changes the layout or type in which
	// its nodes get or give a tensor.
	Reformat bool `json:"reformat,omitempty"`
}

// reformats says so of a layer by TensorRT's name for it, as in "Reformatting CopyNode
// for Input Tensor 0 to conv1", or by ours on the CPU.
func reformats(name string) bool {
	return strings.HasPrefix(name, "Reformatting CopyNode") || strings.HasPrefix(name, "Reorder")
}

// function times a function.
type function struct {
	run func() error
	now func() time.Time
}

// Function is a Timer that calls run, one call after the other, and takes the
// time that each needs for EndToEnd.
func Function(run func() error) Timer { return function{run, time.Now} }

func (f function) Time(ctx context.Context, o trt.TimeOptions) (trt.Block, error) {
	for range o.WarmUp {
		if err := ctx.Err(); err != nil {
			return trt.Block{}, err
		}
		if err := f.run(); err != nil {
			return trt.Block{}, err
		}
	}
	var b trt.Block
	start := f.now()
	for {
		if err := ctx.Err(); err != nil {
			return trt.Block{}, err
		}
		begin := f.now()
		if err := f.run(); err != nil {
			return trt.Block{}, err
		}
		end := f.now()
		b.Samples = append(b.Samples, trt.Sample{Start: ms(begin.Sub(start)), EndToEnd: ms(end.Sub(begin))})
		b.Wall = ms(end.Sub(start))
		if len(b.Samples) >= o.Iterations && end.Sub(start) >= o.Duration {
			return b, nil
		}
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
