// Package coco holds sets of images with, or without, ground truth: it reads
// the forms in which people keep them (COCO JSON, PASCAL VOC, YOLO text, lists,
// plain folders), decodes the images as OpenCV does, and scores detections as
// the COCO challenge does.
package coco

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"trtact/internal/fault"
)

// Dataset is a list of images and what is known to be on them. It is plain data;
// nothing is opened. Its order depends on the files alone.
type Dataset struct {
	Path   string // what it was opened from
	Format Format
	Images []Image
	// Categories are sorted by ID: a detector's class k is Categories[k], the
	// convention for COCO's ids 1 to 90 with gaps. Empty without labels.
	Categories  []Category
	Annotations []Annotation
	// Unnamed says that there are as many categories as labels happen to use: YOLO text
	// without a list of names.
	Unnamed bool
	// Warnings say, one line each, what was left out and why.
	Warnings []string
}

// Format is the form in which a data set was found.
type Format string

const (
	FormatCOCO   Format = "coco"
	FormatVOC    Format = "voc"
	FormatYOLO   Format = "yolo"
	FormatList   Format = "list"
	FormatFolder Format = "folder"
	FormatImage  Format = "image"
)

// Image is one file.
type Image struct {
	ID       int64
	Path     string // absolute
	FileName string // as the data set names it, with forward slashes
	// Width and Height in pixels, as the data set says; 0 where it does not say.
	Width, Height int
}

// Category is a class of objects.
type Category struct {
	ID   int64
	Name string
}

// Annotation is one object on an image.
type Annotation struct {
	ID         int64
	ImageID    int64
	CategoryID int64
	BBox       [4]float64 // x, y, width, height in pixels; may reach outside the image
	Area       float64    // square pixels: the object's own, not always the box's
	Crowd      bool       // a region of many objects that are not told apart
	Ignore     bool       // neither counts nor harms (VOC's "difficult")
}

// Labelled tells whether there is ground truth to measure against.
func (d *Dataset) Labelled() bool { return len(d.Categories) > 0 && len(d.Annotations) > 0 }

// First is the data set cut down to its first n images; all of it when n is 0
// or more than there are.
func (d *Dataset) First(n int) *Dataset {
	if n <= 0 || n >= len(d.Images) {
		return d
	}
	return d.keep(d.Images[:n])
}

// keep is the data set with only these of its images.
func (d *Dataset) keep(images []Image) *Dataset {
	kept := make(map[int64]bool, len(images))
	for _, im := range images {
		kept[im.ID] = true
	}
	out := *d
	out.Images = slices.Clone(images)
	out.Annotations = nil
	for _, a := range d.Annotations {
		if kept[a.ImageID] {
			out.Annotations = append(out.Annotations, a)
		}
	}
	return &out
}

// Restrict is the data set with only the images that a list file names, in the
// list's order. A line may be a path relative to the list, an absolute path,
// the data set's own name of the image, or its last part where that is unique.
func (d *Dataset) Restrict(list string) (*Dataset, error) {
	lines, err := readList(list)
	if err != nil {
		return nil, err
	}
	const ambiguous = -1
	byPath, byName, byBase := map[string]int{}, map[string]int{}, map[string]int{}
	for i, im := range d.Images {
		byPath[im.Path] = i
		byName[im.FileName] = i
		base := filepath.Base(im.FileName)
		if _, seen := byBase[base]; seen {
			byBase[base] = ambiguous
		} else {
			byBase[base] = i
		}
	}
	var images []Image
	taken := map[int]bool{}
	for n, line := range lines {
		i, ok := byPath[absolute(filepath.Dir(list), line)]
		if !ok {
			i, ok = byName[filepath.ToSlash(line)]
		}
		if !ok {
			i, ok = byBase[filepath.Base(line)]
		}
		switch {
		case !ok:
			return nil, fault.BadInput(fmt.Errorf("restrict %s to %s: entry %d, %s, is not among its %d images", d.Path, list, n+1, line, len(d.Images)))
		case i == ambiguous:
			return nil, fault.BadInput(fmt.Errorf("restrict %s to %s: entry %d, %s, fits several images: write more of its path", d.Path, list, n+1, line))
		case !taken[i]:
			taken[i] = true
			images = append(images, d.Images[i])
		}
	}
	return d.keep(images), nil
}

