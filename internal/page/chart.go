// Charts, drawn by gonum/plot. In the page they are SVG whose colours are the page's
// own variables, so that they follow light and dark; as files they are PNG.

package page

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"image/color"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Chart is a drawing with a text below.
type Chart struct {
	Title   string // also what is read out in its place
	Caption string
	// Small charts stay small where there is little room; others can be scrolled.
	Small bool

	width, height vg.Length
	plot          func(theme) (*plot.Plot, error)
}

// theme is the colours of a chart by what they are for.
type theme struct {
	ink, muted, line           color.Color
	float, floatFill           color.Color // of the float model
	int8, other                color.Color // of the quantised one, and of something else
	background                 color.Color
	text, titleSize, labelSize font.Length
}

func sizes(t theme) theme {
	t.text, t.titleSize, t.labelSize = vg.Points(10), vg.Points(11.5), vg.Points(9.5)
	return t
}

// markers are colours that stand for the page's variables while a chart is drawn.
func markers() (theme, *strings.Replacer) {
	list := []struct {
		name  string
		shade color.RGBA
	}{
		{"ink", color.RGBA{255, 0, 1, 255}}, {"muted", color.RGBA{255, 0, 2, 255}}, {"line", color.RGBA{255, 0, 3, 255}},
		{"float", color.RGBA{255, 0, 4, 255}}, {"float-fill", color.RGBA{255, 0, 5, 255}},
		{"int8", color.RGBA{255, 0, 6, 255}}, {"other", color.RGBA{255, 0, 7, 255}}, {"bg", color.RGBA{255, 0, 8, 255}},
	}
	var pairs []string
	for _, c := range list {
		pairs = append(pairs, fmt.Sprintf("#%02X%02X%02X", c.shade.R, c.shade.G, c.shade.B), "var(--"+c.name+")")
	}
	return sizes(theme{
		ink: list[0].shade, muted: list[1].shade, line: list[2].shade, float: list[3].shade, floatFill: list[4].shade,
		int8: list[5].shade, other: list[6].shade, background: list[7].shade,
	}), strings.NewReplacer(pairs...)
}

// paper is the colours of the page in light.
func paper() theme {
	return sizes(theme{
		ink: color.RGBA{0x1d, 0x23, 0x28, 255}, muted: color.RGBA{0x5d, 0x68, 0x72, 255}, line: color.RGBA{0xdf, 0xe3, 0xe7, 255},
		float: color.RGBA{0x3b, 0x6e, 0xa8, 255}, floatFill: color.RGBA{0xc7, 0xd9, 0xec, 255},
		int8: color.RGBA{0xd9, 0x54, 0x1e, 255}, other: color.RGBA{0x4d, 0x8b, 0x57, 255}, background: color.White,
	})
}

// svg is the chart as an element of the page.
func (c Chart) svg() (template.HTML, error) {
	t, variables := markers()
	canvas := vgsvg.New(c.width, c.height)
	if err := c.draw(t, draw.New(canvas)); err != nil {
		return "", err
	}
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return "", fmt.Errorf("draw %q: %w", c.Title, err)
	}
	// The size goes away, and the header of a file of its own.
	_, element, found := strings.Cut(out.String(), "<svg")
	_, inside, closed := strings.Cut(element, ">")
	if !found || !closed {
		return "", fmt.Errorf("draw %q: no drawing came out", c.Title)
	}
	head := fmt.Sprintf(`<svg viewBox="0 0 %.6g %.6g" role="img" aria-label="%s">`, c.width.Points(), c.height.Points(), html.EscapeString(clean(c.Title)))
	return template.HTML(head + variables.Replace(fitTexts(inside))), nil
}

// fitTexts gives every text the width that the drawing has reckoned with, whichever font
// the reader's machine has.
func fitTexts(drawing string) string {
	text := regexp.MustCompile(`(?s)<text ([^>]*font-size:([0-9.]+)px[^>]*)>([^<]*)</text>`)
	return text.ReplaceAllStringFunc(drawing, func(element string) string {
		m := text.FindStringSubmatch(element)
		size, err := strconv.ParseFloat(m[2], 64)
		words := html.UnescapeString(m[3])
		if err != nil || strings.TrimSpace(words) == "" {
			return element
		}
		f := sans(vg.Points(size))
		face := font.DefaultCache.Lookup(f, f.Size)
		width := face.Width(words)
		return fmt.Sprintf(`<text %s textLength="%.4g" lengthAdjust="spacingAndGlyphs">%s</text>`, m[1], width.Points(), m[3])
	})
}

// PNG writes the chart as a picture.
func (c Chart) PNG(w io.Writer) error {
	canvas := vgimg.NewWith(vgimg.UseWH(c.width, c.height), vgimg.UseDPI(144), vgimg.UseBackgroundColor(color.White))
	if err := c.draw(paper(), draw.New(canvas)); err != nil {
		return err
	}
	_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
	return err
}

// draw paints the chart. The library panics on data that it cannot draw, such as an
// axis of no length; here that is an error.
func (c Chart) draw(t theme, to draw.Canvas) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("draw %q: %v", c.Title, r)
		}
	}()
	p, err := c.plot(t)
	if err != nil {
		return fmt.Errorf("draw %q: %w", c.Title, err)
	}
	p.Draw(to)
	return nil
}

// newPlot is an empty plot in the page's style: no frame, few and quiet lines.
func newPlot(t theme, title string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.Title.Text = clean(title)
	p.Title.TextStyle.Font = sans(t.titleSize)
	p.Title.TextStyle.Color = t.ink
	p.Title.Padding = vg.Points(8)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color = t.line
		a.LineStyle.Color = t.line
		a.LineStyle.Width = vg.Points(0.8)
		a.Label.TextStyle.Font = sans(t.text)
		a.Label.TextStyle.Color = t.muted
		a.Label.Padding = vg.Points(3)
		a.Tick.Label.Font = sans(t.labelSize)
		a.Tick.Label.Color = t.muted
		a.Tick.LineStyle.Color = t.line
		a.Tick.Length = vg.Points(3)
		a.Padding = vg.Points(2)
	}
	p.Legend.TextStyle.Font = sans(t.text)
	p.Legend.TextStyle.Color = t.ink
	p.Legend.Top = true
	p.Legend.ThumbnailWidth = vg.Points(16)
	p.Legend.Padding = vg.Points(3)
	return p
}

func sans(size font.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

func line(c color.Color, width float64) draw.LineStyle {
	return draw.LineStyle{Color: c, Width: vg.Points(width)}
}
