"""One loss for all families: task-aligned assignment (Feng et al. 2021, alpha 1,
beta 6), binary cross entropy with soft scores, generalised IoU.

Only who may answer for a box differs: with anchors, predictions whose cell lies
within one cell of the box's centre and whose anchor is within a factor of four of
its sides, since further off their coding cannot reach; without, all cells inside it.
"""

import torch
from torch.nn import functional as F

from overlap import overlaps


def padded(targets):
    """Boxes of a batch as one tensor N x most x 5, and which of them are real."""
    most = max(1, max(len(t) for t in targets))
    out, real = torch.zeros(len(targets), most, 5), torch.zeros(len(targets), most, dtype=torch.bool)
    for i, t in enumerate(targets):
        out[i, : len(t)], real[i, : len(t)] = t, True
    return out, real


def eligible(p, boxes):
    """N x targets x predictions: who may answer for which box (N x targets x 4, corners)."""
    middle, extent = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    away = (p.centres - middle[:, :, None]).abs() / p.strides[:, None]
    if p.anchors is None:
        allowed = ((p.centres > boxes[:, :, None, :2]) & (p.centres < boxes[:, :, None, 2:])).all(-1)
        nearest = away.amax(-1)
    else:
        ratio = extent[:, :, None] / p.anchors
        ratio = torch.maximum(ratio, 1 / ratio.clamp(min=1e-3)).amax(-1)
        allowed = (away.amax(-1) < 1) & (ratio < 4)
        nearest = ratio + 100 * (away.amax(-1) >= 1)
    # A box that nobody may answer for gets whoever is next to it.
    return allowed.scatter(2, nearest.argmin(2, keepdim=True), True)


@torch.no_grad()
def assign(p, targets, real, top=8):
    """Of every prediction: the index of its target (N x predictions, -1 for none) and its soft score."""
    scores = p.classes.sigmoid()
    if p.objects is not None:
        scores = scores * p.objects.sigmoid()[..., None]
    boxes, kinds = targets[..., 1:], targets[..., 0].long()
    may = eligible(p, boxes) & real[..., None]
    iou = overlaps(boxes[:, :, None], p.boxes[:, None]).clamp(min=0)
    score = scores.transpose(1, 2).gather(1, kinds[..., None].expand(-1, -1, scores.shape[1]))
    align = (score * iou.pow(6) + 1e-9) * may
    best = align.topk(top, 2)
    chosen = torch.zeros_like(may).scatter(2, best.indices, best.values > 0)
    # A prediction wanted by several targets goes to the one that it overlaps most.
    owner = torch.where(chosen, iou, -1.0).argmax(1)
    mine = chosen & (torch.arange(boxes.shape[1])[None, :, None] == owner[:, None])
    align = align * mine
    soft = align / align.amax(2, keepdim=True).clamp(min=1e-12) * (iou * mine).amax(2, keepdim=True)
    return torch.where(mine.any(1), owner, -1), soft.amax(1)


def loss_of(p, targets):
    targets, real = padded(targets)
    owner, soft = assign(p, targets, real)
    image, at = (owner >= 0).nonzero(as_tuple=True)
    target, weight = targets[image, owner[image, at]], soft[image, at]
    kind = target[:, 0].long()
    total = weight.sum().clamp(min=1)
    bce = F.binary_cross_entropy_with_logits
    if p.objects is None:
        wanted = torch.zeros_like(p.classes)
        wanted[image, at, kind] = weight
        scores = bce(p.classes, wanted, reduction="sum")
    else:
        wanted = F.one_hot(kind, p.classes.shape[-1]).float()
        scores = bce(p.objects, soft, reduction="sum")
        scores = scores + (bce(p.classes[image, at], wanted, reduction="none").sum(1) * weight).sum()
    giou = overlaps(p.boxes[image, at], target[:, 1:], True)
    return (scores + 2.5 * ((1 - giou) * weight).sum()) / total
