// Drawing detections on a picture, and pictures side by side.
//
// A box is a coloured line between two dark ones and its label dark or light
// text on the colour, so both can be read on any background. A class has the
// same colour in every picture; neighbouring classes differ most.
package detect

import (
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"math"
	"slices"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// DrawOptions say what of the detections is drawn.
type DrawOptions struct {
	Score  float32 // detections below are left out
	Labels bool    // class and score beside each box
}

// Draw paints boxes over a copy of a picture, the best on top. names are the
// class names; a class without one is shown by its number.
func Draw(p Pixels, detections []Detection, names []string, o DrawOptions) (*image.RGBA, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	img := image.NewRGBA(image.Rect(0, 0, p.W, p.H))
	for i := range p.W * p.H {
		copy(img.Pix[4*i:4*i+3], p.RGB[3*i:3*i+3])
		img.Pix[4*i+3] = 255
	}
	size := min(max(float64(min(p.W, p.H))/32, 11), 40)
	face, err := textFace(size)
	if err != nil {
		return nil, err
	}
	defer face.Close()
	line := max(2, int(size/6))
	sorted := slices.Clone(detections)
	slices.SortStableFunc(sorted, func(a, b Detection) int { return cmp.Compare(a.Score, b.Score) })
	for _, d := range sorted {
		if d.Score < o.Score {
			continue
		}
		c := classColour(d.Class)
		box := image.Rect(int(math.Round(float64(d.X1))), int(math.Round(float64(d.Y1))), int(math.Round(float64(d.X2))), int(math.Round(float64(d.Y2))))
		frame(img, box.Inset(-1), line+2, color.RGBA{A: 160})
		frame(img, box, line, c)
		if o.Labels {
			label(img, face, box, fmt.Sprintf("%s %.2f", ClassName(names, d.Class), d.Score), c)
		}
	}
	return img, nil
}

// SideBySide puts pictures next to each other, each with its title above.
func SideBySide(images []image.Image, titles []string) (*image.RGBA, error) {
	width, height := 0, 0
	for _, img := range images {
		width += img.Bounds().Dx()
		height = max(height, img.Bounds().Dy())
	}
	const gap = 4
	width += gap * max(0, len(images)-1)
	size := min(max(float64(height)/32, 11), 40)
	face, err := textFace(size)
	if err != nil {
		return nil, err
	}
	defer face.Close()
	bar := 0
	if len(titles) > 0 {
		bar = int(size * 1.8)
	}
	out := image.NewRGBA(image.Rect(0, 0, width, height+bar))
	draw.Draw(out, out.Bounds(), image.NewUniform(color.RGBA{32, 32, 32, 255}), image.Point{}, draw.Src)
	x := 0
	for i, img := range images {
		b := img.Bounds()
		place := image.Rect(x, bar, x+b.Dx(), bar+b.Dy())
		draw.Draw(out, place, img, b.Min, draw.Src)
		if i < len(titles) {
			room := out.SubImage(image.Rect(x, 0, x+b.Dx(), bar)).(*image.RGBA)
			write(room, face, x+int(size/2), int(size*1.25), titles[i], color.RGBA{240, 240, 240, 255})
		}
		x += b.Dx() + gap
	}
	return out, nil
}

// ClassName is the name of a class, "class N" where it has none.
func ClassName(names []string, class int) string {
	if class >= 0 && class < len(names) {
		return names[class]
	}
	return fmt.Sprintf("class %d", class)
}

// classColour walks around the colour circle by the golden angle, which keeps
// any number of first classes far apart, at three brightnesses.
func classColour(class int) color.RGBA {
	const golden = 137.50776
	hue := math.Mod(float64(class)*golden, 360)
	value := []float64{1, 0.85, 0.7}[(class%3+3)%3]
	channel := func(shift float64) uint8 { // HSV with saturation 0.8
		k := math.Mod(shift+hue/60+6, 6)
		return uint8(math.Round(255 * value * (1 - 0.8*max(0, min(k, 4-k, 1)))))
	}
	return color.RGBA{channel(5), channel(3), channel(1), 255}
}

// textOn is black or white, whichever stands out more from a colour.
func textOn(c color.RGBA) color.RGBA {
	if 0.299*float64(c.R)+0.587*float64(c.G)+0.114*float64(c.B) > 140 {
		return color.RGBA{0, 0, 0, 255}
	}
	return color.RGBA{255, 255, 255, 255}
}

func textFace(size float64) (font.Face, error) {
	f, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, fmt.Errorf("read the font: %w", err)
	}
	return opentype.NewFace(f, &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingFull})
}

// frame draws the outline of a box, its lines inside.
func frame(img *image.RGBA, b image.Rectangle, line int, c color.RGBA) {
	ink := image.NewUniform(c)
	for _, side := range []image.Rectangle{
		image.Rect(b.Min.X, b.Min.Y, b.Max.X, b.Min.Y+line),
		image.Rect(b.Min.X, b.Max.Y-line, b.Max.X, b.Max.Y),
		image.Rect(b.Min.X, b.Min.Y+line, b.Min.X+line, b.Max.Y-line),
		image.Rect(b.Max.X-line, b.Min.Y+line, b.Max.X, b.Max.Y-line),
	} {
		draw.Draw(img, side.Intersect(img.Bounds()), ink, image.Point{}, draw.Over)
	}
}

// label writes on the box's colour above the box, or inside it where there is
// no room above, pushed into the picture.
func label(img *image.RGBA, face font.Face, box image.Rectangle, text string, c color.RGBA) {
	metrics := face.Metrics()
	height := (metrics.Ascent + metrics.Descent).Ceil()
	width := font.MeasureString(face, text).Ceil() + height/2
	bounds := img.Bounds()
	at := image.Rect(box.Min.X, box.Min.Y-height, box.Min.X+width, box.Min.Y)
	if at.Min.Y < bounds.Min.Y {
		at = at.Add(image.Pt(0, max(box.Min.Y, bounds.Min.Y)-at.Min.Y))
	}
	if at.Max.X > bounds.Max.X {
		at = at.Add(image.Pt(bounds.Max.X-at.Max.X, 0))
	}
	if at.Min.X < bounds.Min.X {
		at = at.Add(image.Pt(bounds.Min.X-at.Min.X, 0))
	}
	draw.Draw(img, at.Intersect(bounds), image.NewUniform(c), image.Point{}, draw.Src)
	write(img, face, at.Min.X+height/4, at.Min.Y+metrics.Ascent.Ceil(), text, textOn(c))
}

func write(img *image.RGBA, face font.Face, x, baseline int, text string, c color.RGBA) {
	d := font.Drawer{Dst: img, Src: image.NewUniform(c), Face: face, Dot: fixed.P(x, baseline)}
	d.DrawString(text)
}
