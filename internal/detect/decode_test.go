package detect

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/testenv"
)

// photograph reads a JPEG of the data folder.
func photograph(t testing.TB, name string) Pixels {
	t.Helper()
	f, err := os.Open(testenv.Data(t, "coco", "images", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := jpeg.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	b := img.Bounds()
	p := Pixels{W: b.Dx(), H: b.Dy(), RGB: make([]uint8, 0, 3*b.Dx()*b.Dy())}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			r, g, bl, _ := img.At(x, y).RGBA()
			p.RGB = append(p.RGB, uint8(r>>8), uint8(g>>8), uint8(bl>>8))
		}
	}
	return p
}

func writeFloats(t testing.TB, path string, v []float32) {
	t.Helper()
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func readFloats(t testing.TB, path string) []float32 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

var testPhotographs = []string{"000000000285.jpg", "000000000632.jpg", "000000334006.jpg"}

// TestDecodeAgainstRecipes runs every detector of the data folder in
// onnxruntime on a few photographs and compares the detections with those of
// testdata/oracle.py, which was written from the recipes alone.
func TestDecodeAgainstRecipes(t *testing.T) {
	testenv.Python(t)
	dir := t.TempDir()
	o := DefaultOptions()
	var jobs []map[string]any
	specs := make([]*Spec, len(dataModels))
	placed := make([][]Transform, len(dataModels))
	for i, m := range dataModels {
		model := loadData(t, m.file, m.size)
		s, err := Recognize(model, "auto")
		if err != nil {
			t.Fatal(err)
		}
		specs[i] = s
		var inputs [][2]any
		for j, name := range testPhotographs {
			x := make([]float32, 3*s.Width*s.Height)
			place, err := preprocess(s, photograph(t, name), x)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, fmt.Sprintf("%s.%d.in", m.file, j))
			writeFloats(t, path, x)
			inputs = append(inputs, [2]any{path, []int{1, 3, s.Height, s.Width}})
			placed[i] = append(placed[i], place)
		}
		jobs = append(jobs, map[string]any{"model": model.Path, "inputs": inputs, "folder": dir,
			"score": o.Score, "iou": o.IoU, "candidates": o.TopK, "keep": o.Keep})
	}
	text, err := json.Marshal(jobs)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "jobs.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/oracle.py")
	if err != nil {
		t.Fatal(err)
	}
	var want [][][][6]float64
	if err := json.Unmarshal([]byte(testenv.RunPython(t, string(script), filepath.Join(dir, "jobs.json"))), &want); err != nil {
		t.Fatal(err)
	}
	for i, m := range dataModels {
		t.Run(m.file, func(t *testing.T) {
			for j := range testPhotographs {
				outputs := map[string]*onnx.Tensor{}
				for _, out := range specs[i].Outputs {
					path := filepath.Join(dir, fmt.Sprintf("%s.onnx.%d.%s", m.file, j, strings.ReplaceAll(out.Name, "/", "_")))
					outputs[out.Name] = onnx.NewTensor(out.Dims, readFloats(t, path))
				}
				got, err := specs[i].Decode(outputs, 0, placed[i][j], o)
				if err != nil {
					t.Fatal(err)
				}
				compareDetections(t, testPhotographs[j], got, want[i][j], placed[i][j])
			}
		})
	}
}

// compareDetections checks that both found the same: in this package's pixels
// and order (best first), where equal scores may come in any order.
func compareDetections(t *testing.T, image string, got []Detection, want [][6]float64, place Transform) {
	t.Helper()
	const pixel, score = 0.02, 2e-5 // float32 here, float64 there
	var in []Detection
	for _, w := range want {
		if box, ok := place.source([4]float32{float32(w[0]), float32(w[1]), float32(w[2]), float32(w[3])}); ok {
			in = append(in, Detection{box[0], box[1], box[2], box[3], int(w[4]), float32(w[5])})
		}
	}
	// The reference keeps the best 300 before it clips, this package after.
	if len(got) < len(in) || len(in) == 0 {
		t.Errorf("%s: %d detections: want %d", image, len(got), len(in))
	}
	used := make([]bool, len(got))
	missing := 0
	for _, w := range in {
		at := slices.IndexFunc(got, func(g Detection) bool {
			d := max(math.Abs(float64(g.X1-w.X1)), math.Abs(float64(g.Y1-w.Y1)), math.Abs(float64(g.X2-w.X2)), math.Abs(float64(g.Y2-w.Y2)))
			return g.Class == w.Class && math.Abs(float64(g.Score-w.Score)) < score && d < pixel
		})
		if at < 0 || used[at] {
			missing++
			t.Logf("%s: not found: %+v", image, w)
			continue
		}
		used[at] = true
	}
	if missing > 0 {
		t.Errorf("%s: %d of %d detections not found", image, missing, len(in))
	}
	if !slices.IsSortedFunc(got, func(a, b Detection) int { return cmp.Compare(b.Score, a.Score) }) {
		t.Errorf("%s: not in order of score", image)
	}
}

