// The table of keys: what a key is, and the sections in the order they are
// documented. The keys themselves stand in table_*.go.

package config

import "math"

// A Section is one block of the file.
type Section struct {
	Name    string
	Also    string // ACT's other name for it
	Meaning string
	Keys    []Key
	given   func(*Config) *bool // nil where presence means nothing
}

// A Key is one line of a section. It is one of five kinds: a value (field set),
// a mapping (Keys set), fixed to one value, without effect here, or refused.
type Key struct {
	Name    string
	Also    []string // other spellings that ACT's files have
	Source  string   // where the default comes from
	Meaning string
	Keys    []Key

	field   func(*Config) any // *bool, *int, *float64, *string, *Size, or a pointer to a slice
	allowed []string          // the words that a value may be
	span    span              // the range that a number must be in
	null    bool              // may be null, which is the zero value
	only    []string          // values of the sibling "type" that the key belongs to
	must    bool              // its mapping is nothing without it
	instead string            // another key that says the same; both at once are an error
	scalar  func(*Config) any // where a mapping may be one number instead
	fixed   string            // the only value
	idle    bool              // read, but nothing depends on it
	refused bool
}

// The sources of defaults, as docs/configuration.md explains them.
const (
	fromStrategy = "ACT"      // paddleslim/auto_compression/strategy_config.py
	fromQuanter  = "quanter"  // paddleslim/quant/quanter.py
	fromExamples = "examples" // ACT's example configurations
	fromPaddle   = "Paddle"   // paddle.optimizer
	ours         = "trtact"
)

// span is a range of numbers; above excludes its lower end.
type span struct {
	low, high float64
	above     bool
}

var unbounded = math.Inf(1)

const most = 1e9 // of anything that is counted

// Sections lists every section and key that the program reads, in the order in
// which they are documented.
func Sections() []Section {
	return []Section{
		{Name: "Global", Meaning: "The model and the pictures. Paths are relative to the folder the program is started in.",
			Keys: globalKeys()},
		{Name: "Distillation", Meaning: "What the quantised student learns from the float teacher, and at which nodes. The section asks for training.",
			Keys: distillationKeys(), given: func(c *Config) *bool { return &c.Given.Distillation }},
		{Name: "Quantization", Also: "QuantAware", Meaning: "What is quantised, and how scales come about in training.",
			Keys: quantizationKeys(), given: func(c *Config) *bool { return &c.Given.Quantization }},
		{Name: "QuantPost", Meaning: "Quantising without training: on its own the whole job, beside Distillation the start of it.",
			Keys: quantPostKeys(), given: func(c *Config) *bool { return &c.Given.QuantPost }},
		{Name: "HyperParameterOptimization", Meaning: "Searches the best quantisation without training. Every combination that is worth it is tried, best guesses first.",
			Keys: searchKeys(), given: func(c *Config) *bool { return &c.Given.Search }},
		{Name: "TrainConfig", Meaning: "How long and by which rule the student is trained.",
			Keys: trainKeys()},
		{Name: "Deploy", Meaning: "The engine. The section asks for one to be built; ACT has no such section.",
			Keys: deployKeys(), given: func(c *Config) *bool { return &c.Given.Deploy }},
	}
}

// A RefusedSection is a block that ACT, or a reader file beside it, has and this
// program does not do.
type RefusedSection struct{ Name, Why string }

// RefusedSections lists them.
func RefusedSections() []RefusedSection {
	pruning := "channels are not pruned here; prune before the export to ONNX"
	sparse := "weights are not made sparse here; do that before the export to ONNX"
	reader := "this is a reader's configuration; here pictures are named in Global and prepared as the detector's family does"
	list := []RefusedSection{
		{"ChannelPrune", pruning},
		{"Prune", pruning},
		{"TransformerPrune", "transformers are not pruned here; prune before the export to ONNX"},
		{"ASPPrune", "2:4 sparsity is not trained here; do that before the export to ONNX"},
		{"UnstructurePrune", sparse},
		{"GMPUnstructurePrune", sparse},
		{"MultiTeacherDistillation", "there is one teacher, the float model itself; use Distillation"},
	}
	for _, name := range []string{"TrainDataset", "EvalDataset", "TestDataset", "TrainReader", "EvalReader", "TestReader", "Train", "Eval", "Metric", "PostProcess"} {
		list = append(list, RefusedSection{name, reader})
	}
	return list
}
