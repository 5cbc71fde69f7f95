package coco

import (
	"image"
	"image/color"

	"trtact/internal/detect"
)

// Colour conversion to eight-bit RGB, with libjpeg's arithmetic for JPEG and
// libwebp's for WebP: the decoders behind OpenCV and Pillow. Both store chroma
// at half size as a rule and interpolate it with a triangle filter: a sample is
// 3/4 the nearer and 1/4 the farther chroma value in each direction.

// toPixels copies a decoded image.
func toPixels(img image.Image, format string) detect.Pixels {
	b := img.Bounds()
	px := detect.Pixels{W: b.Dx(), H: b.Dy(), RGB: make([]uint8, 3*b.Dx()*b.Dy())}
	switch m := img.(type) {
	case *image.YCbCr:
		fromYCbCr(px, m, format == "WebP")
	case *image.NYCbCrA:
		fromYCbCr(px, &m.YCbCr, format == "WebP")
	case *image.Gray:
		for y := range px.H {
			row, out := m.Pix[y*m.Stride:][:px.W], px.RGB[3*y*px.W:]
			for x, v := range row {
				out[3*x], out[3*x+1], out[3*x+2] = v, v, v
			}
		}
	case *image.Gray16:
		for y := range px.H {
			row, out := m.Pix[y*m.Stride:], px.RGB[3*y*px.W:]
			for x := range px.W {
				v := row[2*x] // the high byte
				out[3*x], out[3*x+1], out[3*x+2] = v, v, v
			}
		}
	case *image.RGBA:
		// Without transparency in all these formats but TIFF, which stores
		// colours already multiplied by it; either way they are taken as they are.
		strip(px, m.Pix, m.Stride, 4, 1)
	case *image.NRGBA:
		strip(px, m.Pix, m.Stride, 4, 1)
	case *image.RGBA64:
		strip(px, m.Pix, m.Stride, 8, 2)
	case *image.NRGBA64:
		strip(px, m.Pix, m.Stride, 8, 2)
	case *image.CMYK:
		fromCMYK(px, m)
	case *image.Paletted:
		fromPalette(px, m)
	default:
		for y := range px.H {
			for x := range px.W {
				c := color.NRGBAModel.Convert(img.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
				out := px.RGB[3*(y*px.W+x):]
				out[0], out[1], out[2] = c.R, c.G, c.B
			}
		}
	}
	return px
}

// strip takes the first three channels of rows of pixels that are size bytes
// wide with a step of step bytes from channel to channel.
func strip(px detect.Pixels, pix []uint8, stride, size, step int) {
	for y := range px.H {
		row, out := pix[y*stride:], px.RGB[3*y*px.W:]
		for x := range px.W {
			p := row[size*x:]
			out[3*x], out[3*x+1], out[3*x+2] = p[0], p[step], p[2*step]
		}
	}
}

// fromCMYK mixes by multiplication: an ink of 255 leaves nothing of its colour.
func fromCMYK(px detect.Pixels, m *image.CMYK) {
	for y := range px.H {
		row, out := m.Pix[y*m.Stride:], px.RGB[3*y*px.W:]
		for x := range px.W {
			light := 255 - int(row[4*x+3])
			for c := range 3 {
				out[3*x+c] = uint8(light - int(row[4*x+c])*light>>8)
			}
		}
	}
}

func fromPalette(px detect.Pixels, m *image.Paletted) {
	var table [256][3]uint8
	for i, entry := range m.Palette {
		c := color.NRGBAModel.Convert(entry).(color.NRGBA)
		table[i&0xff] = [3]uint8{c.R, c.G, c.B}
	}
	for y := range px.H {
		row, out := m.Pix[y*m.Stride:][:px.W], px.RGB[3*y*px.W:]
		for x, v := range row {
			copy(out[3*x:3*x+3], table[v][:])
		}
	}
}

// fromYCbCr converts row by row; chroma rows are first brought to full width and
// height.
func fromYCbCr(px detect.Pixels, m *image.YCbCr, webp bool) {
	u := upsampler{ratio: m.SubsampleRatio, w: px.W, h: px.H, webp: webp}
	cb, cr := make([]uint8, px.W+2), make([]uint8, px.W+2)
	convert := jfifRow
	if webp {
		convert = videoRow
	}
	for y := range px.H {
		u.row(cb, m.Cb, m.CStride, y)
		u.row(cr, m.Cr, m.CStride, y)
		convert(px.RGB[3*y*px.W:][:3*px.W], m.Y[y*m.YStride:][:px.W], cb[:px.W], cr[:px.W])
	}
}

// jfifRow is JFIF's conversion (full range BT.601) in libjpeg's 16-bit fixed
// point: R = Y + 1.402 Cr', G = Y - 0.344136 Cb' - 0.714136 Cr', B = Y + 1.772 Cb'.
func jfifRow(out, luma, cb, cr []uint8) {
	const (
		half = 1 << 15
		crR  = 91881  // 1.40200 * 65536
		cbG  = 22554  // 0.34414 * 65536
		crG  = 46802  // 0.71414 * 65536
		cbB  = 116130 // 1.77200 * 65536
	)
	cb, cr = cb[:len(luma)], cr[:len(luma)]
	out = out[:3*len(luma)]
	for x, l := range luma {
		y, b, r := int32(l), int32(cb[x])-128, int32(cr[x])-128
		p := out[3*x : 3*x+3 : 3*x+3]
		p[0] = clamp(y + (crR*r+half)>>16)
		p[1] = clamp(y + (half-cbG*b-crG*r)>>16)
		p[2] = clamp(y + (cbB*b+half)>>16)
	}
}

// videoRow is the conversion from BT.601's limited range (luma 16 to 235), which
// WebP uses: R = 1.164 (Y-16) + 1.596 Cr', and so on.
func videoRow(out, luma, cb, cr []uint8) {
	const half = 1 << 15
	for x, l := range luma {
		y, b, r := 76309*(int32(l)-16)+half, int32(cb[x])-128, int32(cr[x])-128
		out[3*x] = clamp((y + 104597*r) >> 16)
		out[3*x+1] = clamp((y - 25675*b - 53279*r) >> 16)
		out[3*x+2] = clamp((y + 132201*b) >> 16)
	}
}

func clamp(v int32) uint8 {
	if uint32(v) > 255 {
		if v < 0 {
			return 0
		}
		return 255
	}
	return uint8(v)
}

// upsampler brings rows of one chroma plane to the luma plane's size.
type upsampler struct {
	ratio image.YCbCrSubsampleRatio
	w, h  int // of luma
	webp  bool
}

// row fills out with chroma of luma row y.
func (u *upsampler) row(out, plane []uint8, stride, y int) {
	halfW, halfH := (u.w+1)/2, (u.h+1)/2
	line := func(i, width int) []uint8 { return plane[i*stride:][:width] }
	switch u.ratio {
	case image.YCbCrSubsampleRatio444:
		copy(out, line(y, u.w))
	case image.YCbCrSubsampleRatio422:
		if halfW <= 2 { // libjpeg's filter needs three samples
			repeat(out, line(y, halfW), 2)
			return
		}
		widen(out, line(y, halfW))
	case image.YCbCrSubsampleRatio420:
		if halfW <= 2 && !u.webp {
			repeat(out, line(y/2, halfW), 2)
			return
		}
		near := y / 2
		far := near - 1 + 2*(y%2)
		far = min(max(far, 0), halfH-1)
		widenBetween(out, line(near, halfW), line(far, halfW), u.webp)
	case image.YCbCrSubsampleRatio440:
		near := y / 2
		far := min(max(near-1+2*(y%2), 0), halfH-1)
		a, b := line(near, u.w), line(far, u.w)
		bias := 1 + y%2
		for x := range a {
			out[x] = uint8((3*int(a[x]) + int(b[x]) + bias) >> 2)
		}
	case image.YCbCrSubsampleRatio411:
		repeat(out, line(y, (u.w+3)/4), 4)
	case image.YCbCrSubsampleRatio410:
		repeat(out, line(y/2, (u.w+3)/4), 4)
	}
}

// repeat copies every value n times.
func repeat(out, in []uint8, n int) {
	for x := range out {
		out[x] = in[min(x/n, len(in)-1)]
	}
}

// widen doubles a row: two outputs for every input, 3/4 it and 1/4 the neighbour
// on that side; the rounding alternates so that it does not drift.
func widen(out, in []uint8) {
	last := len(in) - 1
	for i, v := range in {
		left, right := in[max(i-1, 0)], in[min(i+1, last)]
		out[2*i] = uint8((3*int(v) + int(left) + 1) >> 2)
		out[2*i+1] = uint8((3*int(v) + int(right) + 2) >> 2)
	}
}

// widenBetween doubles a row that lies between two rows of input, 3/4 near and
// 1/4 far. libjpeg adds 8 and 7 in turn before it divides by 16; libwebp rounds
// by steps of its own.
func widenBetween(out, near, far []uint8, webp bool) {
	if webp {
		widenWebP(out, near, far)
		return
	}
	last := len(near) - 1
	sum := func(i int) int { return 3*int(near[i]) + int(far[i]) }
	before, here := sum(0), sum(0)
	for i := range near {
		after := here
		if i < last {
			after = sum(i + 1)
		}
		out[2*i] = uint8((3*here + before + 8) >> 4)
		out[2*i+1] = uint8((3*here + after + 7) >> 4)
		before, here = here, after
	}
}

// widenWebP is libwebp's form of the same filter: both diagonals of the four
// chroma values around a pixel are averaged, then the nearest value with that.
func widenWebP(out, near, far []uint8) {
	mix := func(a, b, c, d int) uint8 { // a nearest, b beside, c above or below, d across
		sum := a + b + c + d + 8
		diagonal := (sum + 2*(b+c)) >> 3
		return uint8((a + diagonal) >> 1)
	}
	out[0] = uint8((3*int(near[0]) + int(far[0]) + 2) >> 2)
	for i := 1; i < len(near); i++ {
		nl, nr, fl, fr := int(near[i-1]), int(near[i]), int(far[i-1]), int(far[i])
		out[2*i-1] = mix(nl, nr, fl, fr)
		out[2*i] = mix(nr, nl, fr, fl)
	}
	last := len(near) - 1
	out[2*last+1] = uint8((3*int(near[last]) + int(far[last]) + 2) >> 2)
}
