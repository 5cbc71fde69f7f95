"""YOLOv5 (release 6 and 7): C3 blocks, SPPF, a path aggregation neck, anchors."""

from torch import cat, nn

from anchors import SMALL, AnchorHead
from blocks import C3, Conv, PoolPyramid, twice


class YOLOv5(nn.Module):
    family = "yolov5"

    def __init__(self, scale, classes=80):
        super().__init__()
        c1, c2, c3, c4, c5 = (scale.channels(64 << i) for i in range(5))
        n = scale.repeats
        self.stem = Conv(3, c1, 6, 2, padding=2)
        self.stage2 = nn.Sequential(Conv(c1, c2, 3, 2), C3(c2, c2, n(3)))
        self.stage3 = nn.Sequential(Conv(c2, c3, 3, 2), C3(c3, c3, n(6)))
        self.stage4 = nn.Sequential(Conv(c3, c4, 3, 2), C3(c4, c4, n(9)))
        self.stage5 = nn.Sequential(Conv(c4, c5, 3, 2), C3(c5, c5, n(3)), PoolPyramid(c5, c5))
        self.lateral5, self.up4 = Conv(c5, c4), C3(2 * c4, c4, n(3), False)
        self.lateral4, self.up3 = Conv(c4, c3), C3(2 * c3, c3, n(3), False)
        self.down3, self.out4 = Conv(c3, c3, 3, 2), C3(2 * c3, c4, n(3), False)
        self.down4, self.out5 = Conv(c4, c4, 3, 2), C3(2 * c4, c5, n(3), False)
        self.head = AnchorHead((c3, c4, c5), classes, SMALL)

    def features(self, x):
        p3 = self.stage3(self.stage2(self.stem(x)))
        p4 = self.stage4(p3)
        l5 = self.lateral5(self.stage5(p4))
        l4 = self.lateral4(self.up4(cat([twice(l5), p4], 1)))
        o3 = self.up3(cat([twice(l4), p3], 1))
        o4 = self.out4(cat([self.down3(o3), l4], 1))
        return o3, o4, self.out5(cat([self.down4(o4), l5], 1))

    def forward(self, x):
        return self.head(self.features(x))

    def predictions(self, x):
        return self.head.predictions(self.features(x))