// rowsSpec is a decoded head of n predictions for tests without a model.
func rowsSpec(n, classes int) *Spec {
	row := 5 + classes
	return &Spec{Family: "yolov5", Width: 640, Height: 640, Batch: 2, Outputs: []Output{{"out", []int{2, n, row}}},
		Head: Head{Coding: Centre, Classes: classes, Levels: []Level{{Height: 1, Width: n,
			Box:    Slot{Output: "out", Cell: row, Channel: 1},
			Object: Slot{Output: "out", Offset: 4, Cell: row, Channel: 1},
			Class:  Slot{Output: "out", Offset: 5, Cell: row, Channel: 1}}}}}
}

func identity() Transform { return Transform{Width: 640, Height: 640, ScaleX: 1, ScaleY: 1} }

// randomRows has predictions that crowd in a few places, so that suppression
// has work to do.
func randomRows(n, classes int, seed uint64) *onnx.Tensor {
	r := rand.New(rand.NewPCG(seed, 7))
	data := make([]float32, 0, 2*n*(5+classes))
	for range 2 * n {
		place := float32(r.IntN(6))*90 + 60
		data = append(data, place+r.Float32()*20, place+r.Float32()*20, 40+r.Float32()*30, 40+r.Float32()*30, r.Float32())
		for range classes {
			data = append(data, r.Float32()*r.Float32())
		}
	}
	return onnx.NewTensor([]int{2, n, 5 + classes}, data)
}

