"""Writes a network as ONNX in the way of its family's exporter: names of inputs and
outputs, operator set, whether batch norm is folded (paddle2onnx leaves it), and what
stands behind the head."""

import warnings

import onnx
import torch

from sane import inputs_of

# Input, outputs (the first as many as there are), and the operator set of the exporter.
EXPORTERS = {
    "yolov5": ("images", ("output0", "map8", "map16", "map32"), 12),
    "yolov6": ("images", ("outputs", "o1", "o2", "o3", "o4", "o5"), 13),
    "yolov7": ("images", ("output", "o1", "o2", "o3"), 12),
    "ppyoloe": ("image", ("boxes", "scores"), 11),
    "yolov8": ("images", ("output0",), 17),
    "yolox": ("images", ("output",), 11),
    "yolov3": ("input_1", ("o1", "o2", "o3"), 11),
    "yolov4": ("input", ("o1", "o2", "o3"), 11),
}
ENDINGS = {"end2end-trt": ("num_dets", "det_boxes", "det_scores", "det_classes")}


def write(model, path, layout, size, opset=None, dynamic=False, names=None):
    """dynamic: the batch is left open. names: class names for the file's metadata."""
    image, outputs, usual = EXPORTERS[model.family]
    model.head.layout = layout
    args = inputs_of(model, torch.rand(1, 3, size, size))
    inputs = [image, "scale_factor" if model.family == "ppyoloe" else "image_shape"][: len(args)]
    with torch.no_grad():
        result = model(*args)
    count = 1 if isinstance(result, torch.Tensor) else len(result)
    outputs = ENDINGS.get(layout, outputs)[:count]
    if layout == "rows":
        args, inputs = args[:1], inputs[:1]
    axes = {name: {0: "batch"} for name in (*inputs, *outputs)} if dynamic else None
    folded = torch.onnx.TrainingMode.PRESERVE if model.family == "ppyoloe" else torch.onnx.TrainingMode.EVAL
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), args, str(path), dynamo=False, opset_version=opset or usual, training=folded,
                          input_names=inputs, output_names=list(outputs), dynamic_axes=axes)
    proto = onnx.load(path)
    if any(n.domain == "zoo" for n in proto.graph.node):
        for n in proto.graph.node:
            if n.domain == "zoo":
                proto.graph.initializer.append(loop_for_range(n))
        onnx.save(proto, path)
    if names:
        onnx.helper.set_model_props(proto, {"names": str(dict(enumerate(names)))})
        onnx.save(proto, path)
    if not any(n.domain for n in proto.graph.node):
        onnx.checker.check_model(proto)


def loop_for_range(node):
    """Makes a node that counts up to its input the Loop that tf2onnx would have written:
    the count is carried, and its value before each trip collected."""
    value = onnx.helper.make_tensor_value_info
    scalar = onnx.helper.make_tensor
    body = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["more"], ["more_out"]), onnx.helper.make_node("Identity", ["at"], ["entry"]),
         onnx.helper.make_node("Add", ["at", "step"], ["next"])], "range",
        [value("trip", onnx.TensorProto.INT64, []), value("more", onnx.TensorProto.BOOL, []), value("at", onnx.TensorProto.FLOAT, [])],
        [value("more_out", onnx.TensorProto.BOOL, []), value("next", onnx.TensorProto.FLOAT, []), value("entry", onnx.TensorProto.FLOAT, [])],
        [scalar("step", onnx.TensorProto.FLOAT, [], [1.0])])
    name, count, result = node.name.replace("/", "_"), node.input[0], node.output[0]
    loop = onnx.helper.make_node("Loop", [count, "", name + "_start"], [name + "_end", result], name=name + "_loop", body=body)
    node.CopyFrom(loop)
    return onnx.helper.make_tensor(name + "_start", onnx.TensorProto.FLOAT, [], [0.0])
