package coco

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"trtact/internal/fault"
)

func numbered(n int) []Image {
	images := make([]Image, n)
	for i := range images {
		images[i] = Image{ID: int64(i + 1), Path: fmt.Sprintf("%03d.jpg", i)}
	}
	return images
}

func TestBadImages(t *testing.T) {
	for _, c := range []struct {
		name   string
		count  int
		broken []int64
		maxBad float64
		used   int
		code   int
	}{
		{"5 % is let pass", 100, []int64{1, 7, 50, 51, 100}, 0, 95, 0},
		{"more is not", 100, []int64{1, 2, 3, 4, 5, 6}, 0, 0, fault.CodeBadInput},
		{"the only one", 1, []int64{1}, 0, 0, fault.CodeBadInput},
		{"one of ten", 10, []int64{4}, 0, 3, fault.CodeBadInput},
		{"one of ten, 10 % allowed", 10, []int64{4}, 0.1, 9, 0},
		{"none allowed", 100, []int64{3}, -1, 2, fault.CodeBadInput},
	} {
		t.Run(c.name, func(t *testing.T) {
			used := 0
			bad := NewBadImages(c.count, c.maxBad)
			var err error
			for _, im := range numbered(c.count) {
				if !slices.Contains(c.broken, im.ID) {
					used++
				} else if err = bad.Add(im, fault.BadInput(fmt.Errorf("decode image %s: broken", im.Path))); err != nil {
					break
				}
			}
			if fault.Code(err) != c.code || used != c.used {
				t.Errorf("used %d, error %v; want %d and code %d", used, err, c.used, c.code)
			}
			if c.code == 0 && len(bad.List()) != len(c.broken) {
				t.Errorf("bad images %v, want %v", bad.List(), c.broken)
			}
			if err != nil && !strings.Contains(err.Error(), numbered(c.count)[c.broken[0]-1].Path) {
				t.Errorf("error %q does not name the first broken image", err)
			}
		})
	}
}

// What is no image's fault ends a run at once and is not counted.
func TestBadImagesOfOtherCauses(t *testing.T) {
	bad := NewBadImages(100, 0)
	for _, cause := range []error{errors.New("boom"), context.Canceled, fault.BadInput(fmt.Errorf("decode: %w", context.Canceled))} {
		if err := bad.Add(Image{}, cause); err != cause {
			t.Errorf("%v, want %v", err, cause)
		}
	}
	if len(bad.List()) != 0 {
		t.Errorf("counted: %v", bad.List())
	}
}
