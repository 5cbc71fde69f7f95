// How a step's images are spread over the device: side by side, and several together.
package qat

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"trtact/internal/compute"
	"trtact/internal/nn"
)

// split is how many batches are computed side by side, of how many images, on how many
// threads each.
type split struct{ workers, images, threads int }

func (s split) atOnce() int { return s.workers * s.images }

// split is what suits the device. Cores have an image each, which leaves their caches to
// it. A GPU wants large batches: kernels of one image leave most of it idle. Two of them
// side by side fill each other's gaps.
func (o *Options) split(d *compute.Device) split {
	if d.Name() != "cpu" {
		return o.batches(min(cmp.Or(o.Workers, o.Batch), o.images()), max(1, o.Threads))
	}
	cores := cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	workers := max(1, min(cores, o.images()))
	return split{workers, 1, max(1, o.Threads, cores/workers)}
}

// batches spreads a step's images over a GPU, at most so many at once, the same number
// every time.
func (o *Options) batches(most, threads int) split {
	at := max(1, most)
	for o.images()%at != 0 {
		at--
	}
	if at >= 4 && at%2 == 0 {
		return split{2, at / 2, threads}
	}
	return split{1, at, threads}
}

// makeTrainer compiles the student for the split. Images that cannot be computed together
// are computed side by side. On a GPU that nobody has told how many there shall be at once,
// there are as many as it has memory for.
func (t *training) makeTrainer(options nn.TrainOptions) error {
	wanted := t.split.atOnce()
	for {
		student := t.student.graph
		if t.split.images > 1 {
			together, err := nn.Together(student, options.Losses, t.split.images)
			if err != nil {
				slog.Debug("training images one by one", "why", err.Error())
				t.split.workers, t.split.images = t.split.atOnce(), 1
			} else {
				student = together
			}
		}
		options.Workers, options.Images, options.Threads = t.split.workers, t.split.images, t.split.threads
		var err error
		t.trainer, err = nn.NewTrainer(student, t.r.Device, options)
		var full *nn.NoRoom
		if !errors.As(err, &full) || full.Fits == 0 || t.o.Workers != 0 || t.split.atOnce() == 1 {
			if err == nil && t.split.atOnce() < wanted {
				slog.Info(fmt.Sprintf("training %d images at once instead of %d, for which the GPU's memory is too small", t.split.atOnce(), wanted))
			}
			return err
		}
		slog.Debug("fewer images at once", "why", err.Error())
		t.split = t.o.batches(min(full.Fits, t.split.atOnce()-1), t.split.threads)
	}
}
