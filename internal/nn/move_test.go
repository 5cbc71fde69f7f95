package nn

import (
	"fmt"
	"slices"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/shape"
)

// inBothLayouts makes two trials: build gets x as a row-major input, and as a
// blocked tensor.
func inBothLayouts(name string, dims []int, build func(t *trial, x string)) []*trial {
	var list []*trial
	for _, blocked := range []bool{false, true} {
		t := newTrial(fmt.Sprintf("%s of %v, blocked %v", name, dims, blocked))
		t.input("x", dims...)
		x := "x"
		if blocked {
			x = t.blocked(x)
		}
		build(t, x)
		list = append(list, t.outputs("y"))
	}
	return list
}

func windowTrials() []*trial {
	var list []*trial
	pool := func(name, op string, dims []int, a attrs) {
		list = append(list, inBothLayouts(op+" "+name, dims, func(t *trial, x string) { t.node("y = "+op+" "+x, a) })...)
	}
	for _, c := range []int{3, 5, 16, 17} {
		dims := []int{2, c, 11, 14}
		for name, a := range map[string]attrs{
			"3x3":                {"kernel_shape": []int64{3, 3}},
			"3x3, step 2, pads":  {"kernel_shape": []int64{3, 3}, "strides": []int64{2, 2}, "pads": repeat(1, 4)},
			"5x5 of an SPP":      {"kernel_shape": []int64{5, 5}, "pads": repeat(2, 4)},
			"2x3, unequal":       {"kernel_shape": []int64{2, 3}, "strides": []int64{1, 2}, "pads": []int64{1, 0, 0, 2}},
			"ceil":               {"kernel_shape": []int64{2, 2}, "strides": []int64{2, 2}, "ceil_mode": int64(1)},
			"ceil, pads":         {"kernel_shape": []int64{3, 3}, "strides": []int64{2, 2}, "pads": repeat(1, 4), "ceil_mode": int64(1)},
			"ceil, step 3":       {"kernel_shape": []int64{2, 2}, "strides": []int64{3, 3}, "ceil_mode": int64(1)},
			"dilation":           {"kernel_shape": []int64{3, 2}, "dilations": []int64{2, 3}, "pads": []int64{1, 1, 2, 0}},
			"same upper, step 2": {"kernel_shape": []int64{3, 3}, "strides": []int64{2, 2}, "auto_pad": "SAME_UPPER"},
			"same lower, step 2": {"kernel_shape": []int64{2, 3}, "strides": []int64{2, 2}, "auto_pad": "SAME_LOWER"},
			"valid":              {"kernel_shape": []int64{3, 3}, "auto_pad": "VALID"},
		} {
			pool(name, "MaxPool", dims, a)
			pool(name, "AveragePool", dims, a)
			with := attrs{"count_include_pad": int64(1)}
			for k, v := range a {
				with[k] = v
			}
			pool(name+", counting pads", "AveragePool", dims, with)
		}
		for _, shape := range [][]int{{2, c, 9}, {1, c, 5, 6, 7}} {
			spatial := len(shape) - 2
			a := attrs{"kernel_shape": repeat(3, spatial), "strides": repeat(2, spatial), "pads": repeat(1, 2*spatial)}
			pool("3", "MaxPool", shape, a)
			pool("3", "AveragePool", shape, a)
			pool("", "GlobalAveragePool", shape, nil)
			pool("", "GlobalMaxPool", shape, nil)
		}
		pool("", "GlobalAveragePool", dims, nil)
		pool("", "GlobalMaxPool", dims, nil)
	}
	return list
}

// concatenations are those of the detectors' blocks: halves of a tensor and what is made of
// them, one concatenation within another, one part twice, and parts that are read elsewhere.
func concatenations(t *trial, x string) {
	channel := attrs{"axis": int64(1)}
	c := int64(t.model.Graph.Inputs[0].Dims[1])
	t.ints("halves", c/2, c-c/2)
	t.node("p = Relu "+x, nil)
	t.node("a b = Split p halves", channel)
	t.node("m = Sigmoid b", nil)
	t.node("c2f = Concat a b m", channel)
	t.node("n = Sigmoid c2f", nil)
	t.node("inner = Concat n m", channel)
	t.node("outer = Concat "+x+" inner n n", channel)
	t.node("y = Relu outer", nil)
	t.ints("flat", int64(t.model.Graph.Inputs[0].Dims[0]), c, -1)
	t.node("left = Reshape p flat", nil)
	t.node("r = Sigmoid p", nil)
	t.node("right = Reshape r flat", nil)
	t.node("rows = Concat left right", channel)
	t.outputs("rows", "m", "inner")
}

