"""make ladder: what each rung of the ladder reaches on every detector, and how the
search does beside the best of the peers. Prints Markdown tables and writes ladder.json.

With a limit that no model meets by luck (--max-drop 0 by default) every rung is climbed
until one reaches the float model; with --max-drop 0.5 it ends where a user's would.
Finished models are kept in --work, so an interrupted run goes on.
"""

import argparse
import json
import os
import pathlib
import subprocess
import time

# The best mAP of any peer on the first 250 validation images, all convolutions before
# the heads in INT8 (onnxruntime, modelopt, NNCF; docs/results.md).
PEERS = {
    "yolov5n": 0.298, "yolov8n_deq": 0.381, "picodet_s_416": 0.230, "yolov6lite_l": 0.234, "yolov6lite_s": 0.072,
    "v5lite_e_320": 0.221, "fastestdet_352": 0.155, "yolo_fastestv2_352": 0.136, "picodet_s_320": None,
}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", default="build/trtact")
    p.add_argument("--data", default=os.environ.get("TRTACT_DATA"), help="folder with models/ and coco/ (default: TRTACT_DATA)")
    p.add_argument("--work", default="build/ladder")
    p.add_argument("--models", nargs="*", default=sorted(PEERS))
    p.add_argument("--max-drop", default="0")
    p.add_argument("--qat", default="off", help="auto climbs to distillation too")
    p.add_argument("--limit", type=int, default=250, help="validation images; 0: all")
    p.add_argument("--calib-images", type=int, default=128)
    p.add_argument("--threads", type=int, default=0)
    return p.parse_args()


def climb(a, model, listing):
    work = pathlib.Path(a.work)
    kept = work / f"{model}-{a.max_drop}-{a.qat}-{a.limit}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    data = pathlib.Path(a.data)
    command = [a.program, "build", data / "models" / f"{model}.onnx", "--int8", "--data", listing, "--val", data / "coco" / "annotations.json",
               "--qat", a.qat, "--max-drop", a.max_drop, "--target", "sm_86", "--json", "-o", work / f"{model}.engine"]
    if a.limit:
        command += ["--val-limit", a.limit]
    if a.threads:
        command += ["--threads", a.threads]
    start = time.time()
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 3):  # 3: no TensorRT here, the rest is there
        raise SystemExit(f"ladder: {model}: exit code {done.returncode}")
    result = json.loads(done.stdout)
    result["wall"] = time.time() - start
    kept.write_text(json.dumps(result))
    return result


def rows(model, r):
    yield model, "float", r["accuracy"]["float"]["mAP"], None, "", ""
    for g in r["ladder"]:
        float_layers = ", ".join(g.get("float_layers", [])[:4])
        more = len(g.get("float_layers", [])) - 4
        yield "", g["name"], g["metric"], g["seconds"], "kept" if g["kept"] else "", float_layers + (f" and {more} more" if more > 0 else "")


def main():
    a = arguments()
    if not a.data:
        raise SystemExit("ladder: --data or TRTACT_DATA names the folder with models/ and coco/")
    work = pathlib.Path(a.work)
    work.mkdir(parents=True, exist_ok=True)
    coco = pathlib.Path(a.data) / "coco"
    listing = work / "calibration.txt"
    listing.write_text("".join(f"{coco / line}\n" for line in (coco / "train.txt").read_text().split()[:a.calib_images]))
    results = {}
    for model in a.models:
        results[model] = climb(a, model, listing)
        print(f"{model}: {results[model]['wall']:.0f} s", flush=True)
    print("\n| model | rung | mAP | s | | layers left float |\n|---|---|---|---|---|---|")
    for model, r in results.items():
        for name, rung, value, seconds, kept, layers in rows(model, r):
            print(f"| {name} | {rung} | {value:.4f} | {'' if seconds is None else f'{seconds:.0f}'} | {kept} | {layers} |")
    print("\n| model | float | calibrated | searched | best peer |\n|---|---|---|---|---|")
    for model, r in results.items():
        by_name = {g["name"]: g["metric"] for g in r["ladder"]}
        searched = f"{by_name['search']:.4f}" if "search" in by_name else ""
        peer = f"{PEERS[model]:.3f}" if PEERS.get(model) else ""
        print(f"| {model} | {r['accuracy']['float']['mAP']:.4f} | {by_name['ptq']:.4f} | {searched} | {peer} |")
    (work / "ladder.json").write_text(json.dumps({m: {"ladder": r["ladder"], "accuracy": r["accuracy"], "search": r.get("search"), "wall": r["wall"]} for m, r in results.items()}, indent=1))


if __name__ == "__main__":
    main()
