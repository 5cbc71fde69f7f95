package detect

import (
	"encoding/json"
	"reflect"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

// dataModels are the detectors of the data folder and what is to be found in
// them; heads were counted by looking at the graphs.
var dataModels = []struct {
	file    string
	size    int
	family  string
	coding  string
	classes int
	bins    int
	levels  int
	strides []int
	heads   int
}{
	{"yolov5n", 640, "yolov5", Centre, 80, 0, 1, nil, 3},
	{"yolov5n_bn", 640, "yolov5", Centre, 80, 0, 1, nil, 3},
	{"yolov5n_fp16", 640, "yolov5", Centre, 80, 0, 1, nil, 3},
	{"yolov8n_deq", 640, "yolov8", Centre, 80, 0, 1, nil, 6},                        // box and class branch of 3 levels, DFL passed
	{"yolov6lite_s", 320, "yolov6", Centre, 80, 0, 1, nil, 8},                       // box and class branch of 4 levels
	{"yolov6lite_l", 320, "yolov6", Centre, 80, 0, 1, nil, 8},                       // likewise
	{"picodet_s_320", 320, "picodet", Distances, 80, 8, 4, []int{8, 16, 32, 64}, 4}, // one convolution of 80+32 a level
	{"picodet_s_416", 416, "picodet", Distances, 80, 8, 4, []int{8, 16, 32, 64}, 4}, // likewise
	{"v5lite_e_320", 320, "yolov5", Anchors, 80, 0, 3, []int{8, 16, 32}, 3},         // sigmoided, not decoded
	{"fastestdet_352", 352, "fastestdet", TanhSigmoid, 80, 0, 1, []int{16}, 3},      // objectness, box, classes
	{"yolo_fastestv2_352", 352, "yolofastest", Anchors, 80, 0, 2, []int{16, 32}, 6}, // the same of two levels
}

// loadData loads a detector of the data folder with shapes inferred.
func loadData(t testing.TB, file string, size int) *onnx.Model {
	t.Helper()
	m, err := onnx.Load(testenv.Data(t, "models", file+".onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if err := shape.Infer(m, map[string][]int{m.Graph.Inputs[0].Name: {1, 3, size, size}}); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRecognizeDataModels(t *testing.T) {
	for _, want := range dataModels {
		t.Run(want.file, func(t *testing.T) {
			m := loadData(t, want.file, want.size)
			s, err := Recognize(m, "auto")
			if err != nil {
				t.Fatal(err)
			}
			if s.Family != want.family || s.Head.Coding != want.coding || s.Head.Classes != want.classes || s.Head.Bins != want.bins {
				t.Errorf("%s, %s, %d classes, %d bins: want %s, %s, %d, %d", s.Family, s.Head.Coding, s.Head.Classes, s.Head.Bins,
					want.family, want.coding, want.classes, want.bins)
			}
			if s.Head.ClassLogits || s.Head.ObjectLogits || s.Head.BoxLogits {
				t.Errorf("logits found, but all of these have their activations: %+v", s.Head)
			}
			if s.Width != want.size || s.Height != want.size || s.Batch != 1 || len(s.Names) != 80 || s.Names[79] != "toothbrush" {
				t.Errorf("input %dx%dx%d, names %v", s.Batch, s.Height, s.Width, s.Names)
			}
			var strides []int
			for _, l := range s.Head.Levels {
				if l.Stride > 0 {
					strides = append(strides, l.Stride)
				}
			}
			if len(s.Head.Levels) != want.levels || !reflect.DeepEqual(strides, want.strides) {
				t.Errorf("%d levels of strides %v: want %d of %v", len(s.Head.Levels), strides, want.levels, want.strides)
			}
			if heads := HeadNodes(m.Graph); len(heads) != want.heads {
				t.Errorf("heads %v: want %d", heads, want.heads)
			}
			if testing.Verbose() {
				t.Log(HeadNodes(m.Graph))
			}
			// Simplified, the graph must say the same.
			simple := loadData(t, want.file, want.size)
			if _, err := simplify.Run(simple); err != nil {
				t.Fatal(err)
			}
			if again, err := Recognize(simple, "auto"); err != nil || !reflect.DeepEqual(again, s) {
				t.Errorf("after simplification: %+v, %v: want %+v", again, err, s)
			}
			if heads := HeadNodes(simple.Graph); len(heads) != want.heads {
				t.Errorf("after simplification: heads %v: want %d", heads, want.heads)
			}
			if cut, found := CutNMS(m); found {
				t.Errorf("suppression found at %v", cut)
			}
			// The Spec is plain data: as JSON and back it is the same.
			text, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var again Spec
			if err := json.Unmarshal(text, &again); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*s, again) {
				t.Errorf("JSON changed the Spec:\n%+v\n%+v", *s, again)
			}
		})
	}
}
