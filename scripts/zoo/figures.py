"""The figures of docs/results.md, section "The four families": runs the built program
and prints what its result.json says, as tables. Needs Python alone.

    figures.py siblings [FAMILY...] --calib DIR --val DIR --work DIR
    figures.py models   [NAME...] --calib DIR --models DIR --work DIR
"""

import argparse
import json
import pathlib
import resource
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FAMILIES = ("yolov5", "yolov6", "yolov7", "ppyoloe")
NAMES = ("yolov5n", "yolov5s", "yolov6n", "yolov6s", "yolov6m", "yolov7-tiny", "yolov7", "ppyoloe-s", "yolov8n", "yolox-s")
# What ACT starts from: one scale an activation, the largest value seen.
PLAIN = ("--method", "absmax", "--equalise", "off")


def trtact(*args):
    """What a run of the program prints."""
    command = [str(ROOT / "build" / "trtact"), *map(str, args), "--json", "--quiet"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def build(model, out, *args):
    """result.json of an INT8 build."""
    return trtact("build", model, "--int8", "--target", "sm_86", "-o", f"{out}.engine", *args)


def row(cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def head(*titles):
    row(titles)
    print("|" + "---|" * len(titles))


def siblings(args):
    """Min-max alone and trained from there, as ACT does it; the program's own choice of
    calibration, and trained from there, which is what build does by itself."""
    head("sibling", "float", "min-max", "trained from it", "calibrated", "trained from it", "change", "of min-max's loss won back")
    for family in args.names or FAMILIES:
        model, out = ROOT / "examples" / "zoo" / f"{family}.onnx", args.work / family
        data = "--data", args.calib / "images", "--val", args.val / "annotations.json"
        train = "--qat", "on", "--iters", args.steps, "--eval-iter", max(args.steps // 3, 1)
        plain = build(model, f"{out}.minmax", *data, *PLAIN, *train)["accuracy"]
        calibrated = build(model, f"{out}.ptq", *data, "--qat", "off")
        trained = build(model, out, *data, "--plan", calibrated["files"]["plan"], *train)["accuracy"]
        float_, lowest, best = (100 * a["mAP"] for a in (plain["float"], plain["ptq"], trained["int8"]))
        row([family, f"{float_:.2f}", f"{lowest:.2f}", f"{100 * plain['int8']['mAP']:.2f}", f"{100 * calibrated['accuracy']['int8']['mAP']:.2f}",
             f"{best:.2f}", f"{best - float_:+.2f}", f"{(best - lowest) / (float_ - lowest):.0%}" if float_ - lowest > 1 else ""])


def megabytes(n):
    return f"{n / 1e6:.1f} MB"


def step_seconds(model, pictures):
    """Processor time, of all threads, that one picture takes in a step. A dry run makes two
    steps; what else it does falls out of the difference between batches of 3 and of 1."""
    spent = []
    for batch in (1, 3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        trtact("build", model, "--int8", "--data", pictures, *PLAIN, "--qat", "on", "--batch-size", batch, "--dry-run")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return (spent[1] - spent[0]) / 4


def models(args):
    """With random weights there is no accuracy to measure: four pictures to find scales."""
    pictures = args.work / "pictures.txt"
    pictures.write_text("".join(f"{p.resolve()}\n" for p in sorted((args.calib / "images").iterdir())[:4]))
    head("network", "parameters", "sites", "groups", "layers in INT8", "weights", "INT8", "share", "engine", "INT8", "build",
         "memory", "TensorRT", "step")
    for name in args.names or NAMES:
        model, out = args.models / f"{name}.onnx", args.work / name
        if not model.exists():
            raise SystemExit(f"figures: {model} is not there: scripts/zoo.sh models {name} makes it")
        # By a plan and without pictures: a report on what INT8 costs which layer says nothing here.
        plan = trtact("calibrate", model, "--data", pictures, *PLAIN, "-o", f"{out}.onnx")["files"]["plan"]
        r = build(model, out, "--plan", plan, "--float-engine")
        q, s, e = r["quantization"], r["size"], r["engine"]
        row([name, f"{r['model']['params']:,}", str(q["sites"]), str(q["groups"]), f"{q['layers']} of {len(s['layers'])}",
             megabytes(s["weights_float"]), megabytes(s["weights_int8"]), f"{s['weights_int8'] / s['weights_float']:.1%}",
             megabytes(s["engine_float"]), megabytes(s["engine"]), f"{e['build_seconds']:.1f} s",
             megabytes(r["peak_rss"]), megabytes(e["build_peak_rss"]), f"{step_seconds(model, pictures):.2f} s"])


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("table", choices=("siblings", "models"))
    args.add_argument("names", nargs="*")
    args.add_argument("--calib", type=pathlib.Path, required=True, help="folder made by scripts/shapes, to calibrate and train on")
    args.add_argument("--val", type=pathlib.Path, help="the same, to measure on")
    args.add_argument("--models", type=pathlib.Path, help="folder of zoo.py models")
    args.add_argument("--work", type=pathlib.Path, required=True, help="folder for what is built")
    args.add_argument("--steps", type=int, default=600)
    args = args.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    (siblings if args.table == "siblings" else models)(args)


if __name__ == "__main__":
    main()
