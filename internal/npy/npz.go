package npy

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"trtact/internal/fault"
)

// MaxNPZBytes bounds what a .npz file may unpack to.
const MaxNPZBytes = 4 << 30

// maxRatio is the most that zip's compression can shrink anything.
const maxRatio = 1032

// ReadNPZ reads all arrays of a .npz file by name, without the .npy ending.
// Errors are fault.BadInput.
func ReadNPZ(path string) (map[string]*Array, error) {
	arrays, err := readNPZ(path)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read %s: %w", path, err))
	}
	return arrays, nil
}

func readNPZ(path string) (map[string]*Array, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	archive, err := zip.OpenReader(path)
	if err != nil {
		return nil, fmt.Errorf("not a .npz file: %w", err)
	}
	defer archive.Close()
	arrays := map[string]*Array{}
	total := uint64(0)
	for _, entry := range archive.File {
		name, ok := strings.CutSuffix(entry.Name, ".npy")
		switch {
		case !ok:
			return nil, fmt.Errorf("it holds %.80q, which is no .npy array", entry.Name)
		case arrays[name] != nil:
			return nil, fmt.Errorf("it holds two arrays called %.80q", name)
		case entry.UncompressedSize64 > MaxNPZBytes-total:
			return nil, fmt.Errorf("it unpacks to more than the %d bytes allowed", int64(MaxNPZBytes))
		case entry.UncompressedSize64/maxRatio > min(entry.CompressedSize64, uint64(info.Size())):
			return nil, fmt.Errorf("array %.80q is said to unpack to %d bytes out of %d", name, entry.UncompressedSize64, entry.CompressedSize64)
		}
		total += entry.UncompressedSize64
		if arrays[name], err = readEntry(entry); err != nil {
			return nil, fmt.Errorf("array %.80q: %w", name, err)
		}
	}
	if len(arrays) == 0 {
		return nil, errors.New("it holds no arrays")
	}
	return arrays, nil
}

func readEntry(entry *zip.File) (*Array, error) {
	r, err := entry.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	h, _, err := readHeader(r, int64(entry.UncompressedSize64))
	if err != nil {
		return nil, err
	}
	a, err := read(r, h)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, r) // the end is where the checksum is compared
	return a, err
}
