package coco

import (
	"fmt"
	"io"
)

// Metrics are COCO's twelve figures, 0 to 1, or Undefined where no ground truth
// exists to measure on (for instance no small object in the set).
type Metrics struct {
	AP   float64 `json:"mAP"`   // IoU 0.50 to 0.95, all areas
	AP50 float64 `json:"mAP50"` // IoU 0.50
	AP75 float64 `json:"mAP75"` // IoU 0.75
	APs  float64 `json:"mAP_small"`
	APm  float64 `json:"mAP_medium"`
	APl  float64 `json:"mAP_large"`
	AR1  float64 `json:"AR1"` // recall, averaged over IoU, with 1 detection per image and class
	AR10 float64 `json:"AR10"`
	// AR100, ARs, ARm, ARl use the last of Options.MaxDets.
	AR100 float64 `json:"AR100"`
	ARs   float64 `json:"AR_small"`
	ARm   float64 `json:"AR_medium"`
	ARl   float64 `json:"AR_large"`

	Images     int `json:"images"`
	Detections int `json:"detections"`
	// Ignored counts detections of categories that the data set lacks.
	Ignored int `json:"ignored"`
	// Classes are in the order of Dataset.Categories.
	Classes []ClassMetrics `json:"classes"`
}

// Undefined stands for a figure without any ground truth behind it (as in
// pycocotools).
const Undefined = -1

// ClassMetrics are one class's figures.
type ClassMetrics struct {
	ID     int64   `json:"id"`
	Name   string  `json:"name"`
	Truths int     `json:"truths"` // boxes that count: without crowd regions
	AP     float64 `json:"AP"`
	AP50   float64 `json:"AP50"`
	AR100  float64 `json:"AR100"`
	// Precision[t][r] is the precision at IoUThresholds()[t] and
	// RecallLevels()[r] over all areas; nil without ground truth.
	Precision *[IoUCount][RecallCount]float64 `json:"-"`
}

// mean adds values up and divides; no value at all is Undefined.
type mean struct {
	sum   float64
	count int
}

func (m *mean) add(values ...float64) {
	for _, v := range values {
		m.sum += v
	}
	m.count += len(values)
}

func (m *mean) value() float64 {
	if m.count == 0 {
		return Undefined
	}
	return m.sum / float64(m.count)
}

// summarise averages classes into the twelve figures.
func summarise(ds *Dataset, per []classFigures) *Metrics {
	var ap, ar [areaCount]mean // ar at the last of MaxDets
	var ap50, ap75, ar1, ar10 mean
	m := &Metrics{Classes: make([]ClassMetrics, len(per))}
	const at50, at75 = 0, 5
	for k := range per {
		f := &per[k]
		for a := range areaCount {
			if !f.valid[a] {
				continue
			}
			for t := range IoUCount {
				ap[a].add(f.precision[a][t][:]...)
			}
			ar[a].add(f.recall[a][2][:]...)
		}
		c := ClassMetrics{ID: ds.Categories[k].ID, Name: ds.Categories[k].Name, Truths: f.truths,
			AP: Undefined, AP50: Undefined, AR100: Undefined}
		if f.valid[areaAll] {
			ap50.add(f.precision[areaAll][at50][:]...)
			ap75.add(f.precision[areaAll][at75][:]...)
			ar1.add(f.recall[areaAll][0][:]...)
			ar10.add(f.recall[areaAll][1][:]...)
			var all, half, recall mean
			for t := range IoUCount {
				all.add(f.precision[areaAll][t][:]...)
			}
			half.add(f.precision[areaAll][at50][:]...)
			recall.add(f.recall[areaAll][2][:]...)
			c.AP, c.AP50, c.AR100 = all.value(), half.value(), recall.value()
			c.Precision = &f.precision[areaAll]
		}
		m.Classes[k] = c
	}
	m.AP, m.APs, m.APm, m.APl = ap[areaAll].value(), ap[areaSmall].value(), ap[areaMedium].value(), ap[areaLarge].value()
	m.AP50, m.AP75 = ap50.value(), ap75.value()
	m.AR1, m.AR10 = ar1.value(), ar10.value()
	m.AR100, m.ARs, m.ARm, m.ARl = ar[areaAll].value(), ar[areaSmall].value(), ar[areaMedium].value(), ar[areaLarge].value()
	return m
}

// Twelve are the figures in the order in which pycocotools prints them.
func (m *Metrics) Twelve() [12]float64 {
	return [12]float64{m.AP, m.AP50, m.AP75, m.APs, m.APm, m.APl, m.AR1, m.AR10, m.AR100, m.ARs, m.ARm, m.ARl}
}

// WriteText prints the twelve figures, one a line.
func (m *Metrics) WriteText(w io.Writer) error {
	names := [12]string{
		"AP    IoU 0.50:0.95", "AP    IoU 0.50", "AP    IoU 0.75", "AP    small", "AP    medium", "AP    large",
		"AR    1 detection", "AR    10 detections", "AR    100 detections", "AR    small", "AR    medium", "AR    large",
	}
	for i, v := range m.Twelve() {
		text := fmt.Sprintf("%.4f", v)
		if v == Undefined {
			text = "-"
		}
		if _, err := fmt.Fprintf(w, "%-22s %s\n", names[i], text); err != nil {
			return err
		}
	}
	return nil
}
