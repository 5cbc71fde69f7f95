package onnx

import (
	"path/filepath"
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
    m.ir_version = 6
    path = os.path.join(folder, "%s_%d" % (name, opset))
    o = ort.SessionOptions(); o.log_severity_level = 3
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    got = ort.InferenceSession(m.SerializeToString(), o).run(None, feeds)
    for info, v in zip(g.output, got): # the checker asks for a shape
        info.CopyFrom(h.make_tensor_value_info(info.name, info.type.tensor_type.elem_type, [None] * v.ndim))
    onnx.save(h.make_model(g, opset_imports=m.opset_import, ir_version=6), path + ".onnx")
    np.savez(path + ".npz", **{"in_" + k: v for k, v in feeds.items()}, **{"out_%d" % i: v for i, v in enumerate(got)})
    print(os.path.basename(path))

N = h.make_node
x4 = {"x": F(2, 3, 4, 5)}
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
for path in sorted(glob.glob(os.path.join(folder, "*.npz"))):
    new = path[:-4] + ".new.onnx"
    onnx.checker.check_model(new, full_check=True)
    m = onnx.load(new)
    assert [o.version for o in m.opset_import] == [13], m.opset_import
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
	for _, name := range names {
		m, err := Load(filepath.Join(dir, name+".onnx"))
		if err != nil {
			t.Error(err)
			continue
		}
		if err := UpgradeOpset(m, 13); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := Check(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := m.Save(filepath.Join(dir, name+".new.onnx")); err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		return
	}
	if diff := testenv.RunPython(t, compareUpgraded, dir); diff != "" {
		t.Errorf("upgraded models compute something else:\n%s", diff)
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
		{old(12, node("Relu", list("x"), list("y"))), 14, "at most 13"},
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
