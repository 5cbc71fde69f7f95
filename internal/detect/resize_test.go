package detect

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"trtact/internal/testenv"
)

// noise is a picture of random bytes, the hardest case for a resampler.
func noise(w, h int, seed uint64) Pixels {
	r := rand.New(rand.NewPCG(seed, 1))
	p := Pixels{W: w, H: h, RGB: make([]uint8, 3*w*h)}
	for i := range p.RGB {
		p.RGB[i] = uint8(r.Uint32())
	}
	return p
}

// resizeOracle writes the raw results of OpenCV (or Pillow, for the
// antialiased filters) for a list of cases.
const resizeOracle = `
import json, sys, cv2, numpy as np
from PIL import Image
cv2.setNumThreads(1)
for c in json.load(open(sys.argv[1])):
    x = np.fromfile(c["in"], np.uint8).reshape(c["h"], c["w"], 3)
    size = (c["to_w"], c["to_h"])
    if c["interpolation"].endswith("-antialias"):
        kind = {"linear-antialias": Image.BILINEAR, "cubic-antialias": Image.BICUBIC}[c["interpolation"]]
        y = np.array(Image.fromarray(x).resize(size, kind))
    else:
        y = cv2.resize(x, size, interpolation={"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}[c["interpolation"]])
    y.tofile(c["out"])
`

// resized is what resizeRows makes of a picture.
func resized(p Pixels, w, h int, interpolation string) (Pixels, error) {
	out := Pixels{W: w, H: h}
	err := resizeRows(p, w, h, interpolation, func(_ int, row []uint8) { out.RGB = append(out.RGB, row...) })
	return out, err
}

func TestResizeAgainstOpenCV(t *testing.T) {
	testenv.Python(t)
	sizes := [][4]int{{640, 480, 640, 640}, {640, 480, 640, 480}, {640, 427, 320, 214}, {500, 375, 640, 480}, {333, 500, 426, 640},
		{640, 480, 416, 416}, {640, 480, 352, 352}, {612, 612, 320, 320}, {101, 77, 203, 155}, {203, 155, 101, 77}, {1, 1, 32, 32},
		{2, 3, 17, 5}, {3, 2, 64, 64}, {1, 50, 20, 20}, {50, 1, 7, 7}, {1280, 960, 640, 480}, {1921, 1081, 640, 360}, {640, 480, 640, 479},
		{640, 480, 1, 1}, {37, 41, 37, 80}, {37, 41, 80, 41}, {5, 5, 4, 4}}
	var cases []map[string]any
	var pictures []Pixels
	dir := t.TempDir()
	for i, s := range sizes {
		for _, interpolation := range []string{Linear, Cubic, LinearAntialias, CubicAntialias} {
			p := noise(s[0], s[1], uint64(i))
			if interpolation == CubicAntialias {
				// Pillow clamps to 0..255 between its passes, we do not: keep clear.
				for j, v := range p.RGB {
					p.RGB[j] = 64 + v/2
				}
			}
			in := filepath.Join(dir, fmt.Sprintf("%d.%s", i, interpolation))
			if err := os.WriteFile(in, p.RGB, 0o600); err != nil {
				t.Fatal(err)
			}
			pictures = append(pictures, p)
			cases = append(cases, map[string]any{"in": in, "out": in + ".out", "w": s[0], "h": s[1],
				"to_w": s[2], "to_h": s[3], "interpolation": interpolation})
		}
	}
	list, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "cases.json")
	if err := os.WriteFile(path, list, 0o600); err != nil {
		t.Fatal(err)
	}
	testenv.RunPython(t, resizeOracle, path)
	const tolerance = 1 // levels of 255: OpenCV and Pillow round on the way, we once
	for i, c := range cases {
		w, h, interpolation := c["to_w"].(int), c["to_h"].(int), c["interpolation"].(string)
		t.Run(fmt.Sprintf("%s/%dx%d_to_%dx%d", interpolation, c["w"], c["h"], w, h), func(t *testing.T) {
			want, err := os.ReadFile(c["out"].(string))
			if err != nil {
				t.Fatal(err)
			}
			got, err := resized(pictures[i], w, h, interpolation)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.RGB) != len(want) {
				t.Fatalf("%d bytes, want %d", len(got.RGB), len(want))
			}
			worst, differ := 0, 0
			for j := range want {
				d := int(math.Abs(float64(got.RGB[j]) - float64(want[j])))
				worst = max(worst, d)
				if d > 0 {
					differ++
				}
			}
			if worst > tolerance {
				t.Errorf("differs by %d levels; %d of %d samples differ", worst, differ, len(want))
			}
		})
	}
}

func TestResizeKeepsFlatPictures(t *testing.T) {
	for _, interpolation := range []string{Linear, Cubic, LinearAntialias, CubicAntialias} {
		for _, v := range []uint8{0, 1, 127, 254, 255} {
			p := Pixels{W: 61, H: 47, RGB: make([]uint8, 3*61*47)}
			for i := range p.RGB {
				p.RGB[i] = v
			}
			for _, size := range [][2]int{{320, 320}, {13, 7}, {61, 9}, {200, 47}} {
				got, err := resized(p, size[0], size[1], interpolation)
				if err != nil {
					t.Fatal(err)
				}
				for i, b := range got.RGB {
					if b != v {
						t.Fatalf("%s to %v: sample %d is %d, want %d", interpolation, size, i, b, v)
					}
				}
			}
		}
	}
}

func TestResizeRefusesNonsense(t *testing.T) {
	good := noise(8, 8, 1)
	for name, f := range map[string]func() error{
		"short":    func() error { _, err := resized(Pixels{W: 8, H: 8, RGB: make([]uint8, 10)}, 4, 4, Linear); return err },
		"empty":    func() error { _, err := resized(Pixels{}, 4, 4, Linear); return err },
		"filter":   func() error { _, err := resized(good, 4, 4, "lanczos"); return err },
		"overflow": func() error { _, err := resized(Pixels{W: math.MaxInt, H: 2, RGB: good.RGB}, 4, 4, Linear); return err },
	} {
		if f() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func BenchmarkPreprocess(b *testing.B) {
	for _, size := range [][2]int{{640, 480}, {500, 375}, {1280, 960}, {1920, 1080}} {
		b.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(b *testing.B) {
			s := &Spec{Width: 640, Height: 640, Pixels: pixelFormat("yolov5")}
			p, dst := noise(size[0], size[1], 1), make([]float32, 3*640*640)
			for b.Loop() {
				if _, err := preprocess(s, p, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("normalise alone", func(b *testing.B) {
		s := &Spec{Width: 640, Height: 640, Pixels: pixelFormat("yolov5")}
		p, dst := noise(640, 640, 1), make([]float32, 3*640*640)
		for b.Loop() {
			if err := s.Normalise(p, dst); err != nil {
				b.Fatal(err)
			}
		}
	})
}
