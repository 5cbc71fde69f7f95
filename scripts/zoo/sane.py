"""Random weights under which a network behaves like a trained one: every layer's
output has mean 0 and variance 1 before its activation, for pictures-like noise, and
scores are low. Engines built from it choose kernels as for the real network, and
INT8 scales come out neither 0 nor infinite."""

import torch
from torch import nn


@torch.no_grad()
def settle(model, size=320, seed=1):
    """He initialisation, then the statistics of every batch norm measured on one batch."""
    generator = torch.Generator().manual_seed(seed)
    for m in model.modules():
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) and m.weight.requires_grad and m.bias is None:
            fan = m.weight[0].numel()
            m.weight.normal_(0, (2 / fan) ** 0.5, generator=generator)
        elif isinstance(m, nn.BatchNorm2d):
            m.momentum = 1.0
            m.weight.uniform_(0.5, 1.5, generator=generator)
            m.bias.normal_(0, 0.2, generator=generator)
    coarse = torch.rand(4, 3, size // 8, size // 8, generator=generator)
    noise = torch.rand(4, 3, size, size, generator=generator)
    model.train()(*inputs_of(model, 0.7 * nn.functional.interpolate(coarse, (size, size), mode="bilinear") + 0.3 * noise))
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = 0.03
    return model.eval()


def inputs_of(model, images):
    """What the network is called with for pictures in 0..1: YOLOX takes them in 0..255,
    PP-YOLOE also the scale of each picture, keras-yolo3 the size of one."""
    layout = getattr(model.head, "layout", "")
    if model.family == "yolox":
        images = 255 * images
    if layout == "channels-last":
        images = images.permute(0, 2, 3, 1).contiguous()
    if layout == "nms" and model.family == "yolov3":
        return images, torch.tensor([images.shape[2:]]).float()
    return (images, torch.ones(len(images), 2)) if model.family == "ppyoloe" else (images,)


def parameters(model):
    """Of the deployed network: weights and biases of convolutions after batch norm went into them."""
    count = 0
    for m in model.modules():
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
            count += m.weight.numel() + (0 if m.bias is None else m.bias.numel())
        elif isinstance(m, nn.BatchNorm2d):
            count += m.num_features
    return count