// naive is suppression as its definition has it: class by class, over a list
// that loses what the best remaining box overlaps.
func naive(t *onnx.Tensor, batch int, o Options) []Detection {
	data := t.Floats()
	n, row := t.Dims[1], t.Dims[2]
	var all []Detection
	for i := range n {
		v := data[(batch*n+i)*row:][:row]
		best := -1
		for c := range row - 5 {
			if v[4]*v[5+c] > o.Score && (best < 0 || v[5+c] > v[5+best]) {
				best = c
			}
		}
		for c := range row - 5 {
			if s := v[4] * v[5+c]; s > o.Score && (o.MultiLabel || c == best) {
				all = append(all, Detection{v[0] - v[2]/2, v[1] - v[3]/2, v[0] + v[2]/2, v[1] + v[3]/2, c, s})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Detection) int { return cmp.Compare(b.Score, a.Score) })
	all = all[:min(len(all), o.TopK)]
	var kept []Detection
	for len(all) > 0 {
		best := all[0]
		kept = append(kept, best)
		all = slices.DeleteFunc(all[1:], func(d Detection) bool { return d.Class == best.Class && iou(d, best) > o.IoU })
	}
	return kept[:min(len(kept), o.Keep)]
}

func iou(a, b Detection) float32 {
	w, h := max(0, min(a.X2, b.X2)-max(a.X1, b.X1)), max(0, min(a.Y2, b.Y2)-max(a.Y1, b.Y1))
	return w * h / ((a.X2-a.X1)*(a.Y2-a.Y1) + (b.X2-b.X1)*(b.Y2-b.Y1) - w*h)
}

func TestSuppressionAgainstDefinition(t *testing.T) {
	for _, o := range []Options{
		{Score: 0.001, IoU: 0.65, MultiLabel: true, TopK: 30000, Keep: 300},
		{Score: 0.001, IoU: 0.65, MultiLabel: true, TopK: 1000, Keep: 100},
		{Score: 0.25, IoU: 0.45, MultiLabel: false, TopK: 30000, Keep: 300},
		{Score: 0.5, IoU: 0.9, MultiLabel: true, TopK: 50, Keep: 1000},
		{Score: 0.3, IoU: 0, MultiLabel: true, TopK: 30000, Keep: 300},
	} {
		for seed := range uint64(4) {
			s, x := rowsSpec(700, 5), randomRows(700, 5, seed)
			for batch := range 2 {
				got, err := s.Decode(map[string]*onnx.Tensor{"out": x}, batch, identity(), o)
				if err != nil {
					t.Fatal(err)
				}
				want := naive(x, batch, o)
				if len(want) < 5 || !slices.Equal(got, want) {
					t.Fatalf("%+v, seed %d, image %d: %d detections differ from %d of the definition\n%v\n%v", o, seed, batch, len(got), len(want),
						got[:min(3, len(got))], want[:min(3, len(want))])
				}
			}
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	good := func() (*Spec, map[string]*onnx.Tensor) {
		return rowsSpec(50, 3), map[string]*onnx.Tensor{"out": randomRows(50, 3, 1)}
	}
	set := func(v float32) func(*Spec, map[string]*onnx.Tensor) {
		return func(_ *Spec, o map[string]*onnx.Tensor) { o["out"].Data.([]float32)[3*8+6] = v }
	}
	for name, c := range map[string]struct {
		spoil func(*Spec, map[string]*onnx.Tensor)
		want  string
	}{
		"nan":       {set(float32(math.NaN())), "NaN at element 30"},
		"infinite":  {set(float32(math.Inf(-1))), "-Inf at element 30"},
		"missing":   {func(_ *Spec, o map[string]*onnx.Tensor) { delete(o, "out") }, `"out" is missing`},
		"shape":     {func(_ *Spec, o map[string]*onnx.Tensor) { o["out"].Dims = []int{2, 25, 16} }, "want [2 50 8]"},
		"short":     {func(_ *Spec, o map[string]*onnx.Tensor) { o["out"].Data = make([]float32, 10) }, "no image 0"},
		"type":      {func(_ *Spec, o map[string]*onnx.Tensor) { o["out"].Data = make([]int32, 800) }, "want float32"},
		"beyond":    {func(s *Spec, _ map[string]*onnx.Tensor) { s.Head.Levels[0].Width = 51 }, "reads beyond output"},
		"negative":  {func(s *Spec, _ map[string]*onnx.Tensor) { s.Head.Levels[0].Box.Offset = -1 }, "reads beyond output"},
		"overflow":  {func(s *Spec, _ map[string]*onnx.Tensor) { s.Head.Levels[0].Box.Cell = math.MaxInt / 8 }, "reads beyond output"},
		"anchors":   {func(s *Spec, _ map[string]*onnx.Tensor) { s.Head.Coding = Anchors }, "no anchors"},
		"no head":   {func(s *Spec, _ map[string]*onnx.Tensor) { s.Head = Head{Coding: None} }, "no known detector"},
		"bins":      {func(s *Spec, _ map[string]*onnx.Tensor) { s.Head.Coding, s.Head.Bins = Distances, 1<<62+1 }, "bins a side"},
		"no bins":   {func(s *Spec, _ map[string]*onnx.Tensor) { s.Head.Coding, s.Head.Bins = Distances, 0 }, "reads beyond output"},
		"no output": {func(s *Spec, _ map[string]*onnx.Tensor) { s.Outputs = nil }, "reads beyond output"},
	} {
		s, outputs := good()
		c.spoil(s, outputs)
		_, err := s.Decode(outputs, 0, identity(), DefaultOptions())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v: want %q in it", name, err, c.want)
		}
	}
	s, outputs := good()
	clear(outputs["out"].Data.([]float32))
	if found, err := s.Decode(outputs, 1, identity(), DefaultOptions()); err != nil || len(found) != 0 {
		t.Errorf("nothing to find: %v, %v", found, err)
	}
}

// BenchmarkDecode is a crowded picture at 640: 8,400 predictions of 80 classes,
// 2 % of the scores above the threshold.
func BenchmarkDecode(b *testing.B) {
	const n, classes = 8400, 80
	r := rand.New(rand.NewPCG(1, 2))
	x := onnx.NewTensor([]int{1, 4 + classes, n}, make([]float32, (4+classes)*n))
	data := x.Data.([]float32)
	for i := range n {
		data[i], data[n+i], data[2*n+i], data[3*n+i] = r.Float32()*640, r.Float32()*640, 20+r.Float32()*200, 20+r.Float32()*200
		for c := range classes {
			if r.IntN(50) == 0 {
				data[(4+c)*n+i] = r.Float32() * r.Float32() * r.Float32()
			}
		}
	}
	s := &Spec{Width: 640, Height: 640, Outputs: []Output{{"out", x.Dims}}, Head: Head{Coding: Centre, Classes: classes,
		Levels: []Level{{Height: 1, Width: n, Box: Slot{Output: "out", Cell: 1, Channel: n}, Class: Slot{Output: "out", Offset: 4 * n, Cell: 1, Channel: n}}}}}
	outputs := map[string]*onnx.Tensor{"out": x}
	b.Run("yolov8", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Decode(outputs, 0, identity(), DefaultOptions()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("yolov5", func(b *testing.B) {
		s, outputs := rowsSpec(25200, classes), map[string]*onnx.Tensor{"out": onnx.NewTensor([]int{2, 25200, 85}, make([]float32, 2*25200*85))}
		rows := outputs["out"].Data.([]float32)
		for i := range 25200 {
			v := rows[i*85:][:85]
			copy(v, []float32{r.Float32() * 640, r.Float32() * 640, 20 + r.Float32()*200, 20 + r.Float32()*200, 0})
			if r.IntN(30) == 0 {
				v[4] = r.Float32()
			}
			for c := range classes {
				v[5+c] = r.Float32() * r.Float32() * 0.1
			}
		}
		for b.Loop() {
			if _, err := s.Decode(outputs, 0, identity(), DefaultOptions()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
