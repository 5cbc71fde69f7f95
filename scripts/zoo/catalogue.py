"""Every network of the zoo: its multiples, its published number of parameters and
the forms in which its exporters write it; and the small siblings that are trained."""

import dataclasses

from blocks import Scale
from darknet import YOLOv3, YOLOv3Tiny, YOLOv4, YOLOv4Tiny
from ppyoloe import PPYOLOE
from yolov5 import YOLOv5
from yolov6 import YOLOv6
from yolov7 import YOLOv7, YOLOv7Tiny
from yolov8 import YOLOv8
from yolox import YOLOX


@dataclasses.dataclass(frozen=True)
class Entry:
    make: type
    scale: Scale
    published: float  # millions of parameters
    layouts: tuple  # the first is what its exporter writes unasked
    options: tuple = ()
    # Parameters that the published figure counts and no export has: YOLOv6 n and s learn with
    # a second branch of boxes, as distributions over 17 bins, which is dropped afterwards.
    extra: int = 0

    def build(self, classes=80):
        return self.make(self.scale, classes, **dict(self.options))


V5 = ("decoded", "decoded+raw", "raw")
V6 = ("decoded", "end2end", "end2end-trt", "maps")
V7 = ("grid", "scatter", "raw", "end2end", "end2end-trt")
PP = ("boxes+scores", "rows", "nms")
V3 = ("decoded", "raw", "raw+5d", "levels", "levels+5d", "apart", "shares", "nms")
V3_TINY = ("decoded", "raw", "nms")
V4 = ("boxes+scores", "squeezed", "decoded", "raw", "channels-last")
V4_TINY = ("boxes+scores", "decoded", "raw")

MODELS = {
    "yolov5n": Entry(YOLOv5, Scale(0.25, 0.33), 1.87, V5),
    "yolov5s": Entry(YOLOv5, Scale(0.50, 0.33), 7.2, V5),
    "yolov6n": Entry(YOLOv6, Scale(0.25, 0.33), 4.7, V6, extra=68 * (32 + 64 + 128 + 3)),
    "yolov6s": Entry(YOLOv6, Scale(0.50, 0.33), 18.5, V6, extra=68 * (64 + 128 + 256 + 3)),
    "yolov6m": Entry(YOLOv6, Scale(0.75, 0.60), 34.9, V6, (("csp", 2 / 3),)),
    "yolov7-tiny": Entry(YOLOv7Tiny, Scale(), 6.2, V7),
    "yolov7": Entry(YOLOv7, Scale(), 36.9, V7),
    "ppyoloe-s": Entry(PPYOLOE, Scale(0.50, 0.33), 7.93, PP),
    "yolov8n": Entry(YOLOv8, Scale(0.25, 0.33), 3.15, ("decoded",)),
    "yolox-s": Entry(YOLOX, Scale(0.50, 0.33), 8.97, ("raw", "decoded")),
    "yolov3": Entry(YOLOv3, Scale(), 61.95, V3),
    "yolov3-tiny": Entry(YOLOv3Tiny, Scale(), 8.85, V3_TINY),
    "yolov4": Entry(YOLOv4, Scale(), 64.36, V4),
    "yolov4-tiny": Entry(YOLOv4Tiny, Scale(), 6.06, V4_TINY),
}

# A quarter of the width of the s networks (YOLOv6: of the n network).
SIBLINGS = {
    "yolov5": Entry(YOLOv5, Scale(0.125, 0.33, 88), 0, V5),
    "yolov6": Entry(YOLOv6, Scale(0.10, 0.17, 48), 0, V6),
    "yolov7": Entry(YOLOv7Tiny, Scale(0.25, 1.0, 96), 0, V7),
    "ppyoloe": Entry(PPYOLOE, Scale(0.125, 0.33, 56), 0, PP),
}

# Those that have no trained sibling, thin for the sake of their layouts.
THIN = {
    "yolov3": Entry(YOLOv3, Scale(0.125), 0, V3),
    "yolov3-tiny": Entry(YOLOv3Tiny, Scale(0.25), 0, V3_TINY),
    "yolov4": Entry(YOLOv4, Scale(0.125), 0, V4),
    "yolov4-tiny": Entry(YOLOv4Tiny, Scale(0.25), 0, V4_TINY),
}
