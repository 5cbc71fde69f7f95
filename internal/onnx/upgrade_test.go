package onnx

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"trtact/internal/testenv"
)

// makeOldModels writes one model for each old form into the folder it is given,
// with an input and what onnxruntime makes of it, and prints their names.
const makeOldModels = `
import sys, os, numpy as np, onnx, onnxruntime as ort
from onnx import helper as h, TensorProto as T, numpy_helper as nh
folder = sys.argv[1]
rng = np.random.default_rng(1)
F = lambda *s: (rng.standard_normal(s) * 2).astype(np.float32)
I = lambda *v: np.array(v, np.int64)

def case(name, opset, nodes, feeds, consts={}, outs=("y",), extra=()):
    if not isinstance(nodes, list): nodes = [nodes]
    types = {np.dtype(np.float32): T.FLOAT, np.dtype(np.float64): T.DOUBLE, np.dtype(np.int64): T.INT64, np.dtype(bool): T.BOOL}
    ins = [h.make_tensor_value_info(k, types[v.dtype], v.shape) for k, v in feeds.items()]
    dbl = any(v.dtype == np.float64 for v in feeds.values())
    ty = lambda o: T.INT64 if o.startswith("i") else T.DOUBLE if dbl else T.FLOAT
    g = h.make_graph(nodes, "g", ins, [h.make_tensor_value_info(o, ty(o), None) for o in outs],
                     [nh.from_array(v, k) for k, v in consts.items()])
    m = h.make_model(g, opset_imports=[h.make_opsetid("", opset)])
    m.ir_version = ir = 6 if opset < 13 else 8
    path = os.path.join(folder, "%s_%d" % (name, opset))
    o = ort.SessionOptions(); o.log_severity_level = 3
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    got = ort.InferenceSession(m.SerializeToString(), o).run(None, feeds)
    for info, v in zip(g.output, got): # the checker asks for a shape
        info.CopyFrom(h.make_tensor_value_info(info.name, info.type.tensor_type.elem_type, [None] * v.ndim))
    onnx.save(h.make_model(g, opset_imports=m.opset_import, ir_version=ir), path + ".onnx")
    np.savez(path + ".npz", **{"in_" + k: v for k, v in feeds.items()}, **{"out_%d" % i: v for i, v in enumerate(got)})
    print(os.path.basename(path))

N = h.make_node
x4 = {"x": F(2, 3, 4, 5)}
for v in range(13, 19): # forms that changed until 19
    case("split_even", v, N("Split", ["x"], ["a", "b"], axis=2, **({"num_outputs": 2} if v == 18 else {})), x4, outs=("a", "b"))
    case("split", v, N("Split", ["x", "k"], ["a", "b"], axis=2), x4, {"k": I(1, 3)}, outs=("a", "b"))
    for op in "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp":
        if v < 18:
            case("reduce%s" % op.lower(), v, N("Reduce" + op, ["x"], ["y"], axes=[1, -1], keepdims=0), x4)
            case("reduce%s_all" % op.lower(), v, N("Reduce" + op, ["x"], ["y"], keepdims=1), x4)
    case("reducelogsum", v, [N("Abs", ["x"], ["p"]), N("ReduceLogSum", ["p", "k"] if v == 18 else ["p"], ["y"],
         **({} if v == 18 else {"axes": [2]}))], x4, {"k": I(2)} if v == 18 else {})
    case("resize_sizes", v, N("Resize", ["x", "e", "e", "k"], ["y"], mode="linear"), {"x": F(1, 2, 6, 8)},
         {"e": np.array([], np.float32), "k": I(1, 2, 12, 20)}) if v < 18 else None
    case("resize_scales", v, N("Resize", ["x", "e", "k"], ["y"], mode="nearest"), {"x": F(1, 2, 6, 8)},
         {"e": np.array([], np.float32), "k": np.array([1, 1, 2, 1.5], np.float32)})
    case("roialign", v, N("RoiAlign", ["x", "r", "b"], ["y"], output_height=3, output_width=2, sampling_ratio=2,
         **({"coordinate_transformation_mode": "half_pixel"} if v >= 16 else {})), {"x": F(2, 3, 8, 9)},
         {"r": np.array([[0.3, 1, 5, 6.2], [2, 0, 8, 3]], np.float32), "b": I(0, 1)})
    case("batchnorm", v, N("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"]), x4, {"s": F(3), "b": F(3), "m": F(3), "v": np.abs(F(3))})
    for op in "Relu", "HardSigmoid", "Sigmoid", "Identity":
        case(op.lower(), v, N(op, ["x"], ["y"]), x4)
    case("softmax", v, N("Softmax", ["x"], ["y"], axis=1), x4)
    case("pad", v, N("Pad", ["x", "k"], ["y"]), x4, {"k": I(0, 1, 2, 0, 0, 1, 0, 3)})
    case("pool", v, N("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], pads=[1, 0, 1, 0], count_include_pad=1), x4)
    case("reshape", v, [N("Shape", ["x"], ["s"]), N("Reshape", ["x", "s"], ["y"])], x4)
    case("scatter", v, N("ScatterElements", ["x", "p", "u"], ["y"], axis=1), {"x": F(2, 5)}, {"p": np.array([[0, 3], [4, 1]], np.int64), "u": F(2, 2)})
    case("quantize", v, [N("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1), N("DequantizeLinear", ["q", "s", "z"], ["y"], axis=1)], x4,
         {"s": np.array([.1, .02, .3], np.float32), "z": np.zeros(3, np.int8)})
    case("in_if", v, N("If", ["c"], ["y"], then_branch=h.make_graph([N("ReduceMean", ["x"], ["t"], axes=[1])], "t", [], [h.make_tensor_value_info("t", T.FLOAT, None)]),
         else_branch=h.make_graph([N("Identity", ["x"], ["e"])], "e", [], [h.make_tensor_value_info("e", T.FLOAT, None)])),
         {"x": F(1, 3, 4, 5), "c": np.array(True)}) if v < 18 else None
for v in range(7, 13):
    case("squeeze", v, N("Squeeze", ["x"], ["y"], axes=[1, 3]), {"x": F(2, 1, 3, 1)})
    case("squeeze_all", v, N("Squeeze", ["x"], ["y"]), {"x": F(2, 1, 3, 1)})
    case("unsqueeze", v, N("Unsqueeze", ["x"], ["y"], axes=[0, 3]), {"x": F(2, 3)})
    case("reducesum", v, N("ReduceSum", ["x"], ["y"], axes=[1, 2], keepdims=0), x4)
    case("reducesum_all", v, N("ReduceSum", ["x"], ["y"], keepdims=1), x4)
    case("reducemean", v, N("ReduceMean", ["x"], ["y"], axes=[2], keepdims=1), x4)
    case("split", v, N("Split", ["x"], ["a", "b"], axis=2, split=[1, 3]), x4, outs=("a", "b"))
    case("split_even", v, N("Split", ["x"], ["a", "b"], axis=2), x4, outs=("a", "b"))
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for axis in (0, 1, 2, 3):
            case("%s_axis%d" % (op.lower(), axis), v, N(op, ["x"], ["y"], axis=axis), x4)
        case(op.lower() + "_default", v, N(op, ["x"], ["y"]), x4)
        if v >= 11:
            case(op.lower() + "_last", v, N(op, ["x"], ["y"], axis=-1), x4)
            case(op.lower() + "_negative", v, N(op, ["x"], ["y"], axis=-2), x4)
    # behind a Reshape whose shape is computed, the rank is not known
    case("softmax_unknown", v, [N("Shape", ["x"], ["s"]), N("Reshape", ["x", "s"], ["r"]), N("Softmax", ["r"], ["y"], axis=2)], x4)
    case("softmax_conv", v, [N("Relu", ["x"], ["r"]), N("Softmax", ["r"], ["y"], axis=3)], x4)
    case("batchnorm", v, N("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=1e-3), x4,
         {"s": F(3), "b": F(3), "m": F(3), "v": np.abs(F(3))})
    if v < 12: # at 12 onnxruntime asks for the ratio as input, as the format does
        case("dropout", v, N("Dropout", ["x"], ["y"], ratio=0.3), x4)
        case("dropout_mask", v, N("Dropout", ["x"], ["y", "mask"], ratio=0.3), x4)
    if v < 11:
        case("clip", v, N("Clip", ["x"], ["y"], min=-0.5, max=1.5), x4)
        case("clip_min", v, N("Clip", ["x"], ["y"], min=0.0), x4)
        case("clip_max", v, N("Clip", ["x"], ["y"], max=6.0), x4)
        case("clip_none", v, N("Clip", ["x"], ["y"]), x4)
        case("pad", v, N("Pad", ["x"], ["y"], pads=[0, 1, 2, 0, 0, 1, 0, 3], value=1.5), x4)
        case("pad_plain", v, N("Pad", ["x"], ["y"], pads=[0, 0, 1, 1, 0, 0, 1, 1]), x4)
        case("pad_reflect", v, N("Pad", ["x"], ["y"], mode="reflect", pads=[0, 0, 1, 1, 0, 0, 1, 1]), x4)
        case("pad_double", v, N("Pad", ["x"], ["y"], pads=[1, 0, 0, 1], value=2.5), {"x": F(2, 3).astype(np.float64)})
    if v < 10:
        case("slice", v, N("Slice", ["x"], ["y"], axes=[1, 3], starts=[1, -3], ends=[3, 9223372036854775807]), x4)
        case("slice_axes", v, N("Slice", ["x"], ["y"], starts=[0, 1], ends=[1, -1]), x4)
        case("topk", v, N("TopK", ["x"], ["y", "i"], axis=2, k=2), x4, outs=("y", "i"))
    if v == 10 or v == 11:
        case("topk", v, N("TopK", ["x", "k"], ["y", "i"], axis=1), x4, {"k": I(2)}, outs=("y", "i"))
    if v in (7, 8):
        for mode in ("nearest", "linear"):
            case("upsample_" + mode, v, N("Upsample", ["x"], ["y"], mode=mode, scales=[1., 1., 2., 3.]), x4)
            case("upsample_frac_" + mode, v, N("Upsample", ["x"], ["y"], mode=mode, scales=[1., 1., 1.5, 2.25]), x4)
    if v == 9:
        case("upsample_nearest", v, N("Upsample", ["x", "k"], ["y"], mode="nearest"), x4, {"k": np.array([1, 1, 2, 2], np.float32)})
    if v == 10:
        for mode in ("nearest", "linear"):
            for what, k in (("up", (2, 2)), ("frac", (1.5, 1.7)), ("half", (.5, .5))):
                case("resize_%s_%s" % (mode, what), v, N("Resize", ["x", "k"], ["y"], mode=mode), {"x": F(1, 2, 6, 8)},
                     {"k": np.array((1, 1) + k, np.float32)})
    if 9 <= v < 11:
        case("scatter", v, N("Scatter", ["x", "p", "u"], ["y"], axis=1), {"x": F(2, 5)}, {"p": np.array([[0, 3], [4, 1]], np.int64), "u": F(2, 2)})
    # the same within a subgraph, on a tensor of the graph around it
    body = lambda name, axis: h.make_graph([N("Softmax", ["x"], [name + "_s"], axis=axis), N("Squeeze", [name + "_s"], [name], axes=[0])], name, [], [h.make_tensor_value_info(name, T.FLOAT, None)])
    case("in_if", v, N("If", ["c"], ["y"], then_branch=body("t", 2), else_branch=body("e", 3)), {"x": F(1, 3, 4, 5), "c": np.array(True)})
`

