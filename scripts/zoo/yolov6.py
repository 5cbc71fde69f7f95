"""YOLOv6 (release 3), deployed: RepVGG blocks as plain 3x3 convolutions, a neck that
also takes the next finer map (BiFusion), a decoupled head without anchors. n and s
stack the blocks (EfficientRep), m and l put them into cross stage partial blocks
(CSPStackRep) and predict distances as distributions (DFL)."""

import torch
from torch import cat, nn

from blocks import STRIDES, Conv, PoolPyramid, Predictions, centres, logit, pooled
from suppression import EndToEnd

BINS = 17


def rep(inp, out, stride=1):
    """A RepVGG block after its branches have been added up."""
    return Conv(inp, out, 3, stride, act=nn.ReLU)


def stack(inp, out, count):
    return nn.Sequential(rep(inp, out), *(rep(out, out) for _ in range(count - 1)))


class Residual(nn.Module):
    """Two RepVGG blocks and the input added with a trained weight (BottleRep)."""

    def __init__(self, inp, out):
        super().__init__()
        self.body = nn.Sequential(rep(inp, out), rep(out, out))
        self.weight = nn.Parameter(torch.ones(1)) if inp == out else None

    def forward(self, x):
        return self.body(x) if self.weight is None else self.body(x) + self.weight * x


