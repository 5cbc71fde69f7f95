// Whether the values of a configuration make sense, each and together.

package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/nearest"
)

// maxSide bounds a picture's side, as on the command line.
const maxSide = 16384

// Validate checks a configuration that has been changed since it was read, by
// flags for example. The error is a wrong use and names the key.
func (c *Config) Validate() error {
	if err := c.check(); err != nil {
		return fault.Usage(fmt.Errorf("configuration: %w", err))
	}
	return nil
}

// check returns the first problem, in the order of the table.
func (c *Config) check() error {
	for _, s := range Sections() {
		if err := checkKeys(c, s.Name, s.Keys); err != nil {
			return err
		}
	}
	for _, rule := range []func() *problem{c.checkGlobal, c.checkQuantization, c.checkTrain, c.checkDeploy} {
		if p := rule(); p != nil {
			return p
		}
	}
	return nil
}

func problemAt(path, format string, a ...any) *problem {
	return &problem{path: path, text: fmt.Sprintf(format, a...)}
}

func checkKeys(c *Config, path string, keys []Key) error {
	kind := typeIn(keys, c)
	for i := range keys {
		k := &keys[i]
		full := path + "." + k.Name
		if len(k.only) > 0 && !slices.Contains(k.only, kind) {
			continue
		}
		if k.Keys != nil {
			if err := checkKeys(c, full, k.Keys); err != nil {
				return err
			}
		}
		if k.field == nil {
			continue
		}
		if p := checkValue(k, full, k.field(c)); p != nil {
			return p
		}
	}
	return nil
}

func checkValue(k *Key, path string, value any) *problem {
	var numbers []float64
	var words []string
	length := -1 // of a list
	switch v := value.(type) {
	case *int:
		numbers = []float64{float64(*v)}
	case *float64:
		numbers = []float64{*v}
	case *string:
		words = []string{*v}
	case *[]float64:
		numbers, length = *v, len(*v)
	case *[]int:
		length = len(*v)
		for _, i := range *v {
			numbers = append(numbers, float64(i))
		}
	case *[]string:
		words, length = *v, len(*v)
		if slices.Contains(*v, "") {
			return problemAt(path, "has an empty entry")
		}
	case *[]bool:
		if length = len(*v); length == 0 {
			return problemAt(path, "is an empty list")
		}
	case *Size:
		if *v == (Size{}) {
			return nil
		}
		if v.Height < 1 || v.Width < 1 || v.Height > maxSide || v.Width > maxSide {
			return problemAt(path, "must have sides from 1 to %d, found %dx%d", maxSide, v.Height, v.Width)
		}
	}
	if length == 0 && (k.allowed != nil || k.span != span{}) {
		return problemAt(path, "is an empty list")
	}
	for _, v := range numbers {
		if !(k.null && v == 0) && !k.span.contains(v) {
			return problemAt(path, "must be %s, found %v", k.span, v)
		}
	}
	for _, w := range words {
		if w == "None" {
			return problemAt(path, "is None, which means nothing in such a file")
		}
		if !utf8.ValidString(w) {
			return problemAt(path, "is not UTF-8")
		}
		if strings.IndexFunc(w, unicode.IsControl) >= 0 {
			return problemAt(path, "has a control character or a line break in its text")
		}
		if k.allowed == nil || k.null && w == "" || slices.Contains(k.allowed, w) {
			continue
		}
		hint := ""
		if near := nearest.Word(w, k.allowed); near != "" {
			hint = "; did you mean " + near + "?"
		}
		return problemAt(path, "must be one of %s, found %s%s", strings.Join(k.allowed, ", "), show(w), hint)
	}
	return nil
}

func (s span) contains(v float64) bool {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return false
	}
	return s == span{} || v <= s.high && (v > s.low || !s.above && v == s.low)
}

// String is the range as messages and documents have it.
func (s span) String() string {
	low, high := strconv.FormatFloat(s.low, 'f', -1, 64), strconv.FormatFloat(s.high, 'f', -1, 64)
	switch {
	case s == span{}:
		return "a number"
	case math.IsInf(s.high, 1) && s.above:
		return "above " + low
	case s.high == most && !s.above:
		return low + " or more"
	case s.above:
		return "above " + low + " and at most " + high
	}
	return "from " + low + " to " + high
}

