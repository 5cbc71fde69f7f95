// Package config reads, checks and writes the YAML configuration of a
// compression: PaddleSlim's Auto Compression Toolkit (ACT) files as they are,
// with a section Deploy and some keys of this program's own.
//
// One table (table.go and table_*.go) holds every key with its type, default,
// source and meaning. Reading, checking, writing and the section of
// docs/configuration.md all walk that table, so none can know a key that another
// does not.
package config

// Config is a configuration with every default filled in. It holds plain values
// only; two configurations that mean the same are equal.
type Config struct {
	Given        Given
	Global       Global
	Distillation Distillation
	Quantization Quantization
	QuantPost    QuantPost
	Search       Search
	Train        Train
	Deploy       Deploy
}

// Given says which of the sections that choose a strategy the file has.
type Given struct {
	Distillation, Quantization, QuantPost, Search, Deploy bool
}

// Global names the model and the pictures. Paths are relative to the working
// folder, as in ACT. The methods Model, Family, Data and Val give the answers
// that the several spellings amount to.
type Global struct {
	ModelDir      string
	ModelFilename string
	ImagePath     string
	ImageDir      string // pictures of an ImagePath that is a COCO JSON
	DatasetDir    string // what the four below are relative to
	TrainImageDir string
	TrainAnnoPath string
	ValImageDir   string
	ValAnnoPath   string
	ValLimit      int  // 0: every picture
	Evaluation    bool // measure accuracy when there are labelled pictures
	EvalCmd       string
	Arch          string
	BatchSize     int    // pictures in one training step
	NMSTopK       int    // candidates that enter NMS; 0: the family's own
	SaveDir       string // of what compress writes
}

// Distillation is what the student learns from its teacher, and where.
type Distillation struct {
	Loss          []string // one for all nodes, or one per node
	Node          []string // empty: found from the graph
	Alpha         []float64
	SoftmaxAxis   int // of soft_label, in NCHW; negative counts from the end
	FeatureStride int // every so many blocks of the backbone are nodes too; 0: none
	FeatureAlpha  float64
	Normalize     bool // divide l1 and l2 by the spread of the teacher's values
}

// Quantization is what is quantised and how its scales come about in training.
type Quantization struct {
	OpTypes          []string
	WeightType       string
	ActivationType   string
	Quantizer        string // QuantizerACT or QuantizerLSQ
	UsePACT          bool
	PACTInit         float64
	PACTLearningRate float64
	PACTDecay        float64
	LSQLearningRate  float64
	WindowSize       int
	MovingRate       float64
	NotQuantPattern  []string // parts of node names
	Include, Exclude []string // regular expressions over node names
	FullQuantize     bool
	Pooled           bool
	Heads            bool
	Concat           bool
	QuantPostFirst   bool
	ScaleTrainable   bool
	Rounding         string // RoundTensorRT or RoundPaddle
}

// Quantisers and roundings of Quantization.
const (
	QuantizerACT  = "act"
	QuantizerLSQ  = "lsq"
	RoundTensorRT = "tensorrt"
	RoundPaddle   = "paddle"
)

// QuantPost is quantisation without training.
type QuantPost struct {
	BatchSize      int
	BatchNums      int // 0: as many as CalibrateOptions has it
	Algo           string
	HistPercent    float64
	BiasCorrection bool
	Equalise       string // auto, on or off
	FullQuantize   bool
	SkipTensors    []string
	WeightType     string
	OpTypes        []string
}

// Search is what a search for the best quantisation without training tries.
type Search struct {
	Algos         []string
	BiasCorrect   []bool
	WeightTypes   []string
	HistPercent   []float64 // lowest and highest
	BatchNum      []int     // fewest and most
	MaxQuantCount int
}

// Train is how long and by which optimiser the student is trained.
type Train struct {
	Epochs         int // 0: not bounded by it
	TrainIter      int // 0: not bounded by it
	LearningRate   Schedule
	Warmup         int
	Optimizer      Optimizer
	WeightDecay    float64
	GradClip       GradClip
	Accumulate     int
	Precision      string // PrecisionFP32, PrecisionTF32 or PrecisionBF16
	EvalIter       int
	LoggingIter    int
	CheckpointIter int
	OriginMetric   float64 // 0: not compared
	Tolerance      float64
	TargetMetric   float64 // 0: no target
	Patience       int     // 0: never given up
	FreezeScales   float64 // last share of the run with fixed scales
	Mirror         bool    // train on mirror images too
}

