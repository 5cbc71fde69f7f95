package coco

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// tree writes files under a fresh folder. Content "WxH" of an image name is a
// picture of that size.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		data := []byte(content)
		var w, h int
		if n, _ := fmt.Sscanf(content, "%dx%d", &w, &h); n == 2 && IsImageName(name) {
			data = encodePNG(t, gradient(w, h)) // recognised by content, whatever it is called
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// describe prints a data set, paths relative to dir.
func describe(d *Dataset, dir string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", d.Format)
	for _, im := range d.Images {
		rel, _ := filepath.Rel(dir, im.Path)
		fmt.Fprintf(&b, "image %d %s %s %dx%d\n", im.ID, im.FileName, filepath.ToSlash(rel), im.Width, im.Height)
	}
	for _, c := range d.Categories {
		fmt.Fprintf(&b, "category %d %s\n", c.ID, c.Name)
	}
	for _, a := range d.Annotations {
		fmt.Fprintf(&b, "object image %d category %d box %.4g area %.4g", a.ImageID, a.CategoryID, a.BBox, a.Area)
		if a.Crowd {
			b.WriteString(" crowd")
		}
		if a.Ignore {
			b.WriteString(" ignore")
		}
		b.WriteByte('\n')
	}
	for _, w := range d.Warnings {
		fmt.Fprintf(&b, "warning %s\n", strings.ReplaceAll(w, dir, ""))
	}
	return b.String()
}

const cocoText = `{
  "info": {"deep": [[{"a": [1, "x", null, true]}]]},
  "annotations": [
    {"id": 1, "image_id": 7, "category_id": 90, "bbox": [1, 2, 3.5, 4], "segmentation": [[1,2,3,4]], "iscrowd": 0},
    {"id": 2, "image_id": 3, "category_id": 1, "bbox": [-5, 0, 100, 4], "area": 20.5, "iscrowd": 1},
    {"id": 2, "image_id": 3, "category_id": 1, "bbox": [0, 0, 0, 4]},
    {"id": 4, "image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 4]},
    {"id": 5, "image_id": 3, "category_id": 2, "bbox": [0, 0, 1, 4]}
  ],
  "images": [
    {"id": 7, "file_name": "sub/b.jpg", "width": 640.0, "height": 480},
    {"id": 3, "file_name": "a.jpg"}
  ],
  "categories": [{"id": 90, "name": "brush"}, {"id": 1, "name": "person", "supercategory": "p"}],
  "licenses": null
}`

const cocoDescribed = `coco
image 7 sub/b.jpg %ssub/b.jpg 640x480
image 3 a.jpg %sa.jpg 0x0
category 1 person
category 90 brush
object image 7 category 90 box [1 2 3.5 4] area 14
object image 3 category 1 box [-5 0 100 4] area 20.5 crowd
object image 3 category 1 box [0 0 0 4] area 0
warning 1 annotations belong to images that are not listed and were left out
warning 1 annotations belong to categories that are not listed and were left out
warning 1 boxes have no area: no detection can match them
`

func TestOpenCOCOFindsImages(t *testing.T) {
	for _, c := range []struct{ json, under, images string }{
		{"truth.json", "", ""},
		{"truth.json", "images/", ""},
		{"truth.json", "elsewhere/", "elsewhere"},
		{"annotations/instances_val2017.json", "val2017/", ""},
		{"annotations/instances_val2017.json", "images/val2017/", ""},
	} {
		t.Run(c.json+" "+c.under, func(t *testing.T) {
			dir := tree(t, map[string]string{c.json: cocoText, c.under + "sub/b.jpg": "4x3", c.under + "a.jpg": "4x3"})
			images := ""
			if c.images != "" {
				images = filepath.Join(dir, c.images)
			}
			ds, err := Open(filepath.Join(dir, c.json), images)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := describe(ds, dir), fmt.Sprintf(cocoDescribed, c.under, c.under); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestOpenCOCOFlatFolderAndMissing(t *testing.T) {
	dir := tree(t, map[string]string{"truth.json": cocoText, "flat/b.jpg": "4x3"})
	ds, err := Open(filepath.Join(dir, "truth.json"), filepath.Join(dir, "flat"))
	if err != nil {
		t.Fatal(err)
	}
	if ds.Images[0].Path != filepath.Join(dir, "flat", "b.jpg") || !strings.Contains(ds.Warnings[len(ds.Warnings)-1], "1 of 2 images were not found") {
		t.Errorf("got\n%s", describe(ds, dir))
	}
	_, err = Open(filepath.Join(dir, "truth.json"), "")
	if fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "--images") {
		t.Errorf("no image at all: %v", err)
	}
}

// TestLinkedFolder: a link to a folder of pictures is one.
func TestLinkedFolder(t *testing.T) {
	dir, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	if err := os.WriteFile(filepath.Join(dir, "a.jpg"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, link); err != nil {
		t.Skip(err)
	}
	if ds, err := Open(link, ""); err != nil || len(ds.Images) != 1 || ds.Images[0].FileName != "a.jpg" {
		t.Errorf("%+v, %v", ds, err)
	}
	// In it too, each folder once, though links go in a circle; under its own name where it has one.
	other := t.TempDir()
	for path, target := range map[string]string{"0": filepath.Join(dir, "sub"), "again": dir, "other": other, ".hidden": other, "broken": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(dir, path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "sub", "b.jpg"), filepath.Join(other, "c.jpg")} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ds, err := Open(link, "")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, im := range ds.Images {
		names = append(names, im.FileName)
	}
	if want := []string{"a.jpg", "other/c.jpg", "sub/b.jpg"}; !slices.Equal(names, want) {
		t.Errorf("found %q, want %q", names, want)
	}
}

func TestOpenFolders(t *testing.T) {
	const voc = `<annotation><filename>%s</filename><size><width>50</width><height>40</height></size>
<object><name>%s</name><difficult>%d</difficult><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax></bndbox></object></annotation>`
	for _, c := range []struct {
		name  string
		files map[string]string
		path  string
		want  string
	}{
		{"plain", map[string]string{"b.PNG": "1x1", "a/z.jpg": "1x1", "a/.hidden.jpg": "1x1", ".git/x.png": "1x1", "notes.md": "", "c.tiff": "1x1"}, "", `folder
image 1 a/z.jpg a/z.jpg 0x0
image 2 b.PNG b.PNG 0x0
image 3 c.tiff c.tiff 0x0
`},
		{"list", map[string]string{"lists/val.txt": "\ufeff# mine\n\n../x/b.jpg\r\n ../x/a.jpg \n../x/b.jpg\n", "x/a.jpg": "1x1", "x/b.jpg": "1x1"}, "lists/val.txt", `list
image 1 ../x/b.jpg x/b.jpg 0x0
image 2 ../x/a.jpg x/a.jpg 0x0
warning /lists/val.txt names ../x/b.jpg more than once
`},
		{"image", map[string]string{"one.webp": "1x1"}, "one.webp", `image
image 1 one.webp one.webp 0x0
`},
		{"VOC, its own classes", map[string]string{
			"Annotations/2.xml": fmt.Sprintf(voc, "2.jpg", "dog", 0), "Annotations/1.xml": fmt.Sprintf(voc, "wrong.bin", "cat", 1),
			"JPEGImages/2.jpg": "50x40", "JPEGImages/1.png": "50x40"}, "", `voc
image 1 1.png JPEGImages/1.png 50x40
image 2 2.jpg JPEGImages/2.jpg 50x40
` + vocCategories() + `object image 1 category 7 box [0 1 10 19] area 190 ignore
object image 2 category 11 box [0 1 10 19] area 190
`},
		{"VOC, other classes", map[string]string{
			"Annotations/2.xml": fmt.Sprintf(voc, "2.jpg", "zebra", 0), "Annotations/1.xml": fmt.Sprintf(voc, "1.jpg", "cat", 0),
			"JPEGImages/2.jpg": "50x40", "JPEGImages/1.jpg": "50x40"}, "", `voc
image 1 1.jpg JPEGImages/1.jpg 50x40
image 2 2.jpg JPEGImages/2.jpg 50x40
category 0 cat
category 1 zebra
object image 1 category 0 box [0 1 10 19] area 190
object image 2 category 1 box [0 1 10 19] area 190
`},
		{"YOLO", map[string]string{
			"images/b.jpg": "100x50", "images/a.jpg": "100x50", "images/none.jpg": "10x10", "labels/b.txt": "2 0.5 0.5 0.2 0.4\n\n0 0.1 0.2 0.3 0.2 0.3 0.6\n",
			"labels/a.txt": "", "classes.txt": "x\ny\nz\n"}, "", `yolo
image 1 a.jpg images/a.jpg 100x50
image 2 b.jpg images/b.jpg 100x50
image 3 none.jpg images/none.jpg 0x0
category 0 x
category 1 y
category 2 z
object image 2 category 2 box [40 15 20 20] area 400
object image 2 category 0 box [10 10 20 20] area 400
`},
		{"YOLO by its images folder, names in data.yaml", map[string]string{
			"images/val/b.jpg": "100x50", "labels/val/b.txt": "1.0 0.5 0.5 0.2 0.4", "data.yaml": "names: {1: dog, 0: cat}\nnc: 2\n"}, "images/val", `yolo
image 1 b.jpg images/val/b.jpg 100x50
category 0 cat
category 1 dog
object image 1 category 1 box [40 15 20 20] area 400
`},
		{"YOLO without names, a broken image", map[string]string{
			"images/b.jpg": "100x50", "labels/b.txt": "1 0.5 0.5 0.2 0.4", "images/c.jpg": "broken", "labels/c.txt": "1 0.5 0.5 0.2 0.4"}, "", `yolo
image 1 b.jpg images/b.jpg 100x50
image 2 c.jpg images/c.jpg 0x0
category 0 0
category 1 1
object image 1 category 1 box [40 15 20 20] area 400
warning read image header of /images/c.jpg: not a JPEG, PNG, BMP, WebP or TIFF file
`},
		{"data.yaml with folder and list", map[string]string{
			"d/data.yaml":           "path: ../data\ntrain: nowhere\nval: [images/val, more.txt]\nnames: [cat, dog]\n",
			"data/more.txt":         "./images/x/c.jpg\n",
			"data/images/val/b.jpg": "100x50", "data/labels/val/b.txt": "1 0.5 0.5 0.2 0.4", "data/images/x/c.jpg": "10x10", "data/labels/x/c.txt": "0 0.5 0.5 1 1"}, "d/data.yaml", `yolo
image 1 images/val/b.jpg data/images/val/b.jpg 100x50
image 2 ./images/x/c.jpg data/images/x/c.jpg 10x10
category 0 cat
category 1 dog
object image 1 category 1 box [40 15 20 20] area 400
object image 2 category 0 box [0 0 10 10] area 100
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tree(t, c.files)
			ds, err := Open(filepath.Join(dir, c.path), "")
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(ds, dir); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func vocCategories() string {
	var b strings.Builder
	for i, name := range vocNames() {
		fmt.Fprintf(&b, "category %d %s\n", i, name)
	}
	return b.String()
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name, file, content, want string
	}{
		{"nothing there", "x/y", "", "open data set"},
		{"unknown form", "model.onnx", "abc", "want a folder"},
		{"empty JSON", "a.json", "", "cut short"},
		{"garbage JSON", "a.json", "\x00\x01garbage", "not valid JSON"},
		{"JSON cut", "a.json", cocoText[:500], "cut short"},
		{"JSON and more", "a.json", `{"images":[]} {}`, "more follows"},
		{"results file", "a.json", `[{"image_id": 1}]`, "results file"},
		{"no images", "a.json", `{"categories": []}`, `no "images"`},
		{"images twice", "a.json", `{"images": [], "images": []}`, "twice"},
		{"images no list", "a.json", `{"images": {}}`, "not a list"},
		{"image without id", "a.json", `{"images": [{"file_name": "a.jpg"}]}`, "images[0]: it has no id"},
		{"image without name", "a.json", `{"images": [{"id": 3}]}`, "no file_name"},
		{"image id twice", "a.json", `{"images": [{"id": 3, "file_name": "a"}, {"id": 3, "file_name": "b"}]}`, "images[1]: id 3 is taken"},
		{"image id no number", "a.json", `{"images": [{"id": "x", "file_name": "a"}]}`, "whole number"},
		{"image id not whole", "a.json", `{"images": [{"id": 1.5, "file_name": "a"}]}`, "whole number"},
		{"image too wide", "a.json", `{"images": [{"id": 1, "file_name": "a", "width": 1e12}]}`, "1000000000000 x 0 pixels"},
		{"category id twice", "a.json", `{"images": [], "categories": [{"id": 1}, {"id": 1}]}`, "categories[1]: id 1 is taken"},
		{"objects without categories", "a.json", `{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0,0,1,1]}]}`, "no categories"},
		{"box of three numbers", "a.json", `{"images": [], "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0,0,1]}]}`, "annotations[0]: bbox has 3"},
		{"negative box", "a.json", `{"images": [], "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0,0,-1,1]}]}`, "negative size"},
		{"endless number", "a.json", `{"images": [], "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0,0,1e999,1]}]}`, "annotations[0]"},
		{"deep JSON", "a.json", `{"x": ` + strings.Repeat("[", 100000) + `}`, "deep"},
		{"deep annotation", "a.json", `{"images": [], "annotations": [{"x": ` + strings.Repeat("[", 100000), "depth"},
		{"no image in the JSON", "a.json", `{"images": []}`, "holds no images"},
		{"empty list", "a.txt", "\n", "holds no images"},
		{"binary list", "a.txt", "a\x00b", "not text"},
		{"list of other things", "a.txt", "a.jpg\nmodel.onnx\n", "entry 2"},
		{"empty YAML", "a.yaml", "", "neither val nor train"},
		{"garbage YAML", "a.yaml", "\tnames: [", "not a data set description"},
		{"other YAML", "a.yaml", "[1, 2]", "not a data set description"},
		{"YAML names no list", "a.yaml", "val: x\nnames: 7", "names"},
		{"YAML names with gaps", "a.yaml", "val: x\nnames: {0: a, 2: b}", "class 1"},
		{"YAML folder missing", "a.yaml", "val: x", "neither a folder nor a list"},
		{"YAML val of another kind", "a.yaml", "val: {a: b}", "val or train"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tree(t, map[string]string{"other.md": ""})
			path := filepath.Join(dir, c.file)
			if !strings.Contains(c.file, "/") {
				path = filepath.Join(tree(t, map[string]string{c.file: c.content}), c.file)
			}
			_, err := Open(path, "")
			if err == nil || fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q; want one line of bad input that says %q", err, c.want)
			}
		})
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"empty folder", map[string]string{"notes.md": ""}, "holds no images"},
		{"garbage XML", map[string]string{"Annotations/a.xml": "<annotation><obj"}, "a.xml: not valid XML"},
		{"empty XML", map[string]string{"Annotations/a.xml": ""}, "not valid XML"},
		{"other XML", map[string]string{"Annotations/a.xml": "<svg/>"}, "a.xml: expected element type"},
		{"XML entities", map[string]string{"Annotations/a.xml": `<!DOCTYPE x [<!ENTITY a "b">]><annotation><filename>&a;</filename></annotation>`}, "not valid XML"},
		{"XML without box", map[string]string{"Annotations/a.xml": "<annotation><object><name>x</name></object></annotation>"}, "no bndbox"},
		{"XML box no number", map[string]string{"Annotations/a.xml": "<annotation><object><name>x</name><bndbox><xmin>a</xmin></bndbox></object></annotation>"}, "a.xml"},
		{"XML box NaN", map[string]string{"Annotations/a.xml": "<annotation><object><name>x</name><bndbox><xmin>NaN</xmin></bndbox></object></annotation>"}, "coordinate NaN"},
		{"XML box backwards", map[string]string{"Annotations/a.xml": "<annotation><object><name>x</name><bndbox><xmin>5</xmin><xmax>2</xmax></bndbox></object></annotation>"}, "backwards"},
		{"class not listed", map[string]string{"classes.txt": "y\n", "Annotations/a.xml": "<annotation><object><name>x</name><bndbox/></object></annotation>"}, `"x" is not among`},
		{"YOLO class beyond the names", map[string]string{"images/a.jpg": "9x9", "labels/a.txt": "1 0 0 1 1", "classes.txt": "one"}, "class 1, but there are 1"},
		{"YOLO fields", map[string]string{"images/a.jpg": "9x9", "labels/a.txt": "\n1 0 0 1"}, "line 2 has 4 fields"},
		{"YOLO class negative", map[string]string{"images/a.jpg": "9x9", "labels/a.txt": "-1 0 0 1 1"}, "class"},
		{"YOLO class huge", map[string]string{"images/a.jpg": "9x9", "labels/a.txt": "1e9 0 0 1 1"}, "class"},
		{"YOLO text", map[string]string{"images/a.jpg": "9x9", "labels/a.txt": "a b c d e"}, "class"},
		{"YOLO pixels", map[string]string{"images/a.jpg": "9x9", "labels/a.txt": "0 100 100 20 20"}, "not a fraction"},
		{"YOLO NaN", map[string]string{"images/a.jpg": "9x9", "labels/a.txt": "0 NaN 0 1 1"}, "not a fraction"},
		{"YOLO negative size", map[string]string{"images/a.jpg": "9x9", "labels/a.txt": "0 0 0 -1 1"}, "negative box size"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(tree(t, c.files), "")
			if err == nil || fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q; want one line of bad input that says %q", err, c.want)
			}
		})
	}
	if _, err := Open(tree(t, map[string]string{"a.jpg": "1x1"}), "x"); fault.Code(err) != fault.CodeUsage {
		t.Errorf("images folder for a plain folder: %v", err)
	}
}

