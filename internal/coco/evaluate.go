package coco

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"

	"trtact/internal/fault"
	"trtact/internal/parallel"
)

// COCO's detection challenge scores a detector by average precision (AP): per
// class, detections of all images are sorted by score, each is a hit when it is
// matched to a ground-truth box of at least the asked IoU, and precision is
// averaged over 101 recall levels; then over ten IoU thresholds and all classes.
// The rules (what is ignored, who wins a tie) are those of cocodataset's
// pycocotools, and so are the figures.
//
// pycocotools matches every image 4 x 10 times in Python loops. Here each class
// is one unit of work for a goroutine, IoUs are computed once per image and
// class, and the curve is only drawn where its area under it is asked for.

// Result is one detection: a box x, y, width, height in pixels of the image,
// top-left anchored.
type Result struct {
	ImageID    int64
	CategoryID int64
	BBox       [4]float64
	Score      float64
}

// Options of Evaluate. The zero value is COCO's own set.
type Options struct {
	// MaxDets are the numbers of best-scored detections of one image and class
	// that count for the three average recalls; AP uses the last. Default 1,
	// 10, 100. Must rise.
	MaxDets [3]int
	// Threads is the number of goroutines; default runtime.GOMAXPROCS.
	Threads int
}

// IoUCount is the number of IoU thresholds, RecallCount of recall levels.
const (
	IoUCount    = 10
	RecallCount = 101
)

// IoUThresholds are 0.50, 0.55 ... 0.95, computed as numpy.linspace does so that
// an IoU on the very threshold falls on the same side.
func IoUThresholds() [IoUCount]float64 {
	var th [IoUCount]float64
	first, last := 0.5, 0.95
	step := (last - first) / (IoUCount - 1)
	for i := range th {
		th[i] = float64(float64(i)*step) + first
	}
	th[IoUCount-1] = last
	return th
}

// RecallLevels are 0, 0.01 ... 1 (numpy.linspace).
func RecallLevels() [RecallCount]float64 {
	var r [RecallCount]float64
	whole := 1.0
	step := whole / (RecallCount - 1)
	for i := range r {
		r[i] = float64(i) * step
	}
	r[RecallCount-1] = whole
	return r
}

// ranges of box area in square pixels, both ends included.
type areaRange struct{ low, high float64 }

const (
	areaAll = iota
	areaSmall
	areaMedium
	areaLarge
	areaCount
)

func areaRanges() [areaCount]areaRange {
	return [areaCount]areaRange{{0, 1e10}, {0, 32 * 32}, {32 * 32, 96 * 96}, {96 * 96, 1e10}}
}

// Evaluate scores detections against the ground truth of ds. Results of
// categories that ds lacks are ignored, as pycocotools does, and counted in
// Metrics.Ignored; results of unknown images, with NaN scores or with boxes
// that are not numbers are an error.
func Evaluate(ds *Dataset, results []Result, opts Options) (*Metrics, error) {
	if opts.MaxDets == [3]int{} {
		opts.MaxDets = [3]int{1, 10, 100}
	}
	if d := opts.MaxDets; d[0] < 1 || d[1] <= d[0] || d[2] <= d[1] {
		return nil, fault.Usage(fmt.Errorf("evaluate: detections per image %v: want three rising numbers", d))
	}
	if opts.Threads < 1 {
		opts.Threads = runtime.GOMAXPROCS(0)
	}
	classes, ignored, err := group(ds, results)
	if err != nil {
		return nil, err
	}

	per := make([]classFigures, len(classes))
	next := make(chan int, len(classes))
	for k := range classes {
		next <- k
	}
	close(next)
	parallel.Workers(min(opts.Threads, len(classes)), func(int) {
		m := newMatcher(opts.MaxDets)
		for k := range next {
			per[k] = m.class(classes[k])
		}
	})

	m := summarise(ds, per)
	m.Images, m.Detections, m.Ignored = len(ds.Images), len(results), ignored
	return m, nil
}

// truth and found are a ground-truth box and a detection, ready for matching.
type truth struct {
	image   int32 // rank of the image by id
	crowd   bool
	ignore  bool
	box     [4]float64
	area    float64
	boxArea float64
}

type found struct {
	image int32
	score float64
	box   [4]float64
	area  float64
}

// classBoxes are all boxes of one class, sorted by image; detections of an image
// by falling score, equal scores in the order in which they were given.
type classBoxes struct {
	truths []truth
	founds []found
}

// group sorts boxes by class (in the order of ds.Categories) and image.
func group(ds *Dataset, results []Result) (classes []classBoxes, ignored int, err error) {
	classes = make([]classBoxes, len(ds.Categories))
	class := make(map[int64]int, len(ds.Categories))
	for k, c := range ds.Categories {
		class[c.ID] = k
	}
	ids := make([]int64, len(ds.Images))
	for i, im := range ds.Images {
		ids[i] = im.ID
	}
	slices.Sort(ids)
	image := make(map[int64]int32, len(ids))
	for i, id := range ids {
		image[id] = int32(i)
	}

	for _, a := range ds.Annotations {
		k, known := class[a.CategoryID]
		i, listed := image[a.ImageID]
		if !known || !listed {
			continue
		}
		classes[k].truths = append(classes[k].truths, truth{
			image: i, crowd: a.Crowd, ignore: a.Crowd || a.Ignore,
			box: a.BBox, area: a.Area, boxArea: a.BBox[2] * a.BBox[3],
		})
	}
	for n, r := range results {
		i, listed := image[r.ImageID]
		if !listed {
			return nil, 0, fault.BadInput(fmt.Errorf("evaluate: result %d is for image %d, which the data set lacks: evaluate against the set that was detected on", n, r.ImageID))
		}
		if sum := r.Score + r.BBox[0] + r.BBox[1] + r.BBox[2] + r.BBox[3]; math.IsNaN(sum) || math.IsInf(sum, 0) {
			return nil, 0, fault.BadInput(fmt.Errorf("evaluate: result %d (image %d) has box %v and score %v: want finite numbers", n, r.ImageID, r.BBox, r.Score))
		}
		k, known := class[r.CategoryID]
		if !known {
			ignored++
			continue
		}
		classes[k].founds = append(classes[k].founds, found{
			image: i, score: r.Score, box: r.BBox, area: r.BBox[2] * r.BBox[3],
		})
	}
	for k := range classes {
		slices.SortStableFunc(classes[k].truths, func(a, b truth) int { return cmp.Compare(a.image, b.image) })
		slices.SortStableFunc(classes[k].founds, func(a, b found) int {
			if c := cmp.Compare(a.image, b.image); c != 0 {
				return c
			}
			return cmp.Compare(b.score, a.score)
		})
	}
	return classes, ignored, nil
}

// iou is intersection over union; against a crowd region, where one region
// stands for many objects, intersection over the detection's own area.
func iou(d *found, g *truth) float64 {
	w := min(d.box[0]+d.box[2], g.box[0]+g.box[2]) - max(d.box[0], g.box[0])
	h := min(d.box[1]+d.box[3], g.box[1]+g.box[3]) - max(d.box[1], g.box[1])
	if w <= 0 || h <= 0 {
		return 0
	}
	shared := w * h
	if g.crowd {
		return shared / d.area
	}
	return shared / (float64(d.area+g.boxArea) - shared)
}
