"""Non-maximum suppression at the end of a graph, as exporters append it.

PyTorch has no such operator, so each is a Function that gives tensors of the right
shapes when traced and the operator's node when exported.
"""

import torch
from torch import nn


class Suppress(torch.autograd.Function):
    """ONNX's NonMaxSuppression: indices (image, class, box) of what is kept."""

    @staticmethod
    def forward(ctx, boxes, scores, most, overlap, score):
        return torch.tensor([[0, 0, i] for i in range(7)])

    @staticmethod
    def symbolic(g, boxes, scores, most, overlap, score):
        return g.op("NonMaxSuppression", boxes, scores, most, overlap, score)


class EfficientNMS(torch.autograd.Function):
    """TensorRT's plugin of this name; box_coding 1 is centre and size, 0 corners."""

    @staticmethod
    def forward(ctx, boxes, scores, coding):
        n = len(boxes)
        return (torch.zeros(n, 1, dtype=torch.int32), torch.zeros(n, 100, 4), torch.zeros(n, 100),
                torch.zeros(n, 100, dtype=torch.int32))

    @staticmethod
    def symbolic(g, boxes, scores, coding):
        return g.op("TRT::EfficientNMS_TRT", boxes, scores, background_class_i=-1, box_coding_i=coding, iou_threshold_f=0.45,
                    max_output_boxes_i=100, plugin_version_s="1", score_activation_i=0, score_threshold_f=0.25, outputs=4)


class TensorFlowRange(torch.autograd.Function):
    """0, 1, ... below a number, for which TensorFlow's converter writes a Loop (write.py
    puts it in the place of this operator)."""

    @staticmethod
    def forward(ctx, count):
        return torch.arange(int(count)).float()

    @staticmethod
    def symbolic(g, count):
        return g.op("zoo::Range", count)


class EndToEnd(nn.Module):
    """Behind rows of centre, size, objectness and classes, as YOLOv6 and YOLOv7 do it.

    With ONNX's operator all classes are suppressed in one go: boxes of different
    classes are moved apart by more than a picture's width.
    """

    def __init__(self, plugin, width=640):
        super().__init__()
        self.plugin, self.width = plugin, width
        self.register_buffer("to_corners", torch.tensor(
            [[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]]), persistent=False)

    def forward(self, rows):
        box, scores = rows[:, :, :4], rows[:, :, 5:] * rows[:, :, 4:5]
        if self.plugin:
            return EfficientNMS.apply(box, scores, 1)
        box = box @ self.to_corners
        best, kind = scores.max(2, keepdim=True)
        apart = box + kind.float() * self.width
        kept = Suppress.apply(apart, best.transpose(1, 2).contiguous(), torch.tensor([100]), torch.tensor([0.45]),
                              torch.tensor([0.25]))
        image, at = kept[:, 0], kept[:, 2]
        return torch.cat([image[:, None].float(), box[image, at], kind[image, at].float(), best[image, at]], 1)


def multiclass(boxes, scores):
    """Behind corners (batch x rows x 4) and scores (batch x classes x rows), as
    Paddle's multiclass_nms3 comes out of paddle2onnx: suppression per class, the
    best hundred by score, rows of class, score and corners, and their number."""
    kept = Suppress.apply(boxes, scores, torch.tensor([1000]), torch.tensor([0.6]), torch.tensor([0.01]))
    score = scores[kept[:, 0], kept[:, 1], kept[:, 2]]
    score, order = score.topk(7, 0)
    kept = kept[order]
    rows = torch.cat([kept[:, 1:2].float(), score[:, None], boxes[kept[:, 0], kept[:, 2]]], 1)
    return rows, torch._shape_as_tensor(rows)[:1].int()
