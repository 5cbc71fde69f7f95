// From an image to a network's input: scale, pad, order, normalise.
package detect

import (
	"fmt"
	"math"
)

// Transform maps between a source image and the network's input:
// input = source*Scale + Pad.
type Transform struct {
	Width  int     `json:"width"` // of the source image
	Height int     `json:"height"`
	ScaleX float64 `json:"scale_x"`
	ScaleY float64 `json:"scale_y"`
	PadX   float64 `json:"pad_x"`
	PadY   float64 `json:"pad_y"`
}

// placement says where the scaled image of w x h lands in the input: its size
// and the margins left and above. The letterbox rounds as Ultralytics does: the
// size to the nearest pixel, the odd pixel of padding to the right and bottom.
func (s *Spec) placement(w, h int) (width, height, left, top int, err error) {
	width, height = s.Width, s.Height
	switch s.Pixels.Resize {
	case Stretch:
		return width, height, 0, 0, nil
	case Letterbox, LetterboxTopLeft:
		r := min(float64(s.Width)/float64(w), float64(s.Height)/float64(h))
		width = min(max(int(math.RoundToEven(float64(w)*r)), 1), s.Width)
		height = min(max(int(math.RoundToEven(float64(h)*r)), 1), s.Height)
		if s.Pixels.Resize == Letterbox {
			left = int(math.RoundToEven(float64(s.Width-width)/2 - 0.1))
			top = int(math.RoundToEven(float64(s.Height-height)/2 - 0.1))
		}
		return width, height, left, top, nil
	}
	return 0, 0, 0, 0, fmt.Errorf("resize %q: want %s, %s or %s", s.Pixels.Resize, Letterbox, LetterboxTopLeft, Stretch)
}

// Fitted is a picture as networks of a Spec see it, before its bytes become numbers:
// resized and padded to the size of their input.
type Fitted struct {
	Pixels Pixels
	Place  Transform
}

// Fit resizes and pads one image. It may be called from several goroutines at once.
func (s *Spec) Fit(p Pixels) (Fitted, error) {
	if err := p.check(); err != nil {
		return Fitted{}, err
	}
	if s.Width <= 0 || s.Height <= 0 {
		return Fitted{}, fmt.Errorf("input %q is 3x%dx%d: want a positive size", s.Input, s.Height, s.Width)
	}
	width, height, left, top, err := s.placement(p.W, p.H)
	if err != nil {
		return Fitted{}, err
	}
	out := Pixels{W: s.Width, H: s.Height, RGB: make([]uint8, 3*s.Width*s.Height)}
	if width < s.Width || height < s.Height {
		for i := range out.RGB {
			out.RGB[i] = s.Pixels.Pad
		}
	}
	err = resizeRows(p, width, height, s.Pixels.Interpolation, func(y int, row []uint8) {
		copy(out.RGB[3*((top+y)*s.Width+left):], row)
	})
	return Fitted{Pixels: out, Place: Transform{Width: p.W, Height: p.H,
		ScaleX: float64(width) / float64(p.W), ScaleY: float64(height) / float64(p.H),
		PadX: float64(left), PadY: float64(top)}}, err
}

// Normalise writes a picture of the input's size into dst, 3*Height*Width values, planes
// in the order of the Spec. It may be called from several goroutines at once.
func (s *Spec) Normalise(p Pixels, dst []float32) error {
	if err := p.check(); err != nil {
		return err
	}
	plane := p.W * p.H
	if p.W != s.Width || p.H != s.Height || len(dst) != 3*plane {
		return fmt.Errorf("input %q is 3x%dx%d, picture has %dx%d pixels, buffer %d values", s.Input, s.Height, s.Width, p.W, p.H, len(dst))
	}
	table, err := s.Pixels.table()
	if err != nil {
		return err
	}
	first, third := 0, 2 // the channel of the source that each plane shows
	if s.Pixels.Order == "bgr" {
		first, third = 2, 0
	}
	d0, d1, d2 := dst[:plane], dst[plane:2*plane], dst[2*plane:]
	t0, t1, t2 := &table[0], &table[1], &table[2]
	for i := range d0 {
		pixel := p.RGB[3*i : 3*i+3]
		d0[i] = t0[pixel[first]]
		d1[i] = t1[pixel[1]]
		d2[i] = t2[pixel[third]]
	}
	return nil
}

// table is the normalised value of every level of every plane.
func (f PixelFormat) table() (*[3][256]float32, error) {
	if f.Order != "rgb" && f.Order != "bgr" {
		return nil, fmt.Errorf("channel order %q: want rgb or bgr", f.Order)
	}
	var t [3][256]float32
	for c := range t {
		if f.Std[c] == 0 {
			return nil, fmt.Errorf("standard deviation of channel %d is 0: want what pixels are divided by, such as 255", c)
		}
		for v := range t[c] {
			t[c][v] = (float32(v) - f.Mean[c]) / f.Std[c]
		}
	}
	return &t, nil
}

// source maps a box from input pixels to the source image and clips it there.
// ok is false when nothing of it lies inside.
func (t Transform) source(b [4]float32) (box [4]float32, ok bool) {
	x := func(v float32) float32 {
		return float32(min(max((float64(v)-t.PadX)/t.ScaleX, 0), float64(t.Width)))
	}
	y := func(v float32) float32 {
		return float32(min(max((float64(v)-t.PadY)/t.ScaleY, 0), float64(t.Height)))
	}
	box = [4]float32{x(b[0]), y(b[1]), x(b[2]), y(b[3])}
	return box, box[2] > box[0] && box[3] > box[1]
}
