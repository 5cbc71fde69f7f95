package npy

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// everyType has one array of each element type, and shapes from a scalar to four
// axes.
func everyType() map[string]*Array {
	long := make([]float32, 3*70001)
	for i := range long {
		long[i] = float32(i) * 0.5
	}
	return map[string]*Array{
		"f4":     {[]int{2, 3}, []float32{1, -2.5, float32(math.Inf(1)), 0, 1e-40, 3}},
		"f8":     {[]int{2}, []float64{math.Pi, -1e300}},
		"i1":     {[]int{3, 1}, []int8{-128, 0, 127}},
		"i2":     {[]int{1, 2}, []int16{-32768, 32767}},
		"i4":     {[]int{2}, []int32{math.MinInt32, 7}},
		"i8":     {[]int{1, 1, 2, 1}, []int64{math.MinInt64, math.MaxInt64}},
		"u1":     {[]int{4}, []uint8{0, 1, 2, 255}},
		"u2":     {[]int{1}, []uint16{65535}},
		"u4":     {[]int{1}, []uint32{math.MaxUint32}},
		"u8":     {[]int{1}, []uint64{math.MaxUint64}},
		"bool":   {[]int{3}, []bool{true, false, true}},
		"scalar": {[]int{}, []float32{42}},
		"empty":  {[]int{0, 3}, []int64{}},
		"long":   {[]int{3, 70001}, long},
	}
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	for name, want := range everyType() {
		path := filepath.Join(dir, name+".npy")
		if err := Write(path, want); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read %v, %v", name, got, err)
		}
	}
}

func TestNumpyReadsWhatWeWrite(t *testing.T) {
	dir := t.TempDir()
	for name, a := range everyType() {
		if err := Write(filepath.Join(dir, name+".npy"), a); err != nil {
			t.Fatal(err)
		}
	}
	out := testenv.RunPython(t, `
import sys, json, glob, os, numpy
print(json.dumps({os.path.basename(p)[:-4]: [str(a.dtype), list(a.shape), [str(v) for v in a.ravel()[:6].tolist()]]
    for p in glob.glob(sys.argv[1] + "/*.npy") for a in [numpy.load(p)]}))`, dir)
	var got map[string][3]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"f4": "[float32 [2 3] [1.0 -2.5 inf 0.0 9.99994610111476e-41 3.0]]", "f8": "[float64 [2] [3.141592653589793 -1e+300]]",
		"i1": "[int8 [3 1] [-128 0 127]]", "i2": "[int16 [1 2] [-32768 32767]]", "i4": "[int32 [2] [-2147483648 7]]",
		"i8": "[int64 [1 1 2 1] [-9223372036854775808 9223372036854775807]]", "u1": "[uint8 [4] [0 1 2 255]]", "u2": "[uint16 [1] [65535]]",
		"u4": "[uint32 [1] [4294967295]]", "u8": "[uint64 [1] [18446744073709551615]]", "bool": "[bool [3] [True False True]]",
		"scalar": "[float32 [] [42.0]]", "empty": "[int64 [0 3] []]", "long": "[float32 [3 70001] [0.0 0.5 1.0 1.5 2.0 2.5]]",
	} {
		if s := fmt.Sprint(got[name]); s != want {
			t.Errorf("%s: numpy reads %s, want %s", name, s, want)
		}
	}
}

