"""mAP of the siblings, float or Q/DQ, on generated pictures by onnxruntime and by
OpenVINO, with decoding and suppression of its own: what trtact eval says must come
out of other people's engines too. Runs in an environment with OpenVINO.

    peers.py MODEL.onnx... --val DIR

onnxruntime executes Q/DQ as written (session.disable_quant_qdq). OpenVINO lowers it to
its INT8 kernels where the processor has instructions for them (VNNI). Without, those
kernels saturate: sums of two products in 16 bits, which cost four points of mAP; it then
computes the Q/DQ in float32.
"""

import argparse
import contextlib
import io
import json
import pathlib
import sys

import numpy
import onnxruntime
import openvino
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

sys.path.append(str(pathlib.Path(__file__).parent.parent / "shapes_training"))

from measure import prepare, suppress

SIZE = 320
MEAN, STD = (numpy.array(v, numpy.float32).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def letterboxed(path):
    x, scale, (left, top) = prepare(path, SIZE)
    return x, (scale, scale), (left, top)


def stretched(path):
    """PP-YOLOE's input: both sides scaled apart, normalised."""
    image = Image.open(path).convert("RGB")
    scales = SIZE / image.width, SIZE / image.height
    x = numpy.asarray(image.resize((SIZE, SIZE), Image.BICUBIC), numpy.float32).transpose(2, 0, 1)[None] / 255
    return (x - MEAN) / STD, scales, (0, 0)


def boxes_and_scores(outputs):
    """Corners in input pixels (rows x 4) and scores (rows x classes) of a decoded head."""
    if len(outputs) == 2:
        return outputs[0][0], outputs[1][0].T
    rows = outputs[0][0]
    middle, half = rows[:, :2], rows[:, 2:4] / 2
    return numpy.concatenate([middle - half, middle + half], 1), rows[:, 4:5] * rows[:, 5:]


def detections(infer, two_inputs, folder, data):
    found = []
    for entry in data["images"]:
        x, scale, offset = (stretched if two_inputs else letterboxed)(folder / "images" / entry["file_name"])
        boxes, scores = boxes_and_scores(infer([x, numpy.ones((1, 2), numpy.float32)] if two_inputs else [x]))
        boxes = ((boxes - numpy.tile(offset, 2)) / numpy.tile(scale, 2)).clip(0, [entry["width"], entry["height"]] * 2)
        here = []
        for c in range(scores.shape[1]):
            good = numpy.flatnonzero(scores[:, c] > 0.001)
            for i in suppress(boxes[good], scores[good, c]):
                b = boxes[good[i]]
                here.append((float(scores[good[i], c]), c, [float(v) for v in (b[0], b[1], b[2] - b[0], b[3] - b[1])]))
        here.sort(key=lambda d: -d[0])
        found += [{"image_id": entry["id"], "category_id": c + 1, "score": s, "bbox": b} for s, c, b in here[:300]]
    return found


def mean_ap(infer, two_inputs, folder):
    data = json.loads((folder / "annotations.json").read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "annotations.json"))
        e = COCOeval(truth, truth.loadRes(detections(infer, two_inputs, folder, data)), "bbox")
        e.evaluate(), e.accumulate(), e.summarize()
    return 100 * e.stats[0]


def in_onnxruntime(path):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return (lambda inputs: session.run(None, dict(zip(names, inputs)))), len(names) == 2


def has_vnni():
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    return any(f in flags for f in ("avx512_vnni", "avx_vnni", "amx_int8"))


def in_openvino(path):
    # Without a hint OpenVINO may compute in bfloat16 where the processor has it.
    properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "LP_TRANSFORMS_MODE": has_vnni()}
    compiled = openvino.Core().compile_model(str(path), "CPU", properties)
    return (lambda inputs: list(compiled(inputs).values())), len(compiled.inputs) == 2


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("models", nargs="+", type=pathlib.Path)
    args.add_argument("--val", type=pathlib.Path, required=True, help="folder made by scripts/shapes")
    args = args.parse_args()
    print(f"{'model':32} {'onnxruntime ' + onnxruntime.__version__:>20} {'OpenVINO ' + openvino.__version__[:8]:>20}")
    for path in args.models:
        scores = [mean_ap(*load(path), args.val) for load in (in_onnxruntime, in_openvino)]
        print(f"{path.name:32} {scores[0]:20.2f} {scores[1]:20.2f}", flush=True)


if __name__ == "__main__":
    main()
