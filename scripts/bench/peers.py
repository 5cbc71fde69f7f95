"""The peer's side of `make bench` and `make accuracy`: onnxruntime and its quantiser.

    peers.py time MODEL --threads N --runs N        milliseconds of each run, as JSON
    peers.py quantise MODEL OUT --method M --images LIST --size S [--count N] [--chunk N]

Each call is one process, so that its time and peak memory are its own.
LIST holds one picture a line, relative to its own folder.
"""

import argparse
import json
import pathlib
import time

import numpy
import onnx
import onnxruntime
from onnxruntime import quantization
from PIL import Image


def letterbox(path, size):
    """A picture as 1x3xSxS in 0..1, RGB, grey borders, as the YOLO families want it."""
    image = Image.open(path).convert("RGB")
    scale = min(size / image.width, size / image.height)
    w, h = round(image.width * scale), round(image.height * scale)
    canvas = Image.new("RGB", (size, size), (114, 114, 114))
    canvas.paste(image.resize((w, h), Image.BILINEAR), ((size - w) // 2, (size - h) // 2))
    return numpy.asarray(canvas, numpy.float32).transpose(2, 0, 1)[None] / 255


class Reader(quantization.CalibrationDataReader):
    def __init__(self, files, size, name):
        self.files, self.size, self.name = files, size, name
        self.set_range(0, len(files))

    def __len__(self):
        return len(self.files)

    def set_range(self, start_index, end_index):
        self.rest = iter(self.files[start_index:end_index])

    def get_next(self):
        path = next(self.rest, None)
        return None if path is None else {self.name: letterbox(path, self.size)}


def session(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def timing(args):
    s = session(args.model, args.threads)
    entry = s.get_inputs()[0]
    x = numpy.random.default_rng(1).random(entry.shape, dtype=numpy.float32)
    milliseconds = []
    for _ in range(args.runs + 5):
        start = time.perf_counter()
        s.run(None, {entry.name: x})
        milliseconds.append((time.perf_counter() - start) * 1000)
    print(json.dumps(milliseconds[5:]))


def last_convolutions(graph):
    """Names of convolutions with no other convolution between them and an output."""
    producer = {o: n for n in graph.node for o in n.output}
    last, seen, todo = set(), set(), [o.name for o in graph.output]
    while todo:
        tensor = todo.pop()
        node = producer.get(tensor)
        if node is None or tensor in seen:
            continue
        seen.add(tensor)
        if node.op_type == "Conv":
            last.add(node.name)
        else:
            todo += node.input
    return sorted(last)


def quantise(args):
    """Symmetric INT8, weights per channel, convolutions except the last of each branch."""
    root = args.images.parent
    files = [root / line for line in args.images.read_text().split("\n") if line][: args.count]
    proto = onnx.load(args.model)
    for i, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type}_{i}"
    extra = {"ActivationSymmetric": True, "WeightSymmetric": True, "AddQDQPairToWeight": True, "QuantizeBias": False}
    if args.chunk:  # pictures at a time, whatever the name says: the rest of memory is freed in between
        extra["CalibStridedMinMax"] = args.chunk
    named = args.out.with_suffix(".named.onnx")
    onnx.save(proto, named)
    quantization.quantize_static(
        str(named), str(args.out), Reader(files, args.size, proto.graph.input[0].name),
        quant_format=quantization.QuantFormat.QDQ, op_types_to_quantize=["Conv"],
        nodes_to_exclude=last_convolutions(proto.graph), per_channel=True,
        activation_type=quantization.QuantType.QInt8, weight_type=quantization.QuantType.QInt8,
        calibrate_method=getattr(quantization.CalibrationMethod, args.method),
        extra_options=extra)
    named.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser("time")
    p.add_argument("model")
    p.add_argument("--threads", type=int, required=True)
    p.add_argument("--runs", type=int, default=30)
    p.set_defaults(run=timing)
    p = commands.add_parser("quantise")
    p.add_argument("model")
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--method", required=True, choices=("MinMax", "Entropy", "Percentile"))
    p.add_argument("--images", type=pathlib.Path, required=True)
    p.add_argument("--size", type=int, required=True)
    p.add_argument("--count", type=int)
    p.add_argument("--chunk", type=int, help="pictures whose values it keeps at a time; must divide their number (default: all)")
    p.set_defaults(run=quantise)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
