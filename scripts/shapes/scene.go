// One picture: a background, some clutter that belongs to no class, and shapes
// painted over each other with a record of which shape owns which pixel.

package main

import (
	"image"
	"image/draw"
	"math"
	"math/rand/v2"

	"golang.org/x/image/vector"
)

const (
	minSide, maxSide = 160, 256
	maxShapes        = 6
	smallest         = 10.0 // radius in pixels
	// A shape of which less than this part is to be seen is not annotated.
	minVisible = 0.4
	// Least distance of a shape's colour from the background's mean below it,
	// summed over red, green, blue.
	minContrast = 120
)

type colour [3]float64

type scene struct {
	rng    *rand.Rand
	pixels *image.RGBA
	owner  []int // per pixel: index into shapes, or -1
	shapes []shape
}

type shape struct {
	class  class
	pixels int // before anything was painted over it
}

type view struct {
	class  class
	box    image.Rectangle
	pixels int
}

func newScene(seed, index uint64) *scene {
	rng := rand.New(rand.NewPCG(seed, index))
	w := minSide + rng.IntN(maxSide-minSide+1)
	h := minSide + rng.IntN(maxSide-minSide+1)
	s := &scene{rng: rng, pixels: image.NewRGBA(image.Rect(0, 0, w, h)), owner: make([]int, w*h)}
	for i := range s.owner {
		s.owner[i] = -1
	}
	s.paintBackground()
	for range rng.IntN(8) {
		s.paintStroke()
	}
	for range 1 + rng.IntN(maxShapes) {
		s.paintShape()
	}
	s.addNoise(rng.Float64() * 9)
	return s
}

// visible lists the shapes that are to be seen, with the box of their pixels.
func (s *scene) visible() []view {
	views := make([]view, len(s.shapes))
	w := s.pixels.Rect.Dx()
	for i, owner := range s.owner {
		if owner >= 0 {
			v := &views[owner]
			v.pixels++
			v.box = v.box.Union(image.Rect(i%w, i/w, i%w+1, i/w+1))
		}
	}
	var seen []view
	for i, v := range views {
		v.class = s.shapes[i].class
		if v.pixels >= 24 && float64(v.pixels) >= minVisible*float64(s.shapes[i].pixels) {
			seen = append(seen, v)
		}
	}
	return seen
}

func (s *scene) colour() colour {
	return colour{s.rng.Float64() * 255, s.rng.Float64() * 255, s.rng.Float64() * 255}
}

// paintBackground mixes two colours by a gradient, smooth noise and, now and
// then, stripes.
func (s *scene) paintBackground() {
	a, b := s.colour(), s.colour()
	for i := range b { // not too far apart, or shapes drown in the texture
		b[i] = a[i] + (b[i]-a[i])*(0.2+0.5*s.rng.Float64())
	}
	size := s.pixels.Rect.Size()
	turn := s.rng.Float64() * 2 * math.Pi
	sin, cos := math.Sincos(turn)
	noise := newNoise(s.rng, 6+s.rng.Float64()*40)
	fine := newNoise(s.rng, 2+s.rng.Float64()*4)
	stripes := 0.0
	if s.rng.IntN(3) == 0 {
		stripes = 0.4 * s.rng.Float64()
	}
	period := 5 + s.rng.Float64()*25
	for y := range size.Y {
		for x := range size.X {
			along := (float64(x)*cos + float64(y)*sin)
			t := 0.5 + 0.3*along/float64(size.X+size.Y) + 0.8*(noise.at(x, y)-0.5) + 0.3*(fine.at(x, y)-0.5)
			t += stripes * math.Sin(2*math.Pi*along/period)
			s.set(x, y, mix(a, b, min(max(t, 0), 1)))
		}
	}
}

// paintStroke draws a line or a sliver: clutter that a detector has to ignore.
func (s *scene) paintStroke() {
	size := s.pixels.Rect.Size()
	centre := point{s.rng.Float64() * float64(size.X), s.rng.Float64() * float64(size.Y)}
	length, width := 10+s.rng.Float64()*80, 0.5+s.rng.Float64()*2.5
	bar := [][]point{{{-1, -1}, {1, -1}, {1, 1}, {-1, 1}}}
	paths := place(bar, centre, math.Sqrt(length*width), length/width, s.rng.Float64()*math.Pi)
	s.fill(paths, s.colour(), s.colour(), 0, 0.5+0.5*s.rng.Float64(), -1)
}

