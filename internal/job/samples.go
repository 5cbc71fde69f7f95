package job

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/npy"
	"trtact/internal/onnx"
)

// Samples are what a model is calibrated on, one at a time and without labels:
// pictures, or for a model whose input is no picture, arrays.
type Samples interface {
	Len() int
	// Name is for messages.
	Name(i int) string
	// Read prepares sample i: the value of every input by name. Several
	// goroutines may call it. A fault.BadInput error is the sample's.
	Read(i int) (map[string]*onnx.Tensor, error)
}

// OpenSamples finds the samples for d at a path: .npy or .npz files or a folder
// of them, or else pictures in any form that coco.Open knows. Warnings say what
// was left out.
func OpenSamples(path, imagesDir string, d *Detector) (samples Samples, warnings []string, err error) {
	files, err := arrayFiles(path, d.Spec.Input != "")
	if err != nil {
		return nil, nil, err
	}
	if files != nil {
		a, err := openArrays(path, files, d)
		return a, nil, err
	}
	if d.Spec.Input == "" {
		return nil, nil, fault.Usage(fmt.Errorf("%s has no picture as its input: give its inputs as arrays, .npy or .npz, not %s", d.Path, path))
	}
	data, err := coco.Open(path, imagesDir)
	if err != nil {
		return nil, nil, err
	}
	warnings = data.Warnings
	if d.Spec.Family == detect.None {
		warnings = append(warnings, fmt.Sprintf("%s is told to be no detector: it is given pictures as %s; if it wants others, say so with --pixels, or give them as arrays, .npy or .npz",
			d.Path, d.Spec.Pixels))
	}
	return Pictures{Detector: d, Images: data.Images}, warnings, nil
}

// First limits samples to so many; 0 or less: all.
func First(s Samples, n int) Samples {
	if n <= 0 || n >= s.Len() {
		return s
	}
	return firstSamples{s, n}
}

type firstSamples struct {
	Samples
	n int
}

func (f firstSamples) Len() int { return f.n }

type chosenSamples struct {
	Samples
	at []int
}

func (c chosenSamples) Len() int          { return len(c.at) }
func (c chosenSamples) Name(i int) string { return c.Samples.Name(c.at[i]) }
func (c chosenSamples) Read(i int) (map[string]*onnx.Tensor, error) {
	return c.Samples.Read(c.at[i])
}

// spread is n samples at equal distances, or all if there are no more.
func spread(s Samples, n int) Samples {
	if s.Len() <= n {
		return s
	}
	chosen := chosenSamples{Samples: s, at: make([]int, n)}
	for i := range n {
		chosen.at[i] = i * s.Len() / n
	}
	return chosen
}

