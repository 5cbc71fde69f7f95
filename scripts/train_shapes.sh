#!/usr/bin/env bash
# Trains the bundled sample detector anew: makes the pictures, a Python
# environment with PyTorch in the cache folder, and trains on the CPU.
#
#   scripts/train_shapes.sh [OUT.onnx]
#
# Two steps: eight epochs of an ordinary detector, then two in which the ranges of
# its channels are spread, which is what makes it hard to quantise (network.py).
STEP=train_shapes
. "$(dirname "$0")/setup/common.sh"
. "$ROOT_DIR/scripts/env.sh"
cd "$ROOT_DIR"

out=${1:-build/shapes.onnx}
python=$TRTACT_CACHE/training/bin/python
if [ ! -e "$TRTACT_CACHE/training/complete" ]; then
    say "PyTorch for training (6 GB)"
    rm -rf "$TRTACT_CACHE/training"
    logged training-venv python3 -m venv "$TRTACT_CACHE/training"
    logged training-wheels "$python" -m pip install --quiet --requirement scripts/requirements-train.txt
    touch "$TRTACT_CACHE/training/complete"
fi
pictures=$TRTACT_CACHE/shapes
if [ ! -e "$pictures/train/annotations.json" ]; then
    say "6000 pictures for training, 500 for measuring"
    go run ./scripts/shapes -out "$pictures/train" -n 6000 -seed 100
    go run ./scripts/shapes -out "$pictures/val" -n 500 -seed 7
fi
mkdir -p "$(dirname "$out")"
train() { nice "$python" scripts/shapes_training/train.py --pictures "$pictures/train" --seed 1 --threads 1 "$@"; }
train --out "${out%.onnx}.float.onnx" --epochs 8 --rate 3e-3
train --out "$out" --start "${out%.onnx}.float.onnx.pt" --epochs 2 --rate 1e-3 --strength 12
