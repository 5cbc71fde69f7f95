package job

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/nn"
)

// WarnIfPoor says what to look at where a detector's mAP on labels is low: other pixels, if
// it does better with them on some of the pictures, or where it finds next to nothing, all.
func (m *Machine) WarnIfPoor(ctx context.Context, d *Detector, mAP float64, ds *coco.Dataset, o detect.Options) error {
	const (
		low      = 0.1  // detectors as small as are made reach more on COCO
		poor     = 0.01 // with wrong pixels or labels
		pictures = 16
		better   = 0.05
	)
	if mAP < 0 || mAP >= low || d.Spec.Family == detect.None {
		return nil
	}
	few := ds.First(pictures)
	as := func(pixels string) (float64, error) {
		other, spec := *d, *d.Spec
		other.Spec = &spec
		if err := spec.Pixels.Change(pixels); err != nil {
			return 0, err
		}
		e, err := m.Evaluate(ctx, &other, few, o, "look at pixels")
		if err != nil {
			return 0, err
		}
		return e.Metrics.AP, nil
	}
	own, err := as(d.Spec.Pixels.Order)
	if err != nil {
		return err
	}
	best, most := "", own
	for _, order := range []string{"rgb", "bgr"} { // which changes little
		for _, values := range []string{"0..1", "0..255", "mean=" + imageNetMean[order] + ",std=" + imageNetStd[order]} {
			found, err := as(order + "," + values)
			if err != nil {
				return err
			}
			if found > most+0.02 {
				best, most = order+","+values, found
			}
		}
	}
	switch {
	case most > own+better:
		slog.Warn(fmt.Sprintf("%s as %s is fed with pixels as %s and reaches mAP %.2f on %d pictures of %s; with --pixels %s it reaches %.2f: if it was trained so, say so",
			d.Path, d.Spec.Family, d.Spec.Pixels, 100*own, len(few.Images), ds.Path, best, 100*most))
	case mAP < poor:
		slog.Warn(fmt.Sprintf("%s finds next to nothing on %s (mAP %.2f): check --family (%s), what its pixels become (%s; --pixels), --shape and that the labels' categories are the model's, in its order",
			d.Path, ds.Path, 100*mAP, d.Spec.Family, d.Spec.Pixels))
	}
	return nil
}

// ImageNet's mean and deviation, in 0..255, as --pixels has them.
var (
	imageNetMean = map[string]string{"rgb": "123.675:116.28:103.53", "bgr": "103.53:116.28:123.675"}
	imageNetStd  = map[string]string{"rgb": "58.395:57.12:57.375", "bgr": "57.375:57.12:58.395"}
)

// warnOfDetections runs the float model on a few samples and says so where what it finds
// cannot be: a model that is fed with other pixels than it was trained with calibrates
// without an error.
func (m *Machine) warnOfDetections(ctx context.Context, d *Detector, samples Samples) error {
	const (
		pictures = 4
		score    = 0.25
		crowd    = 100 // boxes a picture
	)
	if d.Spec.Family == detect.None {
		return nil
	}
	n, err := m.compile(d, d.outputNames())
	if err != nil {
		return err
	}
	defer n.Close()
	var looked, boxes atomic.Int64
	same := detect.Transform{Width: d.Spec.Width, Height: d.Spec.Height, ScaleX: 1, ScaleY: 1}
	err = n.ForEach(ctx, min(pictures, samples.Len()), func(c *nn.Context, i int) error {
		inputs, err := samples.Read(i)
		if err != nil { // calibration says what is wrong with it
			return nil
		}
		if err := c.SetInputs(inputs); err != nil {
			return err
		}
		if err := c.Run(); err != nil {
			return err
		}
		outputs, err := d.outputs(c)
		if err != nil {
			return err
		}
		found, err := d.Spec.Decode(outputs, 0, same, detect.Options{Score: score, IoU: 0.45, TopK: 30000, Keep: 300})
		if err == nil {
			looked.Add(1)
			boxes.Add(int64(len(found)))
		}
		return nil
	})
	if err != nil || looked.Load() == 0 {
		return err
	}
	each := float64(boxes.Load()) / float64(looked.Load())
	if each > 0 && each < crowd {
		return nil
	}
	found := "nothing"
	if each > 0 {
		found = fmt.Sprintf("%.0f boxes a picture", each)
	}
	slog.Warn(fmt.Sprintf("%s as %s, fed with pixels as %s, finds %s on the first %d pictures: if that is wrong, say what is right with --pixels or --family",
		filepath.Base(d.Path), d.Spec.Family, d.Spec.Pixels, found, looked.Load()))
	return nil
}