// arrayFiles is the .npy or .npz files that a path stands for, by name; nil when
// it stands for something else. Beside pictures they are no samples for a model that takes
// pictures: Ultralytics keeps decoded pictures so.
func arrayFiles(path string, takesPictures bool) ([]string, error) {
	if isArray(path) {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, nil // no folder: whoever opens it says what is wrong
	}
	var files []string
	for _, e := range entries {
		if takesPictures && coco.IsImageName(e.Name()) {
			return nil, nil
		}
		if isArray(e.Name()) {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	return files, nil
}

func isArray(path string) bool {
	return slices.Contains([]string{".npy", ".npz"}, strings.ToLower(filepath.Ext(path)))
}

// arrays are samples along the first axis of arrays in one or more files.
type arrays struct {
	inputs []onnx.Value
	files  []arrayFile
	count  int
}

// arrayFile has one .npy (for a model with one input), which is read item by
// item, or the arrays of one .npz by the names of the inputs.
type arrayFile struct {
	path  string
	first int // sample
	count int
	npy   *npy.File
	npz   map[string]*npy.Array
}

// openArrays checks shapes at once, so that a long run does not fail at its end.
// The files stay open for the life of the process.
func openArrays(path string, files []string, d *Detector) (*arrays, error) {
	a := &arrays{inputs: d.Model.Graph.Inputs}
	for _, file := range files {
		f := arrayFile{path: file, first: a.count}
		shapes := map[string][]int{}
		if strings.ToLower(filepath.Ext(file)) == ".npy" {
			if len(a.inputs) != 1 {
				return nil, fault.Usage(fmt.Errorf("%s: %s has %d inputs: give a .npz with an array for each, named as they are", file, d.Path, len(a.inputs)))
			}
			var err error
			if f.npy, err = npy.Open(file); err != nil {
				return nil, err
			}
			shapes[a.inputs[0].Name] = f.npy.Shape
		} else {
			var err error
			if f.npz, err = npy.ReadNPZ(file); err != nil {
				return nil, err
			}
			for name, array := range f.npz {
				shapes[name] = array.Shape
			}
		}
		for k, in := range a.inputs {
			shape, there := shapes[in.Name]
			switch {
			case !there:
				return nil, fault.BadInput(fmt.Errorf("%s: it holds no array %q, which %s takes", file, in.Name, d.Path))
			case !fitsInput(shape, in.Dims):
				return nil, fault.BadInput(fmt.Errorf("%s: array of shape %v for input %q: want %v", file, shape, in.Name, wantedShape(in.Dims)))
			case k > 0 && shape[0] != f.count:
				return nil, fault.BadInput(fmt.Errorf("%s: %d items for input %q, %d for %q", file, shape[0], in.Name, f.count, a.inputs[0].Name))
			}
			f.count = shape[0]
		}
		a.count += f.count
		a.files = append(a.files, f)
	}
	if a.count == 0 {
		return nil, fault.BadInput(fmt.Errorf("%s: it holds no samples", path))
	}
	return a, nil
}

// fitsInput says whether items along the first axis of an array fit an input of
// batch 1.
func fitsInput(shape, dims []int) bool {
	return len(shape) == len(dims) && len(dims) > 0 && dims[0] == 1 && slices.Equal(shape[1:], dims[1:])
}

func wantedShape(dims []int) string {
	if len(dims) == 0 || dims[0] != 1 {
		return fmt.Sprintf("an input of shape 1 x ..., which %v is not", dims)
	}
	text := "[N"
	for _, d := range dims[1:] {
		text += fmt.Sprint(" ", d)
	}
	return text + "]"
}

func (a *arrays) Len() int { return a.count }

func (a *arrays) at(i int) (*arrayFile, int) {
	f := &a.files[0]
	for k := range a.files {
		if a.files[k].first <= i {
			f = &a.files[k]
		}
	}
	return f, i - f.first
}

func (a *arrays) Name(i int) string {
	f, item := a.at(i)
	return fmt.Sprintf("%s[%d]", f.path, item)
}

func (a *arrays) Read(i int) (map[string]*onnx.Tensor, error) {
	f, item := a.at(i)
	values := map[string]*onnx.Tensor{}
	for _, in := range a.inputs {
		var data any
		if f.npy != nil {
			array, err := f.npy.Item(item)
			if err != nil {
				return nil, err
			}
			data = array.Data
		} else {
			n := volume(in.Dims)
			data = reflect.ValueOf(f.npz[in.Name].Data).Slice(item*n, (item+1)*n).Interface()
		}
		t, err := tensorOf(in, data)
		if err != nil {
			return nil, fault.BadInput(fmt.Errorf("%s: input %q: %w", a.Name(i), in.Name, err))
		}
		values[in.Name] = t
	}
	return values, nil
}

func volume(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// tensorOf is an input's value. Numbers of any type become float for a float
// input; other inputs want their own type.
func tensorOf(in onnx.Value, data any) (*onnx.Tensor, error) {
	t := &onnx.Tensor{Type: onnx.DTypeOf(data), Dims: slices.Clone(in.Dims), Data: data}
	if t.Type == onnx.Undefined {
		return nil, fmt.Errorf("its elements are %T", data)
	}
	if t.Type == in.Type {
		return t, nil
	}
	if in.Type != onnx.Float {
		return nil, fmt.Errorf("its elements are %v, the model takes %v", t.Type, in.Type)
	}
	return onnx.NewTensor(t.Dims, t.Floats()), nil
}
