"""The detection loss: task-aligned assignment, soft-label cross entropy, generalised IoU."""

import torch
from torch.nn import functional as F

from network import CENTRES, SIZE, STRIDES, corners
from overlap import overlaps


@torch.no_grad()
def assign(scores, predicted, target, top=8):
    """Task-aligned assignment (Feng et al. 2021, alpha 1, beta 6) for one picture.

    Returns per cell the index of its target or -1, and the soft score it is to have.
    """
    cells = len(scores)
    if len(target) == 0:
        return torch.full((cells,), -1), torch.zeros(cells)
    iou = overlaps(target[:, None, 1:], predicted[None])
    inside = ((CENTRES[None] > target[:, None, 1:3]) & (CENTRES[None] < target[:, None, 3:5])).all(-1)
    # The smallest shapes may hold no centre at all: the nearest one will do.
    middle = (target[:, 1:3] + target[:, 3:5]) / 2
    nearest = torch.cdist(middle, CENTRES[: (SIZE // STRIDES[0]) ** 2]).argmin(1)
    inside[torch.arange(len(target)), nearest] = True
    align = scores[:, target[:, 0].long()].T * iou.pow(6) * inside + 1e-9 * inside
    chosen = torch.zeros_like(align, dtype=torch.bool)
    best = align.topk(top, 1)
    chosen.scatter_(1, best.indices, best.values > 0)
    # A cell wanted by several targets goes to the one that it overlaps most.
    owner = (iou * chosen).argmax(0)
    owner[~chosen.any(0)] = -1
    mine = F.one_hot(owner.clamp(min=0), len(target)).T.bool() & (owner >= 0)[None]
    align = align * mine
    soft = align / align.amax(1, keepdim=True).clamp(min=1e-9) * (iou * mine).amax(1, keepdim=True)
    return owner, soft.amax(0)


def loss_of(model, images, targets):
    logits, sides = model(images)
    predicted = corners(sides)
    wanted = torch.zeros_like(logits)
    weights, pairs = [], []
    for i, target in enumerate(targets):
        owner, soft = assign(logits[i].sigmoid(), predicted[i], target)
        cells = (owner >= 0).nonzero().flatten()
        wanted[i, cells, target[owner[cells], 0].long()] = soft[cells]
        weights.append(soft[cells])
        pairs.append((predicted[i, cells], target[owner[cells], 1:]))
    weights = torch.cat(weights)
    total = weights.sum().clamp(min=1)
    cls = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / total
    giou = overlaps(torch.cat([p for p, _ in pairs]), torch.cat([t for _, t in pairs]), True)
    box = ((1 - giou) * weights).sum() / total
    return cls + 2.5 * box
