package coco

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"

	"trtact/internal/fault"
)

// DefaultMaxBad is the share of images that may be unreadable before a run stops:
// a few broken downloads are life, more means the wrong folder.
const DefaultMaxBad = 0.05

// Loader streams images through a function that decodes and, usually, resizes
// them, on several goroutines, and hands the results over one by one in the
// order of Images. Only InFlight of them exist at a time, however long the list.
type Loader[T any] struct {
	Images []Image
	// Read makes what is wanted of one image; it runs on several goroutines at
	// once. An error marked fault.BadInput, as Decode's are, counts as a broken
	// image; any other ends the run.
	Read func(Image) (T, error)
	// Workers is the number of goroutines; default runtime.GOMAXPROCS.
	Workers int
	// InFlight bounds the results made but not yet used up; default 2 x Workers.
	InFlight int
	// MaxBad is the share of broken images that is let pass; default
	// DefaultMaxBad. Negative: none.
	MaxBad float64
}

// Each calls use for every readable image, in order, from the caller's
// goroutine; i is the image's place in Images. Broken images are left out and
// reported; when they are more than MaxBad of all, the run ends with a
// fault.BadInput error. All goroutines have ended when Each returns.
func (l *Loader[T]) Each(ctx context.Context, use func(i int, value T) error) (*BadImages, error) {
	workers := l.Workers
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	inFlight := l.InFlight
	if inFlight < 1 {
		inFlight = 2 * workers
	}
	bad := NewBadImages(len(l.Images), l.MaxBad)

	type outcome struct {
		value T
		err   error
	}
	type job struct {
		image Image
		done  chan outcome
	}
	ctx, cancel := context.WithCancel(ctx)
	jobs := make(chan job)
	queue := make(chan job, inFlight-1) // what use waits for, in order; the head is in hand
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for range min(workers, inFlight) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := range jobs {
				value, err := l.Read(j.image)
				j.done <- outcome{value, err}
			}
		}()
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		defer close(queue)
		defer close(jobs)
		for _, im := range l.Images {
			j := job{im, make(chan outcome, 1)}
			select {
			case queue <- j:
			case <-ctx.Done():
				return
			}
			select {
			case jobs <- j:
			case <-ctx.Done():
				return
			}
		}
	}()

	for i := range l.Images {
		var got outcome
		select {
		case j, open := <-queue:
			if !open {
				return bad, ctx.Err()
			}
			select {
			case got = <-j.done:
			case <-ctx.Done():
				return bad, ctx.Err()
			}
		case <-ctx.Done():
			return bad, ctx.Err()
		}
		if got.err != nil {
			if err := bad.Add(l.Images[i], got.err); err != nil {
				return bad, err
			}
			continue
		}
		if err := use(i, got.value); err != nil {
			return bad, err
		}
	}
	return bad, nil
}

// BadImages counts the images of a run that could not be read, and ends the run
// when they are too many. Safe for use by several goroutines.
type BadImages struct {
	mu    sync.Mutex
	total int
	share float64
	list  []BadImage
}

// BadImage is one that could not be read.
type BadImage struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// NewBadImages counts for a run of total images; maxShare as Loader.MaxBad.
func NewBadImages(total int, maxShare float64) *BadImages {
	if maxShare == 0 {
		maxShare = DefaultMaxBad
	}
	return &BadImages{total: total, share: max(maxShare, 0)}
}

// Add notes and logs a broken image. It returns nil when the run may go on; err
// itself when it is not an image's fault; and a fault.BadInput error that names
// the first broken image when there are too many of them.
func (b *BadImages) Add(image Image, err error) error {
	if fault.Code(err) != fault.CodeBadInput || errors.Is(err, context.Canceled) {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, BadImage{image.Path, err.Error()})
	switch {
	case float64(len(b.list)) <= b.share*float64(b.total):
		slog.Warn("image left out: " + err.Error())
		return nil
	case b.total == 1:
		return err
	}
	return fault.BadInput(fmt.Errorf("%d of %d images could not be read, more than the %g %% allowed; the first: %s",
		len(b.list), b.total, 100*b.share, b.list[0].Why))
}

// List is the broken images so far.
func (b *BadImages) List() []BadImage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]BadImage(nil), b.list...)
}
