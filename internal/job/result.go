package job

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"trtact/calib"
	"trtact/internal/atomicfile"
	"trtact/internal/coco"
	"trtact/internal/onnx"
	"trtact/internal/onnx/half"
	"trtact/trt"
)

// Result is result.json: what the main job found and made.
type Result struct {
	Program      string       `json:"program,omitempty"`
	Command      []string     `json:"command,omitempty"`
	Device       string       `json:"device,omitempty"` // what it was computed on
	Model        ModelFacts   `json:"model"`
	Family       string       `json:"family"`
	Shape        [2]int       `json:"shape"` // height, width
	Batch        int          `json:"batch"`
	Quantization Quantization `json:"quantization"`
	PTQ          *PTQ         `json:"ptq,omitempty"`
	QAT          *QAT         `json:"qat,omitempty"` // nil where training was not to be thought of
	// Form is which of the quantised forms this is: KeptPTQ and so on.
	Form     string     `json:"form,omitempty"`
	Ladder   []Rung     `json:"ladder,omitempty"`
	Search   *Search    `json:"search,omitempty"`
	Front    *Front     `json:"front,omitempty"`
	Rounding []Rounding `json:"rounding,omitempty"`
	Race     []Race     `json:"race,omitempty"` // of INT8Fastest
	// Latency is of the engines, where a GPU was there to run them.
	Latency  []EngineLatency `json:"latency,omitempty"`
	Accuracy Accuracy        `json:"accuracy"`
	Size     Size            `json:"size"`
	Engine   *trt.Artifact   `json:"engine,omitempty"`
	// Half says what became float16 where the graph decides that.
	Half    *half.Report       `json:"half,omitempty"`
	Files   Files              `json:"files"`
	Seconds map[string]float64 `json:"seconds"`
	PeakRSS int64              `json:"peak_rss"` // bytes, of this process: TensorRT builds in another (Engine.BuildPeakRSS)

	data   string             // what it was calibrated on
	ranges map[string]float32 // largest magnitudes seen in calibration, by tensor
}

// Data is the path of the pictures that it was calibrated on.
func (r *Result) Data() string { return r.data }

// Retrained says whether weights are others than the float model's, so that the plan
// alone does not make the result of it.
func (r *Result) Retrained() bool { return r.Form == KeptRounded || r.Form == KeptDistilled }

// ModelFacts identify the model.
type ModelFacts struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
	Params int    `json:"params"`
	Bytes  int64  `json:"bytes"`
}

// Files are the paths that were written.
type Files struct {
	Engine      string `json:"engine,omitempty"`
	FloatEngine string `json:"engine_float,omitempty"`
	ONNX        string `json:"onnx,omitempty"`
	Plan        string `json:"plan,omitempty"`
	Report      string `json:"report,omitempty"` // the page
	Result      string `json:"result"`           // this, as a file
}

// Quantization sums up the plan.
type Quantization struct {
	Method  string       `json:"method,omitempty"`
	Sites   int          `json:"sites"`
	Groups  int          `json:"groups"`
	Layers  int          `json:"layers"` // weighted layers that became INT8
	Skipped []calib.Skip `json:"skipped,omitempty"`
	// Share of the weights' elements that became INT8, in 0..1.
	Share float64 `json:"share"`
}

// PTQ is what calibration did.
type PTQ struct {
	Method    string             `json:"method"`
	Images    int                `json:"images,omitempty"`
	Bad       []coco.BadImage    `json:"bad_images,omitempty"`
	Trials    int                `json:"trials,omitempty"`
	NodeError map[string]float64 `json:"node_error,omitempty"`
	Seconds   float64            `json:"seconds,omitempty"`
	From      string             `json:"from,omitempty"` // the plan file it was read from
}

// Figures are the two figures of a table.
type Figures struct {
	MAP   float64 `json:"mAP"` // 0..1
	MAP50 float64 `json:"mAP50"`
}

// Accuracy is what was measured; nil where nothing was. PTQ is the model that was
// quantised without training, INT8 the result, which may be the same.
type Accuracy struct {
	Float   *Figures        `json:"float,omitempty"`
	PTQ     *Figures        `json:"ptq,omitempty"`
	INT8    *Figures        `json:"int8,omitempty"`
	Command *CommandFigures `json:"command,omitempty"`
	// NodeError is the relative L2 error of each distillation node in the result.
	NodeError map[string]float64 `json:"node_error,omitempty"`
	Images    int                `json:"images,omitempty"`
}

