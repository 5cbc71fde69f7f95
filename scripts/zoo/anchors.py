"""The head of YOLOv5 and YOLOv7: three anchors a cell, one 1x1 convolution a level,
and the forms in which the exporters of the two write its decoding.

A cell's values are a box of four, objectness and the classes, all logits. With
t = sigmoid(value): x = (2t - 0.5 + column) stride, w = (2t)^2 anchor.
"""

import torch
from torch import nn

from blocks import STRIDES, Predictions, cells, corners_of_centre, logit
from suppression import EndToEnd

SMALL = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326)))
LARGE = (((12, 16), (19, 36), (40, 28)), ((36, 75), (76, 55), (72, 146)), ((142, 110), (192, 243), (459, 401)))


class AnchorHead(nn.Module):
    """layout:
    raw          three maps, batch x 3 x rows x columns x values, nothing applied
    decoded      YOLOv5 export.py: one tensor, batch x predictions x values
    decoded+raw  YOLOv5 export.py up to 6.1: the same and the three maps
    grid         YOLOv7 --grid: one tensor; constants multiplied out beforehand
    scatter      YOLOv7 --grid of before June 2022: values replaced in place, which becomes ScatterND
    end2end      YOLOv7 --grid --end2end --max-wh: ONNX's NonMaxSuppression
    end2end-trt  YOLOv7 --grid --end2end: TensorRT's EfficientNMS
    """

    def __init__(self, channels, classes, anchors):
        super().__init__()
        self.classes, self.layout = classes, "raw"
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.float32), persistent=False)
        self.predict = nn.ModuleList(nn.Conv2d(c, 3 * (5 + classes), 1) for c in channels)
        with torch.no_grad():
            for conv in self.predict:
                conv.weight.mul_(0.1)
                bias = conv.bias.zero_().view(3, -1)
                bias[:, 4], bias[:, 5:] = logit(0.01), logit(0.2)

    def maps(self, features):
        out = []
        for conv, x in zip(self.predict, features):
            y = conv(x)
            n, _, h, w = y.shape
            out.append(y.view(n, 3, 5 + self.classes, h, w).permute(0, 1, 3, 4, 2).contiguous())
        return out

    def place(self, raw, level, form):
        stride, anchor = STRIDES[level], self.anchors[level].view(1, 3, 1, 1, 2)
        n, _, h, w, _ = raw.shape
        grid = cells(h, w).view(1, 1, h, w, 2)
        y = raw.sigmoid()
        if form == "scatter":
            y[..., 0:2] = (y[..., 0:2] * 2.0 - 0.5 + grid) * stride
            y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * anchor
            return y.view(n, -1, 5 + self.classes)
        xy, wh, rest = y.split((2, 2, 1 + self.classes), 4)
        if form == "grid":
            xy, wh = xy * (2.0 * stride) + stride * (grid - 0.5), wh**2 * (4 * anchor)
        else:
            xy, wh = (xy * 2 + (grid - 0.5)) * stride, (wh * 2) ** 2 * anchor
        return torch.cat([xy, wh, rest], 4).view(n, -1, 5 + self.classes)

    def forward(self, features):
        raw = self.maps(features)
        if self.layout == "raw":
            return tuple(raw)
        form = {"decoded": "decoded", "decoded+raw": "decoded", "scatter": "scatter"}.get(self.layout, "grid")
        rows = torch.cat([self.place(m, i, form) for i, m in enumerate(raw)], 1)
        if self.layout == "decoded+raw":
            return (rows, *raw)
        if self.layout.startswith("end2end"):
            return EndToEnd(plugin=self.layout == "end2end-trt")(rows)
        return rows

    def predictions(self, features):
        raw = self.maps(features)
        rows = torch.cat([self.place(m, i, "decoded") for i, m in enumerate(raw)], 1)
        logits = torch.cat([m.flatten(1, 3) for m in raw], 1)
        middle, stride, anchor = [], [], []
        for level, m in enumerate(raw):
            h, w = m.shape[2:4]
            middle.append(((cells(h, w) + 0.5) * STRIDES[level]).view(-1, 2).repeat(3, 1))
            stride.append(torch.full((3 * h * w,), float(STRIDES[level])))
            anchor.append(self.anchors[level].repeat_interleave(h * w, 0))
        return Predictions(logits[..., 5:], corners_of_centre(rows[..., :4]), torch.cat(middle), torch.cat(stride),
                           logits[..., 4], torch.cat(anchor))
