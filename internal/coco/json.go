package coco

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"trtact/internal/fault"
)

// COCO's instances file is one JSON object with the lists images, categories and
// annotations. It can be large and its annotations carry polygons that nobody
// here needs, so it is read as a stream, one list element at a time, and every
// other field is skipped unseen.

// ReadJSON reads a COCO instances file without looking for its images:
// Image.Path stays empty. Errors are fault.BadInput.
func ReadJSON(path string) (*Dataset, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read COCO JSON: %w", err))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read COCO JSON: %w", err))
	}
	defer f.Close()
	d, err := decodeJSON(f)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read COCO JSON %s: %w", path, err))
	}
	d.Path = path
	return d, nil
}

func openCOCO(path, imagesDir string) (*Dataset, error) {
	d, err := ReadJSON(path)
	if err != nil {
		return nil, err
	}
	if imagesDir != "" && !isDir(imagesDir) {
		return nil, fmt.Errorf("open data set %s: images folder %s does not exist", path, imagesDir)
	}
	folders := imageFolders(path, imagesDir)
	missing := 0
	for i := range d.Images {
		if !locate(&d.Images[i], folders) {
			missing++
		}
	}
	if missing > 0 && missing == len(d.Images) {
		return nil, fmt.Errorf("open data set %s: none of its %d images was found (%s is not in %s): name their folder with --images",
			path, missing, d.Images[0].FileName, strings.Join(folders, ", "))
	}
	if missing > 0 {
		d.warn("%s: %d of %d images were not found", path, missing, len(d.Images))
	}
	return d, nil
}

// imageFolders are the places where a COCO file's images may be: the folder that
// the user named; else beside the file, in images/ there, and as COCO is
// unpacked, where annotations/instances_val2017.json goes with val2017/.
func imageFolders(path, imagesDir string) []string {
	if imagesDir != "" {
		return []string{imagesDir}
	}
	dir := filepath.Dir(path)
	up := filepath.Dir(absolute("", dir))
	split := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	if _, after, found := strings.Cut(split, "_"); found {
		split = after
	}
	return []string{dir, filepath.Join(dir, "images"), filepath.Join(up, split), filepath.Join(up, "images", split), filepath.Join(up, "images"), up}
}

// locate fills in the image's path and tells whether a file is there.
func locate(im *Image, folders []string) bool {
	im.Path = absolute(folders[0], im.FileName)
	if isFile(im.Path) {
		return true
	}
	for _, name := range []string{im.FileName, filepath.Base(filepath.FromSlash(im.FileName))} {
		for _, dir := range folders {
			if p := absolute(dir, name); isFile(p) {
				im.Path = p
				return true
			}
		}
	}
	return false
}

// The elements of the three lists, as far as they matter.
type (
	jsonImage struct {
		ID       *whole `json:"id"`
		FileName string `json:"file_name"`
		Width    whole  `json:"width"`
		Height   whole  `json:"height"`
	}
	jsonCategory struct {
		ID   *whole `json:"id"`
		Name string `json:"name"`
	}
	jsonAnnotation struct {
		ID         whole     `json:"id"`
		ImageID    *whole    `json:"image_id"`
		CategoryID *whole    `json:"category_id"`
		BBox       []float64 `json:"bbox"`
		Area       *float64  `json:"area"`
		Crowd      flag      `json:"iscrowd"`
	}
)

// whole is an integer, also when written as 640.0.
type whole int64

func (w *whole) UnmarshalJSON(text []byte) error {
	if bytes.Equal(text, []byte("null")) {
		return nil
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(string(text), 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return fmt.Errorf("found %.40s where a whole number is wanted", text)
		}
		n = int64(f)
	}
	*w = whole(n)
	return nil
}

// flag is 0, 1, false or true.
type flag bool

func (f *flag) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case "0", "false", "null", "0.0":
		*f = false
	case "1", "true", "1.0":
		*f = true
	default:
		return fmt.Errorf("found %.40s where 0 or 1 is wanted", text)
	}
	return nil
}

// jsonReader fills a Dataset from a stream.
type jsonReader struct {
	dec        *json.Decoder
	set        *Dataset
	images     map[int64]bool
	categories map[int64]bool
	seen       map[string]bool // top-level lists read so far
}

func decodeJSON(r io.Reader) (*Dataset, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	if mark, _ := in.Peek(3); string(mark) == "\ufeff" {
		in.Discard(3)
	}
	j := &jsonReader{
		dec: json.NewDecoder(in), set: &Dataset{Format: FormatCOCO},
		images: map[int64]bool{}, categories: map[int64]bool{}, seen: map[string]bool{},
	}
	if err := j.object(); err != nil {
		return nil, readable(err)
	}
	if _, err := j.dec.Token(); err != io.EOF {
		return nil, errors.New("more follows after the end of the object")
	}
	if err := j.finish(); err != nil {
		return nil, err
	}
	return j.set, nil
}

// object reads the outermost object.
func (j *jsonReader) object() error {
	token, err := j.dec.Token()
	if err != nil {
		return err
	}
	if token != json.Delim('{') {
		return errors.New("want an object with images, annotations and categories (a list is a results file)")
	}
	for j.dec.More() {
		key, err := j.dec.Token()
		if err != nil {
			return err
		}
		name := key.(string)
		switch name {
		case "images":
			err = j.list(name, j.image)
		case "categories":
			err = j.list(name, j.category)
		case "annotations":
			err = j.list(name, j.annotation)
		default:
			err = j.skip()
		}
		if err != nil {
			return err
		}
	}
	_, err = j.dec.Token()
	return err
}

