// What an ONNX file holds.

package inspect

import (
	"trtact/internal/onnx"
)

// Port is an input or output of the model.
type Port struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// Dims is null when the rank is unknown; onnx.Dynamic stands for a size
	// that is not fixed.
	Dims    []int    `json:"dims"`
	Symbols []string `json:"symbols,omitempty"` // names of the sizes that are not fixed
}

// Model is what an ONNX file holds.
type Model struct {
	SHA256     string     `json:"sha256"`
	Producer   string     `json:"producer,omitempty"`
	IR         int64      `json:"ir"`
	Opset      int        `json:"opset"`
	Float16    bool       `json:"float16,omitempty"` // the file's numbers are half precision
	Inputs     []Port     `json:"inputs"`
	Outputs    []Port     `json:"outputs"`
	Nodes      int        `json:"nodes"`
	Ops        []OpCount  `json:"ops"`
	Params     int64      `json:"params"`
	WeightSize int64      `json:"weight_bytes"` // of all constants, as stored in memory
	Layers     []Layer    `json:"layers"`
	Quantized  *Quantized `json:"quantized,omitempty"` // null for a float model
}

// Of reads what m holds.
func Of(m *onnx.Model) *Model {
	r := &reader{g: m.Graph, index: m.Graph.Index()}
	out := &Model{
		SHA256: m.SHA256, Producer: m.Producer, IR: m.IR, Opset: m.Opset, Float16: m.WasFloat16,
		Inputs: ports(m.Graph.Inputs), Outputs: ports(m.Graph.Outputs),
		Nodes: len(m.Graph.Nodes), Ops: r.ops(), Params: r.params(), Layers: r.layers(),
	}
	for _, t := range m.Graph.Init {
		out.WeightSize += int64(t.Len()) * int64(t.Type.Size())
	}
	out.Quantized = r.quantized(out.Layers)
	return out
}

func ports(values []onnx.Value) []Port {
	list := []Port{}
	for _, v := range values {
		list = append(list, Port{Name: v.Name, Type: v.Type.String(), Dims: v.Dims, Symbols: v.Symbols})
	}
	return list
}
