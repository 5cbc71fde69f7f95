package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"trtact/internal/onnx/onnxpb"
)

// ParseTensor reads a tensor that stands in a file of its own, as those of
// ONNX's operator tests do, and its name. Half precision becomes float32.
func ParseTensor(data []byte) (*Tensor, string, error) {
	scan := scanner{}
	if err := scan.walk(msgTensor, data, 0, 0); err != nil {
		return nil, "", fmt.Errorf("read tensor: %w", err)
	}
	var pb onnxpb.TensorProto
	if err := (proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: 8}).Unmarshal(data, &pb); err != nil {
		return nil, "", fmt.Errorf("read tensor: %w", err)
	}
	t, err := (&decoder{}).tensor(&pb)
	if err != nil {
		return nil, "", fmt.Errorf("read tensor %s: %w", quoted(pb.GetName()), err)
	}
	return t, pb.GetName(), nil
}

// tensor decodes a tensor from whichever form it is stored in. Its memory is
// asked for only when the stored size is known to be right.
func (d *decoder) tensor(pb *onnxpb.TensorProto) (*Tensor, error) {
	stored := DType(pb.GetDataType())
	size := stored.Size()
	if size == 0 && stored != String {
		return nil, fmt.Errorf("elements of type %s are not read", stored)
	}
	if pb.Segment != nil {
		return nil, errors.New("it is stored in segments, which are not read")
	}
	n, err := elements(pb.Dims)
	if err != nil {
		return nil, err
	}
	t := &Tensor{Type: widened(stored), Dims: make([]int, len(pb.Dims))}
	for i, dim := range pb.Dims {
		t.Dims[i] = int(dim)
	}
	if t.Type != stored {
		d.float16 = true
	}
	external := pb.GetDataLocation() == onnxpb.TensorProto_EXTERNAL
	if !external && len(pb.ExternalData) > 0 {
		return nil, errors.New("it names external data but is not marked as external")
	}
	if err := oneForm(pb, external); err != nil {
		return nil, err
	}
	have := typedLen(pb, stored)
	switch {
	case external:
		if stored == String {
			return nil, errors.New("strings cannot be stored in external data")
		}
	case pb.RawData != nil && stored == String:
		return nil, errors.New("strings cannot be stored as raw bytes")
	case pb.RawData != nil:
		if len(pb.RawData) != n*size {
			return nil, fmt.Errorf("%d raw bytes for %s of shape %v, which needs %d", len(pb.RawData), stored, t.Dims, n*size)
		}
	case have != n:
		return nil, fmt.Errorf("%d elements for %s of shape %v, which needs %d", have, stored, t.Dims, n)
	}
	if err := d.reserve(int64(n) * int64(max(t.Type.Size(), size, 1))); err != nil {
		return nil, err
	}
	raw := pb.RawData
	if external {
		if raw, err = d.external(pb.ExternalData, int64(n)*int64(size)); err != nil {
			return nil, err
		}
	}
	if raw != nil {
		t.Data, err = fromRaw(raw, stored, n)
	} else {
		t.Data, err = fromFields(pb, stored, n)
	}
	pb.RawData = nil // lets go of the bytes while the other tensors are decoded
	return t, err
}

func (d *decoder) reserve(bytes int64) error {
	if d.memory += bytes; d.memory > maxMemory {
		return fmt.Errorf("with it the model takes more than %d GiB of memory", int64(maxMemory)>>30)
	}
	return nil
}

// oneForm makes sure that a tensor's elements are stored once.
func oneForm(pb *onnxpb.TensorProto, external bool) error {
	forms := 0
	for _, filled := range []bool{
		external, pb.RawData != nil && !(external && len(pb.RawData) == 0), len(pb.FloatData) > 0, len(pb.Int32Data) > 0,
		len(pb.Int64Data) > 0, len(pb.Uint64Data) > 0, len(pb.DoubleData) > 0, len(pb.StringData) > 0,
	} {
		if filled {
			forms++
		}
	}
	if forms > 1 {
		return errors.New("its elements are stored in more than one form")
	}
	return nil
}

