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
}
ENDINGS = {"end2end-trt": ("num_dets", "det_boxes", "det_scores", "det_classes")}


def write(model, path, layout, size, opset=None, dynamic=False, names=None):
    """dynamic: the batch is left open. names: class names for the file's metadata."""
    image, outputs, usual = EXPORTERS[model.family]
    model.head.layout = layout
    args = inputs_of(model, torch.rand(1, 3, size, size))
    inputs = [image, "scale_factor"][: len(args)]
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
    if names:
        onnx.helper.set_model_props(proto, {"names": str(dict(enumerate(names)))})
        onnx.save(proto, path)
    if not any(n.domain for n in proto.graph.node):
        onnx.checker.check_model(proto)
