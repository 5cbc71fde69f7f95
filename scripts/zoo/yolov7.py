"""YOLOv7 and YOLOv7-tiny, deployed: ELAN blocks, downsampling by two ways at once
(MP), a cross stage partial pooling pyramid (SPPCSPC), anchors."""

from functools import partial

from torch import cat, nn
from torch.nn import functional as F

from anchors import LARGE, SMALL, AnchorHead
from blocks import Conv, pooled, twice

Leaky = partial(nn.LeakyReLU, 0.1)


class ELAN(nn.Module):
    """Two 1x1 convolutions, then a chain of 3x3 ones; those named by `taken` (in the
    order of the concatenation, 0 and 1 the 1x1 ones) are joined."""

    def __init__(self, inp, side, chain, out, taken, act=nn.SiLU):
        super().__init__()
        self.left, self.right = Conv(inp, side, act=act), Conv(inp, side, act=act)
        length = max(taken) - 1
        self.chain = nn.ModuleList(Conv(side if i == 0 else chain, chain, 3, act=act) for i in range(length))
        self.taken = taken
        self.fuse = Conv(sum(side if t < 2 else chain for t in taken), out, act=act)

    def forward(self, x):
        y = [self.left(x), self.right(x)]
        for conv in self.chain:
            y.append(conv(y[-1]))
        return self.fuse(cat([y[t] for t in self.taken], 1))


TINY = (3, 2, 1, 0)
BACKBONE = (5, 3, 1, 0)
NECK = (5, 4, 3, 2, 1, 0)


class Down(nn.Module):
    """Half the size by a 3x3 convolution of stride 2 beside a pooling."""

    def __init__(self, inp, half):
        super().__init__()
        self.pool = Conv(inp, half)
        self.shrink, self.step = Conv(inp, half), Conv(half, half, 3, 2)

    def forward(self, x, *others):
        return cat([self.step(self.shrink(x)), self.pool(F.max_pool2d(x, 2, 2)), *others], 1)


class SPPCSPC(nn.Module):
    def __init__(self, inp, out):
        super().__init__()
        self.first = nn.Sequential(Conv(inp, out), Conv(out, out, 3), Conv(out, out))
        self.after = nn.Sequential(Conv(4 * out, out), Conv(out, out, 3))
        self.side = Conv(inp, out)
        self.fuse = Conv(2 * out, out)

    def forward(self, x):
        y = self.after(cat(pooled(self.first(x), serial=False), 1))
        return self.fuse(cat([y, self.side(x)], 1))


class TinyPool(nn.Module):
    """YOLOv7-tiny's form of it: without the 3x3 convolutions, largest window first."""

    def __init__(self, inp, out):
        super().__init__()
        self.side, self.first = Conv(inp, out, act=Leaky), Conv(inp, out, act=Leaky)
        self.after, self.fuse = Conv(4 * out, out, act=Leaky), Conv(2 * out, out, act=Leaky)

    def forward(self, x):
        y = self.after(cat(pooled(self.first(x), serial=False)[::-1], 1))
        return self.fuse(cat([y, self.side(x)], 1))


class Anchored(nn.Module):
    family = "yolov7"

    def forward(self, x):
        return self.head(self.features(x))

    def predictions(self, x):
        return self.head.predictions(self.features(x))


