package job

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"trtact/internal/detect"
	"trtact/internal/nn"
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
