// What a configuration amounts to, where ACT's files have several ways of saying
// the same.

package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"trtact/internal/detect"
	"trtact/internal/fault"
)

// Strategy is which kind of compression the sections of a file ask for.
type Strategy string

// The strategies.
const (
	// Distil quantises and trains against the float teacher.
	Distil Strategy = "distil"
	// PTQ quantises without training, by one method.
	PTQ Strategy = "ptq"
	// PTQSearch quantises without training, by the best method of several.
	PTQSearch Strategy = "search"
	// Auto measures first and trains only if quantising alone loses too much.
	Auto Strategy = "auto"
)

// Strategy is what the sections ask for, by ACT's rules: Distillation trains,
// HyperParameterOptimization without it searches, QuantPost alone quantises.
// Quantization alone trains too, since unlabelled pictures need a teacher.
func (c *Config) Strategy() Strategy {
	switch {
	case c.Given.Distillation, c.Given.Quantization && !c.Given.Search:
		return Distil
	case c.Given.Search:
		return PTQSearch
	case c.Given.QuantPost:
		return PTQ
	}
	return Auto
}

// WantsEngine is whether the file asks for an engine.
func (c *Config) WantsEngine() bool { return c.Given.Deploy && c.Deploy.Engine }

// Model is the path of the ONNX file. Fails with fault.BadInput when the file
// names none, or one of Paddle's.
func (g *Global) Model() (string, error) {
	path := g.ModelDir
	if g.ModelFilename != "" {
		path = filepath.Join(g.ModelDir, g.ModelFilename)
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".pdmodel", ".pdiparams", ".json":
		return "", fault.BadInput(fmt.Errorf("model %s is in Paddle's format; export it to ONNX with paddle2onnx and put that file in Global.model_dir", path))
	}
	if path == "" {
		return "", fault.BadInput(errors.New("the configuration names no model; put the ONNX file in Global.model_dir"))
	}
	return path, nil
}

// Family is the detector family that arch names, "auto" when it names none.
func (g *Global) Family() string {
	family, _ := familyOf(g.Arch)
	return family
}

// familyOf finds the family in an architecture as ACT's files write it: case,
// dashes and the variant behind the family's name do not matter.
func familyOf(arch string) (family string, ok bool) {
	name := strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(arch))
	switch name {
	case "", "yolo": // ACT's word for some YOLO
		return "auto", true
	case "keypoint": // and for pose models, which have no boxes
		return "none", true
	}
	for _, f := range detect.Families() {
		if name == f || f != "auto" && f != "none" && strings.HasPrefix(name, f) {
			return f, true
		}
	}
	return "", false
}

// Data is the unlabelled pictures to calibrate and train on, as --data and
// --images take them; both empty when the file names none. image_path wins over
// the COCO keys, as in ACT.
func (g *Global) Data() (path, images string) {
	if g.ImagePath != "" {
		return g.ImagePath, g.ImageDir
	}
	return g.coco(g.TrainAnnoPath, g.TrainImageDir)
}

// Val is the labelled pictures to measure accuracy on, as --val and --val-images
// take them; both empty when the file names none or Evaluation is off.
func (g *Global) Val() (path, images string) {
	if !g.Evaluation {
		return "", ""
	}
	return g.coco(g.ValAnnoPath, g.ValImageDir)
}

func (g *Global) coco(anno, images string) (string, string) {
	if anno == "" {
		if images == "" {
			return "", ""
		}
		return g.inDataset(images), "" // a folder of pictures without labels
	}
	if images != "" {
		images = g.inDataset(images)
	}
	return g.inDataset(anno), images
}

func (g *Global) inDataset(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(g.DatasetDir, path)
}

// Method is the calibration method that algo and hist_percent name, in the words
// of `trtact calibrate --method`.
func (q *QuantPost) Method() string { return method(q.Algo, q.HistPercent) }

// Images is how many pictures are calibrated on; 0: all.
func (q *QuantPost) Images() int { return q.BatchSize * q.BatchNums }

// Methods are the calibration methods that a search tries; a histogram is tried
// at the lowest and the highest percentage.
func (s *Search) Methods() []string {
	var list []string
	seen := map[string]bool{}
	add := func(m string) {
		if !seen[m] {
			seen[m] = true
			list = append(list, m)
		}
	}
	for _, a := range s.Algos {
		if a != "hist" {
			add(method(a, 0))
			continue
		}
		for _, p := range s.HistPercent {
			add(method(a, p))
		}
	}
	return list
}

func method(algo string, histPercent float64) string {
	switch algo {
	case "KL":
		return "entropy"
	case "avg":
		return "mean-absmax"
	case "abs_max", "min_max": // the same thing with a zero point of 0
		return "absmax"
	case "hist":
		percent := strconv.FormatFloat(histPercent*100, 'g', 12, 64) // 0.999 is 99.9, not 99.90000000000001
		return "percentile:" + percent
	}
	return algo
}
