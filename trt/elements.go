package trt

// Elements of tensors between float32 and the type that an engine has them in.

import (
	"encoding/binary"
	"fmt"
	"math"

	"trtact/internal/onnx"
)

// EncodeFloats gives the bytes of values in an element type. Integers are
// rounded half to even and saturated, a bool is a value other than 0; what is no
// number becomes 0 in them.
func EncodeFloats(kind string, values []float32) ([]byte, error) {
	size := int(typeBytes(kind))
	data := make([]byte, len(values)*size)
	switch kind {
	case "fp32":
		for i, v := range values {
			binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(v))
		}
	case "fp16":
		for i, v := range values {
			binary.LittleEndian.PutUint16(data[2*i:], onnx.Float16Bits(v))
		}
	case "bf16":
		for i, v := range values {
			binary.LittleEndian.PutUint16(data[2*i:], bfloat16(v))
		}
	case "int8":
		for i, v := range values {
			data[i] = byte(int8(whole(v, math.MinInt8, math.MaxInt8)))
		}
	case "uint8":
		for i, v := range values {
			data[i] = byte(whole(v, 0, math.MaxUint8))
		}
	case "bool":
		for i, v := range values {
			if v != 0 && v == v {
				data[i] = 1
			}
		}
	case "int32":
		for i, v := range values {
			binary.LittleEndian.PutUint32(data[4*i:], uint32(int32(whole(v, math.MinInt32, math.MaxInt32))))
		}
	case "int64":
		for i, v := range values {
			// The largest float64 below 2^63.
			binary.LittleEndian.PutUint64(data[8*i:], uint64(whole(v, math.MinInt64, 1<<63-1024)))
		}
	default:
		return nil, fmt.Errorf("elements of type %s are not supported", kind)
	}
	return data, nil
}

// whole is v as a whole number within limits that a float64 holds exactly.
func whole(v float32, least, most float64) int64 {
	if v != v {
		return 0
	}
	return int64(min(max(math.RoundToEven(float64(v)), least), most))
}

// DecodeFloats is the values of elements of a type. Large integers are rounded.
func DecodeFloats(kind string, data []byte) ([]float32, error) {
	size := int(typeBytes(kind))
	if size == 0 || len(data)%size != 0 {
		return nil, fmt.Errorf("%d bytes are no elements of type %s", len(data), kind)
	}
	values := make([]float32, len(data)/size)
	for i := range values {
		b := data[i*size:]
		switch kind {
		case "fp32":
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(b))
		case "fp16":
			values[i] = onnx.Float16Value(binary.LittleEndian.Uint16(b))
		case "bf16":
			values[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16)
		case "int8":
			values[i] = float32(int8(b[0]))
		case "uint8":
			values[i] = float32(b[0])
		case "bool":
			if b[0] != 0 {
				values[i] = 1
			}
		case "int32":
			values[i] = float32(int32(binary.LittleEndian.Uint32(b)))
		case "int64":
			values[i] = float32(int64(binary.LittleEndian.Uint64(b)))
		default:
			return nil, fmt.Errorf("elements of type %s are not supported", kind)
		}
	}
	return values, nil
}

// bfloat16 is the upper half of a float32, rounded half to even.
func bfloat16(v float32) uint16 {
	bits := math.Float32bits(v)
	if v != v {
		return uint16(bits>>16) | 0x40 // stays no number
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}
