"""`make accuracy`: mAP on COCO images of the float model, of our INT8 model and of
onnxruntime.quantization's, all measured by `trtact eval` on the same pictures and
calibrated on the same others: symmetric INT8, weights per channel, the last
convolutions of the heads float. Prints a table, writes build/accuracy/accuracy.json.

Methods were chosen looking at the first 250 pictures at most; --half second
measures on the other 250.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = pathlib.Path(__file__).with_name("peers.py")
TRTACT = ROOT / "build" / "trtact"
OUT = ROOT / "build" / "accuracy"
DATA = pathlib.Path(os.environ.get("TRTACT_DATA", ROOT.parent / "shared" / "data"))
METHODS = ("MinMax", "Entropy", "Percentile")


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"accuracy: {' '.join(map(str, command))}\n{done.stderr.strip()}")
    return done.stdout


def mean_ap(model, family, listed):
    result = json.loads(run(TRTACT, "eval", model, "--data", DATA / "coco" / "annotations.json",
                            "--list", listed, "--family", family, "--json", "--quiet"))
    return result["mAP"], result["family"]


def chosen(names, half):
    """The list of validation pictures that are measured on."""
    names = {"first": names[:250], "second": names[250:], "both": names}[half]
    listed = OUT / f"val.{half}.txt"
    listed.write_text("".join(f"{DATA / 'coco' / n}\n" for n in names))
    return listed


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--models", default="yolov5n,yolov8n_deq", help="of the data folder, comma-separated")
    args.add_argument("--calib", type=int, default=128, help="pictures to calibrate on, a multiple of 8")
    args.add_argument("--half", choices=("first", "second", "both"), default="both", help="of the pictures to measure on")
    args = args.parse_args()
    if not (DATA / "coco" / "annotations.json").exists():
        sys.exit(f"accuracy: no COCO images in {DATA}: TRTACT_DATA names the folder with models/ and coco/")
    OUT.mkdir(parents=True, exist_ok=True)
    names = (DATA / "coco" / "train.txt").read_text().split()[: args.calib]
    listed = OUT / "images.txt"
    listed.write_text("".join(f"{DATA / 'coco' / n}\n" for n in names))
    val = chosen((DATA / "coco" / "val.txt").read_text().split(), args.half)

    rows = []
    print(f"{'model':16}{'float':>8}{'trtact':>9}" + "".join(f"{m:>12}" for m in METHODS))
    for name in args.models.split(","):
        model = DATA / "models" / f"{name}.onnx"
        float_ap, family = mean_ap(model, "auto", val)
        row = {"model": name, "float": float_ap}
        run(TRTACT, "calibrate", model, "--data", listed, "-o", OUT / f"{name}.onnx", "--quiet")
        row["trtact"], _ = mean_ap(OUT / f"{name}.onnx", family, val)
        for method in METHODS:
            out = OUT / f"{name}.{method}.onnx"
            run(sys.executable, PEERS, "quantise", model, out, "--method", method, "--images", listed, "--size", 640, "--chunk", 8)
            row[method], _ = mean_ap(out, family, val)
        rows.append(row)
        best = max(row[m] for m in METHODS)
        print(f"{name:16}{row['float']:>8.4f}{row['trtact']:>9.4f}" + "".join(f"{row[m]:>12.4f}" for m in METHODS)
              + f"   {100 * (row['trtact'] - best):+.2f} points against the peer's best", flush=True)
    (OUT / "accuracy.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
