"""YOLOv3, YOLOv4 and the tiny one of each, as Darknet trains them: sizes of boxes are
exponentials. The modules of the tiny ones stand in the order of Darknet's files, so its
weights can be read into them one after the other.

With s = sigmoid: x = (a s(value) - (a - 1) / 2 + column) stride, w = exp(value) anchor,
where a (scale_x_y) is 1 for YOLOv3.
"""

from functools import partial

import torch
from torch import cat, nn
from torch.nn import functional as F

from blocks import Conv, cells, logit, pooled, twice
from suppression import Suppress, TensorFlowRange

Leaky = partial(nn.LeakyReLU, 0.1)
Block = partial(Conv, act=Leaky)
Mish = partial(Conv, act=nn.Mish)

V3 = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326)))
V4 = (((12, 16), (19, 36), (40, 28)), ((36, 75), (76, 55), (72, 146)), ((142, 110), (192, 243), (459, 401)))
V3_TINY = (((10, 14), (23, 27), (37, 58)), ((81, 82), (135, 169), (344, 319)))
V4_TINY = (((23, 27), (37, 58), (81, 82)), ((81, 82), (135, 169), (344, 319)))


class Predict(nn.Module):
    """A level's last convolution; its output is batch x 3 (5 + classes) x rows x columns."""

    def __init__(self, channels, classes, anchors, stride, scale):
        super().__init__()
        self.conv, self.stride, self.scale = nn.Conv2d(channels, 3 * (5 + classes), 1), stride, scale
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.float32), persistent=False)
        with torch.no_grad():
            self.conv.weight.mul_(0.1)
            bias = self.conv.bias.zero_().view(3, -1)
            bias[:, 4], bias[:, 5:] = logit(0.01), logit(0.2)

    def place(self, y):
        """Batch x 3 x rows x columns x values: centre and size in pixels, objectness, classes."""
        y = by_anchor(y)
        h, w = y.shape[2:4]
        xy = y[..., 0:2].sigmoid() * self.scale - (self.scale - 1) / 2 + cells(h, w).view(1, 1, h, w, 2)
        return cat([xy * self.stride, y[..., 2:4].exp() * self.anchors.view(1, 3, 1, 1, 2), y[..., 4:].sigmoid()], -1)


