package coco

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"trtact/internal/fault"
)

// DefaultMaxBad is the share of images that may be unreadable before a run stops:
// a few broken downloads are life, more means the wrong folder.
const DefaultMaxBad = 0.05

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

// NewBadImages counts for a run of total images. maxShare is the share of broken ones
// that is let pass: 0 is DefaultMaxBad, negative none.
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
