package detect

import (
	"fmt"
	"math"
	"testing"
)

// TestLetterboxPlacement has the sizes and margins that Ultralytics' rule
// gives: size round(side*r), margins round(rest/2 -+ 0.1), halves to even.
func TestLetterboxPlacement(t *testing.T) {
	for _, c := range []struct{ w, h, inW, inH, width, height, left, top int }{
		{640, 480, 640, 640, 640, 480, 0, 80},
		{640, 427, 640, 640, 640, 427, 0, 106}, // 106.5 rows of padding: the odd one below
		{333, 500, 640, 640, 426, 640, 107, 0},
		{500, 375, 320, 320, 320, 240, 0, 40},
		{427, 640, 320, 320, 214, 320, 53, 0}, // 213.5 rounds to 214
		{429, 640, 320, 320, 214, 320, 53, 0}, // 214.5 too
		{100, 100, 640, 320, 320, 320, 160, 0},
		{5000, 3, 640, 640, 640, 1, 0, 319}, // never less than a pixel
	} {
		s := &Spec{Width: c.inW, Height: c.inH, Pixels: pixelFormat("yolov5")}
		width, height, left, top, err := s.placement(c.w, c.h)
		if err != nil || width != c.width || height != c.height || left != c.left || top != c.top {
			t.Errorf("%dx%d into %dx%d: %dx%d at %d,%d, %v: want %dx%d at %d,%d", c.w, c.h, c.inW, c.inH, width, height, left, top, err,
				c.width, c.height, c.left, c.top)
		}
	}
}

// preprocess is Fit and Normalise.
func preprocess(s *Spec, p Pixels, dst []float32) (Transform, error) {
	f, err := s.Fit(p)
	if err != nil {
		return Transform{}, err
	}
	return f.Place, s.Normalise(f.Pixels, dst)
}

func TestPreprocessPlanes(t *testing.T) {
	p := Pixels{W: 4, H: 2}
	for range 8 {
		p.RGB = append(p.RGB, 10, 20, 30)
	}
	for _, c := range []struct {
		family      string
		top         int        // first row of the picture
		pad, inside [3]float32 // values of the three planes
	}{
		{"yolov5", 2, [3]float32{114. / 255, 114. / 255, 114. / 255}, [3]float32{10. / 255, 20. / 255, 30. / 255}},
		{"yolox", 0, [3]float32{114, 114, 114}, [3]float32{30, 20, 10}},
		{"fastestdet", 0, [3]float32{}, [3]float32{30. / 255, 20. / 255, 10. / 255}},
		{"picodet", 0, [3]float32{}, [3]float32{(10 - 123.675) / 58.395, (20 - 116.28) / 57.12, (30 - 103.53) / 57.375}},
		{"nanodet", 0, [3]float32{}, [3]float32{(30 - 103.53) / 57.375, (20 - 116.28) / 57.12, (10 - 123.675) / 58.395}},
	} {
		t.Run(c.family, func(t *testing.T) {
			s := &Spec{Width: 8, Height: 8, Pixels: pixelFormat(c.family)}
			dst := make([]float32, 3*64)
			place, err := preprocess(s, p, dst)
			if err != nil {
				t.Fatal(err)
			}
			rows := 4
			if s.Pixels.Resize == Stretch {
				rows = 8
			}
			for ch := range 3 {
				for i, v := range dst[ch*64 : (ch+1)*64] {
					want := c.inside[ch]
					if y := i / 8; y < c.top || y >= c.top+rows {
						want = c.pad[ch]
					}
					if math.Abs(float64(v-want)) > 1e-6 {
						t.Fatalf("plane %d, element %d: %g, want %g", ch, i, v, want)
					}
				}
			}
			// The whole input region of the picture maps back to the whole picture.
			box, ok := place.source([4]float32{0, float32(c.top), 8, float32(c.top + rows)})
			if !ok || box != [4]float32{0, 0, 4, 2} {
				t.Errorf("maps back to %v", box)
			}
		})
	}
}

func TestPreprocessRefuses(t *testing.T) {
	p := noise(4, 4, 1)
	for i, s := range []*Spec{
		{Width: 8, Height: 8, Pixels: PixelFormat{Resize: "squeeze", Interpolation: Linear, Order: "rgb", Std: [3]float32{1, 1, 1}}},
		{Width: 8, Height: 8, Pixels: PixelFormat{Resize: Stretch, Interpolation: "none", Order: "rgb", Std: [3]float32{1, 1, 1}}},
		{Width: 8, Height: 8, Pixels: PixelFormat{Resize: Stretch, Interpolation: Linear, Order: "grb", Std: [3]float32{1, 1, 1}}},
		{Width: 8, Height: 8, Pixels: PixelFormat{Resize: Stretch, Interpolation: Linear, Order: "rgb"}},
		{Width: 8, Height: 9, Pixels: pixelFormat("yolov5")},
		{Width: -8, Height: -8, Pixels: pixelFormat("yolov5")},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			if _, err := preprocess(s, p, make([]float32, 3*64)); err == nil {
				t.Error("no error")
			}
		})
	}
	s := &Spec{Width: 8, Height: 8, Pixels: pixelFormat("yolov5")}
	if _, err := preprocess(s, Pixels{W: 100, H: 100, RGB: make([]uint8, 30)}, make([]float32, 3*64)); err == nil {
		t.Error("a short picture was taken")
	}
}
