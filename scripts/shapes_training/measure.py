"""mAP of an ONNX detector with YOLOv8's output on generated pictures, and of its
post-training quantisation by onnxruntime, so that the sample's hardness is a
measured fact. Runs in the environment of the tests, not in the training's.

    python measure.py MODEL.onnx --val DIR [--calib DIR]   (folders made by scripts/shapes)

Q/DQ graphs are executed as written (session.disable_quant_qdq), since
onnxruntime's fused int8 kernels are not exact on every processor.
"""

import argparse
import contextlib
import io
import json
import pathlib
import tempfile

import numpy
import onnx
import onnxruntime
from onnxruntime import quantization
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

METHODS = ("MinMax", "Entropy", "Percentile")


def prepare(path, size):
    """Picture -> 1x3xSxS in 0..1 with grey borders, scale, offset."""
    image = Image.open(path).convert("RGB")
    scale = min(size / image.width, size / image.height)
    w, h = round(image.width * scale), round(image.height * scale)
    left, top = (size - w) // 2, (size - h) // 2
    canvas = Image.new("RGB", (size, size), (114, 114, 114))
    canvas.paste(image.resize((w, h), Image.BILINEAR), (left, top))
    return numpy.asarray(canvas, numpy.float32).transpose(2, 0, 1)[None] / 255, scale, (left, top)


def suppress(boxes, scores, limit=0.65):
    """Greedy non-maximum suppression; indices kept, best first."""
    order, keep = scores.argsort()[::-1], []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(order):
        i, order = order[0], order[1:]
        keep.append(i)
        low = numpy.maximum(boxes[i, :2], boxes[order, :2])
        high = numpy.minimum(boxes[i, 2:], boxes[order, 2:])
        inter = (high - low).clip(0).prod(1)
        order = order[inter / (area[i] + area[order] - inter + 1e-9) <= limit]
    return keep


def detections(session, folder, data):
    size = session.get_inputs()[0].shape[2]
    found = []
    for entry in data["images"]:
        x, scale, (left, top) = prepare(folder / "images" / entry["file_name"], size)
        y = session.run(None, {session.get_inputs()[0].name: x})[0][0]
        centre, extent, scores = y[:2].T, y[2:4].T, y[4:].T
        boxes = numpy.concatenate([centre - extent / 2, centre + extent / 2], 1)
        boxes = (boxes - [left, top, left, top]) / scale
        boxes = boxes.clip(0, [entry["width"], entry["height"]] * 2)
        here = []
        for c in range(scores.shape[1]):
            good = numpy.flatnonzero(scores[:, c] > 0.001)
            for i in suppress(boxes[good], scores[good, c]):
                b = boxes[good[i]]
                here.append((float(scores[good[i], c]), c, [b[0], b[1], b[2] - b[0], b[3] - b[1]]))
        here.sort(key=lambda d: -d[0])
        found += [{"image_id": entry["id"], "category_id": c + 1, "score": s, "bbox": [float(v) for v in b]}
                  for s, c, b in here[:100]]
    return found


def mean_ap(model, folder):
    """mAP at 0.5:0.95 and at 0.5."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    data = json.loads((folder / "annotations.json").read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "annotations.json"))
        e = COCOeval(truth, truth.loadRes(detections(session, folder, data)), "bbox")
        e.evaluate(), e.accumulate(), e.summarize()
    return e.stats[0], e.stats[1]


class Reader(quantization.CalibrationDataReader):
    def __init__(self, folder, size, name):
        self.files = iter(sorted((folder / "images").glob("*.jpg")))
        self.size, self.name = size, name

    def get_next(self):
        path = next(self.files, None)
        return None if path is None else {self.name: prepare(path, self.size)[0]}


def quantise(model, out, folder, method):
    """INT8 as TensorRT takes it: symmetric, per channel, convolutions except the last of each branch."""
    proto = onnx.load(model)
    entry = proto.graph.input[0]
    last = [n.name for n in proto.graph.node if n.op_type == "Conv" and n.name.endswith("_pred")]
    quantization.quantize_static(
        str(model), str(out), Reader(folder, entry.type.tensor_type.shape.dim[2].dim_value, entry.name),
        quant_format=quantization.QuantFormat.QDQ, op_types_to_quantize=["Conv"], nodes_to_exclude=last,
        per_channel=True, activation_type=quantization.QuantType.QInt8, weight_type=quantization.QuantType.QInt8,
        calibrate_method=getattr(quantization.CalibrationMethod, method),
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "AddQDQPairToWeight": True,
                       "QuantizeBias": False})


def weight_spread(model):
    """Per convolution: the largest weight over the standard deviation, and the share within +-0.1."""
    rows = []
    for w in onnx.load(model).graph.initializer:
        if w.name.endswith(".weight"):
            a = onnx.numpy_helper.to_array(w)
            rows.append((float(abs(a).max()), float((abs(a) < 0.1).mean()), w.name))
    return sorted(rows, reverse=True)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model", type=pathlib.Path)
    args.add_argument("--val", type=pathlib.Path, required=True)
    args.add_argument("--calib", type=pathlib.Path)
    args = args.parse_args()

    print("%-12s mAP %.3f  mAP50 %.3f" % ("float", *mean_ap(args.model, args.val)), flush=True)
    for peak, share, name in weight_spread(args.model)[:5]:
        print(f"  {name}: largest weight {peak:.2f}, {share:.0%} within +-0.1")
    if args.calib is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        for method in METHODS:
            out = pathlib.Path(folder) / f"{method}.onnx"
            with contextlib.redirect_stdout(io.StringIO()):
                quantise(args.model, out, args.calib, method)
            print("%-12s mAP %.3f  mAP50 %.3f" % (method, *mean_ap(out, args.val)), flush=True)


if __name__ == "__main__":
    main()
