"""`make bench`: this program beside onnxruntime and PyTorch on the same machine, in
one run.

Calibration: time and peak memory of `trtact calibrate`, which tries all methods,
against onnxruntime.quantization's Percentile. Inference: milliseconds of
YOLOv5n on the CPU, both with the same threads, in turns so that a busy
neighbour meets both. Training: whole distillation steps of YOLOv5n, ours
(internal/nn's BenchmarkStep) and PyTorch's (train_torch.py), in turns as well, where
TRTACT_TORCH names a Python with PyTorch. Prints a table with ratios; writes
build/bench/bench.json.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = pathlib.Path(__file__).with_name("peers.py")
TRTACT = ROOT / "build" / "trtact"
OUT = ROOT / "build" / "bench"
DATA = pathlib.Path(os.environ.get("TRTACT_DATA", ROOT.parent / "shared" / "data"))
# What onnxruntime's histogram calibration keeps of each 640x640 picture for YOLOv5n.
PEER_BYTES_PER_IMAGE = 190 << 20


def measured(command, cwd=None):
    """Runs a command; seconds, peak memory in bytes, standard output."""
    start = time.monotonic()
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)
    # What it prints is little enough for the pipes to hold until it has ended.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    out, err = process.stdout.read(), process.stderr.read()
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"bench: {' '.join(map(str, command))}\n{err.strip()}")
    return seconds, usage.ru_maxrss * 1024, out


def available():
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024


def calibration(images, rounds):
    """Rows of the table for calibrating YOLOv5n at 640."""
    model = DATA / "models" / "yolov5n.onnx"
    names = (DATA / "coco" / "train.txt").read_text().split()[:images]
    listed = OUT / "images.txt"
    listed.write_text("".join(f"{DATA / 'coco' / n}\n" for n in names))
    # The peer keeps every intermediate of every picture: give it what fits.
    count = min(images, int(available() * 0.6 / PEER_BYTES_PER_IMAGE))
    ours, peer = [], []
    for _ in range(rounds):
        ours.append(measured([TRTACT, "calibrate", model, "--data", listed, "-o", OUT / "ours.onnx", "--quiet"])[:2])
        seconds, memory, _ = measured(
            [sys.executable, PEERS, "quantise", model, OUT / "peer.onnx", "--method", "Percentile",
             "--images", listed, "--size", 640, "--count", count])
        peer.append((seconds * images / count, memory))
    note = f"medians of {rounds} turns" + ("" if count == images else f"; peer on {count} images, its time scaled to {images}, its memory not")
    rows = []
    for i, (what, unit, scale, bar) in enumerate(((f"calibrate {images} images", "s", 1, 5.0), ("its peak memory", "MB", 1e-6, 4.0))):
        a, b = (scale * statistics.median(t[i] for t in l) for l in (ours, peer))
        rows.append({"what": what, "unit": unit, "ours": a, "peer": b, "ratio": b / a, "bar": bar, "note": note})
    return rows


def inference(threads, rounds):
    model = DATA / "models" / "yolov5n.onnx"
    ours, peer = [], []
    for _ in range(rounds):
        _, _, out = measured([TRTACT, "bench", "--device", "cpu", "--threads", threads, "--json", model])
        ours.append(json.loads(out)["models"][0]["latency_ms"]["median"])
        _, _, out = measured([sys.executable, PEERS, "time", model, "--threads", threads])
        peer.append(statistics.median(json.loads(out)))
    ours, peer = statistics.median(ours), statistics.median(peer)
    return [{"what": f"YOLOv5n at 640, {threads} threads", "unit": "ms", "ours": ours, "peer": peer,
             "ratio": peer / ours, "bar": 0.9, "note": f"medians of {rounds} turns"}]


def training(threads, rounds, device):
    """Rows for one step at each size and batch: time, and on the CPU the process's peak memory."""
    os.environ["TRTACT_TEST_DEVICE"] = device  # read by BenchmarkStep
    torch = os.environ.get("TRTACT_TORCH")
    if not torch:
        print("bench: no PyTorch (TRTACT_TORCH), training is not compared", file=sys.stderr)
        return []
    model, quantised, ours = DATA / "models" / "yolov5n.onnx", OUT / "student.onnx", OUT / "nn.test"
    package = ROOT / "internal" / "nn"
    measured([TRTACT, "calibrate", model, "--data", DATA / "coco" / "train.txt", "--calib-images", 8, "--method", "absmax",
              "-o", quantised, "--quiet"])
    if shutil.which("go"):
        measured(["go", "test", "-c", "-o", ours, "./internal/nn"], cwd=ROOT)
    else:  # on a machine that gpu.sh pack was for
        ours = ROOT / "build" / "tests" / "internal-nn.test"
    rows = []
    cases = [(320, 4, "fp32"), (640, 1, "fp32"), (640, 4, "fp32")]
    if device == "cuda":
        cases = [(size, batch, p) for p in ("fp32", "tf32", "bf16") for size, batch in ((320, 4), (640, 4), (640, 16))]
    for size, batch, precision in cases:
        what = f"step at {size}, batch {batch}" + (f", {precision}" if device == "cuda" else "")
        os.environ["TRTACT_TEST_PRECISION"] = precision  # read by BenchmarkStep

        def peer(form):
            _, memory, out = measured([torch, ROOT / "scripts" / "bench" / "train_torch.py", model, quantised, "--size", size,
                                       "--batch", batch, "--threads", threads, "--form", form, "--device", device, "--precision", precision])
            return statistics.median(json.loads(out)) * 1000, memory

        mine, theirs = [], {"eager": [], "channels_last": []}
        for _ in range(rounds):
            _, memory, out = measured([ours, "-test.run", "^$", "-test.cpu", threads, "-test.benchtime", "8x",
                                       "-test.bench", f"Step$/{size}/batch={batch}$"], cwd=package)
            found = re.search(r"([\d.]+) ms/step", out)
            if not found:
                sys.exit(f"bench: {what}: no figure from BenchmarkStep, {out.strip().splitlines()[-1:]}")
            mine.append((float(found.group(1)), memory))
            for form, list in theirs.items():
                list.append(peer(form))
        for form, list in theirs.items():
            columns = ((what, "ms", 1), ("its peak memory", "MB", 1e-6))
            for i, (name, unit, scale) in enumerate(columns if device == "cpu" else columns[:1]):
                a, b = (scale * statistics.median(t[i] for t in l) for l in (mine, list))
                rows.append({"what": name, "unit": unit, "ours": a, "peer": b, "ratio": b / a, "bar": 2.0 if device == "cpu" else 1.5,
                             "note": f"PyTorch {form}, medians of {rounds} turns"})
    return rows


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--images", type=int, default=128)
    args.add_argument("--threads", type=int, default=min(os.cpu_count(), 8))
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--only", choices=("inference", "calibration", "training"))
    args.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: training alone, on the GPU")
    args = args.parse_args()
    if args.device == "cuda":
        args.only = "training"
    if not (DATA / "models" / "yolov5n.onnx").exists():
        sys.exit(f"bench: no detectors in {DATA}: TRTACT_DATA names the folder with models/ and coco/")
    OUT.mkdir(parents=True, exist_ok=True)

    parts = {"inference": lambda: inference(args.threads, args.rounds), "calibration": lambda: calibration(args.images, args.rounds),
             "training": lambda: training(args.threads, args.rounds, args.device)}
    rows = [row for name, part in parts.items() if args.only in (None, name) for row in part()]
    print(f"{'':32}{'trtact':>10}{'peer':>13}    ratio")
    for r in rows:
        mark = "" if r["ratio"] >= r["bar"] else f"  BELOW {r['bar']:g}"
        print(f"{r['what']:32}{r['ours']:>10.4g}{r['peer']:>13.4g} {r['unit']:2} {r['ratio']:>6.2f}x{mark}"
              + (f"  ({r['note']})" if r["note"] else ""))
    (OUT / "bench.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