func TestRestrict(t *testing.T) {
	dir := tree(t, map[string]string{
		"truth.json": cocoText, "images/sub/b.jpg": "1x1", "images/a.jpg": "1x1", "lists/paths.txt": "../images/a.jpg", "names.txt": "a.jpg\nsub/b.jpg\na.jpg\n",
		"lists/base.txt": "b.jpg", "wrong.txt": "sub/c.jpg", "twins/x/1.jpg": "1x1", "twins/y/1.jpg": "1x1", "one.txt": "1.jpg", "full.txt": "x/1.jpg"})
	open := func(list string) (*Dataset, error) {
		return OpenSubset(filepath.Join(dir, "truth.json"), "", filepath.Join(dir, list))
	}
	for list, want := range map[string][]int64{"lists/paths.txt": {3}, "names.txt": {3, 7}, "lists/base.txt": {7}} {
		ds, err := open(list)
		if err != nil {
			t.Fatal(err)
		}
		var ids []int64
		for _, im := range ds.Images {
			ids = append(ids, im.ID)
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%s: images %v, want %v", list, ids, want)
		}
		for _, a := range ds.Annotations {
			if !slices.Contains(want, a.ImageID) {
				t.Errorf("%s: kept an object of image %d", list, a.ImageID)
			}
		}
	}
	if _, err := open("wrong.txt"); fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "sub/c.jpg") {
		t.Errorf("unknown name: %v", err)
	}
	twins := filepath.Join(dir, "twins")
	if _, err := OpenSubset(twins, "", filepath.Join(dir, "one.txt")); fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "several") {
		t.Errorf("ambiguous name: %v", err)
	}
	if ds, err := OpenSubset(twins, "", filepath.Join(dir, "full.txt")); err != nil || len(ds.Images) != 1 {
		t.Errorf("full name: %v", err)
	}
}

