"""YOLOX: YOLOv5's body behind a stem that takes the picture apart into four, a
decoupled head of one prediction a cell with objectness."""

import torch
from torch import cat, nn

from blocks import C3, STRIDES, Conv, PoolPyramid, cells, logit, twice


class Focus(nn.Module):
    def __init__(self, out):
        super().__init__()
        self.conv = Conv(12, out, 3)

    def forward(self, x):
        even, odd = x[..., ::2, :], x[..., 1::2, :]
        return self.conv(cat([even[..., ::2], odd[..., ::2], even[..., 1::2], odd[..., 1::2]], 1))


class Head(nn.Module):
    """layout:
    raw      export_onnx.py: batch x cells x (4 undecoded, objectness, classes)
    decoded  with --decode_in_inference: centre and size in pixels
    """

    def __init__(self, channels, classes, width):
        super().__init__()
        self.layout = "raw"
        self.stem = nn.ModuleList(Conv(c, width) for c in channels)
        self.cls = nn.ModuleList(nn.Sequential(Conv(width, width, 3), Conv(width, width, 3)) for _ in channels)
        self.reg = nn.ModuleList(nn.Sequential(Conv(width, width, 3), Conv(width, width, 3)) for _ in channels)
        self.cls_predict = nn.ModuleList(nn.Conv2d(width, classes, 1) for _ in channels)
        self.reg_predict = nn.ModuleList(nn.Conv2d(width, 4, 1) for _ in channels)
        self.obj_predict = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in channels)
        for conv in (*self.cls_predict, *self.obj_predict):
            nn.init.constant_(conv.bias, logit(0.01))

    def forward(self, features):
        out, grid, strides = [], [], []
        for i, x in enumerate(features):
            x = self.stem[i](x)
            reg = self.reg[i](x)
            out.append(cat([self.reg_predict[i](reg), self.obj_predict[i](reg).sigmoid(),
                            self.cls_predict[i](self.cls[i](x)).sigmoid()], 1))
            h, w = x.shape[-2:]
            grid.append(cells(h, w).view(1, -1, 2))
            strides.append(torch.full((1, h * w, 1), float(STRIDES[i])))
        y = cat([o.flatten(2) for o in out], 2).permute(0, 2, 1)
        if self.layout == "raw":
            return y
        grid, strides = cat(grid, 1), cat(strides, 1)
        return cat([(y[..., 0:2] + grid) * strides, y[..., 2:4].exp() * strides, y[..., 4:]], -1)


class YOLOX(nn.Module):
    family = "yolox"

    def __init__(self, scale, classes=80):
        super().__init__()
        c1, c2, c3, c4, c5 = (scale.channels(64 << i) for i in range(5))
        n = scale.repeats
        self.stage2 = nn.Sequential(Focus(c1), Conv(c1, c2, 3, 2), C3(c2, c2, n(3)))
        self.stage3 = nn.Sequential(Conv(c2, c3, 3, 2), C3(c3, c3, n(9)))
        self.stage4 = nn.Sequential(Conv(c3, c4, 3, 2), C3(c4, c4, n(9)))
        self.stage5 = nn.Sequential(Conv(c4, c5, 3, 2), PoolPyramid(c5, c5, serial=False), C3(c5, c5, n(3), False))
        self.lateral5, self.up4 = Conv(c5, c4), C3(2 * c4, c4, n(3), False)
        self.lateral4, self.up3 = Conv(c4, c3), C3(2 * c3, c3, n(3), False)
        self.down3, self.out4 = Conv(c3, c3, 3, 2), C3(2 * c3, c4, n(3), False)
        self.down4, self.out5 = Conv(c4, c4, 3, 2), C3(2 * c4, c5, n(3), False)
        self.head = Head((c3, c4, c5), classes, scale.channels(256))

    def forward(self, x):
        p3 = self.stage3(self.stage2(x))
        p4 = self.stage4(p3)
        l5 = self.lateral5(self.stage5(p4))
        l4 = self.lateral4(self.up4(cat([twice(l5), p4], 1)))
        o3 = self.up3(cat([twice(l4), p3], 1))
        o4 = self.out4(cat([self.down3(o3), l4], 1))
        return self.head((o3, o4, self.out5(cat([self.down4(o4), l5], 1))))
