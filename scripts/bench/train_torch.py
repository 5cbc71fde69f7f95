"""The peer's side of `make bench` for training: steps of distillation in PyTorch.

    train_torch.py MODEL.onnx QDQ.onnx --size S --batch N --threads T [--form F] [--device cuda]
        [--precision P]

One step: the float model's heads without gradients, the student with
torch.fake_quantize_* on activations and weights (absmax/127 per channel, anew in
every step), the mean squared error at the heads, backward, SGD. Prints the seconds
of each step as JSON. Runs in the environment of scripts/setup/torch.sh.
"""

import argparse
import json
import pathlib
import sys
import time

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "references"))
from onnx_torch import OnnxModule, heads_of  # noqa: E402


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model")
    args.add_argument("quantised")
    args.add_argument("--size", type=int, required=True)
    args.add_argument("--batch", type=int, required=True)
    args.add_argument("--threads", type=int, required=True)
    args.add_argument("--steps", type=int, default=5)
    args.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    args.add_argument("--form", choices=("eager", "channels_last", "compiled", "compiled_channels_last"), default="eager")
    args.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32", help="of the student on a GPU")
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    heads = heads_of(args.model)
    teacher = OnnxModule(args.model, outputs=heads)
    student = OnnxModule(args.quantised, outputs=heads, native=True)
    images = torch.rand(args.batch, 3, args.size, args.size)
    teacher, student, images = (x.to(args.device) for x in (teacher, student, images))
    if "channels_last" in args.form:
        teacher, student, images = (x.to(memory_format=torch.channels_last) for x in (teacher, student, images))
    if "compiled" in args.form:
        teacher, student = torch.compile(teacher), torch.compile(student)
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-5)

    def allow_tf32(allow):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allow

    def step():
        allow_tf32(False)
        with torch.no_grad():
            targets = teacher(images)
        allow_tf32(args.precision == "tf32")
        with torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bf16"):
            loss = sum(F.mse_loss(y, t) for y, t in zip(student(images), targets))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    seconds = []
    for _ in range(2 + args.steps):  # the first two fill caches
        start = time.perf_counter()
        step()
        if args.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds[2:]))


if __name__ == "__main__":
    main()
