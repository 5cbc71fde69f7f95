package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"trtact/calib"
	"trtact/internal/job"
	"trtact/trt"
)

// buildPrecisions builds every ONNX model for the GPU here in every precision, by
// the job of `trtact build`, and lists them with the engines of the command line
// in its order. free removes what --keep does not keep.
func (s *session) buildPrecisions(f benchFlags, found benchedGPU) (engines []benchedEngine, free func(), err error) {
	if err := s.checkPrecisions(f); err != nil {
		return nil, nil, err
	}
	dir, remove := f.keep, func() {}
	if dir != "" {
		if err := needOutputDir("bench", "--keep", dir); err != nil {
			return nil, nil, err
		}
	} else {
		if dir, err = os.MkdirTemp("", "trtact-bench-*"); err != nil {
			return nil, nil, err
		}
		remove = func() { os.RemoveAll(dir) }
	}
	defer func() {
		if err != nil {
			remove()
		}
	}()
	options, err := s.engineOptions(f, found)
	if err != nil {
		return nil, nil, err
	}
	calibrating := *s
	calibrating.device = device{kind: "auto"} // on the CPU, whatever GPU is timed
	m, done, err := calibrating.machine()
	if err != nil {
		return nil, nil, err
	}
	defer done()
	titles := modelTitles(f.models)
	for i, path := range f.models {
		if isEngine(path) {
			engines = append(engines, benchedEngine{path: path, title: titles[i], model: path})
			continue
		}
		// Two models may have one name, in different folders.
		name := strings.NewReplacer("/", "_", "\\", "_").Replace(strings.TrimSuffix(titles[i], filepath.Ext(titles[i])))
		for _, p := range f.precisions {
			o := job.BuildOptions{
				Model: path, Output: filepath.Join(dir, name+"."+p+".engine"), Load: f.load,
				INT8: strings.HasPrefix(p, "int8"), FP16: strings.HasSuffix(p, "fp16"),
				Calibrate: job.CalibrateOptions{Method: job.AutoMethod, Placement: calib.DefaultOptions(), Equalise: job.EqualiseAuto},
				Distil:    job.DistilOptions{Mode: job.DistilOff},
				Engine:    options, Program: Version, Command: s.command,
			}
			o.Load.Family = "auto"
			if o.INT8 {
				o.Data, o.Images = f.data, f.images
				o.Work = filepath.Join(dir, name+".work") // one calibration for all
			}
			s.log.Info(fmt.Sprintf("build %s in %s", titles[i], p))
			if _, err := m.Build(s.ctx, o); err != nil {
				return nil, nil, fmt.Errorf("build %s in %s to time it: %w", path, p, err)
			}
			e := benchedEngine{path: o.Output, title: strings.TrimSuffix(titles[i], filepath.Ext(titles[i])) + " " + p, model: path}
			if f.keep != "" {
				e.kept = true
			}
			engines = append(engines, e)
		}
	}
	return engines, remove, nil
}

// checkPrecisions looks for what is missing before anything is built.
func (s *session) checkPrecisions(f benchFlags) error {
	int8 := false
	for _, p := range f.precisions {
		int8 = int8 || strings.HasPrefix(p, "int8")
	}
	if f.data != "" {
		if !int8 {
			return usage("bench", "--data is for --precision int8, which is not asked for")
		}
		if err := needPath("--data", f.data); err != nil {
			return err
		}
	}
	for _, path := range f.models {
		if isEngine(path) {
			continue
		}
		d, err := job.LoadDetector(path, f.load)
		if err != nil {
			return err
		}
		switch {
		case d.Quantized:
			for _, p := range f.precisions {
				if !strings.HasPrefix(p, "int8") {
					return usage("bench", "--precision %s: %s has Q/DQ nodes, so that every engine of it is INT8; give its float model", p, path)
				}
			}
		case int8 && f.data == "":
			return usage("bench", "--precision int8 needs --data: pictures to find the scales of %s with", path)
		}
	}
	return nil
}

// engineOptions says how TensorRT builds for the GPU here: TensorRT proper does
// anyway, TensorRT for RTX is told which one it is.
func (s *session) engineOptions(f benchFlags, found benchedGPU) (trt.BuildOptions, error) {
	o := trt.BuildOptions{Backend: f.backend, Log: f.log, Verbose: s.verbose, Timeout: trt.DefaultTimeout, Detailed: f.layers}
	places := trt.DefaultPlaces()
	families, err := trt.Find(s.ctx, places)
	if err != nil {
		return o, err
	}
	family, err := trt.Choose(families, o.Backend, nil, places)
	if err != nil {
		return o, err
	}
	if family.Backend == trt.BackendRTX && found.ComputeCapability != "" {
		if o.Targets, err = trt.ParseTargets([]string{found.ComputeCapability}); err != nil {
			return o, err
		}
	}
	o.Backend = family.Backend
	return o, nil
}
