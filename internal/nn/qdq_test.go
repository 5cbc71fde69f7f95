package nn

import (
	"fmt"
	"slices"
	"testing"

	"trtact/internal/onnx"
)

// pair puts a QuantizeLinear and a DequantizeLinear behind x and gives the name
// of the result.
func (t *trial) pair(x string, scale float32) string {
	t.scalar(x+"_scale", scale)
	t.model.Graph.Init["zero_int8"] = onnx.Scalar(int8(0))
	t.node(fmt.Sprintf("%s_q = QuantizeLinear %s %s_scale zero_int8", x, x, x), nil)
	t.node(fmt.Sprintf("%s_dq = DequantizeLinear %s_q %s_scale zero_int8", x, x, x), nil)
	return x + "_dq"
}

// weightForm is how quantised weights stand in a file.
type weightForm struct {
	perChannel bool
	int8       bool // an INT8 initialiser and a DQ, else a float one, Q and DQ
}

var weightForms = []weightForm{{false, false}, {true, false}, {false, true}, {true, true}}

// weights adds quantised weights with scales along axis, and gives their name.
func (t *trial) weights(name string, f weightForm, axis int, dims ...int) string {
	a := attrs{"axis": int64(axis)}
	n := 1
	t.constant(name, dims...)
	if f.perChannel {
		n = dims[axis]
	}
	scales, zeros := make([]float32, n), make([]int8, n)
	for i := range scales {
		scales[i] = 0.005 * (1 + t.r.Float32())
	}
	g := t.model.Graph
	if f.perChannel {
		t.vector(name+"_scale", scales...)
		g.Init[name+"_zero"] = onnx.Vector(zeros...)
	} else {
		t.scalar(name+"_scale", scales[0])
		g.Init[name+"_zero"] = onnx.Scalar(int8(0))
	}
	if f.int8 {
		list := make([]int8, product(dims))
		for i := range list {
			list[i] = int8(t.r.IntN(255) - 127)
		}
		g.Init[name] = onnx.NewTensor(dims, list)
		t.node(fmt.Sprintf("%s_dq = DequantizeLinear %s %s_scale %s_zero", name, name, name, name), a)
		return name + "_dq"
	}
	t.node(fmt.Sprintf("%s_q = QuantizeLinear %s %s_scale %s_zero", name, name, name, name), a)
	t.node(fmt.Sprintf("%s_dq = DequantizeLinear %s_q %s_scale %s_zero", name, name, name, name), a)
	return name + "_dq"
}

