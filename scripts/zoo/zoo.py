"""The zoo's command line; scripts/zoo.sh runs it.

    zoo.py count                          parameters beside the published figures; fails where they part
    zoo.py models DIR [NAME...]           every network at 640 in its usual layout, random weights
    zoo.py layouts DIR [FAMILY...]        every layout, operator set and open batch, of thin networks at 320
    zoo.py sibling FAMILY WEIGHTS OUT [LAYOUT]   a trained sibling as its exporter writes it
"""

import argparse
import dataclasses
import pathlib

import torch

from catalogue import MODELS, SIBLINGS, THIN
from sane import parameters, settle
from siblings import CLASSES, SIZE
from spread import spread
from write import write

TOLERANCE = 0.01
# How much YOLOv6's channels are spread: enough for plain min-max calibration to lose 5 mAP.
STRENGTH = 12.0


def count():
    worst = 0.0
    print(f"{'network':12} {'parameters':>12} {'not exported':>13} {'published':>10} {'differs':>8}")
    for name, entry in MODELS.items():
        have = parameters(entry.build())
        off = (have + entry.extra) / 1e6 / entry.published - 1
        worst = max(worst, abs(off))
        print(f"{name:12} {have:12,} {entry.extra:13,} {entry.published:8} M {off:+8.2%}")
    if worst > TOLERANCE:
        raise SystemExit(f"zoo: a network differs from its published size by {worst:.1%}: want at most {TOLERANCE:.0%}")


def models(folder, wanted):
    for name in wanted or MODELS:
        entry = MODELS[name]
        torch.manual_seed(1)
        write(settle(entry.build()), folder / f"{name}.onnx", entry.layouts[0], 640)
        print(folder / f"{name}.onnx", flush=True)


def layouts(folder, wanted):
    """File names say everything: family, layout, operator set, s(tatic) or d(ynamic) batch."""
    bins = dataclasses.replace(SIBLINGS["yolov6"], options=MODELS["yolov6m"].options)
    thin = {**SIBLINGS, "yolov6-dfl": bins, "yolov8": MODELS["yolov8n"], "yolox": MODELS["yolox-s"], **THIN}
    for name in wanted or thin:
        entry = thin[name]
        torch.manual_seed(1)
        model = settle(entry.build(80))
        for layout in entry.layouts:
            for opset in (11, 13, 17):
                for dynamic in (False, True):
                    path = folder / f"{name}.{layout}.{opset}{'d' if dynamic else 's'}.onnx"
                    write(model, path, layout, SIZE, opset, dynamic)
                    print(path, flush=True)


def sibling(family, weights, out, layout=None):
    entry = SIBLINGS[family]
    model = entry.build(len(CLASSES))
    model.load_state_dict(torch.load(weights, weights_only=True))
    model.eval()
    if family == "yolov6":
        spread(model, STRENGTH, seed=1)
    write(model, out, layout or entry.layouts[0], SIZE, names=CLASSES if family == "yolov5" else None)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("command", choices=("count", "models", "layouts", "sibling"))
    args.add_argument("rest", nargs="*")
    args = args.parse_args()
    torch.set_num_threads(1)
    if args.command == "count":
        return count()
    if not args.rest:
        raise SystemExit(f"zoo: {args.command}: want a folder or, for a sibling, family, weights and file")
    if args.command == "sibling":
        return sibling(*args.rest)
    folder = pathlib.Path(args.rest[0])
    folder.mkdir(parents=True, exist_ok=True)
    (models if args.command == "models" else layouts)(folder, args.rest[1:])


if __name__ == "__main__":
    main()
