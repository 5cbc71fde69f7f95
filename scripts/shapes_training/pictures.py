"""Generated pictures as training batches."""

import json
import pathlib
import random

import numpy
import torch
from PIL import Image


def letterbox(image, size):
    """RGB picture -> size x size x 3 with grey 114 borders, the scale, and the offset."""
    scale = min(size / image.width, size / image.height)
    w, h = round(image.width * scale), round(image.height * scale)
    left, top = (size - w) // 2, (size - h) // 2
    canvas = Image.new("RGB", (size, size), (114, 114, 114))
    canvas.paste(image.convert("RGB").resize((w, h), Image.BILINEAR), (left, top))
    return numpy.asarray(canvas), scale, (left, top)


def stretch(image, size):
    """RGB picture -> size x size x 3, both sides scaled apart, and the two scales."""
    scaled = image.convert("RGB").resize((size, size), Image.BICUBIC)
    return numpy.asarray(scaled), (size / image.width, size / image.height)


def load(folder, size, stretched=False):
    """All pictures of a folder as uint8 N x 3 x size x size, and per picture its boxes k x 5
    (class, corners); letterboxed or stretched."""
    folder = pathlib.Path(folder)
    data = json.loads((folder / "annotations.json").read_text())
    by_image = {}
    for a in data["annotations"]:
        by_image.setdefault(a["image_id"], []).append(a)
    pictures = torch.empty(len(data["images"]), 3, size, size, dtype=torch.uint8)
    boxes = []
    for i, entry in enumerate(data["images"]):
        image, left, top = Image.open(folder / "images" / entry["file_name"]), 0, 0
        if stretched:
            pixels, (sx, sy) = stretch(image, size)
        else:
            pixels, sx, (left, top) = letterbox(image, size)
            sy = sx
        pictures[i] = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
        rows = []
        for a in by_image.get(entry["id"], []):
            x, y, w, h = a["bbox"]
            rows.append([a["category_id"] - 1, x * sx + left, y * sy + top, (x + w) * sx + left, (y + h) * sy + top])
        boxes.append(torch.tensor(rows).view(-1, 5))
    return pictures, boxes


def batch_of(pictures, boxes, indices):
    """A batch with random mirroring, quarter turns and exchanged colour channels."""
    images = pictures[indices].float().div_(255)
    images = images[:, torch.randperm(3)]
    size = pictures.shape[-1]
    targets = [boxes[i].clone() for i in indices]
    if random.random() < 0.5:
        images = images.flip(3)
        for t in targets:
            t[:, [1, 3]] = size - t[:, [3, 1]]
    if random.random() < 0.5:
        images = images.flip(2)
        for t in targets:
            t[:, [2, 4]] = size - t[:, [4, 2]]
    if random.random() < 0.5:
        images = images.transpose(2, 3)
        for t in targets:
            t[:, 1:] = t[:, [2, 1, 4, 3]]
    return images.contiguous(), targets