// quantizedTrials: every form in which a Q/DQ graph can stand. x is always
// quantised at 0.03.
func quantizedTrials() []*trial {
	var list []*trial
	const in, out = 0.03, 0.05
	add := func(name string, c int, step float64, build func(t *trial, x string)) {
		t := newTrial(fmt.Sprintf("%s, %d channels", name, c))
		t.input("x", 2, c, 7, 6)
		t.step = step
		build(t, t.pair("x", in))
		if len(t.model.Graph.Outputs) == 0 {
			t.outputs("y")
		}
		list = append(list, t)
	}
	for _, c := range []int{3, 8, 17, 24} {
		for _, f := range weightForms {
			for _, bias := range []bool{false, true} {
				for _, function := range []string{"", "Relu", "Silu", "LeakyRelu", "HardSwish", "Relu6"} {
					for _, next := range []string{"float", "quantised", "quantised for two", "quantised and float"} {
						if function != "" && (f != weightForms[1] || !bias) {
							continue // which function follows does not depend on the weights' form
						}
						name := fmt.Sprintf("convolution %v, bias %v, %s, %s", f, bias, function, next)
						step := 0.0
						if next != "float" {
							step = out
						}
						add(name, c, step, func(t *trial, x string) {
							w := t.weights("w", f, 0, 12, c, 3, 3)
							line := "h = Conv " + x + " " + w
							if bias {
								t.constant("b", 12)
								line += " b"
							}
							t.node(line, attrs{"pads": repeat(1, 4)})
							y := "h"
							if function != "" {
								t.function(function, "f", "h")
								y = "f"
							}
							if next == "float" {
								t.node("y = Identity "+y, nil)
								return
							}
							q := t.pair(y, out)
							t.node("y = Identity "+q, nil)
							t.outputs("y")
							if next == "quantised for two" {
								t.node("z = Neg "+q, nil)
								t.outputs("z")
							}
							if next == "quantised and float" {
								t.node("z = Neg "+y, nil)
								t.outputs("z")
							}
						})
					}
				}
			}
			add(fmt.Sprintf("depthwise convolution %v", f), c, 0, func(t *trial, x string) {
				t.node("y = Conv "+x+" "+t.weights("w", f, 0, c, 1, 3, 3), attrs{"group": int64(c), "strides": []int64{2, 2}})
			})
			add(fmt.Sprintf("transposed convolution %v", f), c, 0, func(t *trial, x string) {
				t.constant("b", 5)
				t.node("y = ConvTranspose "+x+" "+t.weights("w", f, 1, c, 5, 2, 2)+" b", attrs{"strides": []int64{2, 2}})
			})
			add(fmt.Sprintf("transposed convolution in groups %v", f), c, 0, func(t *trial, x string) {
				t.node("y = ConvTranspose "+x+" "+t.weights("w", f, 1, c, 2, 2, 2), attrs{"strides": []int64{2, 2}, "group": int64(c)})
			})
			add(fmt.Sprintf("transposed convolution with a Q behind %v", f), c, out, func(t *trial, x string) {
				t.node("h = ConvTranspose "+x+" "+t.weights("w", f, 1, c, 5, 2, 2), attrs{"strides": []int64{2, 2}})
				t.node("y = Relu "+t.pair("h", out), nil)
			})
			add(fmt.Sprintf("matrix product %v", f), c, 0, func(t *trial, x string) {
				t.node("h = MatMul "+x+" "+t.weights("w", f, 1, 6, 9), nil)
				t.node("y = Relu h", nil)
			})
			add(fmt.Sprintf("matrix product with a Q behind %v", f), c, out, func(t *trial, x string) {
				t.node("h = MatMul "+x+" "+t.weights("w", f, 1, 6, 9), nil)
				t.node("y = Relu "+t.pair("h", out), nil)
			})
			add(fmt.Sprintf("matrix product, scales on the wrong axis %v", f), c, 0, func(t *trial, x string) {
				t.node("y = MatMul "+x+" "+t.weights("w", f, 0, 6, 9), nil)
			})
			for _, transposed := range []int64{0, 1} {
				add(fmt.Sprintf("Gemm %v, transposed %d", f, transposed), c, 0, func(t *trial, x string) {
					t.node("f = Flatten "+x, attrs{"axis": int64(2)})
					w := []int{42, 9}
					if transposed == 1 {
						w = []int{9, 42}
					}
					t.constant("b", 9)
					t.node("y = Gemm "+t.pair("f", in)+" "+t.weights("w", f, 1-int(transposed), w...)+" b", attrs{"transB": transposed})
				})
			}
			add(fmt.Sprintf("float input, quantised weights %v", f), c, 0, func(t *trial, x string) {
				t.node("y = Conv x "+t.weights("w", f, 0, 12, c, 3, 3), nil)
			})
		}
		add("quantised input, float weights", c, 0, func(t *trial, x string) {
			t.constant("w", 12, c, 3, 3)
			t.node("y = Conv "+x+" w", nil)
		})
		add("a DQ read by a convolution and by others", c, 0, func(t *trial, x string) {
			t.node("h = Conv "+x+" "+t.weights("w", weightForms[1], 0, c, c, 1, 1), nil)
			t.node("r = Add h "+x, nil)
			t.node("s = MaxPool "+x, attrs{"kernel_shape": []int64{2, 2}})
			t.node("y = Sigmoid r", nil)
			t.outputs("y", "s")
		})
		add("one Q with two DQ", c, 0, func(t *trial, x string) {
			t.node("other = DequantizeLinear x_q x_scale zero_int8", nil)
			t.node("y = Conv other "+t.weights("w", weightForms[1], 0, c, c, 1, 1), nil)
			t.node("z = Relu "+x, nil)
			t.outputs("y", "z")
		})
		add("integers are an output", c, 0, func(t *trial, x string) {
			t.node("y = Relu "+x, nil)
			t.outputs("y")
			t.model.Graph.Outputs = append(t.model.Graph.Outputs, onnx.Value{Name: "x_q", Type: onnx.Int8})
		})
		add("integers of a convolution are an output", c, 1, func(t *trial, x string) {
			t.node("h = Conv "+x+" "+t.weights("w", weightForms[1], 0, c, c, 1, 1), nil)
			t.node("y = Relu "+t.pair("h", out), nil)
			t.outputs("y")
			t.model.Graph.Outputs = append(t.model.Graph.Outputs, onnx.Value{Name: "h_q", Type: onnx.Int8})
		})
		add("quantised constants are outputs", c, 0, func(t *trial, x string) {
			w := t.weights("w", weightForms[1], 0, c, c, 1, 1)
			t.node("y = Conv "+x+" "+w, nil)
			t.outputs("y", w)
			t.model.Graph.Outputs = append(t.model.Graph.Outputs, onnx.Value{Name: "w_q", Type: onnx.Int8})
		})
		add("MaxPool on integers", c, 0, func(t *trial, x string) {
			t.node("p = MaxPool x_q", attrs{"kernel_shape": []int64{2, 2}})
			t.node("y = DequantizeLinear p x_scale zero_int8", nil)
		})
		add("moves of integers", c, 0, func(t *trial, x string) {
			t.ints("shape", 2, -1)
			t.node("r = Reshape x_q shape", nil)
			t.node("i = Identity r", nil)
			t.node("y = DequantizeLinear i x_scale zero_int8", nil)
		})
		for _, between := range []string{"MaxPool", "Concat", "Resize", "Slice", "Transpose"} {
			for _, first := range []bool{false, true} {
				add(fmt.Sprintf("Q/DQ around %s, behind a convolution %v", between, first), c, out, func(t *trial, x string) {
					if first {
						t.node("h = Conv "+x+" "+t.weights("w", weightForms[1], 0, c, c, 1, 1), nil)
						x = t.pair("h", out)
					}
					switch between {
					case "MaxPool":
						t.node("m = MaxPool "+x, attrs{"kernel_shape": []int64{3, 3}, "pads": repeat(1, 4)})
					case "Concat":
						t.input("o", 2, 5, 7, 6)
						t.node("m = Concat "+x+" "+t.pair("o", in), attrs{"axis": int64(1)})
					case "Resize":
						t.vector("double", 1, 1, 2, 2)
						t.node("m = Resize "+x+" _ double", attrs{"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"})
					case "Slice":
						t.ints("from", 1)
						t.ints("to", 3)
						t.ints("axis", 1)
						t.node("m = Slice "+x+" from to axis", nil)
					case "Transpose":
						t.node("m = Transpose "+x, attrs{"perm": []int64{0, 2, 3, 1}})
					}
					t.node("y = Relu "+t.pair("m", out), nil)
				})
			}
		}
		add("residual", c, out, func(t *trial, x string) {
			t.node("h = Conv "+x+" "+t.weights("w", weightForms[1], 0, c, c, 3, 3), attrs{"pads": repeat(1, 4)})
			t.function("Silu", "f", "h")
			t.node("s = Add f "+x, nil)
			t.node("y = Conv "+t.pair("s", out)+" "+t.weights("v", weightForms[3], 0, 6, c, 1, 1), nil)
		})
		add("saturation", c, 0, func(t *trial, x string) {
			t.scalar("tiny", 1e-3)
			t.node("q = QuantizeLinear x tiny zero_int8", nil)
			t.node("y = DequantizeLinear q tiny zero_int8", nil)
		})
		add("no zero point means unsigned", c, 0, func(t *trial, x string) {
			t.scalar("s", 0.05)
			t.node("q = QuantizeLinear x s", nil)
			t.node("y = DequantizeLinear q s", nil)
		})
		for _, zero := range []any{uint8(0), uint8(128), int8(3), int8(-128)} {
			add(fmt.Sprintf("asymmetric, zero %T %v", zero, zero), c, 0, func(t *trial, x string) {
				t.scalar("s", 0.05)
				switch z := zero.(type) {
				case uint8:
					t.model.Graph.Init["z"] = onnx.Scalar(z)
				case int8:
					t.model.Graph.Init["z"] = onnx.Scalar(z)
				}
				t.node("q = QuantizeLinear x s z", nil)
				t.node("d = DequantizeLinear q s z", nil)
				t.node("y = Conv d "+t.weights("w", weightForms[1], 0, c, c, 1, 1), nil)
			})
		}
		add("activations per channel", c, 0, func(t *trial, x string) {
			t.vector("s", slices.Repeat([]float32{0.04}, c)...)
			t.model.Graph.Init["z"] = onnx.NewTensor([]int{c}, make([]int8, c))
			t.node("h = Neg "+t.blocked("x"), nil)
			t.node("q = QuantizeLinear h s z", attrs{"axis": int64(1)})
			t.node("d = DequantizeLinear q s z", attrs{"axis": int64(-3)})
			t.node("y = Conv d "+t.weights("w", weightForms[1], 0, c, c, 1, 1), nil)
		})
		add("scale and zero point given at run time", c, 0, func(t *trial, x string) {
			t.node("h = Conv "+x+" "+t.weights("w", weightForms[1], 0, c, c, 1, 1), nil)
			t.model.Graph.Inputs = append(t.model.Graph.Inputs, onnx.Value{Name: "s", Type: onnx.Float, Dims: []int{}}, onnx.Value{Name: "z", Type: onnx.Int8, Dims: []int{}})
			t.feed["s"], t.feed["z"] = onnx.Scalar(float32(0.05)), onnx.Scalar(int8(7))
			t.step = 0.05
			t.node("q = QuantizeLinear h s z", nil)
			t.node("y = DequantizeLinear q s z", nil)
		})
		add("bias of INT32", c, 0, func(t *trial, x string) {
			t.model.Graph.Init["b"] = onnx.Vector[int32](100, -2000, 30000, 7, 0)
			t.vector("bs", 1e-4, 2e-4, 1e-5, 1, 3)
			t.node("bd = DequantizeLinear b bs", attrs{"axis": int64(0)})
			t.node("y = Conv "+x+" "+t.weights("w", weightForms[1], 0, 5, c, 1, 1)+" bd", nil)
		})
		for _, ask := range []string{"h", "f", "h_q", "h_dq"} {
			add("asked for "+ask, c, out, func(t *trial, x string) {
				t.node("h = Conv "+x+" "+t.weights("w", weightForms[1], 0, c, c, 1, 1), nil)
				t.node("f = Relu "+t.pair("h", out), nil)
				t.node("y = Neg f", nil)
				if ask == "h_q" {
					t.step = 1
					t.outputs("y")
					t.model.Graph.Outputs = append(t.model.Graph.Outputs, onnx.Value{Name: "h_q", Type: onnx.Int8})
					return
				}
				t.ask = []string{ask}
			})
		}
	}
	return list
}

func TestQuantized(t *testing.T) { runTrials(t, quantizedTrials()) }