class CSPStackRep(nn.Module):
    def __init__(self, inp, out, count, share):
        super().__init__()
        hidden = int(out * share)
        relu = nn.ReLU
        self.left, self.right, self.fuse = Conv(inp, hidden, act=relu), Conv(inp, hidden, act=relu), Conv(2 * hidden, out, act=relu)
        self.blocks = nn.Sequential(*(Residual(hidden, hidden) for _ in range(max(count // 2, 1))))

    def forward(self, x):
        return self.fuse(cat([self.blocks(self.left(x)), self.right(x)], 1))


class CSPPool(nn.Module):
    """SimCSPSPPF: serial pooling in a cross stage partial block."""

    def __init__(self, channels):
        super().__init__()
        half, relu = channels // 2, nn.ReLU
        self.first = nn.Sequential(Conv(channels, half, act=relu), Conv(half, half, 3, act=relu), Conv(half, half, act=relu))
        self.side = Conv(channels, half, act=relu)
        self.after = nn.Sequential(Conv(4 * half, half, act=relu), Conv(half, half, 3, act=relu))
        self.fuse = Conv(2 * half, channels, act=relu)

    def forward(self, x):
        y = self.after(cat(pooled(self.first(x), serial=True), 1))
        return self.fuse(cat([self.side(x), y], 1))


class BiFusion(nn.Module):
    """A coarser map doubled by a transposed convolution, one of this size, and a finer one halved."""

    def __init__(self, same, finer, out):
        super().__init__()
        relu = nn.ReLU
        self.up = nn.ConvTranspose2d(out, out, 2, 2)
        self.same, self.finer = Conv(same, out, act=relu), Conv(finer, out, act=relu)
        self.down, self.fuse = Conv(out, out, 3, 2, act=relu), Conv(3 * out, out, act=relu)

    def forward(self, coarser, same, finer):
        return self.fuse(cat([self.up(coarser), self.same(same), self.down(self.finer(finer))], 1))


class Head(nn.Module):
    """layout:
    decoded      deploy/ONNX: batch x cells x (centre, size, a constant 1, classes)
    end2end      with --end2end --ort (ONNX's NonMaxSuppression)
    end2end-trt  with --end2end (TensorRT's EfficientNMS)
    maps         every level's class probabilities and distances, as for NPUs
    """

    def __init__(self, channels, classes, bins):
        super().__init__()
        self.classes, self.bins, self.layout = classes, bins, "decoded"
        self.stem = nn.ModuleList(Conv(c, c) for c in channels)
        self.cls = nn.ModuleList(Conv(c, c, 3) for c in channels)
        self.reg = nn.ModuleList(Conv(c, c, 3) for c in channels)
        self.cls_predict = nn.ModuleList(nn.Conv2d(c, classes, 1) for c in channels)
        self.reg_predict = nn.ModuleList(nn.Conv2d(c, 4 * bins, 1) for c in channels)
        for conv in self.cls_predict:
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.constant_(conv.bias, logit(0.01))
        for conv in self.reg_predict:
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.constant_(conv.bias, 2.0)
        if bins > 1:
            self.project = nn.Conv2d(bins, 1, 1, bias=False).requires_grad_(False)
            self.project.weight.data = torch.arange(bins).float().view(1, bins, 1, 1)

    def branches(self, features):
        for i, x in enumerate(features):
            x = self.stem[i](x)
            yield self.cls_predict[i](self.cls[i](x)), self.reg_predict[i](self.reg[i](x))

    def distances(self, reg):
        """batch x 4 x cells, in strides."""
        reg = reg.flatten(2)
        if self.bins == 1:
            return reg
        reg = reg.reshape(-1, 4, self.bins, reg.shape[-1]).permute(0, 2, 1, 3)
        return self.project(reg.softmax(1)).squeeze(1)

    def forward(self, features):
        points, strides = centres(features)
        classes, sides, maps = [], [], []
        for cls, reg in self.branches(features):
            cls = cls.sigmoid()
            maps += [cls, reg]
            classes.append(cls.reshape(-1, self.classes, cls.shape[2] * cls.shape[3]))
            sides.append(self.distances(reg))
        if self.layout == "maps":
            return tuple(maps)
        classes, sides = cat(classes, -1).permute(0, 2, 1), cat(sides, -1).permute(0, 2, 1)
        low, high = sides.split(2, -1)
        low, high = points - low, points + high
        boxes = cat([(low + high) / 2, high - low], -1) * strides
        rows = cat([boxes, torch.ones((boxes.shape[0], boxes.shape[1], 1)), classes], -1)
        if self.layout.startswith("end2end"):
            return EndToEnd(plugin=self.layout == "end2end-trt")(rows)
        return rows

    def predictions(self, features):
        points, strides = centres(features)
        pairs = list(self.branches(features))
        classes = cat([c.flatten(2) for c, _ in pairs], -1).transpose(1, 2)
        sides = cat([self.distances(r) for _, r in pairs], -1).transpose(1, 2)
        boxes = cat([points - sides[..., :2], points + sides[..., 2:]], -1) * strides
        return Predictions(classes, boxes, points * strides, strides.flatten())


class YOLOv6(nn.Module):
    family = "yolov6"

    def __init__(self, scale, classes=80, csp=None):
        """csp: the share of CSPStackRep's inner channels (m: 2/3), None for plain stacks."""
        super().__init__()
        c = scale.channels
        c1, c2, c3, c4, c5 = (c(64 << i) for i in range(5))

        def stage(inp, out, count):
            count = scale.repeats(count)
            return stack(inp, out, count) if csp is None else CSPStackRep(inp, out, count, csp)

        self.stem = rep(3, c1, 2)
        self.stage2 = nn.Sequential(rep(c1, c2, 2), stage(c2, c2, 6))
        self.stage3 = nn.Sequential(rep(c2, c3, 2), stage(c3, c3, 12))
        self.stage4 = nn.Sequential(rep(c3, c4, 2), stage(c4, c4, 18))
        pool = CSPPool(c5) if csp is None else PoolPyramid(c5, c5, act=nn.ReLU)
        self.stage5 = nn.Sequential(rep(c4, c5, 2), stage(c5, c5, 6), pool)
        n4, n3 = c(256), c(128)
        self.reduce5, self.fuse4, self.up4 = Conv(c5, n4, act=nn.ReLU), BiFusion(c4, c3, n4), stage(n4, n4, 12)
        self.reduce4, self.fuse3, self.up3 = Conv(n4, n3, act=nn.ReLU), BiFusion(c3, c2, n3), stage(n3, n3, 12)
        self.down3, self.out4 = Conv(n3, n3, 3, 2, act=nn.ReLU), stage(2 * n3, n4, 12)
        self.down4, self.out5 = Conv(n4, n4, 3, 2, act=nn.ReLU), stage(2 * n4, c(512), 12)
        self.head = Head((n3, n4, c(512)), classes, 1 if csp is None else BINS)

    def features(self, x):
        p2 = self.stage2(self.stem(x))
        p3 = self.stage3(p2)
        p4 = self.stage4(p3)
        l5 = self.reduce5(self.stage5(p4))
        u4 = self.up4(self.fuse4(l5, p4, p3))
        l4 = self.reduce4(u4)
        o3 = self.up3(self.fuse3(l4, p3, p2))
        o4 = self.out4(cat([self.down3(o3), l4], 1))
        return o3, o4, self.out5(cat([self.down4(o4), l5], 1))

    def forward(self, x):
        return self.head(self.features(x))

    def predictions(self, x):
        return self.head.predictions(self.features(x))
