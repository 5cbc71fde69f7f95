package onnx

import "fmt"

// Element is any Go type that a tensor's elements can have.
type Element interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | bool | string
}

// The names of ONNX's TensorProto.DataType, also of the types that this program
// does not hold, so that an error can name them.
var dtypeNames = [...]string{
	"undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool",
	"float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16",
	"float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "uint4", "int4", "float4e2m1",
}

// String is the type's name as a person writes it: "float32", "int8".
func (d DType) String() string {
	if d >= 0 && int(d) < len(dtypeNames) {
		return dtypeNames[d]
	}
	return fmt.Sprintf("type %d", int32(d))
}

// Size is the bytes of one element in a file; 0 for strings and for types that
// a Tensor cannot hold.
func (d DType) Size() int {
	switch d {
	case Uint8, Int8, Bool:
		return 1
	case Uint16, Int16, Float16, BFloat16:
		return 2
	case Float, Int32, Uint32:
		return 4
	case Double, Int64, Uint64:
		return 8
	}
	return 0
}

// IsFloat tells whether elements are floating point numbers.
func (d DType) IsFloat() bool {
	return d == Float || d == Double || d == Float16 || d == BFloat16
}

// widened is the type that d becomes on loading: half precision becomes Float.
func widened(d DType) DType {
	if d == Float16 || d == BFloat16 {
		return Float
	}
	return d
}

// DTypeOf is the type of elements in data, Undefined where no tensor can have it.
func DTypeOf(data any) DType {
	switch data.(type) {
	case []float32:
		return Float
	case []float64:
		return Double
	case []int8:
		return Int8
	case []int16:
		return Int16
	case []int32:
		return Int32
	case []int64:
		return Int64
	case []uint8:
		return Uint8
	case []uint16:
		return Uint16
	case []uint32:
		return Uint32
	case []uint64:
		return Uint64
	case []bool:
		return Bool
	case []string:
		return String
	}
	return Undefined
}
