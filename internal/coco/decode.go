package coco

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"

	"trtact/internal/detect"
	"trtact/internal/fault"
)

// Images are decoded to what OpenCV's imread gives (in the order RGB), since
// that is what detectors were trained and measured on: eight bits a channel,
// transparency dropped, grey spread over three channels, EXIF orientation
// applied, subsampled chroma interpolated as libjpeg does (ycbcr.go).

// Limits on one image file. The header is read before memory for pixels is
// asked for.
const (
	MaxImagePixels = 64 << 20
	MaxImageBytes  = 256 << 20
)

// imageFormat is a file format, known by its first bytes ('?' is any byte).
type imageFormat struct {
	name   string
	magic  string
	config func([]byte) (image.Config, error)
	decode func([]byte) (image.Image, error)
}

func imageFormats() []imageFormat {
	return []imageFormat{
		{"JPEG", "\xff\xd8", func(b []byte) (image.Config, error) { return jpeg.DecodeConfig(bytes.NewReader(b)) },
			decodeJPEG},
		{"PNG", "\x89PNG\r\n\x1a\n", func(b []byte) (image.Config, error) { return png.DecodeConfig(bytes.NewReader(b)) },
			func(b []byte) (image.Image, error) { return png.Decode(bytes.NewReader(b)) }},
		{"BMP", "BM", func(b []byte) (image.Config, error) { return bmp.DecodeConfig(bytes.NewReader(b)) },
			func(b []byte) (image.Image, error) { return bmp.Decode(bytes.NewReader(b)) }},
		{"WebP", "RIFF????WEBP", func(b []byte) (image.Config, error) { return webp.DecodeConfig(bytes.NewReader(b)) },
			func(b []byte) (image.Image, error) { return webp.Decode(bytes.NewReader(b)) }},
		{"TIFF", "II*\x00", func(b []byte) (image.Config, error) { return tiff.DecodeConfig(bytes.NewReader(b)) },
			func(b []byte) (image.Image, error) { return tiff.Decode(bytes.NewReader(b)) }},
		{"TIFF", "MM\x00*", func(b []byte) (image.Config, error) { return tiff.DecodeConfig(bytes.NewReader(b)) },
			func(b []byte) (image.Image, error) { return tiff.Decode(bytes.NewReader(b)) }},
	}
}

// decodeJPEG puts up with a file whose last two bytes, the mark of its end, are missing, as
// other decoders do.
func decodeJPEG(data []byte) (image.Image, error) {
	img, err := jpeg.Decode(bytes.NewReader(data))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		end := bytes.NewReader([]byte("\xff\xd9"))
		img, err = jpeg.Decode(io.MultiReader(bytes.NewReader(data), end))
	}
	return img, err
}

func (f *imageFormat) fits(data []byte) bool {
	if len(data) < len(f.magic) {
		return false
	}
	for i := range len(f.magic) {
		if f.magic[i] != '?' && f.magic[i] != data[i] {
			return false
		}
	}
	return true
}

// Decode reads an image file: JPEG, PNG, BMP, WebP or TIFF, by its content. It
// keeps no state, so any number of goroutines may call it. Every failure is
// fault.BadInput: a missing file, an unknown or broken one, one beyond the
// limits.
func Decode(path string) (detect.Pixels, error) {
	data, err := readFile(path, MaxImageBytes)
	if err != nil {
		return detect.Pixels{}, fault.BadInput(fmt.Errorf("read image: %w", err))
	}
	px, err := DecodeBytes(data)
	if err != nil {
		return detect.Pixels{}, fault.BadInput(fmt.Errorf("decode image %s: %w", path, err))
	}
	return px, nil
}

