package trt

// A small model in every form in which INT8 and FP16 can be written, made by hand.

import (
	"math"
	"testing"

	"trtact/internal/onnx"
)

// Forms in which a test model carries INT8.
const (
	plain       = "float"           // no Q/DQ
	floatQ      = "float + Q + DQ"  // weights as FP32 constant, quantised in the graph
	int8DQ      = "INT8 + DQ"       // weights as INT8 constant
	fp16        = "fp16"            // no Q/DQ, values cast to FP16
	int8DQFP16  = "INT8 + DQ, fp16" // as int8DQ, everything else in FP16
	perTensorDQ = "INT8 + DQ, per tensor"
)

// forms lists them all.
var forms = []string{plain, floatQ, int8DQ, fp16, int8DQFP16, perTensorDQ}

// modelBuilder puts a test model together.
type modelBuilder struct {
	g    *onnx.Graph
	form string
}

func (b *modelBuilder) node(op string, attrs map[string]onnx.Attr, out string, in ...string) string {
	b.g.Nodes = append(b.g.Nodes, &onnx.Node{Name: "node_" + out, Op: op, Inputs: in, Outputs: []string{out}, Attrs: attrs})
	return out
}

func (b *modelBuilder) half(x string) string {
	return b.node("Cast", map[string]onnx.Attr{"to": int64(onnx.Float16)}, x+"_half", x)
}

func (b *modelBuilder) inHalf() bool { return b.form == fp16 || b.form == int8DQFP16 }

// activation gives x through Q and DQ.
func (b *modelBuilder) activation(x string) string {
	if b.form == plain || b.form == fp16 {
		return x
	}
	b.g.Init[x+"_s"], b.g.Init[x+"_z"] = onnx.Scalar(float32(0.03)), onnx.Scalar(int8(0))
	in := x
	if b.inHalf() {
		in = b.node("Cast", map[string]onnx.Attr{"to": int64(onnx.Float)}, x+"_float", x)
	}
	b.node("QuantizeLinear", nil, x+"_q", in, x+"_s", x+"_z")
	y := b.node("DequantizeLinear", nil, x+"_dq", x+"_q", x+"_s", x+"_z")
	if b.inHalf() {
		y = b.half(y)
	}
	return y
}

// weights gives a constant in the model's form, quantised along axis.
func (b *modelBuilder) weights(name string, dims []int, axis int) string {
	n := 1
	for _, d := range dims {
		n *= d
	}
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(math.Sin(float64(i)*1.7+float64(len(name)))) * 0.2
	}
	b.g.Init[name] = onnx.NewTensor(dims, values)
	switch b.form {
	case plain:
		return name
	case fp16:
		return b.half(name)
	}
	channels, at := dims[axis], int64(axis)
	if b.form == perTensorDQ {
		channels = 1
	}
	scale, zero := make([]float32, channels), make([]int8, channels)
	for i := range scale {
		scale[i] = 0.2 / 127
	}
	attrs := map[string]onnx.Attr{"axis": at}
	b.g.Init[name+"_s"], b.g.Init[name+"_z"] = onnx.Vector(scale...), onnx.Vector(zero...)
	if b.form == perTensorDQ {
		b.g.Init[name+"_s"], b.g.Init[name+"_z"], attrs = onnx.Scalar(scale[0]), onnx.Scalar(zero[0]), nil
	}
	if b.form == floatQ {
		b.node("QuantizeLinear", attrs, name+"_q", name, name+"_s", name+"_z")
	} else {
		q := make([]int8, n)
		for i, v := range values {
			q[i] = int8(math.RoundToEven(float64(v) * 127 / 0.2))
		}
		delete(b.g.Init, name)
		b.g.Init[name+"_q"] = onnx.NewTensor(dims, q)
	}
	y := b.node("DequantizeLinear", attrs, name+"_dq", name+"_q", name+"_s", name+"_z")
	if b.inHalf() {
		y = b.half(y)
	}
	return y
}

// smallModel has what a quantised detector has: convolution (also grouped),
// SiLU, residual sum, concatenation, pooling, nearest resize, transposed
// convolution and, with product, a matrix product, for input images of 1x3x32x32.
func smallModel(t testing.TB, form string, opset, batch int, product bool) []byte {
	t.Helper()
	g := &onnx.Graph{Name: "small", Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{},
		Inputs:  []onnx.Value{{Name: "images", Type: onnx.Float, Dims: []int{batch, 3, 32, 32}}},
		Outputs: []onnx.Value{{Name: "scores", Type: onnx.Float, Dims: []int{batch, 8}}}}
	if batch == onnx.Dynamic {
		g.Inputs[0].Symbols, g.Outputs[0].Symbols = []string{"batch", "", "", ""}, []string{"batch", ""}
	}
	b := &modelBuilder{g: g, form: form}
	conv := func(out, x string, from, to, kernel, group int) string {
		attrs := map[string]onnx.Attr{"kernel_shape": []int64{int64(kernel), int64(kernel)}, "group": int64(group),
			"pads": []int64{int64(kernel / 2), int64(kernel / 2), int64(kernel / 2), int64(kernel / 2)}}
		w := b.weights(out+"_w", []int{to, from / group, kernel, kernel}, 0)
		b.node("Conv", attrs, out, b.activation(x), w)
		return b.node("Mul", nil, out+"_silu", out, b.node("Sigmoid", nil, out+"_sig", out))
	}
	x := "images"
	if b.inHalf() {
		x = b.half(x)
	}
	stem := conv("stem", x, 3, 16, 3, 1)
	deep := conv("deep", stem, 16, 16, 3, 1)
	grouped := conv("grouped", deep, 16, 16, 3, 16)
	sum := b.node("Add", nil, "sum", stem, grouped)
	pool := b.node("MaxPool", map[string]onnx.Attr{"kernel_shape": []int64{2, 2}, "strides": []int64{2, 2}}, "pool", sum)
	g.Init["scales"] = onnx.Vector[float32](1, 1, 2, 2)
	up := b.node("Resize", map[string]onnx.Attr{"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"},
		"up", pool, "", "scales")
	both := b.node("Concat", map[string]onnx.Attr{"axis": int64(1)}, "both", up, deep)
	one := conv("one", both, 32, 16, 1, 1)
	wide := b.node("ConvTranspose", map[string]onnx.Attr{"strides": []int64{2, 2}}, "wide",
		b.activation(one), b.weights("wide_w", []int{16, 16, 2, 2}, 1))
	mean := b.node("GlobalAveragePool", nil, "mean", wide)
	flat := b.node("Flatten", nil, "flat", mean)
	last := b.node("Slice", nil, "last", flat, "from", "to", "axis")
	g.Init["from"], g.Init["to"], g.Init["axis"] = onnx.Vector[int64](0), onnx.Vector[int64](8), onnx.Vector[int64](1)
	if product {
		last = b.node("MatMul", nil, "product", b.activation(last), b.weights("product_w", []int{8, 8}, 1))
	}
	b.node("Cast", map[string]onnx.Attr{"to": int64(onnx.Float)}, "scores", last)
	m := &onnx.Model{Opset: opset, Graph: g}
	data, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}