// What the factors of products may be rounded to in training.
const (
	PrecisionFP32 = "fp32"
	PrecisionTF32 = "tf32"
	PrecisionBF16 = "bf16"
)

// Precisions are all of them.
func Precisions() []string { return []string{PrecisionFP32, PrecisionTF32, PrecisionBF16} }

// Schedule is the learning rate over the iterations.
type Schedule struct {
	Type         string // ScheduleConstant, SchedulePiecewise or ScheduleCosine
	LearningRate float64
	TMax         int // of a cosine: iterations down to EtaMin; 0: the whole run
	EtaMin       float64
	Boundaries   []int // of a piecewise: the iterations at which Values change
	Values       []float64
}

// Schedules of a learning rate.
const (
	ScheduleConstant  = "Constant"
	SchedulePiecewise = "PiecewiseDecay"
	ScheduleCosine    = "CosineAnnealingDecay"
)

// Optimizer is the rule of an update. Momentum and Nesterov belong to
// "Momentum"; the betas and Epsilon to "Adam" and "AdamW".
type Optimizer struct {
	Type         string
	Momentum     float64
	Nesterov     bool
	Beta1, Beta2 float64
	Epsilon      float64
}

// GradClip bounds the gradients; Type "" does not. Norm belongs to the clips by
// norm, Min and Max to the clip by value.
type GradClip struct {
	Type     string
	Norm     float64
	Min, Max float64
}

// Deploy is the engine that is wanted at the end.
type Deploy struct {
	Engine      bool
	Shape       Size // zero: the model's own
	Batch       int
	Backend     string
	Targets     []string
	INT8, FP16  bool
	ONNXWeights string
	FloatEngine bool
}

// Size is a picture size in pixels.
type Size struct{ Height, Width int }

// Default is the configuration of an empty file. The reasons for each value are
// in the table of keys.
func Default() *Config {
	layers := func(more ...string) []string {
		return append([]string{"conv2d"}, append(more, "conv2d_transpose", "mul", "matmul", "matmul_v2")...)
	}
	return &Config{
		Global: Global{Evaluation: true, BatchSize: 1},
		Distillation: Distillation{
			Loss: []string{"l2"}, Alpha: []float64{1}, SoftmaxAxis: -1, FeatureAlpha: 1,
		},
		Quantization: Quantization{
			OpTypes: layers(), WeightType: "channel_wise_abs_max", ActivationType: "moving_average_abs_max",
			Quantizer: QuantizerACT, PACTInit: 20, PACTLearningRate: 1e-4, PACTDecay: 1e-4, LSQLearningRate: 5e-3,
			WindowSize: 10000, MovingRate: 0.9, NotQuantPattern: []string{"skip_quant"},
			Concat: true, QuantPostFirst: true, ScaleTrainable: true, Rounding: RoundTensorRT,
		},
		QuantPost: QuantPost{
			BatchSize: 32, Algo: "auto", Equalise: "auto", HistPercent: 0.999, WeightType: "channel_wise_abs_max", OpTypes: layers(),
		},
		Search: Search{
			Algos: []string{"KL", "hist", "avg", "mse"}, BiasCorrect: []bool{true, false},
			WeightTypes: []string{"channel_wise_abs_max"}, HistPercent: []float64{0.98, 0.999},
			BatchNum: []int{10, 30}, MaxQuantCount: 20,
		},
		Train: Train{
			TrainIter:    defaultTrainIter,
			LearningRate: Schedule{Type: ScheduleConstant, LearningRate: 1e-5},
			Optimizer:    Optimizer{Type: "SGD", Momentum: 0.9, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8},
			Precision:    PrecisionFP32, Accumulate: 1, EvalIter: 1000, LoggingIter: 10, CheckpointIter: 200,
			Tolerance: 0.05, FreezeScales: 0.1,
		},
		Deploy: Deploy{Engine: true, Batch: 1, Backend: "auto", INT8: true, ONNXWeights: "float"},
	}
}

// defaultTrainIter is the length of a run that neither epochs nor train_iter
// bounds: what ACT's file for YOLOv5s sets.
const defaultTrainIter = 3000
