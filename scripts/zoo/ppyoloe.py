"""PP-YOLOE, deployed: CSPRepResNet with effective squeeze and excitation, a CSP
neck, a head with attention per branch whose distances are distributions over 17
bins, brought to a distance by a convolution with constant weights (DFL)."""

import torch
from torch import cat, nn

from blocks import STRIDES, Bottleneck, Conv, PoolPyramid, Predictions, centres, logit, twice
from suppression import multiclass

BINS = 17


class Excite(nn.Module):
    """Effective squeeze and excitation: one 1x1 convolution of the mean, no bottleneck."""

    def __init__(self, channels):
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x * nn.functional.hardsigmoid(self.fc(x.mean((2, 3), keepdim=True)))


def block(channels, add):
    """Two 3x3 convolutions; the second is a RepVGG block after its branches were added up."""
    return Bottleneck(channels, add, (3, 3))


class ResStage(nn.Module):
    def __init__(self, inp, out, count):
        super().__init__()
        mid = (inp + out) // 2
        self.down = Conv(inp, mid, 3, 2)
        self.left, self.right = Conv(mid, mid // 2), Conv(mid, mid // 2)
        self.blocks = nn.Sequential(*(block(mid // 2, True) for _ in range(count)))
        self.excite, self.fuse = Excite(2 * (mid // 2)), Conv(2 * (mid // 2), out)

    def forward(self, x):
        x = self.down(x)
        return self.fuse(self.excite(cat([self.left(x), self.blocks(self.right(x))], 1)))


class NeckStage(nn.Module):
    def __init__(self, inp, out, count, pool=False):
        super().__init__()
        mid = out // 2
        self.left, self.right = Conv(inp, mid), Conv(inp, mid)
        body = [block(mid, False) for _ in range(count)]
        if pool:
            body.insert((count - 1) // 2 + 1, PoolPyramid(mid, mid, serial=False, hidden=mid))
        self.body, self.fuse = nn.Sequential(*body), Conv(2 * mid, out)

    def forward(self, x):
        return self.fuse(cat([self.left(x), self.body(self.right(x))], 1))


class Attend(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc, self.conv = nn.Conv2d(channels, channels, 1), Conv(channels, channels)

    def forward(self, x, mean):
        return self.conv(x * self.fc(mean).sigmoid())


class Head(nn.Module):
    """Levels come coarsest first. layout:
    boxes+scores  paddle2onnx, exclude_nms: corners batch x cells x 4, scores batch x classes x cells
    rows          exclude_post_process: corners and scores, batch x cells x (4 + classes)
    nms           multiclass_nms3 in the graph
    """

    def __init__(self, channels, classes):
        super().__init__()
        self.classes, self.layout = classes, "boxes+scores"
        self.cls_stem = nn.ModuleList(Attend(c) for c in channels)
        self.reg_stem = nn.ModuleList(Attend(c) for c in channels)
        self.cls_predict = nn.ModuleList(nn.Conv2d(c, classes, 3, padding=1) for c in channels)
        self.reg_predict = nn.ModuleList(nn.Conv2d(c, 4 * BINS, 3, padding=1) for c in channels)
        for conv in self.cls_predict:
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.constant_(conv.bias, logit(0.01))
        for conv in self.reg_predict:
            nn.init.normal_(conv.weight, std=0.01)
            conv.bias.data = (-0.5 * torch.arange(BINS).float()).repeat(4)
        self.project = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)
        self.project.weight.data = torch.arange(BINS).float().view(1, BINS, 1, 1)

    def branches(self, features):
        """Per level class logits (batch x classes x cells) and distances in strides (batch x cells x 4)."""
        for i, x in enumerate(features):
            count = x.shape[2] * x.shape[3]
            mean = nn.functional.adaptive_avg_pool2d(x, (1, 1))
            cls = self.cls_predict[i](self.cls_stem[i](x, mean) + x)
            reg = self.reg_predict[i](self.reg_stem[i](x, mean))
            reg = reg.reshape(-1, 4, BINS, count).permute(0, 2, 3, 1).softmax(1)
            yield cls.reshape(-1, self.classes, count), self.project(reg).squeeze(1)

    def forward(self, features, scale_factor=None):
        points, strides = centres(features, STRIDES[::-1])
        pairs = list(self.branches(features))
        scores, sides = cat([c.sigmoid() for c, _ in pairs], -1), cat([r for _, r in pairs], 1)
        low, high = sides.split(2, -1)
        boxes = cat([-low + points, high + points], -1) * strides
        if self.layout == "rows":
            return cat([boxes, scores.transpose(1, 2)], -1)
        y, x = scale_factor.split(1, -1)
        boxes = boxes / cat([x, y, x, y], -1).reshape(-1, 1, 4)
        return multiclass(boxes, scores) if self.layout == "nms" else (boxes, scores)

    def predictions(self, features):
        points, strides = centres(features, STRIDES[::-1])
        pairs = list(self.branches(features))
        classes, sides = cat([c for c, _ in pairs], -1).transpose(1, 2), cat([r for _, r in pairs], 1)
        boxes = cat([points - sides[..., :2], points + sides[..., 2:]], -1) * strides
        return Predictions(classes, boxes, points * strides, strides.flatten())


class PPYOLOE(nn.Module):
    family = "ppyoloe"
    # Pictures are stretched to the input size, and pixels of 0..1 normalised by these.
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, scale, classes=80):
        super().__init__()
        c, n = scale.channels, scale.repeats
        c1, c2, c3, c4, c5 = (c(64 << i) for i in range(5))
        self.stem = nn.Sequential(Conv(3, c1 // 2, 3, 2), Conv(c1 // 2, c1 // 2, 3), Conv(c1 // 2, c1, 3))
        self.stage2, self.stage3 = ResStage(c1, c2, n(3)), ResStage(c2, c3, n(6))
        self.stage4, self.stage5 = ResStage(c3, c4, n(6)), ResStage(c4, c5, n(3))
        w5, w4, w3 = c(768), c(384), c(192)
        self.in5, self.route5 = NeckStage(c5, w5, n(3), pool=True), Conv(w5, w5 // 2)
        self.in4, self.route4 = NeckStage(c4 + w5 // 2, w4, n(3)), Conv(w4, w4 // 2)
        self.in3 = NeckStage(c3 + w4 // 2, w3, n(3))
        self.down3, self.out4 = Conv(w3, w3, 3, 2), NeckStage(w3 + w4, w4, n(3))
        self.down4, self.out5 = Conv(w4, w4, 3, 2), NeckStage(w4 + w5, w5, n(3))
        self.head = Head((w5, w4, w3), classes)

    def features(self, x):
        p3 = self.stage3(self.stage2(self.stem(x)))
        p4 = self.stage4(p3)
        f5 = self.in5(self.stage5(p4))
        f4 = self.in4(cat([twice(self.route5(f5)), p4], 1))
        o3 = self.in3(cat([twice(self.route4(f4)), p3], 1))
        o4 = self.out4(cat([self.down3(o3), f4], 1))
        return self.out5(cat([self.down4(o4), f5], 1)), o4, o3

    def forward(self, x, scale_factor=None):
        return self.head(self.features(x), scale_factor)

    def predictions(self, x):
        return self.head.predictions(self.features(x))