func TestReadWhatNumpyWrites(t *testing.T) {
	dir := t.TempDir()
	testenv.RunPython(t, `
import sys, numpy
d = sys.argv[1] + "/"
a = numpy.arange(24).reshape(2, 3, 4)
numpy.save(d + "c.npy", a.astype("int64"))
numpy.save(d + "fortran.npy", numpy.asfortranarray(a.astype("float32")))
numpy.save(d + "transposed.npy", a.astype("uint8").T)
numpy.save(d + "big.npy", a.astype(">i4"))
numpy.save(d + "half.npy", numpy.array([0, -0.0, 1, -2.5, 65504, 6e-8, 1e-5, numpy.inf, -numpy.inf, numpy.nan], "float16"))
numpy.save(d + "allhalf.npy", numpy.arange(65536, dtype="uint16").view("float16"))
numpy.save(d + "allwide.npy", numpy.arange(65536, dtype="uint16").view("float16").astype("float32"))
numpy.lib.format.write_array(open(d + "v3.npy", "wb"), a.astype("float64"), version=(3, 0))
numpy.savez(d + "plain.npz", images=a.astype("float32"), n=numpy.int64(7))
numpy.savez_compressed(d + "packed.npz", images=numpy.zeros((3, 100, 100), "uint8"), other=a[:1])
numpy.save(d + "object.npy", numpy.array([{}], dtype=object))
numpy.save(d + "complex.npy", numpy.array([1j]))
numpy.save(d + "records.npy", numpy.zeros(2, dtype=[("a", "<f4")]))
numpy.savez(d + "object.npz", a=numpy.array([{}], dtype=object))
with open(d + "two.npy", "wb") as f:
    numpy.save(f, a); numpy.save(f, a)
`, dir)
	count := func(n int, convert func(i int) float64) string {
		v := make([]float64, n)
		for i := range v {
			v[i] = convert(i)
		}
		return fmt.Sprint(v)
	}
	same := func(i int) float64 { return float64(i) }
	for _, c := range []struct{ name, shape, data, kind string }{
		{"c", "[2 3 4]", count(24, same), "[]int64"},
		{"fortran", "[2 3 4]", count(24, same), "[]float32"},
		{"transposed", "[4 3 2]", count(24, func(i int) float64 { return float64(i/6 + 4*(i/2%3) + 12*(i%2)) }), "[]uint8"},
		{"big", "[2 3 4]", count(24, same), "[]int32"},
		{"half", "[10]", "[0 -0 1 -2.5 65504 5.9604645e-08 1.001358e-05 +Inf -Inf NaN]", "[]float32"},
		{"v3", "[2 3 4]", count(24, same), "[]float64"},
	} {
		a, err := Read(filepath.Join(dir, c.name+".npy"))
		if err != nil {
			t.Fatal(err)
		}
		if s := fmt.Sprint(a.Shape); s != c.shape || fmt.Sprint(a.Data) != c.data || fmt.Sprintf("%T", a.Data) != c.kind {
			t.Errorf("%s: %s %T %v, want %s %s %s", c.name, s, a.Data, a.Data, c.shape, c.kind, c.data)
		}
	}
	half, err := Read(filepath.Join(dir, "allhalf.npy"))
	if err != nil {
		t.Fatal(err)
	}
	wide, err := Read(filepath.Join(dir, "allwide.npy"))
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range wide.Data.([]float32) {
		if got := half.Data.([]float32)[i]; math.Float32bits(got) != math.Float32bits(v) && v == v {
			t.Fatalf("float16 bits %#x: %v, numpy has %v", i, got, v)
		}
	}
	plain, err := ReadNPZ(filepath.Join(dir, "plain.npz"))
	if err != nil || len(plain) != 2 || fmt.Sprint(plain["images"].Data) != count(24, same) || fmt.Sprint(*plain["n"]) != "{[] [7]}" {
		t.Errorf("plain.npz: %v, %v", plain, err)
	}
	packed, err := ReadNPZ(filepath.Join(dir, "packed.npz"))
	if err != nil || fmt.Sprint(packed["images"].Shape) != "[3 100 100]" || fmt.Sprint(packed["other"].Shape) != "[1 3 4]" {
		t.Errorf("packed.npz: %v", err)
	}
	for name, want := range map[string]string{"object.npy": "element type", "complex.npy": "element type", "records.npy": "records", "two.npy": "follow the header"} {
		if _, err := Read(filepath.Join(dir, name)); fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v; want bad input that says %q", name, err, want)
		}
	}
	if _, err := ReadNPZ(filepath.Join(dir, "object.npz")); fault.Code(err) != fault.CodeBadInput {
		t.Errorf("object.npz: %v", err)
	}
}

func TestItems(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.npy")
	if err := Write(path, &Array{[]int{3, 2, 2}, []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}}); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range f.Len() {
		a, err := f.Item(i)
		if want := fmt.Sprint([]int{4 * i, 4*i + 1, 4*i + 2, 4*i + 3}); err != nil || fmt.Sprint(a.Shape) != "[2 2]" || fmt.Sprint(a.Data) != want {
			t.Errorf("item %d: %v, %v; want %s", i, a, err, want)
		}
	}
	for _, i := range []int{-1, 3} {
		if _, err := f.Item(i); err == nil {
			t.Errorf("item %d of 3: no error", i)
		}
	}
}

// file is a .npy file of version 1 with this dictionary and so many bytes of
// elements.
func file(dictionary string, elements int) []byte {
	b := []byte(magic + "\x01\x00")
	b = append(b, byte(len(dictionary)), byte(len(dictionary)>>8))
	b = append(b, dictionary...)
	return append(b, make([]byte, elements)...)
}

func TestReadRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "too short"},
		{"text", []byte("a text file called .npy"), "not a .npy file"},
		{"version", []byte(magic + "\x09\x00\x00\x00"), "version 9"},
		{"header cut", []byte(magic + "\x01\x00\x50\x00{'descr'"), "too short"},
		{"length cut", []byte(magic + "\x02\x00\x50"), "too short"},
		{"huge header", []byte(magic + "\x02\x00\xff\xff\xff\xff"), "4294967295 bytes"},
		{"no dictionary", file("abc", 0), "dictionary"},
		{"dictionary open", file("{'descr': '<f4', ", 0), "want a quoted text"},
		{"text open", file("{'descr': '<f4", 0), "records"},
		{"entry missing", file("{'descr': '<f4', 'shape': (1,)}", 4), `no "fortran_order"`},
		{"entry twice", file("{'descr': '<f4', 'descr': '<f4'}", 4), "descr"},
		{"entry unknown", file("{'other': 1}", 4), "unknown entry"},
		{"order", file("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", 4), "neither True nor False"},
		{"type", file("{'descr': '<f3', 'fortran_order': False, 'shape': (1,)}", 4), "element type"},
		{"type order", file("{'descr': '?f4', 'fortran_order': False, 'shape': (1,)}", 4), "element type"},
		{"shape number", file("{'descr': '<f4', 'fortran_order': False, 'shape': 3}", 4), "not a tuple"},
		{"shape negative", file("{'descr': '<f4', 'fortran_order': False, 'shape': (-3,)}", 4), "not a size"},
		{"shape open", file("{'descr': '<f4', 'fortran_order': False, 'shape': (3", 4), "does not end"},
		{"size overflow", file("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", 4), "not a size"},
		{"product overflow", file("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", 4), "more than any file"},
		{"product wraps to 0", file("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}", 0), "more than any file"},
		{"65 axes", file("{'descr': '<f4', 'fortran_order': False, 'shape': ("+strings.Repeat("1,", 65)+")}", 4), "dimensions"},
		{"elements missing", file("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000,)}", 4), "needs 4000000000 bytes, but 4"},
		{"elements left over", file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 5), "but 5 follow"},
		{"after the dictionary", file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", 4), "more follows"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.npy")
			if err := os.WriteFile(path, c.data, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Read(path)
			if err == nil || fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q; want bad input that names the file and says %q", err, c.want)
			}
		})
	}
	for _, path := range []string{t.TempDir(), "/dev/zero", filepath.Join(t.TempDir(), "absent")} {
		if _, err := Read(path); fault.Code(err) != fault.CodeBadInput {
			t.Errorf("Read(%s): %v", path, err)
		}
		if _, err := ReadNPZ(path); fault.Code(err) != fault.CodeBadInput {
			t.Errorf("ReadNPZ(%s): %v", path, err)
		}
	}
}

func TestReadNPZRefuses(t *testing.T) {
	good := file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4)
	archive := func(fill func(*zip.Writer)) []byte {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		fill(w)
		w.Close()
		return b.Bytes()
	}
	add := func(w *zip.Writer, name string, data []byte) {
		f, _ := w.Create(name)
		f.Write(data)
	}
	raw := func(w *zip.Writer, size, packed uint64, data []byte) {
		f, _ := w.CreateRaw(&zip.FileHeader{Name: "a.npy", Method: zip.Store, UncompressedSize64: size, CompressedSize64: packed})
		f.Write(data)
	}
	whole := archive(func(w *zip.Writer) { add(w, "a.npy", good) })
	damaged := bytes.Clone(whole)
	damaged[bytes.Index(damaged, []byte("PK\x07\x08"))-6] ^= 0x55 // in the compressed elements
	for name, data := range map[string][]byte{
		"empty":            nil,
		"no zip":           good,
		"cut":              whole[:len(whole)/2],
		"damaged":          damaged,
		"no arrays":        archive(func(*zip.Writer) {}),
		"something else":   archive(func(w *zip.Writer) { add(w, "readme.txt", good) }),
		"twice":            archive(func(w *zip.Writer) { add(w, "a.npy", good); add(w, "a.npy", good) }),
		"no array inside":  archive(func(w *zip.Writer) { add(w, "a.npy", []byte("x")) }),
		"said to be huge":  archive(func(w *zip.Writer) { raw(w, 1<<40, 4, good) }),
		"said to be large": archive(func(w *zip.Writer) { raw(w, 1<<31, 1<<31, good) }),
	} {
		path := filepath.Join(t.TempDir(), "a.npz")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if a, err := ReadNPZ(path); err == nil || fault.Code(err) != fault.CodeBadInput {
			t.Errorf("%s: %v, %v; want bad input", name, a, err)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.npy")
	for _, a := range []*Array{{[]int{2}, []float32{1}}, {[]int{-1}, []float32{}}, {[]int{1}, []string{"x"}}, {[]int{1}, nil}} {
		if err := Write(path, a); err == nil {
			t.Errorf("%v: no error", a)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a file was left behind")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4))
	f.Add(file("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3, )}", 12))
	f.Add(file("{'descr': '<f2', 'fortran_order': False, 'shape': ()}", 2))
	path := filepath.Join(f.TempDir(), "a.npy")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		a, err := Read(path)
		if err != nil {
			return
		}
		if err := Write(path, a); err != nil {
			t.Fatalf("read %v, but cannot write it: %v", a, err)
		}
		if _, err := Read(path); err != nil {
			t.Fatalf("cannot read again: %v", err)
		}
	})
}
