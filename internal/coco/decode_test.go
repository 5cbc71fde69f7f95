package coco

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// readWithOpenCV has cv2.imread decode files; each result is stored as the raw
// RGB bytes in a file beside a list of sizes.
const readWithOpenCV = `
import sys, json, numpy, cv2
out = sys.argv[1]
sizes = []
for i, path in enumerate(json.load(open(sys.argv[2]))):
    a = cv2.imread(path, cv2.IMREAD_COLOR)
    sizes.append([a.shape[1], a.shape[0]])
    numpy.ascontiguousarray(a[:, :, ::-1]).tofile(f"{out}/{i}.rgb")
print(json.dumps(sizes))
`

// openCV decodes files with cv2.imread.
func openCV(t *testing.T, paths []string) []detect.Pixels {
	t.Helper()
	dir := t.TempDir()
	list, _ := json.Marshal(paths)
	listPath := filepath.Join(dir, "list.json")
	if err := os.WriteFile(listPath, list, 0o644); err != nil {
		t.Fatal(err)
	}
	var sizes [][2]int
	if err := json.Unmarshal([]byte(testenv.RunPython(t, readWithOpenCV, dir, listPath)), &sizes); err != nil {
		t.Fatal(err)
	}
	out := make([]detect.Pixels, len(paths))
	for i, size := range sizes {
		raw, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i, ".rgb")))
		if err != nil {
			t.Fatal(err)
		}
		out[i] = detect.Pixels{W: size[0], H: size[1], RGB: raw}
	}
	return out
}

// difference is the largest and the mean absolute difference in levels.
func difference(a, b detect.Pixels) (most int, mean float64) {
	sum := 0
	for i := range a.RGB {
		d := int(a.RGB[i]) - int(b.RGB[i])
		d = max(d, -d)
		sum += d
		most = max(most, d)
	}
	return most, float64(sum) / float64(len(a.RGB))
}

