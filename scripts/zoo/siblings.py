"""Trains a small sibling of a family on the generated pictures (scripts/shapes) and
writes it as its family's exporter would; scripts/zoo.sh siblings runs it.

Most epochs see the pictures at half the size, where a step costs a quarter; the
last ones at the size of the exported network. One process, a fixed seed. Every
hundred steps the state is written, so that a run that was killed goes on from there.
"""

import argparse
import copy
import math
import os
import pathlib
import random
import sys
import time

import torch
from torch.nn import functional as F

sys.path.append(str(pathlib.Path(__file__).parent.parent / "shapes_training"))

from assignment import loss_of
from catalogue import SIBLINGS
from pictures import batch_of, load

SIZE = 320
CLASSES = ("circle", "square", "triangle", "star", "cross", "ring")


def normalised(model, images):
    """Pixels of 0..1 as the family wants them."""
    if not hasattr(model, "mean"):
        return images
    return (images - torch.tensor(model.mean).view(1, 3, 1, 1)) / torch.tensor(model.std).view(1, 3, 1, 1)


def rate_of(step, steps, peak):
    """Linear warming up, then half a cosine down to a hundredth."""
    return peak * min(1.0, (step + 1) / 200) * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)


def halved(pictures, boxes):
    """All pictures at half the size, with their boxes."""
    small = torch.empty(*pictures.shape[:2], SIZE // 2, SIZE // 2, dtype=torch.uint8)
    for i, picture in enumerate(pictures):
        small[i] = F.avg_pool2d(picture.float(), 2).round_()
    return small, [torch.cat([b[:, :1], b[:, 1:] / 2], 1) for b in boxes]


class Checkpoint:
    """What a training consists of besides its data, kept in a file."""

    def __init__(self, path, recipe, model, average, optimiser):
        self.path, self.recipe, self.parts = path, recipe, {"model": model, "average": average, "optimiser": optimiser}

    def save(self, step, order):
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"recipe": self.recipe, "step": step, "order": order, "random": (torch.get_rng_state(), random.getstate())}
        torch.save(state, f"{self.path}.new")
        os.replace(f"{self.path}.new", self.path)

    def load(self):
        """The step to go on from and the order of the pictures in its epoch: 0 without a file, or with one of another recipe."""
        state = torch.load(self.path, weights_only=True) if self.path.exists() else {}
        if state.get("recipe") != self.recipe:
            return 0, None
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"][0])
        random.setstate(state["random"][1])
        return state["step"], state["order"]


def train(model, pictures, boxes, args):
    """The moving average of the model over all epochs."""
    half, full, batch, peak = args.half, args.full, args.batch, args.rate
    average = copy.deepcopy(model).eval()
    decay = [p for p in model.parameters() if p.ndim > 1 and p.requires_grad]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}], lr=peak)
    each = len(pictures) // batch
    steps = (half + full) * each
    kept = Checkpoint(pathlib.Path(f"{args.out}.part"), [args.family, args.start, half, full, batch, peak, args.seed], model, average, optimiser)
    start, smooth = time.time(), None
    first, order = kept.load()
    data = halved(pictures, boxes) if first < half * each else (pictures, boxes)
    for step in range(first, steps):
        if step % each == 0:
            order = torch.randperm(len(pictures))
        if step == half * each:
            data = pictures, boxes
        for group in optimiser.param_groups:
            group["lr"] = rate_of(step, steps, peak)
        at = step % each * batch
        images, targets = batch_of(*data, order[at : at + batch])
        loss = loss_of(model.predictions(normalised(model, images).contiguous(memory_format=torch.channels_last)), targets)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        keep = min(0.998, (step + 1) / (step + 21))
        with torch.no_grad():
            for a, m in zip(average.state_dict().values(), model.state_dict().values()):
                a.lerp_(m, 1 - keep) if a.dtype.is_floating_point else a.copy_(m)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if (step + 1) % 100 == 0 or step + 1 == steps:
            print(f"step {step + 1}/{steps} loss {smooth:.3f} {time.time() - start:.0f} s", flush=True)
            kept.save(step + 1, order)
    return average


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("family", choices=SIBLINGS)
    args.add_argument("--pictures", required=True, help="folder made by scripts/shapes")
    args.add_argument("--out", required=True, help="file of weights to write")
    args.add_argument("--start", help="weights to go on from")
    args.add_argument("--half", type=int, default=8, help="epochs at half the size")
    args.add_argument("--full", type=int, default=2, help="epochs at full size after them")
    args.add_argument("--batch", type=int, default=16)
    args.add_argument("--rate", type=float, default=3e-3)
    args.add_argument("--seed", type=int, default=1)
    args = args.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    torch.use_deterministic_algorithms(True)
    model = SIBLINGS[args.family].build(len(CLASSES)).to(memory_format=torch.channels_last)
    if args.start:
        model.load_state_dict(torch.load(args.start, weights_only=True))
    pictures, boxes = load(args.pictures, SIZE, stretched=hasattr(model, "mean"))
    print(f"{args.family}: {sum(p.numel() for p in model.parameters())} parameters, {len(pictures)} pictures", flush=True)
    torch.save(train(model, pictures, boxes, args).state_dict(), args.out)
    pathlib.Path(f"{args.out}.part").unlink()


if __name__ == "__main__":
    main()
