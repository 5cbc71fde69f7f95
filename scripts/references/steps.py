"""The loss of whole distillation steps in PyTorch, for internal/nn's
TestStepsAgainstTorch.

    steps.py FLOAT.onnx QDQ.onnx PICTURES.f32 --size S --batch N --steps K --rate R

The teacher is the float graph, the student the Q/DQ graph with fixed activation
scales and weights on absmax/127 grids anew in every step; mean squared errors at
all outputs, SGD without momentum. PICTURES holds float32 pictures [n, 3, S, S]; step
k trains on the next N of them, round and round. Prints the losses as JSON, each
summed over the outputs.
"""

import argparse
import json

import numpy
import torch
import torch.nn.functional as F

from onnx_torch import OnnxModule


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("float_model")
    args.add_argument("quantised")
    args.add_argument("pictures")
    args.add_argument("--size", type=int, required=True)
    args.add_argument("--batch", type=int, required=True)
    args.add_argument("--steps", type=int, required=True)
    args.add_argument("--rate", type=float, required=True)
    args.add_argument("--double", action="store_true", help="compute in float64, to know what rounding does")
    args = args.parse_args()
    teacher, student = OnnxModule(args.float_model), OnnxModule(args.quantised)
    pictures = torch.from_numpy(numpy.fromfile(args.pictures, dtype=numpy.float32).reshape(-1, 3, args.size, args.size))
    if args.double:
        teacher, student, pictures = teacher.double(), student.double(), pictures.double()
    optimizer = torch.optim.SGD(student.parameters(), lr=args.rate)
    losses = []
    for step in range(args.steps):
        at = [(step * args.batch + i) % len(pictures) for i in range(args.batch)]
        with torch.no_grad():
            targets = teacher(pictures[at])
        loss = sum(F.mse_loss(y, t) for y, t in zip(student(pictures[at]), targets))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(json.dumps(losses))


if __name__ == "__main__":
    main()