// list reads every element of one list.
func (j *jsonReader) list(name string, element func() error) error {
	if j.seen[name] {
		return fmt.Errorf("%q stands there twice", name)
	}
	j.seen[name] = true
	token, err := j.dec.Token()
	if err != nil {
		return err
	}
	if token != json.Delim('[') {
		return fmt.Errorf("%q is not a list", name)
	}
	for n := 0; j.dec.More(); n++ {
		if err := element(); err != nil {
			return fmt.Errorf("%s[%d]: %w", name, n, err)
		}
	}
	_, err = j.dec.Token()
	return err
}

// maxDepth bounds the nesting of what is skipped.
const maxDepth = 1000

// skip passes over one value of any kind.
func (j *jsonReader) skip() error {
	for depth := 0; ; {
		token, err := j.dec.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return fmt.Errorf("nested more than %d deep", maxDepth)
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

func (j *jsonReader) image() error {
	var v jsonImage
	if err := j.dec.Decode(&v); err != nil {
		return err
	}
	switch {
	case v.ID == nil:
		return errors.New("it has no id")
	case j.images[int64(*v.ID)]:
		return fmt.Errorf("id %d is taken by an earlier image", *v.ID)
	case v.FileName == "" || strings.ContainsRune(v.FileName, 0):
		return fmt.Errorf("image %d has no file_name", *v.ID)
	case v.Width < 0 || v.Height < 0 || v.Width > math.MaxInt32 || v.Height > math.MaxInt32:
		return fmt.Errorf("image %d is %d x %d pixels", *v.ID, v.Width, v.Height)
	}
	j.images[int64(*v.ID)] = true
	j.set.Images = append(j.set.Images, Image{ID: int64(*v.ID), FileName: v.FileName, Width: int(v.Width), Height: int(v.Height)})
	return nil
}

func (j *jsonReader) category() error {
	var v jsonCategory
	if err := j.dec.Decode(&v); err != nil {
		return err
	}
	switch {
	case v.ID == nil:
		return errors.New("it has no id")
	case j.categories[int64(*v.ID)]:
		return fmt.Errorf("id %d is taken by an earlier category", *v.ID)
	}
	j.categories[int64(*v.ID)] = true
	if v.Name == "" {
		v.Name = strconv.FormatInt(int64(*v.ID), 10)
	}
	j.set.Categories = append(j.set.Categories, Category{ID: int64(*v.ID), Name: v.Name})
	return nil
}

func (j *jsonReader) annotation() error {
	var v jsonAnnotation
	if err := j.dec.Decode(&v); err != nil {
		return err
	}
	switch {
	case v.ImageID == nil:
		return errors.New("it has no image_id")
	case v.CategoryID == nil:
		return errors.New("it has no category_id")
	case len(v.BBox) != 4:
		return fmt.Errorf("bbox has %d numbers: want x, y, width, height", len(v.BBox))
	case v.BBox[2] < 0 || v.BBox[3] < 0:
		return fmt.Errorf("bbox %v has a negative size", v.BBox)
	}
	a := Annotation{ID: int64(v.ID), ImageID: int64(*v.ImageID), CategoryID: int64(*v.CategoryID),
		BBox: [4]float64(v.BBox), Area: v.BBox[2] * v.BBox[3], Crowd: bool(v.Crowd)}
	if v.Area != nil {
		a.Area = *v.Area
	}
	j.set.Annotations = append(j.set.Annotations, a)
	return nil
}

// finish checks what one list says of another and sorts the categories.
// Annotations of images or categories that are not listed are left out with a
// warning: people cut files down that way.
func (j *jsonReader) finish() error {
	d := j.set
	if !j.seen["images"] {
		return errors.New(`it has no "images": want a COCO instances file`)
	}
	if len(d.Annotations) > 0 && len(d.Categories) == 0 {
		return fmt.Errorf("it has %d annotations but no categories", len(d.Annotations))
	}
	slices.SortFunc(d.Categories, func(a, b Category) int { return cmp.Compare(a.ID, b.ID) })
	kept := d.Annotations[:0]
	noImage, noCategory, empty := 0, 0, 0
	for _, a := range d.Annotations {
		switch {
		case !j.images[a.ImageID]:
			noImage++
			continue
		case !j.categories[a.CategoryID]:
			noCategory++
			continue
		case a.BBox[2] == 0 || a.BBox[3] == 0:
			empty++ // counts as ground truth that nothing can hit, as in pycocotools
		}
		kept = append(kept, a)
	}
	d.Annotations = slices.Clip(kept)
	if noImage > 0 {
		d.warn("%d annotations belong to images that are not listed and were left out", noImage)
	}
	if noCategory > 0 {
		d.warn("%d annotations belong to categories that are not listed and were left out", noCategory)
	}
	if empty > 0 {
		d.warn("%d boxes have no area: no detection can match them", empty)
	}
	return nil
}

// readable puts encoding/json's errors into words for the person with the file.
func readable(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends in the middle: the file is cut short")
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("not valid JSON at byte %d: %w", syntax.Offset, err)
	}
	return err
}
