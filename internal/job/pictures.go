package job

import (
	"fmt"
	"sync"

	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/onnx"
	"trtact/internal/rss"
)

// Pictures prepares pictures as the detector's family does.
type Pictures struct {
	Detector *Detector
	Images   []coco.Image

	kept *keptPictures // nil: each is decoded whenever it is read
}

func (p Pictures) Len() int          { return len(p.Images) }
func (p Pictures) Name(i int) string { return p.Images[i].Path }

func (p Pictures) Read(i int) (map[string]*onnx.Tensor, error) {
	spec := p.Detector.Spec
	pixels := make([]float32, p.Detector.inputLen())
	if _, err := p.kept.preprocess(p.Images[i].Path, spec, pixels); err != nil {
		return nil, err
	}
	values := map[string]*onnx.Tensor{spec.Input: onnx.NewTensor([]int{1, 3, spec.Height, spec.Width}, pixels)}
	for _, in := range p.Detector.Model.Graph.Inputs {
		if extra := spec.Extra[in.Name]; extra != nil {
			values[in.Name] = onnx.NewTensor([]int{len(extra)}, extra)
		}
	}
	return values, nil
}

// keeping is samples whose pictures stay in memory once they are read, and so do those
// that m detects on from here on: a job that reads pictures again and again spends as
// much time on decoding as small detectors take.
func (m *Machine) keeping(s Samples) Samples {
	if m.kept == nil {
		// Each has its part: a large set to measure on comes first and is read seldom.
		m.kept, m.detected = newKeptPictures(), newKeptPictures()
	}
	if p, ok := s.(Pictures); ok {
		p.kept = m.kept
		return p
	}
	return s
}

// keptPictures are pictures at the size of a network's input, three bytes a pixel, as
// many as there is memory for: those that came first. A nil one keeps none.
type keptPictures struct {
	mu     sync.Mutex
	fitted map[fit]detect.Fitted
	left   int64 // bytes
}

// fit is all that a fitted picture depends on.
type fit struct {
	path                  string
	width, height         int
	resize, interpolation string
	pad                   uint8
}

// preprocess reads a picture into dst as Spec.Fit and Spec.Normalise do.
func (k *keptPictures) preprocess(path string, spec *detect.Spec, dst []float32) (detect.Transform, error) {
	key := fit{path, spec.Width, spec.Height, spec.Pixels.Resize, spec.Pixels.Interpolation, spec.Pixels.Pad}
	f, known := k.find(key)
	if !known {
		picture, err := coco.Decode(path)
		if err != nil {
			return detect.Transform{}, err
		}
		if f, err = spec.Fit(picture); err != nil {
			return detect.Transform{}, fmt.Errorf("%s: %w", path, err)
		}
		k.keep(key, f)
	}
	if err := spec.Normalise(f.Pixels, dst); err != nil {
		return detect.Transform{}, fmt.Errorf("%s: %w", path, err)
	}
	return f.Place, nil
}

func newKeptPictures() *keptPictures {
	const most = 512 << 20
	return &keptPictures{fitted: map[fit]detect.Fitted{}, left: min(most, rss.Machine()/16)}
}

func (k *keptPictures) find(key fit) (f detect.Fitted, known bool) {
	if k == nil {
		return f, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	f, known = k.fitted[key]
	return f, known
}

func (k *keptPictures) keep(key fit, f detect.Fitted) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, known := k.fitted[key]; known || int64(len(f.Pixels.RGB)) > k.left {
		return
	}
	k.fitted[key] = f
	k.left -= int64(len(f.Pixels.RGB))
}
