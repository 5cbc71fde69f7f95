package coco

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// YOLO's text form keeps, beside images/, a folder labels/ with one text file
// per image: a line "class cx cy width height" for every object, in fractions of
// the image's size, or "class x1 y1 x2 y2 ..." for an outline, of which only the
// bounding box is taken. Names come from a data.yaml or a list such as
// classes.txt; without them class k is called "k". A class's id is its number.

const (
	maxClasses   = 100_000 // bounds the class numbers of a label file
	maxYAMLBytes = 1 << 20
)

// labelsFolder is the folder of labels that goes with a folder of images, or ""
// when there is none: dir/labels for dir/images, or dir itself under images/
// with a labels/ on the same level.
func labelsFolder(dir string) string {
	if isDir(filepath.Join(dir, "images")) && isDir(filepath.Join(dir, "labels")) {
		return filepath.Join(dir, "labels")
	}
	if labels := swapImages(absolute("", dir)); labels != "" && isDir(labels) {
		return labels
	}
	return ""
}

// swapImages replaces the last part of a path that is "images" by "labels"; ""
// when there is none.
func swapImages(path string) string {
	parts := strings.Split(path, string(filepath.Separator))
	for i, part := range slices.Backward(parts) {
		if part == "images" {
			parts[i] = "labels"
			return strings.Join(parts, string(filepath.Separator))
		}
	}
	return ""
}

// openYOLOFolder reads a folder that labelsFolder knows.
func openYOLOFolder(dir string) (*Dataset, error) {
	root := dir
	if isDir(filepath.Join(dir, "images")) && isDir(filepath.Join(dir, "labels")) {
		dir = filepath.Join(dir, "images")
	} else {
		for filepath.Base(absolute("", root)) != "images" {
			root = filepath.Dir(absolute("", root))
		}
		root = filepath.Dir(absolute("", root))
	}
	images, err := findImages(dir, dir)
	if err != nil {
		return nil, err
	}
	names, err := readNames(root)
	if err != nil {
		return nil, err
	}
	return readLabels(images, names)
}

// dataYAML is what matters of a data.yaml.
type dataYAML struct {
	Path  string    `yaml:"path"`
	Train yaml.Node `yaml:"train"`
	Val   yaml.Node `yaml:"val"`
	Names yaml.Node `yaml:"names"`
}

// openYOLOFile reads the validation images that a data.yaml names, or the
// training images when it names no others.
func openYOLOFile(path string) (*Dataset, error) {
	y, names, err := readYAML(path)
	if err != nil {
		return nil, err
	}
	var places []string
	for _, node := range []yaml.Node{y.Val, y.Train} {
		if len(places) == 0 && node.Kind != 0 {
			if err := decodeStrings(&node, &places); err != nil {
				return nil, fmt.Errorf("read %s: val or train: %w", path, err)
			}
		}
	}
	if len(places) == 0 {
		return nil, fmt.Errorf("read %s: it names neither val nor train images", path)
	}
	root := absolute(filepath.Dir(path), y.Path)
	var images []Image
	for _, place := range places {
		full := absolute(root, place)
		switch {
		case isDir(full):
			found, err := findImages(full, root)
			if err != nil {
				return nil, err
			}
			images = append(images, found...)
		case strings.EqualFold(filepath.Ext(full), ".txt"):
			listed, err := openList(full)
			if err != nil {
				return nil, err
			}
			images = append(images, listed.Images...)
		default:
			return nil, fmt.Errorf("read %s: %s is neither a folder nor a list", path, full)
		}
	}
	return readLabels(images, names)
}

// readLabels makes a data set of images and the label files that go with them.
// The images' sizes are read from their headers. An image without a label file
// has no objects.
func readLabels(images []Image, names []string) (*Dataset, error) {
	d := &Dataset{Format: FormatYOLO, Images: number(images), Unnamed: len(names) == 0}
	classes := len(names)
	for i := range d.Images {
		im := &d.Images[i]
		labels := swapImages(im.Path)
		if labels == "" {
			continue
		}
		labels = strings.TrimSuffix(labels, filepath.Ext(labels)) + ".txt"
		data, err := readFile(labels, maxTextBytes)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read labels: %w", err)
		}
		objects, err := parseLabels(data)
		if err != nil {
			return nil, fmt.Errorf("read labels %s: %w", labels, err)
		}
		if im.Width, im.Height, err = DecodeSize(im.Path); err != nil {
			d.warn("%v", err)
			continue
		}
		w, h := float64(im.Width), float64(im.Height)
		for _, o := range objects {
			if len(names) > 0 && o.class >= len(names) {
				return nil, fmt.Errorf("read labels %s: class %d, but there are %d class names", labels, o.class, len(names))
			}
			classes = max(classes, o.class+1)
			box := [4]float64{o.x * w, o.y * h, o.w * w, o.h * h}
			d.Annotations = append(d.Annotations, Annotation{
				ID: int64(len(d.Annotations) + 1), ImageID: im.ID, CategoryID: int64(o.class),
				BBox: box, Area: box[2] * box[3],
			})
		}
	}
	for k, name := range names {
		d.Categories = append(d.Categories, Category{ID: int64(k), Name: name})
	}
	return d.WithClasses(classes), nil
}

