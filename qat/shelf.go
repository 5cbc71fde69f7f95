// What is kept of samples on the device, so that it need not be made again: samples are
// not changed at random.
package qat

import (
	"log/slog"
	"sync"

	"trtact/internal/compute"
	"trtact/internal/rss"
)

// shelf holds a place of the same size for each of some samples. Several goroutines may
// use it.
type shelf struct {
	device *compute.Device
	bytes  int   // of a sample
	asked  int64 // Options.CacheBytes

	mu      sync.Mutex
	kept    map[int]place // by the sample's number
	free    []place       // for further ones
	left    int           // how many more places may be made
	buffers []*compute.Buffer
}

// place is where a sample is kept.
type place struct {
	compute.Address
	inputs bool // they are there, too
}

// plus is the address so many bytes on.
func (p place) plus(bytes int) compute.Address {
	return compute.Address{Buffer: p.Buffer, At: p.At + bytes}
}

func newShelf(d *compute.Device, asked int64) *shelf {
	return &shelf{device: d, asked: asked, kept: map[int]place{}}
}

func (s *shelf) close() {
	for _, b := range s.buffers {
		b.Close()
	}
}

// open keeps so many samples from now on: all else that training takes is allocated. A
// GPU, which stops for it, gives the memory at once, others as samples come.
func (s *shelf) open(samples int) {
	s.left, s.free = int(min(s.room()/int64(s.bytes), int64(samples))), nil
	if s.device.Name() != "cpu" {
		s.grow(s.left)
	}
}

// grow makes places for so many samples. Where somebody else has the memory there will
// be none.
func (s *shelf) grow(samples int) {
	if samples == 0 {
		return
	}
	b, err := s.device.Alloc(samples * s.bytes)
	if err != nil {
		slog.Debug("no more samples are kept on the device", "samples", len(s.kept), "why", err.Error())
		s.left = 0
		return
	}
	s.left -= samples
	s.buffers = append(s.buffers, b)
	for i := range samples {
		s.free = append(s.free, place{Address: compute.Address{Buffer: b, At: i * s.bytes}})
	}
}

// room is the memory for samples: what was asked for, else of a GPU half of what is
// free, of a machine a quarter, 1 GiB at most.
func (s *shelf) room() int64 {
	const most = 1 << 30
	switch {
	case s.asked != 0:
		return max(0, s.asked)
	case s.device.Name() == "cpu":
		return min(most, rss.Machine()/4)
	}
	free, _, err := s.device.Memory()
	if err != nil {
		return 0
	}
	return int64(free / 2)
}

// space is the memory of the places that there are or may be.
func (s *shelf) space() int64 { return int64(len(s.free)+s.left) * int64(s.bytes) }

// get is a sample's place, if it is kept.
func (s *shelf) get(id int) (p place, kept bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, kept = s.kept[id]
	return p, kept
}

// reserve takes a place for a sample, if there is one left.
func (s *shelf) reserve() (p place, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) == 0 && s.left > 0 {
		s.grow(1)
	}
	if len(s.free) == 0 {
		return p, false
	}
	p, s.free = s.free[0], s.free[1:]
	return p, true
}

// keep says that a reserved place holds a sample.
func (s *shelf) keep(id int, p place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.kept[id]; known { // another goroutine was as quick
		s.free = append(s.free, p)
		return
	}
	s.kept[id] = p
}