// Changed says whether the result is worth something else than calibration alone gave.
func (a *Accuracy) Changed() bool {
	if c := a.Command; c != nil && c.PTQ != nil && c.INT8 != nil {
		return *c.PTQ != *c.INT8
	}
	return a.PTQ != nil && a.INT8 != nil && *a.PTQ != *a.INT8
}

// CommandFigures are the numbers that an evaluation command gave.
type CommandFigures struct {
	Command string   `json:"command"`
	Float   *float64 `json:"float,omitempty"`
	PTQ     *float64 `json:"ptq,omitempty"`
	INT8    *float64 `json:"int8,omitempty"`
}

// Size is in bytes.
type Size struct {
	ONNXFloat    int64 `json:"onnx_float"`
	ONNXInt8     int64 `json:"onnx_int8,omitempty"`
	WeightsFloat int64 `json:"weights_float"`
	WeightsInt8  int64 `json:"weights_int8,omitempty"`
	// Layers are the weighted layers; INT8 is FloatBytes for those left float.
	Layers      []LayerSize `json:"layers,omitempty"`
	Engine      int64       `json:"engine,omitempty"`
	EngineFloat int64       `json:"engine_float,omitempty"`
}

// LayerSize is one layer's weights before and after; biases stay float.
type LayerSize struct {
	Node   string `json:"node"`
	Float  int64  `json:"float"`
	INT8   int64  `json:"int8"`
	Reason string `json:"reason,omitempty"` // why it stayed float
}

func (r *Result) describe(d *Detector) {
	r.Model = ModelFacts{Path: d.Path, SHA256: d.Source.SHA256, Params: d.Params(), Bytes: fileSize(d.Path)}
	r.Family = d.Spec.Family
	r.Shape = [2]int{d.Spec.Height, d.Spec.Width}
	r.Batch = d.Spec.Batch
	r.Size.ONNXFloat = r.Model.Bytes
	r.Size.WeightsFloat = constantBytes(d.Model)
}

func (r *Result) lap(name string, since time.Time) { r.Seconds[name] = time.Since(since).Seconds() }

// Write saves the result as indented JSON.
func (r *Result) Write(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return atomicfile.Write(path, append(data, '\n'))
}

func (q *Quantization) describe(m *onnx.Model, p *calib.Plan) {
	q.Method, q.Sites, q.Groups, q.Skipped = p.Method, len(p.Sites), len(p.Groups), p.Skipped
	quantized := map[string]bool{}
	for _, w := range p.Weights {
		for _, n := range w.Nodes {
			quantized[n] = true
		}
	}
	q.Layers = len(quantized)
	var all, int8 int64
	for _, n := range m.Graph.Nodes {
		if isWeighted(n) && m.Graph.Init[n.Input(1)] != nil {
			elements := int64(m.Graph.Init[n.Input(1)].Len())
			all += elements
			if quantized[n.Name] {
				int8 += elements
			}
		}
	}
	if all > 0 {
		q.Share = float64(int8) / float64(all)
	}
}

// model fills in the bytes of weights before and after: an INT8 weight takes one
// byte instead of four, its scales and its bias stay float.
func (s *Size) model(float, quantized *onnx.Model, p *calib.Plan) {
	s.WeightsFloat = constantBytes(float)
	reasons := map[string]string{}
	for _, k := range p.Skipped {
		reasons[k.Node] = k.Reason
	}
	scales := map[string]int64{}
	for _, w := range p.Weights {
		for _, n := range w.Nodes {
			scales[n] = 4 * int64(len(w.Scales))
		}
	}
	saved, counted := int64(0), map[string]bool{}
	for _, n := range float.Graph.Nodes {
		if !isWeighted(n) || float.Graph.Init[n.Input(1)] == nil {
			continue
		}
		w := n.Input(1)
		size := LayerSize{Node: n.Name, Float: 4 * int64(float.Graph.Init[w].Len())}
		size.INT8 = size.Float
		if _, yes := scales[n.Name]; yes {
			size.INT8 = size.Float / 4
			if !counted[w] {
				saved += size.Float - size.INT8 - scales[n.Name]
				counted[w] = true
			}
		} else {
			size.Reason = reasons[n.Name]
		}
		s.Layers = append(s.Layers, size)
	}
	s.WeightsInt8 = s.WeightsFloat - saved
}

// Tried is how many settings were measured.
func (c *Calibration) Tried() int { return len(c.Trials) + c.Search.trials() }

func describeCalibration(c *Calibration) *PTQ {
	return &PTQ{Method: c.Plan.Method, Images: c.Images, Bad: c.Bad, Trials: c.Tried(),
		NodeError: c.NodeError, Seconds: c.Seconds}
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
