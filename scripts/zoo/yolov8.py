"""YOLOv8: C2f blocks, a decoupled head without objectness, distances as distributions."""

import torch
from torch import cat, nn

from blocks import STRIDES, Bottleneck, Conv, PoolPyramid, centres, logit, twice

BINS = 16


class C2f(nn.Module):
    """All intermediate results of a chain of blocks are joined."""

    def __init__(self, inp, out, count, add=False):
        super().__init__()
        self.half = out // 2
        self.split, self.fuse = Conv(inp, 2 * self.half), Conv((2 + count) * self.half, out)
        self.blocks = nn.ModuleList(Bottleneck(self.half, add, (3, 3)) for _ in range(count))

    def forward(self, x):
        y = list(self.split(x).split((self.half, self.half), 1))
        for b in self.blocks:
            y.append(b(y[-1]))
        return self.fuse(cat(y, 1))


class Head(nn.Module):
    """layout decoded: batch x (centre, size, classes) x cells."""

    def __init__(self, channels, classes):
        super().__init__()
        self.classes, self.layout = classes, "decoded"
        box, cls = max(16, channels[0] // 4, 4 * BINS), max(channels[0], min(classes, 100))
        self.reg = nn.ModuleList(
            nn.Sequential(Conv(c, box, 3), Conv(box, box, 3), nn.Conv2d(box, 4 * BINS, 1)) for c in channels)
        self.cls = nn.ModuleList(
            nn.Sequential(Conv(c, cls, 3), Conv(cls, cls, 3), nn.Conv2d(cls, classes, 1)) for c in channels)
        for branch in self.cls:
            nn.init.constant_(branch[-1].bias, logit(0.01))
        self.project = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)
        self.project.weight.data = torch.arange(BINS).float().view(1, BINS, 1, 1)

    def forward(self, features):
        points, strides = centres(features)
        y = [cat([reg(x), cls(x)], 1) for reg, cls, x in zip(self.reg, self.cls, features)]
        y = cat([m.view(m.shape[0], 4 * BINS + self.classes, -1) for m in y], 2)
        box, cls = y.split((4 * BINS, self.classes), 1)
        n, _, count = box.shape
        sides = self.project(box.view(n, 4, BINS, count).transpose(2, 1).softmax(1)).view(n, 4, count)
        low, high = sides.chunk(2, 1)
        points = points.T[None]
        low, high = points - low, points + high
        return cat([cat([(low + high) / 2, high - low], 1) * strides.T, cls.sigmoid()], 1)


class YOLOv8(nn.Module):
    family = "yolov8"

    def __init__(self, scale, classes=80):
        super().__init__()
        c1, c2, c3, c4, c5 = (scale.channels(64 << i) for i in range(5))
        n = scale.repeats
        self.stage2 = nn.Sequential(Conv(3, c1, 3, 2), Conv(c1, c2, 3, 2), C2f(c2, c2, n(3), True))
        self.stage3 = nn.Sequential(Conv(c2, c3, 3, 2), C2f(c3, c3, n(6), True))
        self.stage4 = nn.Sequential(Conv(c3, c4, 3, 2), C2f(c4, c4, n(6), True))
        self.stage5 = nn.Sequential(Conv(c4, c5, 3, 2), C2f(c5, c5, n(3), True), PoolPyramid(c5, c5))
        self.up4, self.up3 = C2f(c5 + c4, c4, n(3)), C2f(c4 + c3, c3, n(3))
        self.down3, self.out4 = Conv(c3, c3, 3, 2), C2f(c3 + c4, c4, n(3))
        self.down4, self.out5 = Conv(c4, c4, 3, 2), C2f(c4 + c5, c5, n(3))
        self.head = Head((c3, c4, c5), classes)

    def forward(self, x):
        p3 = self.stage3(self.stage2(x))
        p4 = self.stage4(p3)
        p5 = self.stage5(p4)
        u4 = self.up4(cat([twice(p5), p4], 1))
        o3 = self.up3(cat([twice(u4), p3], 1))
        o4 = self.out4(cat([self.down3(o3), u4], 1))
        return self.head((o3, o4, self.out5(cat([self.down4(o4), p5], 1))))
