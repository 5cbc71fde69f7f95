package detect

import (
	"image"
	"image/color"
	"testing"
)

func TestDrawPaintsOnlyWhereItShould(t *testing.T) {
	p := Pixels{W: 320, H: 240, RGB: make([]uint8, 3*320*240)}
	for i := range p.RGB {
		p.RGB[i] = 90
	}
	found := []Detection{
		{X1: 100, Y1: 80, X2: 200, Y2: 180, Class: 2, Score: 0.9},
		{X1: 10, Y1: 150, X2: 60, Y2: 200, Class: 7, Score: 0.1},
		{X1: -50, Y1: -50, X2: 5000, Y2: 9000, Class: 1, Score: 0.05},
	}
	img, err := Draw(p, found, []string{"a", "b", "car"}, DrawOptions{Score: 0.5, Labels: true})
	if err != nil {
		t.Fatal(err)
	}
	grey := color.RGBA{90, 90, 90, 255}
	for _, at := range []image.Point{{150, 130}, {30, 150}, {0, 0}, {319, 239}, {250, 130}} {
		if got := img.RGBAAt(at.X, at.Y); got != grey {
			t.Errorf("pixel %v is %v: want it left alone", at, got)
		}
	}
	for _, at := range []image.Point{{100, 130}, {199, 130}, {150, 179}} {
		if got := img.RGBAAt(at.X, at.Y); got != classColour(2) {
			t.Errorf("pixel %v is %v: want the box's colour %v", at, got, classColour(2))
		}
	}
	text := 0
	for y := 60; y < 80; y++ {
		for x := 100; x < 200; x++ {
			if got := img.RGBAAt(x, y); int(got.G) > int(classColour(2).G)+60 && got != grey {
				text++ // white on violet
			}
		}
	}
	if text < 20 {
		t.Errorf("%d pixels of text above the box", text)
	}
	if p.RGB[3*(130*320+100)] != 90 {
		t.Error("the source picture was painted on")
	}
	if _, err := Draw(p, found, nil, DrawOptions{Labels: true}); err != nil { // boxes far outside, no names
		t.Error(err)
	}
	if _, err := Draw(Pixels{W: 1, H: 1, RGB: []uint8{1, 2, 3}}, found, nil, DrawOptions{Labels: true}); err != nil {
		t.Error(err)
	}
	if _, err := Draw(Pixels{W: 10, H: 10}, nil, nil, DrawOptions{}); err == nil {
		t.Error("a picture without pixels was drawn")
	}
}

func TestSideBySide(t *testing.T) {
	a, b := image.NewRGBA(image.Rect(0, 0, 50, 40)), image.NewRGBA(image.Rect(10, 10, 40, 90))
	for i := range b.Pix {
		b.Pix[i] = 200
	}
	out, err := SideBySide([]image.Image{a, b}, []string{"float", "int8"})
	if err != nil {
		t.Fatal(err)
	}
	if d := out.Bounds(); d.Dx() != 50+4+30 || d.Dy() <= 80 {
		t.Errorf("size %v", d)
	}
	if got := out.RGBAAt(60, out.Bounds().Dy()-1); got != (color.RGBA{200, 200, 200, 200}) {
		t.Errorf("the second picture is not where it should be: %v", got)
	}
	if out, err := SideBySide(nil, nil); err != nil || out.Bounds().Dx() != 0 {
		t.Errorf("no pictures: %v, %v", out.Bounds(), err)
	}
}

func TestClassColoursDiffer(t *testing.T) {
	seen := map[color.RGBA]int{}
	for c := range 80 {
		if before, ok := seen[classColour(c)]; ok {
			t.Errorf("classes %d and %d are both %v", before, c, classColour(c))
		}
		seen[classColour(c)] = c
	}
	classColour(-5)
}
