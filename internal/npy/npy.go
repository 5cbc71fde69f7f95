// Package npy reads and writes numpy's files of arrays: .npy, one array with a
// short text header, and .npz, a zip archive of them. It is how tensors that are
// no pictures come into and leave the program.
//
// The format is numpy's NEP 1: the bytes \x93NUMPY, a version, the header's
// length, a Python dictionary with element type, order and shape, then the
// elements. A file may lie about all of these, so nothing is allocated before
// the header has been held against the file's real size.
package npy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"trtact/internal/atomicfile"
	"trtact/internal/fault"
)

// Array is a dense row-major (C order) array. Data is a []float32, []float64,
// []int8, []int16, []int32, []int64, []uint8, []uint16, []uint32, []uint64 or
// []bool with as many elements as Shape says; float16 files are widened to
// []float32. Shape is empty for a scalar.
type Array struct {
	Shape []int
	Data  any
}

// element is the type of an array's elements: numpy's letter and size in bytes.
type element struct {
	kind byte // f, i, u, b (bool)
	size int
}

// Read reads a .npy file. Errors are fault.BadInput.
func Read(path string) (*Array, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a, err := read(io.NewSectionReader(f.file, f.start, f.header.bytes()), f.header)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read %s: %w", path, err))
	}
	return a, nil
}

// File is an open .npy file whose items along the first axis can be read one by
// one, so that data larger than memory streams through.
type File struct {
	Shape  []int
	path   string
	file   *os.File
	header header
	start  int64 // of the elements
}

// Open reads a .npy file's header and checks it against the file's size. Errors
// are fault.BadInput. The caller closes the file.
func Open(path string) (*File, error) {
	f, err := open(path)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read array: %w", err))
	}
	return f, nil
}

func open(path string) (f *File, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	if info, err = file.Stat(); err != nil {
		return nil, err
	}
	h, start, err := readHeader(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &File{Shape: h.shape, path: path, file: file, header: h, start: start}, nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Len is the number of items along the first axis; 1 for a scalar.
func (f *File) Len() int {
	if len(f.Shape) == 0 {
		return 1
	}
	return f.Shape[0]
}

// Item reads item i along the first axis: of shape Shape[1:]. Several goroutines
// may read at once.
func (f *File) Item(i int) (*Array, error) {
	if i < 0 || i >= f.Len() {
		return nil, fmt.Errorf("read %s: item %d of %d", f.path, i, f.Len())
	}
	if f.header.fortran {
		return nil, fault.BadInput(fmt.Errorf("read %s: it is in Fortran order, whose items are scattered: save it with numpy.ascontiguousarray", f.path))
	}
	h := f.header
	if len(h.shape) > 0 {
		h.shape = h.shape[1:]
	}
	a, err := read(io.NewSectionReader(f.file, f.start+int64(i)*h.bytes(), h.bytes()), h)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read %s: item %d: %w", f.path, i, err))
	}
	return a, nil
}

// Write writes a .npy file (version 1.0, little-endian, C order).
func Write(path string, a *Array) error {
	e, count, err := describe(a.Data)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	h := header{element: e, shape: a.Shape}
	if n, err := h.count(); err != nil || n != count {
		return fmt.Errorf("write %s: shape %v does not fit %d elements", path, a.Shape, count)
	}
	return atomicfile.WriteFunc(path, func(w io.Writer) error {
		if _, err := w.Write(h.text()); err != nil {
			return err
		}
		return writeData(w, a.Data)
	})
}

// chunk is the number of elements converted at a time.
const chunk = 1 << 16

// read reads a whole array; h has been checked.
func read(r io.Reader, h header) (*Array, error) {
	n, err := h.count()
	if err != nil {
		return nil, err
	}
	var data any
	switch h.element {
	case element{'f', 2}:
		var half []uint16
		if half, err = readData[uint16](r, h, n); err == nil {
			wide := make([]float32, n)
			for i, bits := range half {
				wide[i] = fromHalf(bits)
			}
			data, err = ordered(wide, h), nil
		}
	case element{'f', 4}:
		data, err = readOrdered[float32](r, h, n)
	case element{'f', 8}:
		data, err = readOrdered[float64](r, h, n)
	case element{'i', 1}:
		data, err = readOrdered[int8](r, h, n)
	case element{'i', 2}:
		data, err = readOrdered[int16](r, h, n)
	case element{'i', 4}:
		data, err = readOrdered[int32](r, h, n)
	case element{'i', 8}:
		data, err = readOrdered[int64](r, h, n)
	case element{'u', 1}:
		data, err = readOrdered[uint8](r, h, n)
	case element{'u', 2}:
		data, err = readOrdered[uint16](r, h, n)
	case element{'u', 4}:
		data, err = readOrdered[uint32](r, h, n)
	case element{'u', 8}:
		data, err = readOrdered[uint64](r, h, n)
	case element{'b', 1}:
		data, err = readOrdered[bool](r, h, n)
	default:
		err = fmt.Errorf("element type %c%d", h.element.kind, h.element.size)
	}
	if err != nil {
		return nil, err
	}
	return &Array{Shape: slices.Clone(h.shape), Data: data}, nil
}

func readOrdered[T any](r io.Reader, h header, n int) ([]T, error) {
	data, err := readData[T](r, h, n)
	if err != nil {
		return nil, err
	}
	return ordered(data, h), nil
}

// readData reads n elements as they lie in the file.
func readData[T any](r io.Reader, h header, n int) ([]T, error) {
	var order binary.ByteOrder = binary.LittleEndian
	if h.bigEndian {
		order = binary.BigEndian
	}
	out := make([]T, n)
	buf := make([]byte, min(n, chunk)*h.element.size)
	for rest := out; len(rest) > 0; {
		m := min(len(rest), chunk)
		b := buf[:m*h.element.size]
		if _, err := io.ReadFull(r, b); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, errors.New("it ends before its last element")
			}
			return nil, err
		}
		if _, err := binary.Decode(b, order, rest[:m]); err != nil {
			return nil, err
		}
		rest = rest[m:]
	}
	return out, nil
}