func TestDecodeEqualsOpenCVOnCOCO(t *testing.T) {
	const (
		every    = 12  // of the 788 images
		mostMean = 0.1 // levels; the inverse DCTs round differently
		mostDiff = 4
	)
	found, err := filepath.Glob(filepath.Join(testenv.Data(t, "coco", "images"), "*.jpg"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no images: %v", err)
	}
	var paths []string
	for i, path := range found {
		if i%every == 0 || strings.HasSuffix(path, "000000007888.jpg") { // the grey one
			paths = append(paths, path)
		}
	}
	most, sum := 0, 0.0
	for i, want := range openCV(t, paths) {
		got, err := Decode(paths[i])
		if err != nil {
			t.Fatal(err)
		}
		if got.W != want.W || got.H != want.H {
			t.Fatalf("%s: %d x %d pixels, want %d x %d", paths[i], got.W, got.H, want.W, want.H)
		}
		d, mean := difference(got, want)
		most, sum = max(most, d), sum+mean
		if mean > mostMean || d > mostDiff {
			t.Errorf("%s: differs from cv2.imread by %d levels at most, %.4f on average; want <= %d, %.2f", paths[i], d, mean, mostDiff, mostMean)
		}
	}
	t.Logf("%d images: largest difference %d levels, mean %.5f", len(paths), most, sum/float64(len(paths)))
}

// writeSamples makes one file of every kind, odd sizes included.
const writeSamples = `
import sys, json, numpy, cv2
from PIL import Image
out = sys.argv[1]
rng = numpy.random.default_rng(1)
def picture(w, h):
    a = rng.integers(0, 256, (max(2, h // 6), max(2, w // 6), 3), dtype=numpy.uint8)
    a = cv2.resize(a, (w, h), interpolation=cv2.INTER_CUBIC)
    return numpy.ascontiguousarray(a)
files = []
def add(name):
    files.append(name)
    return f"{out}/{name}"
sampling = {"444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
            "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, "440": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
            "411": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411}
for name, factor in sampling.items():
    for w, h in [(64, 48), (65, 47), (33, 1), (1, 33), (3, 3), (4, 4), (5, 2), (16, 17)]:
        cv2.imwrite(add(f"jpeg_{name}_{w}x{h}.jpg"), picture(w, h), [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_QUALITY, 90])
    cv2.imwrite(add(f"jpeg_{name}_progressive.jpg"), picture(75, 51), [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    cv2.imwrite(add(f"jpeg_{name}_restart.jpg"), picture(75, 51), [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_RST_INTERVAL, 2])
im = Image.fromarray(picture(61, 45))
im.convert("L").save(add("jpeg_grey.jpg"), quality=95)
im.convert("CMYK").save(add("jpeg_cmyk.jpg"), quality=95)
im.save(add("png_rgb.png"))
im.convert("L").save(add("png_grey.png"))
im.convert("1").save(add("png_bit.png"))
im.convert("P").save(add("png_palette.png"))
im.quantize(200).save(add("png_transparent_palette.png"), transparency=bytes(range(200)))
rgba = numpy.dstack([picture(61, 45), rng.integers(0, 256, (45, 61), dtype=numpy.uint8)])
Image.fromarray(rgba).save(add("png_rgba.png"))
Image.fromarray(rgba).convert("LA").save(add("png_la.png"))
cv2.imwrite(add("png_rgb16.png"), rng.integers(0, 65536, (45, 61, 3), dtype=numpy.uint16))
cv2.imwrite(add("png_rgba16.png"), rng.integers(0, 65536, (45, 61, 4), dtype=numpy.uint16))
cv2.imwrite(add("png_grey16.png"), rng.integers(0, 65536, (45, 61), dtype=numpy.uint16))
im.save(add("bmp_rgb.bmp"))
im.convert("L").save(add("bmp_grey.bmp"))
im.convert("P").save(add("bmp_palette.bmp"))
im.save(add("tiff_rgb.tif"))
im.convert("L").save(add("tiff_grey.tiff"))
im.save(add("tiff_lzw.tif"), compression="tiff_lzw")
im.save(add("webp_lossless.webp"), lossless=True)
im.save(add("webp_lossy.webp"), quality=90)
Image.fromarray(picture(64, 46)).save(add("webp_even.webp"), quality=90)
for orientation in range(0, 10):
    exif = Image.Exif()
    exif[0x0112] = orientation
    im.save(add(f"jpeg_exif_{orientation}.jpg"), exif=exif, quality=95, subsampling=2)
exif = Image.Exif()
exif[0x0112] = 6
im.save(add("png_exif_6.png"), exif=exif)
im.save(add("webp_exif_6.webp"), exif=exif, lossless=True)
exif[0x0112] = 3 # OpenCV 5.0 fails where a TIFF lies on its side
im.save(add("tiff_exif_3.tif"), exif=exif)
im.save(add("jpeg_endless.jpg"), quality=95)
with open(f"{out}/{files[-1]}", "rb+") as f:
    f.truncate(f.seek(-2, 2))
print(json.dumps(files))
`

func TestDecodeEveryKindAsOpenCV(t *testing.T) {
	// Levels allowed: what is stored exactly must come out exactly. JPEG's
	// inverse DCT rounds differently here and there, more than a level where the
	// colour conversion multiplies it.
	allowed := map[string]struct {
		most int
		mean float64
	}{
		"jpeg": {4, 0.3}, // tiny files have few pixels to average
		"webp": {2, 0.3},
		"png":  {}, "bmp": {}, "tiff": {},
	}
	dir := t.TempDir()
	var names, paths []string
	if err := json.Unmarshal([]byte(testenv.RunPython(t, writeSamples, dir)), &names); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		paths = append(paths, filepath.Join(dir, name))
	}
	for i, want := range openCV(t, paths) {
		t.Run(names[i], func(t *testing.T) {
			got, err := Decode(paths[i])
			if err != nil {
				t.Fatal(err)
			}
			if got.W != want.W || got.H != want.H {
				t.Fatalf("%d x %d pixels, want %d x %d", got.W, got.H, want.W, want.H)
			}
			kind, _, _ := strings.Cut(names[i], "_")
			if d, mean := difference(got, want); d > allowed[kind].most || mean > allowed[kind].mean {
				t.Errorf("differs from cv2.imread by %d levels at most, %.4f on average; want <= %+v", d, mean, allowed[kind])
			}
			if w, h, err := DecodeSize(paths[i]); w != want.W || h != want.H || err != nil {
				t.Errorf("DecodeSize = %d, %d, %v; want %d, %d", w, h, err, want.W, want.H)
			}
		})
	}
}

// gradient is a picture with every channel in use.
func gradient(w, h int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetNRGBA(x, y, color.NRGBA{uint8(x * 7), uint8(y * 5), uint8(x ^ y), 255})
		}
	}
	return img
}

func encodePNG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func encodeJPEG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pngHeader is a PNG file that says it is w x h and holds nothing.
func pngHeader(w, h uint32) []byte {
	body := append([]byte("IHDR"), 0, 0, 0, 0, 0, 0, 0, 0, 8, 2, 0, 0, 0)
	binary.BigEndian.PutUint32(body[4:], w)
	binary.BigEndian.PutUint32(body[8:], h)
	out := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d")
	out = append(out, body...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(body))
}