func TestFirst(t *testing.T) {
	ds := &Dataset{Images: numbered(100), Categories: []Category{{ID: 1}}}
	for _, im := range ds.Images {
		ds.Annotations = append(ds.Annotations, Annotation{ImageID: im.ID, CategoryID: 1})
	}
	if first := ds.First(3); len(first.Images) != 3 || first.Images[2].ID != 3 || len(first.Annotations) != 3 {
		t.Errorf("first 3: %v", first.Images)
	}
	if ds.First(0) != ds || ds.First(1000) != ds || len(ds.Images) != 100 {
		t.Error("0 or too many is not the whole set")
	}
}

func TestOpenRealData(t *testing.T) {
	truth := testenv.Data(t, "coco", "annotations.json")
	ds, err := OpenSubset(truth, "", testenv.Data(t, "coco", "val.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if len(ds.Images) != 500 || len(ds.Annotations) != 4672 || ds.Categories[79].Name != "toothbrush" || ds.Categories[79].ID != 90 {
		t.Errorf("%d images, %d objects", len(ds.Images), len(ds.Annotations))
	}
	for _, im := range ds.Images {
		if w, h, err := DecodeSize(im.Path); err != nil || w != im.Width || h != im.Height {
			t.Errorf("%s: size %d x %d, %v; the data set says %d x %d", im.FileName, w, h, err, im.Width, im.Height)
		}
	}
	list, err := Open(testenv.Data(t, "coco", "train.txt"), "")
	if err != nil || len(list.Images) != 288 || !isFile(list.Images[0].Path) {
		t.Errorf("train.txt: %v", err)
	}
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add(cocoText)
	f.Add(cocoText[:300])
	f.Add(`[]`)
	f.Add(`{"images": [{"id": 1e400}]}`)
	f.Add(`{"images": [{"id": 1, "file_name": "a"}], "categories": [{"id": 0}], "annotations": [{"image_id": 1, "category_id": 0, "bbox": [0, 0, 1, 1], "iscrowd": true}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		ds, err := decodeJSON(strings.NewReader(text))
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error of several lines: %q", err)
			}
			return
		}
		var results []Result
		for _, a := range ds.Annotations {
			results = append(results, Result{a.ImageID, a.CategoryID, a.BBox, 1})
		}
		if m, err := Evaluate(ds, results, Options{Threads: 1}); err == nil && (m.AP50 > 1 || m.AP50 != Undefined && m.AP50 < 0) {
			t.Errorf("AP50 %v", m.AP50)
		}
	})
}

func FuzzParseLabels(f *testing.F) {
	f.Add([]byte("2 0.5 0.5 0.2 0.4\n0 0.1 0.2 0.3 0.2 0.3 0.6\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := parseLabels(data)
		for _, o := range objects {
			if err == nil && (o.w < 0 || o.h < 0 || o.class < 0) {
				t.Errorf("object %+v", o)
			}
		}
	})
}

// TestWithClasses: labels without names are of a detector with more classes, too.
func TestWithClasses(t *testing.T) {
	d, err := readLabels(nil, nil)
	if err != nil || !d.Unnamed || len(d.Categories) != 0 {
		t.Fatalf("%+v, %v", d, err)
	}
	more := d.WithClasses(3)
	if len(more.Categories) != 3 || more.Categories[2] != (Category{ID: 2, Name: "2"}) || len(d.Categories) != 0 {
		t.Errorf("%+v, before %+v", more.Categories, d.Categories)
	}
	if less := more.WithClasses(2); less != more {
		t.Errorf("%+v", less.Categories)
	}
	if d, err = readLabels(nil, []string{"one"}); err != nil || d.WithClasses(3) != d {
		t.Errorf("with names: %+v, %v", d, err)
	}
}