func (s *scene) paintShape() {
	c := class(s.rng.IntN(int(classCount)))
	size := s.pixels.Rect.Size()
	largest := 0.42 * float64(min(size.X, size.Y))
	radius := smallest * math.Pow(largest/smallest, s.rng.Float64())
	centre := point{s.rng.Float64() * float64(size.X), s.rng.Float64() * float64(size.Y)}
	stretch := math.Exp((s.rng.Float64() - 0.5) * 0.5)
	paths := place(outline(c, s.rng.Float64()), centre, radius, stretch, s.rng.Float64()*2*math.Pi)

	under := s.mean(centre, radius)
	main := s.colour()
	for distance(main, under) < minContrast {
		main = s.colour()
	}
	second, stripes := main, 0.0
	if s.rng.IntN(4) == 0 { // striped, in two colours that both stand out
		second = mix(main, s.colour(), 0.5)
		if distance(second, under) >= minContrast {
			stripes = max(3, radius*(0.15+0.3*s.rng.Float64()))
		}
	}
	index := len(s.shapes)
	s.shapes = append(s.shapes, shape{class: c})
	if s.rng.IntN(4) == 0 && radius > 10 { // an edge of another colour
		edge := s.colour()
		s.shapes[index].pixels = s.fill(paths, edge, edge, 0, 1, index)
		inner := place(paths, point{}, 1, 1, 0)
		for _, path := range inner {
			for i := range path {
				path[i].x = centre.x + (path[i].x-centre.x)*0.85
				path[i].y = centre.y + (path[i].y-centre.y)*0.85
			}
		}
		if c != ring {
			s.fill(inner, main, second, stripes, 1, index)
		}
		return
	}
	s.shapes[index].pixels = s.fill(paths, main, second, stripes, 0.8+0.2*s.rng.Float64(), index)
}

// fill paints paths and gives pixels that are covered by half or more to the
// owner. It returns their number.
func (s *scene) fill(paths [][]point, a, b colour, stripes, opacity float64, owner int) int {
	size := s.pixels.Rect.Size()
	r := vector.NewRasterizer(size.X, size.Y)
	r.DrawOp = draw.Src
	trace(r, paths)
	mask := image.NewAlpha(s.pixels.Rect)
	r.Draw(mask, mask.Rect, image.Opaque, image.Point{})
	count := 0
	for i, cover := range mask.Pix {
		if cover == 0 {
			continue
		}
		x, y := i%size.X, i/size.X
		c := a
		if stripes > 0 && math.Mod(float64(x+y), 2*stripes) < stripes {
			c = b
		}
		s.set(x, y, mix(s.get(x, y), c, opacity*float64(cover)/255))
		if cover >= 128 {
			s.owner[i] = owner
			count++
		}
	}
	return count
}

func (s *scene) addNoise(sigma float64) {
	for i := range s.pixels.Pix {
		if i%4 != 3 {
			s.pixels.Pix[i] = level(float64(s.pixels.Pix[i]) + sigma*s.rng.NormFloat64())
		}
	}
}

// mean is the mean colour of a square of pixels around a centre.
func (s *scene) mean(centre point, radius float64) colour {
	around := image.Rect(int(centre.x-radius), int(centre.y-radius), int(centre.x+radius)+1, int(centre.y+radius)+1)
	around = around.Intersect(s.pixels.Rect)
	var sum colour
	for y := around.Min.Y; y < around.Max.Y; y++ {
		for x := around.Min.X; x < around.Max.X; x++ {
			c := s.get(x, y)
			for i := range sum {
				sum[i] += c[i]
			}
		}
	}
	for i := range sum {
		sum[i] /= float64(max(1, around.Dx()*around.Dy()))
	}
	return sum
}

func (s *scene) get(x, y int) colour {
	p := s.pixels.Pix[s.pixels.PixOffset(x, y):]
	return colour{float64(p[0]), float64(p[1]), float64(p[2])}
}

func (s *scene) set(x, y int, c colour) {
	p := s.pixels.Pix[s.pixels.PixOffset(x, y):]
	p[0], p[1], p[2], p[3] = level(c[0]), level(c[1]), level(c[2]), 255
}

func level(v float64) uint8 { return uint8(min(max(math.Round(v), 0), 255)) }

func mix(a, b colour, t float64) colour {
	return colour{a[0] + (b[0]-a[0])*t, a[1] + (b[1]-a[1])*t, a[2] + (b[2]-a[2])*t}
}

func distance(a, b colour) float64 {
	return math.Abs(a[0]-b[0]) + math.Abs(a[1]-b[1]) + math.Abs(a[2]-b[2])
}

// noise is value noise: random values on a grid, smoothly interpolated.
type noise struct {
	cell   float64
	values []float64 // noiseGrid x noiseGrid, repeated
}

const noiseGrid = 64

func newNoise(rng *rand.Rand, cell float64) noise {
	n := noise{cell: cell, values: make([]float64, noiseGrid*noiseGrid)}
	for i := range n.values {
		n.values[i] = rng.Float64()
	}
	return n
}

// at is the noise at a pixel, in 0..1.
func (n noise) at(x, y int) float64 {
	fx, fy := float64(x)/n.cell, float64(y)/n.cell
	ix, iy := int(fx), int(fy)
	tx, ty := ease(fx-float64(ix)), ease(fy-float64(iy))
	value := func(x, y int) float64 { return n.values[y%noiseGrid*noiseGrid+x%noiseGrid] }
	top := value(ix, iy)*(1-tx) + value(ix+1, iy)*tx
	bottom := value(ix, iy+1)*(1-tx) + value(ix+1, iy+1)*tx
	return top*(1-ty) + bottom*ty
}

func ease(t float64) float64 { return t * t * (3 - 2*t) }
