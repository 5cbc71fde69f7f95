package coco

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// pycocotools scores pairs of files and prints, for each, the twelve figures,
// AP and AP50 per category, and the seconds that reading and scoring took.
const pycocotools = `
import sys, json, time, io, contextlib, numpy
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
out = []
for truth, results in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(truth)
        loaded = json.load(open(results))
        start = time.perf_counter()
        dt = gt.loadRes(loaded)
        e = COCOeval(gt, dt, "bbox")
        e.evaluate(); e.accumulate(); e.summarize()
        seconds = time.perf_counter() - start
    p = e.eval["precision"]
    def mean(a):
        a = a[a > -1]
        return float(a.mean()) if a.size else -1.0
    out.append({"twelve": [float(v) for v in e.stats], "seconds": seconds,
                "ap": [mean(p[:, :, k, 0, 2]) for k in range(p.shape[2])],
                "ap50": [mean(p[0, :, k, 0, 2]) for k in range(p.shape[2])],
                "curve": p[5, :, 0, 0, 2].tolist()})
print(json.dumps(out))
`

type reference struct {
	Twelve  [12]float64
	Seconds float64
	AP      []float64
	AP50    []float64
	Curve   []float64 // of the first category at IoU 0.75
}

// writeTruth stores a data set as a COCO file for pycocotools.
func writeTruth(t testing.TB, path string, ds *Dataset) {
	t.Helper()
	type m map[string]any
	images, categories, annotations := []m{}, []m{}, []m{}
	for _, im := range ds.Images {
		images = append(images, m{"id": im.ID, "file_name": im.FileName, "width": im.Width, "height": im.Height})
	}
	for _, c := range ds.Categories {
		categories = append(categories, m{"id": c.ID, "name": c.Name})
	}
	for i, a := range ds.Annotations {
		crowd := 0
		if a.Crowd {
			crowd = 1
		}
		annotations = append(annotations, m{"id": i + 1, "image_id": a.ImageID, "category_id": a.CategoryID, "bbox": a.BBox, "area": a.Area, "iscrowd": crowd})
	}
	data, err := json.Marshal(m{"info": m{}, "images": images, "categories": categories, "annotations": annotations})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// noisyDetections are around a share of the ground truth, jittered, some of
// another class, and clutter elsewhere; about perImage for each image. Scores
// have few digits, so that many are equal.
func noisyDetections(ds *Dataset, rng *rand.Rand, perImage int) []Result {
	size := map[int64][2]float64{}
	for _, im := range ds.Images {
		size[im.ID] = [2]float64{float64(max(im.Width, 1)), float64(max(im.Height, 1))}
	}
	score := func(mean float64) float64 {
		return math.Round(100*min(max(mean+0.25*rng.NormFloat64(), 0.001), 0.999)) / 100
	}
	var out []Result
	for _, a := range ds.Annotations {
		if _, listed := size[a.ImageID]; !listed {
			continue
		}
		for range rng.IntN(4) {
			jitter := 0.3 * rng.Float64()
			if rng.IntN(4) == 0 {
				jitter = 0 // an exact hit
			}
			r := Result{a.ImageID, a.CategoryID, a.BBox, score(0.7 - jitter)}
			r.BBox[0] += jitter * a.BBox[2] * rng.NormFloat64()
			r.BBox[1] += jitter * a.BBox[3] * rng.NormFloat64()
			r.BBox[2] *= math.Exp(jitter * rng.NormFloat64())
			r.BBox[3] *= math.Exp(jitter * rng.NormFloat64())
			if rng.IntN(8) == 0 {
				r.CategoryID = ds.Categories[rng.IntN(len(ds.Categories))].ID
			}
			out = append(out, r)
		}
	}
	for len(out) < perImage*len(ds.Images) {
		im := ds.Images[rng.IntN(len(ds.Images))]
		s := size[im.ID]
		w, h := s[0]*math.Pow(rng.Float64(), 2), s[1]*math.Pow(rng.Float64(), 2)
		out = append(out, Result{im.ID, ds.Categories[rng.IntN(len(ds.Categories))].ID,
			[4]float64{s[0] * rng.Float64(), s[1] * rng.Float64(), w, h}, score(0.2)})
	}
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// randomDataset is small and full of edge cases: crowds, areas on the very
// bounds and unlike the box's, boxes without area or outside the image, equal
// boxes, empty images, classes without ground truth, ids out of order.
func randomDataset(rng *rand.Rand) *Dataset {
	ds := &Dataset{}
	for _, k := range rng.Perm(12)[:1+rng.IntN(6)] {
		ds.Categories = append(ds.Categories, Category{ID: int64(3*k + 1), Name: fmt.Sprint("class ", k)})
	}
	for i, k := range rng.Perm(40)[:1+rng.IntN(15)] {
		ds.Images = append(ds.Images, Image{ID: int64(7*k + 5), FileName: fmt.Sprintf("%d.jpg", i), Width: 300, Height: 200})
	}
	sides := []float64{0, 1, 16, 32, 48, 96, 120}
	for _, im := range ds.Images {
		for range rng.IntN(9) * rng.IntN(3) {
			a := Annotation{ImageID: im.ID, CategoryID: ds.Categories[rng.IntN(len(ds.Categories))].ID}
			if rng.IntN(2) == 0 {
				a.BBox = [4]float64{float64(rng.IntN(300)), float64(rng.IntN(200)), sides[rng.IntN(len(sides))], sides[rng.IntN(len(sides))]}
			} else {
				a.BBox = [4]float64{300 * rng.Float64(), 200 * rng.Float64(), 150 * rng.Float64(), 150 * rng.Float64()}
			}
			a.Area = a.BBox[2] * a.BBox[3]
			switch rng.IntN(4) {
			case 0:
				a.Area *= 0.6
			case 1:
				a.Area = []float64{0, 1024, 9216, 1e10}[rng.IntN(4)]
			}
			a.Crowd = rng.IntN(7) == 0
			ds.Annotations = append(ds.Annotations, a)
			if rng.IntN(10) == 0 {
				ds.Annotations = append(ds.Annotations, a)
			}
		}
	}
	return ds
}

// readResults reads a results file.
func readResults(path string) ([]Result, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []struct {
		Image    int64 `json:"image_id"`
		Category int64 `json:"category_id"`
		BBox     [4]float64
		Score    float64
	}
	var results []Result
	err = json.Unmarshal(data, &list)
	for _, r := range list {
		results = append(results, Result{r.Image, r.Category, r.BBox, r.Score})
	}
	return results, err
}

// compare scores every pair with pycocotools and with Evaluate, both reading the
// same files.
func compare(t *testing.T, pairs [][2]string) (ours, theirs time.Duration) {
	t.Helper()
	const tolerance = 1e-9 // the bar is 1e-6; only the order of summation differs
	list, _ := json.Marshal(pairs)
	var want []reference
	if err := json.Unmarshal([]byte(testenv.RunPython(t, pycocotools, string(list))), &want); err != nil {
		t.Fatal(err)
	}
	near := func(a, b float64) bool { return math.Abs(a-b) <= tolerance }
	for i, pair := range pairs {
		ds, err := ReadJSON(pair[0])
		if err != nil {
			t.Fatal(err)
		}
		results, err := readResults(pair[1])
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		m, err := Evaluate(ds, results, Options{})
		ours += time.Since(start)
		theirs += time.Duration(want[i].Seconds * float64(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range m.Twelve() {
			if !near(v, want[i].Twelve[k]) {
				t.Errorf("%s: figure %d is %v, pycocotools has %v", filepath.Base(pair[0]), k, v, want[i].Twelve[k])
			}
		}
		for k, c := range m.Classes {
			if !near(c.AP, want[i].AP[k]) || !near(c.AP50, want[i].AP50[k]) {
				t.Errorf("%s: class %s AP %v, AP50 %v, pycocotools has %v, %v", filepath.Base(pair[0]), c.Name, c.AP, c.AP50, want[i].AP[k], want[i].AP50[k])
			}
		}
		for r, v := range want[i].Curve {
			got := float64(Undefined)
			if curve := m.Classes[0].Precision; curve != nil {
				got = curve[5][r]
			}
			if !near(got, v) {
				t.Errorf("%s: precision at recall level %d is %v, pycocotools has %v", filepath.Base(pair[0]), r, got, v)
			}
		}
	}
	return ours, theirs
}

func TestEvaluateEqualsPycocotoolsOnRandomSets(t *testing.T) {
	const sets = 150
	testenv.Python(t)
	dir := t.TempDir()
	var pairs [][2]string
	for seed := range uint64(sets) {
		rng := rand.New(rand.NewPCG(seed, 1))
		ds := randomDataset(rng)
		results := noisyDetections(ds, rng, rng.IntN(40))
		if len(results) == 0 { // pycocotools cannot load an empty list
			continue
		}
		pair := [2]string{filepath.Join(dir, fmt.Sprint("truth", seed, ".json")), filepath.Join(dir, fmt.Sprint("results", seed, ".json"))}
		writeTruth(t, pair[0], ds)
		if err := WriteResults(pair[1], results); err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, pair)
	}
	if len(pairs) < sets*3/4 {
		t.Fatalf("only %d of %d sets have detections", len(pairs), sets)
	}
	compare(t, pairs)
}

func TestEvaluateEqualsPycocotoolsOnCOCO(t *testing.T) {
	const (
		perImage = 100
		faster   = 10 // the bar of the project
	)
	testenv.Python(t)
	truth := testenv.Data(t, "coco", "annotations.json")
	ds, err := ReadJSON(truth)
	if err != nil {
		t.Fatal(err)
	}
	if len(ds.Images) != 500 || len(ds.Categories) != 80 || len(ds.Annotations) != 4672 || len(ds.Warnings) != 0 {
		t.Fatalf("%d images, %d categories, %d annotations, warnings %v", len(ds.Images), len(ds.Categories), len(ds.Annotations), ds.Warnings)
	}
	path := filepath.Join(t.TempDir(), "results.json")
	if err := WriteResults(path, noisyDetections(ds, rand.New(rand.NewPCG(1, 2)), perImage)); err != nil {
		t.Fatal(err)
	}
	ours, theirs := compare(t, [][2]string{{truth, path}})
	t.Logf("%d detections: %v, pycocotools %v, %.0f times", perImage*len(ds.Images), ours, theirs, theirs.Seconds()/ours.Seconds())
	if theirs < faster*ours {
		t.Errorf("Evaluate took %v, pycocotools %v: want at most a tenth", ours, theirs)
	}
}

func square(x, side float64) [4]float64 { return [4]float64{x, 0, side, side} }

func TestEvaluateByHand(t *testing.T) {
	one := &Dataset{Images: []Image{{ID: 1}}, Categories: []Category{{ID: 1, Name: "a"}, {ID: 9, Name: "b"}},
		Annotations: []Annotation{{ImageID: 1, CategoryID: 1, BBox: square(0, 50), Area: 2500}, {ImageID: 1, CategoryID: 1, BBox: square(100, 50), Area: 2500}}}
	for _, c := range []struct {
		name     string
		results  []Result
		ap, ap50 float64
		ignored  int
	}{
		{"nothing found", nil, 0, 0, 0},
		{"both found", []Result{{1, 1, square(0, 50), 0.9}, {1, 1, square(100, 50), 0.8}}, 1, 1, 0},
		// Recall levels 0 to 0.50 have precision 1, the other 50 none.
		{"one found", []Result{{1, 1, square(0, 50), 0.9}}, 51.0 / 101, 51.0 / 101, 0},
		{"one found below clutter", []Result{{1, 1, square(0, 50), 0.3}, {1, 1, square(500, 50), 0.9}}, 25.5 / 101, 25.5 / 101, 0},
		// IoU 0.64 passes three of the ten thresholds.
		{"both found roughly", []Result{{1, 1, square(0, 40), 0.9}, {1, 1, square(100, 40), 0.8}}, 0.3, 1, 0},
		{"category that is not listed", []Result{{1, 2, square(0, 50), 0.9}}, 0, 0, 1},
	} {
		m, err := Evaluate(one, c.results, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(m.AP-c.ap) > 1e-12 || math.Abs(m.AP50-c.ap50) > 1e-12 || m.Ignored != c.ignored {
			t.Errorf("%s: AP %v, AP50 %v, ignored %d; want %v, %v, %d", c.name, m.AP, m.AP50, m.Ignored, c.ap, c.ap50, c.ignored)
		}
		if m.APs != Undefined || m.Classes[1].AP != Undefined || m.Classes[1].Precision != nil || m.Classes[0].Truths != 2 {
			t.Errorf("%s: a figure without ground truth is defined: %+v", c.name, m)
		}
	}
}

func TestEvaluateIgnoresDifficult(t *testing.T) {
	ds := &Dataset{Images: []Image{{ID: 1}}, Categories: []Category{{ID: 1}},
		Annotations: []Annotation{{ImageID: 1, CategoryID: 1, BBox: square(0, 50), Area: 2500}, {ImageID: 1, CategoryID: 1, BBox: square(100, 50), Area: 2500, Ignore: true}}}
	m, err := Evaluate(ds, []Result{{1, 1, square(0, 50), 0.5}, {1, 1, square(100, 50), 0.9}}, Options{})
	if err != nil || math.Abs(m.AP-1) > 1e-12 {
		t.Errorf("AP %v, error %v; want 1: a difficult object neither counts nor harms", m.AP, err)
	}
}

func TestEvaluateRefuses(t *testing.T) {
	ds := &Dataset{Images: []Image{{ID: 1}}, Categories: []Category{{ID: 1}}}
	for _, c := range []struct {
		result Result
		opts   Options
		code   int
	}{
		{Result{2, 1, square(0, 1), 1}, Options{}, fault.CodeBadInput},
		{Result{1, 1, square(0, 1), math.NaN()}, Options{}, fault.CodeBadInput},
		{Result{1, 1, square(math.Inf(1), 1), 1}, Options{}, fault.CodeBadInput},
		{Result{1, 1, square(0, 1), 1}, Options{MaxDets: [3]int{10, 10, 100}}, fault.CodeUsage},
	} {
		if _, err := Evaluate(ds, []Result{c.result}, c.opts); fault.Code(err) != c.code {
			t.Errorf("%+v: error %v, want code %d", c, err, c.code)
		}
	}
}

func TestEvaluateSameForAnyThreads(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	ds := randomDataset(rng)
	results := noisyDetections(ds, rng, 30)
	var want [12]float64
	for threads := 1; threads <= 5; threads++ {
		m, err := Evaluate(ds, results, Options{Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		if threads == 1 {
			want = m.Twelve()
		} else if m.Twelve() != want {
			t.Errorf("%d threads: %v, one: %v", threads, m.Twelve(), want)
		}
	}
}

func TestResultsRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	for _, want := range [][]Result{nil, {{1, 2, [4]float64{0.1, 1e-7, 3, 4e5}, 1.0 / 3}}, {{1, 2, [4]float64{1, 2, 3, 4}, 0.5}, {-3, 90, [4]float64{-1, -2, 0, 0}, 1}}} {
		if err := WriteResults(path, want); err != nil {
			t.Fatal(err)
		}
		got, err := readResults(path)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("read %v, %v; wrote %v", got, err, want)
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	ds, err := ReadJSON(testenv.Data(b, "coco", "annotations.json"))
	if err != nil {
		b.Fatal(err)
	}
	for _, perImage := range []int{100, 300} {
		results := noisyDetections(ds, rand.New(rand.NewPCG(1, 2)), perImage)
		b.Run(fmt.Sprint(perImage, "PerImage"), func(b *testing.B) {
			for b.Loop() {
				if _, err := Evaluate(ds, results, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