def by_anchor(y):
    n, c, h, w = y.shape
    return y.view(n, 3, c // 3, h, w).permute(0, 1, 3, 4, 2).contiguous()


class Head(nn.Module):
    """layout:
    decoded        one tensor, batch x predictions x values, as PyTorch-YOLOv3 and ultralytics/yolov3
    raw            a map of a level, batch x 3 values x rows x columns, as of NVIDIA's sample
    raw+5d         batch x 3 x rows x columns x values, nothing applied
    levels         decoded, a tensor of rows of each level
    levels+5d      decoded, batch x 3 x rows x columns x values
    apart          boxes, objectness and classes, all decoded
    shares         ultralytics/yolov3 for CoreML: without a batch, scores and boxes in 0..1
    boxes+scores   pytorch-YOLOv4: corners in 0..1, batch x predictions x 1 x 4, and scores
    squeezed       the same without the axis of one
    channels-last  the model zoo's YOLOv4: pictures and maps with their channels last, boxes raw
    nms            the model zoo's YOLOv3, of keras-yolo3: corners as y, x in the picture whose
                   size is an input, and ONNX's NonMaxSuppression; grids by loops
    """

    def __init__(self, levels):
        super().__init__()
        self.layout, self.levels = "decoded", levels

    def forward(self, maps, shape=None):
        """maps come as the network makes them; shape is of the picture, for nms."""
        layout = self.layout
        if layout == "raw":
            return tuple(maps)
        if layout == "raw+5d":
            return tuple(by_anchor(y) for y in maps)
        if layout == "channels-last":
            return tuple(self.channels_last(y) for y in maps)
        if layout == "nms":
            return self.keras(maps, shape)
        if layout in ("boxes+scores", "squeezed"):
            boxes, scores = zip(*(self.corners(p, y) for p, y in zip(self.levels, maps)))
            return cat(boxes, 1), cat(scores, 1)
        if layout == "shares":
            return self.shares(maps)
        placed = [p.place(y) for p, y in zip(self.levels, maps)]
        if layout == "levels+5d":
            return tuple(placed)
        rows = [y.flatten(1, 3) for y in placed]
        if layout == "levels":
            return tuple(rows)
        rows = cat(rows, 1)
        return (rows[..., :4], rows[..., 4:5], rows[..., 5:]) if layout == "apart" else rows

    @staticmethod
    def channels_last(y):
        n, c, h, w = y.shape
        y = y.permute(0, 2, 3, 1).reshape(n, h, w, 3, c // 3)
        box, object_, classes = y.split((4, 1, c // 3 - 5), -1)
        return cat([box, object_.sigmoid(), classes.sigmoid()], -1)

    def corners(self, p, y):
        """Anchor by anchor, in cells, then divided by the size of the grid."""
        n, c, h, w = y.shape
        grid = cells(h, w).permute(2, 0, 1)[None]
        sides, scores = [], []
        for anchor, v in zip(p.anchors / p.stride, y.split(c // 3, 1)):
            x = v[:, 0:1].sigmoid() * p.scale - 0.5 * (p.scale - 1) + grid[:, 0:1]
            z = v[:, 1:2].sigmoid() * p.scale - 0.5 * (p.scale - 1) + grid[:, 1:2]
            sides.append((x, z, v[:, 2:3].exp() * anchor[0], v[:, 3:4].exp() * anchor[1]))
            scores.append((v[:, 5:].sigmoid() * v[:, 4:5].sigmoid()).flatten(2).transpose(1, 2))
        x, z, width, height = (cat(s, 1) for s in zip(*sides))
        across, down = cat([x, width], 1) / w, cat([z, height], 1) / h
        x, width = (across[:, i : i + 3].reshape(n, -1, 1) for i in (0, 3))
        z, height = (down[:, i : i + 3].reshape(n, -1, 1) for i in (0, 3))
        left, top = x - width * 0.5, z - height * 0.5
        boxes = cat([left, top, left + width, top + height], 2)
        return boxes if self.layout == "squeezed" else boxes.view(n, -1, 1, 4), cat(scores, 1)

    def shares(self, maps):
        boxes, scores = [], []
        for p, y in zip(self.levels, maps):
            h, w = y.shape[2:4]
            y = by_anchor(y).view(3 * h * w, -1)
            grid = cells(h, w).view(1, h * w, 2).repeat(3, 1, 1).view(-1, 2)
            anchors = (p.anchors / p.stride).view(3, 1, 2).repeat(1, h * w, 1).view(-1, 2)
            share = (1 / torch.tensor([w, h]).float()).repeat(3 * h * w, 1)
            xy = y[:, 0:2].sigmoid() * p.scale - (p.scale - 1) / 2 + grid
            boxes.append(cat([xy * share, y[:, 2:4].exp() * (anchors * share)], 1))
            scores.append(y[:, 5:].sigmoid() * y[:, 4:5].sigmoid())
        return cat(scores, 0), cat(boxes, 0)

    def keras(self, maps, shape):
        boxes, scores = [], []
        shape = shape.squeeze(0)
        coarsest = torch._shape_as_tensor(maps[0])[2:4].float()
        size = coarsest * float(self.levels[0].stride)
        for p, y in zip(self.levels, maps):
            n, c, h, w = y.shape
            y = y.permute(0, 2, 3, 1).reshape(-1, h, w, 3, c // 3)
            sizes = torch._shape_as_tensor(y)
            down = TensorFlowRange.apply(sizes[1]).view(-1, 1, 1, 1).expand(h, w, 1, 1)
            across = TensorFlowRange.apply(sizes[2]).view(1, -1, 1, 1).expand(h, w, 1, 1)
            xy = (y[..., 0:2].sigmoid() + cat([across, down], -1)) / sizes[1:3].flip(0).float()
            wh = y[..., 2:4].exp() * p.anchors.view(1, 1, 1, 3, 2) / size.flip(0)
            yx, hw = xy.flip(-1), wh.flip(-1)
            fitted = (shape * (size / shape).min()).round()
            offset, scale = (size - fitted) / 2.0 / size, size / fitted
            yx, hw = (yx - offset) * scale, hw * scale
            low, high = yx - hw / 2.0, yx + hw / 2.0
            box = cat([low[..., 0:1], low[..., 1:2], high[..., 0:1], high[..., 1:2]], -1) * cat([shape, shape])
            boxes.append(box.reshape(-1, 4))
            scores.append((y[..., 4:5].sigmoid() * y[..., 5:].sigmoid()).reshape(-1, c // 3 - 5))
        boxes, scores = cat(boxes, 0)[None], cat(scores, 0).t()[None]
        return boxes, scores, Suppress.apply(boxes, scores, torch.tensor([20]), torch.tensor([0.5]), torch.tensor([0.6]))[None]


class Darknet(nn.Module):
    def forward(self, x, shape=None):
        if self.head.layout == "channels-last":
            x = x.permute(0, 3, 1, 2)
        return self.head(self.maps(x), shape)


class Residual(nn.Module):
    def __init__(self, channels, hidden, block):
        super().__init__()
        self.first, self.second = block(channels, hidden), block(hidden, channels, 3)

    def forward(self, x):
        return x + self.second(self.first(x))


def chain(inp, side, count):
    """Convolutions of 1x1 to `side` channels and of 3x3 to twice as many, in turn."""
    blocks = []
    for i in range(count):
        blocks.append(Block(inp, 2 * side, 3) if i % 2 else Block(inp, side))
        inp = 2 * side if i % 2 else side
    return nn.Sequential(*blocks)


class YOLOv3(Darknet):
    family = "yolov3"

    def __init__(self, scale, classes=80):
        super().__init__()
        c = [scale.channels(32 << i) for i in range(6)]
        self.stem = Block(3, c[0], 3)
        self.stages = nn.ModuleList(
            nn.Sequential(Block(c[i], c[i + 1], 3, 2), *(Residual(c[i + 1], c[i], Block) for _ in range(n)))
            for i, n in enumerate((1, 2, 8, 8, 4)))
        self.body5, self.last5 = chain(c[5], c[4], 5), Block(c[4], c[5], 3)
        self.head5 = Predict(c[5], classes, V3[2], 32, 1.0)
        self.lateral4, self.body4, self.last4 = Block(c[4], c[3]), chain(c[3] + c[4], c[3], 5), Block(c[3], c[4], 3)
        self.head4 = Predict(c[4], classes, V3[1], 16, 1.0)
        self.lateral3, self.body3, self.last3 = Block(c[3], c[2]), chain(c[2] + c[3], c[2], 5), Block(c[2], c[3], 3)
        self.head3 = Predict(c[3], classes, V3[0], 8, 1.0)
        self.head = Head((self.head5, self.head4, self.head3))

    def maps(self, x):
        x, levels = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        p5 = self.body5(levels[4])
        p4 = self.body4(cat([twice(self.lateral4(p5)), levels[3]], 1))
        p3 = self.body3(cat([twice(self.lateral3(p4)), levels[2]], 1))
        return [self.head5.conv(self.last5(p5)), self.head4.conv(self.last4(p4)), self.head3.conv(self.last3(p3))]


class YOLOv3Tiny(Darknet):
    family = "yolov3"

    def __init__(self, scale, classes=80):
        super().__init__()
        c = [scale.channels(16 << i) for i in range(7)]
        self.body = nn.ModuleList(Block(a, b, 3) for a, b in zip([3, *c], c))
        self.lateral5, self.last5 = Block(c[6], c[4]), Block(c[4], c[5], 3)
        self.head5 = Predict(c[5], classes, V3_TINY[1], 32, 1.0)
        self.lateral4, self.last4 = Block(c[4], c[3]), Block(c[3] + c[4], c[4], 3)
        self.head4 = Predict(c[4], classes, V3_TINY[0], 16, 1.0)
        self.head = Head((self.head5, self.head4))

    def maps(self, x):
        for i, block in enumerate(self.body):
            if i == 6:
                x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, 1)
            elif i > 0:
                x = F.max_pool2d(x, 2, 2)
            x = block(x)
            if i == 4:
                p4 = x
        p5 = self.lateral5(x)
        y = self.last4(cat([twice(self.lateral4(p5)), p4], 1))
        return [self.head5.conv(self.last5(p5)), self.head4.conv(y)]


class Partial(nn.Module):
    """YOLOv4's stage: half the size, then blocks on one of two branches (CSP)."""

    def __init__(self, inp, out, count):
        super().__init__()
        half = out if count == 1 else out // 2
        self.down, self.side, self.main = Mish(inp, out, 3, 2), Mish(out, half), Mish(out, half)
        self.blocks = nn.Sequential(*(Residual(half, half // 2 if count == 1 else half, Mish) for _ in range(count)))
        self.after, self.fuse = Mish(half, half), Mish(2 * half, out)

    def forward(self, x):
        x = self.down(x)
        return self.fuse(cat([self.after(self.blocks(self.main(x))), self.side(x)], 1))


class YOLOv4(Darknet):
    family = "yolov4"

    def __init__(self, scale, classes=80):
        super().__init__()
        c = [scale.channels(32 << i) for i in range(6)]
        self.stem = Mish(3, c[0], 3)
        self.stages = nn.ModuleList(Partial(c[i], c[i + 1], n) for i, n in enumerate((1, 2, 8, 8, 4)))
        self.before = chain(c[5], c[4], 3)
        self.after = chain(4 * c[4], c[4], 3)
        self.lateral4, self.route4, self.up4 = Block(c[4], c[3]), Block(c[4], c[3]), chain(2 * c[3], c[3], 5)
        self.lateral3, self.route3, self.up3 = Block(c[3], c[2]), Block(c[3], c[2]), chain(2 * c[2], c[2], 5)
        self.last3, self.head3 = Block(c[2], c[3], 3), Predict(c[3], classes, V4[0], 8, 1.2)
        self.down3, self.out4 = Block(c[2], c[3], 3, 2), chain(2 * c[3], c[3], 5)
        self.last4, self.head4 = Block(c[3], c[4], 3), Predict(c[4], classes, V4[1], 16, 1.1)
        self.down4, self.out5 = Block(c[3], c[4], 3, 2), chain(2 * c[4], c[4], 5)
        self.last5, self.head5 = Block(c[4], c[5], 3), Predict(c[5], classes, V4[2], 32, 1.05)
        self.head = Head((self.head3, self.head4, self.head5))

    def maps(self, x):
        x, levels = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        p5 = self.after(cat(pooled(self.before(levels[4]), serial=False)[::-1], 1))
        p4 = self.up4(cat([self.route4(levels[3]), twice(self.lateral4(p5))], 1))
        p3 = self.up3(cat([self.route3(levels[2]), twice(self.lateral3(p4))], 1))
        o4 = self.out4(cat([self.down3(p3), p4], 1))
        o5 = self.out5(cat([self.down4(o4), p5], 1))
        return [self.head3.conv(self.last3(p3)), self.head4.conv(self.last4(o4)), self.head5.conv(self.last5(o5))]


class TinyPartial(nn.Module):
    """YOLOv4-tiny's stage: blocks on half of the channels, then half the size."""

    def __init__(self, channels):
        super().__init__()
        half = channels // 2
        self.first, self.second, self.third = Block(channels, channels, 3), Block(half, half, 3), Block(half, half, 3)
        self.fuse = Block(channels, channels)

    def forward(self, x):
        x = self.first(x)
        y = self.second(x.chunk(2, 1)[1])
        y = self.fuse(cat([self.third(y), y], 1))
        return F.max_pool2d(cat([x, y], 1), 2, 2), y


class YOLOv4Tiny(Darknet):
    family = "yolov4"

    def __init__(self, scale, classes=80):
        super().__init__()
        c = [scale.channels(32 << i) for i in range(5)]
        self.stem = nn.Sequential(Block(3, c[0], 3, 2), Block(c[0], c[1], 3, 2))
        self.stages = nn.ModuleList((TinyPartial(c[1]), TinyPartial(c[2]), TinyPartial(c[3])))
        self.top, self.lateral5, self.last5 = Block(c[4], c[4], 3), Block(c[4], c[3]), Block(c[3], c[4], 3)
        self.head5 = Predict(c[4], classes, V4_TINY[1], 32, 1.05)
        self.lateral4, self.last4 = Block(c[3], c[2]), Block(c[2] + c[3], c[3], 3)
        self.head4 = Predict(c[3], classes, V4_TINY[0], 16, 1.05)
        self.head = Head((self.head5, self.head4))

    def maps(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x, p4 = stage(x)
        p5 = self.lateral5(self.top(x))
        y = self.last4(cat([twice(self.lateral4(p5)), p4], 1))
        return [self.head5.conv(self.last5(p5)), self.head4.conv(y)]
