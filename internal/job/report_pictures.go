// Pictures for the report: the same picture with the boxes of the float model and of
// INT8, those first on which the two disagree most.

package job

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"math"
	"path/filepath"
	"slices"

	"golang.org/x/image/draw"

	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/page"
)

const (
	// comparedPictures is how many pictures both models look at, shownPictures how many
	// of them the report has at most.
	comparedPictures = 24
	shownPictures    = 6
	// shownWidth and shownHeight bound a picture in the report, in pixels.
	shownWidth, shownHeight = 560, 480
	shownScore              = 0.25
	shownIoU                = 0.45
)

// disagreements runs the float model and the quantised one over the first pictures and
// draws those with the largest disagreements.
func (b *building) disagreements(ctx context.Context) ([]page.Pair, error) {
	images := b.pictures()
	if len(images) == 0 || b.single.Spec.Family == detect.None || b.single.Quantized {
		return nil, nil
	}
	o := b.o.Load
	o.Batch = 1
	quantised, err := LoadDetector(b.r.Files.ONNX, o)
	if err != nil {
		return nil, err
	}
	// The same reading of outputs for both: quantisers can hide what a family is
	// recognised by.
	quantised.Spec = b.single.Spec
	boxes := detect.DefaultOptions()
	boxes.Score, boxes.IoU, boxes.MultiLabel = shownScore, shownIoU, false
	var found [2][][]detect.Detection
	for k, d := range []*Detector{b.single, quantised} {
		found[k] = make([][]detect.Detection, len(images))
		_, err := b.m.Detect(ctx, d, images, boxes, []string{"pictures of float", "pictures of INT8"}[k],
			func(i int, list []detect.Detection) error {
				found[k][i] = list
				return nil
			})
		if err != nil {
			return nil, err
		}
	}
	order := make([]int, len(images))
	apart := make([]float64, len(images))
	for i := range images {
		order[i], apart[i] = i, disagreement(found[0][i], found[1][i])
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(apart[b], apart[a]) })
	var pairs []page.Pair
	for _, i := range order {
		if len(pairs) == shownPictures || apart[i] == 0 {
			break
		}
		pixels, err := coco.Decode(images[i].Path)
		if err != nil {
			continue // it was counted as broken above
		}
		pair := page.Pair{Caption: fmt.Sprintf("%s: disagreement %.2f.", filepath.Base(images[i].Path), apart[i])}
		for k, side := range []*page.Picture{&pair.Left, &pair.Right} {
			title := []string{"float", "INT8"}[k]
			if *side, err = drawn(pixels, found[k][i], b.single.Spec.Names); err != nil {
				return nil, fmt.Errorf("draw %s: %w", images[i].Path, err)
			}
			side.Title = fmt.Sprintf("%s: %d found", title, len(found[k][i]))
		}
		pairs = append(pairs, pair)
	}
	return pairs, nil
}

// pictures are those to compare on: the labelled ones, which nothing was fitted to, or
// else those that it was calibrated with.
func (b *building) pictures() []coco.Image {
	if b.in.val != nil {
		return b.in.val.First(comparedPictures).Images
	}
	if p, yes := b.in.samples.(Pictures); yes {
		return p.Images[:min(comparedPictures, len(p.Images))]
	}
	return nil
}

// sameObject is the overlap from which two boxes of a class are of one object.
const sameObject = 0.5

// disagreement is how differently two models see a picture: the score of what only one
// of them finds, and for what both find the change of score and 1 - IoU. Boxes are
// matched best score first.
func disagreement(a, b []detect.Detection) float64 {
	a, b = slices.Clone(a), slices.Clone(b)
	for _, list := range [][]detect.Detection{a, b} {
		slices.SortStableFunc(list, func(x, y detect.Detection) int { return cmp.Compare(y.Score, x.Score) })
	}
	taken := make([]bool, len(b))
	sum := 0.0
	for _, x := range a {
		best, at := sameObject, -1
		for i, y := range b {
			if v := overlap(x, y); !taken[i] && x.Class == y.Class && v >= best {
				best, at = v, i
			}
		}
		if at < 0 {
			sum += float64(x.Score)
			continue
		}
		taken[at] = true
		sum += math.Abs(float64(x.Score)-float64(b[at].Score)) + 1 - best
	}
	for i, y := range b {
		if !taken[i] {
			sum += float64(y.Score)
		}
	}
	return sum
}

// overlap is the intersection of two boxes over their union.
func overlap(a, b detect.Detection) float64 {
	area := func(d detect.Detection) float64 {
		return math.Max(0, float64(d.X2-d.X1)) * math.Max(0, float64(d.Y2-d.Y1))
	}
	both := area(detect.Detection{X1: max(a.X1, b.X1), Y1: max(a.Y1, b.Y1), X2: min(a.X2, b.X2), Y2: min(a.Y2, b.Y2)})
	union := area(a) + area(b) - both
	if union <= 0 {
		return 0
	}
	return both / union
}

// drawn is a picture with boxes, small enough for a page. It is scaled before it is
// drawn on, so that lines and labels keep their size.
func drawn(p detect.Pixels, list []detect.Detection, names []string) (page.Picture, error) {
	scale := math.Min(2, math.Min(shownWidth/float64(p.W), shownHeight/float64(p.H)))
	w, h := max(1, int(math.Round(scale*float64(p.W)))), max(1, int(math.Round(scale*float64(p.H))))
	plain, err := detect.Draw(p, nil, nil, detect.DrawOptions{})
	if err != nil {
		return page.Picture{}, err
	}
	small := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.CatmullRom.Scale(small, small.Bounds(), plain, plain.Bounds(), draw.Src, nil)
	pixels := detect.Pixels{W: w, H: h, RGB: make([]uint8, 3*w*h)}
	for i := range w * h {
		copy(pixels.RGB[3*i:3*i+3], small.Pix[4*i:4*i+3])
	}
	scaled := slices.Clone(list)
	sx, sy := float32(w)/float32(p.W), float32(h)/float32(p.H)
	for i := range scaled {
		d := &scaled[i]
		d.X1, d.X2, d.Y1, d.Y2 = d.X1*sx, d.X2*sx, d.Y1*sy, d.Y2*sy
	}
	img, err := detect.Draw(pixels, scaled, names, detect.DrawOptions{Labels: true})
	if err != nil {
		return page.Picture{}, err
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, &jpeg.Options{Quality: 82}); err != nil {
		return page.Picture{}, err
	}
	return page.Picture{JPEG: out.Bytes(), Width: w, Height: h}, nil
}
