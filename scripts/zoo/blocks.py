"""What the families share: convolution with batch norm and activation, pooling
pyramids, scaling by width and depth, grids, and the arithmetic of boxes.

Every network here is in its deployed form: a RepVGG block is the one 3x3
convolution that its branches add up to, auxiliary heads are absent. That is what
exporters write and what published parameter counts of deployed models count.
"""

import dataclasses
import math

import torch
from torch import nn
from torch.nn import functional as F

STRIDES = (8, 16, 32)


@dataclasses.dataclass(frozen=True)
class Scale:
    """Width and depth multiples of a family. `most` limits channels after scaling:
    the small siblings keep their deepest layers, where weights are most, thin."""

    width: float = 1.0
    depth: float = 1.0
    most: int = 1 << 16

    def channels(self, count):
        return min(math.ceil(count * self.width / 8) * 8, self.most)

    def repeats(self, count):
        return max(round(count * self.depth), 1) if count > 1 else count


class Conv(nn.Module):
    """Convolution, batch norm, activation."""

    def __init__(self, inp, out, kernel=1, stride=1, act=nn.SiLU, padding=None):
        super().__init__()
        self.conv = nn.Conv2d(inp, out, kernel, stride, kernel // 2 if padding is None else padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3, momentum=0.03)
        self.act = act()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """Two convolutions and, where asked for, the input added to their result."""

    def __init__(self, channels, add, kernels=(1, 3), act=nn.SiLU):
        super().__init__()
        self.first = Conv(channels, channels, kernels[0], act=act)
        self.second = Conv(channels, channels, kernels[1], act=act)
        self.add = add

    def forward(self, x):
        y = self.second(self.first(x))
        return x + y if self.add else y


class C3(nn.Module):
    """Cross stage partial block of YOLOv5 and YOLOX: blocks on one half, then joined."""

    def __init__(self, inp, out, repeats, add=True):
        super().__init__()
        half = out // 2
        self.left, self.right = Conv(inp, half), Conv(inp, half)
        self.blocks = nn.Sequential(*(Bottleneck(half, add) for _ in range(repeats)))
        self.fuse = Conv(2 * half, out)

    def forward(self, x):
        return self.fuse(torch.cat([self.blocks(self.left(x)), self.right(x)], 1))


class PoolPyramid(nn.Module):
    """The same map pooled with growing windows, beside itself: one pooling of 5
    after another (SPPF) or windows of 5, 9, 13 side by side (SPP)."""

    def __init__(self, inp, out, act=nn.SiLU, serial=True, hidden=None, kernel=1):
        super().__init__()
        hidden = hidden or inp // 2
        self.shrink = Conv(inp, hidden, act=act) if hidden != inp else nn.Identity()
        self.serial = serial
        self.fuse = Conv(hidden * 4, out, kernel, act=act)

    def forward(self, x):
        x = self.shrink(x)
        return self.fuse(torch.cat(pooled(x, self.serial), 1))


def pooled(x, serial):
    if serial:
        y = [x]
        for _ in range(3):
            y.append(F.max_pool2d(y[-1], 5, 1, 2))
        return y
    return [x] + [F.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13)]


def twice(x):
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def cells(h, w):
    """Column and row of every cell, h x w x 2."""
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return torch.stack([x, y], -1).float()


def centres(maps, strides=STRIDES):
    """Of feature maps: the centres of all cells in strides (cells x 2), and the strides (cells x 1)."""
    points, widths = [], []
    for m, s in zip(maps, strides):
        h, w = m.shape[-2:]
        points.append((cells(h, w) + 0.5).view(-1, 2))
        widths.append(torch.full((h * w, 1), float(s)))
    return torch.cat(points), torch.cat(widths)


def corners_of_centre(box):
    """cx, cy, w, h -> x0, y0, x1, y1."""
    middle, half = box[..., :2], box[..., 2:] / 2
    return torch.cat([middle - half, middle + half], -1)


@dataclasses.dataclass
class Predictions:
    """What training looks at: every prediction of a batch, in pixels of the input."""

    classes: torch.Tensor  # N x predictions x classes, logits
    boxes: torch.Tensor  # N x predictions x 4, corners
    centres: torch.Tensor  # predictions x 2, of the cell
    strides: torch.Tensor  # predictions
    objects: torch.Tensor = None  # N x predictions, logits; None without objectness
    anchors: torch.Tensor = None  # predictions x 2; None without anchors


def logit(p):
    return -math.log((1 - p) / p)
