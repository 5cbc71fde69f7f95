package coco

import (
	"io"
	"strconv"

	"trtact/internal/atomicfile"
)

// Detections are written in COCO's results format: a JSON list of objects with
// image_id, category_id, bbox [x, y, width, height] and score.

// WriteResults writes a results file. Numbers keep every digit, so reading gives
// the same values back.
func WriteResults(path string, results []Result) error {
	return atomicfile.WriteFunc(path, func(w io.Writer) error {
		line := []byte("[")
		for i, r := range results {
			if i > 0 {
				line = append(line, ",\n"...)
			}
			line = append(line, `{"image_id":`...)
			line = strconv.AppendInt(line, r.ImageID, 10)
			line = append(line, `,"category_id":`...)
			line = strconv.AppendInt(line, r.CategoryID, 10)
			line = append(line, `,"bbox":[`...)
			for k, v := range r.BBox {
				if k > 0 {
					line = append(line, ',')
				}
				line = strconv.AppendFloat(line, v, 'g', -1, 64)
			}
			line = append(line, `],"score":`...)
			line = strconv.AppendFloat(line, r.Score, 'g', -1, 64)
			line = append(line, '}')
			if _, err := w.Write(line); err != nil {
				return err
			}
			line = line[:0]
		}
		_, err := w.Write(append(line, "]\n"...))
		return err
	})
}