// typedLen is the number of elements in the typed field that belongs to a type.
func typedLen(pb *onnxpb.TensorProto, stored DType) int {
	switch stored {
	case Float:
		return len(pb.FloatData)
	case Double:
		return len(pb.DoubleData)
	case Int64:
		return len(pb.Int64Data)
	case Uint32, Uint64:
		return len(pb.Uint64Data)
	case String:
		return len(pb.StringData)
	}
	return len(pb.Int32Data)
}

// fromRaw decodes little-endian bytes, n elements of them.
func fromRaw(raw []byte, stored DType, n int) (any, error) {
	switch stored {
	case Float16, BFloat16:
		data := make([]float32, n)
		for i := range data {
			data[i] = half(binary.LittleEndian.Uint16(raw[2*i:]), stored)
		}
		return data, nil
	case Float:
		return decodeRaw(raw, make([]float32, n))
	case Double:
		return decodeRaw(raw, make([]float64, n))
	case Int8:
		return decodeRaw(raw, make([]int8, n))
	case Int16:
		return decodeRaw(raw, make([]int16, n))
	case Int32:
		return decodeRaw(raw, make([]int32, n))
	case Int64:
		return decodeRaw(raw, make([]int64, n))
	case Uint8:
		return decodeRaw(raw, make([]uint8, n))
	case Uint16:
		return decodeRaw(raw, make([]uint16, n))
	case Uint32:
		return decodeRaw(raw, make([]uint32, n))
	case Uint64:
		return decodeRaw(raw, make([]uint64, n))
	case Bool:
		return decodeRaw(raw, make([]bool, n))
	}
	return nil, fmt.Errorf("elements of type %s are not read", stored)
}

func decodeRaw[T Element](raw []byte, data []T) (any, error) {
	if _, err := binary.Decode(raw, binary.LittleEndian, data); err != nil {
		return nil, err
	}
	return data, nil
}

// fromFields decodes the typed fields.
func fromFields(pb *onnxpb.TensorProto, stored DType, n int) (any, error) {
	switch stored {
	case Float:
		return append(make([]float32, 0, n), pb.FloatData...), nil
	case Double:
		return append(make([]float64, 0, n), pb.DoubleData...), nil
	case Int64:
		return append(make([]int64, 0, n), pb.Int64Data...), nil
	case Uint64:
		return append(make([]uint64, 0, n), pb.Uint64Data...), nil
	case Uint32:
		return narrow[uint32](pb.Uint64Data, stored)
	case Int32:
		return append(make([]int32, 0, n), pb.Int32Data...), nil
	case Int16:
		return narrow[int16](pb.Int32Data, stored)
	case Int8:
		return narrow[int8](pb.Int32Data, stored)
	case Uint16:
		return narrow[uint16](pb.Int32Data, stored)
	case Uint8:
		return narrow[uint8](pb.Int32Data, stored)
	case Bool:
		data := make([]bool, n)
		for i, v := range pb.Int32Data {
			data[i] = v != 0
		}
		return data, nil
	case Float16, BFloat16:
		bits, err := narrow[uint16](pb.Int32Data, stored)
		if err != nil {
			return nil, err
		}
		data := make([]float32, n)
		for i, b := range bits.([]uint16) {
			data[i] = half(b, stored)
		}
		return data, nil
	case String:
		data := make([]string, n)
		for i, s := range pb.StringData {
			data[i] = string(s)
		}
		return data, nil
	}
	return nil, fmt.Errorf("elements of type %s are not read", stored)
}

// narrow takes elements out of the wider integers they are stored in.
func narrow[To int8 | int16 | uint8 | uint16 | uint32, From int32 | uint64](from []From, stored DType) (any, error) {
	to := make([]To, len(from))
	for i, v := range from {
		if to[i] = To(v); From(to[i]) != v {
			return nil, fmt.Errorf("element %d is %d, which is no %s", i, v, stored)
		}
	}
	return to, nil
}
