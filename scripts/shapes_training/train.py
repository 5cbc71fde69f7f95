"""Trains the sample detector and writes it as ONNX; scripts/train_shapes.sh runs it.

One process, a fixed seed, no data loader: the pictures fit into memory.
"""

import argparse
import copy
import math
import random
import time

import torch

from export import export
from loss import loss_of
from network import SIZE, Detector
from pictures import batch_of, load


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--pictures", required=True, help="folder made by scripts/shapes")
    args.add_argument("--out", required=True, help="ONNX file to write")
    args.add_argument("--epochs", type=int, default=8)
    args.add_argument("--batch", type=int, default=16)
    args.add_argument("--rate", type=float, default=3e-3)
    args.add_argument("--strength", type=float, default=1.0, help="largest factor of a channel's range")
    args.add_argument("--start", help="checkpoint (OUT.pt of an earlier run) to go on from, at any strength")
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--threads", type=int, default=2)
    args = args.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    torch.use_deterministic_algorithms(True)

    pictures, boxes = load(args.pictures, SIZE)
    model = Detector(args.strength, args.seed).to(memory_format=torch.channels_last)
    if args.start:
        # Weights are kept without the factors, which belong to the strength.
        trained = torch.load(args.start, weights_only=True)
        model.load_state_dict({k: v for k, v in trained.items() if not k.endswith("_scale")}, strict=False)
    average = copy.deepcopy(model).eval()
    decay = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}], lr=args.rate)
    steps = args.epochs * (len(pictures) // args.batch)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(pictures)} pictures, {steps} steps", flush=True)

    step, start, smooth = 0, time.time(), None
    for epoch in range(args.epochs):
        order = torch.randperm(len(pictures))
        for at in range(0, len(pictures) - args.batch + 1, args.batch):
            warm = min(1.0, (step + 1) / 200)
            rate = args.rate * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)
            for group in optimiser.param_groups:
                group["lr"] = rate
            images, targets = batch_of(pictures, boxes, order[at : at + args.batch])
            loss = loss_of(model, images.contiguous(memory_format=torch.channels_last), targets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimiser.step()
            step += 1
            keep = min(0.998, step / (step + 20))
            with torch.no_grad():
                for a, m in zip(average.state_dict().values(), model.state_dict().values()):
                    if a.dtype.is_floating_point:
                        a.lerp_(m, 1 - keep)
                    else:
                        a.copy_(m)
            smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
            if step % 50 == 0:
                print(f"epoch {epoch + 1} step {step}/{steps} loss {smooth:.3f} {time.time() - start:.0f} s", flush=True)
        torch.save(average.state_dict(), args.out + ".pt")
        export(average, args.out, f"trtact sample detector, seed {args.seed}, strength {args.strength:g}")


if __name__ == "__main__":
    main()
