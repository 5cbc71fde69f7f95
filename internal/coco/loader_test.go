package coco

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trtact/internal/detect"
	"trtact/internal/fault"
)

func numbered(n int) []Image {
	images := make([]Image, n)
	for i := range images {
		images[i] = Image{ID: int64(i + 1), Path: fmt.Sprintf("%03d.jpg", i)}
	}
	return images
}

func TestLoaderKeepsOrderAndBound(t *testing.T) {
	for _, c := range []struct{ count, workers, inFlight int }{{0, 2, 2}, {1, 4, 8}, {200, 4, 6}, {50, 8, 1}, {50, 1, 3}} {
		var alive, most atomic.Int64
		l := Loader[int64]{Images: numbered(c.count), Workers: c.workers, InFlight: c.inFlight,
			Read: func(im Image) (int64, error) {
				now := alive.Add(1)
				for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
				}
				if im.ID%3 == 0 {
					time.Sleep(time.Millisecond)
				}
				return im.ID, nil
			}}
		var got []int64
		bad, err := l.Each(context.Background(), func(i int, id int64) error {
			if int64(i+1) != id {
				t.Errorf("%+v: place %d got image %d", c, i, id)
			}
			got = append(got, id)
			alive.Add(-1)
			return nil
		})
		if err != nil || len(bad.List()) != 0 || len(got) != c.count || !slices.IsSorted(got) {
			t.Errorf("%+v: %d values, error %v, bad %v", c, len(got), err, bad.List())
		}
		if most.Load() > int64(c.inFlight) {
			t.Errorf("%+v: %d in flight, want at most %d", c, most.Load(), c.inFlight)
		}
	}
}

func TestLoaderCountsBrokenImages(t *testing.T) {
	read := func(broken ...int64) func(Image) (int64, error) {
		return func(im Image) (int64, error) {
			if slices.Contains(broken, im.ID) {
				return 0, fault.BadInput(fmt.Errorf("decode image %s: broken", im.Path))
			}
			return im.ID, nil
		}
	}
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
			l := Loader[int64]{Images: numbered(c.count), Read: read(c.broken...), MaxBad: c.maxBad}
			bad, err := l.Each(context.Background(), func(int, int64) error { used++; return nil })
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

func TestLoaderEndsOnErrorAndCancel(t *testing.T) {
	before := runtime.NumGoroutine()
	boom := errors.New("boom")
	identity := func(im Image) (int64, error) { return im.ID, nil }

	l := Loader[int64]{Images: numbered(100), Workers: 4, Read: identity}
	if _, err := l.Each(context.Background(), func(i int, _ int64) error {
		if i == 10 {
			return boom
		}
		return nil
	}); !errors.Is(err, boom) {
		t.Errorf("error of use: %v", err)
	}

	l.Read = func(im Image) (int64, error) {
		if im.ID == 5 {
			return 0, boom
		}
		return im.ID, nil
	}
	if _, err := l.Each(context.Background(), func(int, int64) error { return nil }); !errors.Is(err, boom) {
		t.Errorf("error of Read that is not the image's fault: %v", err)
	}

	l.Read = identity
	ctx, cancel := context.WithCancel(context.Background())
	_, err := l.Each(ctx, func(i int, _ int64) error {
		if i == 3 {
			cancel()
		}
		return nil
	})
	if fault.Code(err) != fault.CodeInterrupted {
		t.Errorf("cancelled: %v", err)
	}
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

func TestLoaderDecodesFiles(t *testing.T) {
	dir := t.TempDir()
	for i := range 30 {
		data := encodePNG(t, gradient(10+i, 8))
		if i == 17 {
			data = data[:len(data)/2]
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.png", i)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ds, err := Open(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	l := Loader[detect.Pixels]{Images: ds.Images, Read: func(im Image) (detect.Pixels, error) { return Decode(im.Path) }}
	used := 0
	bad, err := l.Each(context.Background(), func(i int, px detect.Pixels) error {
		used++
		if px.W != 10+i {
			t.Errorf("place %d: width %d", i, px.W)
		}
		return nil
	})
	if err != nil || used != 29 || len(bad.List()) != 1 || !strings.HasSuffix(bad.List()[0].Path, "17.png") {
		t.Errorf("used %d, bad %v, error %v", used, bad.List(), err)
	}
}
