"""Every model of TRTACT_DATA built by TensorRT for RTX in float, FP16, INT8 and
INT8+FP16, each as one engine for two targets: a Markdown table, for docs/results.md.

    engines.py [--targets sm_86,sm_89] [--program build/trtact] [--json FILE] [MODEL...]

Nothing is measured but that the engines come about, what is in them, and how long it
took; the INT8 plan is that of a quick calibration (absmax, 8 images).
"""
import argparse, glob, json, os, subprocess, sys, tempfile

FORMS = {"float": [], "FP16": ["--fp16"], "INT8": ["--int8"], "INT8+FP16": ["--int8", "--fp16"]}


def build(program, model, engine, *flags):
    command = [program, "--json", "--quiet", "build", model, "-o", engine, "--backend", "rtx", *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"engines: {' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def kinds(layers):
    """The number of weighted layers by the type in which they are asked to compute."""
    count = {}
    for layer in layers:
        if layer.get("weights", 0):
            kind = "int8" if layer.get("quantized") else layer["type"]
            count[kind] = count.get(kind, 0) + 1
    return ", ".join(f"{n} {kind}" for kind, n in sorted(count.items(), key=lambda item: -item[1]))


def weight_bytes(layer):
    return layer.get("weights", 0) * {"fp32": 4, "fp16": 2, "int8": 1}.get(layer.get("weight_type"), 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", default="sm_86,sm_89")
    parser.add_argument("--program", default="build/trtact")
    parser.add_argument("--json")
    parser.add_argument("models", nargs="*")
    args = parser.parse_args()
    data = os.environ.get("TRTACT_DATA", "")
    models = args.models or sorted(glob.glob(os.path.join(data, "models", "*.onnx")))
    if not models:
        sys.exit("engines: no models: set TRTACT_DATA, or name them")
    rows = []
    print(f"For {args.targets}:\n")
    print("| model | form | layers with weights, by type | INT8 convolutions | weights | engine | build |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            name = os.path.splitext(os.path.basename(model))[0]
            plan = os.path.join(folder, name + ".plan.json")
            for form, flags in FORMS.items():
                extra = list(flags)
                if "--int8" in flags:
                    extra += ["--qat", "off"]
                    if os.path.exists(plan):
                        extra += ["--plan", plan]
                    else:
                        extra += ["--data", os.path.join(data, "coco", "train.txt"), "--calib-images", "8",
                                  "--method", "absmax", "--equalise", "off"]
                engine = os.path.join(folder, f"{name}.{form}.engine")
                result = build(args.program, model, engine, "--target", args.targets, *extra)
                if "--int8" in flags and not os.path.exists(plan):
                    os.rename(result["files"]["plan"], plan)
                e = result["engine"]
                c = e.get("convolutions")
                row = {"model": name, "form": form, "targets": args.targets, "bytes": e["engine"]["bytes"],
                       "weight_bytes": sum(weight_bytes(layer) for layer in e["layers"]),
                       "seconds": e["build_seconds"], "convolutions": c, "layers": kinds(e["layers"])}
                rows.append(row)
                print(f"| {name} | {form} | {row['layers']} | " + (f"{c['int8']} of {c['all']}" if c and "--int8" in flags else "") +
                      f" | {row['weight_bytes'] / 1e6:.2f} MB | {row['bytes'] / 1e6:.1f} MB | {row['seconds']:.1f} s |", flush=True)
    if args.json:
        with open(args.json, "w") as out:
            json.dump(rows, out, indent=1)
            out.write("\n")


main()
