package job

import (
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// pictureFiles writes pictures that are all different and wider than high.
func pictureFiles(t *testing.T, count int) []coco.Image {
	t.Helper()
	var list []coco.Image
	for k := range count {
		picture := image.NewRGBA(image.Rect(0, 0, 20, 12))
		for i := range 20 * 12 {
			picture.Set(i%20, i/20, color.RGBA{uint8(i), uint8(7 * i), uint8(13*i + 40*k), 255})
		}
		path := filepath.Join(t.TempDir(), "picture.png")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := png.Encode(file, picture); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		list = append(list, coco.Image{Path: path})
	}
	return list
}

// TestKeptPictures: a picture that was read is read once, whoever asks for it; what there
// is no memory for is read again; another size is another picture.
func TestKeptPictures(t *testing.T) {
	spec := &detect.Spec{Input: "x", Width: 16, Height: 16, Pixels: detect.PixelFormat{Resize: detect.Letterbox,
		Interpolation: detect.Linear, Order: "bgr", Std: [3]float32{255, 255, 255}, Pad: 114}}
	d := &Detector{Spec: spec, Model: &onnx.Model{Graph: &onnx.Graph{}}}
	images := pictureFiles(t, 3)
	plain := Pictures{Detector: d, Images: images}
	var want [][]float32
	for i := range images {
		values, err := plain.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, values["x"].Floats())
	}
	m := &Machine{}
	kept := m.keeping(plain)
	if again := m.keeping(kept); again.(Pictures).kept != m.kept {
		t.Error("a machine has two places for its pictures")
	}
	m.kept.left = 2*3*16*16 + 5
	for range 2 {
		for i := range images {
			values, err := kept.Read(i)
			if err != nil {
				t.Fatal(err)
			}
			if got := values["x"].Floats(); !slices.Equal(got, want[i]) {
				t.Errorf("picture %d differs when pictures are kept", i)
			}
			clear(values["x"].Floats()) // the caller's own
		}
	}
	for _, im := range images {
		if err := os.Remove(im.Path); err != nil {
			t.Fatal(err)
		}
	}
	for i, fits := range []bool{true, true, false} {
		values, err := kept.Read(i)
		switch {
		case fits && err != nil:
			t.Errorf("picture %d was read again: %v", i, err)
		case fits && !slices.Equal(values["x"].Floats(), want[i]):
			t.Errorf("picture %d changed", i)
		case !fits && fault.Code(err) != fault.CodeBadInput:
			t.Errorf("picture %d was kept beyond the memory for it: %v", i, err)
		}
	}
	wider := *spec
	wider.Width = 32
	if _, err := m.kept.preprocess(images[0].Path, &wider, make([]float32, 3*16*32)); err == nil {
		t.Error("a picture of another size was taken for the one that is wanted")
	}
	if _, err := plain.Read(0); err == nil {
		t.Error("a picture was kept where none should be")
	}
}
