"""The sample detector: a small YOLO of today's shape, made hard to quantise.

SiLU everywhere, residual blocks whose parts are concatenated, SPPF, a neck that
goes up by nearest-neighbour resizing and down by strided convolutions, and a
decoupled, anchor-free head on three levels.

It is made hard to quantise on purpose, as YOLOv6s is: every convolution before
an activation carries a fixed factor per output channel (`spread`), and every
convolution reading that channel divides by it. Training sees well-conditioned
weights; the export multiplies the factors in. A few channels then have
activations tens of times as large as the others and a few have weights tens of
times as large, while float accuracy is what training made it. One scale for a
tensor can no longer serve all of its channels.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

SIZE = 192
STRIDES = (8, 16, 32)
CLASSES = ("circle", "square", "triangle", "star", "cross", "ring")
CELLS = sum((SIZE // s) ** 2 for s in STRIDES)


def spread(channels, strength, generator):
    """Factors per channel. Most tensors keep all ones; in every third, one channel
    in sixteen is up to `strength` times larger (a wide activation) and one in
    sixteen as much smaller (wide weights in whatever reads it)."""
    factors = torch.ones(channels)
    order = torch.randperm(channels, generator=generator)
    chosen = torch.rand(1, generator=generator).item() < 1 / 3
    k = max(1, channels // 16)
    power = torch.empty(2 * k).uniform_(0.6, 1.0, generator=generator)
    if chosen:
        factors[order[:k]] = strength ** power[:k]
        factors[order[k : 2 * k]] = strength ** -power[k:]
    return factors


class Conv(nn.Module):
    """Convolution, batch norm, factor per channel, SiLU.

    What leaves it is factor * (its trained value); `out_scale` is the factor, and
    `in_scale` that of the tensor it reads, which its weights undo.
    """

    def __init__(self, inp, out, kernel=1, stride=1, in_scale=None, out_scale=None):
        super().__init__()
        self.conv = nn.Conv2d(inp, out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3, momentum=0.03)
        self.register_buffer("in_scale", torch.ones(inp) if in_scale is None else in_scale)
        self.register_buffer("out_scale", torch.ones(out) if out_scale is None else out_scale)

    def forward(self, x):
        weight = self.conv.weight / self.in_scale.view(1, -1, 1, 1)
        y = F.conv2d(x, weight, None, self.conv.stride, self.conv.padding)
        return F.silu(self.bn(y) * self.out_scale.view(1, -1, 1, 1))

    def folded(self):
        """Weight and bias of the one convolution that this is at inference."""
        gain = self.bn.weight / torch.sqrt(self.bn.running_var + self.bn.eps)
        weight = self.conv.weight / self.in_scale.view(1, -1, 1, 1)
        weight = weight * (gain * self.out_scale).view(-1, 1, 1, 1)
        bias = (self.bn.bias - self.bn.running_mean * gain) * self.out_scale
        return weight, bias


class Predict(nn.Module):
    """The last, linear convolution of a head branch."""

    def __init__(self, inp, out, bias, in_scale):
        super().__init__()
        self.conv = nn.Conv2d(inp, out, 1)
        nn.init.normal_(self.conv.weight, std=0.01)
        nn.init.constant_(self.conv.bias, bias)
        self.register_buffer("in_scale", in_scale)

    def folded(self):
        return self.conv.weight / self.in_scale.view(1, -1, 1, 1), self.conv.bias

    def forward(self, x):
        return F.conv2d(x, *self.folded())


class Stage(nn.Module):
    """Split by two 1x1 convolutions, residual blocks on one half, concatenated, fused."""

    def __init__(self, inp, out, blocks, residual, in_scale, scales):
        super().__init__()
        half = out // 2
        self.residual = residual
        stream = scales(half)
        self.left = Conv(inp, half, 1, in_scale=in_scale, out_scale=stream)
        self.right = Conv(inp, half, 1, in_scale=in_scale, out_scale=scales(half))
        self.blocks = nn.ModuleList()
        for _ in range(blocks):
            inner = scales(half)
            # Both ends of a residual addition have the same factors.
            self.blocks.append(nn.ModuleList([
                Conv(half, half, 1, in_scale=stream, out_scale=inner),
                Conv(half, half, 3, in_scale=inner, out_scale=stream),
            ]))
        joined = torch.cat([self.right.out_scale] + [stream] * (blocks + 1))
        self.fuse = Conv(len(joined), out, 1, in_scale=joined, out_scale=scales(out))
        self.out_scale = self.fuse.out_scale

    def forward(self, x):
        y = [self.right(x), self.left(x)]
        for first, second in self.blocks:
            z = second(first(y[-1]))
            y.append(y[-1] + z if self.residual else z)
        return self.fuse(torch.cat(y, 1))


class SPPF(nn.Module):
    def __init__(self, channels, in_scale, scales):
        super().__init__()
        inner = scales(channels // 2)
        self.shrink = Conv(channels, channels // 2, 1, in_scale=in_scale, out_scale=inner)
        self.fuse = Conv(channels * 2, channels, 1, in_scale=inner.repeat(4), out_scale=scales(channels))
        self.out_scale = self.fuse.out_scale

    def forward(self, x):
        y = [self.shrink(x)]
        for _ in range(3):
            y.append(F.max_pool2d(y[-1], 5, 1, 2))
        return self.fuse(torch.cat(y, 1))


class Detector(nn.Module):
    WIDTHS = (16, 32, 48, 64, 80)

    def __init__(self, strength, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def scales(channels):
            return spread(channels, strength, generator)

        w0, w1, w2, w3, w4 = self.WIDTHS
        # Backbone.
        self.stem = Conv(3, w0, 3, 2, out_scale=scales(w0))
        self.down1 = Conv(w0, w1, 3, 2, self.stem.out_scale, scales(w1))
        self.stage1 = Stage(w1, w1, 1, True, self.down1.out_scale, scales)
        self.down2 = Conv(w1, w2, 3, 2, self.stage1.out_scale, scales(w2))
        self.stage2 = Stage(w2, w2, 2, True, self.down2.out_scale, scales)
        self.down3 = Conv(w2, w3, 3, 2, self.stage2.out_scale, scales(w3))
        self.stage3 = Stage(w3, w3, 1, True, self.down3.out_scale, scales)
        self.down4 = Conv(w3, w4, 3, 2, self.stage3.out_scale, scales(w4))
        self.stage4 = Stage(w4, w4, 1, True, self.down4.out_scale, scales)
        self.sppf = SPPF(w4, self.stage4.out_scale, scales)
        # Neck: up, then down again.
        self.lateral5 = Conv(w4, w3, 1, 1, self.sppf.out_scale, scales(w3))
        self.up4 = Stage(w3 + w3, w3, 1, False, self.cat(self.lateral5, self.stage3), scales)
        self.lateral4 = Conv(w3, w2, 1, 1, self.up4.out_scale, scales(w2))
        self.up3 = Stage(w2 + w2, w2, 1, False, self.cat(self.lateral4, self.stage2), scales)
        self.down_p3 = Conv(w2, w2, 3, 2, self.up3.out_scale, scales(w2))
        self.out4 = Stage(w2 + w2, w3, 1, False, self.cat(self.down_p3, self.lateral4), scales)
        self.down_p4 = Conv(w3, w3, 3, 2, self.out4.out_scale, scales(w3))
        self.out5 = Stage(w3 + w3, w4, 1, False, self.cat(self.down_p4, self.lateral5), scales)
        # Head: for every level a stem, then a branch for classes and one for boxes.
        self.heads = nn.ModuleList()
        for stage, width in ((self.up3, w2), (self.out4, w3), (self.out5, w4)):
            c = 32
            stem = Conv(width, c, 1, 1, stage.out_scale, scales(c))
            cls = Conv(c, c, 3, 1, stem.out_scale, scales(c))
            box = Conv(c, c, 3, 1, stem.out_scale, scales(c))
            prior = -math.log((1 - 0.01) / 0.01)
            self.heads.append(nn.ModuleDict({
                "stem": stem, "cls": cls, "box": box,
                "cls_pred": Predict(c, len(CLASSES), prior, cls.out_scale),
                "box_pred": Predict(c, 4, 1.0, box.out_scale),
            }))

    @staticmethod
    def cat(*parts):
        return torch.cat([p.out_scale for p in parts])

    def forward(self, x):
        """Class logits N x cells x classes, distances (left, top, right, bottom) in strides N x cells x 4."""
        x = self.stage1(self.down1(self.stem(x)))
        p3 = self.stage2(self.down2(x))
        p4 = self.stage3(self.down3(p3))
        p5 = self.sppf(self.stage4(self.down4(p4)))
        l5 = self.lateral5(p5)
        u4 = self.up4(torch.cat([F.interpolate(l5, scale_factor=2.0), p4], 1))
        l4 = self.lateral4(u4)
        u3 = self.up3(torch.cat([F.interpolate(l4, scale_factor=2.0), p3], 1))
        o4 = self.out4(torch.cat([self.down_p3(u3), l4], 1))
        o5 = self.out5(torch.cat([self.down_p4(o4), l5], 1))
        logits, sides = [], []
        for head, level in zip(self.heads, (u3, o4, o5)):
            t = head["stem"](level)
            logits.append(head["cls_pred"](head["cls"](t)).flatten(2))
            sides.append(head["box_pred"](head["box"](t)).flatten(2))
        return torch.cat(logits, 2).transpose(1, 2), F.relu(torch.cat(sides, 2)).transpose(1, 2)


def grid():
    """Centres of all cells in input pixels (cells x 2) and their strides (cells x 1)."""
    centres, strides = [], []
    for s in STRIDES:
        axis = (torch.arange(SIZE // s) + 0.5) * s
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        centres.append(torch.stack([x, y], -1).view(-1, 2))
        strides.append(torch.full(((SIZE // s) ** 2, 1), float(s)))
    return torch.cat(centres), torch.cat(strides)


CENTRES, CELL_STRIDES = grid()


def corners(sides):
    """Distances in strides -> x0, y0, x1, y1 in pixels."""
    sides = sides * CELL_STRIDES
    return torch.cat([CENTRES - sides[..., :2], CENTRES + sides[..., 2:]], -1)
