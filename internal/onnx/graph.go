// Package onnx is the model as this program sees it: a graph of named tensors
// that is loaded from an ONNX file, checked, given shapes, simplified, edited
// and saved again.
//
// The graph is plain data. Tensors are referred to by name, as in the file, so
// a graph can be printed, compared in a test and edited without bookkeeping;
// the few places that need to walk it ask for an Index.
package onnx

// DType is the element type of a tensor, with the numbers of ONNX's
// TensorProto.DataType.
type DType int32

const (
	Undefined DType = 0
	Float     DType = 1 // float32
	Uint8     DType = 2
	Int8      DType = 3
	Uint16    DType = 4
	Int16     DType = 5
	Int32     DType = 6
	Int64     DType = 7
	String    DType = 8
	Bool      DType = 9
	Float16   DType = 10
	Double    DType = 11
	Uint32    DType = 12
	Uint64    DType = 13
	BFloat16  DType = 16
)

// Tensor is a dense row-major value. Data holds the elements in the Go type of
// Type: []float32 (Float), []float64 (Double), []int8, []uint8, []int16,
// []uint16, []int32, []uint32, []int64, []uint64, []bool, []string.
//
// Load widens Float16 and BFloat16 to Float, so that nothing that computes with
// a graph ever meets them. Only a graph that is made to be saved may hold
// Float16 tensors (Tensor.Float16): their Data is the []uint16 of their bits.
type Tensor struct {
	Type DType
	Dims []int // empty for a scalar
	Data any
}

// Dynamic stands for a dimension whose size is not known.
const Dynamic = -1

// Value describes a tensor without its contents.
type Value struct {
	Name string
	Type DType
	// Dims is nil when the rank is unknown; an entry is Dynamic when that size
	// is unknown.
	Dims []int
	// Symbols holds the names of symbolic dimensions ("batch"), "" where a
	// dimension has none. It is nil or as long as Dims.
	Symbols []string
}

// Node is one operation. An empty input name is an optional input left out.
type Node struct {
	Name    string // unique in its graph after Load
	Op      string // operator, e.g. "Conv"
	Domain  string // "" for ONNX's own operators
	Inputs  []string
	Outputs []string
	Attrs   map[string]Attr
}

// Attr is an attribute's value: int64, float32, string, []int64, []float32,
// []string, *Tensor or *Graph.
type Attr any

// Graph is a directed acyclic graph. Nodes are in topological order.
type Graph struct {
	Name    string
	Nodes   []*Node
	Inputs  []Value // without initialisers, even where the file lists them
	Outputs []Value
	// Init holds the constants (initialisers), by tensor name.
	Init map[string]*Tensor
	// Info holds what is known of every tensor's type and shape, by name,
	// graph inputs, outputs and initialisers included. InferShapes fills it.
	Info map[string]Value
}

// Model is a graph with what its file says about it.
type Model struct {
	Path     string // where it was loaded from; "" when made in memory
	SHA256   string // of the file's bytes, hexadecimal
	IR       int64
	Opset    int            // version of the default operator set
	Domains  map[string]int // versions of other operator sets, by domain; nil for none
	Producer string
	Metadata map[string]string // metadata_props
	// WasFloat16 is set when the file held float16 tensors, now float32.
	WasFloat16 bool
	Graph      *Graph
}