class YOLOv7Tiny(Anchored):
    def __init__(self, scale, classes=80):
        super().__init__()
        c = scale.channels

        def elan(inp, side, out):
            return ELAN(inp, side, side, out, TINY, Leaky)

        def conv(*args):
            return Conv(*args, act=Leaky)

        pool = nn.MaxPool2d(2, 2)
        self.stage2 = nn.Sequential(conv(3, c(32), 3, 2), conv(c(32), c(64), 3, 2), elan(c(64), c(32), c(64)))
        self.stage3 = nn.Sequential(pool, elan(c(64), c(64), c(128)))
        self.stage4 = nn.Sequential(pool, elan(c(128), c(128), c(256)))
        self.stage5 = nn.Sequential(pool, elan(c(256), c(256), c(512)))
        self.pyramid = TinyPool(c(512), c(256))
        self.lateral5, self.route4 = conv(c(256), c(128)), conv(c(256), c(128))
        self.up4 = elan(2 * c(128), c(64), c(128))
        self.lateral4, self.route3 = conv(c(128), c(64)), conv(c(128), c(64))
        self.up3 = elan(2 * c(64), c(32), c(64))
        self.down3, self.out4 = conv(c(64), c(128), 3, 2), elan(2 * c(128), c(64), c(128))
        self.down4, self.out5 = conv(c(128), c(256), 3, 2), elan(2 * c(256), c(128), c(256))
        self.last = nn.ModuleList(conv(c(w), c(2 * w), 3) for w in (64, 128, 256))
        self.head = AnchorHead([c(w) for w in (128, 256, 512)], classes, SMALL)

    def features(self, x):
        p3 = self.stage3(self.stage2(x))
        p4 = self.stage4(p3)
        p5 = self.pyramid(self.stage5(p4))
        u4 = self.up4(cat([self.route4(p4), twice(self.lateral5(p5))], 1))
        u3 = self.up3(cat([self.route3(p3), twice(self.lateral4(u4))], 1))
        o4 = self.out4(cat([self.down3(u3), u4], 1))
        o5 = self.out5(cat([self.down4(o4), p5], 1))
        return [conv(y) for conv, y in zip(self.last, (u3, o4, o5))]


class YOLOv7(Anchored):
    def __init__(self, scale, classes=80):
        super().__init__()
        c = scale.channels

        def body(inp, side, out):
            return ELAN(inp, side, side, out, BACKBONE)

        def neck(inp, side):
            return ELAN(inp, side, side // 2, side, NECK)

        self.stage2 = nn.Sequential(Conv(3, c(32), 3), Conv(c(32), c(64), 3, 2), Conv(c(64), c(64), 3),
                                    Conv(c(64), c(128), 3, 2), body(c(128), c(64), c(256)))
        self.stage3 = nn.Sequential(Down(c(256), c(128)), body(2 * c(128), c(128), c(512)))
        self.stage4 = nn.Sequential(Down(c(512), c(256)), body(2 * c(256), c(256), c(1024)))
        self.stage5 = nn.Sequential(Down(c(1024), c(512)), body(2 * c(512), c(256), c(1024)))
        self.pyramid = SPPCSPC(c(1024), c(512))
        self.lateral5, self.route4 = Conv(c(512), c(256)), Conv(c(1024), c(256))
        self.up4 = neck(2 * c(256), c(256))
        self.lateral4, self.route3 = Conv(c(256), c(128)), Conv(c(512), c(128))
        self.up3 = neck(2 * c(128), c(128))
        self.down3, self.out4 = Down(c(128), c(128)), neck(2 * c(128) + c(256), c(256))
        self.down4, self.out5 = Down(c(256), c(256)), neck(2 * c(256) + c(512), c(512))
        self.last = nn.ModuleList(Conv(c(w), c(2 * w), 3) for w in (128, 256, 512))
        self.head = AnchorHead([c(w) for w in (256, 512, 1024)], classes, LARGE)

    def features(self, x):
        p3 = self.stage3(self.stage2(x))
        p4 = self.stage4(p3)
        p5 = self.pyramid(self.stage5(p4))
        u4 = self.up4(cat([self.route4(p4), twice(self.lateral5(p5))], 1))
        u3 = self.up3(cat([self.route3(p3), twice(self.lateral4(u4))], 1))
        o4 = self.out4(self.down3(u3, u4))
        o5 = self.out5(self.down4(o4, p5))
        return [conv(y) for conv, y in zip(self.last, (u3, o4, o5))]
