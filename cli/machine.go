// What commands compute on, and how their stages show on the terminal.

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	urfave "github.com/urfave/cli/v2"

	"trtact/cuda"
	"trtact/internal/compute"
	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/gpu"
	"trtact/internal/job"
	"trtact/internal/report"
	"trtact/trt"
)

// stages shows the stages of a job one after the other.
type stages struct {
	s       *session
	current *report.Progress
}

func (t *stages) Stage(name string, total int, unit string) {
	t.finish()
	t.current = t.s.progress(name, total, unit)
}

func (t *stages) Step(done int) { t.current.Set(done, 0) }

func (t *stages) Note(text string) { t.current.Note(text) }

func (t *stages) finish() {
	t.current.Finish()
	t.current = nil
}

// machine opens the device that --device asks for. done closes it and takes
// the last stage's bar away, and may be called again.
func (s *session) machine() (m *job.Machine, done func(), err error) {
	d, threads, err := s.openDevice()
	if err != nil {
		return nil, nil, err
	}
	show := &stages{s: s}
	return &job.Machine{Device: d, Threads: threads, Progress: show}, sync.OnceFunc(func() {
		show.finish()
		d.Close()
	}), nil
}

// openDevice is the device and how many threads work on it. auto takes a GPU where
// the CUDA backend opens one.
func (s *session) openDevice() (*compute.Device, int, error) {
	switch s.device.kind {
	case "cuda":
		d, err := s.openCUDA()
		return d, s.threads, err
	case "auto":
		if !cuda.Driver().Found() {
			break
		}
		d, err := s.openCUDA()
		if err == nil {
			s.log.Info("computing on " + d.Version())
			return d, s.threads, nil
		}
		s.log.Debug("not on a GPU: " + err.Error())
	}
	d, err := compute.OpenCPU()
	if err != nil {
		return nil, 0, err
	}
	s.log.Debug("computing on " + d.Version())
	return d, s.threads, nil
}

// openCUDA opens the GPU of --device, the first one for auto.
func (s *session) openCUDA() (*compute.Device, error) {
	// Found in more places than the backend looks, and then loaded.
	cuda.CuDNN()
	cuda.CuBLAS()
	d, err := compute.OpenCUDA(s.device.index)
	if err == nil {
		return d, nil
	}
	if s.device.kind == "cuda" && !cuda.Driver().Found() { // NVML says best why
		m, missing := gpu.Open()
		if missing != nil {
			s.log.Debug(err.Error())
			return nil, missing
		}
		m.Close()
	}
	return nil, fault.NoDevice(fmt.Errorf("--device %s: %w", s.device, err))
}

// machineFor is machine for one of these detectors that is no engine; engines alone need
// none of it but the progress.
func (s *session) machineFor(detectors ...*job.Detector) (m *job.Machine, done func(), err error) {
	for _, d := range detectors {
		if d.Engine == nil {
			return s.machine()
		}
	}
	show := &stages{s: s}
	return &job.Machine{Threads: s.threads, Progress: show}, sync.OnceFunc(show.finish), nil
}

// engineVersion is the TensorRT that runs d, "" when d is no engine.
func engineVersion(d *job.Detector) string {
	if d.Engine == nil {
		return ""
	}
	return d.Engine.Version()
}

// isEngine tells an engine from an ONNX file by its name or its sidecar.
func isEngine(path string) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".engine", ".plan", ".trt":
		return true
	case ".onnx":
		return false
	}
	_, err := os.Stat(path + ".json")
	return err == nil
}

// engine loads an engine to run it.
func (s *session) engine(command, path string, trust bool, o job.LoadOptions) (*job.Detector, error) {
	options, err := s.sessionOptions(command, path, trust)
	if err != nil {
		return nil, err
	}
	d, err := job.LoadEngine(s.ctx, options, o)
	return d, s.engineError(path, err)
}

// sessionOptions are how commands open an engine that is not timed.
func (s *session) sessionOptions(command, path string, trust bool) (trt.SessionOptions, error) {
	if s.device.kind == "cpu" {
		return trt.SessionOptions{}, usage(command, "%s is an engine, which runs on a GPU only; --device cpu is for ONNX models", path)
	}
	return trt.SessionOptions{Engine: path, Trust: trust, Device: s.device.index}, nil
}

// engineError is the error of opening an engine as the user is told it: where it
// fails on a machine without a GPU, that is the reason.
func (s *session) engineError(path string, err error) error {
	if code := fault.Code(err); err == nil || s.ctx.Err() != nil || code == fault.CodeBadInput || code == fault.CodeUsage {
		return err
	}
	m, missing := gpu.Open()
	if missing == nil {
		m.Close()
		return err
	}
	s.log.Debug("TensorRT fails: " + err.Error())
	return fault.NoDevice(fmt.Errorf("run the engine %s: %w", path, missing))
}

// checkRuntime refuses an engine that was built by another version of the
// TensorRT that is here. Where that TensorRT is missing there is nothing to say.
func (s *session) checkRuntime(a *trt.Artifact) error {
	families, err := trt.Find(s.ctx, trt.DefaultPlaces())
	if err != nil {
		return err
	}
	var other error
	for _, f := range families {
		if f.Backend != a.Backend || f.Version == "" {
			continue
		}
		if err := a.CheckRuntime(f); err == nil {
			return nil
		} else if other == nil {
			other = err
		}
	}
	return other
}

// Flags that several commands have.

func shapeFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "shape", Usage: "`HxW` of the input, or one number (default: the model's own, else 640)"}
}

func trustFlag() urfave.Flag {
	return &urfave.BoolFlag{Name: "trust", Usage: "run an engine that has no sidecar; an engine can run any code"}
}

func likeFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "like", Usage: "`MODEL` in ONNX that the engine was built from, where its sidecar does not say how it detects"}
}

func familyFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "family", Value: "auto", Usage: "`NAME` of the detector family"}
}

func pixelsFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "pixels", Usage: "`LIST` of what pixels become, such as rgb,0..1, where the model was not trained as its family is: " + detect.PixelHelp}
}

// load reads a detector and says what was settled in doing so.
func (s *session) load(path string, o job.LoadOptions) (*job.Detector, error) {
	d, err := job.LoadDetector(path, o)
	if err != nil {
		return nil, err
	}
	for _, note := range d.Notes(o) {
		s.log.Info(note)
	}
	return d, nil
}

// loadOptions reads --shape, --family, --pixels and, where the command has it, --batch.
func loadOptions(c *urfave.Context) (job.LoadOptions, error) {
	o := job.LoadOptions{Family: c.String("family"), Pixels: c.String("pixels"), Batch: 1, Like: c.String("like")}
	if o.Pixels != "" {
		if err := new(detect.PixelFormat).Change(o.Pixels); err != nil {
			return o, usage(c.Command.Name, "--pixels: %v", err)
		}
	}
	if o.Like != "" {
		if err := needFile("model", o.Like); err != nil {
			return o, err
		}
	}
	if text := c.String("shape"); text != "" {
		var err error
		if o.Height, o.Width, err = parseSize(text); err != nil {
			return o, usage(c.Command.Name, "--shape: %v", err)
		}
	}
	if c.IsSet("batch") {
		if o.Batch = c.Int("batch"); o.Batch < 1 || o.Batch > 1024 {
			return o, usage(c.Command.Name, "--batch %d: expected 1 to 1024", o.Batch)
		}
	}
	return o, nil
}
