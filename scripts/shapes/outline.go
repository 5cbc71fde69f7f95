// The six classes and their outlines.

package main

import (
	"math"

	"golang.org/x/image/vector"
)

type class int

const (
	circle class = iota
	square
	triangle
	star
	cross
	ring
	classCount
)

var classNames = [classCount]string{"circle", "square", "triangle", "star", "cross", "ring"}

type point struct{ x, y float64 }

// outline gives the closed paths of a class within the unit circle; a second
// path that runs the other way round is a hole. thin in 0..1 sets the width of
// what has one: the star's waist, the cross's bars, the ring.
func outline(c class, thin float64) [][]point {
	switch c {
	case square:
		return [][]point{polygon(4, math.Pi/4)}
	case triangle:
		return [][]point{polygon(3, -math.Pi/2)}
	case star:
		inner := 0.36 + 0.12*thin
		var p []point
		for i := range 10 {
			r := 1.0
			if i%2 == 1 {
				r = inner
			}
			a := -math.Pi/2 + float64(i)*math.Pi/5
			p = append(p, point{r * math.Cos(a), r * math.Sin(a)})
		}
		return [][]point{p}
	case cross:
		b := 0.22 + 0.16*thin
		return [][]point{{
			{-b, -1}, {b, -1}, {b, -b}, {1, -b}, {1, b}, {b, b},
			{b, 1}, {-b, 1}, {-b, b}, {-1, b}, {-1, -b}, {-b, -b},
		}}
	case ring:
		outer, hole := polygon(48, 0), polygon(48, 0)
		r := 0.5 + 0.2*thin
		for i := range hole {
			hole[i].x, hole[i].y = hole[i].x*r, -hole[i].y*r
		}
		return [][]point{outer, hole}
	default:
		return [][]point{polygon(48, 0)}
	}
}

func polygon(corners int, turn float64) []point {
	p := make([]point, corners)
	for i := range p {
		a := turn + 2*math.Pi*float64(i)/float64(corners)
		p[i] = point{math.Cos(a), math.Sin(a)}
	}
	return p
}

// place stretches, turns and moves paths: radius in pixels, stretch the ratio
// of the axes, turn in radians.
func place(paths [][]point, centre point, radius, stretch, turn float64) [][]point {
	sin, cos := math.Sincos(turn)
	sx, sy := radius*math.Sqrt(stretch), radius/math.Sqrt(stretch)
	placed := make([][]point, len(paths))
	for i, path := range paths {
		for _, p := range path {
			x, y := p.x*sx, p.y*sy
			placed[i] = append(placed[i], point{centre.x + x*cos - y*sin, centre.y + x*sin + y*cos})
		}
	}
	return placed
}

func trace(r *vector.Rasterizer, paths [][]point) {
	for _, path := range paths {
		r.MoveTo(float32(path[0].x), float32(path[0].y))
		for _, p := range path[1:] {
			r.LineTo(float32(p.x), float32(p.y))
		}
		r.ClosePath()
	}
}