func resizeTrials() []*trial {
	var list []*trial
	resize := func(name string, dims []int, a attrs, scales []float32, sizes []int64) {
		list = append(list, inBothLayouts(fmt.Sprintf("resize %s %v %v", name, scales, sizes), dims, func(t *trial, x string) {
			if scales != nil {
				t.vector("scales", scales...)
				t.node("y = Resize "+x+" _ scales", a)
				return
			}
			t.ints("sizes", sizes...)
			t.node("y = Resize "+x+" _ _ sizes", a)
		})...)
	}
	coordinates := []string{"half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"}
	for _, c := range []int{3, 17} {
		dims := []int{2, c, 6, 9}
		for _, mode := range coordinates {
			for _, up := range []bool{true, false} {
				scales, sizes := []float32{1, 1, 2, 3}, []int64{2, int64(c), 13, 20}
				if !up {
					scales, sizes = []float32{1, 1, 0.5, 0.7}, []int64{2, int64(c), 4, 5}
				}
				for _, rounding := range []string{"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"} {
					a := attrs{"mode": "nearest", "coordinate_transformation_mode": mode, "nearest_mode": rounding}
					name := fmt.Sprintf("nearest %s %s", mode, rounding)
					resize(name, dims, a, scales, nil)
					resize(name, dims, a, nil, sizes)
				}
				for _, kind := range []string{"linear", "cubic"} {
					a := attrs{"mode": kind, "coordinate_transformation_mode": mode}
					resize(kind+" "+mode, dims, a, scales, nil)
					resize(kind+" "+mode, dims, a, nil, sizes)
				}
				a := attrs{"mode": "cubic", "coordinate_transformation_mode": mode, "cubic_coeff_a": float32(-0.5), "exclude_outside": int64(1)}
				resize("cubic excluding "+mode, dims, a, scales, nil)
			}
		}
		resize("antialias", dims, attrs{"mode": "linear", "antialias": int64(1)}, nil, []int64{2, int64(c), 3, 4})
		resize("of a line", []int{1, c, 7}, attrs{"mode": "linear"}, []float32{1, 1, 2.5}, nil)
		resize("of a volume", []int{1, c, 3, 4, 5}, attrs{"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}, []float32{1, 1, 2, 2, 2}, nil)
		resize("of a volume", []int{1, c, 3, 4, 5}, attrs{"mode": "linear"}, []float32{1, 1, 2, 1.5, 2}, nil)
		resize("of channels", dims, attrs{"mode": "nearest"}, []float32{1, 2, 1, 1}, nil)
	}
	return list
}

func moveTrials() []*trial {
	var list []*trial
	add := func(name string, dims []int, build func(t *trial, x string)) {
		list = append(list, inBothLayouts(name, dims, build)...)
	}
	// Concatenations, all inputs in one layout and mixed.
	for _, counts := range [][]int{{3, 5}, {8, 8}, {16, 16, 5}, {17, 24}, {58, 58}, {1, 1, 1, 1}, {12, 20, 7, 1}} {
		for _, mix := range []int{0, 1, 2, 3} { // bits: which inputs are blocked
			for _, batch := range []int{1, 2} {
				t := newTrial(fmt.Sprintf("concat %v, mix %d, batch %d", counts, mix, batch))
				line := "y = Concat"
				for i, c := range counts {
					x := fmt.Sprintf("x%d", i)
					t.input(x, batch, c, 5, 6)
					if mix>>(i%2)&1 == 1 {
						x = t.blocked(x)
					}
					line += " " + x
				}
				t.node(line, attrs{"axis": int64(1)})
				t.node("z = Concat y y", attrs{"axis": int64(-1)})
				list = append(list, t.outputs("y", "z"))
			}
		}
	}
	for _, c := range []int{3, 8, 12, 17, 24, 58, 116} {
		for _, batch := range []int{1, 2} {
			dims := []int{batch, c, 4, 5}
			cut := int64(c / 3)
			add("split", dims, func(t *trial, x string) {
				t.ints("sizes", cut, int64(c)-cut)
				t.node("a y = Split "+x+" sizes", attrs{"axis": int64(1)})
				t.outputs("a")
			})
			add("slices", dims, func(t *trial, x string) {
				t.ints("zero", 0)
				t.ints("one", 1)
				t.ints("two", 2)
				t.ints("minus", -1)
				t.ints("cut", cut)
				t.ints("end", 1<<40)
				t.ints("begin", -1<<40)
				t.ints("channel", 1)
				t.ints("last", -1)
				t.node("y = Slice "+x+" cut end channel", nil)
				t.node("a = Slice "+x+" zero cut channel", nil)
				t.node("b = Slice "+x+" one end channel two", nil)
				t.node("c = Slice "+x+" minus begin channel minus", nil)
				t.node("d = Slice "+x+" one minus last", nil)
				t.ints("both_from", 1, -2)
				t.ints("both_to", int64(c), 1)
				t.ints("both", 1, 3)
				t.ints("both_step", 1, -1)
				t.node("e = Slice "+x+" both_from both_to both both_step", nil)
				t.outputs("a", "b", "c", "d", "e")
			})
			add("gathers", dims, func(t *trial, x string) {
				order := make([]int64, c)
				for i := range order {
					order[i] = int64(i)
				}
				t.r.Shuffle(c, func(i, j int) { order[i], order[j] = order[j], order[i] })
				t.ints("order", order...)
				t.ints("runs", append([]int64{-1, 0, 1, 2, 0}, order[:c/2]...)...)
				t.model.Graph.Init["single"] = onnx.Scalar(int64(c - 1))
				t.model.Graph.Init["table"] = onnx.NewTensor([]int{2, 2}, []int64{0, 1, int64(c - 1), -1})
				t.node("y = Gather "+x+" order", attrs{"axis": int64(1)})
				t.node("a = Gather "+x+" runs", attrs{"axis": int64(1)})
				t.node("b = Gather "+x+" single", attrs{"axis": int64(1)})
				t.node("c = Gather "+x+" table", attrs{"axis": int64(1)})
				t.ints("spot", 3, 0, 1)
				t.node("d = Gather "+x+" spot", attrs{"axis": int64(-1)})
				t.outputs("a", "b", "c", "d")
			})
			add("chain of channel moves", dims, func(t *trial, x string) {
				t.ints("sizes", cut, int64(c)-cut)
				t.node("a b = Split "+x+" sizes", attrs{"axis": int64(1)})
				t.node("c = Relu b", nil)
				t.node("d = Concat c a b", attrs{"axis": int64(1)})
				t.node("y = Sigmoid d", nil) // the lanes beyond the channels must be zero before and after
			})
		}
	}
	for _, c := range []int{16, 24, 32} {
		for _, batch := range []int{1, 2} {
			add("parts of concatenations", []int{batch, c, 4, 4}, concatenations)
		}
	}
	dims := []int{2, 12, 4, 6}
	for _, perm := range [][]int64{nil, {0, 2, 3, 1}, {0, 3, 1, 2}, {1, 0, 2, 3}, {3, 2, 1, 0}, {0, 1, 3, 2}} {
		add(fmt.Sprintf("transpose %v", perm), dims, func(t *trial, x string) {
			a := attrs{}
			if perm != nil {
				a["perm"] = perm
			}
			t.node("y = Transpose "+x, a)
		})
	}
	add("channel shuffle", dims, func(t *trial, x string) {
		t.ints("five", 2, 2, 6, 4, 6)
		t.ints("four", 2, 12, 4, 6)
		t.node("a = Reshape "+x+" five", nil)
		t.node("b = Transpose a", attrs{"perm": []int64{0, 2, 1, 3, 4}})
		t.node("y = Reshape b four", nil)
	})
	add("reshapes", dims, func(t *trial, x string) {
		t.ints("rows", 0, -1)
		t.ints("axes", 0)
		t.node("a = Reshape "+x+" rows", nil)
		t.node("b = Flatten "+x, attrs{"axis": int64(2)})
		t.node("c = Unsqueeze "+x+" axes", nil)
		t.node("d = Squeeze c axes", nil)
		t.node("e = Identity "+x, nil)
		t.node("y = Relu b", nil)
		t.outputs("a", "b", "c", "d", "e")
	})
	add("expand", []int{2, 5, 1, 1}, func(t *trial, x string) {
		t.ints("shape", 3, 2, 1, 4, 6)
		t.node("y = Expand "+x+" shape", nil)
	})
	for _, mode := range []string{"constant", "edge", "reflect", "wrap"} {
		add("pad "+mode, dims, func(t *trial, x string) {
			t.ints("pads", 0, 1, 2, 1, 0, 0, 3, 2)
			if mode == "constant" {
				t.scalar("value", 1.5)
				t.node("a = Pad "+x+" pads value", attrs{"mode": mode})
				t.ints("cut", 0, -1, 2, -1, 0, 0, -1, 0)
				t.node("b = Pad "+x+" cut", nil)
				t.outputs("a", "b")
			}
			t.node("y = Pad "+x+" pads", attrs{"mode": mode})
		})
	}
	for _, mode := range []string{"DCR", "CRD"} {
		add("depth to space "+mode, dims, func(t *trial, x string) {
			t.node("y = DepthToSpace "+x, attrs{"mode": mode, "blocksize": int64(2)})
		})
	}
	add("space to depth", dims, func(t *trial, x string) { t.node("y = SpaceToDepth "+x, attrs{"blocksize": int64(2)}) })
	add("tile", dims, func(t *trial, x string) {
		t.ints("repeats", 1, 2, 1, 3)
		t.node("y = Tile "+x+" repeats", nil)
	})
	for _, op := range []string{"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "ReduceL1"} {
		for _, axes := range [][]int64{nil, {1}, {2, 3}, {-1}, {0, 2}, {0, 1, 2, 3}, {1, 2}} {
			for keep := range int64(2) {
				add(fmt.Sprintf("%s %v, keep %d", op, axes, keep), dims, func(t *trial, x string) {
					t.model.Opset = 18
					line := "y = " + op + " " + x
					if axes != nil {
						t.ints("axes", axes...)
						line += " axes"
					}
					t.node(line, attrs{"keepdims": keep})
				})
			}
		}
	}
	for _, op := range []string{"Softmax", "LogSoftmax"} {
		for axis := int64(-4); axis < 4; axis++ {
			for _, opset := range []int{11, 13} {
				add(fmt.Sprintf("%s axis %d, set %d", op, axis, opset), dims, func(t *trial, x string) {
					t.model.Opset, t.model.IR = opset, 6
					t.node("y = "+op+" "+x, attrs{"axis": axis})
				})
			}
		}
	}
	return list
}

// binaryTrials put operands of every shape on either side of every operator.
func binaryTrials() []*trial {
	var list []*trial
	shapes := map[string]func(c int) []int{
		"full":             func(c int) []int { return []int{2, c, 4, 6} },
		"one image":        func(c int) []int { return []int{1, c, 4, 6} },
		"channels":         func(c int) []int { return []int{1, c, 1, 1} },
		"channels, rank 3": func(c int) []int { return []int{c, 1, 1} },
		"scalar":           func(c int) []int { return []int{} },
		"one":              func(c int) []int { return []int{1} },
		"one, rank 5":      func(c int) []int { return []int{1, 1, 1, 1, 1} },
		"row":              func(c int) []int { return []int{6} },
		"column":           func(c int) []int { return []int{4, 1} },
		"plane":            func(c int) []int { return []int{1, 1, 4, 6} },
		"pixels":           func(c int) []int { return []int{2, 1, 4, 6} },
		"each image":       func(c int) []int { return []int{2, 1, 1, 1} },
		"gates":            func(c int) []int { return []int{2, c, 1, 1} },
		"rows of channels": func(c int) []int { return []int{c, 1, 6} },
	}
	for _, op := range []string{"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "PRelu"} {
		for name, shape := range shapes {
			for _, c := range []int{5, 16} {
				for _, constant := range []bool{false, true} {
					for _, right := range []bool{false, true} {
						if op == "PRelu" && (!right || name == "one, rank 5") {
							continue // the slope broadcasts to the tensor
						}
						list = append(list, inBothLayouts(fmt.Sprintf("%s with %s, constant %v, right %v", op, name, constant, right), []int{2, c, 4, 6}, func(t *trial, x string) {
							dims := shape(c)
							switch {
							case constant:
								t.constant("b", dims...)
							default:
								t.input("b", dims...)
							}
							if op == "Pow" {
								t.node("p = Abs "+x, nil)
								x = "p"
								if constant && name == "scalar" {
									t.scalar("b", 2)
								} else {
									t.node("q = Abs b", nil)
								}
							}
							if op == "Div" && !right {
								// A quotient by what a convolution leaves near zero shows the
								// last bit of its sums, which is another one on another device.
								t.scalar("half", 0.5)
								t.node("p = Abs "+x, nil)
								t.node("q = Add p half", nil)
								x = "q"
							}
							b := "b"
							if op == "Pow" && !(constant && name == "scalar") {
								b = "q"
							}
							if right {
								t.node("y = "+op+" "+x+" "+b, nil)
							} else {
								t.node("y = "+op+" "+b+" "+x, nil)
							}
						})...)
					}
				}
			}
		}
		// Two blocked tensors, the second of full size or a gate.
		for _, gate := range []bool{false, true} {
			t := newTrial(fmt.Sprintf("%s of two blocked tensors, gate %v", op, gate))
			t.input("x", 2, 5, 4, 6)
			x := t.blocked("x")
			t.node("a = Sigmoid "+x, nil)
			g := "a"
			if gate {
				t.node("g = GlobalAveragePool a", nil)
				g = "g"
			}
			t.node("b = Abs "+x, nil)
			t.node("y = "+op+" b "+g, nil)
			list = append(list, t.outputs("y"))
		}
	}
	return list
}

// outputTrials: what is an output, and what is asked for, when it would cost
// nothing to have it swallowed, overwritten or never made.
func outputTrials() []*trial {
	var list []*trial
	add := func(name string, build func(t *trial)) {
		t := newTrial(name)
		t.input("x", 2, 5, 4, 6)
		build(t)
		list = append(list, t)
	}
	add("identity", func(t *trial) { t.node("y = Identity x", nil); t.outputs("y") })
	add("identity of a blocked tensor", func(t *trial) {
		t.node("y = Identity "+t.blocked("x"), nil)
		t.outputs("y", "x_b")
	})
	add("constant output", func(t *trial) {
		t.constant("k", 1, 5, 1, 1)
		t.node("y = Add x k", nil)
		t.outputs("y", "k")
	})
	add("computed from constants", func(t *trial) {
		t.constant("k", 1, 5, 1, 1)
		t.constant("l", 2, 5, 4, 6)
		t.node("m = Mul k l", nil)
		t.node("n = Exp m", nil)
		t.node("o = GlobalAveragePool n", nil)
		t.node("y = Add x n", nil)
		t.outputs("y", "m", "o")
	})
	add("views of the input", func(t *trial) {
		t.ints("flat", 2, -1)
		t.node("y = Reshape x flat", nil)
		t.node("z = Flatten x", attrs{"axis": int64(1)})
		t.node("w = Relu y", nil)
		t.outputs("y", "z", "w")
	})
	add("views of a constant", func(t *trial) {
		t.constant("k", 5, 2)
		t.ints("wide", 1, 2, 5)
		t.node("y = Reshape k wide", nil)
		t.node("z = Relu y", nil)
		t.outputs("y", "z")
	})
	add("every stage is an output", func(t *trial) {
		t.constant("w", 7, 5, 3, 3)
		t.node("a = Conv x w", nil)
		t.node("s = Sigmoid a", nil)
		t.node("b = Mul a s", nil)
		t.node("c = Relu b", nil)
		t.outputs("a", "s", "b", "c")
	})
	add("unused input", func(t *trial) {
		t.input("z", 3)
		t.node("y = Relu x", nil)
		t.outputs("y")
	})
	// The same chains with the inner tensors asked for.
	for _, last := range []string{"relu", "silu", "hardswish", "clip", "add", "norm"} {
		for _, ask := range [][]string{{"a"}, {"inner"}, {"a", "inner", "x", "y"}} {
			add(fmt.Sprintf("asked for %v before %s", ask, last), func(t *trial) {
				t.constant("w", 7, 5, 3, 3)
				t.node("a = Conv x w", nil)
				switch last {
				case "relu":
					t.node("inner = Relu a", nil)
					t.node("y = Neg inner", nil)
				case "silu":
					t.node("inner = Sigmoid a", nil)
					t.node("y = Mul a inner", nil)
				case "hardswish":
					t.scalar("three", 3)
					t.scalar("zero", 0)
					t.scalar("six", 6)
					t.node("s = Add a three", nil)
					t.node("inner = Clip s zero six", nil)
					t.node("m = Mul a inner", nil)
					t.node("y = Div m six", nil)
				case "clip":
					t.scalar("low", 0.1)
					t.node("inner = Clip a low", nil)
					t.node("y = GlobalMaxPool inner", nil)
				case "add":
					t.constant("k", 7, 1, 1)
					t.node("inner = Add a k", nil)
					t.node("y = Relu inner", nil)
				case "norm":
					t.vector("one", slices.Repeat([]float32{1.5}, 7)...)
					t.node("inner = BatchNormalization a one one one one", nil)
					t.node("y = LeakyRelu inner", nil)
				}
				t.outputs("y")
				t.ask = slices.DeleteFunc(slices.Clone(ask), func(name string) bool { return name == "y" })
			})
		}
	}
	return list
}

func TestWindows(t *testing.T) { runTrials(t, windowTrials()) }
func TestResize(t *testing.T)  { runTrials(t, resizeTrials()) }
func TestMoves(t *testing.T)   { runTrials(t, moveTrials()) }
func TestBinary(t *testing.T)  { runTrials(t, binaryTrials()) }
func TestOutputs(t *testing.T) { runTrials(t, outputTrials()) }

// TestPartsInPlace: what only goes into a concatenation is computed where it belongs
// there, and halves of a tensor are read where they lie.
func TestPartsInPlace(t *testing.T) {
	d := openCPU(t)
	c := newTrial("parts")
	c.input("x0", 1, 32, 6, 6)
	concatenations(c, c.blocked("x0"))
	c.outputs("y")
	if err := shape.Infer(c.model, nil); err != nil {
		t.Fatal(err)
	}
	n, err := Compile(c.model, d, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	moves := map[string]int{}
	for _, s := range n.Steps() {
		if s.Op == "Channels" || s.Op == "Copy" {
			moves[s.Node]++
		}
	}
	// m lies in c2f already, and n can be in one place only.
	if len(moves) != 2 || moves["node_inner"] != 1 || moves["node_outer"] != 1 {
		t.Errorf("data is moved by %v, want one step of inner and one of outer", moves)
	}
}

// TestChannelMax: in both layouts, for channels that fill their blocks and others.
func TestChannelMax(t *testing.T) {
	d := openCPU(t)
	for _, channels := range []int{5, 16, 20} {
		c := newTrial("channels")
		c.input("x", 2, channels, 7, 3)
		b := c.blocked("x")
		c.node("y = Relu "+b, nil)
		c.outputs("y")
		ctx := c.context(t, d, b)
		if err := ctx.SetInputs(c.feed); err != nil {
			t.Fatal(err)
		}
		if err := ctx.Run(); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"x", b, "y"} {
			v, err := ctx.Output(name)
			if err != nil {
				t.Fatal(err)
			}
			want := make([]float32, channels)
			for i, x := range v.Floats() {
				k := i / 21 % channels
				want[k] = max(want[k], x, -x)
			}
			if got, err := ctx.ChannelMax(name); err != nil || !slices.Equal(got, want) {
				t.Errorf("%d channels of %s: %v (%v), want %v", channels, name, got, err, want)
			}
		}
	}
}
