"""Compares onnx_torch.py with onnxruntime: the same input, every output.

    check_onnx_torch.py PYTHON-WITH-TORCH MODEL.onnx...

Runs in the environment of the tests; onnx_torch.py runs in the other one.
Prints a line a model; fails when the difference is more than 1e-4 of the output
(both as Euclidean norms). A float16 model may differ by 1 %, a Q/DQ model by 5 %:
a sum that another order of adding moves over a rounding border moves others behind
it, so that even onnx_torch.py in float64 and in float32 are 2 % apart at YOLOv5n's
heads on random input.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime

SCRIPT = pathlib.Path(__file__).with_name("onnx_torch.py")


def check(python, model):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.npz"
        subprocess.run([python, SCRIPT, model, out], check=True)
        got = dict(numpy.load(out))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    # Fused INT8 kernels are not exact on every processor.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    want = session.run(None, {session.get_inputs()[0].name: got["input"]})
    off = 0.0
    for i, w in enumerate(want):
        w = w.astype(numpy.float32)
        g = got[f"output{i}"]
        if g.shape != w.shape:
            print(f"{model}: output {i} has shape {g.shape}, onnxruntime's {w.shape}")
            return False
        off = max(off, float(numpy.linalg.norm(g - w) / numpy.linalg.norm(w)))
    limit = 1e-4
    if got["input"].dtype == numpy.float16:
        limit = 1e-2
    if any(n.op_type == "QuantizeLinear" for n in onnx.load(model).graph.node):
        limit = 5e-2
    good = off <= limit
    print(f"{pathlib.Path(model).name}: differs by {off:.2g} of the output{'' if good else ': TOO MUCH'}")
    return good


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    good = [check(sys.argv[1], model) for model in sys.argv[2:]]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
