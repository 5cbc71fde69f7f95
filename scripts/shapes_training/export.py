"""Writes the network as ONNX: one Conv node for each Conv module, SiLU as Sigmoid and Mul.

The output is 1 x (4 + classes) x cells: centre and size in input pixels, then
class scores, as YOLOv8 exports have it.
"""

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

from network import CELL_STRIDES, CELLS, CENTRES, CLASSES, SIZE, STRIDES, Predict


class Graph:
    """Writes the network as ONNX, one convolution for each Conv, SiLU as Sigmoid and Mul."""

    def __init__(self):
        self.nodes, self.weights, self.count = [], [], {}

    def name(self, kind):
        self.count[kind] = self.count.get(kind, 0) + 1
        return f"{kind}_{self.count[kind]}"

    def constant(self, name, array):
        self.weights.append(numpy_helper.from_array(numpy.ascontiguousarray(array), name))
        return name

    def add(self, kind, inputs, out=None, **attributes):
        name = self.name(kind)
        out = out or name + "_out"
        self.nodes.append(helper.make_node(kind, inputs, [out], name=name, **attributes))
        return out

    def conv(self, module, x, where):
        weight, bias = (t.detach().float().numpy() for t in module.folded())
        kernel, stride = weight.shape[2], module.conv.stride[0]
        out = where + "_out"
        self.nodes.append(helper.make_node(
            "Conv",
            [x, self.constant(where + ".weight", weight), self.constant(where + ".bias", bias)],
            [out], name=where, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4))
        if isinstance(module, Predict):
            return out
        return self.add("Mul", [out, self.add("Sigmoid", [out])])

    def stage(self, module, x, where):
        y = [self.conv(module.right, x, where + ".right"), self.conv(module.left, x, where + ".left")]
        for i, (first, second) in enumerate(module.blocks):
            z = self.conv(second, self.conv(first, y[-1], f"{where}.{i}.first"), f"{where}.{i}.second")
            y.append(self.add("Add", [y[-1], z]) if module.residual else z)
        return self.conv(module.fuse, self.add("Concat", y, axis=1), where + ".fuse")

    def up(self, x):
        if not any(w.name == "twice" for w in self.weights):
            self.constant("twice", numpy.array([1, 1, 2, 2], numpy.float32))
        return self.add("Resize", [x, "", "twice"], mode="nearest",
                        coordinate_transformation_mode="asymmetric", nearest_mode="floor")


def export(model, path, note):
    g = Graph()
    x = g.conv(model.stem, "images", "stem")
    x = g.stage(model.stage1, g.conv(model.down1, x, "down1"), "stage1")
    p3 = g.stage(model.stage2, g.conv(model.down2, x, "down2"), "stage2")
    p4 = g.stage(model.stage3, g.conv(model.down3, p3, "down3"), "stage3")
    p5 = g.stage(model.stage4, g.conv(model.down4, p4, "down4"), "stage4")
    pools = [g.conv(model.sppf.shrink, p5, "sppf.shrink")]
    for _ in range(3):
        pools.append(g.add("MaxPool", [pools[-1]], kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1]))
    p5 = g.conv(model.sppf.fuse, g.add("Concat", pools, axis=1), "sppf.fuse")
    l5 = g.conv(model.lateral5, p5, "lateral5")
    u4 = g.stage(model.up4, g.add("Concat", [g.up(l5), p4], axis=1), "up4")
    l4 = g.conv(model.lateral4, u4, "lateral4")
    u3 = g.stage(model.up3, g.add("Concat", [g.up(l4), p3], axis=1), "up3")
    o4 = g.stage(model.out4, g.add("Concat", [g.conv(model.down_p3, u3, "down_p3"), l4], axis=1), "out4")
    o5 = g.stage(model.out5, g.add("Concat", [g.conv(model.down_p4, o4, "down_p4"), l5], axis=1), "out5")

    logits, sides = [], []
    for i, level in enumerate((u3, o4, o5)):
        head, where = model.heads[i], f"head{i}"
        t = g.conv(head["stem"], level, where + ".stem")
        for branch, channels, into in (("cls", len(CLASSES), logits), ("box", 4, sides)):
            y = g.conv(head[branch + "_pred"], g.conv(head[branch], t, f"{where}.{branch}"), f"{where}.{branch}_pred")
            shape = g.constant(f"{where}.{branch}_shape", numpy.array([1, channels, (SIZE // STRIDES[i]) ** 2]))
            into.append(g.add("Reshape", [y, shape]))
    scores = g.add("Sigmoid", [g.add("Concat", logits, axis=2)])
    strides = g.constant("strides", CELL_STRIDES.T[None].numpy())
    distance = g.add("Mul", [g.add("Relu", [g.add("Concat", sides, axis=2)]), strides])
    two = g.constant("two_sides", numpy.array([2, 2]))
    g.nodes.append(helper.make_node("Split", [distance, two], ["left_top", "right_bottom"], name="Split_sides", axis=1))
    centres = g.constant("centres", CENTRES.T[None].numpy())
    low = g.add("Sub", [centres, "left_top"])
    high = g.add("Add", [centres, "right_bottom"])
    half = g.constant("half", numpy.array(0.5, numpy.float32))
    middle = g.add("Mul", [g.add("Add", [low, high]), half])
    extent = g.add("Sub", [high, low])
    g.add("Concat", [g.add("Concat", [middle, extent], axis=1), scores], out="output0", axis=1)
    graph = helper.make_graph(
        g.nodes, "shapes",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 4 + len(CLASSES), CELLS])],
        g.weights)
    model = helper.make_model(graph, producer_name="trtact", opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    names = ", ".join(f"{i}: '{name}'" for i, name in enumerate(CLASSES))
    helper.set_model_props(model, {"names": "{" + names + "}", "description": note})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
