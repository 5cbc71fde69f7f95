"""Outlying channels that change nothing: in a chain convolution, ReLU, convolution a
channel may be multiplied by any positive factor if its readers divide by it.

Trained RepVGG networks look like this (Ding et al. 2021; Chu et al. 2022 for
YOLOv6): nearly all weights of a layer lie within +-0.1, a few reach far out, and
the range of an activation is that of one or two of its channels. The trained
sibling of YOLOv6 is brought into the same state on purpose; float results stay
what they are up to rounding, one scale for a whole activation does not fit any more.
"""

import torch
from torch import nn

from blocks import Conv


def chains(model):
    """Pairs of convolutions in a row with only a ReLU between, in the order of the modules."""
    for parent in model.modules():
        if isinstance(parent, nn.Sequential):
            flat = [m for m in parent if isinstance(m, (Conv, nn.Sequential))]
            line = []
            for m in flat:
                line += [m] if isinstance(m, Conv) else [c for c in m if isinstance(c, Conv)]
            for a, b in zip(line, line[1:]):
                if isinstance(a.act, nn.ReLU):
                    yield a, b


@torch.no_grad()
def spread(model, strength, seed):
    """In every such chain, one channel in eight becomes up to `strength` times larger
    and one in eight as much smaller. Works on the batch norm behind the first and the weights of the second."""
    generator = torch.Generator().manual_seed(seed)
    done = set()
    for first, second in chains(model):
        if (first, second) in done:
            continue
        done.add((first, second))
        channels = first.bn.num_features
        few = max(1, channels // 8)
        order = torch.randperm(channels, generator=generator)
        power = torch.empty(2 * few).uniform_(0.7, 1.0, generator=generator)
        factor = torch.ones(channels)
        factor[order[:few]] = strength ** power[:few]
        factor[order[few : 2 * few]] = strength ** -power[few:]
        first.bn.weight.mul_(factor)
        first.bn.bias.mul_(factor)
        second.conv.weight.div_(factor.view(1, -1, 1, 1))
