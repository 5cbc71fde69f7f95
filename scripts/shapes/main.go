// Shapes generates the pictures that the bundled sample detector is trained,
// calibrated and measured on: circles, squares, triangles, stars, crosses and
// rings over textured backgrounds, as JPEG files with their boxes as COCO JSON.
// The same seed gives the same bytes, so a few pictures are kept in the tree
// and the thousands for training are made when they are wanted.
//
//	go run ./scripts/shapes -out DIR -n 64 -seed 1
//
// writes DIR/images/NNNNNN.jpg and DIR/annotations.json.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"

	"trtact/internal/atomicfile"
)

func main() {
	out := flag.String("out", "", "folder to write to")
	n := flag.Int("n", 64, "number of pictures")
	seed := flag.Uint64("seed", 1, "seed; picture i of a seed is always the same")
	quality := flag.Int("quality", 80, "JPEG quality")
	flag.Parse()
	if *out == "" || *n < 1 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := generate(*out, *n, *seed, *quality); err != nil {
		fmt.Fprintln(os.Stderr, "shapes:", err)
		os.Exit(1)
	}
}

// dataset is COCO's annotation file, as far as boxes need it.
type dataset struct {
	Info        map[string]string `json:"info"`
	Images      []picture         `json:"images"`
	Annotations []annotation      `json:"annotations"`
	Categories  []category        `json:"categories"`
}

type picture struct {
	ID       int    `json:"id"`
	FileName string `json:"file_name"`
	Width    int    `json:"width"`
	Height   int    `json:"height"`
}

// annotation is one visible shape: Box is x, y, width, height of its visible
// pixels, Area their number.
type annotation struct {
	ID       int    `json:"id"`
	Image    int    `json:"image_id"`
	Category int    `json:"category_id"`
	Box      [4]int `json:"bbox"`
	Area     int    `json:"area"`
	Crowd    int    `json:"iscrowd"`
}

type category struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

func generate(dir string, n int, seed uint64, quality int) error {
	if err := os.MkdirAll(filepath.Join(dir, "images"), 0o755); err != nil {
		return err
	}
	set := dataset{
		Info: map[string]string{"description": fmt.Sprintf("trtact shapes, seed %d, %d pictures", seed, n)},
	}
	for i, name := range classNames {
		set.Categories = append(set.Categories, category{ID: i + 1, Name: name})
	}
	for i := range n {
		s := newScene(seed, uint64(i))
		name := fmt.Sprintf("%06d.jpg", i)
		if err := writeJPEG(filepath.Join(dir, "images", name), s.pixels, quality); err != nil {
			return err
		}
		size := s.pixels.Bounds().Size()
		set.Images = append(set.Images, picture{ID: i + 1, FileName: name, Width: size.X, Height: size.Y})
		for _, v := range s.visible() {
			set.Annotations = append(set.Annotations, annotation{
				ID: len(set.Annotations) + 1, Image: i + 1, Category: int(v.class) + 1,
				Box:  [4]int{v.box.Min.X, v.box.Min.Y, v.box.Dx(), v.box.Dy()},
				Area: v.pixels,
			})
		}
	}
	text, err := json.Marshal(set)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, "annotations.json"), append(text, '\n'))
}

func writeJPEG(path string, img image.Image, quality int) error {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality}); err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return atomicfile.Write(path, b.Bytes())
}