// OpenSubset opens a data set and keeps the images that a list file names; with
// an empty list, all of them.
func OpenSubset(path, imagesDir, list string) (*Dataset, error) {
	d, err := Open(path, imagesDir)
	if err != nil || list == "" {
		return d, err
	}
	return d.Restrict(list)
}

// Open reads a data set and recognises its form:
//
//   - a .json file is COCO's instances file; its images are sought in imagesDir,
//     or where that is "", beside it and in the folders that go with it;
//   - a folder with Annotations/*.xml is PASCAL VOC;
//   - a folder with images/ and labels/, an images folder that has a labels
//     folder beside it, or a data.yaml, is YOLO text;
//   - a .txt file is a list of image paths, relative to it;
//   - any other folder is all images in and under it, by path;
//   - an image file is itself.
//
// imagesDir is for COCO files and wrong elsewhere. Errors are fault.BadInput.
func Open(path, imagesDir string) (*Dataset, error) {
	info, err := os.Stat(path)
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return nil, fault.BadInput(fmt.Errorf("open data set %s: %w", path, err))
	}
	extension := strings.ToLower(filepath.Ext(path))
	if imagesDir != "" && extension != ".json" {
		return nil, fault.Usage(fmt.Errorf("open data set %s: an images folder (%s) goes with a COCO JSON file only", path, imagesDir))
	}
	var d *Dataset
	switch {
	case info.IsDir():
		d, err = openFolder(path)
	case !info.Mode().IsRegular():
		err = fmt.Errorf("open data set %s: neither a file nor a folder", path)
	case extension == ".json":
		d, err = openCOCO(path, imagesDir)
	case extension == ".txt":
		d, err = openList(path)
	case extension == ".yaml" || extension == ".yml":
		d, err = openYOLOFile(path)
	case IsImageName(path):
		d = &Dataset{Format: FormatImage, Images: []Image{{ID: 1, Path: absolute("", path), FileName: filepath.Base(path)}}}
	default:
		err = fmt.Errorf("open data set %s: want a folder, a COCO .json, a list .txt, a YOLO .yaml, an image or .npy and .npz arrays", path)
	}
	if err != nil {
		return nil, fault.BadInput(err)
	}
	if len(d.Images) == 0 {
		return nil, fault.BadInput(fmt.Errorf("open data set %s: it holds no images", path))
	}
	d.Path = path
	return d, nil
}

func openFolder(dir string) (*Dataset, error) {
	if isDir(filepath.Join(dir, "Annotations")) {
		if d, err := openVOC(dir); d != nil || err != nil {
			return d, err
		}
	}
	if labels := labelsFolder(dir); labels != "" {
		return openYOLOFolder(dir)
	}
	images, err := findImages(dir, dir)
	if err != nil {
		return nil, err
	}
	return &Dataset{Format: FormatFolder, Images: number(images)}, nil
}

func openList(path string) (*Dataset, error) {
	lines, err := readList(path)
	if err != nil {
		return nil, err
	}
	d := &Dataset{Format: FormatList}
	dir := filepath.Dir(path)
	seen := map[string]bool{}
	for n, line := range lines {
		if !IsImageName(line) {
			return nil, fmt.Errorf("read list %s: entry %d, %.80q, is not the name of an image (%s)", path, n+1, line, strings.Join(imageExtensions(), " "))
		}
		full := absolute(dir, line)
		if seen[full] {
			d.warn("%s names %s more than once", path, line)
			continue
		}
		seen[full] = true
		d.Images = append(d.Images, Image{Path: full, FileName: filepath.ToSlash(line)})
	}
	number(d.Images)
	return d, nil
}

// maxWarnings bounds what one broken file can make us say.
const maxWarnings = 20

func (d *Dataset) warn(format string, args ...any) {
	switch {
	case len(d.Warnings) < maxWarnings:
		d.Warnings = append(d.Warnings, fmt.Sprintf(format, args...))
	case len(d.Warnings) == maxWarnings:
		d.Warnings = append(d.Warnings, "more of the same kind is not listed")
	}
}

// number gives ids 1, 2, 3 ...
func number(images []Image) []Image {
	for i := range images {
		images[i].ID = int64(i + 1)
	}
	return images
}
