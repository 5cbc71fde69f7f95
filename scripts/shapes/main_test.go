package main

import (
	"bytes"
	"encoding/json"
	"image"
	"os"
	"path/filepath"
	"testing"
)

// The same seed must give the same bytes on every machine and at any number of
// pictures: the bundled detector's README names pictures by seed alone.
func TestSameSeedSameBytes(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	if err := generate(a, 3, 5, 80); err != nil {
		t.Fatal(err)
	}
	if err := generate(b, 2, 5, 80); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"000000.jpg", "000001.jpg"} {
		left, err := os.ReadFile(filepath.Join(a, "images", name))
		if err != nil {
			t.Fatal(err)
		}
		right, err := os.ReadFile(filepath.Join(b, "images", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(left, right) {
			t.Errorf("%s differs between two runs", name)
		}
	}
	if err := generate(b, 2, 6, 80); err != nil {
		t.Fatal(err)
	}
	left, _ := os.ReadFile(filepath.Join(a, "images", "000000.jpg"))
	right, _ := os.ReadFile(filepath.Join(b, "images", "000000.jpg"))
	if bytes.Equal(left, right) {
		t.Error("another seed gives the same picture")
	}
}

func TestAnnotations(t *testing.T) {
	dir := t.TempDir()
	const n = 40
	if err := generate(dir, n, 9, 80); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "annotations.json"))
	if err != nil {
		t.Fatal(err)
	}
	var set dataset
	if err := json.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Images) != n || len(set.Categories) != int(classCount) {
		t.Fatalf("%d images, %d categories", len(set.Images), len(set.Categories))
	}
	seen := map[int]int{}
	for _, a := range set.Annotations {
		p := set.Images[a.Image-1]
		box := image.Rect(a.Box[0], a.Box[1], a.Box[0]+a.Box[2], a.Box[1]+a.Box[3])
		if box.Empty() || !box.In(image.Rect(0, 0, p.Width, p.Height)) {
			t.Errorf("annotation %d: box %v outside its %dx%d picture", a.ID, box, p.Width, p.Height)
		}
		if a.Area < 1 || a.Area > a.Box[2]*a.Box[3] {
			t.Errorf("annotation %d: area %d in a box of %dx%d", a.ID, a.Area, a.Box[2], a.Box[3])
		}
		seen[a.Category]++
	}
	for c := 1; c <= int(classCount); c++ {
		if seen[c] < 5 {
			t.Errorf("class %s occurs %d times in %d pictures", classNames[c-1], seen[c], n)
		}
	}
}

// A shape's box is that of the pixels one can see: painting over the right half
// of a square leaves the box of its left half.
func TestBoxOfVisiblePixels(t *testing.T) {
	s := newScene(1, 1)
	for i := range s.owner {
		s.owner[i] = -1
	}
	rect := func(x0, y0, x1, y1 float64) [][]point {
		return [][]point{{{x0, y0}, {x1, y0}, {x1, y1}, {x0, y1}}}
	}
	s.shapes = []shape{{class: square}, {class: cross}}
	s.shapes[0].pixels = s.fill(rect(20, 30, 60, 50), colour{}, colour{}, 0, 1, 0)
	s.shapes[1].pixels = s.fill(rect(40, 20, 80, 60), colour{}, colour{}, 0, 1, 1)
	got := s.visible()
	want := []view{
		{square, image.Rect(20, 30, 40, 50), 400},
		{cross, image.Rect(40, 20, 80, 60), 1600},
	}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %v, want %v", got, want)
	}
	// With four fifths covered, the square counts as hidden.
	s.fill(rect(24, 20, 80, 60), colour{}, colour{}, 0, 1, 1)
	if got := s.visible(); len(got) != 1 || got[0].class != cross {
		t.Errorf("a square with a tenth to be seen is still annotated: %v", got)
	}
}

// The pictures in examples/shapes are those that its README says they are.
func TestBundledPictures(t *testing.T) {
	bundled := filepath.Join("..", "..", "examples", "shapes")
	for _, c := range []struct {
		folder string
		n      int
		seed   uint64
		files  []string
	}{
		{"calib", 24, 3, []string{"images/000000.jpg", "images/000023.jpg"}},
		{"val", 64, 7, []string{"images/000000.jpg", "images/000063.jpg", "annotations.json"}},
	} {
		dir := t.TempDir()
		if err := generate(dir, c.n, c.seed, 80); err != nil {
			t.Fatal(err)
		}
		for _, name := range c.files {
			want, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(bundled, c.folder, name))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s/%s is not what seed %d gives", c.folder, name, c.seed)
			}
		}
	}
}