// WithClasses is a data set without names that has so many classes, those that no label
// uses, too; where there are more already, or names, it is d itself.
func (d *Dataset) WithClasses(n int) *Dataset {
	if !d.Unnamed || n <= len(d.Categories) {
		return d
	}
	more := *d
	more.Categories = slices.Clone(d.Categories)
	for k := len(more.Categories); k < n; k++ {
		more.Categories = append(more.Categories, Category{ID: int64(k), Name: strconv.Itoa(k)})
	}
	return &more
}

// yoloObject is one line: the box's top left corner and size as fractions.
type yoloObject struct {
	class      int
	x, y, w, h float64
}

func parseLabels(data []byte) ([]yoloObject, error) {
	var objects []yoloObject
	for n, line := range bytes.Split(data, []byte("\n")) {
		fields := strings.Fields(string(line))
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 5 || len(fields) > 5 && len(fields)%2 == 0 {
			return nil, fmt.Errorf("line %d has %d fields: want class cx cy width height", n+1, len(fields))
		}
		class, err := strconv.ParseFloat(fields[0], 64) // some tools write 3.0
		if err != nil || class != math.Trunc(class) || class < 0 || class >= maxClasses {
			return nil, fmt.Errorf("line %d: class %.40q", n+1, fields[0])
		}
		values := make([]float64, len(fields)-1)
		for i, text := range fields[1:] {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil || math.IsNaN(v) || math.Abs(v) > 10 {
				return nil, fmt.Errorf("line %d: %.40q is not a fraction of the image", n+1, text)
			}
			values[i] = v
		}
		o := yoloObject{class: int(class)}
		if len(values) == 4 {
			o.w, o.h = values[2], values[3]
			o.x, o.y = values[0]-o.w/2, values[1]-o.h/2
			if o.w < 0 || o.h < 0 {
				return nil, fmt.Errorf("line %d: negative box size %v x %v", n+1, o.w, o.h)
			}
		} else {
			o.x, o.y = values[0], values[1]
			right, bottom := o.x, o.y
			for i := 2; i < len(values); i += 2 {
				o.x, right = min(o.x, values[i]), max(right, values[i])
				o.y, bottom = min(o.y, values[i+1]), max(bottom, values[i+1])
			}
			o.w, o.h = right-o.x, bottom-o.y
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// readNames looks in a folder for a file of class names; nil when there is none.
func readNames(dir string) ([]string, error) {
	for _, name := range []string{"data.yaml", "data.yml", "dataset.yaml"} {
		if path := filepath.Join(dir, name); isFile(path) {
			if _, names, err := readYAML(path); err != nil || names != nil {
				return names, err
			}
		}
	}
	for _, name := range []string{"classes.txt", "labels.txt", "label_list.txt", "obj.names"} {
		if path := filepath.Join(dir, name); isFile(path) {
			return readList(path)
		}
	}
	return nil, nil
}

// readYAML reads a data.yaml; names is nil when it gives none.
func readYAML(path string) (y dataYAML, names []string, err error) {
	data, err := readFile(path, maxYAMLBytes)
	if err != nil {
		return y, nil, fmt.Errorf("read data set description: %w", err)
	}
	if err := yaml.Unmarshal(data, &y); err != nil {
		return y, nil, fmt.Errorf("read %s: not a data set description in YAML: %s", path, strings.Join(strings.Fields(err.Error()), " "))
	}
	if names, err = classNames(&y.Names); err != nil {
		return y, nil, fmt.Errorf("read %s: names: %w", path, err)
	}
	return y, names, nil
}

// classNames reads "names", a list or a map from class number to name.
func classNames(node *yaml.Node) ([]string, error) {
	switch node.Kind {
	case 0:
		return nil, nil
	case yaml.SequenceNode:
		var names []string
		return names, decodeStrings(node, &names)
	}
	var byNumber map[int]string
	if err := node.Decode(&byNumber); err != nil {
		return nil, errors.New("want a list of names or a map from class number to name")
	}
	if len(byNumber) == 0 {
		return nil, nil
	}
	names := make([]string, len(byNumber))
	for k := range names {
		name, ok := byNumber[k]
		if !ok {
			return nil, fmt.Errorf("%d names, but none for class %d: want numbers from 0 without gaps", len(byNumber), k)
		}
		names[k] = name
	}
	return names, nil
}

// decodeStrings reads a list of strings or a single one.
func decodeStrings(node *yaml.Node, out *[]string) error {
	var one string
	if node.Kind == yaml.ScalarNode && node.Decode(&one) == nil {
		if one != "" {
			*out = []string{one}
		}
		return nil
	}
	if node.Decode(out) != nil {
		return errors.New("want a text or a list of texts")
	}
	return nil
}
