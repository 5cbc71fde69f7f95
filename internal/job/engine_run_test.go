package job

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/testenv"
	"trtact/trt"
)

func TestEngineShapes(t *testing.T) {
	profile := &trt.Profile{Min: []int{1, 3, 320, 320}, Opt: []int{8, 3, 640, 640}, Max: []int{16, 3, 1280, 1280}}
	for _, c := range []struct {
		in   trt.Tensor
		o    LoadOptions
		want string
	}{
		{trt.Tensor{Name: "x", Dims: []int{1, 3, 640, 640}}, LoadOptions{}, "map[]"},
		{trt.Tensor{Name: "x", Dims: []int{-1, 3, -1, -1}, Profile: profile}, LoadOptions{}, "map[x:[1 3 640 640]]"},
		{trt.Tensor{Name: "x", Dims: []int{-1, 3, -1, -1}, Profile: profile}, LoadOptions{Height: 320, Width: 416}, "map[x:[1 3 320 416]]"},
		{trt.Tensor{Name: "x", Dims: []int{-1, 3, 640, 640}, Profile: profile}, LoadOptions{Height: 320, Width: 320}, "map[x:[1 3 640 640]]"},
		{trt.Tensor{Name: "x", Dims: []int{-1, 3, -1, -1}}, LoadOptions{}, "map[]"}, // TensorRT knows its profile
	} {
		if got := fmt.Sprint(engineShapes([]trt.Tensor{c.in}, c.o)); got != c.want {
			t.Errorf("%+v, %+v: %s, want %s", c.in, c.o, got, c.want)
		}
	}
}

func TestEngineDetector(t *testing.T) {
	in := []trt.Tensor{{Name: "images", Type: "fp16", Dims: []int{2, 3, 640, 640}}}
	out := []trt.Tensor{{Name: "y", Type: "fp32", Dims: []int{2, 84, 8400}}}
	spec := &detect.Spec{Family: "yolov8", Input: "images", Batch: 1, Height: 640, Width: 640}
	artifact := func(s any) *trt.Artifact {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return &trt.Artifact{Detector: text, Precision: "int8, fp16"}
	}
	d, err := engineDetector("m.engine", in, out, artifact(spec), LoadOptions{})
	if err != nil || d.Spec.Family != "yolov8" || d.Spec.Batch != 2 || !d.Quantized || d.Name() != "m" {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err = engineDetector("m.engine", in, out, artifact(spec), LoadOptions{Family: "none"}); err != nil || d.Spec.Family != detect.None {
		t.Errorf("as no detector: %+v, %v", d, err)
	}
	if d, err = engineDetector("m.engine", in, out, artifact(spec), LoadOptions{Family: "yolov8", Pixels: "bgr,stretch"}); err != nil || d.Spec.Pixels.Order != "bgr" || d.Spec.Pixels.Resize != detect.Stretch {
		t.Errorf("with other pixels: %+v, %v", d, err)
	}
	if d, err = engineDetector("m.engine", in, out, &trt.Artifact{}, LoadOptions{AnyEngine: true}); err != nil || d.Spec.Family != detect.None || d.Spec.Input != "images" {
		t.Errorf("an engine that nothing is known of: %+v, %v", d, err)
	}
	other, small := *spec, *spec
	other.Input = "pictures"
	small.Width = 320
	for _, c := range []struct {
		a    *trt.Artifact
		o    LoadOptions
		code int
		want string
	}{
		{artifact(other), LoadOptions{}, fault.CodeBadInput, `input "pictures", which the engine does not have`},
		{artifact(small), LoadOptions{}, fault.CodeBadInput, `pictures of 640x320, and its input "images" is [2 3 640 640]`},
		{artifact("text"), LoadOptions{}, fault.CodeBadInput, "in a form that can be read"},
		{artifact(spec), LoadOptions{Height: 320, Width: 320}, fault.CodeUsage, "takes pictures of 640x640, not 320x320"},
		{artifact(spec), LoadOptions{Family: "yolox"}, fault.CodeBadInput, "of family yolov8, not yolox"},
		{&trt.Artifact{}, LoadOptions{}, fault.CodeBadInput, "--like"},
		{&trt.Artifact{}, LoadOptions{Like: "absent.onnx"}, fault.CodeBadInput, "absent.onnx"},
	} {
		if _, err := engineDetector("m.engine", in, out, c.a, c.o); fault.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v (exit code %d), want %q (%d)", c.want, err, fault.Code(err), c.want, c.code)
		}
	}
}

// The ONNX file that an engine was built from tells what its sidecar does not.
func TestEngineLike(t *testing.T) {
	model := testenv.Data(t, "models", "fastestdet_352.onnx")
	in := []trt.Tensor{{Name: "input.1", Type: "fp32", Dims: []int{1, 3, 352, 352}}}
	float, err := LoadDetector(model, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	in[0].Name = float.Spec.Input
	d, err := engineDetector("m.engine", in, nil, &trt.Artifact{}, LoadOptions{Like: model})
	if err != nil || d.Spec.Family != "fastestdet" || d.Spec.Head.Classes != 80 {
		t.Errorf("%+v, %v", d, err)
	}
	in[0].Name = "other"
	if _, err := engineDetector("m.engine", in, nil, &trt.Artifact{}, LoadOptions{Like: model}); fault.Code(err) != fault.CodeBadInput {
		t.Errorf("another input: %v", err)
	}
}
