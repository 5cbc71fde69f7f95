"""Decoding of the detectors in the data folder, written in numpy from their
recipes and independently of the Go code, which the tests check against it.

The argument is a JSON list of jobs, keyword arguments of run(); printed is the
JSON list of their results.
"""
import json
import os
import sys

import numpy as np
import onnxruntime as ort

YOLOV5_ANCHORS = [[(10, 13), (16, 30), (33, 23)],
                  [(30, 61), (62, 45), (59, 119)],
                  [(116, 90), (156, 198), (373, 326)]]
FASTEST_ANCHORS = [[(12.64, 19.39), (37.88, 51.48), (55.71, 138.31)],
                   [(126.91, 78.23), (131.57, 214.55), (279.92, 258.87)]]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def corners(cx, cy, w, h):
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)


def decode(name, outs):
    """Boxes (n, 4) as corners in input pixels, and scores (n, classes)."""
    outs = [o.astype(np.float64) for o in outs]
    if name.startswith(("yolov5n", "yolov6lite")):  # recipe A with objectness
        p = outs[0][0]
        return corners(p[:, 0], p[:, 1], p[:, 2], p[:, 3]), p[:, 4:5] * p[:, 5:]
    if name.startswith("yolov8n"):  # recipe A, channels first, no objectness
        p = outs[0][0].T
        return corners(p[:, 0], p[:, 1], p[:, 2], p[:, 3]), p[:, 4:]
    if name.startswith("picodet"):  # recipe B
        boxes, scores = [], []
        for level, stride in enumerate([8, 16, 32, 64]):
            cls, reg = outs[level][0], outs[4 + level][0]
            side = int(round(len(cls) ** 0.5))
            e = np.exp(reg.reshape(-1, 4, 8))
            d = (e / e.sum(-1, keepdims=True) * np.arange(8)).sum(-1) * stride
            gy, gx = np.mgrid[:side, :side].reshape(2, -1)
            x, y = (gx + 0.5) * stride, (gy + 0.5) * stride
            boxes.append(np.stack([x - d[:, 0], y - d[:, 1], x + d[:, 2], y + d[:, 3]], -1))
            scores.append(cls)
        return np.concatenate(boxes), np.concatenate(scores)
    if name.startswith("v5lite"):  # recipe C
        p, at, boxes = outs[0][0], 0, []
        for anchors, stride in zip(YOLOV5_ANCHORS, [8, 16, 32]):
            side = 320 // stride
            gy, gx = np.mgrid[:side, :side].reshape(2, -1)
            for aw, ah in anchors:
                t = p[at:at + side * side]
                at += side * side
                boxes.append(corners((2 * t[:, 0] - 0.5 + gx) * stride, (2 * t[:, 1] - 0.5 + gy) * stride,
                                     (2 * t[:, 2]) ** 2 * aw, (2 * t[:, 3]) ** 2 * ah))
        return np.concatenate(boxes), p[:, 4:5] * p[:, 5:]
    if name.startswith("fastestdet"):  # recipe D
        p = outs[0][0].reshape(85, -1)
        gy, gx = np.mgrid[:22, :22].reshape(2, -1)
        boxes = corners((gx + np.tanh(p[1])) * 16, (gy + np.tanh(p[2])) * 16, sigmoid(p[3]) * 352, sigmoid(p[4]) * 352)
        return boxes, (p[0] ** 0.6 * p[5:] ** 0.4).T
    if name.startswith("yolo_fastest"):  # recipe E
        boxes, scores = [], []
        for p, anchors, stride in zip(outs, FASTEST_ANCHORS, [16, 32]):
            side = 352 // stride
            p = p.reshape(-1, 95)
            gy, gx = np.mgrid[:side, :side].reshape(2, -1)
            for a, (aw, ah) in enumerate(anchors):
                t = p[:, 4 * a:4 * a + 4]
                boxes.append(corners((2 * t[:, 0] - 0.5 + gx) * stride, (2 * t[:, 1] - 0.5 + gy) * stride,
                                     (2 * t[:, 2]) ** 2 * aw, (2 * t[:, 3]) ** 2 * ah))
                scores.append(p[:, 12 + a:13 + a] * p[:, 15:])
        return np.concatenate(boxes), np.concatenate(scores)
    raise ValueError(name)


def suppress(boxes, scores, score, iou, candidates, keep):
    """Per-class non-maximum suppression, one greedy pass for every class."""
    row, cls = np.nonzero(scores > score)
    val = scores[row, cls]
    order = np.argsort(-val, kind="stable")[:candidates]
    row, cls, val = row[order], cls[order], val[order]
    kept = []
    for c in np.unique(cls):
        mine = np.nonzero(cls == c)[0]
        b = boxes[row[mine]]
        area = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
        alive = np.ones(len(mine), bool)
        for i in range(len(mine)):
            if not alive[i]:
                continue
            kept.append(mine[i])
            w = np.minimum(b[i, 2], b[:, 2]) - np.maximum(b[i, 0], b[:, 0])
            h = np.minimum(b[i, 3], b[:, 3]) - np.maximum(b[i, 1], b[:, 1])
            inter = np.maximum(w, 0) * np.maximum(h, 0)
            over = inter / np.maximum(area[i] + area - inter, 1e-12)
            alive[i + 1:] &= over[i + 1:] <= iou
    kept = sorted(kept)[:keep]
    return [[*map(float, boxes[row[i]]), int(cls[i]), float(val[i])] for i in kept]


def run(model, inputs, folder, score, iou, candidates, keep):
    name = os.path.basename(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    node = session.get_inputs()[0]
    dtype = np.float16 if "float16" in node.type else np.float32
    found = []
    for i, (path, shape) in enumerate(inputs):
        x = np.fromfile(path, np.float32).reshape(shape).astype(dtype)
        outs = session.run(None, {node.name: x})
        for o, value in zip(session.get_outputs(), outs):
            value.astype(np.float32).tofile(os.path.join(folder, f"{name}.{i}.{o.name.replace('/', '_')}"))
        boxes, scores = decode(name, [o.astype(np.float32) for o in outs])
        found.append(suppress(boxes, scores, score, iou, candidates, keep))
    return found


if __name__ == "__main__":
    with open(sys.argv[1]) as jobs:
        print(json.dumps([run(**job) for job in json.load(jobs)]))
