package e2e

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// pngHeader is a PNG that says how large it is and holds no pixels.
func pngHeader(width, height uint32) []byte {
	chunk := func(kind string, data []byte) []byte {
		out := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
		out = append(append(out, kind...), data...)
		return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[4:]))
	}
	size := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height)
	data := append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", append(size, 8, 2, 0, 0, 0))...)
	return append(append(data, chunk("IDAT", nil)...), chunk("IEND", nil)...)
}

// folder links the first n pictures into a new folder and adds the broken ones.
func folder(t *testing.T, n int, broken map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range pictures(t, n) {
		if err := os.Symlink(p, filepath.Join(dir, filepath.Base(p))); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range broken {
		write(t, dir, name, data)
	}
	return dir
}

// TestBrokenPictures: one alone is an error that says what is wrong with it.
func TestBrokenPictures(t *testing.T) {
	program(t)
	model := testenv.Data(t, "models", "fastestdet_352.onnx")
	good := read(t, pictures(t, 1)[0])
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		data []byte
		word string
	}{
		{"cut.jpg", good[:len(good)/3], "broken JPEG"},
		{"header.jpg", []byte("\xff\xd8\xff\xe0"), "broken JPEG"},
		{"empty.jpg", nil, "empty"},
		{"wide.png", pngHeader(60000, 60000), "60000 x 60000 pixels"},
		{"flat.png", pngHeader(0, 0), "flat.png"},
		{"nothing.png", pngHeader(8, 8), "broken PNG"},
		{"text.jpg", []byte("no picture"), "text.jpg"},
	} {
		path := write(t, dir, c.name, c.data)
		before := contents(t, dir)
		for _, args := range [][]string{
			{"detect", model, path, "-o", filepath.Join(dir, "out")},
			{"calibrate", model, "--data", path, "-o", filepath.Join(dir, "out", "q.onnx")},
			{"build", model, "--int8", "--qat", "off", "--data", path, "-o", filepath.Join(dir, "out", "q.engine")},
		} {
			run(t, refusalLimit, dir, args...).expectRefusal(t, fault.CodeBadInput, c.name, c.word)
		}
		expectSame(t, dir, before)
	}
	for _, c := range []struct{ path, word string }{
		{t.TempDir(), "no images"}, {filepath.Join(dir, "absent"), "no such file"},
	} {
		r := run(t, refusalLimit, dir, "calibrate", model, "--data", c.path, "-o", filepath.Join(dir, "q.onnx"))
		r.expectRefusal(t, fault.CodeBadInput, c.path, c.word)
	}
}

// TestFewBrokenPictures: a broken picture among many is named, counted and left
// out; more than 5 % of them end the run.
func TestFewBrokenPictures(t *testing.T) {
	program(t)
	model := testenv.Data(t, "models", "fastestdet_352.onnx")
	good := read(t, pictures(t, 1)[0])
	out := t.TempDir()
	many := folder(t, 39, map[string][]byte{"broken.jpg": good[:len(good)/2], "zero.jpg": nil})
	r := run(t, workLimit, out, "calibrate", model, "--data", many, "--method", "absmax", "-o", filepath.Join(out, "q.onnx"), "--json")
	var got struct {
		Images  int
		Skipped []struct{ Path, Why string } `json:"skipped_images"`
	}
	r.expectJSON(t, &got)
	if got.Images != 41 || len(got.Skipped) != 2 {
		t.Errorf("%d images, left out %v; want 41, two of them left out", got.Images, got.Skipped)
	}
	for _, name := range []string{"broken.jpg", "zero.jpg"} {
		if strings.Count(r.err, name) != 1 || !strings.Contains(fmt.Sprint(got.Skipped), name) {
			t.Errorf("%s is not named once as left out:\n%s", name, r.err)
		}
	}
	few := folder(t, 9, map[string][]byte{"broken.jpg": good[:len(good)/2]})
	before := contents(t, out)
	for _, args := range [][]string{
		{"calibrate", model, "--data", few, "-o", filepath.Join(out, "r.onnx")},
		{"detect", model, few, "-o", out},
	} {
		run(t, workLimit, out, args...).expectRefusal(t, fault.CodeBadInput, "1 of 10 images", "5 %", "broken.jpg")
	}
	expectSame(t, out, before)
}
