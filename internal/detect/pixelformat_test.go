package detect

import "testing"

func TestPixelsChange(t *testing.T) {
	same := func(v float32) [3]float32 { return [3]float32{v, v, v} }
	for _, c := range []struct {
		list string
		want PixelFormat
		text string
	}{
		{"rgb,0..1", PixelFormat{Resize: Letterbox, Order: "rgb", Std: same(255), Pad: 114}, "rgb,0..1,letterbox,pad=114"},
		{"0..255", PixelFormat{Resize: Letterbox, Order: "bgr", Std: same(1), Pad: 114}, "bgr,0..255,letterbox,pad=114"},
		{"-1..1, stretch", PixelFormat{Resize: Stretch, Order: "bgr", Mean: same(127.5), Std: same(127.5), Pad: 114}, "bgr,-1..1,stretch,pad=114"},
		{"mean=1:2:3,std=4:5:6,pad=0,letterbox-topleft", PixelFormat{Resize: LetterboxTopLeft, Order: "bgr", Mean: [3]float32{1, 2, 3}, Std: [3]float32{4, 5, 6}},
			"bgr,mean=1:2:3,std=4:5:6,letterbox-topleft,pad=0"},
	} {
		f := PixelFormat{Resize: Letterbox, Order: "bgr", Mean: same(9), Std: same(7), Pad: 114}
		if err := f.Change(c.list); err != nil || f != c.want {
			t.Errorf("%q: %+v, %v, want %+v", c.list, f, err, c.want)
		}
		if got := f.String(); got != c.text {
			t.Errorf("%q: %s, want %s", c.list, got, c.text)
		}
		again := PixelFormat{}
		if err := again.Change(f.String()); err != nil || again != f {
			t.Errorf("%q is read as %+v, %v", f.String(), again, err)
		}
	}
	for _, list := range []string{"", "yuv", "1..0", "a..1", "mean=1:2", "std=0:1:1", "std=1:1:x", "pad=256", "pad=-1", "rgb,,0..1", "0..1e"} {
		f := PixelFormat{}
		if err := f.Change(list); err == nil {
			t.Errorf("%q: taken as %+v", list, f)
		}
	}
}
