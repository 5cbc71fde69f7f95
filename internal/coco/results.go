package coco

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"trtact/internal/atomicfile"
	"trtact/internal/fault"
)

// Detections are exchanged in COCO's results format: a JSON list of objects with
// image_id, category_id, bbox [x, y, width, height] and score.

type jsonResult struct {
	ImageID    *whole    `json:"image_id"`
	CategoryID *whole    `json:"category_id"`
	BBox       []float64 `json:"bbox"`
	Score      *float64  `json:"score"`
}

// ReadResults reads a results file. Errors are fault.BadInput.
func ReadResults(path string) ([]Result, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read results: %w", err))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read results: %w", err))
	}
	defer f.Close()
	results, err := decodeResults(bufio.NewReaderSize(f, 1<<16))
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read results %s: %w", path, err))
	}
	return results, nil
}

func decodeResults(r io.Reader) ([]Result, error) {
	dec := json.NewDecoder(r)
	token, err := dec.Token()
	if err != nil {
		return nil, readable(err)
	}
	if token != json.Delim('[') {
		return nil, errors.New("want a list of detections")
	}
	var results []Result
	for dec.More() {
		var v jsonResult
		if err := dec.Decode(&v); err != nil {
			return nil, fmt.Errorf("detection %d: %w", len(results), readable(err))
		}
		if v.ImageID == nil || v.CategoryID == nil || v.Score == nil || len(v.BBox) != 4 {
			return nil, fmt.Errorf("detection %d: want image_id, category_id, bbox of 4 numbers and score", len(results))
		}
		results = append(results, Result{int64(*v.ImageID), int64(*v.CategoryID), [4]float64(v.BBox), *v.Score})
	}
	if _, err := dec.Token(); err != nil {
		return nil, readable(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("more follows after the end of the list")
	}
	return results, nil
}

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