// DecodeBytes decodes an image file's content.
func DecodeBytes(data []byte) (px detect.Pixels, err error) {
	defer recovered(&err)
	format, _, err := header(data)
	if err != nil {
		return px, err
	}
	img, err := format.decode(data)
	if err != nil {
		return px, fmt.Errorf("broken %s: %w", format.name, err)
	}
	if b := img.Bounds(); b.Empty() || b.Dx()*b.Dy() > MaxImagePixels {
		return px, fmt.Errorf("broken %s: %d x %d pixels", format.name, b.Dx(), b.Dy())
	}
	px = toPixels(img, format.name)
	return oriented(px, orientation(data, format.name)), nil
}

// DecodeSize reads an image's width and height from its header, as Decode would
// give them.
func DecodeSize(path string) (w, h int, err error) {
	// A JPEG's size and EXIF stand near its start; other formats may keep either
	// at the end.
	const start = 128 << 10
	data, err := readStart(path, start, MaxImageBytes)
	if err == nil && len(data) == start {
		if w, h, err := sizeOf(data); err == nil && data[0] == 0xff {
			return w, h, nil
		}
		data, err = readFile(path, MaxImageBytes)
	}
	if err != nil {
		return 0, 0, fault.BadInput(fmt.Errorf("read image: %w", err))
	}
	if w, h, err = sizeOf(data); err != nil {
		return 0, 0, fault.BadInput(fmt.Errorf("read image header of %s: %w", path, err))
	}
	return w, h, nil
}

func sizeOf(data []byte) (w, h int, err error) {
	defer recovered(&err)
	format, config, err := header(data)
	if err != nil {
		return 0, 0, err
	}
	if orientation(data, format.name) >= 5 { // lies on its side
		return config.Height, config.Width, nil
	}
	return config.Width, config.Height, nil
}

// header recognises the format and refuses sizes beyond the limits.
func header(data []byte) (imageFormat, image.Config, error) {
	for _, format := range imageFormats() {
		if !format.fits(data) {
			continue
		}
		config, err := format.config(data)
		if err != nil {
			return format, config, fmt.Errorf("broken %s header: %w", format.name, err)
		}
		if config.Width < 1 || config.Height < 1 {
			return format, config, fmt.Errorf("broken %s header: %d x %d pixels", format.name, config.Width, config.Height)
		}
		if int64(config.Width)*int64(config.Height) > MaxImagePixels {
			return format, config, fmt.Errorf("%d x %d pixels, more than the %d allowed: make it smaller", config.Width, config.Height, MaxImagePixels)
		}
		return format, config, nil
	}
	if len(data) == 0 {
		return imageFormat{}, image.Config{}, errors.New("the file is empty")
	}
	return imageFormat{}, image.Config{}, errors.New("not a JPEG, PNG, BMP, WebP or TIFF file")
}

// recovered turns a decoder's panic on a broken file into an error.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("broken file: %.200v", r)
	}
}

// oriented turns or mirrors a picture as EXIF's orientation 1 to 8 asks.
func oriented(px detect.Pixels, orientation int) detect.Pixels {
	if orientation < 2 || orientation > 8 {
		return px
	}
	w, h := px.W, px.H
	out := detect.Pixels{W: w, H: h, RGB: make([]uint8, len(px.RGB))}
	if orientation >= 5 {
		out.W, out.H = h, w
	}
	for y := range out.H {
		for x := range out.W {
			sx, sy := x, y
			switch orientation {
			case 2: // mirrored left to right
				sx = w - 1 - x
			case 3: // upside down
				sx, sy = w-1-x, h-1-y
			case 4: // mirrored top to bottom
				sy = h - 1 - y
			case 5: // transposed
				sx, sy = y, x
			case 6: // to be turned clockwise
				sx, sy = y, h-1-x
			case 7: // transposed over the other diagonal
				sx, sy = w-1-y, h-1-x
			case 8: // to be turned anticlockwise
				sx, sy = w-1-y, x
			}
			copy(out.RGB[3*(y*out.W+x):][:3], px.RGB[3*(sy*w+sx):][:3])
		}
	}
	return out
}
