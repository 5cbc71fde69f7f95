package detect

// Pixels is a decoded picture: RGB holds H rows of W pixels, three bytes each
// in the order red, green, blue, without padding.
type Pixels struct {
	W, H int
	RGB  []uint8
}