func (c *Config) checkGlobal() *problem {
	g := &c.Global
	if _, ok := familyOf(g.Arch); !ok {
		return problemAt("Global.arch", "must name one of the families %s, found %s", strings.Join(detect.Families(), ", "), show(g.Arch))
	}
	if g.ImageDir != "" && g.ImagePath == "" {
		return problemAt("Global.image_dir", "belongs to image_path, which is not given")
	}
	if g.EvalCmd != "" && !strings.Contains(g.EvalCmd, "{onnx}") {
		return problemAt("Global.eval_cmd", "must contain {onnx}, which stands for the model to measure")
	}
	return nil
}

func (c *Config) checkQuantization() *problem {
	d, q, s := &c.Distillation, &c.Quantization, &c.Search
	for _, l := range []struct {
		key string
		n   int
	}{{"loss", len(d.Loss)}, {"alpha", len(d.Alpha)}} {
		if l.n > 1 && len(d.Node) > 0 && l.n != len(d.Node) {
			return problemAt("Distillation."+l.key, "has %d entries for %d entries of node; give one for all or one for each", l.n, len(d.Node))
		}
	}
	for _, l := range []struct {
		key      string
		patterns []string
	}{{"include", q.Include}, {"exclude", q.Exclude}} {
		for _, p := range l.patterns {
			if _, err := regexp.Compile(p); err != nil {
				return problemAt("Quantization."+l.key, "has a pattern that is no regular expression: %s", printable(err.Error()))
			}
		}
	}
	if q.Quantizer == QuantizerLSQ && q.UsePACT {
		return problemAt("Quantization.use_pact", "and quantizer lsq are two ways of learning the same; set one of them")
	}
	if n := len(s.HistPercent); n != 2 || s.HistPercent[0] > s.HistPercent[1] {
		return problemAt("HyperParameterOptimization.hist_percent", "must be the lowest and the highest share, found %v", s.HistPercent)
	}
	if n := len(s.BatchNum); n != 2 || s.BatchNum[0] > s.BatchNum[1] {
		return problemAt("HyperParameterOptimization.batch_num", "must be the fewest and the most batches, found %v", s.BatchNum)
	}
	return nil
}

func (c *Config) checkTrain() *problem {
	t := &c.Train
	if t.Epochs == 0 && t.TrainIter == 0 {
		return problemAt("TrainConfig.train_iter", "and epochs are both not set, so that training would not end")
	}
	if t.TrainIter > 0 && t.Warmup > t.TrainIter {
		return problemAt("TrainConfig.warmup", "must not be longer than the %d steps of train_iter, found %d", t.TrainIter, t.Warmup)
	}
	if r := &t.LearningRate; r.Type == SchedulePiecewise {
		const path = "TrainConfig.learning_rate."
		if len(r.Values) != len(r.Boundaries)+1 {
			return problemAt(path+"values", "must have one more entry than boundaries, found %d and %d", len(r.Values), len(r.Boundaries))
		}
		for i := 1; i < len(r.Boundaries); i++ {
			if r.Boundaries[i] <= r.Boundaries[i-1] {
				return problemAt(path+"boundaries", "must ascend, found %d behind %d", r.Boundaries[i], r.Boundaries[i-1])
			}
		}
	}
	if r := &t.LearningRate; r.Type == ScheduleCosine && r.EtaMin > r.LearningRate {
		return problemAt("TrainConfig.learning_rate.eta_min", "must not be above learning_rate %v, found %v", r.LearningRate, r.EtaMin)
	}
	if g := &t.GradClip; g.Type == "ClipGradByValue" && g.Min >= g.Max {
		return problemAt("TrainConfig.optimizer_builder.grad_clip.min", "must be below max %v, found %v", g.Max, g.Min)
	}
	for _, m := range []struct {
		key   string
		value float64
	}{{"origin_metric", t.OriginMetric}, {"target_metric", t.TargetMetric}} {
		if c.Global.EvalCmd == "" && (m.value < 0 || m.value > 1) {
			return problemAt("TrainConfig."+m.key, "must be from 0 to 1, as mAP is here, found %v", m.value)
		}
	}
	return nil
}

var target = regexp.MustCompile(`^sm_[1-9][0-9]{1,2}$`)

func (c *Config) checkDeploy() *problem {
	d := &c.Deploy
	for _, t := range d.Targets {
		if !target.MatchString(t) {
			return problemAt("Deploy.targets", "must be compute capabilities such as sm_75, found %s", show(t))
		}
	}
	if len(d.Targets) > 0 && d.Backend == "tensorrt" {
		return problemAt("Deploy.targets", "is for backend rtx; TensorRT proper builds for the GPU of this machine")
	}
	return nil
}