// compareUpgraded runs the upgraded models in onnxruntime, after onnx.checker.
const compareUpgraded = `
import sys, os, glob, numpy as np, onnx, onnxruntime as ort
folder = sys.argv[1]
for new in sorted(glob.glob(os.path.join(folder, "*.new.onnx"))):
    path = new[:-9] + ".npz"
    onnx.checker.check_model(new, full_check=True)
    m = onnx.load(new)
    assert [o.version for o in m.opset_import] == [int(sys.argv[2])], m.opset_import
    o = ort.SessionOptions(); o.log_severity_level = 3
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    z = np.load(path)
    got = ort.InferenceSession(new, o).run(None, {k[3:]: z[k] for k in z.files if k.startswith("in_")})
    worst = 0.0
    for i, g in enumerate(got):
        want = z["out_%d" % i]
        if g.shape != want.shape or g.dtype != want.dtype:
            print(os.path.basename(path), "is", g.dtype, g.shape, "was", want.dtype, want.shape); break
        worst = max(worst, float(np.abs(g.astype(np.float64) - want).max())) if g.size else worst
    if worst > 2e-6:
        print(os.path.basename(path), "differs by", worst)
`

func TestUpgradeOpset(t *testing.T) {
	dir := t.TempDir()
	names := strings.Fields(testenv.RunPython(t, makeOldModels, dir))
	if len(names) < 200 {
		t.Fatalf("only %d models were made", len(names))
	}
	for _, to := range []int{13, 19} {
		upgraded := 0
		for _, name := range names {
			path := filepath.Join(dir, name)
			m, err := Load(path + ".onnx")
			if err != nil {
				t.Error(err)
				continue
			}
			os.Remove(path + ".new.onnx")
			if m.Opset > to {
				continue
			}
			if err := UpgradeOpset(m, to); err != nil {
				t.Errorf("%s to %d: %v", name, to, err)
				continue
			}
			if err := m.Save(path + ".new.onnx"); err != nil {
				t.Error(err)
			}
			upgraded++
		}
		if t.Failed() {
			return
		}
		if upgraded < 200 {
			t.Errorf("only %d models at opset %d or before", upgraded, to)
		}
		if diff := testenv.RunPython(t, compareUpgraded, dir, strconv.Itoa(to)); diff != "" {
			t.Errorf("models upgraded to %d compute something else:\n%s", to, diff)
		}
	}
}

