package detect

import "fmt"

// Pixels is a decoded picture: RGB holds H rows of W pixels, three bytes each
// in the order red, green, blue, without padding.
type Pixels struct {
	W, H int
	RGB  []uint8
}

// check says what is wrong with a picture, if anything is.
func (p Pixels) check() error {
	if p.W <= 0 || p.H <= 0 || len(p.RGB)/3/p.W < p.H {
		return fmt.Errorf("picture of %dx%d pixels with %d bytes: want 3 bytes a pixel", p.W, p.H, len(p.RGB))
	}
	return nil
}
