package onnx

// External data: weights that lie in files beside the model. The file names come
// from the model, which may come from anywhere, so they reach nothing but regular
// files below the model's own folder: os.Root follows no link and no ".." out of
// it, and what was opened, not what was named, is what is checked.

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"trtact/internal/onnx/onnxpb"
)

// region is where a tensor's bytes lie.
type region struct {
	location string
	offset   int64
	length   int64 // -1 where the model does not say
}

// parseRegion reads a tensor's entries. Keys that are not the format's are
// refused: a reader that obeyed them could be told to do anything.
func parseRegion(entries []*onnxpb.StringStringEntryProto) (region, error) {
	r := region{length: -1}
	seen := map[string]bool{}
	for _, e := range entries {
		key, value := e.GetKey(), e.GetValue()
		if seen[key] {
			return r, fmt.Errorf("external data: the key %s comes twice", quoted(key))
		}
		seen[key] = true
		var err error
		switch key {
		case "location":
			r.location = value
		case "offset":
			r.offset, err = strconv.ParseInt(value, 10, 64)
		case "length":
			r.length, err = strconv.ParseInt(value, 10, 64)
			if err == nil && r.length < 0 {
				err = errors.New("negative")
			}
		case "checksum": // of the whole file; what is read is checked by size only
		default:
			return r, fmt.Errorf("external data: the key %s is none of location, offset, length, checksum", quoted(key))
		}
		if err != nil || r.offset < 0 {
			return r, fmt.Errorf("external data: the %s %s is not a size", key, quoted(value))
		}
	}
	if r.location == "" {
		return r, errors.New("external data: the location is missing")
	}
	if !filepath.IsLocal(r.location) {
		return r, fmt.Errorf("external data: the location %s leaves the model's folder", quoted(r.location))
	}
	return r, nil
}

// external reads the want bytes of a tensor from the file that entries name.
func (d *decoder) external(entries []*onnxpb.StringStringEntryProto, want int64) ([]byte, error) {
	r, err := parseRegion(entries)
	if err != nil {
		return nil, err
	}
	if r.length >= 0 && r.length != want {
		return nil, fmt.Errorf("external data: %d bytes in %s, but the shape needs %d", r.length, quoted(r.location), want)
	}
	if d.dir == "" {
		return nil, fmt.Errorf("external data: %s cannot be looked for, the model was not read from a folder", quoted(r.location))
	}
	if d.root == nil {
		if d.root, err = os.OpenRoot(d.dir); err != nil {
			return nil, fmt.Errorf("external data: %w", plainCause(err))
		}
	}
	f, err := d.root.OpenFile(r.location, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("external data: open %s: %w", quoted(r.location), plainCause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("external data: %s: %w", quoted(r.location), plainCause(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("external data: %s is not a regular file", quoted(r.location))
	}
	if r.offset > info.Size() || want > info.Size()-r.offset {
		return nil, fmt.Errorf("external data: %d bytes from %d on are asked for of %s, which has %d", want, r.offset, quoted(r.location), info.Size())
	}
	raw := make([]byte, want)
	if _, err := io.ReadFull(io.NewSectionReader(f, r.offset, want), raw); err != nil {
		return nil, fmt.Errorf("external data: read %s: %w", quoted(r.location), plainCause(err))
	}
	return raw, nil
}
