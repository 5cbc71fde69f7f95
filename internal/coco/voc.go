package coco

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// PASCAL VOC keeps one XML file per image in Annotations/, with class names
// instead of numbers, and the images in JPEGImages/. Coordinates are 1-based and
// name the first and the last pixel of a box.

// vocNames are VOC's twenty classes in their own order.
func vocNames() []string {
	return []string{"aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
		"diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"}
}

type vocFile struct {
	XMLName  xml.Name `xml:"annotation"`
	FileName string   `xml:"filename"`
	Size     struct {
		Width  float64 `xml:"width"`
		Height float64 `xml:"height"`
	} `xml:"size"`
	Objects []vocObject `xml:"object"`
}

type vocObject struct {
	Name      string `xml:"name"`
	Difficult string `xml:"difficult"`
	Box       *struct {
		Xmin float64 `xml:"xmin"`
		Ymin float64 `xml:"ymin"`
		Xmax float64 `xml:"xmax"`
		Ymax float64 `xml:"ymax"`
	} `xml:"bndbox"`
}

// openVOC reads a VOC folder; nil without an error when Annotations/ holds no
// XML at all. Classes, in this order of preference: a file of names (classes.txt
// and its like) in the folder; VOC's twenty when all names are among them; the
// names that occur, sorted. A class's id is its place, from 0.
func openVOC(dir string) (*Dataset, error) {
	annotations := filepath.Join(dir, "Annotations")
	entries, err := os.ReadDir(annotations) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("open VOC data set: %w", err)
	}
	d := &Dataset{Format: FormatVOC}
	var objects []string // class name of every annotation
	for _, entry := range entries {
		if entry.IsDir() || !strings.EqualFold(filepath.Ext(entry.Name()), ".xml") || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		path := filepath.Join(annotations, entry.Name())
		v, err := readVOC(path)
		if err != nil {
			return nil, fmt.Errorf("read VOC annotation %s: %w", path, err)
		}
		id := int64(len(d.Images) + 1)
		im := vocImage(dir, strings.TrimSuffix(entry.Name(), filepath.Ext(entry.Name())), v)
		im.ID = id
		d.Images = append(d.Images, im)
		for _, o := range v.Objects {
			x, y := o.Box.Xmin-1, o.Box.Ymin-1
			w, h := o.Box.Xmax-x, o.Box.Ymax-y
			d.Annotations = append(d.Annotations, Annotation{
				ID: int64(len(d.Annotations) + 1), ImageID: id,
				BBox: [4]float64{x, y, w, h}, Area: w * h, Ignore: o.Difficult == "1",
			})
			objects = append(objects, o.Name)
		}
	}
	if len(d.Images) == 0 {
		return nil, nil
	}
	names, err := readNames(dir)
	if err != nil {
		return nil, err
	}
	if names == nil {
		names = vocClasses(objects)
	}
	class := map[string]int64{}
	for i, name := range names {
		class[name] = int64(i)
		d.Categories = append(d.Categories, Category{ID: int64(i), Name: name})
	}
	for i, name := range objects {
		id, ok := class[name]
		if !ok {
			return nil, fmt.Errorf("open VOC data set %s: object %q is not among the class names: %s", dir, name, strings.Join(names, ", "))
		}
		d.Annotations[i].CategoryID = id
	}
	return d, nil
}

func vocClasses(objects []string) []string {
	found := slices.Clone(objects)
	slices.Sort(found)
	found = slices.Compact(found)
	if twenty := vocNames(); !slices.ContainsFunc(found, func(s string) bool { return !slices.Contains(twenty, s) }) {
		return twenty
	}
	return found
}

func readVOC(path string) (*vocFile, error) {
	data, err := readFile(path, maxTextBytes)
	if err != nil {
		return nil, err
	}
	return parseVOC(data)
}

// parseVOC decodes and checks one annotation file.
func parseVOC(data []byte) (*vocFile, error) {
	var v vocFile
	if err := xml.Unmarshal(data, &v); err != nil {
		var syntax *xml.SyntaxError
		if errors.Is(err, io.EOF) || errors.As(err, &syntax) {
			return nil, fmt.Errorf("not valid XML: %w", err)
		}
		return nil, err
	}
	for i := range v.Objects {
		o := &v.Objects[i]
		o.Name = strings.TrimSpace(o.Name)
		o.Difficult = strings.TrimSpace(o.Difficult)
		switch {
		case o.Name == "":
			return nil, fmt.Errorf("object %d has no name", i+1)
		case o.Box == nil:
			return nil, fmt.Errorf("object %d, %s, has no bndbox", i+1, o.Name)
		}
		for _, c := range []float64{o.Box.Xmin, o.Box.Ymin, o.Box.Xmax, o.Box.Ymax} {
			if math.IsNaN(c) || math.Abs(c) > math.MaxInt32 {
				return nil, fmt.Errorf("object %d, %s: coordinate %v", i+1, o.Name, c)
			}
		}
		if o.Box.Xmax < o.Box.Xmin || o.Box.Ymax < o.Box.Ymin {
			return nil, fmt.Errorf("object %d, %s: box from %v,%v to %v,%v runs backwards", i+1, o.Name, o.Box.Xmin, o.Box.Ymin, o.Box.Xmax, o.Box.Ymax)
		}
	}
	return &v, nil
}

// vocImage finds the image of an annotation file: by the name it gives, else by
// its own name with any image extension.
func vocImage(dir, stem string, v *vocFile) Image {
	pictures := filepath.Join(dir, "JPEGImages")
	if !isDir(pictures) {
		pictures = dir
	}
	im := Image{}
	if side := v.Size.Width; side > 0 && side < math.MaxInt32 {
		im.Width = int(side)
	}
	if side := v.Size.Height; side > 0 && side < math.MaxInt32 {
		im.Height = int(side)
	}
	names := []string{}
	if base := filepath.Base(filepath.FromSlash(strings.TrimSpace(v.FileName))); IsImageName(base) {
		names = append(names, base)
	}
	for _, extension := range imageExtensions() {
		names = append(names, stem+extension)
	}
	for _, name := range names {
		if p := filepath.Join(pictures, name); isFile(p) {
			im.Path, im.FileName = absolute("", p), name
			return im
		}
	}
	im.Path, im.FileName = absolute(pictures, names[0]), names[0]
	return im
}
