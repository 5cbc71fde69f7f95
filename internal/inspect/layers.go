// Package inspect says what a model file holds: its border, its layers and
// which of them are quantised. It only reads.
package inspect

import (
	"sort"

	"trtact/internal/onnx"
)

// Precisions of a layer.
const (
	Float = "float"
	Int8  = "int8"
	// Weights: the constant operand is stored or passed through INT8, the other
	// operand is not, so the layer computes in float.
	Weights = "int8 weights"
)

// Layer is a node with trained constants: a convolution or a matrix product.
type Layer struct {
	Name      string `json:"name"`
	Op        string `json:"op"`
	Weight    []int  `json:"weight"` // the constant's dimensions
	Params    int64  `json:"params"` // of the constant and the bias
	Precision string `json:"precision"`
}

// Quantized is how much of a model is INT8.
type Quantized struct {
	Layers     int   `json:"layers"`
	AllLayers  int   `json:"all_layers"`
	Params     int64 `json:"params"` // weights of INT8 layers
	AllParams  int64 `json:"all_params"`
	Activation int   `json:"activation_sites"` // tensors that are quantised on the way
}

// OpCount is how often an operator occurs.
type OpCount struct {
	Op    string `json:"op"`
	Count int    `json:"count"`
}

// reader walks one graph.
type reader struct {
	g     *onnx.Graph
	index *onnx.Index
}

// constant follows a tensor through QuantizeLinear and DequantizeLinear to the
// initialiser it comes from; quantised says whether it passed any.
func (r *reader) constant(name string) (t *onnx.Tensor, source string, quantised bool) {
	for range 4 { // initialiser -> Q -> DQ is two steps; no more is ever written
		if t := r.g.Init[name]; t != nil {
			return t, name, quantised
		}
		n := r.index.Producer[name]
		if n == nil || n.Op != "QuantizeLinear" && n.Op != "DequantizeLinear" {
			return nil, "", false
		}
		name, quantised = n.Input(0), true
	}
	return nil, "", false
}

// trained lists which inputs of an operator hold what training made.
func trained(op string) []int {
	switch op {
	case "Conv", "ConvTranspose", "Gemm":
		return []int{1, 2}
	case "MatMul":
		return []int{0, 1}
	case "BatchNormalization":
		return []int{1, 2} // mean and variance are measured, not trained
	case "PRelu":
		return []int{1}
	case "InstanceNormalization", "LayerNormalization", "GroupNormalization":
		return []int{1, 2}
	}
	return nil
}

// params counts the elements of all trained constants, each once however many
// nodes share it.
func (r *reader) params() int64 {
	seen := map[string]bool{}
	var total int64
	for _, n := range r.g.Nodes {
		for _, i := range trained(n.Op) {
			if t, source, _ := r.constant(n.Input(i)); t != nil && !seen[source] {
				seen[source] = true
				total += int64(t.Len())
			}
		}
	}
	return total
}

// layers lists the nodes with a constant weight, in the order of the graph.
func (r *reader) layers() []Layer {
	var list []Layer
	for _, n := range r.g.Nodes {
		weight := -1
		switch n.Op {
		case "Conv", "ConvTranspose", "Gemm":
			weight = 1
		case "MatMul":
			for i := range 2 {
				if t, _, _ := r.constant(n.Input(i)); t != nil {
					weight = i
				}
			}
		}
		if weight < 0 {
			continue
		}
		t, _, quantised := r.constant(n.Input(weight))
		if t == nil {
			continue
		}
		l := Layer{Name: n.Name, Op: n.Op, Weight: append([]int{}, t.Dims...), Params: int64(t.Len()), Precision: Float}
		if b, _, _ := r.constant(n.Input(2)); b != nil && n.Op != "MatMul" {
			l.Params += int64(b.Len())
		}
		if quantised {
			l.Precision = Weights
			other := 0
			if weight == 0 {
				other = 1
			}
			if p := r.index.Producer[n.Input(other)]; p != nil && p.Op == "DequantizeLinear" {
				l.Precision = Int8
			}
		}
		list = append(list, l)
	}
	return list
}

// quantized is the share of INT8; nil for a model without any quantiser.
func (r *reader) quantized(layers []Layer) *Quantized {
	q := Quantized{AllLayers: len(layers)}
	found := false
	for _, n := range r.g.Nodes {
		if n.Op != "QuantizeLinear" && n.Op != "DequantizeLinear" {
			continue
		}
		found = true
		if t, _, _ := r.constant(n.Input(0)); n.Op == "QuantizeLinear" && t == nil {
			q.Activation++
		}
	}
	if !found {
		return nil
	}
	for _, l := range layers {
		q.AllParams += l.Params
		if l.Precision == Int8 {
			q.Layers++
			q.Params += l.Params
		}
	}
	return &q
}

// ops counts the operators, most frequent first.
func (r *reader) ops() []OpCount {
	counts := map[string]int{}
	for _, n := range r.g.Nodes {
		name := n.Op
		if n.Domain != "" {
			name = n.Domain + "." + n.Op
		}
		counts[name]++
	}
	var list []OpCount
	for op, n := range counts {
		list = append(list, OpCount{op, n})
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].Count != list[j].Count {
			return list[i].Count > list[j].Count
		}
		return list[i].Op < list[j].Op
	})
	return list
}
