package job

import (
	"fmt"
	"log/slog"

	"trtact/calib"
	"trtact/internal/coco"
	"trtact/internal/fault"
)

// inputs are the files that a build reads besides the model; nil where it needs
// none.
type inputs struct {
	val     *coco.Dataset
	plan    *calib.Plan
	cache   calib.Cache // that plan's scales are from
	samples Samples
	sources *coco.Dataset // the files that samples come from
}

// open reads them all, so that a wrong one is found before the work begins.
func (o BuildOptions) open(d *Detector) (in inputs, err error) {
	if o.Val != "" {
		if in.val, err = openData(o.Val, o.ValImages); err != nil {
			return in, err
		}
		in.val = in.val.First(o.ValLimit)
	}
	if !o.INT8 || d.Quantized {
		if o.Data != "" && o.FP16 && !d.Quantized { // to see what leaves float16's range
			err = in.openSamples(o, d)
		}
		return in, err
	}
	if o.Plan != "" {
		if err := in.openPlan(o, d); err != nil {
			return in, err
		}
	}
	// With a plan, pictures are for training alone.
	if o.Data != "" && (o.Plan == "" || o.Distil.wanted()) {
		err = in.openSamples(o, d)
	}
	return in, err
}

// openPlan reads the plan, or a calibration cache: its scales go to what would be
// quantised by calibrating.
func (in *inputs) openPlan(o BuildOptions, d *Detector) (err error) {
	if calib.IsCache(o.Plan) {
		if in.cache, err = calib.LoadCache(o.Plan); err != nil {
			return err
		}
		if in.plan, err = o.Calibrate.place(d); err != nil {
			return err
		}
		if err = in.plan.AssignWeights(d.Model.Graph, calib.AbsMax); err != nil {
			return err
		}
		if err = in.plan.Adopt(in.cache, d.Model.Graph); err != nil {
			return fmt.Errorf("%s for %s: %w", o.Plan, o.Model, err)
		}
		return nil
	}
	if in.plan, err = calib.LoadPlan(o.Plan); err != nil {
		return err
	}
	if in.plan.Model.SHA256 != "" && in.plan.Model.SHA256 != d.Source.SHA256 {
		return fault.BadInput(fmt.Errorf("plan %s was made for another model file than %s: make it again with calibrate", o.Plan, o.Model))
	}
	return nil
}

func (in *inputs) openSamples(o BuildOptions, d *Detector) error {
	samples, warnings, err := OpenSamples(o.Data, o.Images, d)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		slog.Warn(w)
	}
	in.samples, in.sources = samples, &coco.Dataset{Path: o.Data}
	if p, ok := samples.(Pictures); ok {
		in.sources.Images = p.Images
		return nil
	}
	files, err := arrayFiles(o.Data, d.Spec.Input != "")
	for _, path := range files {
		in.sources.Images = append(in.sources.Images, coco.Image{Path: path})
	}
	return err
}

// openData opens a data set and says what was odd about it.
func openData(path, images string) (*coco.Dataset, error) {
	ds, err := coco.Open(path, images)
	if err != nil {
		return nil, err
	}
	for _, w := range ds.Warnings {
		slog.Warn(w)
	}
	return ds, nil
}

// atBatchOne is the same detector for single images.
func (d *Detector) atBatchOne(o LoadOptions) (*Detector, error) {
	if d.Spec.Batch <= 1 {
		return d, nil
	}
	o.Batch = 1
	return prepare(d.Path, d.Source, o)
}