// ordered brings a Fortran-order array, whose first axis runs fastest, into C
// order.
func ordered[T any](data []T, h header) []T {
	if !h.fortran || len(h.shape) < 2 {
		return data
	}
	steps := make([]int, len(h.shape)) // of each axis in data
	step := 1
	for axis, size := range h.shape {
		steps[axis] = step
		step *= size
	}
	out := make([]T, len(data))
	at := make([]int, len(h.shape))
	from := 0
	for i := range out {
		out[i] = data[from]
		for axis := len(at) - 1; axis >= 0; axis-- {
			at[axis]++
			from += steps[axis]
			if at[axis] < h.shape[axis] {
				break
			}
			from -= at[axis] * steps[axis]
			at[axis] = 0
		}
	}
	return out
}

// describe gives the element type and count of an Array's Data.
func describe(data any) (element, int, error) {
	switch d := data.(type) {
	case []float32:
		return element{'f', 4}, len(d), nil
	case []float64:
		return element{'f', 8}, len(d), nil
	case []int8:
		return element{'i', 1}, len(d), nil
	case []int16:
		return element{'i', 2}, len(d), nil
	case []int32:
		return element{'i', 4}, len(d), nil
	case []int64:
		return element{'i', 8}, len(d), nil
	case []uint8:
		return element{'u', 1}, len(d), nil
	case []uint16:
		return element{'u', 2}, len(d), nil
	case []uint32:
		return element{'u', 4}, len(d), nil
	case []uint64:
		return element{'u', 8}, len(d), nil
	case []bool:
		return element{'b', 1}, len(d), nil
	}
	return element{}, 0, fmt.Errorf("arrays of %T cannot be stored", data)
}

func writeData(w io.Writer, data any) error {
	switch d := data.(type) {
	case []float32:
		return writeChunks(w, d)
	case []float64:
		return writeChunks(w, d)
	case []int8:
		return writeChunks(w, d)
	case []int16:
		return writeChunks(w, d)
	case []int32:
		return writeChunks(w, d)
	case []int64:
		return writeChunks(w, d)
	case []uint8:
		return writeChunks(w, d)
	case []uint16:
		return writeChunks(w, d)
	case []uint32:
		return writeChunks(w, d)
	case []uint64:
		return writeChunks(w, d)
	case []bool:
		return writeChunks(w, d)
	}
	return fmt.Errorf("arrays of %T cannot be stored", data)
}

func writeChunks[T any](w io.Writer, data []T) error {
	var buf []byte
	for part := range slices.Chunk(data, chunk) {
		var err error
		if buf, err = binary.Append(buf[:0], binary.LittleEndian, part); err != nil {
			return err
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// fromHalf widens an IEEE 754 half-precision number.
func fromHalf(bits uint16) float32 {
	sign := uint32(bits>>15) << 31
	exponent, fraction := uint32(bits>>10&31), uint32(bits&1023)
	switch exponent {
	case 0: // zero or subnormal: fraction * 2^-24
		v := float32(fraction) * 0x1p-24
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}