func TestDecodeRefusesBrokenFiles(t *testing.T) {
	whole := encodeJPEG(t, gradient(64, 48))
	scrambled := bytes.Clone(whole)
	for i := len(scrambled) / 2; i < len(scrambled); i++ {
		scrambled[i] = 0xff
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "empty"},
		{"text", []byte("this is no picture"), "not a JPEG"},
		{"JPEG cut in the scan", whole[:len(whole)*2/3], "broken JPEG"},
		{"JPEG cut in the header", whole[:100], "broken JPEG"},
		{"JPEG two bytes", whole[:2], "broken JPEG"},
		{"JPEG scrambled", scrambled, "broken JPEG"},
		{"PNG of 60,000 x 60,000 pixels", pngHeader(60000, 60000), "60000 x 60000 pixels"},
		{"PNG of 60,000 x 2,000 pixels", pngHeader(60000, 2000), "60000 x 2000 pixels"},
		{"PNG wide, small, without content", pngHeader(60000, 1), "broken PNG"},
		{"PNG of no pixels", pngHeader(0, 5), "broken PNG"},
		{"PNG of 2^31 pixels", pngHeader(1<<31, 1), "broken PNG"},
		{"PNG cut", encodePNG(t, gradient(64, 48))[:200], "broken PNG"},
		{"BMP cut", []byte("BM\x00\x00"), "broken BMP"},
		{"WebP cut", []byte("RIFF\x10\x00\x00\x00WEBPVP8 "), "broken WebP"},
		{"TIFF cut", []byte("II*\x00\x08\x00\x00\x00"), "broken TIFF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.jpg")
			if err := os.WriteFile(path, c.data, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Decode(path)
			if err == nil || fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q; want bad input that names the file and says %q", err, c.want)
			}
		})
	}
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "absent.jpg"), "/dev/zero"} {
		if _, err := Decode(path); fault.Code(err) != fault.CodeBadInput {
			t.Errorf("Decode(%s): %v; want bad input", path, err)
		}
		if _, _, err := DecodeSize(path); fault.Code(err) != fault.CodeBadInput {
			t.Errorf("DecodeSize(%s): %v; want bad input", path, err)
		}
	}
}

func TestOrientedMovesCorners(t *testing.T) {
	// 0 1
	// 2 3
	// 4 5
	px := detect.Pixels{W: 2, H: 3}
	for v := range uint8(6) {
		px.RGB = append(px.RGB, v, v, v)
	}
	for orientation, want := range map[int]string{
		0: "01 23 45", 1: "01 23 45", 2: "10 32 54", 3: "54 32 10", 4: "45 23 01",
		5: "024 135", 6: "420 531", 7: "531 420", 8: "135 024", 9: "01 23 45",
	} {
		out := oriented(px, orientation)
		var got strings.Builder
		for i := 0; i < len(out.RGB); i += 3 {
			if i > 0 && i/3%out.W == 0 {
				got.WriteByte(' ')
			}
			got.WriteByte('0' + out.RGB[i])
		}
		if got.String() != want {
			t.Errorf("orientation %d: %s, want %s", orientation, got.String(), want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	jpg := encodeJPEG(f, gradient(20, 13))
	f.Add(jpg)
	f.Add(jpg[:len(jpg)/2])
	f.Add(encodePNG(f, gradient(9, 5)))
	f.Add(pngHeader(60000, 60000))
	f.Add([]byte("BM"))
	f.Add([]byte("RIFF\x10\x00\x00\x00WEBPVP8L"))
	f.Add([]byte("II*\x00\x08\x00\x00\x00\x01\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		format, config, err := safeHeader(data)
		if err != nil || config.Width*config.Height > 1<<20 {
			return
		}
		_ = format
		px, err := DecodeBytes(data)
		if err == nil && len(px.RGB) != 3*px.W*px.H {
			t.Errorf("%d bytes for %d x %d pixels", len(px.RGB), px.W, px.H)
		}
	})
}

// safeHeader is header with a decoder's panic turned into an error, as its
// callers do.
func safeHeader(data []byte) (format imageFormat, config image.Config, err error) {
	defer recovered(&err)
	return header(data)
}

func BenchmarkDecode(b *testing.B) {
	found, _ := filepath.Glob(filepath.Join(testenv.Data(b, "coco", "images"), "*.jpg"))
	found = found[:min(len(found), 64)]
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := Decode(found[i%len(found)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
