package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/npy"
	"trtact/internal/testenv"
)

// TestBadData gives labels that are none.
func TestBadData(t *testing.T) {
	program(t)
	model := testenv.Data(t, "models", "fastestdet_352.onnx")
	dir := t.TempDir()
	picture := read(t, pictures(t, 1)[0])
	write(t, dir, "voc/JPEGImages/a.jpg", picture)
	write(t, dir, "voc/Annotations/a.xml", []byte("<annotation><object><na"))
	write(t, dir, "a.jpg", picture)
	image := `{"id":1,"file_name":"a.jpg","width":640,"height":480}`
	category := `"categories":[{"id":1,"name":"cat"}]`
	full := `{"images":[` + image + `],"annotations":[{"id":1,"image_id":1,"category_id":1,"bbox":[1,2,3,4]}],` + category + `}`
	before := contents(t, dir)
	for _, c := range []struct {
		name, text string
		code       int
		word       string
	}{
		{"garbage.json", "\x00\x01garbage", fault.CodeBadInput, ""},
		{"cut.json", full[:len(full)/2], fault.CodeBadInput, "cut short"},
		{"list.json", "[]", fault.CodeBadInput, "images"},
		{"other.json", `{"a":1}`, fault.CodeBadInput, "images"},
		{"empty.json", "", fault.CodeBadInput, ""},
		{"type.json", strings.Replace(full, `"bbox":[1,2,3,4]`, `"bbox":"x"`, 1), fault.CodeBadInput, "bbox"},
		{"nan.json", strings.Replace(full, `[1,2,3,4]`, `[1,2,3,NaN]`, 1), fault.CodeBadInput, ""},
		{"lost.json", strings.Replace(full, "a.jpg", "nowhere.jpg", 1), fault.CodeBadInput, "nowhere.jpg"},
		{"classes.json", full, fault.CodeBadInput, "80 classes"},
		{"nolabels.txt", "a.jpg\n", fault.CodeUsage, "labels"},
	} {
		path := write(t, dir, c.name, []byte(c.text))
		run(t, refusalLimit, dir, "eval", model, "--data", path).expectRefusal(t, c.code, c.name, c.word)
		r := run(t, refusalLimit, dir, "build", model, "--fp16", "--val", path, "-o", filepath.Join(dir, "x.engine"))
		r.expectRefusal(t, c.code, c.name, c.word)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	run(t, refusalLimit, dir, "eval", model, "--data", "voc").expectRefusal(t, fault.CodeBadInput, "a.xml", "XML")
	expectSame(t, dir, before)
}

// TestBadArrays gives run arrays that do not fit the model.
func TestBadArrays(t *testing.T) {
	program(t)
	dir := t.TempDir()
	model := write(t, dir, "small.onnx", small(t, nil))
	save := func(name string, shape []int, data any) string {
		path := filepath.Join(dir, name)
		if err := npy.Write(path, &npy.Array{Shape: shape, Data: data}); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := save("good.npy", []int{1, 3, 64, 64}, make([]float32, 3*64*64))
	data := read(t, good)
	huge := bytes.Replace(bytes.Clone(data), []byte("(1, 3, 64, 64, )"), []byte("(99999999, 9999)"), 1)
	if len(huge) != len(data) || bytes.Equal(huge, data) {
		t.Fatal("the header was not spoilt")
	}
	cases := []struct{ path, word string }{
		{save("shape.npy", []int{1, 3, 64}, make([]float32, 3*64)), "[1 3 64]"},
		{save("size.npy", []int{1, 4, 64, 64}, make([]float32, 4*64*64)), "[1 4 64 64]"},
		{save("type.npy", []int{1, 3, 64, 64}, make([]int64, 3*64*64)), "astype(numpy.float32)"},
		{write(t, dir, "garbage.npy", []byte("garbage")), "not a .npy file"},
		{write(t, dir, "empty.npy", nil), "empty.npy"},
		{write(t, dir, "cut.npy", data[:len(data)-5]), "cut.npy"},
		{write(t, dir, "header.npy", data[:20]), "header.npy"},
		{write(t, dir, "huge.npy", huge), "huge.npy"},
		{filepath.Join(dir, "absent.npy"), "no such file"},
		{dir, "folder"},
	}
	before := contents(t, dir)
	for _, c := range cases {
		r := run(t, refusalLimit, dir, "run", model, "--input", "images="+c.path, "--output-dir", filepath.Join(dir, "out"))
		r.expectRefusal(t, fault.CodeBadInput, c.word)
	}
	expectSame(t, dir, before)
	r := run(t, refusalLimit, dir, "run", model, "--input", "images="+good, "--output-dir", filepath.Join(dir, "out"))
	if r.code != 0 {
		t.Errorf("the good array was refused: %s", r.err)
	}
}

// TestBadPlans gives build and inspect plans that were spoilt.
func TestBadPlans(t *testing.T) {
	program(t)
	model := testenv.Data(t, "models", "fastestdet_352.onnx")
	dir := t.TempDir()
	r := run(t, workLimit, dir, "calibrate", model, "--data", listFile(t, dir, 2), "--method", "absmax", "-o", filepath.Join(dir, "q.onnx"), "-q")
	if r.code != 0 {
		t.Fatalf("calibrate: %s", r.err)
	}
	text := read(t, filepath.Join(dir, "q.plan.json"))
	spoil := func(change func(plan, site map[string]any)) []byte {
		var plan map[string]any
		if err := json.Unmarshal(text, &plan); err != nil {
			t.Fatal(err)
		}
		change(plan, plan["sites"].([]any)[0].(map[string]any))
		data, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	site := func(key string, value any) []byte {
		return spoil(func(_, s map[string]any) { s[key] = value })
	}
	nan := bytes.Replace(text, []byte(`"scale":`), []byte(`"scale":NaN,"old":`), 1)
	cases := []struct {
		name string
		data []byte
		word string
		load bool // found when it is read; else when it is applied to the model
	}{
		{"garbage.plan.json", []byte("{garbage"), "not a plan", true},
		{"cut.plan.json", text[:len(text)/2], "not a plan", true},
		{"unknown.plan.json", spoil(func(p, _ map[string]any) { p["mode"] = 1 }), "mode", true},
		{"version.plan.json", spoil(func(p, _ map[string]any) { p["version"] = 99 }), "version 99", true},
		{"nan.plan.json", nan, "not a plan", true},
		{"negative.plan.json", site("scale", -0.5), "scale -0.5", true},
		{"zero.plan.json", site("scale", 0), "scale 0", true},
		{"large.plan.json", site("scale", 1e300), "scale", true},
		{"type.plan.json", site("scale", "x"), "scale", true},
		{"tensor.plan.json", site("tensor", "nowhere"), `"nowhere"`, false},
		{"other.plan.json", spoil(func(p, _ map[string]any) {
			p["model"].(map[string]any)["sha256"] = strings.Repeat("0", 64)
		}), "another model", false},
	}
	for _, c := range cases {
		write(t, dir, c.name, c.data)
	}
	before := contents(t, dir)
	for _, c := range cases {
		r := run(t, refusalLimit, dir, "build", model, "--int8", "--plan", c.name, "-o", filepath.Join(dir, "new.engine"))
		r.expectRefusal(t, fault.CodeBadInput, c.name, c.word)
		if c.load {
			run(t, refusalLimit, dir, "inspect", c.name).expectRefusal(t, fault.CodeBadInput, c.name, c.word)
		}
	}
	expectSame(t, dir, before)
}
