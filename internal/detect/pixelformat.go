package detect

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// PixelHelp says what PixelFormat.Change reads.
const PixelHelp = "rgb or bgr; A..B, the range that 0..255 becomes; mean=X:Y:Z and std=X:Y:Z of the planes, in 0..255; letterbox, letterbox-topleft or stretch; pad=N"

// String is what Change would make the same of.
func (f PixelFormat) String() string {
	if f.Mean == f.of(f.Mean[0]) && f.Std == f.of(f.Std[0]) {
		at := func(v float32) string {
			return strconv.FormatFloat(float64((v-f.Mean[0])/f.Std[0]), 'g', 4, 32)
		}
		return fmt.Sprintf("%s,%s..%s,%s,pad=%d", f.Order, at(0), at(255), f.Resize, f.Pad)
	}
	three := func(v [3]float32) string {
		return fmt.Sprintf("%g:%g:%g", v[0], v[1], v[2])
	}
	return fmt.Sprintf("%s,mean=%s,std=%s,%s,pad=%d", f.Order, three(f.Mean), three(f.Std), f.Resize, f.Pad)
}

func (f PixelFormat) of(v float32) [3]float32 { return [3]float32{v, v, v} }

// Change sets what a list such as "rgb,0..1" names; the rest stays.
func (f *PixelFormat) Change(list string) error {
	for _, word := range strings.Split(list, ",") {
		if err := f.change(strings.TrimSpace(word)); err != nil {
			return fmt.Errorf("pixels %q: %w; want %s, separated by commas", list, err, PixelHelp)
		}
	}
	return nil
}

func (f *PixelFormat) change(word string) (err error) {
	switch word {
	case "rgb", "bgr":
		f.Order = word
		return nil
	case Letterbox, LetterboxTopLeft, Stretch:
		f.Resize = word
		return nil
	}
	if low, high, ok := strings.Cut(word, ".."); ok {
		a, errA := strconv.ParseFloat(low, 32)
		b, errB := strconv.ParseFloat(high, 32)
		if errA != nil || errB != nil || !(b-a >= 1e-6 && b-a <= 1e6 && math.Abs(a) <= 1e6) {
			return fmt.Errorf("%q is no range", word)
		}
		std := 255 / (b - a)
		f.Mean, f.Std = f.of(float32(-a*std)), f.of(float32(std))
		return nil
	}
	name, value, _ := strings.Cut(word, "=")
	switch name {
	case "mean":
		f.Mean, err = threeNumbers(value, -1e6)
	case "std":
		f.Std, err = threeNumbers(value, 1e-6)
	case "pad":
		var pad uint64
		pad, err = strconv.ParseUint(value, 10, 8)
		f.Pad = uint8(pad)
	default:
		return fmt.Errorf("%q is none of these", word)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", word, err)
	}
	return nil
}

// threeNumbers reads X:Y:Z, each at least so much.
func threeNumbers(text string, least float64) (v [3]float32, err error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return v, fmt.Errorf("it has to be three numbers, X:Y:Z")
	}
	for i, p := range parts {
		n, err := strconv.ParseFloat(p, 32)
		if err != nil || !(n >= least && n <= 1e6) {
			return v, fmt.Errorf("%q is no number that makes sense", p)
		}
		v[i] = float32(n)
	}
	return v, nil
}