func TestUpgradeOpsetRefuses(t *testing.T) {
	old := func(opset int, n *Node) *Model {
		return &Model{Opset: opset, Graph: &Graph{
			Nodes:   []*Node{n},
			Inputs:  []Value{value("x", 1, 2, 3, 4), value("s", 2)},
			Outputs: []Value{value(n.Outputs[len(n.Outputs)-1])},
		}}
	}
	spatial := node("BatchNormalization", list("x", "s", "s", "s", "s"), list("y"))
	spatial.Set("spatial", int64(0))
	for _, c := range []struct {
		m    *Model
		to   int
		want string
	}{
		{old(8, spatial), 13, `node "BatchNormalization_of_y" (BatchNormalization): spatial=0`},
		{old(9, node("Dropout", list("x"), list("y", "mask"))), 13, `its mask "mask" is read`},
		{old(12, node("Relu", list("x"), list("y"))), 20, "at most 19"},
		{old(12, node("Squeeze", nil, list("y"))), 13, "it has 0 inputs"},
	} {
		if err := UpgradeOpset(c.m, c.to); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.m.Graph.Nodes[0], err, c.want)
		}
	}
	m := old(17, node("Relu", list("x"), list("y")))
	if err := UpgradeOpset(m, 13); err != nil || m.Opset != 17 {
		t.Errorf("a later opset: %d, %v", m.Opset, err)
	}
}
